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

import zipfile
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from lsst.meas.trails.ingest import untrusted
from lsst.meas.trails.ingest.untrusted import check_headers, check_primary_header


def write(path: Path, *cards: tuple[str, object]) -> Path:
    """Write an image and an extension; replace header values of the primary HDU."""
    hdus = fits.HDUList([fits.PrimaryHDU(np.zeros((4, 5))), fits.ImageHDU(np.zeros((4, 5)))])
    hdus.writeto(path)
    content = path.read_bytes()
    for keyword, value in cards:
        start = content.index(f"{keyword:8}=".encode())
        content = content[: start + 10] + str(value).rjust(20).encode() + content[start + 30 :]
    path.write_bytes(content)
    return path


def test_good_file(tmp_path: Path) -> None:
    path = write(tmp_path / "good.fits")
    check_primary_header(path)
    with fits.open(path, lazy_load_hdus=True) as hdus:
        check_headers(hdus)
        assert len(hdus) == 2


@pytest.mark.parametrize(("keyword", "value"), [("NAXIS", 10**10), ("NAXIS1", -1), ("NAXIS2", 2**63)])
def test_values_beyond_the_limits(tmp_path: Path, keyword: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{keyword} is {value}"):
        check_primary_header(write(tmp_path / "bad.fits", (keyword, value)))


def test_values_of_extensions(tmp_path: Path) -> None:
    path = write(tmp_path / "bad.fits", ("PCOUNT", -2880))
    check_primary_header(path)
    with fits.open(path, lazy_load_hdus=True) as hdus, pytest.raises(ValueError, match="PCOUNT is -2880"):
        check_headers(hdus)


def test_number_of_hdus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(untrusted, "_MAX_HDUS", 1)
    with (
        fits.open(write(tmp_path / "image.fits"), lazy_load_hdus=True) as hdus,
        pytest.raises(ValueError, match="1 HDUs"),
    ):
        check_headers(hdus)


def test_endless_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(untrusted, "_MAX_BLOCKS", 3)
    path = tmp_path / "endless.fits"
    path.write_bytes(f"{'SIMPLE  =                    T':80}".encode() + b" " * 20_000)
    with pytest.raises(ValueError, match="108 cards"):
        check_primary_header(path)


def test_zip_archive(tmp_path: Path) -> None:
    path = tmp_path / "image.fits.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(write(tmp_path / "image.fits"))
    with pytest.raises(ValueError, match="ZIP"):
        check_primary_header(path)
