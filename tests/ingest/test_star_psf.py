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

import contextlib

import galsim
import numpy as np
import piff
import pytest
import scipy.ndimage
import threadpoolctl

from lsst.images.psfs import GaussianPointSpreadFunction, PiffWrapper
from lsst.meas.trails.core.psf import kernel_fwhm
from lsst.meas.trails.ingest import psf_fit, star_psf
from lsst.meas.trails.ingest.star_psf import TooFewStarsError, gaussian_psf, measure_psf

SKY = 400.0


def field(
    psf: galsim.GSObject,
    *,
    stars: int,
    galaxies: int = 0,
    cosmic_rays: int = 0,
    size: int = 400,
    seed: int = 2,
) -> tuple[np.ndarray, np.ndarray]:
    """Return image and variance of sources on a jittered grid over two magnitudes."""
    rng = np.random.default_rng(seed)
    image = galsim.Image(size, size, xmin=0, ymin=0, dtype=np.float64)
    steps = int(np.ceil(np.sqrt(max(1, stars + galaxies))))
    step = size / steps
    places = rng.permutation(steps**2)[: stars + galaxies]
    for k, place in enumerate(places):
        x = (place % steps + 0.5) * step + rng.uniform(-3, 3)
        y = (place // steps + 0.5) * step + rng.uniform(-3, 3)
        flux = 10.0 ** rng.uniform(4.2, 5.0)
        profile = psf.withFlux(flux)
        if k >= stars:
            disk = galsim.Exponential(half_light_radius=rng.uniform(2, 5))
            profile = galsim.Convolve(psf, disk.shear(g1=rng.uniform(-0.3, 0.3), g2=0.0)).withFlux(flux)
        stamp = profile.drawImage(nx=61, ny=61, center=galsim.PositionD(x, y), scale=1.0, dtype=np.float64)
        inside = stamp.bounds & image.bounds
        image[inside] += stamp[inside]
    pixels = image.array
    for _ in range(cosmic_rays):
        x, y, length = rng.integers(5, size - 10), rng.integers(5, size - 10), rng.integers(1, 5)
        pixels[y, x : x + length] += 10.0 ** rng.uniform(3, 4)
    variance = SKY + np.maximum(pixels, 0.0)
    pixels += rng.normal(0.0, np.sqrt(variance)) + 1000.0
    return pixels.astype(np.float32), variance.astype(np.float32)


def true_fwhm(psf: galsim.GSObject) -> float:
    return kernel_fwhm(psf.drawImage(nx=51, ny=51, scale=1.0, dtype=np.float64).array)


PROFILES = {
    "Gaussian": galsim.Gaussian(fwhm=4.0),
    "Moffat": galsim.Moffat(beta=3.0, fwhm=3.5),
    "undersampled": galsim.Gaussian(fwhm=1.6),
    "elliptical": galsim.Kolmogorov(fwhm=4.0).shear(g1=0.05, g2=0.05),
}


@pytest.mark.parametrize("name", PROFILES)
def test_fwhm(name: str) -> None:
    """The FWHM is accurate to 3% among galaxies and cosmic rays."""
    psf = PROFILES[name]
    image, variance = field(psf, stars=12, galaxies=12, cosmic_rays=30)
    measured = measure_psf(image, variance, np.zeros(image.shape, dtype=bool), pixel_scale=0.25)
    assert isinstance(measured.psf, PiffWrapper)
    assert measured.n_stars >= 6
    assert measured.fwhm == pytest.approx(true_fwhm(psf), rel=0.03)
    kernel = measured.psf.compute_kernel_image(x=200, y=200).array
    assert kernel_fwhm(kernel) == pytest.approx(measured.fwhm, rel=0.01)
    if name == "elliptical":
        moments = galsim.hsm.FindAdaptiveMom(galsim.Image(kernel))
        # The pixels round the shape of the core a little.
        assert moments.observed_shape.g1 == pytest.approx(0.05, abs=0.015)
        assert moments.observed_shape.g2 == pytest.approx(0.05, abs=0.015)


def test_bad_pixels_and_one_star() -> None:
    """A single star is sufficient, except with a bad pixel."""
    psf = galsim.Gaussian(fwhm=4.0)
    image, variance = field(psf, stars=1, size=128)
    bad = np.zeros(image.shape, dtype=bool)
    measured = measure_psf(image, variance, bad)
    assert measured.n_stars == 1
    assert measured.fwhm == pytest.approx(true_fwhm(psf), rel=0.03)
    bad[60:68, 64] = True
    image[bad] = np.nan
    with pytest.raises(TooFewStarsError, match="isolated"):
        measure_psf(image, variance, bad)


def test_no_stars() -> None:
    image, variance = field(galsim.Gaussian(fwhm=4.0), stars=0, cosmic_rays=20)
    with pytest.raises(TooFewStarsError):
        measure_psf(image, variance, np.zeros(image.shape, dtype=bool))


def test_falls_back_to_gaussian(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("no convergence")

    monkeypatch.setattr(psf_fit, "_fit", fail)
    psf = galsim.Gaussian(fwhm=4.0)
    image, variance = field(psf, stars=10)
    measured = measure_psf(image, variance, np.zeros(image.shape, dtype=bool))
    assert isinstance(measured.psf, GaussianPointSpreadFunction)
    assert measured.fwhm == pytest.approx(true_fwhm(psf), rel=0.05)
    assert "no convergence" in caplog.text


def crowded(count: int, size: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Return image and variance of stars of 4 pixels, one in 80 pixels."""
    rng = np.random.default_rng(4)
    pixels = np.zeros((size, size))
    np.add.at(pixels, tuple(rng.integers(0, size, (2, count))), 10.0 ** rng.uniform(2.7, 5.5, count))
    pixels = scipy.ndimage.gaussian_filter(pixels, 4.0 / 2.3548)
    variance = SKY + pixels
    return (pixels + rng.normal(0.0, np.sqrt(variance))).astype(np.float32), variance.astype(np.float32)


def test_crowded_field() -> None:
    image, variance = crowded(500)
    measured = measure_psf(image, variance, np.zeros(image.shape, dtype=bool), pixel_scale=0.3)
    assert measured.fwhm == pytest.approx(4.0, rel=0.05)


@pytest.mark.parametrize("limited", [True, False])
def test_needles_are_not_fitted(monkeypatch: pytest.MonkeyPatch, limited: bool) -> None:
    """The profile of a needle takes gigabytes; blended stars lead the fit there."""
    shears = []
    original = piff.Gaussian._resid

    def record(self: piff.Gaussian, params: np.ndarray, *args: object) -> np.ndarray:
        shears.append(float(np.hypot(*params[4:6])))
        residual: np.ndarray = original(self, params, *args)
        return residual

    monkeypatch.setattr(piff.GSObjectModel, "_resid", record)
    line = np.zeros((64, 64))
    line[32, 20:45] = 1e5
    pixels = scipy.ndimage.gaussian_filter(line, 1.0).astype(np.float32)
    blend = psf_fit.Field(pixels, np.full((64, 64), SKY, dtype=np.float32), np.zeros((64, 64), dtype=bool))
    wcs = galsim.PixelScale(0.3)
    star = psf_fit._piff_star(psf_fit.Star(32.0, 32.0, 4.0), 4.0, blend, wcs)
    model = piff.Gaussian(scipy_kwargs=psf_fit._fit_limits(4.0, 0.3) if limited else {"max_nfev": 20})
    with contextlib.suppress(RuntimeError, ValueError):
        psf_fit._fit([star], model, 0, wcs)
    assert (max(shears, default=0.0) < 0.75) == limited


def test_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """More BLAS threads only wait for each other, on the small matrices of the fit."""
    threads = []

    def count(*args: object) -> None:
        threads.extend(p["num_threads"] for p in threadpoolctl.threadpool_info() if p["user_api"] == "blas")
        raise RuntimeError("counted")

    monkeypatch.setattr(star_psf, "fit_psf", count)
    image, variance = field(galsim.Gaussian(fwhm=4.0), stars=4, size=128)
    with threadpoolctl.threadpool_limits(limits=2, user_api="blas"):
        measure_psf(image, variance, np.zeros(image.shape, dtype=bool))
    assert threads
    assert set(threads) == {1}


def test_gaussian() -> None:
    measured = gaussian_psf(4.0, (100, 100))
    assert kernel_fwhm(measured.psf.compute_kernel_image(x=50, y=50).array) == pytest.approx(4.0, rel=1e-3)
    assert measured.n_stars == 0
    for fwhm in (0.2, 100.0):
        with pytest.raises(ValueError, match="1 and 40"):
            gaussian_psf(fwhm, (100, 100))
