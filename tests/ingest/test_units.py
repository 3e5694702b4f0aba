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

import pytest
from astropy.io.fits import Header

from lsst.meas.trails.ingest.units import unit_flux


@pytest.mark.parametrize(
    ("unit", "njy"),
    [
        ("nJy", 1.0),
        ("uJy", 1000.0),
        ("nanomaggy", 3631.0),
        ("adu", None),
        ("electron", None),
        ("?!", None),
        ("", None),
    ],
)
def test_unit_flux(unit: str, njy: float | None) -> None:
    # The zero point of the AB system is rounded.
    assert unit_flux(Header({"BUNIT": unit})) == (None if njy is None else pytest.approx(njy, rel=1e-3))
