# This file is part of meas_trails.
#
# Developed for the LSST Data Management System.
# This product includes software developed by the LSST Project
# (https://www.lsst.org).
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by the GNU General Public License,
# version 3 or later, that can be found in the LICENSE file.

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner

from lsst.daf.butler import Butler
from lsst.meas.trails.cli import main

CALEXP = Path(__file__).resolve().parents[3] / "shared" / "data" / "calexp-0941420_23-cutout.fits"


def invoke(*args: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["ingest-fits", *map(str, args)])
    # A traceback is not a message.
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


def write(path: Path, **cards: object) -> Path:
    header = fits.Header()
    base = {
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CRPIX1": 40.0,
        "CRPIX2": 32.0,
        "CRVAL1": 150.0,
        "CRVAL2": 2.0,
        "CD1_1": -1.4e-4,
        "CD2_2": 1.4e-4,
        "RADESYS": "ICRS",
        "EXPNUM": 12345,
    }
    for keyword, value in {**base, **cards}.items():
        header[keyword] = value
    pixels = np.random.default_rng(1).normal(100.0, 10.0, (64, 80)).astype(np.float32)
    fits.PrimaryHDU(pixels, header).writeto(path)
    return path


def test_help() -> None:
    code, output = invoke("--help")
    assert code == 0
    for words in ("--fwhm", "arcseconds", "--zeropoint", "AB magnitude", "--ignore-mask", "Examples:"):
        assert words in output


def test_ingests(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    paths = [write(tmp_path / f"{n}.fits", CCDNUM=n, FILTER="g") for n in (3, 4)]
    known = ("--fwhm", 2.0, "--zeropoint", 30.0, "--date", "2024-11-09T05:00:00", "--exposure-time", 15)
    code, output = invoke(repo, *paths, *known)
    assert code == 0
    assert "Put 2 preliminary_visit_image into run 'input'" in output
    butler = Butler.from_config(repo, collections="input")
    refs = butler.query_datasets("preliminary_visit_image")
    assert {(ref.dataId["visit"], ref.dataId["detector"]) for ref in refs} == {(12345, 3), (12345, 4)}
    image = butler.get(refs[0])
    assert image.metadata["zeroPoint"] == 30.0
    assert image.obs_info.exposure_time.to_value("s") == 15.0

    code, output = invoke(repo, *paths, *known)
    assert code == 1
    assert "Error:" in output
    assert "--run" in output
    assert invoke(repo, *paths, *known, "--run", "other")[0] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--fwhm", -1), "'--fwhm'"),
        (("--hdu", 4), "there is no HDU 4"),
        (("--date", "soon"), "'soon' is no date"),
        (("--visit", 0), "'--visit'"),
        (("--detector", 999), "--detector"),
        (("/nowhere.fits",), "does not exist"),
        ((__file__,), "not a readable FITS file"),
    ],
)
def test_bad_use(tmp_path: Path, options: tuple[object, ...], message: str) -> None:
    """What can be told before any pixel is read leaves no repository."""
    code, output = invoke(tmp_path / "repo", write(tmp_path / "image.fits"), *options)
    assert code in (1, 2)
    assert message in output
    assert not (tmp_path / "repo").exists()


def test_no_stars(tmp_path: Path) -> None:
    code, output = invoke(tmp_path / "repo", write(tmp_path / "image.fits"))
    assert code == 1
    assert "image.fits: the PSF cannot be measured" in output
    assert "--fwhm" in output


@pytest.mark.skipif(not CALEXP.exists(), reason="the shared data are not there")
def test_calexp_as_it_is(tmp_path: Path) -> None:
    code, output = invoke(tmp_path / "repo", CALEXP)
    assert code == 0
    butler = Butler.from_config(tmp_path / "repo", collections="input")
    image = butler.get("preliminary_visit_image", instrument="FitsCam", visit=941420, detector=23)
    assert image.band == "g"
    assert image.image.array.shape == (400, 217)
