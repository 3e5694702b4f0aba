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

import dataclasses

import numpy as np
import pytest

from lsst.meas.trails.core.injection.fresh import add_fresh_trails
from lsst.meas.trails.core.injection.population import TrailPopulation
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.sim.scene import SceneConfig, simulate_scene
from lsst.meas.trails.sim.sky import SkyConfig
from lsst.meas.trails.sim.template import TemplateConfig

PSF = PsfGrid.gaussian(4.0, 25)


def test_template_does_not_change_the_image() -> None:
    config = SceneConfig(shape=(128, 160))
    alone = simulate_scene(config, PSF, np.random.default_rng(6))
    both = simulate_scene(
        dataclasses.replace(config, template=TemplateConfig()), PSF, np.random.default_rng(6)
    )
    np.testing.assert_array_equal(alone.planes.image, both.planes.image)
    assert alone.planes.template is None
    assert both.planes.template is not None
    again = simulate_scene(
        dataclasses.replace(config, template=TemplateConfig()), PSF, np.random.default_rng(6)
    )
    np.testing.assert_array_equal(both.planes.template, again.planes.template)


def test_blank_sky_has_the_nominal_noise() -> None:
    config = SceneConfig(
        shape=(200, 240), sky=None, cosmic_rays=0.0, bad_column_rate=0.0, background=0.0, satellite_chance=0.0
    )
    planes = simulate_scene(config, PSF, np.random.default_rng(1)).planes
    # The standard deviation of 48 000 pixels has an error of 0.3%.
    assert np.nanstd(planes.image) == pytest.approx(17.8, rel=0.015)
    np.testing.assert_allclose(planes.variance[np.isfinite(planes.variance)], 17.8**2, rtol=1e-6)


def test_truth_lists_trails_and_satellites() -> None:
    config = SceneConfig(shape=(256, 320), trails=TrailPopulation(number=5), satellite_chance=1.0)
    scene = simulate_scene(config, PSF, np.random.default_rng(2))
    assert list(scene.truth["source_type"]) == ["Trail"] * len(scene.trails) + ["Satellite"]
    np.testing.assert_allclose(scene.truth["x"][:-1], scene.trails.x)


@pytest.mark.parametrize("sky", [None, SkyConfig(star_density=60.0)])
def test_saturated_trails_do_not_hide_themselves(sky: SkyConfig | None) -> None:
    """The same trails are as visible as with an infinite full well, but for the saturated stars."""
    population = TrailPopulation(number=6, length=(20.0, 60.0), brightness=(2e4, 5e4))
    config = SceneConfig(
        shape=(400, 400), sky=sky, trails=population, satellite_chance=0.0, cosmic_rays=0.0,
        bad_column_rate=0.0, dead_amplifier_chance=0.0,
    )  # fmt: skip
    scenes = [
        simulate_scene(dataclasses.replace(config, full_well=well), PSF, np.random.default_rng(5))
        for well in (40_000.0, 1e12)
    ]
    saturated, free = (scene.truth[scene.truth["source_type"] == "Trail"] for scene in scenes)
    np.testing.assert_array_equal(saturated["x"], free["x"])
    rows, columns = (np.rint(np.clip(saturated[name], 0, 399)).astype(int) for name in ("y", "x"))
    assert np.all(scenes[0].planes.has("SATURATED")[rows, columns])
    lost = np.asarray(free["visible_fraction"]) - np.asarray(saturated["visible_fraction"])
    assert np.median(lost) < 0.01
    assert np.min(lost) >= 0.0
    assert np.median(np.asarray(saturated["snr_optimal"]) / np.asarray(free["snr_optimal"])) > 0.99
    # Nothing is hidden on a blank sky.
    assert sky is not None or not np.any(lost)


def test_dead_amplifier_and_masks() -> None:
    config = SceneConfig(shape=(128, 160), dead_amplifier_chance=1.0, cosmic_rays=2000.0)
    planes = simulate_scene(config, PSF, np.random.default_rng(3)).planes
    # One of 16 amplifiers.
    assert np.isnan(planes.image).mean() == pytest.approx(1.0 / 16.0)
    np.testing.assert_array_equal(np.isnan(planes.image), planes.has("NO_DATA"))
    assert planes.has("COSMIC_RAY").any()


@pytest.mark.parametrize(
    "change", [{"shape": (0, 5)}, {"gain": 0.0}, {"sky_noise": -1.0}, {"full_well": 0.0}]
)
def test_bad_configuration(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"shape|positive"):
        SceneConfig(**change)  # type: ignore[arg-type]


def test_trail_free_scenes_take_fresh_trails() -> None:
    config = SceneConfig(shape=(256, 320), satellite_chance=1.0)
    scene = simulate_scene(config, PSF, np.random.default_rng(2))
    background = scene.trail_free()
    assert background.full_well == pytest.approx(130_000.0 / 1.85)
    assert background.gain == 1.85
    assert background.ignored.any()
    fresh = add_fresh_trails(background, TrailPopulation(number=5), np.random.default_rng(1))
    assert fresh.truth.any()
    assert np.all(fresh.ignored[background.ignored])
    with_trails = simulate_scene(
        dataclasses.replace(config, trails=TrailPopulation(number=5)), PSF, np.random.default_rng(2)
    )
    with pytest.raises(ValueError, match="5 trails"):
        with_trails.trail_free()
