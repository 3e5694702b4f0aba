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

"""Probability thresholds of trail pixels, shared by the mask and the catalog."""

from __future__ import annotations

__all__ = ("DEFAULT_MIN_AREA", "TrailPixels", "TrailPixelsConfig")

import dataclasses

from lsst.pex.config import Config, RangeField
from lsst.pipe.base import InvalidQuantumError

DEFAULT_MIN_AREA = 12
"""Smallest component where no area is configured, pixels."""


@dataclasses.dataclass(frozen=True)
class TrailPixels:
    """Rule that selects the pixels of trails from their probabilities."""

    grow: float
    """Probability of every pixel of a component."""

    seed: float
    """Probability of the best pixel of a component."""

    min_area: int
    """Smallest component, pixels."""


class TrailPixelsConfig(Config):
    """Thresholds of trail pixels, the same fields for mask and catalog.

    A component is a connected set of pixels with probabilities of at least ``growThreshold``. It is kept if
    its best pixel reaches ``seedThreshold`` and it has at least ``minArea`` pixels. A configured value always
    wins. For each value that is not configured, TrailSegmentationTask, which makes the mask, uses the model's
    thresholds and an area of 12 pixels. It records the values that it used in the metadata of
    ``trail_probability``, and TrailCandidateTask, which makes the catalog, uses these where its own
    configuration sets none. Configuring TrailSegmentationTask alone therefore keeps mask and catalog
    consistent.
    """

    seedThreshold = RangeField(
        dtype=float,
        doc="Probability that the best pixel of a component must reach. If unset, TrailSegmentationTask "
        "uses the threshold of the model, and TrailCandidateTask the threshold that made the mask.",
        optional=True,
        default=None,
        min=0.0,
        max=1.0,
    )
    growThreshold = RangeField(
        dtype=float,
        doc="Probability that every pixel of a component must reach. If unset, TrailSegmentationTask "
        "uses the threshold of the model, and TrailCandidateTask the threshold that made the mask.",
        optional=True,
        default=None,
        min=0.0,
        max=1.0,
        inclusiveMin=False,
    )
    minArea = RangeField(
        dtype=int,
        doc="Smallest component, pixels. If unset, TrailSegmentationTask uses 12, and TrailCandidateTask "
        "the area that made the mask.",
        optional=True,
        default=None,
        min=1,
    )

    def validate(self) -> None:
        super().validate()
        grow, seed = self.growThreshold, self.seedThreshold
        if grow is not None and seed is not None and grow > seed:
            raise ValueError(f"growThreshold ({grow}) must not be larger than seedThreshold ({seed}).")

    def trail_pixels(self, default: TrailPixels) -> TrailPixels:
        """Return the configured values, completed by defaults.

        Parameters
        ----------
        default
            Values of the model or of TrailSegmentationTask.

        Raises
        ------
        lsst.pipe.base.InvalidQuantumError
            Raised if the resulting grow threshold exceeds the seed threshold.
        """
        configured = {"grow": self.growThreshold, "seed": self.seedThreshold, "min_area": self.minArea}
        chosen = dataclasses.replace(default, **{k: v for k, v in configured.items() if v is not None})
        if chosen.grow > chosen.seed:
            raise InvalidQuantumError(
                f"The grow threshold ({chosen.grow}) is larger than the seed threshold ({chosen.seed}); "
                f"unconfigured, they are {default.grow} and {default.seed}. Configure both growThreshold "
                "and seedThreshold."
            )
        return chosen
