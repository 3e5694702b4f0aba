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

import logging
from pathlib import Path

import astropy.wcs
import numpy as np
import pytest
from astropy.io import fits

from lsst.images import VisitImage
from lsst.images.psfs import GaussianPointSpreadFunction
from lsst.meas.trails.core.planes import BAD_PLANES, canonical_plane
from lsst.meas.trails.core.psf import kernel_fwhm
from lsst.meas.trails.ingest.image import IngestSummary, make_fits_image
from lsst.meas.trails.ingest.layout import FitsIngestError
from lsst.meas.trails.ingest.noise import estimate_variance
from lsst.meas.trails.ingest.observation import FitsOptions, inspect_fits

from support.fits_files import tan_header

SCALE = 0.5
"""Arcseconds per pixel."""

SIZE = 240
SKY_VARIANCE, GAIN = 144.0, 2.0

CALEXP = Path(__file__).resolve().parents[3] / "shared" / "data" / "calexp-0941420_23-cutout.fits"

needs_calexp = pytest.mark.skipif(not CALEXP.exists(), reason="the shared data are not there")


def plain_image(*, fwhm: float = 4.0, stars: int = 16) -> np.ndarray:
    """Return Gaussian stars of 2000 to 40000 counts on a noisy sky of 500 counts."""
    rng = np.random.default_rng(8)
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    image = np.zeros((SIZE, SIZE))
    sigma = fwhm / 2.3548
    side = int(np.sqrt(stars))
    for i in range(stars):
        x0, y0 = (np.array([i % side, i // side]) + 0.5) * SIZE / side + rng.uniform(-2.0, 2.0, 2)
        profile = np.exp(-0.5 * ((x - x0) ** 2 + (y - y0) ** 2) / sigma**2) / (2.0 * np.pi * sigma**2)
        image += 10.0 ** rng.uniform(3.9, 4.6) * profile
    noise = np.sqrt(SKY_VARIANCE + image / GAIN)
    return (image + 500.0 + rng.normal(0.0, noise)).astype(np.float32)


WCS: dict[str, object] = {
    "CRPIX1": 120.0,
    "CRPIX2": 120.0,
    "CD1_1": -SCALE / 3600.0,
    "CD2_2": SCALE / 3600.0,
}

FULL = {
    "EXPTIME": 60.0,
    "DATE-OBS": "2024-11-09T05:00:00",
    "FILTER": "r",
    "GAIN": GAIN,
    "MAGZPT": 28.9,
    "CCDNUM": 7,
    "TELESCOP": "Small",
}


def write(path: Path, image: np.ndarray, **cards: object) -> Path:
    fits.PrimaryHDU(image, tan_header(**{**WCS, **cards})).writeto(path)
    return path


def ingest(path: Path, options: FitsOptions | None = None) -> tuple[VisitImage, IngestSummary]:
    return make_fits_image(inspect_fits(path, options), options)


def test_plain_image(tmp_path: Path) -> None:
    """PSF and noise are measured to 5%, and counts are converted to nJy."""
    counts = plain_image()
    image, summary = ingest(write(tmp_path / "image.fits", counts, **FULL))
    njy = 10.0  # AB 28.9 to 31.4
    assert str(image.unit) == "nJy"
    np.testing.assert_allclose(image.image.array, counts * njy, rtol=1e-5)
    assert image.bbox.start == (0, 0)
    kernel = image.psf.compute_kernel_image(x=120, y=120).array
    assert kernel_fwhm(kernel) == pytest.approx(4.0, rel=0.05)
    assert summary.fwhm == pytest.approx(4.0 * SCALE, rel=0.05)
    assert np.median(image.variance.array) == pytest.approx(SKY_VARIANCE * njy**2, rel=0.05)
    bright = counts > 1500.0
    expected = (SKY_VARIANCE + (counts[bright] - 500.0) / GAIN) * njy**2
    np.testing.assert_allclose(image.variance.array[bright], expected, rtol=0.05)
    for plane in BAD_PLANES:
        assert not np.any(image.mask.get(plane)), plane

    assert (summary.visit, summary.detector, summary.band) == (2024110861237, 7, "r")
    assert image.obs_info.exposure_time is not None
    assert image.obs_info.exposure_time.to_value("s") == 60.0
    assert image.obs_info.datetime_begin is not None
    assert image.obs_info.datetime_begin.utc.isot == "2024-11-09T05:00:00.000"
    assert image.obs_info.telescope == "Small"
    assert image.summary_stats.pixelScale == pytest.approx(SCALE, rel=1e-4)
    sky = image.sky_projection.pixel_to_sky(x=119.0, y=119.0)
    assert (sky.ra.deg, sky.dec.deg) == pytest.approx((150.0, 2.0), abs=1e-9)
    assert image.metadata["zeroPointSource"] == "MAGZPT"
    assert image.metadata["varianceSource"] == "measured sky noise and gain 2 (GAIN = 2)"
    # The limit for point sources: 5 sqrt(V / sum p^2), sum p^2 = 1 / (4 pi sigma^2).
    limit = 5.0 * np.sqrt(SKY_VARIANCE * njy**2 * 4.0 * np.pi * (4.0 / 2.3548) ** 2)
    assert summary.magnitude_limit == pytest.approx(31.4 - 2.5 * np.log10(limit), abs=0.06)


def test_options_replace_the_header(tmp_path: Path) -> None:
    options = FitsOptions(
        fwhm=3.0,
        zeropoint=31.4,
        gain=1e9,
        exposure_time=15.0,
        date="2025-01-01T00:00:00",
        band="i",
        visit=17,
        detector=3,
    )
    counts = plain_image()
    image, summary = ingest(write(tmp_path / "image.fits", counts, **FULL), options)
    assert isinstance(image.psf, GaussianPointSpreadFunction)
    assert image.psf.sigma == pytest.approx(3.0 / SCALE / 2.3548, rel=1e-4)
    np.testing.assert_allclose(image.image.array, counts, rtol=1e-6)
    assert np.max(image.variance.array) < 1.3 * SKY_VARIANCE
    assert (summary.visit, summary.detector, summary.band) == (17, 3, "i")
    assert image.obs_info.exposure_time is not None
    assert image.obs_info.exposure_time.to_value("s") == 15.0
    assert image.obs_info.datetime_begin is not None
    assert image.obs_info.datetime_begin.utc.isot == "2025-01-01T00:00:00.000"
    assert image.sky_projection.pixel_frame.detector == 3


def test_bare_header(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Assumed values are logged with their options."""
    path = write(tmp_path / "image.fits", plain_image())
    with caplog.at_level(logging.WARNING, logger="lsst.meas.trails"):
        image, summary = ingest(path, FitsOptions(fwhm=2.0))
    for option in ("--zeropoint", "--exposure-time", "--date", "--band", "--gain"):
        assert option in caplog.text
    assert image.metadata["zeroPointAssumed"] is True
    assert image.metadata["assumedTimeFlag"] is True
    assert image.metadata["assumedExposureTimeFlag"] is True
    assert summary.band == "unknown"
    assert summary.detector == 0
    # The visit number depends only on the contents.
    assert inspect_fits(path).visit == summary.visit
    other = write(tmp_path / "other.fits", plain_image() + 1.0)
    assert inspect_fits(other).visit != summary.visit


def test_bad_pixels_and_saturation(tmp_path: Path) -> None:
    counts = plain_image()
    counts[10, :] = np.nan
    counts[200:204, 100:104] = 70000.0
    image, _ = ingest(write(tmp_path / "image.fits", counts, **FULL, SATURATE=65000.0), FitsOptions(fwhm=2.0))
    np.testing.assert_array_equal(image.mask.get("NO_DATA"), np.isnan(counts))
    np.testing.assert_array_equal(image.mask.get("SATURATED"), counts == 70000.0)


def test_wide_masks(tmp_path: Path) -> None:
    """Unknown mask planes are preserved."""
    counts = plain_image()
    bits = np.zeros(counts.shape, dtype=np.int32)
    bits[5, :] = 1 << 2
    bits[:, 6] |= 1 << 30
    cards = tan_header(**WCS)
    mask_cards = fits.Header({"MP_INTRP": 2, "MP_GHOST": 30})
    path = tmp_path / "image.fits"
    fits.HDUList(
        [
            fits.PrimaryHDU(header=fits.Header(FULL)),
            fits.ImageHDU(counts, cards, name="IMAGE"),
            fits.ImageHDU(bits, mask_cards, name="MASK"),
            fits.ImageHDU(np.full(counts.shape, SKY_VARIANCE), name="VARIANCE"),
        ]
    ).writeto(path)
    image, _ = ingest(path, FitsOptions(fwhm=2.0))
    assert image.metadata["varianceSource"] == "file"
    np.testing.assert_allclose(image.variance.array, SKY_VARIANCE * 100.0, rtol=1e-5)
    np.testing.assert_array_equal(image.mask.get("INTERPOLATED"), bits & 4 != 0)
    np.testing.assert_array_equal(image.mask.get("GHOST"), bits >> 30 & 1 != 0)
    assert "GHOST" not in ingest(path, FitsOptions(fwhm=2.0, use_mask=False))[0].mask.schema


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (plain_image(stars=0), FitsOptions(), "--fwhm"),
        (plain_image(), FitsOptions(fwhm=0.1), "0.2 pixels"),
        (plain_image(), FitsOptions(visit=10**13), "--visit"),
        (plain_image(), FitsOptions(detector=1000), "--detector"),
        (plain_image(), FitsOptions(date="soon"), "soon"),
        (plain_image(), FitsOptions(zeropoint=float("nan")), "--zeropoint is nan"),
        (plain_image(), FitsOptions(gain=float("inf")), "--gain is inf"),
        (plain_image(), FitsOptions(exposure_time=1e9), "--exposure-time is 1e"),
        (plain_image(), FitsOptions(band=""), "--band ''"),
        (plain_image() * np.tile([[1.0, 0.8], [0.8, 0.6]], (SIZE // 2, SIZE // 2)), FitsOptions(), "debayer"),
        (np.full((SIZE, SIZE), 7.0, dtype=np.float32), FitsOptions(fwhm=2.0), "HDU 0 .*--hdu"),
    ],
)
def test_refused(tmp_path: Path, image: np.ndarray, options: FitsOptions, message: str) -> None:
    path = write(tmp_path / "image.fits", image, **FULL)
    with pytest.raises(FitsIngestError, match=message):
        ingest(path, options)


def test_saturation_below_the_sky(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A level in other units than the pixels would mask the whole image."""
    path = write(tmp_path / "image.fits", plain_image(), **FULL, SATURATE=1.0)
    with caplog.at_level(logging.WARNING):
        image, _ = ingest(path, FitsOptions(fwhm=2.0))
    assert "saturation level of 1 in the header is not above the sky of 5" in caplog.text
    assert not np.any(image.mask.get("SATURATED"))


@needs_calexp
def test_calexp() -> None:
    """Ingest a real calexp of the Dark Energy Camera without options."""
    observation = inspect_fits(CALEXP)
    image, summary = make_fits_image(observation)
    assert (summary.visit, summary.detector, summary.band) == (941420, 23, "g")
    assert image.image.array.shape == (400, 217)
    # DATE-AVG of the header, which is TAI.
    timing = observation.timing
    middle = timing.begin + 0.5 * (timing.end - timing.begin)
    assert middle.tai.isot == "2020-03-06T00:05:52.410"
    with fits.open(CALEXP) as hdus:
        pixels, bits, variance = (hdus[n].data.copy() for n in (1, 2, 3))
        cards = {k.removeprefix("MP_"): v for k, v in hdus[2].header.items() if k.startswith("MP_")}
        njy = float(hdus[12].data["calibrationMean"][0])
        wcs = astropy.wcs.WCS(hdus[1].header)
        stack_psf = hdus[11].data["image"][0].reshape(31, 31)
    np.testing.assert_allclose(image.image.array, pixels * njy, rtol=1e-5)
    np.testing.assert_allclose(image.variance.array, variance * njy**2, rtol=1e-5)
    for name, bit in cards.items():
        flagged = bits >> bit & 1 != 0
        if canonical_plane(name) in image.mask.schema:
            np.testing.assert_array_equal(image.mask.get(canonical_plane(name)), flagged, err_msg=name)
        else:
            assert not np.any(flagged), name
    assert image.mask.get("SATURATED").sum() == 116

    # The dead edge is bad, and few other pixels are.
    bad = np.zeros(image.image.array.shape, dtype=bool)
    for plane in BAD_PLANES:
        bad |= image.mask.get(plane)
    assert np.all(bad[:, -26:])
    assert np.mean(bad[:, :-26]) < 0.003

    y, x = (g.ravel() for g in np.mgrid[0:400:20, 0:217:20])
    sky = image.sky_projection.pixel_to_sky(x=x, y=y)
    x_back, y_back = wcs.world_to_pixel(sky)
    assert np.max(np.hypot(x_back - x, y_back - y)) < 1e-3

    # The stack's PSF is from a thousand stars, this one from a single star.
    kernel = image.psf.compute_kernel_image(x=100, y=200).array
    assert kernel_fwhm(kernel) == pytest.approx(kernel_fwhm(stack_psf), rel=0.05)


@needs_calexp
def test_variance_of_calexp() -> None:
    """The measured variance agrees with the stack's to 10%.

    Pixels of a real image are slightly correlated.
    """
    with fits.open(CALEXP) as hdus:
        pixels, bits, variance = (hdus[n].data.copy() for n in (1, 2, 3))
        cards = hdus[2].header
        bad = (bits & (1 << cards["MP_BAD"] | 1 << cards["MP_INTRP"])) != 0
        sources = (bits & (1 << cards["MP_DETECTED"])) != 0
    measured = estimate_variance(np.array(pixels, dtype=np.float32), bad)
    good = ~bad & ~sources
    assert np.median(measured[good]) == pytest.approx(np.median(variance[good]), rel=0.1)
