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

"""Predictions of one object in two ephemerides under different names."""

from __future__ import annotations

__all__ = ("without_other_names",)

import logging

import numpy as np
import scipy.spatial

from ..motion import separation, sky_vectors
from .predict import PredictedTrails

_LOG = logging.getLogger(__name__)

_N_SIGMA = 4.0
"""Largest distance between two predictions of an object, standard deviations."""

_FLOOR = 0.2
"""Distance that is allowed in addition, arcseconds."""

_RATE = 0.02
"""Largest difference between their motions, relative to the rate."""

_RATE_FLOOR = 0.002
"""Difference of motions that is allowed in addition, degrees per day."""


def without_other_names(predicted: PredictedTrails) -> PredictedTrails:
    """Return predictions without repetitions of an object under another name.

    An ephemeris may have a provisional designation, and another the number or the name. Two trails at the
    same place would each make the other's match uncertain.

    Parameters
    ----------
    predicted
        Predictions of any ephemerides.

    Returns
    -------
    predicted
        Of predictions by different ephemerides that agree in position and motion, the one with the smallest
        uncertainty. Objects of one ephemeris are never merged.
    """
    if len(set(predicted.source)) < 2:
        return predicted
    reach = np.deg2rad((2.0 * _N_SIGMA * float(np.max(predicted.position_err)) + _FLOOR) / 3600.0)
    tree = scipy.spatial.cKDTree(sky_vectors(predicted.ra, predicted.dec))
    i, j = tree.query_pairs(reach, output_type="ndarray").T
    limit = _N_SIGMA * np.hypot(predicted.position_err[i], predicted.position_err[j]) + _FLOOR
    same = predicted.source[i] != predicted.source[j]
    for ra, dec in ((predicted.ra0, predicted.dec0), (predicted.ra1, predicted.dec1)):
        same &= 3600.0 * separation(ra[i], dec[i], ra[j], dec[j]) <= limit
    east, north = predicted.rate_ra, predicted.rate_dec
    motion = np.hypot(east[i] - east[j], north[i] - north[j])
    same &= motion <= _RATE * np.maximum(predicted.rate[i], predicted.rate[j]) + _RATE_FLOOR
    neighbors: dict[int, set[int]] = {}
    for one, other in zip(i[same].tolist(), j[same].tolist(), strict=True):
        neighbors.setdefault(one, set()).add(other)
        neighbors.setdefault(other, set()).add(one)
    keep = np.ones(len(predicted), dtype=bool)
    for row in np.argsort(predicted.position_err, kind="stable").tolist():
        if keep[row]:
            keep[list(neighbors.get(row, ()))] = False
    if not np.all(keep):
        names = ", ".join(predicted.designation[~keep][:5])
        _LOG.info("Ignored %d predictions of objects under other names: %s.", int(np.sum(~keep)), names)
    return predicted[keep]
