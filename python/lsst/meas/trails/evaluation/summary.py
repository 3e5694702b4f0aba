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

"""Summary of a collection: completeness, purity, calibration, errors."""

from __future__ import annotations

__all__ = ("SummaryOptions", "summarize")

import dataclasses
import functools
from collections.abc import Mapping

import astropy.table
import numpy as np
import numpy.typing as npt

from ..core.operating_point import DETECTOR_PIXELS, FALSE_RATES, LONG, SNR50_LIMIT, snr50
from .calibration import calibration_error, score_bins
from .collection_sample import CollectionSample
from .columns import METHODS
from .intervals import binomial_interval
from .known_objects import add_known_objects
from .labels import add_labels
from .metrics_table import ALL_CANDIDATES, MetricRows, point_name
from .quantities import QUANTITIES, Quantity
from .summary_errors import add_errors
from .summary_pixels import add_adcnn, add_pixels

type _Floats = npt.NDArray[np.float64]
type _Bools = npt.NDArray[np.bool_]

_SNR_EDGES = (
    2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 14.0, 20.0, 30.0, 60.0, 150.0, 300.0, 1000.0, 3000.0, 10000.0,
    100000.0,
)  # fmt: skip
_LENGTH_EDGES = (6.0, 10.0, 20.0, 60.0, 150.0, 400.0)
"""Bins of completeness in two dimensions, from the limit to saturation."""

_SCORE_BINS = 10
"""Bins of the calibration of the score."""


@dataclasses.dataclass(frozen=True)
class SummaryOptions:
    """Operating points, bins and intervals of a summary."""

    rates: tuple[float, ...] = (1.0, 10.0, 100.0)
    """False candidates per detector at which completeness is measured."""

    main_rate: float = 10.0
    """The rate at which other methods are compared."""

    curve: tuple[float, float] = (0.1, 1000.0)
    """Range of false candidates per detector of curves."""

    resamples: int = 200
    """Bootstrap samples of the detectors."""

    quantities: Mapping[str, Quantity] = dataclasses.field(default_factory=lambda: QUANTITIES)
    """Quantities, with their bins, that completeness and purity are measured against."""


def summarize(
    sample: CollectionSample,
    options: SummaryOptions = SummaryOptions(),
    labels: astropy.table.Table | None = None,
    known: astropy.table.Table | None = None,
) -> astropy.table.Table:
    """Summarize the detections in a collection.

    Parameters
    ----------
    sample
        Trails and candidates of the collection.
    options
        Operating points, bins and intervals.
    labels
        Rows of `trail_label`, candidates that people labeled; they need not be in the sample.
    known
        Rows of `trail_known_object_detector`; they need not be in the sample.

    Returns
    -------
    metrics
        Columns of `~lsst.meas.trails.evaluation.metrics_table.METRIC_COLUMNS`.

    Notes
    -----
    Intervals of fractions in bins are binomial; all others come from bootstrap samples of the detectors, and
    are NaN for a single detector.
    """
    rows = MetricRows()
    _add_sample(rows, sample)
    points = _operating_points(sample, options)
    for name, threshold, rate in points:
        _add_detection(rows, sample, options, name, threshold, rate)
    for name, threshold, _ in points:
        _add_completeness_and_purity(rows, sample, options, name, threshold)
    _add_two_dimensions(rows, sample, options)
    _add_froc(rows, sample, options)
    _add_calibration(rows, sample, options)
    add_errors(rows, sample)
    _add_methods(rows, sample, options)
    add_pixels(rows, sample, options.resamples)
    add_adcnn(rows, sample)
    if labels is not None:
        add_labels(rows, labels)
    if known is not None:
        add_known_objects(rows, known)
    return rows.table()


def _operating_points(
    sample: CollectionSample, options: SummaryOptions
) -> list[tuple[str, float, float | None]]:
    """Return name and threshold of each operating point.

    The third value is the rate for which the threshold was chosen in this sample, `None` for other
    thresholds.
    """
    points: list[tuple[str, float, float | None]] = [
        (point_name(rate), sample.threshold(rate), rate) for rate in options.rates
    ]
    for rate in FALSE_RATES:
        known = np.asarray(sample.search[f"modelThreshold{rate}"], dtype=np.float64)
        # All detectors of a collection have the same model.
        if np.all(np.isfinite(known)) and len(np.unique(known)) == 1:
            points.append((f"model: {point_name(rate)}", float(known[0]), None))
    return [*points, (ALL_CANDIDATES, 0.0, None)]


def _add_sample(rows: MetricRows, sample: CollectionSample) -> None:
    """Add areas and counts of the collection."""
    total = {name: float(np.sum(sample.search[name])) for name in sample.search.colnames if name[0] == "n"}
    megapixels = total["nPixels"] / 1e6
    searched = 100.0 * total["nSearched"] / (1e6 * megapixels)
    for name, value, unit, text in (
        ("detectors", sample.n_detectors, "", "images"),
        ("area", megapixels, "Mpix", "pixels of the images"),
        ("searched", searched, "%", "pixels that are not masked"),
        ("square_degrees", sample.square_degrees, "deg2", "searched area of the sky"),
        ("trails", total["nTrails"], "", "true trails"),
        ("counted", total["nCounted"], "", "counted trails, with enough visible flux"),
        ("candidates", total["nCandidates"], "", "candidates"),
        ("false", total["nFalse"], "", "false candidates"),
        ("duplicates", total["nDuplicates"], "", "duplicate candidates of a trail"),
        ("satellite", total["nSatellite"], "", "candidates on satellite streaks"),
    ):
        rows.add("sample", name, value, unit=unit, description=text)


def _add_detection(
    rows: MetricRows,
    sample: CollectionSample,
    options: SummaryOptions,
    point: str,
    threshold: float,
    rate: float | None,
) -> None:
    """Add completeness, SNR50, purity and false rates at a threshold."""
    snr = sample.numbers("snrOptimal")[sample.counted]
    faint = snr <= SNR50_LIMIT
    long = faint & (sample.numbers("trueLength")[sample.counted] >= LONG)
    candidate_score = sample.numbers("score")[sample.candidates]
    sky_area = np.asarray(sample.search["skyArea"], dtype=np.float64)

    def numbers(weight: _Floats) -> list[float]:
        least = threshold if rate is None else sample.threshold(rate, weight)
        # Integer weights, because SNR50 is fitted to repeated trails.
        times = weight[sample.trail_group].astype(int)
        found = sample.trail_score >= least
        repeated, values = np.repeat(found, times), np.repeat(snr, times)
        is_faint, is_long = np.repeat(faint, times), np.repeat(long, times)
        kept = (candidate_score >= least) * weight[sample.candidate_group]
        false = float(kept @ ~sample.is_true)
        area = float(weight @ sky_area)
        return [
            float(times @ found) / times.sum() if times.sum() else np.nan,
            snr50(values[is_faint], repeated[is_faint]),
            snr50(values[is_long], repeated[is_long]),
            float(kept @ sample.is_true) / float(kept.sum()) if kept.sum() else np.nan,
            false * DETECTOR_PIXELS / float(weight @ sample.pixels),
            false / area if area else np.nan,
        ]

    low, high = sample.bootstrap(numbers, options.resamples)
    kept = int(np.count_nonzero(candidate_score >= threshold))
    trails = len(sample.counted)
    long_text = f"optimal SNR at which half of the trails of at least {LONG:g} pixels are found"
    layout = (
        ("completeness", "", trails, "fraction of the trails that are found"),
        ("snr50", "", int(np.count_nonzero(faint)), "optimal SNR at which half of the trails are found"),
        ("snr50_long", "", int(np.count_nonzero(long)), long_text),
        ("purity", "", kept, "fraction of the candidates that are trails"),
        ("false_per_detector", "", -1, "false candidates per detector of 16.4 Mpix"),
        ("false_per_square_degree", "1 / deg2", -1, "false candidates per square degree"),
    )
    add = functools.partial(rows.add, "detection", operatingPoint=point)
    for (name, unit, count, text), value, *ends in zip(
        layout, numbers(np.ones(sample.n_detectors)), low, high, strict=True
    ):
        add(name, value, ends, count=count, unit=unit, description=text)
    add("threshold", threshold, description="lowest score of a kept candidate")


def _add_bins(
    rows: MetricRows, section: str, metric: str, values: _Floats, hits: _Bools, quantity: Quantity,
    **others: str,
) -> None:  # fmt: skip
    """Add fractions in the bins of a quantity."""
    edges = np.asarray(quantity.edges, dtype=np.float64)
    total = np.histogram(values, edges)[0]
    found = np.histogram(values[hits], edges)[0]
    low, high = binomial_interval(found, total)
    for i in np.flatnonzero(total):
        rows.add(
            section, metric, found[i] / total[i], (low[i], high[i]), low=float(edges[i]),
            high=float(edges[i + 1]), count=int(total[i]), **others,
        )  # fmt: skip


def _add_completeness_and_purity(
    rows: MetricRows, sample: CollectionSample, options: SummaryOptions, point: str, threshold: float
) -> None:
    """Add completeness and purity in the bins of each quantity."""
    found = sample.trail_score >= threshold
    for by, quantity in options.quantities.items():
        values = sample.numbers(quantity.truth)[sample.counted]
        _add_bins(rows, "completeness", "completeness", values, found, quantity, by=by, operatingPoint=point)
    kept = sample.candidates[sample.numbers("score")[sample.candidates] >= threshold]
    is_true = sample.is_true[sample.numbers("score")[sample.candidates] >= threshold]
    for by, quantity in options.quantities.items():
        values = sample.numbers(quantity.candidate)[kept]
        _add_bins(rows, "purity", "purity", values, is_true, quantity, by=by, operatingPoint=point)


def _add_two_dimensions(rows: MetricRows, sample: CollectionSample, options: SummaryOptions) -> None:
    """Add completeness in bins of SNR and length."""
    found = sample.trail_score >= sample.threshold(options.main_rate)
    snr, length = (sample.numbers(name)[sample.counted] for name in ("snrOptimal", "trueLength"))
    edges = (np.array(_SNR_EDGES), np.array(_LENGTH_EDGES))
    total = np.histogram2d(snr, length, edges)[0].astype(int)
    hits = np.histogram2d(snr[found], length[found], edges)[0].astype(int)
    low, high = binomial_interval(hits, total)
    for i, j in np.argwhere(total > 0):
        rows.add(
            "completeness2d", "completeness", hits[i, j] / total[i, j], (low[i, j], high[i, j]),
            operatingPoint=point_name(options.main_rate), by="snr", low=_SNR_EDGES[i],
            high=_SNR_EDGES[i + 1], by2="length", low2=_LENGTH_EDGES[j], high2=_LENGTH_EDGES[j + 1],
            count=int(total[i, j]),
        )  # fmt: skip


def _curve_rates(sample: CollectionSample, options: SummaryOptions) -> _Floats:
    """Return false rates, from one false candidate in the sample to all of them."""
    one = DETECTOR_PIXELS / float(np.sum(sample.pixels))
    least = max(options.curve[0], one)
    most = float(np.clip(len(sample.false_score) * one, least, options.curve[1]))
    grid = np.geomspace(*options.curve, 41)
    return np.unique(np.concatenate([[least], grid[(grid > least) & (grid < most)], [most]]))


def _add_froc(rows: MetricRows, sample: CollectionSample, options: SummaryOptions) -> None:
    """Add completeness against the rate of false detections."""
    if len(sample.counted) == 0:
        return
    rates = _curve_rates(sample, options)

    def curve(weight: _Floats) -> _Floats:
        times = weight[sample.trail_group]
        found = [float(times @ (sample.trail_score >= sample.threshold(rate, weight))) for rate in rates]
        return np.array(found) / times.sum() if times.sum() else np.full(len(rates), np.nan)

    low, high = sample.bootstrap(curve, options.resamples)
    density = float(np.sum(sample.pixels)) / DETECTOR_PIXELS / sample.square_degrees
    for rate, value, *ends in zip(rates, curve(np.ones(sample.n_detectors)), low, high, strict=True):
        for by, x in (("false_per_detector", rate), ("false_per_square_degree", rate * density)):
            rows.add("froc", "completeness", value, ends, by=by, low=x, high=x, count=len(sample.counted))


def _add_calibration(rows: MetricRows, sample: CollectionSample, options: SummaryOptions) -> None:
    """Add the fraction of trails among candidates by their score."""
    score, bins = sample.numbers("score")[sample.candidates], _SCORE_BINS
    index = score_bins(score, bins)
    count = np.bincount(index, minlength=bins)
    hits = np.bincount(index[sample.is_true], minlength=bins)
    low, high = binomial_interval(hits, count)
    for i in np.flatnonzero(count):
        add = functools.partial(
            rows.add, "calibration", by="score", low=i / bins, high=(i + 1) / bins, count=int(count[i])
        )
        add("fraction", hits[i] / count[i], (low[i], high[i]))
        add("mean_score", float(np.mean(score[index == i])))

    def error(weight: _Floats) -> float:
        return calibration_error(score, sample.is_true, bins, weight[sample.candidate_group])

    rows.add(
        "calibration", "expected_calibration_error", error(np.ones(sample.n_detectors)),
        sample.bootstrap(error, options.resamples), count=len(score),
        description="mean difference of score and fraction of trails",
    )  # fmt: skip


def _add_methods(rows: MetricRows, sample: CollectionSample, options: SummaryOptions) -> None:
    """Compare the network with the stack and the baselines."""
    point = point_name(options.main_rate)
    network = sample.trail_score >= sample.threshold(options.main_rate)
    total = len(sample.counted)
    snr = sample.numbers("snrOptimal")[sample.counted]
    faint = snr <= SNR50_LIMIT
    keys = {name: key for key, name in METHODS.items()}
    for name, other in sample.methods().items():
        add = functools.partial(rows.add, "stack", method=name)
        detections = float(np.sum(sample.search[f"n{keys[name]}"]))
        add(
            "detections_per_detector", detections * DETECTOR_PIXELS / float(np.sum(sample.pixels)),
            description="all its detections, stars and galaxies included, per detector of 16.4 Mpix",
        )  # fmt: skip
        add(
            "chance", float(np.nanmean(sample.search[f"chance{keys[name]}"])),
            description="fraction of displaced trails that it finds by chance",
        )  # fmt: skip
        add(
            "snr50", snr50(snr[faint], other[faint]), count=int(np.count_nonzero(faint)),
            description="optimal SNR at which half of the trails are among its detections",
        )  # fmt: skip
        parts = {
            "completeness": other,
            "both": other & network,
            "other_only": other & ~network,
            "network_only": network & ~other,
            "neither": ~network & ~other,
            "union": network | other,
        }
        for metric, chosen in parts.items():
            hits = int(np.count_nonzero(chosen))
            add(metric, hits / total, binomial_interval(hits, total), operatingPoint=point, count=total)
            for by, quantity in options.quantities.items():
                values = sample.numbers(quantity.truth)[sample.counted]
                _add_bins(
                    rows, "stack", metric, values, chosen, quantity, by=by, method=name, operatingPoint=point
                )
        missed = ~other
        count = int(np.count_nonzero(missed))
        for rate in _curve_rates(sample, options) if count else ():
            hits = int(np.count_nonzero(missed & (sample.trail_score >= sample.threshold(rate))))
            rows.add(
                "rescue", "fraction", hits / count, binomial_interval(hits, count), method=name,
                by="false_per_detector", low=rate, high=rate, count=count,
                description="fraction of the trails missed by it that the network finds",
            )  # fmt: skip
