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

"""Integers from data IDs: candidate identifiers and seeds."""

from __future__ import annotations

__all__ = ("PackedDataId", "first_candidate_id", "max_candidates", "pack_data_id", "quantum_seed")

import dataclasses
from typing import Any, cast

from lsst.daf.butler import DataCoordinate, DimensionPacker
from lsst.pipe.base import InvalidQuantumError, QuantumContext

INJECTION, TILES = 1, 2
"""Uses of random numbers; see `quantum_seed`."""

_BITS = 63
"""Bits of a signed 64-bit integer that may be used."""


@dataclasses.dataclass(frozen=True)
class PackedDataId:
    """A data ID of visit and detector, also as a single integer.

    Parameters
    ----------
    data_id
        The data ID.
    packer
        What packs the data IDs of its instrument.
    """

    data_id: DataCoordinate
    packer: DimensionPacker

    @property
    def packed(self) -> int:
        """The integer (`int`)."""
        return cast(int, self.packer.pack(self.data_id))

    @property
    def visit(self) -> int:
        """The visit (`int`)."""
        return int(self.data_id["visit"])

    @property
    def detector(self) -> int:
        """The detector (`int`)."""
        return int(self.data_id["detector"])


def pack_data_id(packer_config: Any, context: QuantumContext) -> PackedDataId:
    """Return the data ID of a quantum with its packer.

    Parameters
    ----------
    packer_config
        Field made by
        `lsst.pipe.base.Instrument.make_dimension_packer_config_field`.
    context
        The quantum.
    """
    data_id = context.quantum.dataId
    assert data_id is not None, "every quantum of these tasks has a data ID"
    return PackedDataId(data_id=data_id, packer=packer_config.apply(data_id))


def max_candidates(packer: DimensionPacker) -> int:
    """Return the number of candidates that an image has identifiers for."""
    return 1 << max(_BITS - packer.maxBits, 0)


def first_candidate_id(packer: DimensionPacker, packed: int, count: int) -> int:
    """Return the identifier of the first candidate of an image.

    Parameters
    ----------
    packer
        Packs the data IDs of the instrument.
    packed
        Packed data ID of the image.
    count
        Number of candidates; their identifiers count on from the first.

    Raises
    ------
    lsst.pipe.base.InvalidQuantumError
        Raised if the identifiers would run into those of another image.
    """
    bits = _BITS - packer.maxBits
    if bits < 1 or count > 1 << bits:
        raise InvalidQuantumError(
            f"{count} candidates do not fit the {max(bits, 0)} bits that the packed data ID of "
            f"{packer.maxBits} bits leaves. Raise minScore, or configure packer['observation']."
        )
    return packed << bits


def quantum_seed(packed: int, offset: int, use: int) -> list[int]:
    """Return a seed for `numpy.random.default_rng`.

    Different for every image, and the same whenever it is processed again.

    Parameters
    ----------
    packed
        Packed data ID of the image.
    offset
        Configured offset, for another realization of the same images.
    use
        What the numbers are for, `INJECTION` or `TILES`, so that two tasks
        do not draw the same.
    """
    return [packed, offset, use]
