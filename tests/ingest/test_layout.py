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

import io
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from lsst.meas.trails.ingest.layout import FitsIngestError, read_layout

from support.fits_files import tan_header

SHAPE = (40, 50)


def noise() -> np.ndarray:
    return np.random.default_rng(5).normal(100.0, 10.0, SHAPE).astype(np.float32)


def write(path: Path, *hdus: fits.ImageHDU | fits.PrimaryHDU) -> Path:
    fits.HDUList(list(hdus)).writeto(path)
    return path


def test_plain_image(tmp_path: Path) -> None:
    layout = read_layout(write(tmp_path / "plain.fits", fits.PrimaryHDU(noise(), tan_header(OBJECT="here"))))
    assert (layout.hdu, layout.companions, layout.shape) == (0, {}, SHAPE)
    assert layout.header["OBJECT"] == "here"
    assert layout.flux_per_count is None


def bad_contents() -> dict[str, bytes]:
    """Return the contents of unusable files by the required words of the message."""

    def to_bytes(*hdus: fits.ImageHDU | fits.PrimaryHDU) -> bytes:
        stream = io.BytesIO()
        fits.HDUList(list(hdus)).writeto(stream)
        return stream.getvalue()

    def image(data: np.ndarray | None, **cards: object) -> bytes:
        return to_bytes(fits.PrimaryHDU(data, tan_header(**cards)))

    good = image(noise())
    compressed = to_bytes(
        fits.PrimaryHDU(),
        fits.CompImageHDU(noise(), tan_header(), name="IMAGE"),
        fits.CompImageHDU(np.ones(SHAPE, dtype=np.float32), name="VARIANCE"),
    )
    huge = "".join(
        f"{card:80}"
        for card in (
            "SIMPLE  =                    T",
            "BITPIX  =                  -32",
            "NAXIS   =                    2",
            "NAXIS1  =                15000",
            "NAXIS2  =                15000",
            *map(str, [*tan_header().cards]),
            "END",
        )
    )
    sci = fits.ImageHDU(noise(), tan_header(), name="SCI")
    return {
        "text: FITS": b"no image at all",
        "empty: FITS": b"",
        "cut: truncated": good[:-4000],
        "cut in the last plane: truncated": compressed[:-4000],
        "larger than the file: truncated": f"{huge:5760}".encode() + bytes(2880),
        "no pixels: two-dimensional": image(None),
        "cube: two-dimensional": image(np.zeros((3, *SHAPE), dtype=np.float32)),
        "small: 32 to 20000": image(np.zeros((8, 8), dtype=np.float32)),
        "no WCS: celestial WCS": to_bytes(fits.PrimaryHDU(noise())),
        "broken WCS: celestial WCS": image(noise(), CTYPE1="RA---XYZ"),
        "other shape: HDU 2 has shape": to_bytes(
            fits.PrimaryHDU(), sci, fits.ImageHDU(np.ones((32, 32)), name="VARIANCE")
        ),
    }


@pytest.mark.parametrize("name", bad_contents())
def test_bad_files(tmp_path: Path, name: str) -> None:
    path = tmp_path / "bad.fits"
    path.write_bytes(bad_contents()[name])
    with pytest.raises(FitsIngestError) as caught:
        read_layout(path)
    assert str(caught.value).startswith(str(path))
    assert name.split(": ")[1] in str(caught.value)


@pytest.mark.parametrize(("hdu", "message"), [("7", "no HDU 7"), ("X", "no HDU X"), ("1", "two-dimensional")])
def test_bad_hdu(tmp_path: Path, hdu: str, message: str) -> None:
    table = fits.BinTableHDU.from_columns([fits.Column("a", "D", array=[2.5])])
    path = write(tmp_path / "image.fits", fits.PrimaryHDU(noise(), tan_header()), table)
    with pytest.raises(FitsIngestError, match=message):
        read_layout(path, hdu)


def test_unreadable_cards(tmp_path: Path) -> None:
    """Nonstandard cards are ignored, except for cards of the WCS."""
    path = write(tmp_path / "image.fits", fits.PrimaryHDU(noise(), tan_header(SEEING=1.5, OBJECT="x")))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"SEEING  =                  1.5", b"SEEING  =            one arcse"))
    layout = read_layout(path)
    assert "SEEING" not in layout.header
    assert layout.header["OBJECT"] == "x"
    broken = content.replace(b"CRVAL1  =                150.0", b"CRVAL1  =            ten hours")
    assert broken != content
    path.write_bytes(broken)
    with pytest.raises(FitsIngestError, match="HDU 0.*CRVAL1"):
        read_layout(path)


def test_wcs_of_the_primary_header(tmp_path: Path) -> None:
    path = write(tmp_path / "image.fits", fits.PrimaryHDU(header=tan_header()), fits.ImageHDU(noise()))
    assert tuple(read_layout(path).wcs.wcs.crval) == (150.0, 2.0)


def test_advice_of_astropy_is_left_out(tmp_path: Path) -> None:
    """Users of the command cannot set an option of ``astropy.io.fits.open``."""
    (tmp_path / "text.fits").write_bytes(b"hello\n" * 500)
    with pytest.raises(FitsIngestError, match="does not appear to be a valid FITS file.$"):
        read_layout(tmp_path / "text.fits")
    fits.PrimaryHDU(np.ones((64, 80)), tan_header()).writeto(tmp_path / "no.fits")
    content = (tmp_path / "no.fits").read_bytes()
    (tmp_path / "no.fits").write_bytes(content.replace(b" T /", b" F /", 1))
    with pytest.raises(FitsIngestError, match="SIMPLE = F"):
        read_layout(tmp_path / "no.fits")
