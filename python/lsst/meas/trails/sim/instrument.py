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

"""The instrument that simulated images belong to."""

from __future__ import annotations

__all__ = (
    "BANDS",
    "DETECTOR_SHAPE",
    "N_DETECTORS",
    "DetectorPlace",
    "TrailSimCam",
    "band_of",
    "detector_place",
    "physical_filter_of",
)

import dataclasses
from typing import TYPE_CHECKING, NoReturn

from lsst.pipe.base import Instrument

if TYPE_CHECKING:
    from lsst.daf.butler import DataId, Registry

BANDS: tuple[str, ...] = ("u", "g", "r", "i", "z", "y")
"""Bands of the filters, short to long wavelengths."""

DETECTOR_SHAPE: tuple[int, int] = (4000, 4072)
"""Shape (ny, nx) of a detector in pixels, unless it is asked for otherwise."""

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

_VISIT_MAX = 2_051_000_000_000
"""Exclusive limit of visit numbers, which are YYYYMMDD and five digits that
count the visits of the night: those of every night before 2051.
"""


@dataclasses.dataclass(frozen=True)
class DetectorPlace:
    """Name and place of a detector in the focal plane.

    Parameters
    ----------
    id
        Number of the detector.
    raft, name_in_raft
        Names such as ``R22`` and ``S11``: row and column of the raft, and of
        the detector in it.
    column, row
        Place in the focal plane, in detectors to the right of and above the
        central one.
    """

    id: int
    raft: str
    name_in_raft: str
    column: int
    row: int

    @property
    def full_name(self) -> str:
        """Name that is unique in the camera (`str`)."""
        return f"{self.raft}_{self.name_in_raft}"


def _places() -> tuple[DetectorPlace, ...]:
    center = len(_RAFT_COLUMNS) * _SENSORS_PER_SIDE // 2
    places: list[DetectorPlace] = []
    for raft_row, raft_columns in enumerate(_RAFT_COLUMNS):
        for raft_column in raft_columns:
            for row in range(_SENSORS_PER_SIDE):
                for column in range(_SENSORS_PER_SIDE):
                    places.append(
                        DetectorPlace(
                            id=len(places),
                            raft=f"R{raft_row}{raft_column}",
                            name_in_raft=f"S{row}{column}",
                            column=raft_column * _SENSORS_PER_SIDE + column - center,
                            row=raft_row * _SENSORS_PER_SIDE + row - center,
                        )
                    )
    return tuple(places)


_PLACES = _places()


def detector_place(detector: int) -> DetectorPlace:
    """Return where a detector is in the focal plane.

    Raises
    ------
    ValueError
        Raised if there is no such detector.
    """
    if not 0 <= detector < N_DETECTORS:
        raise ValueError(f"{TrailSimCam.getName()} has detectors 0 to {N_DETECTORS - 1}, no {detector}.")
    return _PLACES[detector]


def physical_filter_of(band: str) -> str:
    """Return the name of the filter of a band.

    Raises
    ------
    ValueError
        Raised if the band is not one of `BANDS`.
    """
    if band not in BANDS:
        raise ValueError(f"Unknown band {band!r}; {TrailSimCam.getName()} has {', '.join(BANDS)}.")
    return f"{band}_sim"


def band_of(physical_filter: str) -> str:
    """Return the band of a filter of this instrument.

    Raises
    ------
    ValueError
        Raised if the instrument has no such filter.
    """
    for band in BANDS:
        if physical_filter_of(band) == physical_filter:
            return band
    raise ValueError(f"{TrailSimCam.getName()} has no filter {physical_filter!r}.")


class TrailSimCam(Instrument):
    """A simulated camera after LSSTCam.

    It has the 189 science detectors of LSSTCam in 21 rafts, under the same
    numbers and names, and one filter a band.  Its images are born calibrated:
    it has no raw data.

    Parameters
    ----------
    collection_prefix
        Prefix for the names of its collections instead of the instrument's
        own name.
    """

    def __init__(self, collection_prefix: str | None = None):
        super().__init__(collection_prefix=collection_prefix)

    @classmethod
    def getName(cls) -> str:
        """Return the name of the instrument in data IDs."""
        return "TrailSimCam"

    def register(self, registry: Registry, *, update: bool = False) -> None:
        """Insert the instrument, its detectors and filters into a registry.

        Parameters
        ----------
        registry
            Registry of the data repository.
        update
            Whether to change records that are there and differ.

        Raises
        ------
        lsst.daf.butler.registry.ConflictingDefinitionError
            Raised if a record is there with other contents and ``update`` is
            `False`.
        """
        name = self.getName()
        with registry.transaction():
            registry.syncDimensionData(
                "instrument",
                {
                    "name": name,
                    "class_name": f"lsst.meas.trails.instruments.{type(self).__name__}",
                    "detector_max": N_DETECTORS,
                    "visit_max": _VISIT_MAX,
                    "exposure_max": _VISIT_MAX,
                    "visit_system": 0,
                },
                update=update,
            )
            for band in BANDS:
                registry.syncDimensionData(
                    "physical_filter",
                    {"instrument": name, "name": physical_filter_of(band), "band": band},
                    update=update,
                )
            for place in _PLACES:
                registry.syncDimensionData(
                    "detector",
                    {
                        "instrument": name,
                        "id": place.id,
                        "full_name": place.full_name,
                        "name_in_raft": place.name_in_raft,
                        "raft": place.raft,
                        "purpose": "SCIENCE",
                    },
                    update=update,
                )

    def getRawFormatter(self, dataId: DataId) -> NoReturn:
        """Raise: this instrument has no raw data.

        Raises
        ------
        NotImplementedError
            Always raised.
        """
        raise NotImplementedError(
            f"{self.getName()} is a simulated instrument without raw data: "
            "`meas-trails simulate` and `meas-trails ingest-fits` write calibrated visit images."
        )
