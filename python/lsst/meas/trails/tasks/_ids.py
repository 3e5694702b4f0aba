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

"""Integers derived from data IDs: candidate identifiers and seeds."""

from __future__ import annotations

__all__ = (
    "DataIdConfig",
    "PackedDataId",
    "SeededConfig",
    "first_candidate_id",
    "max_candidates",
    "pack_data_id",
)

from typing import Any, NamedTuple

import numpy as np

from lsst.daf.butler import DataCoordinate, DimensionPacker
from lsst.pex.config import Config, RangeField
from lsst.pipe.base import Instrument, InvalidQuantumError, QuantumContext

INJECTION, TILES = 1, 2
"""Uses of random numbers; see `SeededConfig.random_generator`."""

_BITS = 63
"""Usable bits of a signed 64-bit integer."""


class DataIdConfig(Config):
    """Configuration of a task that packs data IDs into integers."""

    packer = Instrument.make_dimension_packer_config_field()

    def setDefaults(self) -> None:
        super().setDefaults()
        # Available for every instrument; the default may need an obs package.
        self.packer.name = "observation"


class SeededConfig(DataIdConfig):
    """Configuration of a task that draws random numbers."""

    seedOffset = RangeField(
        dtype=int,
        doc="Number added to the random seed of every image; change it for another realization.",
        default=0,
        min=0,
    )

    def random_generator(self, packed: int, use: int) -> np.random.Generator:
        """Return a reproducible generator for an image.

        Parameters
        ----------
        packed
            Packed data ID of the image.
        use
            `INJECTION` or `TILES`, so that two tasks draw different numbers.
        """
        return np.random.default_rng([packed, self.seedOffset, use])


class PackedDataId(NamedTuple):
    """Data ID of visit and detector, also packed into a single integer."""

    data_id: DataCoordinate
    packer: DimensionPacker
    packed: int
    visit: int
    detector: int


def pack_data_id(config: DataIdConfig, context: QuantumContext) -> PackedDataId:
    """Return the packed data ID of a quantum.

    Parameters
    ----------
    config
        Configuration of the task.
    context
        Context of the quantum.
    """
    data_id: Any = context.quantum.dataId
    field: Any = config.packer
    packer: DimensionPacker = field.apply(data_id)
    packed: Any = packer.pack(data_id)
    return PackedDataId(data_id, packer, packed, int(data_id["visit"]), int(data_id["detector"]))


def max_candidates(packer: DimensionPacker) -> int:
    """Return the number of candidate identifiers that an image has."""
    return 1 << max(_BITS - packer.maxBits, 0)


def first_candidate_id(packer: DimensionPacker, packed: int, count: int) -> int:
    """Return the identifier of the first candidate of an image.

    Parameters
    ----------
    packer
        Packer of the data IDs of the instrument.
    packed
        Packed data ID of the image.
    count
        Number of candidates, which have consecutive identifiers.

    Raises
    ------
    lsst.pipe.base.InvalidQuantumError
        Raised if the identifiers would overlap with the identifiers of another image.
    """
    bits = _BITS - packer.maxBits
    if bits < 1 or count > 1 << bits:
        raise InvalidQuantumError(
            f"{count} candidates do not fit in {max(bits, 0)} bits, which the packed data ID of "
            f"{packer.maxBits} bits leaves. Raise minScore, or configure packer['observation']."
        )
    return packed << bits
