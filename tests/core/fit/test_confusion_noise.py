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

"""Confusion noise."""

from __future__ import annotations

import astropy.table
import numpy as np
import pytest

from lsst.meas.trails.core.background import SkySubtracted
from lsst.meas.trails.core.fit.confusion_noise import confusion_excess, inflate_errors, trail_excess
from lsst.meas.trails.core.geometry import Trails
from lsst.meas.trails.core.injection.inject import inject_trails
from lsst.meas.trails.core.planes import ImagePlanes
from lsst.meas.trails.core.psf import FWHM_PER_SIGMA, PsfGrid

FWHM = 4.0
SIGMA = FWHM / FWHM_PER_SIGMA
PEAK = 2.0 * np.sqrt(np.pi) * SIGMA
"""Flux of a source of significance one, for pixels of noise one."""


def noise(shape: tuple[int, int] = (700, 600), seed: int = 1) -> ImagePlanes:
    rng = np.random.default_rng(seed)
    return ImagePlanes(
        image=rng.standard_normal(shape, dtype=np.float32),
        variance=np.ones(shape, dtype=np.float32),
        mask=np.zeros(shape, dtype=np.uint32),
        psf=PsfGrid.gaussian(FWHM),
    )


def points(planes: ImagePlanes, number: int, flux: float) -> ImagePlanes:
    """Return an image with point sources at random positions."""
    rng = np.random.default_rng(2)
    zero = np.zeros(number)
    x, y = (rng.uniform(0.0, size, number) for size in planes.shape[::-1])
    return inject_trails(planes, Trails(x=x, y=y, length=zero, angle=zero, flux=zero + flux), None)


def excess(planes: ImagePlanes, bad: np.ndarray | None = None) -> float:
    if bad is None:
        bad = np.zeros(planes.shape, dtype=bool)
    return confusion_excess(SkySubtracted(planes, np.zeros(planes.shape), bad))


def test_noise_has_none() -> None:
    # 420 000 pixels are 18 000 independent ones: their variance is known to 1%.
    assert excess(noise()) < 0.03


def test_known_sources() -> None:
    """The sources are many, and each is far below the noise."""
    planes = noise()
    density, peak = 0.02, 0.7
    expected = 2.0 * np.pi * density * (peak * SIGMA) ** 2
    found = excess(points(planes, round(density * planes.image.size), peak * PEAK))
    assert found == pytest.approx(expected, abs=0.04)
    assert expected > 0.15


def test_bright_sources_are_not_looked_at() -> None:
    # No light of bright sources is left around them.
    assert excess(points(noise(), 60, 300.0 * PEAK)) < 0.05


def test_bad_pixels_are_not_looked_at() -> None:
    planes = noise()
    bad = np.zeros(planes.shape, dtype=bool)
    bad[100:140] = True
    planes.image[bad] = 1000.0
    planes.image[120, 50] = np.nan
    assert excess(planes, bad) < 0.03


def test_nothing_can_be_said() -> None:
    planes = points(noise(), 4000, 10.0 * PEAK)
    assert excess(planes, np.ones(planes.shape, dtype=bool)) == 0.0
    assert excess(noise((20, 30))) == 0.0


def test_units_do_not_matter() -> None:
    planes = points(noise(), 8000, PEAK)
    scaled = ImagePlanes(
        image=planes.image * 7.0, variance=planes.variance * 49.0, mask=planes.mask, psf=planes.psf
    )
    assert excess(scaled) == pytest.approx(excess(planes), rel=1e-3)


def test_points_and_lines() -> None:
    point, long = trail_excess(0.3, [0.0, 1e4], FWHM)
    assert point == pytest.approx(0.3, rel=1e-3)
    assert long == pytest.approx(0.3 * np.sqrt(2.0), rel=1e-3)
    assert np.all(np.diff(trail_excess(0.3, np.linspace(1.0, 200.0, 50), FWHM)) > 0.0)


@pytest.mark.parametrize("length", [6.0, 25.0])
def test_a_line_by_its_sums(length: float) -> None:
    """Compute the excess from pixels: sources are noise convolved with the PSF."""
    frequencies = np.fft.fftfreq(512)
    across = np.exp(-2.0 * np.square(np.pi * SIGMA * frequencies))
    along = across * np.sinc(length * frequencies)

    def integral(other: np.ndarray | float) -> float:
        # The two axes separate.
        return float(np.sum(np.square(across * other)) * np.sum(np.square(along * other)))

    def of_a_point(other: np.ndarray | float) -> float:
        return float(np.sum(np.square(across * other)) ** 2)

    ratio = (integral(across) / integral(1.0)) / (of_a_point(across) / of_a_point(1.0))
    assert float(trail_excess(1.0, length, FWHM)) == pytest.approx(ratio, rel=1e-3)


def test_errors_are_raised_together() -> None:
    values = {"xErr": 0.5, "yErr": 0.4, "xyCovariance": 0.1, "trailLengthPixErr": 1.0, "fluxErr": 10.0}
    table = astropy.table.Table(
        {name: [value, np.nan] for name, value in values.items()}
        | {"trailAnglePixErr": [2.0, 80.0], "snr": [8.0, np.nan]}
        | {"trailLengthPix": [0.0, 50.0], "psfFwhm": [FWHM, FWHM]}
    )
    inflate_errors(table, 3.0)
    factor = 2.0
    for name in ("xErr", "yErr", "trailLengthPixErr", "fluxErr"):
        assert table[name][0] == pytest.approx(factor * values[name], rel=1e-3)
    assert table["xyCovariance"][0] == pytest.approx(factor**2 * values["xyCovariance"], rel=1e-3)
    assert list(table["trailAnglePixErr"]) == [pytest.approx(2.0 * factor, rel=1e-3), 90.0]
    assert table["snr"][0] == pytest.approx(8.0 / factor, rel=1e-3)
    assert np.isnan(table["fluxErr"][1])


def test_without_sources_nothing_changes() -> None:
    table = astropy.table.Table(
        {name: [1.0] for name in ("xErr", "yErr", "xyCovariance", "trailLengthPixErr", "fluxErr", "snr")}
        | {"trailAnglePixErr": [1.0], "trailLengthPix": [20.0], "psfFwhm": [FWHM]}
    )
    inflate_errors(table, 0.0)
    assert all(table[name][0] == 1.0 for name in ("xErr", "fluxErr", "snr", "xyCovariance"))
