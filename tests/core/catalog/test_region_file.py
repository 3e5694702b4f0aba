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
from regions import LineSkyRegion, Regions

from lsst.meas.trails.core.catalog.region_file import ds9_regions

from support.observations import make_candidates


@pytest.mark.parametrize("number", [1, 3])
def test_regions_are_read_back(number: int) -> None:
    """Read the lines, the identifiers and the scores with the package regions."""
    table = make_candidates(number, ra1=359.9999, dec1=np.arange(number) - 80.0)
    lines = Regions.parse(ds9_regions(table), format="ds9")
    assert len(lines) == number
    for line, row in zip(lines, table, strict=True):
        assert isinstance(line, LineSkyRegion)
        assert line.start.frame.name == "icrs"
        for end, point in ((0, line.start), (1, line.end)):
            # Seven digits of a degree are 0.4 mas.
            assert point.ra.deg == pytest.approx(row[f"ra{end}"], abs=1e-7)
            assert point.dec.deg == pytest.approx(row[f"dec{end}"], abs=1e-7)
        assert line.meta["text"] == f"{row['trailCandidateId']} 0.875"


def test_candidates_without_a_position_are_omitted() -> None:
    table = make_candidates(3, ra0=[10.0, np.nan, 12.0])
    lines = Regions.parse(ds9_regions(table), format="ds9")
    assert [line.start.ra.deg for line in lines] == [10.0, 12.0]
    assert len(Regions.parse(ds9_regions(table[:0]), format="ds9")) == 0
