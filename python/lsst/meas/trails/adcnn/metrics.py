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

"""Detection measures of Asteroid_detection_CNN, for comparison with its numbers.

They follow the original in every known detail, unlike this package's own: a trail is found if a component of
any length and angle touches a band of 20 pixels around it, and satellites are false detections.
"""

from __future__ import annotations

__all__ = ("ADCNN_GAP", "ADCNN_THRESHOLD", "AdcnnDetections", "adcnn_detections", "adcnn_match")

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from ..core.geometry import Trails, near_segment

ADCNN_THRESHOLD = 0.20
"""Smallest probability of a pixel, of a component's peak and of its score."""

ADCNN_GAP = 2
"""Growth of components before labeling, pixels."""

_MIN_AREA = 3
_TOP = 0.05
"""Fraction of a component's pixels that are averaged for its score."""

_HALF_WIDTH = 10.0
"""Half of the width of the band around a trail, pixels, for any seeing."""


@dataclasses.dataclass(frozen=True, eq=False)
class AdcnnDetections:
    """Components of a probability map as Asteroid_detection_CNN defines them."""

    labels: npt.NDArray[np.int32]
    """Number of the component of each pixel, 0 for none, shape (ny, nx)."""

    score: npt.NDArray[np.float64]
    """Score of each component, from label 1 on, shape (n,)."""


def adcnn_detections(
    probability: npt.NDArray[np.floating], threshold: float = ADCNN_THRESHOLD
) -> AdcnnDetections:
    """Find components as Asteroid_detection_CNN does.

    Parameters
    ----------
    probability
        Probability per pixel, shape (ny, nx).
    threshold
        Smallest probability of pixels, peaks and scores.

    Notes
    -----
    Pixels of at least the threshold are grown by a square of 5x5 pixels (gap 2) and labeled with 8 neighbors.
    A component is the set of at least 3 pixels above the threshold with one label. Its score is the mean of
    the largest 5% of their probabilities.
    """
    support = probability >= threshold
    size = 2 * ADCNN_GAP + 1
    grown = scipy.ndimage.binary_dilation(support, structure=np.ones((size, size), dtype=bool))
    labels, count = scipy.ndimage.label(grown, structure=np.ones((3, 3), dtype=bool))
    labels[~support] = 0
    index = np.flatnonzero(labels)
    owner = labels.ravel()[index]
    value = np.asarray(probability, dtype=np.float64).ravel()[index]
    # Pixels by component, the largest probability first.
    order = np.lexsort((-value, owner))
    value, area = value[order], np.bincount(owner, minlength=count + 1)[1:]
    first = np.concatenate([[0], np.cumsum(area)])
    top = np.maximum(np.ceil(_TOP * area).astype(int), 1)
    score = np.array([np.mean(value[a : a + k]) for a, k in zip(first[:-1], top, strict=True)])
    keep = (area >= _MIN_AREA) & (score >= threshold) if count else np.zeros(0, dtype=bool)
    renumber = np.zeros(count + 1, dtype=np.int32)
    renumber[1:][keep] = np.arange(1, np.count_nonzero(keep) + 1)
    return AdcnnDetections(labels=renumber[labels], score=score[keep] if count else np.zeros(0))


def adcnn_match(detections: AdcnnDetections, trails: Trails) -> npt.NDArray[np.float64]:
    """Return the score of the component that matches each trail.

    Parameters
    ----------
    detections
        The components.
    trails
        True trails, array coordinates.

    Returns
    -------
    score
        0 for trails without a match, shape (m,).

    Notes
    -----
    A trail is found if a component that matches no earlier trail touches the band around it; it matches all
    such components. The original counts the number of components minus the number of trails found as false.
    """
    taken = np.zeros(len(detections.score) + 1, dtype=bool)
    taken[0] = True
    score = np.zeros(len(trails))
    ny, nx = detections.labels.shape
    for number, trail in enumerate(trails):
        near = near_segment(*trail.ends, _HALF_WIDTH, (ny, nx))
        touched = np.unique(detections.labels[near.rows[near.use], near.columns[near.use]])
        free = touched[~taken[touched]]
        if free.size:
            score[number] = np.max(detections.score[free - 1])
            taken[free] = True
    return score
