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

import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner

from lsst.daf.butler import Butler
from lsst.meas.trails.cli import main

from support.fits_files import write_noise

CALEXP = Path(__file__).resolve().parents[3] / "shared" / "data" / "calexp-0941420_23-cutout.fits"


def invoke(*args: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["ingest-fits", *map(str, args)])
    # Unexpected exceptions fail.
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


def write(path: Path, **cards: object) -> Path:
    return write_noise(path, EXPNUM=12345, **cards)


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
    assert "Put 2 preliminary_visit_image" in output
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
        (("--hdu", 4), "HDU 4"),
        (("--date", "soon"), "'soon'"),
        (("--visit", 0), "'--visit'"),
        (("--detector", 999), "--detector"),
        (("/nowhere.fits",), "/nowhere.fits"),
        ((__file__,), "test_ingest_fits.py"),
    ],
)
def test_bad_use(tmp_path: Path, options: tuple[object, ...], message: str) -> None:
    """Errors in options and headers do not create a repository."""
    code, output = invoke(tmp_path / "repo", write(tmp_path / "image.fits"), *options)
    assert code in (1, 2)
    assert message in output
    assert not (tmp_path / "repo").exists()


def test_no_stars(tmp_path: Path) -> None:
    code, output = invoke(tmp_path / "repo", write(tmp_path / "image.fits"))
    assert code == 1
    assert "image.fits: the PSF" in output
    assert "--fwhm" in output


@pytest.mark.skipif(not CALEXP.exists(), reason="the shared data are not there")
def test_calexp_as_it_is(tmp_path: Path) -> None:
    code, output = invoke(tmp_path / "repo", CALEXP)
    assert code == 0
    butler = Butler.from_config(tmp_path / "repo", collections="input")
    image = butler.get("preliminary_visit_image", instrument="FitsCam", visit=941420, detector=23)
    assert image.band == "g"
    assert image.image.array.shape == (400, 217)


def test_files_of_masks_and_weights(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    image, mask, other = (write(tmp_path / name) for name in ("a.fits", "a_mask.fits", "bpm_old.fits"))
    for path in (mask, other):
        with fits.open(path, mode="update") as hdus:
            hdus[0].data = np.zeros((64, 80), dtype=np.uint8)
            hdus[0].data[:, 7] = 1

    def flagged(run: str) -> np.ndarray:
        butler = Butler.from_config(tmp_path / "repo", collections=run)
        (ref,) = butler.query_datasets("preliminary_visit_image")
        return np.asarray(np.flatnonzero(butler.get(ref).mask.get("BAD").any(axis=0)))

    for run, arguments in {
        "paired": (image, mask),
        "named": (image, "--mask", other),
        "alone": (image,),
    }.items():
        code, output = invoke(tmp_path / "repo", *arguments, "--fwhm", 2.0, "--run", run)
        assert code == 0, output
        assert ("Used a.fits with mask" in output) == (run != "alone")
        assert flagged(run).tolist() == ([] if run == "alone" else [7])
    assert "a_mask.fits is named like" in caplog.text

    code, output = invoke(tmp_path / "repo", image, other, "--mask", mask)
    assert code == 2
    assert "--mask" in output
    code, output = invoke(tmp_path / "repo", mask, "--run", "new")
    assert code == 1
    assert "a_mask.fits" in output
    assert "--no-pairs" in output


@pytest.mark.parametrize(
    "name",
    [
        b"n\xfcw.fits",
        "\u00e9.fits".encode(),
        b"a%20b.fits",
        b"a?b.fits",
        b"a#b.fits",
        b"a[1].fits",
        b"-a.fits",
    ],
)
def test_unusual_names_of_files(tmp_path: Path, name: bytes) -> None:
    path = tmp_path / os.fsdecode(name)
    write(tmp_path / "image.fits").rename(path)
    code, output = invoke(tmp_path / "repo", path, "--fwhm", 2.0)
    assert code == 0, output
    butler = Butler.from_config(tmp_path / "repo", collections="input")
    (ref,) = butler.query_datasets("preliminary_visit_image")
    assert butler.get(ref).metadata["fitsFile"] == name.decode(errors="backslashreplace")


@pytest.mark.parametrize("name", ["a b", "\u00e9", "a%20b", "a?b", "a#b", "a,b"])
def test_unusual_names_of_runs(tmp_path: Path, name: str) -> None:
    """A run is written and read back, or refused by name."""
    image = write(tmp_path / "image.fits")
    code, output = invoke(tmp_path / "repo", image, "--fwhm", 2.0, "--run", name)
    if "," in name or "?" in name:
        assert code == 1
        assert repr(name) in output
        return
    assert code == 0, output
    butler = Butler.from_config(tmp_path / "repo", collections=name)
    (ref,) = butler.query_datasets("preliminary_visit_image")
    assert butler.get(ref).bbox.shape == (64, 80)
