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

"""Candidates as observations for reports: with instrument, filter, seeing, tracklet and designation."""

from __future__ import annotations

__all__ = (
    "DEFAULT_TIME_UNCERTAINTY",
    "add_association",
    "add_tracklets",
    "check_observations",
    "observation_table",
    "without_fragments",
)

import logging
from collections import Counter

import astropy.table
import numpy as np
import numpy.typing as npt

_LOG = logging.getLogger(__name__)

DEFAULT_TIME_UNCERTAINTY = 0.5
"""Systematic uncertainty of the times of observation where nothing else is known, seconds.

The shutter of LSSTCam takes 0.9 s to cross the focal plane.
"""

_NEEDED = {
    "midpointMjdTai": "time of observation",
    "exposureTime": "exposure time",
    **dict.fromkeys(("ra0", "dec0", "ra1", "dec1"), "position on the sky"),
}
"""Columns without which there is no observation, and what they hold."""

_ASSUMED = {
    "assumedTimeFlag": ("time of observation", "--date"),
    "assumedExposureTimeFlag": ("exposure time", "--exposure-time"),
}
"""Flags of values that were assumed, what they concern, and the option that sets the value."""


def observation_table(
    candidates: astropy.table.Table, *, instrument: str = "", physical_filter: str = ""
) -> astropy.table.Table:
    """Return the candidates of one image with columns that reports need.

    Parameters
    ----------
    candidates
        Rows of a `trail_candidate_detector`, with its metadata.
    instrument, physical_filter
        Butler names of the instrument and the filter.

    Returns
    -------
    observations
        The rows with the columns ``instrument``, ``physical_filter``, ``psfFwhm`` (arcsec, NaN if unknown),
        ``timeUncertainty`` (s), ``assumedMagnitude`` (the zero point of the image was assumed),
        ``trackletId`` (0: none), ``firstEnd`` (-1: unknown), ``designation`` (empty: none) and
        ``isFragment`` (one of several candidates on one trail).
    """
    count = len(candidates)
    observations = candidates.copy()
    meta = candidates.meta
    observations["instrument"] = np.full(count, instrument)
    observations["physical_filter"] = np.full(count, physical_filter)
    observations["psfFwhm"] = np.full(count, float(meta.get("psfFwhm", np.nan)))
    uncertainty = float(meta.get("timeUncertainty", DEFAULT_TIME_UNCERTAINTY))
    observations["timeUncertainty"] = np.full(count, uncertainty)
    observations["assumedMagnitude"] = np.full(count, bool(meta.get("assumedZeroPoint", False)))
    observations["isFragment"] = np.zeros(count, dtype=np.bool_)
    observations["trackletId"] = np.zeros(count, dtype=np.int64)
    observations["firstEnd"] = np.full(count, -1)
    observations["designation"] = np.full(count, "")
    observations.meta.clear()
    return observations


def add_association(
    observations: astropy.table.Table, associated: astropy.table.Table
) -> astropy.table.Table:
    """Return observations of one image with the known objects that they belong to.

    Parameters
    ----------
    observations
        Output of `observation_table`.
    associated
        Candidates of the image with the columns of
        `~lsst.meas.trails.core.association.columns.ASSOCIATION_COLUMNS`.

    Returns
    -------
    observations
        A copy. The predicted motion tells which end is the first. If an object has several candidates, all of
        them are fragments of its trail.
    """
    result = observations.copy()
    place = {identifier: row for row, identifier in enumerate(associated["trailCandidateId"].tolist())}
    rows = [place.get(identifier) for identifier in result["trailCandidateId"].tolist()]
    names = [str(name) for name in associated["designation"]]
    numbers = Counter(name for name in names if name)
    angles = np.deg2rad(np.asarray(associated["motionAngle"], dtype=np.float64))
    ra0, dec0, ra1, dec1 = (
        np.asarray(result[name], dtype=np.float64) for name in ("ra0", "dec0", "ra1", "dec1")
    )
    east = (np.mod(ra1 - ra0 + 180.0, 360.0) - 180.0) * np.cos(np.deg2rad(dec0))
    north = dec1 - dec0
    designations = [""] * len(result)
    for index, row in enumerate(rows):
        if row is None or not names[row]:
            continue
        designations[index] = names[row]
        result["isFragment"][index] = numbers[names[row]] > 1
        along = east[index] * np.sin(angles[row]) + north[index] * np.cos(angles[row])
        if np.isfinite(along):
            result["firstEnd"][index] = 0 if along >= 0.0 else 1
    result["designation"] = np.array(designations, dtype=str)
    return result


def without_fragments(observations: astropy.table.Table) -> astropy.table.Table:
    """Return the observations that are whole trails, and warn of others.

    The ends of a fragment are not the places of the object at the start and the end of the exposure.
    """
    fragment = np.asarray(observations["isFragment"], dtype=np.bool_)
    if np.any(fragment):
        _LOG.warning(
            "%d candidates are omitted: they are fragments of the trails of %s.",
            np.count_nonzero(fragment),
            ", ".join(sorted({str(name) for name in observations["designation"][fragment]})),
        )
    return observations[~fragment]


def add_tracklets(
    observations: astropy.table.Table, tracklets: astropy.table.Table, members: astropy.table.Table
) -> astropy.table.Table:
    """Return observations with their tracklets and the direction of motion.

    Parameters
    ----------
    observations
        Output of `observation_table`, of any number of images.
    tracklets, members
        Tables with the columns of `~lsst.meas.trails.core.linking.columns.TRACKLET_COLUMNS` and
        `~lsst.meas.trails.core.linking.columns.TRACKLET_MEMBER_COLUMNS`.

    Returns
    -------
    observations
        A copy. If tracklets share a candidate, it belongs to the one with the lowest probability of chance,
        and the others are ignored. A tracklet of which fewer than two members are among the observations
        still gives the direction of motion.
    """
    result = observations.copy()
    place = {int(identifier): row for row, identifier in enumerate(result["trailCandidateId"])}
    by_tracklet: dict[int, list[tuple[int, int]]] = {}
    for tracklet, candidate, first in zip(
        members["trackletId"], members["trailCandidateId"], members["firstEnd"], strict=True
    ):
        by_tracklet.setdefault(int(tracklet), []).append((int(candidate), int(first)))
    designations = [str(name) for name in result["designation"]]
    taken: set[int] = set()
    for row in np.argsort(np.asarray(tracklets["chanceProbability"]), kind="stable"):
        identifier, designation = int(tracklets["trackletId"][row]), str(tracklets["designation"][row])
        found = by_tracklet.get(identifier, [])
        if taken.intersection(candidate for candidate, _ in found):
            continue
        taken.update(candidate for candidate, _ in found)
        for candidate, first in found:
            if candidate in place:
                result["trackletId"][place[candidate]] = identifier
                result["firstEnd"][place[candidate]] = first
                designations[place[candidate]] = designations[place[candidate]] or designation
    result["designation"] = np.array(designations, dtype=str)
    return result


def check_observations(candidates: astropy.table.Table) -> None:
    """Check that candidates have all that an observation needs, and that nothing of it is assumed.

    Parameters
    ----------
    candidates
        Rows of a catalog of candidates.

    Raises
    ------
    ValueError
        Raised if there are no candidates, or if one lacks time, exposure time or position, or has an assumed
        time or exposure time.
    """
    if len(candidates) == 0:
        raise ValueError("There are no candidates; reports need at least one observation.")
    for name, what in _NEEDED.items():
        wrong = ~np.isfinite(np.asarray(candidates[name], dtype=np.float64))
        if np.any(wrong):
            raise ValueError(
                f"{_first(candidates, wrong)} has no {what} ({name} is NaN). Leave it out with a condition "
                f"such as '{name} > -1000', or pass the value when ingesting the image."
            )
    for name, (what, option) in _ASSUMED.items():
        if name in candidates.colnames and np.any(assumed := np.asarray(candidates[name], dtype=np.bool_)):
            raise ValueError(
                f"{_first(candidates, assumed)}: the {what} is not known from the file of its image but "
                f"assumed ({name}; {np.count_nonzero(assumed)} candidates). Ingest the image again with "
                f"{option} and search it again, or leave these candidates out with the condition "
                f"'not {name}'."
            )


def _first(candidates: astropy.table.Table, rows: npt.NDArray[np.bool_]) -> str:
    """Return the name of the first of some rows, for messages."""
    row = candidates[int(np.flatnonzero(rows)[0])]
    return f"Candidate {row['trailCandidateId']} of visit {row['visit']}, detector {row['detector']}"
