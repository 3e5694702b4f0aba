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

"""Gain of an image by amplifier."""

from __future__ import annotations

__all__ = ("Box", "GainMap", "fit_gains")

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..photometry import estimate_gain
from ..planes import ImagePlanes

type Box = tuple[slice, slice]
"""Part of an image: slices (y, x) of array coordinates."""


@dataclasses.dataclass(frozen=True)
class GainMap:
    """Electrons per image unit over an image."""

    default: float
    """Gain outside the boxes; ``inf`` if unknown."""

    boxes: tuple[Box, ...] = ()
    """Amplifiers with their own gain."""

    gains: tuple[float, ...] = ()
    """Gain of each box."""

    def __post_init__(self) -> None:
        if len(self.boxes) != len(self.gains):
            raise ValueError(f"There are {len(self.gains)} gains for {len(self.boxes)} amplifiers.")
        if not all(gain > 0.0 for gain in (self.default, *self.gains)):
            raise ValueError(f"All gains must be positive, not {(self.default, *self.gains)}.")

    @classmethod
    def uniform(cls, gain: float) -> GainMap:
        """Return one gain for a whole image."""
        return cls(default=gain)

    @property
    def typical(self) -> float:
        """Median over the amplifiers."""
        return float(np.median(self.gains)) if self.gains else self.default

    @property
    def finite(self) -> bool:
        """Whether any gain is known."""
        return any(np.isfinite(gain) for gain in (self.default, *self.gains))

    def at(self, rows: npt.NDArray[np.integer], columns: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
        """Return the gains of pixels, in the shape of their coordinates."""
        result = np.full(rows.shape, self.default)
        for (y, x), gain in zip(self.boxes, self.gains, strict=True):
            inside = (rows >= y.start) & (rows < y.stop) & (columns >= x.start) & (columns < x.stop)
            result[inside] = gain
        return result

    def image(self, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
        """Return the gain of each pixel of an image of shape (ny, nx)."""
        result = np.full(shape, np.float32(self.default))
        for box, gain in zip(self.boxes, self.gains, strict=True):
            result[box] = gain
        return result


def fit_gains(planes: ImagePlanes, boxes: Sequence[Box] = ()) -> GainMap:
    """Fit the gain of each amplifier to its variance plane.

    Parameters
    ----------
    planes
        The image.
    boxes
        Amplifiers; without them one gain is fitted to the whole image.

    Returns
    -------
    gains
        Amplifiers with too few stars have the median of the others. If no amplifier can be fitted, one gain
        is fitted to the whole image; see `~lsst.meas.trails.core.photometry.estimate_gain`.
    """
    bad = planes.bad()
    fitted = [estimate_gain(planes.image[box], planes.variance[box], bad[box]) for box in boxes]
    known = [gain for gain in fitted if np.isfinite(gain)]
    if not known:
        return GainMap.uniform(estimate_gain(planes.image, planes.variance, bad))
    default = float(np.median(known))
    gains = tuple(gain if np.isfinite(gain) else default for gain in fitted)
    return GainMap(default=default, boxes=tuple(boxes), gains=gains)
