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

import astropy.wcs
import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import (
    CCDData,
    InverseVariance,
    NDUncertainty,
    StdDevUncertainty,
    VarianceUncertainty,
)

from lsst.meas.trails.core.planes import plane_bits
from lsst.meas.trails.ingest.layout import FitsIngestError, read_layout
from lsst.meas.trails.ingest.pixels import FitsPixels, read_pixels

from support.fits_files import tan_header

SHAPE = (40, 50)


def noise() -> np.ndarray:
    return np.random.default_rng(5).normal(100.0, 10.0, SHAPE).astype(np.float32)


def write(path: Path, *hdus: fits.ImageHDU | fits.PrimaryHDU) -> Path:
    fits.HDUList(list(hdus)).writeto(path)
    return path


def read(path: Path, hdu: str | None = None, *, use_mask: bool = True) -> FitsPixels:
    return read_pixels(read_layout(path, hdu, use_mask=use_mask))


def has(pixels: FitsPixels, name: str) -> np.ndarray:
    return (pixels.mask & np.uint32(plane_bits([name]))) != 0


def write_with(path: Path, name: str, data: np.ndarray) -> Path:
    """Write an image with a companion HDU."""
    sci = fits.ImageHDU(noise(), tan_header(), name="SCI")
    return write(path, fits.PrimaryHDU(), sci, fits.ImageHDU(data, name=name))


def test_plain_image(tmp_path: Path) -> None:
    image = noise()
    image[3, 4] = np.nan
    pixels = read(write(tmp_path / "plain.fits", fits.PrimaryHDU(image, tan_header())))
    np.testing.assert_array_equal(pixels.image, image)
    assert pixels.image.dtype == np.float32
    assert pixels.image.dtype.isnative
    assert pixels.variance is None
    assert not pixels.has_mask
    np.testing.assert_array_equal(np.argwhere(has(pixels, "NO_DATA")), [[3, 4]])


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", ">f4", ">f8"])
def test_pixel_types(tmp_path: Path, dtype: str) -> None:
    """Scaled integers, as astropy writes unsigned integers, are read correctly."""
    image = np.arange(SHAPE[0] * SHAPE[1]).reshape(SHAPE).astype(dtype)
    pixels = read(write(tmp_path / "image.fits", fits.PrimaryHDU(image, tan_header())))
    np.testing.assert_array_equal(pixels.image, image.astype(np.float32))


def test_blank_integers(tmp_path: Path) -> None:
    image = np.arange(2000, dtype=np.int16).reshape(SHAPE)
    image[0, 7] = -9999
    pixels = read(write(tmp_path / "image.fits", fits.PrimaryHDU(image, tan_header(BLANK=-9999))))
    assert np.isnan(pixels.image[0, 7])
    np.testing.assert_array_equal(np.argwhere(has(pixels, "NO_DATA")), [[0, 7]])


def test_gzipped_and_degenerate_axes(tmp_path: Path) -> None:
    image = noise()
    plain = write(tmp_path / "image.fits", fits.PrimaryHDU(image[None], tan_header()))
    path = tmp_path / "image.fits.gz"
    path.write_bytes(gzip.compress(plain.read_bytes()))
    np.testing.assert_array_equal(read(path).image, image)


def test_stack_layout(tmp_path: Path) -> None:
    """Read a calexp: compressed image, mask with MP_ cards, variance, calibration."""
    image, bits = noise(), np.zeros(SHAPE, dtype=np.int32)
    bits[2, :] = 1 << 1
    bits[:, 3] |= 1 << 12
    bits[5, 5] |= 1 << 9
    variance = np.full(SHAPE, 90.0, dtype=np.float32)
    variance[0, 0] = -1.0
    mask_header = tan_header(EXTTYPE="MASK", MP_SAT=1)
    mask_header["HIERARCH MP_STREAK"] = 9
    mask_header["HIERARCH MP_MY_OWN"] = 12
    calibration = fits.BinTableHDU.from_columns([fits.Column("calibrationMean", "D", array=[2.5])])
    calibration.header["AR_NAME"] = "PhotoCalib"
    # Without quantization the values survive exactly.
    exact = {"compression_type": "GZIP_1", "quantize_level": 0.0}
    path = write(
        tmp_path / "calexp.fits",
        fits.PrimaryHDU(header=fits.Header({"EXPTIME": 30.0})),
        fits.CompImageHDU(image, tan_header(EXTTYPE="IMAGE"), **exact),
        fits.CompImageHDU(bits, mask_header, **exact),
        fits.CompImageHDU(variance, tan_header(EXTTYPE="VARIANCE"), **exact),
        calibration,
    )
    layout = read_layout(path)
    assert (layout.hdu, layout.companions) == (1, {"mask": 2, "variance": 3})
    assert layout.flux_per_count == 2.5
    assert layout.header["EXPTIME"] == 30.0
    pixels = read_pixels(layout)
    assert pixels.has_mask
    np.testing.assert_array_equal(pixels.image, image)
    assert pixels.variance is not None
    assert pixels.variance[1, 1] == 90.0
    np.testing.assert_array_equal(has(pixels, "SATURATED"), bits & 2 != 0)
    np.testing.assert_array_equal(np.argwhere(has(pixels, "STREAK")), [[5, 5]])
    assert list(pixels.extra) == ["MY_OWN"]
    np.testing.assert_array_equal(pixels.extra["MY_OWN"], bits >> 12 & 1 == 1)
    np.testing.assert_array_equal(np.argwhere(has(pixels, "NO_DATA")), [[0, 0]])
    assert not read(path, use_mask=False).has_mask


@pytest.mark.parametrize(
    ("name", "value", "variance"),
    [
        ("VARIANCE", 4.0, 4.0),
        ("VAR", 4.0, 4.0),
        ("ERR", 2.0, 4.0),
        ("SIGMA", 2.0, 4.0),
        ("RMS", 2.0, 4.0),
        ("IVAR", 0.25, 4.0),
        ("IVM", 0.25, 4.0),
    ],
)
def test_named_noise(tmp_path: Path, name: str, value: float, variance: float) -> None:
    pixels = read(write_with(tmp_path / "image.fits", name, np.full(SHAPE, value)))
    assert pixels.variance is not None
    np.testing.assert_array_equal(pixels.variance, np.float32(variance))


def test_unnamed_bits_are_bad(tmp_path: Path) -> None:
    flags = np.zeros(SHAPE, dtype=np.int16)
    flags[1, 1:4] = (1, 64, 300)
    path = write_with(tmp_path / "image.fits", "DQ", flags)
    np.testing.assert_array_equal(has(read(path), "BAD"), flags != 0)


def test_companions_of_the_chosen_image(tmp_path: Path) -> None:
    """Each detector of a file has its own companions, adjacent or with equal EXTVER."""
    images = [noise() + i for i in range(2)]
    variances = [np.full(SHAPE, 1.0 + i) for i in range(2)]

    def named(data: np.ndarray, name: str, version: int) -> fits.ImageHDU:
        return fits.ImageHDU(data, tan_header(), name=name, ver=version)

    sci = [named(images[i], "SCI", i + 1) for i in range(2)]
    var = [named(variances[i], "VAR", i + 1) for i in range(2)]
    together = write(tmp_path / "a.fits", fits.PrimaryHDU(), sci[0], sci[1], var[0], var[1])
    adjacent = write(tmp_path / "b.fits", fits.PrimaryHDU(), sci[0], var[0], sci[1], var[1])
    for path, second in ((together, "2"), (adjacent, "3")):
        for hdu, i in ((None, 0), (second, 1)):
            pixels = read(path, hdu)
            np.testing.assert_array_equal(pixels.image, images[i])
            assert pixels.variance is not None
            assert pixels.variance[0, 0] == 1.0 + i
    assert read_layout(together, "SCI").hdu == 1


@pytest.mark.parametrize("dtype", ["f4", "i4"])
@pytest.mark.parametrize("value", [0, 100, -32768])
@pytest.mark.parametrize("masked", [False, True])
def test_constant_border_is_no_data(tmp_path: Path, dtype: str, value: int, masked: bool) -> None:
    """A border of one value holds no data, with any type and value, and whether a mask tells it or not."""
    image = np.round(noise()).astype(dtype)
    image[:, :10] = value
    hdus = [fits.PrimaryHDU(image, tan_header())]
    if masked:
        hdus.append(fits.ImageHDU(np.zeros(SHAPE, dtype=np.uint8), name="BPM"))
    pixels = read(write(tmp_path / "image.fits", *hdus))
    expected = np.zeros(SHAPE, dtype=bool)
    expected[:, :10] = True
    np.testing.assert_array_equal(has(pixels, "NO_DATA"), expected)
    np.testing.assert_array_equal(np.isnan(pixels.image), expected)


@pytest.mark.filterwarnings("ignore:Invalid .*BLANK")
def test_blank_of_real_numbers(tmp_path: Path) -> None:
    """BLANK is for whole numbers by the standard; some programs write it for others too."""
    image = noise()
    image[3, 4] = 77.0
    pixels = read(write(tmp_path / "image.fits", fits.PrimaryHDU(image, tan_header(BLANK="77"))))
    np.testing.assert_array_equal(np.argwhere(has(pixels, "NO_DATA")), [[3, 4]])


def test_layout_of_lco(tmp_path: Path) -> None:
    """A network's reduced frames: SCI, a table, the mask BPM, and the errors ERR."""
    flags = np.zeros(SHAPE, dtype=np.uint8)
    flags[5:20, 7] = 1
    table = fits.BinTableHDU.from_columns([fits.Column("x", "D", array=[1.0])], name="CAT")
    path = write(
        tmp_path / "lco.fits",
        fits.PrimaryHDU(),
        fits.ImageHDU(noise(), tan_header(), name="SCI"),
        table,
        fits.ImageHDU(flags, name="BPM"),
        fits.ImageHDU(np.full(SHAPE, 10.0, dtype=np.float32), name="ERR"),
    )
    layout = read_layout(path)
    assert layout.companions == {"mask": 3, "error": 4}
    assert layout.other_images == []
    pixels = read_pixels(layout)
    np.testing.assert_array_equal(has(pixels, "BAD"), flags != 0)
    assert pixels.variance is not None
    np.testing.assert_array_equal(pixels.variance, np.float32(100.0))


@pytest.mark.parametrize(
    ("uncertainty", "value"),
    [(StdDevUncertainty, 10.0), (VarianceUncertainty, 100.0), (InverseVariance, 0.01)],
)
def test_ccddata(tmp_path: Path, uncertainty: type[NDUncertainty], value: float) -> None:
    """Files of `astropy.nddata.CCDData` tell what the uncertainty is by UTYPE."""
    flags = np.zeros(SHAPE, dtype=bool)
    flags[8, 9] = True
    wcs = astropy.wcs.WCS(tan_header())
    data = CCDData(noise(), unit="adu", uncertainty=uncertainty(np.full(SHAPE, value)), mask=flags, wcs=wcs)
    path = tmp_path / "ccd.fits"
    data.write(path)
    pixels = read(path)
    assert pixels.variance is not None
    np.testing.assert_allclose(pixels.variance, 100.0, rtol=1e-6)
    np.testing.assert_array_equal(has(pixels, "BAD"), flags)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("VARIANCE", np.full(SHAPE, -1.0), "variance in HDU 2 .* no finite positive value; remove it"),
        ("ERR", np.full(SHAPE, -999.0), "error in HDU 2 .* no finite positive value"),
        ("IVAR", np.zeros(SHAPE), "inverse in HDU 2 .* no finite positive value"),
        ("WHT", np.full(SHAPE, np.nan), "weight in HDU 2 .* no finite positive value"),
        # A mask whose 1 means good.
        ("MASK", np.ones(SHAPE, dtype=np.uint8), "HDU 2 .*--ignore-mask"),
        ("MASK", np.full(SHAPE, 0.5), "HDU 2 .*--ignore-mask"),
    ],
)
def test_bad_companions(tmp_path: Path, name: str, value: np.ndarray, message: str) -> None:
    path = write_with(tmp_path / "image.fits", name, value)
    with pytest.raises(FitsIngestError, match=f"image.fits: .*{message}"):
        read(path)


def test_mask_of_nan(tmp_path: Path) -> None:
    """Some programs mark bad pixels in a mask of real numbers as NaN."""
    mask = np.zeros(SHAPE, dtype=np.float32)
    mask[3, 4], mask[5, 6] = np.nan, 1.0
    pixels = read(write_with(tmp_path / "image.fits", "MASK", mask))
    np.testing.assert_array_equal(np.argwhere(has(pixels, "BAD")), [[3, 4], [5, 6]])


@pytest.mark.parametrize("keyword", ["BSCALE", "BZERO"])
def test_scaling_in_quotes(tmp_path: Path, keyword: str) -> None:
    path = write(tmp_path / "image.fits", fits.PrimaryHDU(noise().astype(np.int16), tan_header()))
    with fits.open(path, mode="update", do_not_scale_image_data=True) as hdus:
        hdus[0].header[keyword] = "1.0"
    with pytest.raises(FitsIngestError, match=f"{keyword} = '1.0' is not a number"):
        read(path)


def test_companions_before_the_image(tmp_path: Path) -> None:
    """Whatever the order of the HDUs, they belong to the only image."""
    bad = np.zeros(SHAPE, dtype=np.uint8)
    bad[3, 4] = 1
    companions = [fits.ImageHDU(bad, name="MASK"), fits.ImageHDU(np.full(SHAPE, 10.0), name="ERR")]
    image = fits.ImageHDU(noise(), tan_header(), name="SCI")
    pixels = read(write(tmp_path / "one.fits", fits.PrimaryHDU(), *companions, image))
    np.testing.assert_array_equal(np.argwhere(has(pixels, "BAD")), [[3, 4]])
    np.testing.assert_allclose(pixels.variance, 100.0)
    # It cannot be known to which of two images they belong.
    path = write(tmp_path / "two.fits", fits.PrimaryHDU(), *companions, image, image.copy())
    assert not read(path).has_mask


def test_no_finite_pixel(tmp_path: Path) -> None:
    path = write(tmp_path / "image.fits", fits.PrimaryHDU(np.full(SHAPE, np.nan), tan_header()))
    with pytest.raises(FitsIngestError, match="image.fits: .*HDU 0 .*--hdu"):
        read(path)


def test_damaged_tiles(tmp_path: Path) -> None:
    """Any exception of the decompression becomes a message."""
    hdu = fits.CompImageHDU(noise(), tan_header(), compression_type="GZIP_1", quantize_level=0.0)
    path = write(tmp_path / "image.fits", fits.PrimaryHDU(), hdu)
    content = bytearray(path.read_bytes())
    start = content.rindex(b"\x1f\x8b")
    content[start : start + 40] = bytes(40)
    path.write_bytes(bytes(content))
    with pytest.raises(FitsIngestError, match="image.fits: .*HDU 1"):
        read(path)
