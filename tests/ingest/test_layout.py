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

import gzip
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from lsst.meas.trails.core.planes import plane_bits
from lsst.meas.trails.ingest.layout import FitsIngestError, find_planes
from lsst.meas.trails.ingest.planes import FitsPlanes, read_planes

SHAPE = (40, 50)


def header(**cards: object) -> fits.Header:
    result = fits.Header()
    wcs = {
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CRPIX1": 25.0,
        "CRPIX2": 20.0,
        "CRVAL1": 150.0,
        "CRVAL2": 2.0,
        "CD1_1": -5e-5,
        "CD2_2": 5e-5,
        "RADESYS": "ICRS",
    }
    for keyword, value in {**wcs, **cards}.items():
        result[keyword] = value
    return result


def pixels() -> np.ndarray:
    return np.random.default_rng(5).normal(100.0, 10.0, SHAPE).astype(np.float32)


def write(path: Path, *hdus: fits.ImageHDU | fits.PrimaryHDU) -> Path:
    fits.HDUList(list(hdus)).writeto(path)
    return path


def read(path: Path, hdu: str | None = None, *, use_mask: bool = True) -> FitsPlanes:
    return read_planes(find_planes(path, hdu, use_mask=use_mask))


def has(planes: FitsPlanes, name: str) -> np.ndarray:
    return (planes.mask & np.uint32(plane_bits([name]))) != 0


def test_plain_image(tmp_path: Path) -> None:
    image = pixels()
    image[3, 4] = np.nan
    path = write(tmp_path / "plain.fits", fits.PrimaryHDU(image, header(OBJECT="here")))
    layout = find_planes(path)
    assert (layout.hdu, layout.companions, layout.shape) == (0, {}, SHAPE)
    assert layout.header["OBJECT"] == "here"
    assert layout.flux_per_count is None
    planes = read_planes(layout)
    np.testing.assert_array_equal(planes.image, image)
    assert planes.image.dtype == np.float32
    assert planes.image.dtype.isnative
    assert planes.variance is None
    assert not planes.has_mask
    assert has(planes, "NO_DATA").sum() == 1
    assert has(planes, "NO_DATA")[3, 4]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", ">f4", ">f8"])
def test_pixel_types(tmp_path: Path, dtype: str) -> None:
    """Scaled integers (as astropy writes unsigned ones) are read right."""
    image = np.arange(SHAPE[0] * SHAPE[1]).reshape(SHAPE).astype(dtype)
    planes = read(write(tmp_path / "image.fits", fits.PrimaryHDU(image, header())))
    np.testing.assert_array_equal(planes.image, image.astype(np.float32))


def test_blank_integers(tmp_path: Path) -> None:
    image = np.arange(2000, dtype=np.int16).reshape(SHAPE)
    image[0, 7] = -9999
    planes = read(write(tmp_path / "image.fits", fits.PrimaryHDU(image, header(BLANK=-9999))))
    assert np.isnan(planes.image[0, 7])
    np.testing.assert_array_equal(np.argwhere(has(planes, "NO_DATA")), [[0, 7]])


def test_gzipped_and_degenerate_axes(tmp_path: Path) -> None:
    image = pixels()
    plain = write(tmp_path / "image.fits", fits.PrimaryHDU(image[None], header()))
    path = tmp_path / "image.fits.gz"
    path.write_bytes(gzip.compress(plain.read_bytes()))
    np.testing.assert_array_equal(read(path).image, image)


def test_stack_layout(tmp_path: Path) -> None:
    """Tile-compressed image, mask with MP_ cards, variance; a calibration in
    a table of the stack's own.
    """
    image, bits = pixels(), np.zeros(SHAPE, dtype=np.int32)
    bits[2, :] = 1 << 1
    bits[:, 3] |= 1 << 12
    bits[5, 5] |= 1 << 9
    variance = np.full(SHAPE, 90.0, dtype=np.float32)
    variance[0, 0] = -1.0
    mask_header = header(EXTTYPE="MASK", MP_SAT=1)
    mask_header["HIERARCH MP_STREAK"] = 9
    mask_header["HIERARCH MP_MY_OWN"] = 12
    calibration = fits.BinTableHDU.from_columns([fits.Column("calibrationMean", "D", array=[2.5])])
    calibration.header["AR_NAME"] = "PhotoCalib"
    # Without quantization the values survive exactly.
    exact = {"compression_type": "GZIP_1", "quantize_level": 0.0}
    path = write(
        tmp_path / "calexp.fits",
        fits.PrimaryHDU(header=fits.Header({"EXPTIME": 30.0})),
        fits.CompImageHDU(image, header(EXTTYPE="IMAGE"), **exact),
        fits.CompImageHDU(bits, mask_header, **exact),
        fits.CompImageHDU(variance, header(EXTTYPE="VARIANCE"), **exact),
        calibration,
    )
    layout = find_planes(path)
    assert (layout.hdu, layout.companions) == (1, {"mask": 2, "variance": 3})
    assert layout.flux_per_count == 2.5
    assert layout.header["EXPTIME"] == 30.0
    planes = read_planes(layout)
    assert planes.has_mask
    np.testing.assert_array_equal(planes.image, image)
    assert planes.variance is not None
    assert planes.variance[1, 1] == 90.0
    np.testing.assert_array_equal(has(planes, "SATURATED"), bits & 2 != 0)
    np.testing.assert_array_equal(np.argwhere(has(planes, "STREAK")), [[5, 5]])
    assert list(planes.extra) == ["MY_OWN"]
    np.testing.assert_array_equal(planes.extra["MY_OWN"], bits >> 12 & 1 == 1)
    np.testing.assert_array_equal(np.argwhere(has(planes, "NO_DATA")), [[0, 0]])
    assert not read(path, use_mask=False).has_mask


@pytest.mark.parametrize(
    ("name", "value", "variance"),
    [("VARIANCE", 4.0, 4.0), ("VAR", 4.0, 4.0), ("ERR", 2.0, 4.0), ("SIGMA", 2.0, 4.0)],
)
def test_named_noise(tmp_path: Path, name: str, value: float, variance: float) -> None:
    path = write(
        tmp_path / "image.fits",
        fits.PrimaryHDU(),
        fits.ImageHDU(pixels(), header(), name="SCI"),
        fits.ImageHDU(np.full(SHAPE, value), name=name),
    )
    planes = read(path)
    assert planes.variance is not None
    np.testing.assert_array_equal(planes.variance, np.float32(variance))


def test_unnamed_bits_are_bad(tmp_path: Path) -> None:
    flags = np.zeros(SHAPE, dtype=np.int16)
    flags[1, 1:4] = (1, 64, 300)
    path = write(
        tmp_path / "image.fits",
        fits.PrimaryHDU(),
        fits.ImageHDU(pixels(), header(), name="SCI"),
        fits.ImageHDU(flags, name="DQ"),
    )
    np.testing.assert_array_equal(has(read(path), "BAD"), flags != 0)


def test_planes_of_the_chosen_image(tmp_path: Path) -> None:
    """Of several detectors in a file each has its own planes, beside it or
    with the same EXTVER.
    """
    images = [pixels() + i for i in range(2)]
    variances = [np.full(SHAPE, 1.0 + i) for i in range(2)]

    def named(data: np.ndarray, name: str, version: int) -> fits.ImageHDU:
        return fits.ImageHDU(data, header(), name=name, ver=version)

    sci = [named(images[i], "SCI", i + 1) for i in range(2)]
    var = [named(variances[i], "VAR", i + 1) for i in range(2)]
    together = write(tmp_path / "a.fits", fits.PrimaryHDU(), sci[0], sci[1], var[0], var[1])
    beside = write(tmp_path / "b.fits", fits.PrimaryHDU(), sci[0], var[0], sci[1], var[1])
    for path, second in ((together, "2"), (beside, "3")):
        for hdu, i in ((None, 0), (second, 1)):
            planes = read(path, hdu)
            np.testing.assert_array_equal(planes.image, images[i])
            assert planes.variance is not None
            assert planes.variance[0, 0] == 1.0 + i
    assert find_planes(together, "SCI").hdu == 1


def test_padding_is_no_data(tmp_path: Path) -> None:
    image = pixels()
    image[:, :10] = 0.0
    image[30, 30] = 0.0
    planes = read(write(tmp_path / "image.fits", fits.PrimaryHDU(image, header())))
    expected = np.zeros(SHAPE, dtype=bool)
    expected[:, :10] = True
    np.testing.assert_array_equal(has(planes, "NO_DATA"), expected)
    # In an image of whole numbers a zero is a number like any other.
    planes = read(write(tmp_path / "whole.fits", fits.PrimaryHDU(np.round(image), header())))
    assert not np.any(has(planes, "NO_DATA"))


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Files that cannot be used, by what is wrong, with the words that the
    message must have.
    """
    good = write(folder / "good.fits", fits.PrimaryHDU(pixels(), header())).read_bytes()
    planes = write(
        folder / "planes.fits",
        fits.PrimaryHDU(),
        fits.CompImageHDU(pixels(), header(), name="IMAGE"),
        fits.CompImageHDU(np.ones(SHAPE, dtype=np.float32), name="VARIANCE"),
    ).read_bytes()
    huge = "".join(
        f"{card:80}"
        for card in (
            "SIMPLE  =                    T",
            "BITPIX  =                  -32",
            "NAXIS   =                    2",
            "NAXIS1  =                15000",
            "NAXIS2  =                15000",
            *map(str, [*header().cards]),
            "END",
        )
    )
    contents = {
        "text": (b"no image at all", "not a readable FITS file"),
        "empty": (b"", "not a readable FITS file"),
        "cut": (good[: len(good) - 4000], "cut short"),
        "cut in the last plane": (planes[: len(planes) - 4000], "cut short"),
        "too much promised": (f"{huge:5760}".encode() + bytes(2880), "cut short"),
    }
    found = {}
    for name, (content, message) in contents.items():
        path = folder / f"{name}.fits"
        path.write_bytes(content)
        found[name] = (path, message)

    def image(name: str, message: str, data: np.ndarray | None, **cards: object) -> None:
        found[name] = (write(folder / f"{name}.fits", fits.PrimaryHDU(data, header(**cards))), message)

    image("no pixels", "no two-dimensional image", None)
    image("cube", "no two-dimensional image", np.zeros((3, *SHAPE), dtype=np.float32))
    image("small", "between 32 and 20000", np.zeros((8, 8), dtype=np.float32))
    image("not a number", "no pixel of HDU 0 has a finite value", np.full(SHAPE, np.nan, dtype=np.float32))
    path = write(folder / "no wcs.fits", fits.PrimaryHDU(pixels()))
    found["no wcs"] = (path, "no celestial WCS")
    image("broken wcs", "no celestial WCS", pixels(), CTYPE1="RA---XYZ")

    def noise(name: str, message: str, data: np.ndarray, kind: str) -> None:
        hdus = (
            fits.PrimaryHDU(),
            fits.ImageHDU(pixels(), header(), name="SCI"),
            fits.ImageHDU(data, name=kind),
        )
        found[name] = (write(folder / f"{name}.fits", *hdus), message)

    noise("other shape", "has shape", np.ones((32, 32)), "VARIANCE")
    noise("negative variance", "and a positive variance", np.full(SHAPE, -1.0), "VARIANCE")
    noise("good means one", "--ignore-mask", np.ones(SHAPE, dtype=np.uint8), "MASK")
    noise("fractions", "--ignore-mask", np.full(SHAPE, 0.5), "MASK")
    return found


@pytest.mark.parametrize(
    "name",
    [
        "text",
        "empty",
        "cut",
        "cut in the last plane",
        "too much promised",
        "no pixels",
        "cube",
        "small",
        "not a number",
        "no wcs",
        "broken wcs",
        "other shape",
        "negative variance",
        "good means one",
        "fractions",
    ],
)
def test_bad_files(tmp_path: Path, name: str) -> None:
    path, message = bad_files(tmp_path)[name]
    with pytest.raises(FitsIngestError) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("hdu", "message"), [("7", "there is no HDU 7"), ("X", "no HDU X"), ("1", "no two-dim")]
)
def test_bad_hdu(tmp_path: Path, hdu: str, message: str) -> None:
    table = fits.BinTableHDU.from_columns([fits.Column("a", "D", array=[2.5])])
    path = write(tmp_path / "image.fits", fits.PrimaryHDU(pixels(), header()), table)
    with pytest.raises(FitsIngestError, match=message):
        find_planes(path, hdu)


def test_damaged_tiles(tmp_path: Path) -> None:
    """Bytes that decompress to nothing give a message, whatever is raised."""
    hdu = fits.CompImageHDU(pixels(), header(), compression_type="GZIP_1", quantize_level=0.0)
    path = write(tmp_path / "image.fits", fits.PrimaryHDU(), hdu)
    content = bytearray(path.read_bytes())
    start = content.rindex(b"\x1f\x8b")
    content[start : start + 40] = bytes(40)
    path.write_bytes(bytes(content))
    with pytest.raises(FitsIngestError, match="pixels of HDU 1 cannot be read"):
        read(path)


def test_unreadable_cards(tmp_path: Path) -> None:
    """A card that breaks the standard is left out, unless the WCS needs it."""
    path = write(tmp_path / "image.fits", fits.PrimaryHDU(pixels(), header(SEEING=1.5, OBJECT="x")))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"SEEING  =                  1.5", b"SEEING  =            one arcse"))
    layout = find_planes(path)
    assert "SEEING" not in layout.header
    assert layout.header["OBJECT"] == "x"
    broken = content.replace(b"CRVAL1  =                150.0", b"CRVAL1  =            ten hours")
    assert broken != content
    path.write_bytes(broken)
    with pytest.raises(FitsIngestError, match="no celestial WCS .CRVAL1 is no number"):
        find_planes(path)


def test_wcs_of_the_primary_header(tmp_path: Path) -> None:
    path = write(tmp_path / "image.fits", fits.PrimaryHDU(header=header()), fits.ImageHDU(pixels()))
    assert tuple(find_planes(path).wcs.wcs.crval) == (150.0, 2.0)
