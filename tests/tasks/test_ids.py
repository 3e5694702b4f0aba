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

from lsst.daf.butler import DataCoordinate, DimensionPacker, DimensionUniverse
from lsst.meas.trails.tasks import InjectTrailsConfig, TrailCandidateConfig
from lsst.meas.trails.tasks._ids import INJECTION, TILES, first_candidate_id, max_candidates
from lsst.pipe.base import InvalidQuantumError

UNIVERSE = DimensionUniverse()
# Numbers of visits and detectors of LSSTCam.
N_VISITS, N_DETECTORS = 6_050_123_199_999, 256


def coordinate(visit: int, detector: int) -> DataCoordinate:
    return DataCoordinate.standardize(instrument="LSSTCam", visit=visit, detector=detector, universe=UNIVERSE)


def packer(n_visits: int = N_VISITS, n_detectors: int = N_DETECTORS) -> DimensionPacker:
    config = TrailCandidateConfig()
    config.packer["observation"].n_observations = n_visits
    config.packer["observation"].n_detectors = n_detectors
    made = config.packer.apply(coordinate(1, 1))
    assert isinstance(made, DimensionPacker)
    return made


def test_identifiers_lead_back_to_their_images() -> None:
    pack = packer()
    images = [(2025110500124, 0), (2025110500124, 1), (2025110500124, 188), (N_VISITS - 1, N_DETECTORS - 1)]
    seen: set[int] = set()
    for visit, detector in images:
        first = first_candidate_id(pack, pack.pack(coordinate(visit, detector)), 500)
        assert 0 <= first <= np.iinfo(np.int64).max - 500
        # The largest identifier belongs to this image.
        for identifier in (first, first + 499):
            unpacked = pack.unpack(identifier >> (63 - pack.maxBits))
            assert (unpacked["visit"], unpacked["detector"]) == (visit, detector)
        seen.update(range(first, first + 500))
    assert len(seen) == 500 * len(images)


def test_too_many_candidates() -> None:
    pack = packer()
    room = 1 << (63 - pack.maxBits)
    assert max_candidates(pack) == room
    assert first_candidate_id(pack, 1, room) == room
    with pytest.raises(InvalidQuantumError, match=f"{room + 1} candidates"):
        first_candidate_id(pack, 1, room + 1)


def test_no_room_at_all() -> None:
    with pytest.raises(InvalidQuantumError, match="0 bits"):
        first_candidate_id(packer(2**55, 2**8), 1, 1)


def test_seeds_differ_by_image_offset_and_use() -> None:
    def draw(packed: int, offset: int, use: int) -> int:
        config = InjectTrailsConfig()
        config.seedOffset = offset
        return int(config.random_generator(packed, use).integers(2**62))

    arguments = [
        (packed, offset, use) for packed in (0, 1, 2**60) for offset in (0, 1) for use in (INJECTION, TILES)
    ]
    draws = [draw(*each) for each in arguments]
    assert len(set(draws)) == 12
    assert draws == [draw(*each) for each in arguments]
