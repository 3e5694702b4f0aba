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
"""The measures of Asteroid_detection_CNN, so that its numbers can be compared.

They are its own in every detail that is known, and not how this package
counts: a trail is found as soon as a component touches a band of 20 pixels
around it, however short or askew, and satellites are false detections.
"""

from __future__ import annotations

__all__ = ("ADCNN_GAP", "ADCNN_THRESHOLD", "AdcnnDetections", "adcnn_detections", "adcnn_match")

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from ..core.geometry import Trails, near_segment

ADCNN_THRESHOLD = 0.20
"""Least probability of a pixel, of a component's peak and of its score."""

ADCNN_GAP = 2
"""Pixels that components are grown by before they are labeled."""

_MIN_AREA = 3
_TOP = 0.05
"""Fraction of a component's pixels whose mean is its score."""

_HALF_WIDTH = 10.0
"""Half of the width of the band around a trail: its lines were drawn 20
pixels thick, whatever the seeing.
"""


@dataclasses.dataclass(frozen=True, eq=False)
class AdcnnDetections:
    """Components of a probability map in the manner of Asteroid_detection_CNN.

    Parameters
    ----------
    labels
        Number of the component of each pixel, 0 where there is none, shape
        (ny, nx).
    score
        Score of each component, shape (n,); that of label 1 is the first.
    """

    labels: npt.NDArray[np.int32]
    score: npt.NDArray[np.float64]


def adcnn_detections(
    probability: npt.NDArray[np.floating], threshold: float = ADCNN_THRESHOLD
) -> AdcnnDetections:
    """Find components as Asteroid_detection_CNN does.

    Parameters
    ----------
    probability
        Probability per pixel, shape (ny, nx).
    threshold
        Least probability of its pixels, peaks and scores.

    Notes
    -----
    Pixels of at least the threshold are grown by a square of 5x5 pixels (gap
    2) and labeled with 8 neighbors; a component is the pixels above the
    threshold under one label.  Its score is the mean of the largest 5% of
    them; it needs 3 pixels.
    """
    support = probability >= threshold
    size = 2 * ADCNN_GAP + 1
    grown = scipy.ndimage.binary_dilation(support, structure=np.ones((size, size), dtype=bool))
    labels, count = scipy.ndimage.label(grown, structure=np.ones((3, 3), dtype=bool))
    labels[~support] = 0
    index = np.flatnonzero(labels)
    owner = labels.ravel()[index]
    value = np.asarray(probability, dtype=np.float64).ravel()[index]
    # Pixels of one component after the other, the largest first.
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
    """Return the score of the component that each trail is found with.

    Parameters
    ----------
    detections
        The components.
    trails
        True trails, array coordinates.

    Returns
    -------
    score
        0 for a trail that is not found, shape (m,).

    Notes
    -----
    A trail is found if a component that no earlier trail has taken touches
    the band around it, and takes all that do.  All other components count as
    false there: their number is that of all components less that of the
    trails found.
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
