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

"""Tests of fields that are visited more than once."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest

from lsst.meas.trails.core.motion import motion, separation
from lsst.meas.trails.sim.repeated_field import MOTION_COLUMNS
from lsst.meas.trails.sim.simulation import Simulation

TWICE = Simulation(seed=5, detectors=4, shape=(256, 256), trails=4.0, repeat=2, cadence=3.0)


@pytest.fixture(scope="module")
def images() -> dict:
    return {(index, detector): TWICE.image(index, detector) for index in (0, 1) for detector in range(4)}


def test_visits_are_apart_by_the_cadence() -> None:
    simulation = dataclasses.replace(TWICE, visits=3, repeat=2, cadence=40.0)
    plans = [simulation.plan(index) for index in simulation.indices]
    assert len({plan.visit for plan in plans}) == 6
    for first, second in zip(plans[:3], plans[3:], strict=True):
        assert (second.begin - first.begin).to_value("min") == pytest.approx(40.0)
        assert (second.ra, second.dec, second.rotation) == (first.ra, first.dec, first.rotation)
        # The sky turns by 10 degrees: altitude and azimuth follow.
        turn = separation(first.azimuth, first.altitude, second.azimuth, second.altitude)
        assert 0.5 < turn <= 10.1
    assert [plan.seq_num for plan in plans] == [1, 2, 3, 4, 5, 6]


def test_objects_move_as_their_trails_say(images: dict) -> None:
    places: dict[str, list] = {}
    for (index, detector), image in images.items():
        truth = image.truth
        assert set(MOTION_COLUMNS) <= set(truth.colnames)
        for row in truth[truth["source_type"] == "Trail"]:
            places.setdefault(row["designation"], []).append((index, detector, row))
    twice = {name: rows for name, rows in places.items() if len(rows) == 2}
    assert len(twice) >= 5
    assert len(places) > len(twice)
    dt = 3.0 / 1440.0
    changed = 0
    for (first, one, a), (second, other, b) in twice.values():
        assert (first, second) == (0, 1)
        rate, angle = motion(a["ra"], a["dec"], b["ra"], b["dec"], dt)
        # The midpoint of a trail in pixels is its middle to a microarcsecond.
        assert rate == pytest.approx(a["rate"], rel=1e-4)
        assert abs((angle - a["position_angle"] + 180.0) % 360.0 - 180.0) < 0.1
        assert a["flux"] == b["flux"]
        length = separation(a["ra0"], a["dec0"], a["ra1"], a["dec1"])
        assert length / 30.0 * 86400.0 == pytest.approx(rate, rel=1e-3)
        changed += one != other
    assert changed >= 1


def test_sky_is_the_same_and_noise_is_not(images: dict) -> None:
    blank = dataclasses.replace(TWICE, trails=0.0, shape=(256, 256))
    first, second = (blank.image(index, 0).image for index in (0, 1))
    noise = np.nanmedian(np.sqrt(first.variance.array))
    bright = (first.image.array > 20.0 * noise) & (first.mask.array.sum(axis=-1) == 0)
    assert bright.sum() > 20
    # Stars and galaxies of one visit are bright in the other.
    assert np.mean(second.image.array[bright] > 5.0 * noise) > 0.9
    faint = (np.abs(first.image.array) < 3.0 * noise) & np.isfinite(second.image.array)
    steps = [np.diff(image.image.array, axis=1)[faint[:, 1:] & faint[:, :-1]] for image in (first, second)]
    assert abs(np.corrcoef(*steps)[0, 1]) < 0.3
    assert first.psf.compute_kernel_image(x=9, y=9) != second.psf.compute_kernel_image(x=9, y=9)


def test_number_of_trails_is_the_same_in_each_visit() -> None:
    counts = Counter()
    for seed in range(12):
        simulation = dataclasses.replace(TWICE, seed=seed, trails=10.0, cadence=20.0)
        field = simulation.repeated_field(0)
        for index in (0, 1):
            plan = simulation.plan(index)
            for detector in range(4):
                trails, _, _ = field.objects.trails_on(
                    simulation._sky_projection(plan, detector), simulation.bbox, plan.begin.mjd, 30.0
                )
                counts[index] += len(trails)
    # Poisson numbers of 480 trails.
    assert abs(counts[0] - 480) < 5.0 * np.sqrt(480)
    assert abs(counts[1] - 480) < 5.0 * np.sqrt(480)


def test_reproducible(images: dict) -> None:
    again = TWICE.image(1, 2)
    np.testing.assert_array_equal(again.image.image.array, images[1, 2].image.image.array)
    assert list(again.truth["designation"]) == list(images[1, 2].truth["designation"])


def test_without_repetition_nothing_changes() -> None:
    single = dataclasses.replace(TWICE, repeat=1, shape=(64, 64), detectors=1)
    truth = single.image(0, 0).truth
    assert set(MOTION_COLUMNS).isdisjoint(truth.colnames)
    other = dataclasses.replace(single, cadence=77.0, detectors=2)
    assert other._description == single._description
    assert "cadence" not in single._description
    assert "cadence" in TWICE._description


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"repeat": 0}, "visits"),
        ({"repeat": 801}, "801"),
        ({"cadence": 0.5}, "0.5"),
        ({"cadence": 600.0}, "600"),
    ],
)
def test_bad_repetitions(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TWICE, **change)
