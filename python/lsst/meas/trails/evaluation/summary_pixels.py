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

"""Pixel metrics of a collection, and metrics of Asteroid_detection_CNN."""

from __future__ import annotations

__all__ = ("ADCNN_THRESHOLDS", "add_adcnn", "add_pixels")

import functools

import numpy as np

from ..core.operating_point import DETECTOR_PIXELS
from ..core.pixel_histogram import PixelHistogram
from .collection_sample import CollectionSample
from .intervals import binomial_interval, bootstrap_interval
from .metrics_table import MetricRows

ADCNN_THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Scores at which components of Asteroid_detection_CNN are counted."""

_CURVE_POINTS = 60
_MEASURES = ("precision", "recall", "f1", "iou")


def add_pixels(rows: MetricRows, sample: CollectionSample, resamples: int) -> None:
    """Add the curves of pixels, the areas under them, F1 and IoU.

    Parameters
    ----------
    rows
        Rows to add to.
    sample
        The collection.
    resamples
        Bootstrap samples of the detectors.
    """
    search = sample.search
    seen = np.asarray(search["hasPixels"], dtype=bool)
    if not np.any(seen):
        return
    everything = sample.histogram()
    counted = int(everything.true.sum() + everything.false.sum())
    pixels = int(np.sum(search["nPixels"][seen]))
    for name, number, text in (
        ("trail_pixels", float(everything.true.sum()), "trail pixels"),
        ("counted_pixels", float(counted), "counted pixels"),
        ("ignored_bad", float(np.sum(search["nIgnoredBad"])), "ignored: masked pixels"),
        (
            "ignored_satellite",
            float(np.sum(search["nIgnoredSatellite"])),
            "ignored: unmasked pixels near satellites",
        ),
    ):
        rows.add("pixel", name, number, count=pixels, unit="pix", description=text)
    grow_threshold = float(np.nanmean(np.append(search["growThreshold"], np.nan)))
    best, _ = everything.best()

    def numbers(histogram: PixelHistogram) -> list[float]:
        values = [histogram.auc, histogram.average_precision]
        for threshold in (best, grow_threshold):
            at = histogram.at(threshold) if np.isfinite(threshold) else {}
            values += [at.get(name, np.nan) for name in _MEASURES]
        return values

    low, high = bootstrap_interval(
        lambda groups: numbers(sample.histogram(groups)), sample.n_detectors, resamples=resamples
    )
    names = [("auc", ""), ("average_precision", "")]
    for point in (f"best F1: probability {best:.3g}", f"model's grow threshold: {grow_threshold:.3g}"):
        names += [(name, point) for name in _MEASURES]
    for (name, point), value, *ends in zip(names, numbers(everything), low, high, strict=True):
        if not point.endswith("nan"):
            rows.add("pixel", name, value, ends, operatingPoint=point, count=counted)
    _add_curves(rows, everything)


def _add_curves(rows: MetricRows, histogram: PixelHistogram) -> None:
    """Add evenly spaced points of the ROC and precision-recall curves."""
    true, false = histogram.rates
    if true[-1] == 0.0 or false[-1] == 0.0:
        return
    hits, wrong = true / true[-1], false / false[-1]
    tiny = 0.5 / false[-1]
    # Even steps of the logarithm of false positives, and of the recall.
    steps = np.linspace(np.log(tiny), 0.0, _CURVE_POINTS)
    chosen = np.searchsorted(np.log(np.maximum(wrong, tiny)), steps)
    chosen = np.union1d(chosen, np.searchsorted(hits, np.linspace(0.0, 1.0, _CURVE_POINTS)))
    for i in np.clip(chosen, 1, len(hits) - 1):
        x = float(wrong[i])
        rows.add("roc", "true_positive_rate", hits[i], by="false_positive_rate", low=x, high=x)
        if true[i] + false[i] > 0.0:
            x, precision = float(hits[i]), true[i] / (true[i] + false[i])
            rows.add("precision_recall", "precision", precision, by="recall", low=x, high=x)


def add_adcnn(rows: MetricRows, sample: CollectionSample) -> None:
    """Add completeness and false detections as Asteroid_detection_CNN counts.

    Parameters
    ----------
    rows
        Rows to add to.
    sample
        The collection.
    """
    score = sample.numbers("adcnnScore")[sample.counted]
    if len(score) == 0 or not np.all(np.isfinite(score)):
        return
    components = np.asarray(sample.search["adcnnComponents"], dtype=np.int64).sum(axis=0)
    scale = DETECTOR_PIXELS / float(np.sum(sample.pixels))
    total = len(score)
    for threshold in ADCNN_THRESHOLDS:
        hits = int(np.count_nonzero(score >= threshold - 1e-9))
        kept = int(components[round(100 * threshold) :].sum())
        add = functools.partial(
            rows.add, "adcnn", method="adcnn", operatingPoint=f"score of at least {threshold:g}",
            by="threshold", low=threshold, high=threshold,
        )  # fmt: skip
        add(
            "completeness", hits / total, binomial_interval(hits, total), count=total,
            description="fraction of the trails with a component within 20 pixels of their line",
        )  # fmt: skip
        add(
            "false_per_detector", max(kept - hits, 0) * scale, count=kept,
            description="components minus found trails, per detector of 16.4 Mpix",
        )  # fmt: skip
