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

from lsst.daf.butler.registry import ConflictingDefinitionError
from lsst.meas.trails.ingest.instrument import FitsCam
from lsst.meas.trails.repository.butler import open_or_create, register_instrument
from lsst.pipe.base import Instrument


def test_detectors_and_filters_of_images(tmp_path: Path) -> None:
    butler = open_or_create(tmp_path / "repo")
    register_instrument(butler, FitsCam())
    assert not butler.query_dimension_records("detector", instrument="FitsCam", explain=False)
    for detector in (3, 3, 5):
        FitsCam().register_image(butler.registry, detector, "r.MP9601", "r")
    detectors = butler.query_dimension_records("detector", instrument="FitsCam")
    assert {(record.id, record.full_name) for record in detectors} == {(3, "CCD003"), (5, "CCD005")}
    (record,) = butler.query_dimension_records("physical_filter", instrument="FitsCam")
    assert (record.name, record.band) == ("r.MP9601", "r")
    with pytest.raises(ConflictingDefinitionError, match="physical_filter .*band"):
        FitsCam().register_image(butler.registry, 7, "r.MP9601", "i")
    assert len(butler.query_dimension_records("detector", instrument="FitsCam")) == 2
    assert isinstance(Instrument.fromName("FitsCam", butler.registry), FitsCam)
