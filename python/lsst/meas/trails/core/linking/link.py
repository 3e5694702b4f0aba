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

"""Linking of the candidates of a night to tracklets."""

from __future__ import annotations

__all__ = ("LinkResult", "link_candidates")

import dataclasses
from collections.abc import Iterable

import astropy.table
import numpy as np

from ..motion import vectors_to_sky
from .chains import Chains, build_chains
from .chance import ChanceModel, Decoys, find_decoys, fit_chance
from .detections import Detections, read_detections
from .options import LinkOptions
from .pairs import find_pairs
from .priors import Priors
from .tracklets import tracklet_tables
from .visits import group_visits, stationary_sources

_CHAIN_CHANCE = 0.95
"""Largest probability of chance of a pair from which a chain is built."""


@dataclasses.dataclass(frozen=True, eq=False)
class LinkResult:
    """Tracklets of a night."""

    tracklets: astropy.table.Table
    """One row per tracklet; see `~lsst.meas.trails.core.linking.columns.TRACKLET_COLUMNS`."""

    members: astropy.table.Table
    """One row per member; see `~lsst.meas.trails.core.linking.columns.TRACKLET_MEMBER_COLUMNS`."""

    positions: astropy.table.Table
    """Midpoints of the members in the same order: ``ra``, ``dec`` in degrees, ``error`` in arcsec."""

    candidates: int
    """Number of candidates in the catalogs."""

    detections: int
    """Number of candidates that could be linked."""

    stationary: int
    """Number of these that repeat at the same place and were left out."""

    visits: int
    """Number of visits with such candidates."""

    pairs: int
    """Number of pairs that agree in length, angle, rate and magnitude."""

    chance: ChanceModel
    """Probability of chance as a function of the likelihood ratio."""

    @property
    def expected_false(self) -> float:
        """Expected number of tracklets that are chance."""
        return float(self.tracklets["chanceProbability"].sum())


def link_candidates(
    catalogs: Iterable[astropy.table.Table], options: LinkOptions = LinkOptions()
) -> LinkResult:
    """Link the candidates of a night to tracklets.

    Parameters
    ----------
    catalogs
        Candidate catalogs, in any order and division, such as one per visit.
    options
        Limits and errors.

    Raises
    ------
    ValueError
        Raised if a column is missing or a candidate is in two catalogs.
    """
    detections, total = read_detections(catalogs, options)
    usable = len(detections)
    repeated = stationary_sources(detections, options)
    detections = detections.take(~repeated)
    visits = group_visits(detections)
    priors = Priors.measure(detections, visits)
    pairs = find_pairs(detections, visits, priors, options)
    decoys = find_decoys(detections, visits, priors, options)
    model = fit_chance(pairs.log_ratio, decoys, detections)
    chance = model.probability(pairs.log_ratio)
    chains = build_chains(detections, pairs, chance, _CHAIN_CHANCE)
    lowest = float(np.min(pairs.log_ratio, initial=np.inf, where=chance <= _CHAIN_CHANCE))
    chains = _measure_pairs(chains, decoys, lowest, detections)
    chains = chains.take(chains.chance <= options.max_chance)
    tracklets, members = tracklet_tables(detections, chains, options)
    return LinkResult(
        tracklets=tracklets,
        members=members,
        positions=_positions(detections, members),
        candidates=total,
        detections=usable,
        stationary=int(repeated.sum()),
        visits=len(visits),
        pairs=len(pairs),
        chance=model,
    )


def _measure_pairs(chains: Chains, decoys: Decoys, lowest: float, detections: Detections) -> Chains:
    """Return the chains with the probability of chance of those with two members.

    Objects with more than two members leave the pairs, and a detection that is used cannot pair by chance.
    """
    two = chains.members == 2
    best = np.full(len(detections), -np.inf)
    best[chains.row] = np.where(two, chains.log_ratio, np.inf)[chains.chain]
    model = fit_chance(chains.log_ratio[two], decoys.unused(best, lowest), detections)
    return dataclasses.replace(
        chains, chance=np.where(two, model.probability(chains.log_ratio), chains.chance)
    )


def _positions(detections: Detections, members: astropy.table.Table) -> astropy.table.Table:
    """Return the midpoints of members."""
    order = np.argsort(detections.candidate_id)
    rows = order[np.searchsorted(detections.candidate_id, members["trailCandidateId"], sorter=order)]
    ra, dec = vectors_to_sky(detections.place[rows])
    return astropy.table.Table({"ra": ra, "dec": dec, "error": detections.position_error[rows]})
