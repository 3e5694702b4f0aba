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

"""Options of linking."""

from __future__ import annotations

__all__ = ("LinkOptions",)

import dataclasses


@dataclasses.dataclass(frozen=True)
class LinkOptions:
    """Options of linking.

    Raises
    ------
    ValueError
        Raised if a number is out of range; the message has its name.
    """

    max_gap: float = 90.0
    """Longest time between two members that are linked directly, minutes."""

    max_rate: float = 60.0
    """Largest rate of motion, degrees per day."""

    min_score: float = 0.0
    """Lowest score of a candidate."""

    max_chi2: float = 25.0
    """Largest chi-square of a pair, for two lengths, two angles and a magnitude."""

    max_chance: float = 0.5
    """Largest probability that a pair is chance."""

    length_floor: float = 0.03
    """Relative error that is added to the errors of lengths."""

    angle_floor: float = 0.3
    """Error that is added to the errors of angles, degrees."""

    position_floor: float = 0.1
    """Error that is added to the errors of positions, arcsec."""

    mag_floor: float = 0.25
    """Change of brightness between visits, magnitudes, such as rotation of the object."""

    color_allowance: float = 0.3
    """Additional change of brightness between visits in different bands, magnitudes."""

    stationary_radius: float = 1.5
    """Largest distance of two candidates of a stationary source, arcsec."""

    decoy_sources: int = 500_000
    """Number of detections from which chance pairs are searched to measure their probability."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            # NaN fails every comparison.
            if not 0.0 <= value < float("inf"):
                raise ValueError(f"{field.name} is {value}; choose a finite number that is not negative.")
