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

from lsst.meas.trails.core.planes import plane_bits
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.sim.flaws import (
    EDGES,
    Flaws,
    add_crosstalk,
    add_ghost,
    amplifier_steps,
    correlate,
    draw_edge,
)
from lsst.meas.trails.sim.scene import SceneConfig, simulate_scene

PSF = PsfGrid.gaussian(4.0, 25)

EMPTY = SceneConfig(
    shape=(200, 240), sky=None, cosmic_rays=0.0, bad_column_rate=0.0, background=0.0, satellite_chance=0.0
)


@pytest.mark.parametrize("weight", [0.0, 0.2, 0.5])
def test_correlated_noise_keeps_its_rms(weight: float) -> None:
    noise = correlate(np.random.default_rng(1).standard_normal((300, 300), dtype=np.float32), weight)
    assert noise.std() == pytest.approx(1.0, rel=0.015)
    expected = weight * (1.0 - weight) / (weight**2 + (1.0 - weight) ** 2)
    for axis in (0, 1):
        assert np.mean(noise * np.roll(noise, 1, axis=axis)) == pytest.approx(expected, abs=0.015)


def test_amplifiers_have_levels() -> None:
    levels = amplifier_steps((1000, 1100), 3.0, np.random.default_rng(2))
    edges = np.flatnonzero(np.any(np.diff(levels, axis=1) != 0.0, axis=0))
    assert np.all(np.diff(edges) == 509)
    assert len(edges) in (2, 3)
    assert np.unique(amplifier_steps((4000, 4072), 3.0, np.random.default_rng(3))).size == 16


@pytest.mark.parametrize("seed", range(4))
def test_crosstalk_is_an_amplifier_away(seed: int) -> None:
    image = np.zeros((50, 1100), dtype=np.float32)
    image[20, 550], image[30, 550] = 1000.0, 50.0
    add_crosstalk(image, 1000.0, -1e-3, np.random.default_rng(seed))
    rows, columns = np.nonzero(image < 0.0)
    assert rows.tolist() == [20]
    assert columns[0] in (41, 1059)
    assert image[20, columns[0]] == pytest.approx(-1.0)


def test_ghosts_are_faint_and_smooth() -> None:
    image = np.zeros((600, 600), dtype=np.float32)
    for seed in range(12):
        add_ghost(image, 10.0, np.random.default_rng(seed))
    assert 0.3 < image.max() < 12 * 30.0
    assert image.min() == 0.0


@pytest.mark.parametrize("seed", range(8))
def test_edges_have_their_planes(seed: int) -> None:
    config = dataclasses.replace(EMPTY, flaws=Flaws(edge_chance=1.0))
    planes = simulate_scene(config, PSF, np.random.default_rng(seed)).planes
    marked = planes.mask != 0
    assert 0.0 < marked.mean() < 0.6
    bits = set(np.unique(planes.mask[marked]).tolist())
    assert bits <= {plane_bits(names) for names in EDGES.values()}
    np.testing.assert_array_equal(np.isnan(planes.image), planes.has("NO_DATA"))


def test_all_kinds_of_edges_are_drawn() -> None:
    kinds = {draw_edge((50, 60), np.random.default_rng(seed))[1] for seed in range(40)}
    assert kinds == set(EDGES)


def test_the_stated_variance_is_wrong() -> None:
    config = dataclasses.replace(EMPTY, flaws=Flaws(variance_factor=1.15))
    planes = simulate_scene(config, PSF, np.random.default_rng(1)).planes
    assert np.nanvar(planes.image) * 1.15 == pytest.approx(float(np.nanmedian(planes.variance)), rel=0.03)


def test_worms_wander() -> None:
    straight, worm = (
        simulate_scene(
            dataclasses.replace(
                EMPTY, cosmic_rays=400.0, flagged_cosmic_rays=1.0, flaws=Flaws(scatter=(s, s))
            ),
            PSF,
            np.random.default_rng(5),
        ).planes
        for s in (0.001, 0.5)
    )
    # Tracks of the same lengths cover more pixels.
    assert worm.has("COSMIC_RAY").sum() > 1.15 * straight.has("COSMIC_RAY").sum()
