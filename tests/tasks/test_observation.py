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

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import astropy.time
import astropy.units as u
import numpy as np
import pytest

from lsst.daf.butler import Timespan
from lsst.images import VisitImage
from lsst.meas.trails.repository.butler import open_or_create
from lsst.meas.trails.repository.visit_image import make_difference_image
from lsst.meas.trails.sim.simulation import Simulation
from lsst.meas.trails.tasks._observation import find_observation, with_changed_info, with_times

BEGIN = astropy.time.Time("2026-03-01T04:00:00", scale="tai")


@pytest.fixture
def image(make_image: Callable[..., Any]) -> VisitImage:
    made = make_image(shape=(48, 64)).image
    assert isinstance(made, VisitImage)
    return made


def handle_of(tmp_path: Path, **parts: Any) -> Any:
    """Return a handle with the data ID and the Butler of a simulated visit."""
    butler = open_or_create(tmp_path / "repo")
    simulation = Simulation(seed=3, visits=1, detectors=1, shape=(48, 64))
    simulation.register(butler, "input")
    data_id = butler.registry.expandDataId(simulation.data_ids()[0])
    return types.SimpleNamespace(ref=types.SimpleNamespace(dataId=data_id), butler=butler, **parts)


def test_record_of_the_exposure(tmp_path: Path) -> None:
    handle = handle_of(tmp_path)
    record = find_observation(handle)
    assert record is not None
    assert record.is_exposure
    (expected,) = handle.butler.query_dimension_records("exposure")
    assert record.obs_id == expected.obs_id
    assert record.id == expected.id
    assert record.timespan == expected.timespan


def test_record_of_the_visit(tmp_path: Path) -> None:
    """A Butler of quanta has no queries; its data IDs have records."""
    handle = handle_of(tmp_path)
    quanta = types.SimpleNamespace(ref=handle.ref, butler=types.SimpleNamespace())
    record = find_observation(quanta)
    assert record is not None
    assert not record.is_exposure
    assert record.obs_id is None
    (expected,) = handle.butler.query_dimension_records("visit")
    assert (record.id, record.timespan, record.exposure_time) == (expected.id, expected.timespan, 30.0)


def test_record_of_a_visit_of_several_exposures(tmp_path: Path) -> None:
    handle = handle_of(tmp_path)
    query = handle.butler.query_dimension_records

    def several(element: str, **more: Any) -> Any:
        return query(element, **more) * (2 if element == "exposure" else 1)

    handle.butler = types.SimpleNamespace(query_dimension_records=several)
    record = find_observation(handle)
    assert record is not None
    assert not record.is_exposure


def test_no_record() -> None:
    assert find_observation(types.SimpleNamespace(ref=None, butler=None)) is None


def test_missing_times_are_filled(image: VisitImage) -> None:
    record = types.SimpleNamespace(timespan=Timespan(BEGIN, BEGIN + 30.0 * u.s), exposure_time=15.0)
    empty = with_changed_info(image, datetime_begin=None, datetime_end=None, exposure_time=None)
    info = with_times(empty, record).obs_info
    assert abs((info.datetime_begin - BEGIN).to_value(u.s)) < 1e-6
    assert (info.datetime_end - info.datetime_begin).to_value(u.s) == pytest.approx(30.0)
    assert info.exposure_time == 15.0 * u.s
    # Known times stay.
    assert with_times(image, record).obs_info == image.obs_info
    assert with_times(empty, None).obs_info.datetime_begin is None
    unbounded = types.SimpleNamespace(timespan=Timespan(None, None), exposure_time=None)
    assert with_times(empty, unbounded).obs_info.datetime_begin is None
    never = types.SimpleNamespace(timespan=Timespan.makeEmpty(), exposure_time=None)
    assert with_times(empty, never).obs_info.datetime_begin is None


def test_changed_information_shares_the_pixels(image: VisitImage) -> None:
    for original in (image, make_difference_image(image, np.ones((3, 3)) / 9.0)):
        result = with_changed_info(original, exposure_id=7)
        assert type(result) is type(original)
        assert result.obs_info.exposure_id == 7
        assert original.obs_info.exposure_id != 7
        assert np.shares_memory(result.image.array, original.image.array)
