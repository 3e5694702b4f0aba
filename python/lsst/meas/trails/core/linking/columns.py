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

"""Columns of the tables of tracklets and of their members."""

from __future__ import annotations

__all__ = ("TRACKLET_COLUMNS", "TRACKLET_MEMBER_COLUMNS", "empty_members", "empty_tracklets")

import astropy.table
import astropy.units as u
import numpy as np

from ..catalog.columns import table_of

_F, _I, _S = np.float64, np.int64, np.str_
_RATE = u.deg / u.day

TRACKLET_COLUMNS: dict[str, tuple[type, u.UnitBase | None, str]] = {
    "trackletId": (_I, None, "Unique identifier: trailCandidateId of the earliest member."),
    "nMembers": (_I, None, "Number of members, one per visit."),
    "firstMjdTai": (_F, u.day, "Middle of the exposure of the earliest member, MJD, TAI."),
    "lastMjdTai": (_F, u.day, "Middle of the exposure of the latest member, MJD, TAI."),
    "midpointMjdTai": (_F, u.day, "Epoch of position and motion, the mean of both, MJD, TAI."),
    "ra": (_F, u.deg, "Right ascension at the epoch, ICRS."),
    "dec": (_F, u.deg, "Declination at the epoch, ICRS."),
    "rate": (_F, _RATE, "Rate of motion along a great circle, from the positions of the members."),
    "rateErr": (_F, _RATE, "Error of rate."),
    "positionAngle": (_F, u.deg, "Direction of motion at the epoch, East of North, [0, 360)."),
    "positionAngleErr": (_F, u.deg, "Error of positionAngle."),
    "rateRa": (_F, _RATE, "Eastward motion at the epoch, with cos(dec)."),
    "rateDec": (_F, _RATE, "Northward motion at the epoch."),
    "bands": (_S, None, "Bands of the members in order of time, such as `r` or `gi`."),
    "mag": (_F, u.ABmag, "Mean AB magnitude, converted to the r band with the mean colors of asteroids."),
    "magErr": (_F, u.ABmag, "Error of mag from the fluxes of the members."),
    "chi2": (_F, None, "Chi-square of lengths, angles, positions and magnitudes of the members."),
    "ndof": (_I, None, "Degrees of freedom of chi2."),
    "greatCircleResidual": (_F, u.arcsec, "RMS distance of all ends from the fitted great circle."),
    "logLikelihoodRatio": (_F, None, "Natural logarithm of the likelihood ratio of one object to chance."),
    "chanceProbability": (_F, None, "Probability that the members belong together by chance only."),
    "ssObjectId": (_I, None, "Identifier of the known object on which members agree, 0 if none."),
    "designation": (_S, None, "Designation of the known object on which members agree, empty if none."),
    "digest2Neo": (_F, None, "Digest2 score as a near-Earth object, 0 to 100, NaN if not computed."),
}
"""Columns of a table of tracklets: type, unit and description."""

TRACKLET_MEMBER_COLUMNS: dict[str, tuple[type, u.UnitBase | None, str]] = {
    "trackletId": (_I, None, "Tracklet of the member."),
    "trailCandidateId": (_I, None, "Candidate that is the member."),
    "visit": (_I, None, "Visit of the candidate."),
    "detector": (np.int16, None, "Detector of the candidate."),
    "midpointMjdTai": (_F, u.day, "Middle of the candidate's exposure, MJD, TAI."),
    "firstEnd": (
        _I,
        None,
        "End of the trail at the start of the exposure: 0 for (ra0, dec0), 1 for (ra1, dec1).",
    ),
    "residualAlong": (_F, u.arcsec, "Offset of the midpoint from the fitted motion, in its direction."),
    "residualCross": (_F, u.arcsec, "Offset of the midpoint, positive to the North of an eastward motion."),
    "residualLength": (_F, u.arcsec, "Length of the trail minus fitted rate times exposure time."),
    "residualAngle": (_F, u.deg, "Angle of the trail minus direction of motion there, [-90, 90]."),
    "residualMag": (_F, u.ABmag, "Magnitude in the r band minus the tracklet's."),
}
"""Columns of a table of members: type, unit and description. Rows of a tracklet are in order of time."""


def empty_tracklets() -> astropy.table.Table:
    """Return a table of tracklets with all its columns and no rows."""
    return table_of(dict.fromkeys(TRACKLET_COLUMNS, ()), TRACKLET_COLUMNS)


def empty_members() -> astropy.table.Table:
    """Return a table of members with all its columns and no rows."""
    return table_of(dict.fromkeys(TRACKLET_MEMBER_COLUMNS, ()), TRACKLET_MEMBER_COLUMNS)
