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

"""Middle of an exposure at each place of the focal plane, from the motion of LSSTCam's shutter.

One blade opens the focal plane in 0.9 s and another closes it, so that the middle of the exposure differs by
up to 0.4 s across the focal plane. The camera describes each motion in the header, as three intervals of
constant jerk that begin from rest (CTN-002, https://ctn-002.lsst.io).
"""

from __future__ import annotations

__all__ = ("HEADER_UNCERTAINTY", "SHUTTER_UNCERTAINTY", "ShutterMotion")

import dataclasses
import math
from collections.abc import Mapping
from typing import Self

import numpy as np
import numpy.typing as npt

type _Floats = npt.NDArray[np.float64]

HEADER_UNCERTAINTY = 0.5
"""Systematic error of the middle of an exposure whose shutter is not described, seconds."""

SHUTTER_UNCERTAINTY = 0.01
"""The same with the motion of the shutter, seconds.

The beam of a pixel is 60 to 70 mm wide at the shutter. Its middle is taken to be at the pixel. The times
differ from those of `lsst.ip.isr.shutterTiming` by at most 7 ms, near the edge of the focal plane.
"""

_MODEL = "ThreeJerksModelv1"
_PARAMETERS = ("MODELSTARTTIME", "PIVOTPOINT1", "PIVOTPOINT2", "JERK0", "JERK1", "JERK2")

_CENTER = 375.0
"""Encoder position of a blade's edge at the center of the focal plane, mm."""

_STARTS = {1: -0.05, -1: 750.76}
"""Encoder position at the start of a motion, mm, by its direction."""

_STROKE = (745.0, 757.0)
"""Limits of the distance that a blade has moved after `_DURATION`, mm; others are failed descriptions."""

_DURATION = 0.9

_MAX_DELAY = 0.01
"""Longest time between the recorded start of a motion and its model, seconds; normally below 0.003."""

_MAX_CLOCK_DIFFERENCE = 0.005
"""Largest difference between the exposure time and the two starts, seconds."""

_SECONDS_PER_DAY = 86400.0


@dataclasses.dataclass(frozen=True)
class _Blade:
    """Motion of one blade: its start, and three intervals of constant jerk."""

    start: float
    """Start of the motion, MJD, TAI."""

    direction: int
    """Sign of the motion along the encoder."""

    delay: float
    """Time from the start to the begin of the model, seconds."""

    pivots: tuple[float, float]
    """Ends of the first two intervals, seconds."""

    jerks: tuple[float, float, float]
    """Jerk in each interval, mm / s^3."""

    def distance(self, time: npt.ArrayLike) -> _Floats:
        """Return the distances moved at times after the begin of the model, mm."""
        time = np.asarray(time, dtype=np.float64)
        total = speed = acceleration = np.zeros_like(time)
        edges = (0.0, *self.pivots, np.inf)
        for jerk, begin, end in zip(self.jerks, edges[:-1], edges[1:], strict=True):
            step = np.clip(time, begin, end) - begin
            total = total + step * (speed + step * (acceleration / 2.0 + step * jerk / 6.0))
            speed = speed + step * (acceleration + step * jerk / 2.0)
            acceleration = acceleration + step * jerk
        return np.asarray(total)

    def crossing(self, position: _Floats) -> _Floats:
        """Return the times at which the edge reaches positions, seconds after the start; NaN if never."""
        time = np.linspace(0.0, 1.0, 10_001)
        distance = self.distance(time)
        # The last part of a fit may turn back.
        last = int(np.argmax(np.append(np.diff(distance) <= 0.0, True))) + 1
        wanted = self.direction * (_CENTER - _STARTS[self.direction] - position)
        return self.delay + np.interp(wanted, distance[:last], time[:last], left=np.nan, right=np.nan)


@dataclasses.dataclass(frozen=True)
class ShutterMotion:
    """Motions of the blades that began and ended an exposure."""

    opening: _Blade
    closing: _Blade

    @classmethod
    def from_cards(cls, cards: Mapping[str, object], exposure_time: float) -> Self | None:
        """Return the motion that a header describes, `None` if it does not.

        Parameters
        ----------
        cards
            Values of a header by their names without ``HIERARCH``.
        exposure_time
            Exposure time, seconds; a shutter whose clocks disagree with it is not used.
        """
        blades = [_read_blade(cards, name) for name in ("OPEN", "CLOSE")]
        if blades[0] is None or blades[1] is None:
            return None
        motion = cls(blades[0], blades[1])
        difference = (motion.closing.start - motion.opening.start) * _SECONDS_PER_DAY - exposure_time
        return motion if abs(difference) < _MAX_CLOCK_DIFFERENCE else None

    def midpoints(self, y: npt.ArrayLike) -> _Floats:
        """Return the middle of the exposure at places of the focal plane, MJD, TAI.

        Parameters
        ----------
        y
            Second focal-plane coordinate of afw, mm, along which the blades move.

        Returns
        -------
        midpoints
            Same shape; NaN beyond the focal plane.
        """
        y = np.asarray(y, dtype=np.float64)
        began, ended = (blade.crossing(y) for blade in (self.opening, self.closing))
        # Small numbers first: a day has 1e-6 s of precision.
        delay = (self.closing.start - self.opening.start) * _SECONDS_PER_DAY
        return np.asarray(self.opening.start + 0.5 * (began + ended + delay) / _SECONDS_PER_DAY)


def _read_blade(cards: Mapping[str, object], name: str) -> _Blade | None:
    """Return the motion of the blade ``OPEN`` or ``CLOSE``."""
    prefix = f"SHUTTER {name}"
    side = cards.get(f"{prefix} SIDE")
    values = [_number(cards.get(f"{prefix} HALLSENSORFIT {key}")) for key in _PARAMETERS]
    start = _number(cards.get(f"{prefix} STARTTIME TAI MJD"))
    if side not in ("PLUSX", "MINUSX") or cards.get(f"{prefix} MODEL") != _MODEL:
        return None
    # Opening toward +x and closing toward -x both move to smaller encoder values.
    direction = -1 if (side == "PLUSX") == (name == "OPEN") else 1
    delay, first, second, *jerks = values
    blade = _Blade(start, direction, delay, (first, second), (jerks[0], jerks[1], jerks[2]))
    if not (math.isfinite(start + sum(values)) and 0.0 < first < second and abs(delay) < _MAX_DELAY):
        return None
    return blade if _STROKE[0] < float(blade.distance(_DURATION)) < _STROKE[1] else None


def _number(value: object) -> float:
    """Return the value of a card as a number, NaN if it is not one."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
