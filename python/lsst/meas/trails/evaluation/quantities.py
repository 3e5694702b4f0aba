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

"""Quantities of trails that completeness, purity and errors are binned by."""

from __future__ import annotations

__all__ = ("ERRORS", "PULLS", "QUANTITIES", "Quantity")

import dataclasses


@dataclasses.dataclass(frozen=True)
class Quantity:
    """Quantity that completeness and purity are measured against."""

    label: str
    """Name with the unit, for axes."""

    truth: str
    """Column of the true value in the match table."""

    candidate: str
    """Column of the measured value of a candidate."""

    edges: tuple[float, ...]
    """Edges of the bins."""

    log: bool = False
    """Whether the axis is logarithmic."""


QUANTITIES: dict[str, Quantity] = {
    "snr": Quantity(
        "optimal SNR",
        "snrOptimal",
        "snr",
        (2, 3, 4, 5, 6, 7, 8, 10, 14, 20, 30, 60, 150, 300, 1000, 3000, 10000, 100000),
        True,
    ),
    "snrPointSource": Quantity(
        "point-source SNR",
        "snrPointSource",
        "snrPsf",
        (1, 2, 3, 4, 5, 6, 8, 10, 14, 20, 30, 60, 150, 300, 1000, 3000, 10000, 100000),
        True,
    ),
    "magnitude": Quantity(
        "magnitude of the whole trail (AB)",
        "trueMag",
        "trailMag",
        (10, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26),
    ),
    "length": Quantity(
        "length (pixels)", "trueLength", "trailLengthPix", (4, 6, 9, 14, 20, 30, 45, 62, 90, 150, 250), True
    ),
    "rate": Quantity(
        "rate (deg/day)", "trueRate", "trailRate", (0.5, 1, 1.5, 2.3, 3.3, 5, 7.5, 10, 15, 25, 40), True
    ),
    "angle": Quantity(
        "angle from +x (degrees)",
        "trueAngle",
        "trailAnglePix",
        (0, 22.5, 45, 67.5, 90, 112.5, 135, 157.5, 180),
    ),
    "density": Quantity(
        "sources per square arcminute",
        "sourceDensity",
        "sourceDensity",
        (1, 2, 3, 5, 7, 10, 14, 20, 28, 40, 80, 160, 320),
        True,
    ),
    "distance": Quantity(
        "distance to the nearest source (arcsec)",
        "sourceDistance",
        "sourceDistance",
        (0, 0.5, 1, 2, 3, 4, 6, 8, 12, 20),
    ),
}
"""Quantities by their names in the metrics table."""

ERRORS = {
    "dAlong": "pix",
    "dAcross": "pix",
    "dMidpoint": "pix",
    "dLength": "pix",
    "dAngle": "deg",
    "dMag": "mag",
    "dRate": "deg / d",
}
"""Columns of measured minus true values, with their units."""

PULLS = ("pullX", "pullY", "pullLength", "pullAngle", "pullFlux")
"""Columns of errors divided by their estimates."""
