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

"""Exposures of the stack's older library, `lsst.afw.image`.

This module alone names it.  It is not needed to import this one: an exposure
is known by its methods, and what it consists of is asked of itself.
"""

from __future__ import annotations

__all__ = (
    "AFW_STORAGE_CLASS",
    "afw_mask_bits",
    "afw_plane_map",
    "afw_to_visit_image",
    "find_exposure_record",
    "is_exposure",
)

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import astropy.time
import astropy.units as u
import numpy as np
import numpy.typing as npt

from lsst.daf.butler import Timespan
from lsst.images import MaskPlane, VisitImage, get_legacy_difference_image_mask_planes
from lsst.pipe.base import UpstreamFailureNoWorkFound

from ..core.planes import PLANES, canonical_plane

if TYPE_CHECKING:
    from lsst.daf.butler import DeferredDatasetHandle

AFW_STORAGE_CLASS = "ExposureF"
"""Storage class of exposures in a Butler."""

_UNIX_EPOCH_MJD = 40587.0
_NANOSECONDS_PER_DAY = 86400.0e9


def is_exposure(image: Any) -> bool:
    """Return whether an object is a `lsst.afw.image.Exposure`."""
    return hasattr(image, "getMaskedImage") and hasattr(image, "getPhotoCalib")


def afw_plane_map(names: Iterable[str]) -> dict[str, MaskPlane]:
    """Return the new mask planes for those of an exposure.

    Parameters
    ----------
    names
        Names of the exposure's planes, or of those that it shall have.  One
        that the map lacks would stop a conversion where it is set, whatever
        it means, so that all are in it; those that nothing is known of keep
        their names.
    """
    planes = dict(get_legacy_difference_image_mask_planes())
    known = {plane.name for plane in planes.values()}
    for name in names:
        if name not in planes and name not in known:
            planes[name] = MaskPlane(name, "Mask plane of the original image.")
    return planes


def afw_mask_bits(mask: Any) -> npt.NDArray[np.uint32]:
    """Return the planes that this package knows of a `lsst.afw.image.Mask`,
    as bits.
    """
    values = np.asarray(mask.array)
    bits = np.zeros(values.shape, dtype=np.uint32)
    for name, bit in mask.getMaskPlaneDict().items():
        plane = canonical_plane(name)
        if plane in PLANES:
            bits[(values & (1 << bit)) != 0] |= np.uint32(1 << PLANES.index(plane))
    return bits


def afw_to_visit_image(exposure: Any, record: Any = None) -> VisitImage:
    """Convert an exposure.

    Parameters
    ----------
    exposure
        The `lsst.afw.image.ExposureF`; the result shares its image and its
        variance.
    record
        The ``exposure`` dimension record of its observation, if there is
        one.  What it would say of times is asked of the exposure otherwise.

    Raises
    ------
    lsst.pipe.base.UpstreamFailureNoWorkFound
        Raised if that is impossible; the message says what is missing.
    """
    if exposure.getWcs() is None:
        raise UpstreamFailureNoWorkFound("The image has no WCS.")
    if exposure.getPsf() is None:
        raise UpstreamFailureNoWorkFound("The image has no PSF.")
    try:
        given: Any = _record_of_visit_info(exposure) if record is None else record
        return VisitImage.from_legacy(
            exposure,
            exposure_record=given,
            unit=_unit(exposure),
            plane_map=afw_plane_map(exposure.mask.getMaskPlaneDict()),
        )
    except Exception as error:
        # It says what is missing: a detector, a unit, visit information.
        raise UpstreamFailureNoWorkFound(f"The image cannot be read as a VisitImage: {error}") from error


def find_exposure_record(handle: DeferredDatasetHandle) -> Any:
    """Return the ``exposure`` dimension record of an image in a Butler.

    Returns
    -------
    record
        `None` if there is none, or more than one because the visit has
        several exposures, or the Butler knows no more than its quanta, as in
        ``pipetask run-qbb``.
    """
    query = getattr(handle.butler, "query_dimension_records", None)
    if query is None:
        return None
    records = query("exposure", data_id=handle.ref.dataId, explain=False)
    return records[0] if len(records) == 1 else None


@dataclasses.dataclass(frozen=True)
class _VisitInfoRecord:
    """What a `lsst.afw.image.VisitInfo` can tell of an ``exposure`` record."""

    instrument: str
    id: int
    physical_filter: str | None
    exposure_time: float | None
    timespan: Timespan
    day_obs: int | None = None
    obs_id: str | None = None
    group: str | None = None
    seq_num: int | None = None
    seq_start: int | None = None
    seq_end: int | None = None
    can_see_sky: bool | None = None
    azimuth: float | None = None
    zenith_angle: float | None = None


def _record_of_visit_info(exposure: Any) -> _VisitInfoRecord | None:
    """Return what is known of the observation, `None` if that is not when it
    was.
    """
    visit_info = exposure.info.getVisitInfo()
    if visit_info is None:
        return None
    date, seconds = visit_info.getDate(), float(visit_info.getExposureTime())
    if not date.isValid() or not np.isfinite(seconds):
        return None
    # Nanoseconds of TAI since 1970.
    middle = astropy.time.Time(
        _UNIX_EPOCH_MJD, date.nsecs() / _NANOSECONDS_PER_DAY, format="mjd", scale="tai"
    )
    half = 0.5 * seconds * u.s
    label = exposure.info.getFilter()
    return _VisitInfoRecord(
        instrument=visit_info.getInstrumentLabel(),
        id=visit_info.getId(),
        physical_filter=(label.physicalLabel or None) if label is not None else None,
        exposure_time=seconds,
        timespan=Timespan(middle - half, middle + half),
    )


def _unit(exposure: Any) -> u.UnitBase | None:
    """Return the unit of an exposure that does not say it itself: once it is
    calibrated, its calibration is that to nJy, 1.
    """
    if exposure.getMetadata().get("BUNIT"):
        return None
    calibration = exposure.getPhotoCalib()
    if calibration is None:
        return None
    return u.nJy if calibration.getCalibrationMean() == 1.0 else u.electron
