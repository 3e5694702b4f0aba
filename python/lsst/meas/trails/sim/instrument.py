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

"""Instrument of the simulated images."""

from __future__ import annotations

__all__ = (
    "BANDS",
    "DETECTOR_SHAPE",
    "N_DETECTORS",
    "DetectorPlace",
    "TrailSimCam",
    "detector_place",
    "physical_filter_of",
)

import dataclasses
from typing import TYPE_CHECKING

from ..repository.camera import CalibratedInstrument

if TYPE_CHECKING:
    from lsst.daf.butler import Registry

BANDS: tuple[str, ...] = ("u", "g", "r", "i", "z", "y")
"""Bands of the filters, short to long wavelengths."""

DETECTOR_SHAPE: tuple[int, int] = (4000, 4072)
"""Default shape (ny, nx) of a detector, pixels."""

_RAFT_COLUMNS: tuple[tuple[int, ...], ...] = (
    (1, 2, 3),
    (0, 1, 2, 3, 4),
    (0, 1, 2, 3, 4),
    (0, 1, 2, 3, 4),
    (1, 2, 3),
)
"""Columns of the five rows of rafts: a square without its corners."""

_SENSORS_PER_SIDE = 3

N_DETECTORS = sum(len(columns) for columns in _RAFT_COLUMNS) * _SENSORS_PER_SIDE**2
"""Number of detectors."""


@dataclasses.dataclass(frozen=True)
class DetectorPlace:
    """Name and place of a detector in the focal plane."""

    id: int
    """Detector number."""

    raft: str
    """Row and column of the raft, such as ``R22``."""

    name_in_raft: str
    """Row and column of the detector in the raft, such as ``S11``."""

    column: int
    """Number of detectors to the right of the central detector."""

    row: int
    """Number of detectors above the central detector."""

    @property
    def full_name(self) -> str:
        """Name, unique in the camera."""
        return f"{self.raft}_{self.name_in_raft}"


def _places() -> tuple[DetectorPlace, ...]:
    n = _SENSORS_PER_SIDE
    center = len(_RAFT_COLUMNS) * n // 2
    rafts = [(row, column) for row, columns in enumerate(_RAFT_COLUMNS) for column in columns]
    sensors = [(*raft, row, column) for raft in rafts for row in range(n) for column in range(n)]
    return tuple(
        DetectorPlace(
            id=i,
            raft=f"R{raft_row}{raft_column}",
            name_in_raft=f"S{row}{column}",
            column=raft_column * n + column - center,
            row=raft_row * n + row - center,
        )
        for i, (raft_row, raft_column, row, column) in enumerate(sensors)
    )


_PLACES = _places()


def detector_place(detector: int) -> DetectorPlace:
    """Return the name and place of a detector.

    Raises
    ------
    ValueError
        Raised if the instrument has no detector of this number.
    """
    if not 0 <= detector < N_DETECTORS:
        raise ValueError(f"{TrailSimCam.getName()} has detectors 0 to {N_DETECTORS - 1}, not {detector}.")
    return _PLACES[detector]


def physical_filter_of(band: str) -> str:
    """Return the name of the filter of a band.

    Raises
    ------
    ValueError
        Raised if the band is not one of `BANDS`.
    """
    if band not in BANDS:
        raise ValueError(f"Unknown band {band!r}; choose one of {', '.join(BANDS)}.")
    return f"{band}_sim"


class TrailSimCam(CalibratedInstrument):
    """A simulated camera similar to LSSTCam.

    It has the 189 science detectors of LSSTCam in 21 rafts, with the same numbers and names, and one filter
    per band.
    """

    detector_max = N_DETECTORS

    # Visit numbers are YYYYMMDD and five digits: all nights before 2051.
    visit_max = 2_051_000_000_000

    def register(self, registry: Registry, *, update: bool = False) -> None:
        """Insert the instrument, its detectors and filters into a registry.

        Parameters
        ----------
        registry
            Registry of the data repository.
        update
            Whether to change existing records that differ.

        Raises
        ------
        lsst.daf.butler.registry.ConflictingDefinitionError
            Raised if an existing record differs and ``update`` is `False`.
        """
        with registry.transaction():
            super().register(registry, update=update)
            for band in BANDS:
                names = {"name": physical_filter_of(band), "band": band}
                self.register_record(registry, "physical_filter", names, update=update)
            for place in _PLACES:
                record = {
                    "id": place.id,
                    "full_name": place.full_name,
                    "name_in_raft": place.name_in_raft,
                    "raft": place.raft,
                    "purpose": "SCIENCE",
                }
                self.register_record(registry, "detector", record, update=update)
