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

"""Conversion of `lsst.afw.image` exposures, the older images of the stack.

No other module names that library. It does not need to be installed: exposures are recognized by their
methods.
"""

from __future__ import annotations

__all__ = (
    "AFW_STORAGE_CLASS",
    "afw_mask_planes",
    "afw_plane_map",
    "afw_to_visit_image",
    "find_exposure_record",
    "is_exposure",
)

import types
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import astropy.time
import astropy.units as u
import numpy as np
import numpy.typing as npt

from lsst.daf.butler import Timespan
from lsst.images import MaskPlane, VisitImage, get_legacy_difference_image_mask_planes
from lsst.pipe.base import UpstreamFailureNoWorkFound

if TYPE_CHECKING:
    from lsst.daf.butler import DeferredDatasetHandle, DimensionRecord

AFW_STORAGE_CLASS = "ExposureF"
"""Storage class of exposures in a Butler."""

_UNIX_EPOCH_MJD = 40587.0
_NANOSECONDS_PER_DAY = 86400.0e9

_UNKNOWN_FIELDS = "day_obs obs_id group seq_num seq_start seq_end can_see_sky azimuth zenith_angle".split()
"""Fields of an ``exposure`` record that visit information lacks."""


def is_exposure(image: object) -> bool:
    """Return whether an object is a `lsst.afw.image.Exposure`."""
    return hasattr(image, "getMaskedImage") and hasattr(image, "getPhotoCalib")


def afw_plane_map(names: Iterable[str]) -> dict[str, MaskPlane]:
    """Return the `lsst.images` mask plane for each plane of an exposure.

    Parameters
    ----------
    names
        Names of the planes. All get an entry, because a conversion fails on a plane without one; unknown
        planes keep their names.
    """
    planes = dict(get_legacy_difference_image_mask_planes())
    known = {plane.name for plane in planes.values()}
    for name in names:
        if name not in planes and name not in known:
            planes[name] = MaskPlane(name, "Mask plane of the original image.")
    return planes


def afw_mask_planes(mask: Any) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """Yield the name and the pixels of each plane of a `lsst.afw.image.Mask`."""
    values = np.asarray(mask.array)
    for name, bit in mask.getMaskPlaneDict().items():
        yield name, (values & (1 << bit)) != 0


def afw_to_visit_image(exposure: Any, record: DimensionRecord | None = None) -> VisitImage:
    """Convert an exposure to a `lsst.images.VisitImage`.

    Parameters
    ----------
    exposure
        The `lsst.afw.image.ExposureF`; the result shares its image and its variance.
    record
        The ``exposure`` dimension record of the observation. Without one, the times come from the visit
        information of the exposure.

    Raises
    ------
    lsst.pipe.base.UpstreamFailureNoWorkFound
        Raised if the exposure lacks a required part; the message names it.
    """
    if exposure.getWcs() is None:
        raise UpstreamFailureNoWorkFound("The image has no WCS.")
    if exposure.getPsf() is None:
        raise UpstreamFailureNoWorkFound("The image has no PSF.")
    try:
        known: Any = _record_of_visit_info(exposure) if record is None else record
        return VisitImage.from_legacy(
            exposure,
            exposure_record=known,
            unit=_unit(exposure),
            plane_map=afw_plane_map(exposure.mask.getMaskPlaneDict()),
        )
    except Exception as error:
        # The error names the missing part: detector, unit, visit information.
        raise UpstreamFailureNoWorkFound(f"The image cannot be read as a VisitImage: {error}") from error


def find_exposure_record(handle: DeferredDatasetHandle) -> DimensionRecord | None:
    """Return the ``exposure`` dimension record of an image in a Butler.

    Returns
    -------
    record
        `None` if there is no unique record (visits may have several exposures) or the Butler holds the quanta
        only, as in ``pipetask run-qbb``.
    """
    query = getattr(handle.butler, "query_dimension_records", None)
    if query is None:
        return None
    records = query("exposure", data_id=handle.ref.dataId, explain=False)
    return records[0] if len(records) == 1 else None


def _record_of_visit_info(exposure: Any) -> types.SimpleNamespace | None:
    """Return a substitute for an ``exposure`` record, from the visit information.

    `None` if the time of the observation is unknown.
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
    return types.SimpleNamespace(
        **dict.fromkeys(_UNKNOWN_FIELDS),
        instrument=visit_info.getInstrumentLabel(),
        id=visit_info.getId(),
        physical_filter=(label.physicalLabel or None) if label is not None else None,
        exposure_time=seconds,
        timespan=Timespan(middle - half, middle + half),
    )


def _unit(exposure: Any) -> u.UnitBase | None:
    """Return the unit of an exposure, `None` if its header states one.

    The calibration of an image that is calibrated in nJy is 1.
    """
    if exposure.getMetadata().get("BUNIT"):
        return None
    calibration = exposure.getPhotoCalib()
    if calibration is None:
        return None
    return u.nJy if calibration.getCalibrationMean() == 1.0 else u.electron
