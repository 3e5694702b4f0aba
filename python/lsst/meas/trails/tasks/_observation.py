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

"""Identifier and times of observations, from the records of a Butler."""

from __future__ import annotations

__all__ = ("OBSERVATION_FIELDS", "find_observation", "with_changed_info", "with_times")

import copy
import types
from typing import TYPE_CHECKING, Any

import astropy.time
import astropy.units as u

from lsst.images import VisitImage

if TYPE_CHECKING:
    from lsst.daf.butler import DeferredDatasetHandle, DimensionRecord

OBSERVATION_FIELDS = (
    "instrument",
    "id",
    "physical_filter",
    "exposure_time",
    "timespan",
    "day_obs",
    "obs_id",
    "group",
    "seq_num",
    "seq_start",
    "seq_end",
    "can_see_sky",
    "azimuth",
    "zenith_angle",
)
"""Fields of an ``exposure`` record that describe an observation."""


def find_observation(handle: DeferredDatasetHandle) -> types.SimpleNamespace | None:
    """Return the record of the observation of an image in a Butler.

    Returns
    -------
    record
        Its `OBSERVATION_FIELDS`, `None` where unknown, and ``is_exposure``: whether they are those of the
        ``exposure`` record. They are those of the ``visit`` record if the visit has several exposures or the
        Butler holds the quanta only, as in ``pipetask run-qbb``. `None` if there is no record.
    """
    data_id = getattr(handle.ref, "dataId", None)
    if data_id is None:
        return None
    query = getattr(handle.butler, "query_dimension_records", None)
    if query is not None:
        records = query("exposure", data_id=data_id, explain=False)
        if len(records) == 1:
            return _fields(records[0], is_exposure=True)
    if data_id.hasRecords():
        visit: DimensionRecord | None = data_id.records["visit"]
        records = [] if visit is None else [visit]
    else:
        records = [] if query is None else query("visit", data_id=data_id, explain=False)
    return _fields(records[0], is_exposure=False) if len(records) == 1 else None


def _fields(record: DimensionRecord, *, is_exposure: bool) -> types.SimpleNamespace:
    # Records of older repositories lack fields.
    fields = {name: getattr(record, name, None) for name in OBSERVATION_FIELDS}
    return types.SimpleNamespace(**fields, is_exposure=is_exposure)


def with_changed_info(image: VisitImage, **changes: Any) -> VisitImage:
    """Return an image with changed observation information; pixels are shared.

    Parameters
    ----------
    image
        The image.
    **changes
        New values of the properties of an `astro_metadata_translator.ObservationInfo`.
    """
    with image.obs_info.edit_copy() as info:
        for name, value in changes.items():
            setattr(info, name, value)
    result = copy.copy(image)
    # `lsst.images` has no other way to replace it in each of its classes.
    result._obs_info = info
    return result


def with_times(image: VisitImage, record: types.SimpleNamespace | None) -> VisitImage:
    """Return an image with its missing times from the record of its observation.

    Parameters
    ----------
    image
        The image.
    record
        Output of `find_observation`.
    """
    if record is None:
        return image
    info, changes = image.obs_info, {}
    if record.timespan is not None:
        for name, time in (("datetime_begin", record.timespan.begin), ("datetime_end", record.timespan.end)):
            if getattr(info, name) is None and isinstance(time, astropy.time.Time):
                changes[name] = time
    if info.exposure_time is None and record.exposure_time is not None:
        changes["exposure_time"] = record.exposure_time * u.s
    return with_changed_info(image, **changes) if changes else image
