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

"""Scenes to learn from: what is in them, and that sets of different seeds differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lsst.meas.trails.core.geometry import Trail
from lsst.meas.trails.core.injection.fresh import TrailFreeImage, add_fresh_trails
from lsst.meas.trails.core.render import render_trail
from lsst.meas.trails.core.tiles.layout import IGNORED
from lsst.meas.trails.training.backgrounds import read_background
from lsst.meas.trails.training.scenes import TrainingScenes, scene_truth, simulate_background_file

SMALL = TrainingScenes(seed=11, count=2, shape=(384, 384), trails=40.0, satellite_chance=0.0, sky="narrow")


@pytest.fixture(scope="module")
def difference() -> TrainingScenes:
    return SMALL.replace(difference=True, trails=12.0, length=(20.0, 40.0), snr=(15.0, 25.0))


def test_scenes_are_their_seed_and_number() -> None:
    first, again = SMALL.scene(0), SMALL.scene(0)
    np.testing.assert_array_equal(first.planes.image, again.planes.image)
    for other in (SMALL.scene(1), SMALL.replace(seed=12).scene(0)):
        assert not np.array_equal(first.planes.image, other.planes.image, equal_nan=True)


def test_faint_trails_are_ignored_and_others_are_truth() -> None:
    scene = SMALL.scene(0)
    truth = scene_truth(scene, SMALL)
    snr = np.asarray(scene.truth["snr_optimal"])
    rows, columns = np.round(scene.trails.y).astype(int), np.round(scene.trails.x).astype(int)
    inside = (rows >= 0) & (rows < 384) & (columns >= 0) & (columns < 384)
    assert np.all(truth[rows, columns][inside & (snr >= SMALL.ignore_below)] == 1)
    faint = inside & (snr < SMALL.ignore_below)
    # Another, brighter one may cross it.
    assert np.all(np.isin(truth[rows, columns][faint], (IGNORED, 1)))


def test_trails_of_a_difference_have_the_snr_that_its_truth_says(difference: TrainingScenes) -> None:
    scene = difference.scene(0)
    planes, bad = scene.planes, scene.planes.bad()
    assert planes.template is None
    pulls = []
    for i, snr in enumerate(np.asarray(scene.truth["snr_optimal"])):
        x, y, length, angle = (
            float(getattr(scene.trails, name)[i]) for name in ("x", "y", "length", "angle")
        )
        stamp = render_trail(planes.psf, Trail(x, y, length, angle))
        slices, profile = stamp.clipped(planes.shape)
        good = ~bad[slices]
        if snr < 5.0 or not np.any(good):
            continue
        weighted = profile[good] / planes.variance[slices][good]
        measured = weighted @ planes.image[slices][good] / np.sqrt(weighted @ profile[good])
        pulls.append(float(measured) - float(snr))
    # One sigma each; neighbors and what is left of stars pull single ones
    # away, a wrong PSF, flux or noise all of them.
    assert len(pulls) > 5
    assert np.median(pulls) == pytest.approx(0.0, abs=4.0 * 1.25 / np.sqrt(len(pulls)))


def test_saturated_trails_of_a_difference_do_not_hide_themselves(difference: TrainingScenes) -> None:
    scene = difference.replace(trails=6.0, snr=(1e5, 2e5)).scene(0)
    rows, columns = (np.rint(np.clip(part, 0, 383)).astype(int) for part in (scene.trails.y, scene.trails.x))
    assert np.all(scene.planes.has("SATURATED")[rows, columns])
    inside = np.all([(end > 20.0) & (end < 363.0) for end in scene.trails.ends], axis=0)
    visible = np.asarray(scene.truth["visible_fraction"])[inside]
    assert len(visible) >= 3
    assert np.median(visible) > 0.97


def test_a_difference_is_empty_sky_for_the_most_part(difference: TrainingScenes) -> None:
    scene = difference.replace(trails=0.0).scene(1)
    good = ~scene.planes.bad()
    ratio = scene.planes.image[good] / np.sqrt(scene.planes.variance[good])
    # The median absolute deviation of a standard normal variable.
    assert np.median(np.abs(ratio)) == pytest.approx(0.6745, rel=0.03)


def test_fractions_of_templates_and_differences() -> None:
    mixed = SMALL.replace(shape=(64, 64), template=0.5, difference=0.25)
    planes = [mixed.scene(index).planes for index in range(8)]
    with_template = [image.template is not None for image in planes]
    subtracted = [bool(image.has("DETECTED", "DETECTED_NEGATIVE").any()) for image in planes]
    assert with_template == [False, True, False, False, True, False, True, False]
    assert [index for index in (3, 7) if not subtracted[index]] == []
    assert not any(subtracted[index] for index in (0, 1, 2, 4, 5, 6))


def test_backgrounds_have_no_trails(tmp_path: Path) -> None:
    scenes = SMALL.replace(shape=(64, 64), template=True, snr=(5.0, 9.0))
    assert scenes.without_trails() == SMALL.replace(shape=(64, 64), template=True).without_trails()
    simulate_background_file(scenes, 0, tmp_path / "0.safetensors")
    background = read_background(tmp_path / "0.safetensors")
    assert (background.shape, background.has_template) == ((64, 64), True)
    np.testing.assert_array_equal(background.flags.numpy() & 1 != 0, scenes.background(0).planes.bad())


def test_backgrounds_of_wide_differences_take_trails_of_their_own_light() -> None:
    scenes = TrainingScenes(
        seed=3,
        count=1,
        shape=(256, 256),
        trails=4.0,
        difference=True,
        snr=(300.0, 400.0),
        length=(20.0, 30.0),
    )
    # A scene whose difference states a narrower PSF, and which has data everywhere.
    background = next(found for i in range(40) if suits(found := scenes.background(i)))
    light_psf = background.light_psf
    assert light_psf is not None
    fresh = add_fresh_trails(background, scenes.population, np.random.default_rng(1))
    assert fresh.planes.psf is background.planes.psf
    added = fresh.planes.image - background.planes.image
    stamps = [render_trail(light_psf, trail).clipped((256, 256))[1] for trail in fresh.trails]
    expected = sum(float(flux) * part.sum() for flux, part in zip(fresh.trails.flux, stamps, strict=True))
    assert added.sum(dtype=float) == pytest.approx(expected, rel=0.05)
    assert fresh.truth.any()


def suits(background: TrailFreeImage) -> bool:
    planes, light = background.planes, background.light_psf
    assert light is not None
    return bool(np.isfinite(planes.image).all()) and light.fwhm(128, 128) > 1.05 * planes.psf.fwhm(128, 128)


def test_skies_differ_and_narrow_is_the_former() -> None:
    narrow, wide = (SMALL.replace(sky=sky, trails=0.0) for sky in ("narrow", "wide"))
    widths = {
        name: [scenes.scene(i).planes.psf.fwhm(192.0, 192.0) for i in range(8)]
        for name, scenes in (("narrow", narrow), ("wide", wide))
    }
    assert max(widths["narrow"]) < 7.8
    assert max(widths["wide"]) > 9.0
    assert TrainingScenes(seed=1, count=1).sky == "wide"
