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

from pathlib import Path

import pytest

from lsst.daf.butler import Butler
from lsst.meas.trails.repository.butler import open_or_create, register_instrument
from lsst.meas.trails.sim.instrument import (
    BANDS,
    N_DETECTORS,
    TrailSimCam,
    detector_place,
    physical_filter_of,
)
from lsst.pipe.base import Instrument, ObservationDimensionPacker


@pytest.fixture
def butler(tmp_path: Path) -> Butler:
    butler = open_or_create(tmp_path / "repo")
    register_instrument(butler, TrailSimCam())
    return butler


def test_records(butler: Butler) -> None:
    detectors = butler.query_dimension_records("detector", instrument="TrailSimCam", limit=None)
    assert [record.id for record in detectors] == list(range(189))
    # As in LSSTCam: detector 94 is the middle one of the middle raft.
    assert detectors[94].full_name == "R22_S11"
    assert detectors[0].full_name == "R01_S00"
    filters = butler.query_dimension_records("physical_filter", instrument="TrailSimCam")
    assert {record.band for record in filters} == set(BANDS)
    assert all(record.name == physical_filter_of(record.band) for record in filters)


def test_registration_is_idempotent(butler: Butler) -> None:
    register_instrument(butler, TrailSimCam())
    assert len(butler.query_dimension_records("instrument")) == 1


def test_found_by_name(butler: Butler) -> None:
    instrument = Instrument.fromName("TrailSimCam", butler.registry)
    assert isinstance(instrument, TrailSimCam)
    assert instrument.makeCollectionName("raw", "all") == "TrailSimCam/raw/all"


def test_packer_leaves_room_for_a_counter(butler: Butler) -> None:
    """A packed data ID and the number of a candidate fit into an int64."""
    data_id = butler.registry.expandDataId(instrument="TrailSimCam")
    packer = ObservationDimensionPacker(data_id, is_exposure=False)
    last = packer.pack(visit=2_050_123_199_999, detector=N_DETECTORS - 1)
    assert isinstance(last, int)
    assert last.bit_length() <= packer.maxBits
    # 16384 candidates of a detector.
    assert packer.maxBits + 14 <= 63
    assert packer.unpack(last)["detector"] == N_DETECTORS - 1


def test_places_are_distinct() -> None:
    places = [detector_place(number) for number in range(N_DETECTORS)]
    assert len({(place.column, place.row) for place in places}) == N_DETECTORS
    assert len({place.full_name for place in places}) == N_DETECTORS
    assert (places[94].column, places[94].row) == (0, 0)


@pytest.mark.parametrize("number", [-1, 189])
def test_no_such_detector(number: int) -> None:
    with pytest.raises(ValueError, match=str(number)):
        detector_place(number)


def test_no_such_filter() -> None:
    with pytest.raises(ValueError, match="'v'"):
        physical_filter_of("v")
