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

"""Probability that a pair of detections is chance, measured on the night itself."""

from __future__ import annotations

__all__ = ("ChanceModel", "Decoys", "find_decoys", "fit_chance")

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.optimize
import scipy.special

from .detections import Detections
from .options import LinkOptions
from .pairs import Pairs, find_pairs, log_odds_of_both
from .priors import Priors
from .visits import Visit

type _Floats = npt.NDArray[np.float64]

ROTATIONS: tuple[float, ...] = (90.0, 72.0, 108.0, 63.0, 117.0, 81.0, 99.0)
"""Rotations of all directions that make decoys, degrees.

They are large enough that pairs of one object disagree with the rotated motion.
"""

_SEED = 20_251_127

_PRIOR_OFFSET = 1.0
"""Standard deviation of the prior of the offset."""

_PRIOR_SLOPE = 0.2
"""Standard deviation of the prior of the slope, whose mean is 1."""


@dataclasses.dataclass(frozen=True)
class ChanceModel:
    """Probability of chance as a function of the likelihood ratio.

    It is ``1 / (1 + exp(offset + slope * log_ratio))``.
    """

    offset: float
    """Logarithm of the ratio of objects to chance pairs at a likelihood ratio of 1."""

    slope: float
    """Growth with the logarithm of the likelihood ratio; 1 if the errors are exact."""

    decoys: float
    """Number of chance pairs that the decoys predict, before each detection is used once only."""

    def probability(self, log_ratio: _Floats) -> _Floats:
        """Return the probability that pairs are chance."""
        return scipy.special.expit(-(self.offset + self.slope * log_ratio))


@dataclasses.dataclass(frozen=True, eq=False)
class Decoys:
    """Pairs that can only be chance."""

    sets: list[Pairs]
    """Pairs of each search, in the order of their likelihood ratios, largest first."""

    weight: float
    """Number of chance pairs that each decoy stands for."""

    @property
    def log_ratio(self) -> _Floats:
        """Logarithms of the likelihood ratios of all decoys."""
        return np.concatenate([decoys.log_ratio for decoys in self.sets]) if self.sets else np.zeros(0)

    def unused(self, best: _Floats, lowest: float) -> Decoys:
        """Return the decoys that would become tracklets.

        Parameters
        ----------
        best
            Logarithm of the likelihood ratio of the tracklet that uses each detection, which a decoy must
            exceed; each detection is in one decoy of a search at most.
        lowest
            Smallest logarithm of the likelihood ratio of a pair from which tracklets are made.
        """
        sets = []
        for decoys in self.sets:
            free = (
                np.minimum(decoys.log_ratio - best[decoys.first], decoys.log_ratio - best[decoys.second]) > 0
            )
            left = decoys.take(free & (decoys.log_ratio >= lowest))
            used: set[int] = set()
            keep = np.zeros(len(left), dtype=bool)
            for number, (first, second) in enumerate(
                zip(left.first.tolist(), left.second.tolist(), strict=True)
            ):
                if first not in used and second not in used:
                    keep[number] = True
                    used |= {first, second}
            sets.append(left.take(keep))
        return Decoys(sets, self.weight)


def find_decoys(
    detections: Detections, visits: list[Visit], priors: Priors, options: LinkOptions = LinkOptions()
) -> Decoys:
    """Search for pairs that can only be chance.

    Parameters
    ----------
    detections, visits, priors, options
        Arguments of `~lsst.meas.trails.core.linking.pairs.find_pairs`.

    Notes
    -----
    The directions of all detections are rotated by the same large angle. This keeps positions, and so the
    density and clustering of detections, and their lengths, magnitudes, times and relative angles, but no
    motion of an object agrees with it. ``decoy_sources`` limits the number of rotations, and in large nights
    the visits from which pairs start.
    """
    count = len(detections)
    if count == 0:
        return Decoys([], 1.0)
    rotations = ROTATIONS[: max(1, min(len(ROTATIONS), options.decoy_sources // count))]
    fraction = min(1.0, max(options.decoy_sources, 1) / count)
    # At least one visit, and the part of the detections in the chosen visits as weight.
    chosen = np.random.default_rng(_SEED).permutation(len(visits)) < max(round(fraction * len(visits)), 1)
    sizes = np.array([visit.stop - visit.start for visit in visits])
    sets = []
    for rotation in rotations:
        pairs = find_pairs(detections, visits, priors, options, rotation=rotation, first_visits=chosen)
        sets.append(pairs.take(np.argsort(-pairs.log_ratio, kind="stable")))
    return Decoys(sets, float(sizes.sum() / sizes[chosen].sum()) / len(rotations))


def fit_chance(log_ratio: _Floats, decoys: Decoys, detections: Detections) -> ChanceModel:
    """Fit the probability of chance to pairs and decoys.

    Parameters
    ----------
    log_ratio
        Logarithms of the likelihood ratios of the pairs.
    decoys
        The decoys.
    detections
        The detections of both.

    Notes
    -----
    The density of decoys over that of pairs is the local false discovery rate (Efron et al. 2001, JASA 96,
    1151), here a logistic function of the logarithm of the likelihood ratio. Maximum likelihood of the
    label, pair or decoy, of the joint sample gives its two parameters. A prior, which matters if there are
    few decoys, expects an exact likelihood ratio and as many objects as there are more pairs than decoys.
    """
    decoy_ratio = decoys.log_ratio
    excess = max(len(log_ratio) - decoys.weight * len(decoy_ratio), 0.0) + 0.5
    # The likelihood ratios contain the odds that both detections are trails.
    odds = np.exp(log_odds_of_both(detections.log_odds, detections.log_odds)).sum()
    expected = float(np.log(excess / max(odds, 1.0)))

    def loss(p: _Floats) -> float:
        z = p[0] + p[1] * log_ratio
        pairs = np.logaddexp(np.log(2.0), z) - np.logaddexp(0.0, z)
        chance = np.logaddexp(np.log(2.0), p[0] + p[1] * decoy_ratio)
        prior = ((p[0] - expected) / _PRIOR_OFFSET) ** 2 + ((p[1] - 1.0) / _PRIOR_SLOPE) ** 2
        return float(pairs.sum() + decoys.weight * chance.sum() + 0.5 * prior)

    bounds = [(-30.0, 30.0), (0.05, 3.0)]
    fit = scipy.optimize.minimize(loss, np.array([expected, 1.0]), method="L-BFGS-B", bounds=bounds)
    return ChanceModel(float(fit.x[0]), float(fit.x[1]), decoys.weight * len(decoy_ratio))
