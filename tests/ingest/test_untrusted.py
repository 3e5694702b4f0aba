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

import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from lsst.meas.trails.ingest import untrusted
from lsst.meas.trails.ingest.packing import first_bytes
from lsst.meas.trails.ingest.untrusted import IncompleteFileError, check_headers, find_end


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
    assert load(path) == 2


def load(path: Path) -> int:
    """Return the number of HDUs of a checked file."""
    with path.open("rb") as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with first_bytes(stream, find_end(stream)) as part, fits.open(part, lazy_load_hdus=True) as hdus:
            check_headers(hdus, part)
            return len(hdus)


@pytest.mark.parametrize(("keyword", "value"), [("NAXIS", 10**10), ("NAXIS1", -1), ("NAXIS2", 2**63)])
def test_values_beyond_the_limits(tmp_path: Path, keyword: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{keyword} is {value}"):
        load(write(tmp_path / "bad.fits", (keyword, value)))


def test_values_of_extensions(tmp_path: Path) -> None:
    path = write(tmp_path / "bad.fits", ("PCOUNT", -2880))
    with pytest.raises(ValueError, match="PCOUNT is -2880"):
        load(path)


def test_number_of_hdus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(untrusted, "_MAX_HDUS", 1)
    with pytest.raises(ValueError, match="1 HDUs"):
        load(write(tmp_path / "image.fits"))


def test_endless_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(untrusted, "_MAX_BLOCKS", 3)
    path = tmp_path / "endless.fits"
    path.write_bytes(f"{'SIMPLE  =                    T':80}".encode() + b" " * 20_000)
    with pytest.raises(ValueError, match="108 cards"):
        load(path)


@pytest.mark.parametrize("rest", [-1, -1000, b"\0", b"tape mark", bytes(2880), b" " * 5760])
def test_ends_that_writers_leave(tmp_path: Path, rest: int | bytes) -> None:
    """Padding may be missing, and nothing of importance may follow."""
    path = write(tmp_path / "end.fits")
    content = path.read_bytes()
    path.write_bytes(content[:rest] if isinstance(rest, int) else content + rest)
    assert load(path) == 2


def test_no_padding_at_all(tmp_path: Path) -> None:
    path = write(tmp_path / "end.fits")
    # The last HDU has 160 bytes of pixels in its block.
    path.write_bytes(path.read_bytes()[: -(2880 - 160)])
    assert load(path) == 2
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IncompleteFileError, match="HDU 1"):
        load(path)


@pytest.mark.parametrize("rest", [b"XTENSION= 'IMAGE   '", b"x" * 2880, bytes(2880) + b"x" * 2880])
def test_ends_that_hide_an_hdu(tmp_path: Path, rest: bytes) -> None:
    path = write(tmp_path / "end.fits")
    path.write_bytes(path.read_bytes() + rest)
    with pytest.raises(IncompleteFileError, match="HDU|header"):
        load(path)
