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

"""Metrics of labeled candidates: the purity on real images, and the kinds of artifacts."""

from __future__ import annotations

__all__ = ("add_labels", "label_metrics")

import functools

import astropy.table
import numpy as np
import numpy.typing as npt

from ..core.catalog.labels import ARTIFACT_KINDS
from .calibration import calibration_error, score_bins
from .intervals import binomial_interval
from .metrics_table import MetricRows

_BINS = 10
"""Bins of the score."""


def label_metrics(labels: astropy.table.Table) -> astropy.table.Table:
    """Return the metrics of labeled candidates.

    Parameters
    ----------
    labels
        Rows of `trail_label`.

    Returns
    -------
    metrics
        Columns of `~lsst.meas.trails.evaluation.metrics_table.METRIC_COLUMNS`.
    """
    rows = MetricRows()
    add_labels(rows, labels)
    return rows.table()


def add_labels(rows: MetricRows, labels: astropy.table.Table) -> None:
    """Add the metrics of labeled candidates in the section ``label``.

    Parameters
    ----------
    rows
        Metrics.
    labels
        Rows of `trail_label`; nothing is added without rows.

    Notes
    -----
    The purity is the fraction of trails among the candidates that are labeled trail or artifact; its interval
    is binomial. It holds for the labeled candidates: those of a page with the highest scores are purer than
    all candidates. Within a bin of the score this matters less.
    """
    if len(labels) == 0:
        return
    label = np.asarray(labels["label"])
    decided = label != "unsure"
    is_trail = (label == "trail")[decided]
    score = np.asarray(labels["score"], dtype=np.float64)[decided]
    add = functools.partial(_add_fraction, rows)
    add("purity", is_trail, "fraction of the labeled candidates that are trails")
    add("unsure", ~decided, "fraction of the labeled candidates that are unsure")
    artifact = np.asarray(labels["kind"])[decided][~is_trail]
    for kind, meaning in ARTIFACT_KINDS.items():
        if np.any(artifact == kind):
            add(f"kind_{kind}", artifact == kind, f"fraction of the artifacts: {meaning}")
    index = score_bins(score, _BINS)
    for i in np.unique(index):
        low, high = i / _BINS, (i + 1) / _BINS
        add("purity", is_trail[index == i], "", by="score", low=low, high=high)
        mean = float(np.mean(score[index == i]))
        rows.add("label", "mean_score", mean, by="score", low=low, high=high, count=int(np.sum(index == i)))
    if len(score) == 0:
        return
    rows.add(
        "label", "expected_calibration_error", calibration_error(score, is_trail, _BINS), count=len(score),
        description="mean difference of score and fraction of trails, labeled candidates",
    )  # fmt: skip


def _add_fraction(
    rows: MetricRows, metric: str, chosen: npt.NDArray[np.bool_], description: str, **others: str | float
) -> None:
    """Add the fraction of true values, with its interval."""
    if len(chosen) == 0:
        return
    hits = int(np.count_nonzero(chosen))
    rows.add(
        "label", metric, hits / len(chosen), binomial_interval(hits, len(chosen)), count=len(chosen),
        description=description, **others,
    )  # fmt: skip
