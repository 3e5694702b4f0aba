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
"""Tests of the scenes of the domains."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from lsst.meas.trails.core.geometry import Trail, segment_distance
from lsst.meas.trails.core.planes import ImagePlanes
from lsst.meas.trails.core.psf import FWHM_PER_SIGMA, PsfGrid
from lsst.meas.trails.core.render import render_trail

import domain_scenes
from domain_optics import convolve
from domain_scenes import DOMAINS, make_scene, trail_points
from domain_sky import paint_points

SHAPE = (384, 400)


@pytest.mark.parametrize("trail", [Trail(60.3, 55.7, 40.0, 33.0, 1.0), Trail(64.0, 64.5, 7.3, 121.0, 1.0)])
def test_painted_trails_are_oversampled_sums_of_psfs(trail: Trail) -> None:
    """The light of a trail, that of `core.render` and a sum of Gaussians by their formula agree."""
    fwhm, shape = 4.5, (128, 130)
    psf = PsfGrid.gaussian(fwhm, size=31)
    sky = np.zeros(shape)
    paint_points(sky, *trail_points(trail))
    painted = convolve(sky, psf.kernels)
    rendered = np.zeros(shape)
    slices, part = render_trail(psf, trail).clipped(shape)
    rendered[slices] = part
    t = (np.arange(2000) + 0.5) / 2000.0 - 0.5
    dx, dy = trail.direction
    y, x = np.mgrid[: shape[0], : shape[1]]
    sigma = fwhm / FWHM_PER_SIGMA
    direct = np.zeros(shape)
    for u, v in zip(trail.x + trail.length * t * dx, trail.y + trail.length * t * dy, strict=True):
        direct += np.exp(-0.5 * ((x - u) ** 2 + (y - v) ** 2) / sigma**2)
    direct /= direct.sum()
    np.testing.assert_allclose(painted, direct, atol=2e-3 * direct.max())
    np.testing.assert_allclose(rendered, direct, atol=2e-3 * direct.max())


def matched_snr(planes: ImagePlanes, psf: PsfGrid, trail: Trail, variance: float) -> float:
    """Return the SNR of a trail by a matched filter in white noise."""
    slices, part = render_trail(psf, trail).clipped(planes.shape)
    return float(np.sum(part * planes.image[slices]) / np.sqrt(variance * np.sum(np.square(part))))


@pytest.mark.parametrize(
    ("name", "mode"), [("blank", "direct"), ("blank", "difference"), ("resampled", "direct")]
)
def test_stated_snrs_are_those_of_the_pixels(name: str, mode: str) -> None:
    """Matched filters scatter by 1 about the SNR of the truth table, also in interpolated pixels."""
    domain = dataclasses.replace(DOMAINS[name], empty=True, registration=0.0, kernel_error=0.0)
    pulls = []
    for index in range(4):
        scene = make_scene(domain, 5, index, mode, shape=(700, 700))
        for row in scene.truth[scene.truth["snr_optimal"] < 30.0]:
            trail = Trail(*(float(row[key]) for key in ("x", "y", "trail_length", "beta")))
            flux = float(row["flux"])
            stamp = render_trail(scene.planes.psf, trail)
            # The noise of the difference is known from the truth.
            variance = flux**2 * np.sum(np.square(stamp.array)) / float(row["snr_optimal"]) ** 2
            pulls.append(
                matched_snr(scene.planes, scene.planes.psf, trail, variance) - float(row["snr_optimal"])
            )
    assert len(pulls) > 40
    assert np.mean(pulls) == pytest.approx(0.0, abs=0.5)
    assert np.std(pulls) == pytest.approx(1.0, abs=0.3)


def test_modes_have_the_same_sky_and_noise() -> None:
    image, with_template, difference = (
        make_scene(DOMAINS["typical"], 1, 0, mode, shape=SHAPE)
        for mode in ("direct", "template", "difference")
    )
    np.testing.assert_array_equal(image.planes.image, with_template.planes.image)
    assert image.planes.template is None
    assert with_template.planes.template is not None
    # What is constant is in the template as well.
    template = with_template.planes.template
    usable = np.isfinite(template) & ~image.planes.bad()
    assert np.corrcoef(template[usable], image.planes.image[usable])[0, 1] > 0.1
    for one in (with_template, difference):
        np.testing.assert_array_equal(image.truth["x"], one.truth["x"])
        np.testing.assert_array_equal(image.points, one.points)
    assert np.all(difference.truth["snr_optimal"] < 1.1 * image.truth["snr_optimal"])
    again = make_scene(DOMAINS["typical"], 1, 0, "difference", shape=SHAPE)
    np.testing.assert_array_equal(again.planes.image, difference.planes.image)
    other = make_scene(DOMAINS["typical"], 1, 1, "direct", shape=SHAPE)
    assert not np.array_equal(other.planes.image, image.planes.image)


def test_pixels_of_a_seed_stay_the_same() -> None:
    """Results of one seed can be compared between versions: no random number is drawn more or less."""
    scenes = {
        mode: make_scene(DOMAINS["spikes"], 7, 0, mode, shape=(256, 300)) for mode in ("direct", "difference")
    }
    rows, columns = [10, 100, 128, 250], [20, 200, 150, 290]
    for mode, pixels in (
        ("direct", [0.8597, 0.5540, -0.2586, 1.0421]),
        # The difference is drawn last.
        ("difference", [-0.0154, -1.7870, -1.0437, -0.1530]),
    ):
        # Transforms of other machines round differently.
        np.testing.assert_allclose(scenes[mode].planes.image[rows, columns], pixels, atol=2e-4)


def test_galaxies_and_arms_of_a_scene() -> None:
    scene = make_scene(DOMAINS["galaxies"], 3, 0, "direct", shape=(700, 700))
    x, y, angle, ratio, radius, snr = scene.galaxies.T
    assert len(x) > 30
    assert np.all((x >= 0.0) & (x < 700.0) & (y >= 0.0) & (y < 700.0))
    assert np.all((angle >= 0.0) & (angle <= 180.0))
    assert ratio.min() > 0.03
    assert ratio.max() < 0.35
    assert radius.min() > 1.0
    assert snr.min() >= 5.0
    # Each galaxy is a bright ridge along its axis.
    edge_on = (snr > 30.0) & (ratio < 0.2) & (np.abs(x - 350.0) < 320.0) & (np.abs(y - 350.0) < 320.0)
    t = 0.7 * radius[edge_on] * np.array([[-1.0], [0.0], [1.0]])
    direction = np.deg2rad(angle[edge_on])
    light = [
        np.median(
            scene.planes.image[
                np.round(y[edge_on] + t * np.sin(direction + turn)).astype(int),
                np.round(x[edge_on] + t * np.cos(direction + turn)).astype(int),
            ]
        )
        for turn in (0.0, 0.5 * np.pi)
    ]
    assert np.count_nonzero(edge_on) >= 3
    assert light[0] > 2.0
    assert light[0] > 1.5 * light[1]
    spikes = make_scene(DOMAINS["spikes"], 3, 0, "direct", shape=(700, 700))
    assert len(spikes.arms) >= 8
    assert np.all((spikes.arms >= -0.5) & (spikes.arms <= 699.5))
    blank = make_scene(DOMAINS["blank"], 3, 0, "direct", shape=(256, 256))
    assert blank.galaxies.shape == (0, 6)
    assert blank.arms.shape == (0, 4)


def test_trails_and_points_are_apart() -> None:
    scene = make_scene(DOMAINS["blank"], 2, 0, "direct")
    truth = scene.truth
    assert len(truth) == 46
    assert len(scene.points) == 10
    assert truth["snr_optimal"].max() > 300.0
    assert 6.0 <= truth["trail_length"].min() < 10.0
    assert 60.0 < truth["trail_length"].max() <= 150.0
    for i in range(len(truth)):
        others = np.delete(np.arange(len(truth)), i)
        ends = [np.asarray(truth[key])[others] for key in ("x0", "y0", "x1", "y1")]
        assert segment_distance(float(truth["x"][i]), float(truth["y"][i]), *ends).min() > 28.0


@pytest.mark.parametrize("name", [name for name, domain in DOMAINS.items() if not domain.psf])
def test_domains_are_searchable(name: str) -> None:
    mode = DOMAINS[name].only or "template"
    planes = make_scene(DOMAINS[name], 3, 0, mode, shape=SHAPE).planes
    bad = planes.bad()
    assert bad.mean() < 0.5
    good = planes.image[~bad] / np.sqrt(planes.variance[~bad])
    low, middle, high = np.percentile(good, (15.9, 50.0, 84.1))
    # The sky, and what lies on it.
    assert 0.85 < middle - low < 1.25
    assert high - low > 1.7
    fwhm = planes.psf.fwhm(200.0, 200.0)
    assert DOMAINS[name].seeing[0] * 0.97 < fwhm < DOMAINS[name].seeing[1] * 1.03


def test_bright_stars_are_masked() -> None:
    domain = dataclasses.replace(DOMAINS["spikes"], bright_stars=20)
    planes = make_scene(domain, 4, 0, "direct", shape=SHAPE).planes
    saturated = planes.has("SATURATED")
    assert 0.001 < saturated.mean() < 0.5
    assert planes.image[~planes.bad()].max() < planes.image[saturated].max()


def test_nothing_comes_from_the_simulator_of_training() -> None:
    for name in ("domain_scenes", "domain_sky", "domain_optics"):
        text = Path(domain_scenes.__file__).with_name(f"{name}.py").read_text()
        assert not re.search(r"^(from|import) lsst\.meas\.trails\.(sim|training)", text, re.MULTILINE)
