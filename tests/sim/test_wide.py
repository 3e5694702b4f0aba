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

import dataclasses

import numpy as np
import pytest

from lsst.meas.trails.core.injection.fresh import add_fresh_trails
from lsst.meas.trails.core.injection.population import TrailPopulation
from lsst.meas.trails.sim.difference import subtract_template, template_planes
from lsst.meas.trails.sim.scene import Scene, simulate_scene
from lsst.meas.trails.sim.wide import Range, WideSky

SHAPE = (256, 320)


BUSY = dataclasses.replace(
    WideSky(),
    star_density=Range(80.0, 81.0),
    new_points=Range(1000.0, 1001.0),
    star_slope=Range(0.15, 0.16),
    satellites=Range(8.0, 9.0),
    satellite_patterns=Range(0.5, 0.6),
    sky_noise=Range(10.0, 11.0),
    cosmic_rays=Range(1000.0, 1001.0),
)
"""A small scene of it has everything."""


FEW = ("new_points", "old_points", "template_holes", "ghosts", "bad_columns", "edges", "noise_correlation")
"""Settings that matter to few small scenes."""

SUBTRACTION = ("kernel_fit", "kernel_width", "stated_psf")
"""Settings that matter to differences alone."""


def scene(
    seed: int, settings: WideSky | None = None, shape: tuple[int, int] = SHAPE, *, template: bool = False
) -> Scene:
    rng = np.random.default_rng(seed)
    settings = settings or WideSky()
    config = settings.scene_config(shape, rng, template=template)
    return simulate_scene(config, settings.psf(shape, rng), rng)


def looks(simulated: Scene, *, subtracted: bool) -> list[np.ndarray]:
    """Return the planes of a scene, or of its difference with its PSF."""
    planes, psf = simulated.planes, simulated.template_psf
    assert psf is not None
    assert planes.template is not None
    if not subtracted:
        return [planes.image, planes.variance, planes.mask, planes.template]
    quality = dataclasses.replace(simulated.subtraction, states_image_psf=True)
    difference = subtract_template(planes, template_planes(planes, psf), quality).planes
    return [difference.image, difference.psf.mean_kernel]


def test_ranges() -> None:
    rng = np.random.default_rng(1)
    for span, median in ((Range(2.0, 8.0), 5.0), (Range(2.0, 8.0, log=True), 4.0)):
        drawn = np.array([span.draw(rng) for _ in range(2000)])
        assert 2.0 <= drawn.min()
        assert drawn.max() <= 8.0
        # Four sigma of 2000 draws.
        assert np.mean(drawn < median) == pytest.approx(0.5, abs=0.045)


def test_every_setting_has_a_range_a_meaning_and_a_source() -> None:
    for field in dataclasses.fields(WideSky):
        assert isinstance(field.default, Range)
        assert field.default.low < field.default.high
        assert field.metadata["meaning"]
        assert field.metadata["source"]


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(WideSky)])
def test_every_setting_changes_the_scene(name: str) -> None:
    """A setting at its lower limit and at its upper limit gives different pixels."""
    span = getattr(WideSky(), name)
    high_value = span.high * (100.0 if name in FEW else 1.0)
    for seed in range(10):
        low, high = (
            looks(
                scene(seed, dataclasses.replace(BUSY, **{name: Range(v, v)}), (96, 112), template=True),
                subtracted=name in SUBTRACTION,
            )
            for v in (span.low, high_value)
        )
        if any(
            a.shape != b.shape or not np.array_equal(np.nan_to_num(a), np.nan_to_num(b))
            for a, b in zip(low, high, strict=True)
        ):
            return
    pytest.fail(f"{name} changes nothing")


def test_scenes_are_reproducible_and_different() -> None:
    first, again, other = scene(1, template=True), scene(1, template=True), scene(2, template=True)
    np.testing.assert_array_equal(first.planes.image, again.planes.image)
    np.testing.assert_array_equal(first.planes.template, again.planes.template)
    assert first.planes.psf.size != other.planes.psf.size or first.gain != other.gain


def test_points_are_new_and_in_the_truth() -> None:
    settings = dataclasses.replace(
        WideSky(),
        new_points=Range(200.0, 200.0),
        point_snr=Range(300.0, 400.0),
        satellites=Range(0.0, 0.0),
        psf_fwhm=Range(4.0, 4.0),
    )
    simulated = scene(3, settings, template=True)
    points = simulated.truth[simulated.truth["source_type"] == "Star"]
    assert len(points) > 5
    image, template = simulated.planes.image, simulated.planes.template
    assert template is not None
    noise = float(np.sqrt(np.median(simulated.planes.variance)))
    excess = []
    for x, y in zip(np.round(points["x"]).astype(int), np.round(points["y"]).astype(int), strict=True):
        if 0 <= x < SHAPE[1] and 0 <= y < SHAPE[0] and np.isfinite(template[y, x]):
            excess.append((image[y, x] - template[y, x]) / noise)
    # The peak of an SNR of 300 with a PSF of 4 pixels is 300 / sqrt(4 pi) / 1.7 sigma.
    assert np.median(excess) > 30.0


def test_backgrounds_take_bright_trails() -> None:
    background = scene(4).trail_free()
    population = TrailPopulation(number=6, brightness=(2e4, 1e5), brightness_index=-1.0, length=(10.0, 60.0))
    fresh = add_fresh_trails(background, population, np.random.default_rng(1))
    new = fresh.planes.has("SATURATED") & ~background.planes.has("SATURATED")
    assert np.count_nonzero(new) > 20
    assert np.all(fresh.planes.has("INTERPOLATED")[new])
