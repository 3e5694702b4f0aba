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

import numpy as np
import pytest

from lsst.meas.trails.core.association.expected import (
    MISSED_REASONS,
    Brightness,
    Placed,
    detection_probability,
    expected_brightness,
    missed_reason,
    place_trails,
)
from lsst.meas.trails.core.association.predict import PredictedTrails
from lsst.meas.trails.core.geometry import Trail
from lsst.meas.trails.core.photometry import flux_to_mag
from lsst.meas.trails.core.planes import ImagePlanes, plane_bits
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.core.render import optimal_snr, render_trail

SHAPE = (300, 400)
SCALE = 0.2
NOISE = 10.0


def sky_to_pixel(ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Map the sky near (10, 0) to pixels, East to the right."""
    return (ra - 10.0) * 3600.0 / SCALE + 200.0, dec * 3600.0 / SCALE + 150.0


def predict(*rows: tuple[float, float, float, float], err: float = 0.4, mag: float = 20.0) -> PredictedTrails:
    """Predict trails of x, y, length and angle in pixels."""
    x, y, length, angle = np.array(rows, dtype=np.float64).reshape(-1, 4).T
    ra, dec = 10.0 + (x - 200.0) * SCALE / 3600.0, (y - 150.0) * SCALE / 3600.0
    east = 0.5 * length * np.cos(np.deg2rad(angle)) * SCALE / 3600.0
    north = 0.5 * length * np.sin(np.deg2rad(angle)) * SCALE / 3600.0
    return PredictedTrails.make(
        designation=np.array([f"object {i}" for i in range(len(x))]),
        ss_object_ids=np.zeros(len(x), dtype=np.int64),
        source="test",
        begin=(ra - east, dec - north),
        middle=(ra, dec),
        end=(ra + east, dec + north),
        rate=np.ones(len(x)),
        position_angle=np.full(len(x), 90.0),
        mag=np.full(len(x), mag),
        position_err=np.full(len(x), err),
        default_err=1.0,
    )


def place(predicted: PredictedTrails) -> Placed:
    return place_trails(predicted, sky_to_pixel, SHAPE, SCALE, (10.0, 0.0))


def make_planes() -> ImagePlanes:
    random = np.random.default_rng(4)
    return ImagePlanes(
        image=(NOISE * random.standard_normal(SHAPE)).astype(np.float32),
        variance=np.full(SHAPE, NOISE**2, dtype=np.float32),
        mask=np.zeros(SHAPE, dtype=np.uint32),
        psf=PsfGrid.gaussian(4.0),
    )


def test_trails_are_placed_with_their_direction() -> None:
    placed = place(predict((100.0, 80.0, 40.0, 200.0)))
    assert placed.trails.x[0] == pytest.approx(100.0)
    assert placed.trails.angle[0] == pytest.approx(20.0)
    assert placed.begin[0][0] > placed.end[0][0]
    assert placed.on_image[0] == 1.0
    assert not placed.near_edge[0]
    assert placed.position_err[0] == pytest.approx(2.0)


def test_trails_across_the_edge_are_cut() -> None:
    placed = place(predict((-0.5, 150.0, 40.0, 0.0)))
    assert placed.on_image[0] == pytest.approx(0.5)
    assert placed.visible.length[0] == pytest.approx(20.0)
    assert placed.visible.x[0] == pytest.approx(9.5)
    assert placed.near_edge[0]


def test_trails_just_beyond_the_edge_are_kept_within_their_uncertainty() -> None:
    rows = ((-6.0, 150.0, 5.0, 90.0), (-30.0, 150.0, 5.0, 90.0), (20000.0, 0.0, 5.0, 0.0))
    placed = place(predict(*rows))
    assert list(placed.predicted.designation) == ["object 0"]
    assert placed.on_image[0] == 0.0
    assert len(place(predict(*rows, err=2.0)).trails) == 2


def test_the_projection_is_not_used_far_away() -> None:
    def fails(ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raise AssertionError("The projection was used.")

    placed = place_trails(predict((50000.0, 0.0, 5.0, 0.0)), fails, SHAPE, SCALE, (10.0, 0.0))
    assert len(placed.trails) == 0


def test_expected_snr_is_the_optimal_one() -> None:
    planes = make_planes()
    trail = Trail(150.0, 120.0, 50.0, 30.0)
    stamp = render_trail(planes.psf, trail)
    flux = 12.0 / optimal_snr(stamp, planes.variance, 1.0)
    predicted = predict((150.0, 120.0, 50.0, 30.0), mag=float(flux_to_mag(flux)) + 0.2)
    brightness = expected_brightness(place(predicted), planes, color=-0.2, flux_per_njy=1.0)
    assert brightness.snr[0] == pytest.approx(12.0, rel=1e-3)
    assert brightness.whole_snr[0] == pytest.approx(12.0, rel=1e-3)
    assert brightness.good_fraction[0] == pytest.approx(1.0, abs=1e-3)
    assert brightness.mag[0] == pytest.approx(float(flux_to_mag(flux)))


def test_calibration_of_each_trail() -> None:
    """Two equal trails, where the image has 1 and 1.1 units per nJy."""
    planes = make_planes()
    trails = ((100.0, 80.0, 20.0, 0.0), (250.0, 180.0, 20.0, 0.0))
    placed = place(predict(*trails, mag=22.5))
    ones = expected_brightness(placed, planes, color=0.0, flux_per_njy=1.0)
    each = expected_brightness(placed, planes, color=0.0, flux_per_njy=np.array([1.0, 1.1]))
    np.testing.assert_allclose(each.snr / ones.snr, [1.0, 1.1], rtol=1e-6)
    np.testing.assert_array_equal(each.mag, ones.mag)


def test_reasons_for_missed_trails() -> None:
    planes = make_planes()
    planes.mask[:100, :100] |= np.uint32(plane_bits(["BAD"]))
    planes.image[180:220, 180:220] += 1000.0
    trails = ((40.0, 50.0, 20.0, 0.0), (200.0, 200.0, 20.0, 0.0), (300.0, 100.0, 20.0, 0.0))
    brightness = expected_brightness(place(predict(*trails, mag=22.5)), planes, color=0.0, flux_per_njy=1.0)
    length = np.full(3, 20.0)
    assert missed_reason(brightness, length, 5.0, 6.0) == ["badPixels", "brightSource", "unexplained"]
    assert missed_reason(brightness, length, 500.0, 6.0)[2] == "faint"
    assert missed_reason(brightness, length, 500.0, 25.0)[2] == "short"
    unknown = expected_brightness(place(predict(*trails, mag=np.nan)), planes, color=0.0, flux_per_njy=1.0)
    assert missed_reason(unknown, length, 5.0, 6.0)[2] == "unknownMagnitude"
    assert set(missed_reason(unknown, length, 5.0, 6.0)) <= set(MISSED_REASONS)


def test_a_bright_trail_is_no_bright_source_of_its_own() -> None:
    planes = make_planes()
    stamp = render_trail(planes.psf, Trail(200.0, 150.0, 30.0, 0.0))
    slices, part = stamp.clipped(SHAPE)
    planes.image[slices] += (3e4 * part).astype(np.float32)
    predicted = predict((200.0, 150.0, 30.0, 0.0), mag=float(flux_to_mag(3e4)))
    brightness = expected_brightness(place(predicted), planes, color=0.0, flux_per_njy=1.0)
    assert brightness.bright_fraction[0] < 0.05


def test_detection_probability() -> None:
    found = detection_probability(np.array([0.0, 10.0, 1e9, np.nan]), 10.0)
    np.testing.assert_allclose(found, [0.02, 0.46, 0.9, 0.5])


def test_reasons_are_listed_in_the_order_of_their_tests() -> None:
    # Each trail has its own reason and all later ones.
    snr = np.array([1.0, 1.0, np.nan, np.nan, 1.0, 100.0])
    good = np.array([0.1, 1.0, 1.0, 1.0, 1.0, 1.0])
    bright = np.array([0.9, 0.9, 0.0, 0.0, 0.0, 0.0])
    length = np.array([3.0, 3.0, 3.0, 30.0, 30.0, 30.0])
    brightness = Brightness(mag=snr, snr=snr, whole_snr=snr, good_fraction=good, bright_fraction=bright)
    assert missed_reason(brightness, length, 5.0, 6.0) == [name for name in MISSED_REASONS if name]
