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
from collections.abc import Callable

import astropy.table
import numpy as np
import numpy.typing as npt
import pytest

from lsst.meas.trails.core.background import SkySubtracted
from lsst.meas.trails.core.candidates.find import CandidateOptions, find_candidates
from lsst.meas.trails.core.candidates.score import FEATURES, ScoreModel
from lsst.meas.trails.core.geometry import Trail, angle_difference
from lsst.meas.trails.core.injection.saturation import saturate_light
from lsst.meas.trails.core.planes import ImagePlanes, plane_bits
from lsst.meas.trails.core.render import add_trail, optimal_snr, render_trail

type MakePlanes = Callable[..., ImagePlanes]


class Scene:
    """An image and the probability map of a good network."""

    def __init__(self, planes: ImagePlanes) -> None:
        self.planes = planes
        self.probability = np.zeros(planes.shape, dtype=np.float32)

    def add(self, x: float, y: float, length: float, angle: float, snr: float, peak: float = 0.95) -> float:
        """Add a trail to the image and to the map, and return its flux."""
        planes = self.planes
        stamp = render_trail(planes.psf, Trail(x, y, length, angle))
        flux = snr / optimal_snr(stamp, np.ones((1000, 1000)), 1.0) if snr > 0.0 else 0.0
        add_trail(planes.image, planes.psf, Trail(x, y, length, angle, flux))
        slices, part = stamp.clipped(planes.shape)
        ridge = (peak * part / stamp.array.max()).astype(np.float32)
        self.probability[slices] = np.maximum(self.probability[slices], ridge)
        return flux

    def find(self, score: ScoreModel | None = None, **options: float) -> astropy.table.Table:
        sky = SkySubtracted(self.planes, np.zeros(self.planes.shape, dtype=np.float32), self.planes.bad())
        return find_candidates(self.probability, sky, score, CandidateOptions(**options))  # type: ignore[arg-type]


@pytest.fixture
def scene(make_planes: MakePlanes) -> Scene:
    return Scene(make_planes((300, 400), seed=1))


@pytest.fixture
def prefers_long() -> ScoreModel:
    """Return a score that grows with length alone."""
    coefficients = np.zeros(len(FEATURES))
    coefficients[FEATURES.index("log_length")] = 1.0
    zeros, ones = np.zeros(len(FEATURES)), np.ones(len(FEATURES))
    return ScoreModel(mean=zeros, scale=ones, coefficients=coefficients, intercept=-1.0)


def test_trails_are_found_and_measured(scene: Scene) -> None:
    truth = [
        (100.3, 80.6, 60.0, 30.0, 25.0),
        (250.0, 200.0, 20.0, 100.0, 20.0),
        (330.0, 60.0, 10.0, 170.0, 30.0),
    ]
    fluxes = [scene.add(*trail) for trail in truth]
    table = scene.find()
    assert len(table) == 3
    for (x, y, length, angle, snr), flux in zip(truth, fluxes, strict=True):
        row = table[np.argmin(np.hypot(table["x"] - x, table["y"] - y))]
        # Within four stated errors; see test_fit.
        assert row["x"] == pytest.approx(x, abs=4.0 * row["xErr"])
        assert row["y"] == pytest.approx(y, abs=4.0 * row["yErr"])
        assert row["trailLengthPix"] == pytest.approx(length, abs=4.0 * row["trailLengthPixErr"])
        assert angle_difference(row["trailAnglePix"], angle) < 4.0 * row["trailAnglePixErr"]
        assert row["flux"] == pytest.approx(flux, abs=4.0 * row["fluxErr"])
        # The free background reduces the SNR of a matched filter.
        assert 0.7 * snr < row["snr"] < 1.2 * snr
        assert row["snr"] == pytest.approx(row["flux"] / row["fluxErr"])
        assert row["psfFwhm"] == pytest.approx(4.0, rel=1e-3)
        assert row["trailChi2"] / row["trailNdata"] == pytest.approx(1.0, abs=0.2)
        assert np.sqrt(row["deltaChi2"]) == pytest.approx(snr, rel=0.3)
        assert np.hypot(row["x1"] - row["x0"], row["y1"] - row["y0"]) == pytest.approx(row["trailLengthPix"])
    for name in (
        "trail_flag_edge",
        "trail_flag_point",
        "pixelFlags_saturated",
        "badFlag",
        "streakFlag",
        "trail_flag",
    ):
        assert not np.any(table[name])


def test_order_and_score_without_a_model(scene: Scene) -> None:
    for row, peak in ((50, 0.7), (150, 0.95), (250, 0.8)):
        scene.add(200.0, row, 40.0, 0.0, 20.0, peak)
    table = scene.find()
    assert np.round(table["y"] / 50.0).tolist() == [3.0, 5.0, 1.0]
    np.testing.assert_array_equal(table["score"], table["topProbability"])
    assert table["peakProbability"][0] == pytest.approx(0.95, abs=0.01)
    assert np.all(table["meanProbability"] < table["topProbability"])
    assert len(scene.find(min_score=0.7)) == 2
    assert len(scene.find(min_score=0.99)) == 0


def test_a_score_model_is_used(scene: Scene, prefers_long: ScoreModel) -> None:
    scene.add(100.0, 50.0, 20.0, 0.0, 20.0, peak=0.99)
    scene.add(100.0, 150.0, 80.0, 0.0, 20.0, peak=0.7)
    table = scene.find(prefers_long)
    assert table["trailLengthPix"][0] > 60.0
    # exp(-1) L / FWHM as odds.
    odds = np.exp(-1.0) * table["trailLengthPix"] / table["psfFwhm"]
    np.testing.assert_allclose(table["score"], odds / (1.0 + odds), rtol=1e-6)


def test_thresholds(scene: Scene) -> None:
    scene.add(100.0, 50.0, 40.0, 0.0, 20.0, peak=0.4)
    assert len(scene.find()) == 0
    assert len(scene.find(seed=0.39)) == 1
    assert len(scene.find(seed=0.39, min_area=10_000)) == 0


def test_fragments_are_one_candidate(scene: Scene) -> None:
    """The trail crosses masked columns, where the map is zero."""
    flux = scene.add(200.0, 150.0, 90.0, 20.0, 40.0)
    columns = np.s_[:, 195:203]
    scene.probability[columns] = 0.0
    scene.planes.mask[columns] = plane_bits(["BAD"])
    scene.planes.image[columns] = np.nan
    table = scene.find()
    assert len(table) == 1
    row = table[0]
    assert row["trailLengthPix"] == pytest.approx(90.0, abs=4.0 * row["trailLengthPixErr"])
    assert row["flux"] == pytest.approx(flux, rel=0.2)
    assert not row["badFlag"]


def test_fragments_that_are_not_joined_are_one_candidate(scene: Scene) -> None:
    """Each fragment grows to the whole trail."""
    scene.add(200.0, 150.0, 80.0, 20.0, 40.0)
    scene.probability[:, 190:212] = 0.0
    table = scene.find()
    assert len(table) == 1
    assert table["trailLengthPix"][0] == pytest.approx(80.0, abs=4.0 * table["trailLengthPixErr"][0])


@pytest.mark.parametrize("along", [15.0, 50.0])
def test_a_star_on_the_line(scene: Scene, along: float) -> None:
    """The star is on the trail or beyond its end, and 100 times as bright."""
    flux = scene.add(200.0, 150.0, 60.0, 30.0, 20.0)
    c, s = np.cos(np.deg2rad(30.0)), np.sin(np.deg2rad(30.0))
    planes = scene.planes
    add_trail(planes.image, planes.psf, Trail(200.0 + along * c, 150.0 + along * s, 0.0, 0.0, 100.0 * flux))
    (row,) = scene.find()
    assert not row["trail_flag"]
    assert row["x"] == pytest.approx(200.0, abs=4.0 * row["xErr"])
    assert row["y"] == pytest.approx(150.0, abs=4.0 * row["yErr"])
    assert row["trailLengthPix"] == pytest.approx(60.0, abs=4.0 * row["trailLengthPixErr"])
    assert row["flux"] == pytest.approx(flux, abs=4.0 * row["fluxErr"])


@pytest.mark.parametrize("angle", [75.0, 120.0, 165.0])
def test_crossing_trails_are_two_candidates(scene: Scene, angle: float) -> None:
    """Two trails of known flux form one component of the map."""
    truth = {
        30.0: scene.add(200.0, 150.0, 100.0, 30.0, 40.0),
        angle: scene.add(210.0, 155.0, 80.0, angle, 30.0),
    }
    table = scene.find()
    assert len(table) == 2
    for expected, flux in truth.items():
        row = table[int(np.argmin(angle_difference(np.asarray(table["trailAnglePix"]), expected)))]
        assert not row["trail_flag"]
        assert angle_difference(row["trailAnglePix"], expected) < 1.5
        # The fits share the light at the crossing.
        assert row["flux"] == pytest.approx(flux, rel=0.2)


def test_a_brighter_trail_across(scene: Scene) -> None:
    """The map has only the faint trail; the brighter one is a disturbance."""
    flux = scene.add(200.0, 150.0, 60.0, 30.0, 20.0)
    planes = scene.planes
    add_trail(planes.image, planes.psf, Trail(205.0, 150.0, 50.0, 100.0, 20.0 * flux))
    (row,) = scene.find()
    assert not row["trail_flag"]
    assert row["trailLengthPix"] == pytest.approx(60.0, abs=4.0 * row["trailLengthPixErr"])
    assert angle_difference(row["trailAnglePix"], 30.0) < 4.0 * row["trailAnglePixErr"]


def test_bad_pixels(scene: Scene) -> None:
    """A tenth of bad pixels sets a flag, half of them drops the candidate."""
    for y, stop in ((50.0, 100), (150.0, 88), (250.0, 135)):
        scene.add(100.0, y, 60.0, 0.0, 30.0)
        scene.planes.mask[int(y) - 20 : int(y) + 20, 60:stop] = plane_bits(["NO_DATA"])
    scene.planes.mask[40:60, 60:100] = 0
    table = scene.find()
    assert sorted(np.round(table["y"] / 50.0).tolist()) == [1.0, 3.0]
    flags = {round(row["y"] / 50.0): bool(row["badFlag"]) for row in table}
    assert flags == {1: False, 3: True}


def test_saturated_pixels_are_flagged(scene: Scene) -> None:
    scene.add(100.0, 50.0, 60.0, 0.0, 30.0)
    scene.add(100.0, 150.0, 60.0, 0.0, 30.0)
    scene.planes.mask[150, 98:100] = plane_bits(["SATURATED"])
    table = scene.find()
    assert {round(row["y"] / 50.0): bool(row["pixelFlags_saturated"]) for row in table} == {1: False, 3: True}


@pytest.mark.parametrize("angle", [0.0, 40.0, 90.0])
def test_a_saturated_trail_is_measured_on_its_flanks(scene: Scene, angle: float) -> None:
    """Nine tenths of the light are hidden behind its own saturation."""
    before = dataclasses.replace(scene.planes, image=scene.planes.image.copy())
    flux = scene.add(180.0, 150.0, 40.0, angle, 5000.0)
    level = 0.5 * float(scene.planes.image.max())
    scene.planes = saturate_light(before, scene.planes, level, np.random.default_rng(1))
    on_trail = scene.probability > 0.5
    assert np.mean(scene.planes.bad()[on_trail]) > 0.9
    (row,) = scene.find()
    assert row["pixelFlags_saturated"]
    assert row["pixelFlags_saturatedCenter"]
    assert not row["trail_flag"]
    assert row["flux"] == pytest.approx(flux, abs=4.0 * row["fluxErr"])
    assert row["fluxErr"] < 0.02 * flux
    assert row["trailLengthPix"] == pytest.approx(40.0, abs=4.0 * row["trailLengthPixErr"])
    assert row["trailLengthPixErr"] < 0.2
    assert angle_difference(row["trailAnglePix"], angle) < 4.0 * row["trailAnglePixErr"]


def test_points_are_flagged(scene: Scene) -> None:
    """A faint and a bright point, a star with a saturated core, and trails of the same SNR."""
    sources = {
        (60.0, 60.0): (0.0, 12.0),
        (160.0, 60.0): (0.0, 100.0),
        (260.0, 60.0): (0.0, 300.0),
        (60.0, 160.0): (10.0, 25.0),
        (160.0, 160.0): (8.0, 100.0),
        (260.0, 160.0): (30.0, 12.0),
    }
    for (x, y), (length, snr) in sources.items():
        scene.add(x, y, length, 30.0, snr)
    core = np.s_[59:62, 259:262]
    scene.planes.mask[core] = plane_bits(["SATURATED"])
    scene.planes.image[core] = scene.planes.image[60, 258]
    table = scene.find()
    assert len(table) == len(sources)
    assert not np.any(table["trail_flag"])
    for (x, y), (length, _) in sources.items():
        row = table[np.argmin(np.hypot(table["x"] - x, table["y"] - y))]
        assert row["trail_flag_point"] == (length == 0.0)
        assert row["pixelFlags_saturated"] == ((x, y) == (260.0, 60.0))


def test_a_fit_that_fails_is_no_point(scene: Scene) -> None:
    """The map has a point, of which 15 pixels are good."""
    scene.add(200.0, 150.0, 0.0, 0.0, 50.0)
    light = scene.planes.image.copy()
    scene.planes.image[:] = np.nan
    scene.planes.image[148:153, 199:202] = light[148:153, 199:202]
    (row,) = scene.find(min_area=6)
    assert row["trail_flag"]
    assert not row["trail_flag_point"]


def test_at_the_edge(scene: Scene) -> None:
    scene.add(0.0, 150.0, 80.0, 10.0, 40.0)
    scene.add(200.0, 150.0, 80.0, 10.0, 40.0)
    table = scene.find()
    assert len(table) == 2
    edge, middle = table[np.argsort(table["x"])]
    assert edge["trail_flag_edge"]
    assert not np.any(table["trail_flag_point"])
    assert not middle["trail_flag_edge"]
    assert not np.any(table["streakFlag"])
    # Its visible part ends at 40 pixels from the midpoint.
    assert max(edge["x0"], edge["x1"]) == pytest.approx(40.0 * np.cos(np.deg2rad(10.0)), abs=3.0)


def test_a_streak_from_edge_to_edge(scene: Scene) -> None:
    scene.add(200.0, 150.0, 600.0, 20.0, 300.0)
    scene.add(100.0, 250.0, 40.0, 110.0, 25.0)
    table = scene.find()
    assert len(table) == 2
    streak, other = table[np.argsort(-table["trailLengthPix"])]
    assert streak["streakFlag"]
    assert streak["trail_flag_edge"]
    assert not other["streakFlag"]
    # Its line is the line of the component, over the whole image.
    c, s = np.cos(np.deg2rad(20.0)), np.sin(np.deg2rad(20.0))
    assert streak["trailLengthPix"] == pytest.approx(400.0 / c, abs=15.0)
    assert angle_difference(streak["trailAnglePix"], 20.0) < 0.5
    assert abs(-s * (streak["x"] - 200.0) + c * (streak["y"] - 150.0)) < 1.0


def test_fragments_on_a_streak_are_streaks(scene: Scene) -> None:
    scene.add(200.0, 150.0, 600.0, 0.0, 300.0)
    # Fragments along it, next to it and far away; next to it, but across.
    scene.add(200.0, 162.0, 40.0, 1.0, 25.0)
    scene.add(200.0, 220.0, 40.0, 1.0, 25.0)
    scene.add(300.0, 164.0, 10.0, 90.0, 25.0)
    table = scene.find()
    places = [(round(row["x"] / 100.0), round(row["y"] / 10.0)) for row in table]
    flags = dict(zip(places, table["streakFlag"].tolist(), strict=True))
    assert flags == {(2, 15): True, (2, 16): True, (2, 22): False, (3, 16): False}


def test_a_satellite_over_a_large_image(make_planes: MakePlanes) -> None:
    """A fit would take gigabytes and is not tried."""
    scene = Scene(make_planes((3000, 3000)))
    diagonal = np.arange(3000)
    for offset in range(-2, 3):
        inside = (diagonal + offset >= 0) & (diagonal + offset < 3000)
        scene.probability[diagonal[inside], diagonal[inside] + offset] = 0.9
    table = scene.find()
    assert table["streakFlag"].tolist() == [True]
    assert table["trail_flag"].tolist() == [True]
    assert table["trailLengthPix"][0] == pytest.approx(3000.0 * np.sqrt(2.0), rel=0.01)
    assert np.isfinite(table["score"][0])


def test_a_false_candidate_on_blank_sky_does_no_harm(scene: Scene) -> None:
    scene.add(200.0, 150.0, 40.0, 30.0, 0.0)
    table = scene.find()
    assert len(table) <= 1
    assert np.all(np.isfinite(table["score"]))
    assert np.all(np.abs(table["snr"]) < 6.0)


def test_nothing_to_find(scene: Scene, prefers_long: ScoreModel) -> None:
    scene.add(100.0, 100.0, 40.0, 0.0, 20.0)
    some = scene.find(prefers_long)
    scene.probability[:] = 0.0
    for score in (None, prefers_long):
        none = scene.find(score)
        assert len(none) == 0
        assert none.colnames == some.colnames
        assert [none[name].dtype for name in none.colnames] == [some[name].dtype for name in some.colnames]


def test_an_image_without_data(make_planes: MakePlanes) -> None:
    planes = make_planes((100, 100))
    planes.image[:] = np.nan
    scene = Scene(planes)
    scene.probability[:] = 0.9
    assert len(scene.find()) == 0


def test_noise_for_a_map(make_planes: MakePlanes) -> None:
    """A random map gives many candidates and no error."""
    scene = Scene(make_planes((120, 120), seed=1))
    wild: npt.NDArray[np.float32] = np.random.default_rng(3).random(scene.planes.shape, dtype=np.float32)
    scene.probability[:] = np.where(wild > 0.72, wild, 0.0)
    table = scene.find(grow=0.72, seed=0.9, min_area=8)
    assert len(table) > 10
    assert np.all(np.isfinite(table["score"]))
    assert np.all(np.isfinite(table["x"]) & np.isfinite(table["trailLengthPix"]))


def test_a_trail_that_leaves_the_image_ends_at_its_edge(scene: Scene) -> None:
    # Half of the trail is outside.
    flux = scene.add(200.0, 299.5, 60.0, 90.0, 60.0)
    (row,) = scene.find()
    assert row["trail_flag_edge"]
    assert max(row["y0"], row["y1"]) == pytest.approx(299.5)
    # Midpoint and flux are for the half on the image; the tolerances are three
    # times the stated errors of the full trail.
    assert row["x"] == pytest.approx(200.0, abs=1.0)
    assert row["y"] == pytest.approx(284.5, abs=2.0)
    assert row["trailLengthPix"] == pytest.approx(30.0, abs=4.0)
    assert row["flux"] == pytest.approx(0.5 * flux, rel=0.1)


def test_a_spike_has_a_low_score(scene: Scene) -> None:
    scene.add(200.0, 150.0, 20.0, 0.0, 20.0)
    (alone,) = scene.find()
    # A very bright star, 60 pixels from it, on its line.
    add_trail(scene.planes.image, scene.planes.psf, Trail(140.0, 150.0, 0.0, 0.0, 1e7))
    (row,) = scene.find()
    assert alone["score"] > 0.5
    assert row["score"] < 0.1 * alone["score"]
