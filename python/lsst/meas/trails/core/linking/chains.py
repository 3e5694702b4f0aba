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

"""Chains: pairs that have detections in common and agree with one motion."""

from __future__ import annotations

__all__ = ("Chains", "build_chains")

import dataclasses

import numpy as np
import numpy.typing as npt

from .detections import Detections
from .pairs import Pairs
from .visits import ARCSEC

type _Floats = npt.NDArray[np.float64]
type _Ints = npt.NDArray[np.int64]

_REACH = 5.0
"""Largest offset from the motion of a chain, in units of its error."""

_CURVATURE = 0.01
"""Allowed change of the motion, in units of the distance from the nearest member."""


@dataclasses.dataclass(frozen=True, eq=False)
class Chains:
    """Groups of detections, one per visit, that agree with one motion.

    Parameters
    ----------
    chain, row, sense
        Chain, row of the detection and sense of its direction, one per member, in order of chain and time.
    log_ratio, chance
        Sum of the logarithms of the likelihood ratios and product of the probabilities of chance of the
        pairs that join the members, one per chain.
    """

    chain: _Ints
    row: _Ints
    sense: _Ints
    log_ratio: _Floats
    chance: _Floats

    def __len__(self) -> int:
        return len(self.chance)

    @property
    def members(self) -> _Ints:
        """Number of members of each chain."""
        return np.bincount(self.chain, minlength=len(self))

    def take(self, use: npt.NDArray[np.bool_]) -> Chains:
        """Return some of the chains."""
        kept = use[self.chain]
        number = np.cumsum(use) - 1
        return Chains(
            number[self.chain[kept]], self.row[kept], self.sense[kept], self.log_ratio[use], self.chance[use]
        )


@dataclasses.dataclass(eq=False)
class _Chain:
    members: dict[int, int]
    """Row and sense of each member."""

    visits: set[int]
    known: set[int]
    log_ratio: float
    chance: float


class _Builder:
    """Chains under construction."""

    def __init__(self, detections: Detections) -> None:
        self.detections = detections
        self.of: dict[int, _Chain] = {}
        self.chains: dict[int, _Chain] = {}

    def add(self, first: int, second: int, senses: tuple[int, int], log_ratio: float, chance: float) -> None:
        """Add a pair if it agrees with the chains of its detections."""
        pair = {first: senses[0], second: senses[1]}
        touched = {id(chain): chain for row in pair if (chain := self.of.get(row)) is not None}
        visits = {int(self.detections.visit[row]) for row in pair}
        chains = sorted(touched.values(), key=lambda chain: -len(chain.members))
        for chain in chains:
            if any(chain.members.get(row, sense) != sense for row, sense in pair.items()):
                return
        known_objects = {int(self.detections.known[row]) for row in pair} - {-1}
        if len(known_objects.union(*(chain.known for chain in chains))) > 1:
            return
        if len(chains) == 1 and not set(pair) <= set(chains[0].members):
            new = next(row for row in pair if row not in chains[0].members)
            if int(self.detections.visit[new]) in chains[0].visits or not self._fits(chains[0], [new]):
                return
        elif len(chains) == 2:
            if chains[0].visits & chains[1].visits or not self._fits(chains[0], list(chains[1].members)):
                return
        elif len(chains) == 1:
            return
        target = chains[0] if chains else _Chain({}, set(), set(), 0.0, 1.0)
        for other in chains[1:]:
            pair |= other.members
            visits |= other.visits
            known_objects |= other.known
            log_ratio, chance = log_ratio + other.log_ratio, chance * other.chance
            del self.chains[id(other)]
        target.members |= pair
        target.visits |= visits
        target.known |= known_objects
        target.log_ratio += log_ratio
        target.chance *= chance
        self.chains[id(target)] = target
        for row in pair:
            self.of[row] = target

    def _fits(self, chain: _Chain, rows: list[int]) -> bool:
        """Return whether detections agree with the motion from the first to the last member of a chain."""
        d = self.detections
        members = sorted(chain.members, key=lambda row: float(d.time[row]))
        start, stop = members[0], members[-1]
        a, b = d.place[start], d.place[stop]
        arc = float(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b))
        tangent = b - (a @ b) * a
        tangent /= np.linalg.norm(tangent)
        span = float(d.time[stop] - d.time[start])
        for row in rows:
            fraction = float(d.time[row] - d.time[start]) / span
            place = a * np.cos(arc * fraction) + tangent * np.sin(arc * fraction)
            error = ARCSEC * np.sqrt(
                d.position_error[row] ** 2
                + (d.position_error[start] * (1.0 - fraction)) ** 2
                + (d.position_error[stop] * fraction) ** 2
            )
            away = min(float(abs(d.time[row] - d.time[member])) for member in members) / span * arc
            if np.linalg.norm(place - d.place[row]) > _REACH * error + _CURVATURE * away:
                return False
        return True


def build_chains(detections: Detections, pairs: Pairs, chance: _Floats, max_chance: float) -> Chains:
    """Join pairs to chains, the most likely first; each detection is in one chain at most.

    Parameters
    ----------
    detections
        The detections.
    pairs
        The pairs.
    chance
        Probability that each pair is chance, shape (n,).
    max_chance
        Largest probability of the pairs that are used.
    """
    use = np.flatnonzero(chance <= max_chance)
    order = use[np.argsort(-pairs.log_ratio[use], kind="stable")]
    builder = _Builder(detections)
    columns = (pairs.first, pairs.second, pairs.sense_first, pairs.sense_second, pairs.log_ratio, chance)
    for first, second, sense, other, ratio, probability in zip(
        *(column[order].tolist() for column in columns), strict=True
    ):
        builder.add(first, second, (sense, other), ratio, probability)
    chains = list(builder.chains.values())
    number = np.repeat(np.arange(len(chains)), [len(chain.members) for chain in chains])
    row = np.array([row for chain in chains for row in chain.members], dtype=np.int64)
    sense = np.array([sense for chain in chains for sense in chain.members.values()], dtype=np.int64)
    sort = np.lexsort((detections.time[row], number)) if len(row) else np.zeros(0, dtype=np.int64)
    return Chains(
        chain=number[sort].astype(np.int64),
        row=row[sort],
        sense=sense[sort],
        log_ratio=np.array([chain.log_ratio for chain in chains]),
        chance=np.array([chain.chance for chain in chains]),
    )
