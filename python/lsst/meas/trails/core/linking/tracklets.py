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

"""Tables of tracklets and members: motions fitted to chains."""

from __future__ import annotations

__all__ = ("tracklet_tables",)

from typing import Any

import astropy.table
import numpy as np
import numpy.typing as npt

from ..catalog.columns import table_of
from ..motion import east_north, vectors_to_sky
from .chains import Chains
from .columns import TRACKLET_COLUMNS, TRACKLET_MEMBER_COLUMNS, empty_members, empty_tracklets
from .detections import Detections
from .motions import fit_motions
from .options import LinkOptions

type _Floats = npt.NDArray[np.float64]
type _Ints = npt.NDArray[np.int64]


def tracklet_tables(
    detections: Detections, chains: Chains, options: LinkOptions = LinkOptions()
) -> tuple[astropy.table.Table, astropy.table.Table]:
    """Return the tables of tracklets and of their members.

    Parameters
    ----------
    detections
        The detections.
    chains
        The chains.
    options
        Allowances for changes of brightness.

    Returns
    -------
    tracklets, members
        Tables with `~lsst.meas.trails.core.linking.columns.TRACKLET_COLUMNS` and
        `~lsst.meas.trails.core.linking.columns.TRACKLET_MEMBER_COLUMNS`, in order of ``trackletId``.
    """
    if len(chains) == 0:
        return empty_tracklets(), empty_members()
    d, chain = detections.take(chains.row), chains.chain
    count = np.bincount(chain)
    last = np.cumsum(count) - 1
    first = last - count + 1
    fit = fit_motions(d, chain, chains.sense)
    ra, dec = vectors_to_sky(fit.place)
    east, north = east_north(ra, dec)
    rate_ra, rate_dec = np.sum(fit.velocity * east, axis=1), np.sum(fit.velocity * north, axis=1)
    mag, mag_error = _mean_mag(d, chain, options)
    mag_residual = d.mag - mag[chain]
    with_mag = np.isfinite(mag_residual)
    terms = (
        (np.square(fit.along) + np.square(fit.cross)) / np.square(d.position_error)
        + np.square(fit.length / d.length_error)
        + np.square(fit.angle / d.angle_error)
        + np.where(with_mag, np.square(mag_residual), 0.0) / _mag_variance(d, options)
    )
    known = [d.objects[number] if number >= 0 else (0, "") for number in _known_objects(d, chain)]
    identifier = d.candidate_id[first]
    columns: dict[str, Any] = {
        "trackletId": identifier,
        "nMembers": count,
        "firstMjdTai": d.time[first],
        "lastMjdTai": d.time[last],
        "midpointMjdTai": fit.epoch,
        "ra": ra,
        "dec": dec,
        "rate": fit.rate / 3600.0,
        "rateErr": fit.rate_error / 3600.0,
        "positionAngle": np.mod(np.rad2deg(np.arctan2(rate_ra, rate_dec)), 360.0),
        "positionAngleErr": np.rad2deg(fit.rate_error / fit.rate),
        "rateRa": rate_ra / 3600.0,
        "rateDec": rate_dec / 3600.0,
        "bands": [
            "".join(d.bands[d.band[row]] for row in range(i, j + 1)) for i, j in zip(first, last, strict=True)
        ],
        "mag": mag,
        "magErr": mag_error,
        "chi2": np.bincount(chain, weights=terms),
        # Two positions, a length and an angle per member; four parameters of the motion and a magnitude.
        "ndof": 4 * count - 4 + np.maximum(np.bincount(chain, weights=with_mag) - 1, 0),
        "greatCircleResidual": np.sqrt(np.bincount(chain, weights=np.square(fit.end_cross)) / count),
        "logLikelihoodRatio": chains.log_ratio,
        "chanceProbability": chains.chance,
        "ssObjectId": [identifier for identifier, _ in known],
        "designation": [designation for _, designation in known],
        "digest2Neo": np.full(len(count), np.nan),
    }
    members: dict[str, Any] = {
        "trackletId": identifier[chain],
        "trailCandidateId": d.candidate_id,
        "visit": d.visit,
        "detector": d.detector,
        "midpointMjdTai": d.time,
        "firstEnd": np.where(chains.sense > 0, 0, 1),
        "residualAlong": fit.along,
        "residualCross": fit.cross,
        "residualLength": fit.length,
        "residualAngle": fit.angle,
        "residualMag": mag_residual,
    }
    order = np.argsort(identifier)
    return (
        table_of(columns, TRACKLET_COLUMNS)[order],
        table_of(members, TRACKLET_MEMBER_COLUMNS)[np.argsort(np.argsort(order)[chain], kind="stable")],
    )


def _mag_variance(detections: Detections, options: LinkOptions) -> _Floats:
    """Return the variance of magnitudes about the mean of an object."""
    # Half of the allowance between two bands: each of two magnitudes has its part.
    allowance = np.array([0.0 if band == "r" else options.color_allowance**2 for band in detections.bands])
    floor = 0.5 * options.mag_floor**2
    return np.square(detections.mag_error) + floor + 0.5 * allowance[detections.band]


def _mean_mag(detections: Detections, chain: _Ints, options: LinkOptions) -> tuple[_Floats, _Floats]:
    """Return the mean magnitude of each chain and its error; NaN without any magnitude."""
    usable = np.isfinite(detections.mag)
    mag = np.where(usable, detections.mag, 0.0)
    weight = usable / _mag_variance(detections, options)
    noise = usable / np.square(detections.mag_error)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.bincount(chain, weights=weight * mag) / np.bincount(chain, weights=weight)
        error = 1.0 / np.sqrt(np.bincount(chain, weights=noise))
    return mean, np.where(np.isfinite(mean), error, np.nan)


def _known_objects(detections: Detections, chain: _Ints) -> _Ints:
    """Return the known object of each chain, -1 if no member has one."""
    known = np.full(int(chain[-1]) + 1, -1, dtype=np.int64)
    np.maximum.at(known, chain, detections.known)
    return known
