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
    "quantum_seed",
)

import dataclasses
from typing import Any, cast

from lsst.daf.butler import DataCoordinate, DimensionPacker
from lsst.pex.config import Config, RangeField
from lsst.pipe.base import Instrument, InvalidQuantumError, QuantumContext

INJECTION, TILES = 1, 2
"""Uses of random numbers; see `quantum_seed`."""

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


@dataclasses.dataclass(frozen=True)
class PackedDataId:
    """Data ID of visit and detector, also as a single integer."""

    data_id: DataCoordinate
    packer: DimensionPacker
    """Packer of the data IDs of the instrument."""

    @property
    def packed(self) -> int:
        """The integer."""
        return cast(int, self.packer.pack(self.data_id))

    @property
    def visit(self) -> int:
        """The visit."""
        return int(self.data_id["visit"])

    @property
    def detector(self) -> int:
        """The detector."""
        return int(self.data_id["detector"])


def pack_data_id(config: DataIdConfig, context: QuantumContext) -> PackedDataId:
    """Return the data ID of a quantum with its packer.

    Parameters
    ----------
    config
        Configuration of the task.
    context
        Context of the quantum.
    """
    data_id = context.quantum.dataId
    assert data_id is not None, "every quantum of these tasks has a data ID"
    field: Any = config.packer
    return PackedDataId(data_id=data_id, packer=field.apply(data_id))


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
        Raised if the identifiers would overlap with those of another image.
    """
    bits = _BITS - packer.maxBits
    if bits < 1 or count > 1 << bits:
        raise InvalidQuantumError(
            f"{count} candidates do not fit in {max(bits, 0)} bits, which the packed data ID of "
            f"{packer.maxBits} bits leaves. Raise minScore, or configure packer['observation']."
        )
    return packed << bits


def quantum_seed(packed: int, offset: int, use: int) -> list[int]:
    """Return a reproducible seed for `numpy.random.default_rng`.

    Parameters
    ----------
    packed
        Packed data ID of the image.
    offset
        Configured ``seedOffset``.
    use
        `INJECTION` or `TILES`, so that two tasks draw different numbers.
    """
    return [packed, offset, use]
