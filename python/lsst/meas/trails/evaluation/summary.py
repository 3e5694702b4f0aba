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
"""From the matches of a collection to its table of metrics."""

from __future__ import annotations

__all__ = ("SummaryOptions", "summarize")

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import astropy.table
import numpy as np
import numpy.typing as npt

from ..core.operating_point import DETECTOR_PIXELS, LONG, snr50
from .collection_sample import ERRORS, PULLS, QUANTITIES, CollectionSample
from .intervals import binomial_interval, bootstrap_interval
from .match_table import METHODS
from .metrics_table import ALL_CANDIDATES, MetricRows
from .summary_pixels import add_adcnn, add_pixels

type _Floats = npt.NDArray[np.float64]
type _Bools = npt.NDArray[np.bool_]
type _Ints = npt.NDArray[np.int64]

_SNR_EDGES = (2.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 14.0, 20.0, 30.0)
_LENGTH_EDGES = (6.0, 14.0, 30.0, 62.0, 150.0)
"""Bins of completeness in two dimensions."""

_ERROR_EDGES = (3.0, 6.0, 8.0, 10.0, 14.0, 20.0, 30.0, 60.0)
"""Bins of SNR for errors of fitted values."""

_PULL_EDGES = tuple(np.arange(-5.0, 5.01, 0.5))
_UNITS = {"dAlong": "pix", "dAcross": "pix", "dMidpoint": "pix", "dLength": "pix", "dAngle": "deg",
          "dMag": "mag", "dRate": "deg / d"}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class SummaryOptions:
    """What is summarized.

    Parameters
    ----------
    rates
        False detections per detector at which completeness is stated.
    main_rate
        The one of them that others are compared at.
    curve
        Range of false detections per detector of curves.
    resamples
        Bootstrap samples of the detectors.
    score_bins
        Bins of the calibration of the score.
    """

    rates: tuple[float, ...] = (1.0, 10.0, 100.0)
    main_rate: float = 10.0
    curve: tuple[float, float] = (0.1, 1000.0)
    resamples: int = 200
    score_bins: int = 10


def summarize(
    matches: Iterable[astropy.table.Table],
    searches: Iterable[astropy.table.Table],
    options: SummaryOptions = SummaryOptions(),
) -> astropy.table.Table:
    """Summarize what was found in a collection.

    Parameters
    ----------
    matches
        Tables of `matched_injected_trail_detector`.
    searches
        Their `trail_search_detector`, in the same order.
    options
        What is summarized.

    Returns
    -------
    metrics
        Columns of `~lsst.meas.trails.evaluation.metrics_table.METRIC_COLUMNS`.

    Raises
    ------
    ValueError
        Raised if there are none, or not as many of one as of the other.

    Notes
    -----
    Intervals of fractions in bins are binomial; those of all else come from
    bootstrap samples of the detectors, and are NaN for a single one.
    """
    sample = CollectionSample(matches, searches)
    rows = MetricRows()
    _add_sample(rows, sample)
    points = _operating_points(sample, options)
    for name, threshold, rate in points:
        _add_detection(rows, sample, options, name, threshold, rate)
    for name, threshold, _ in points:
        _add_completeness(rows, sample, name, threshold)
        _add_purity(rows, sample, name, threshold)
    _add_two_dimensions(rows, sample, options)
    _add_froc(rows, sample, options)
    _add_calibration(rows, sample, options)
    _add_errors(rows, sample)
    _add_others(rows, sample, options)
    add_pixels(rows, sample, options.resamples)
    add_adcnn(rows, sample)
    return rows.table()


def _operating_points(
    sample: CollectionSample, options: SummaryOptions
) -> list[tuple[str, float, float | None]]:
    """Return names and thresholds, and the rate where the threshold is chosen
    for it from this sample.
    """
    points: list[tuple[str, float, float | None]] = [
        (_point(rate), sample.threshold(rate), rate) for rate in options.rates
    ]
    for rate in (1, 10, 100):
        known = np.asarray(sample.search[f"modelThreshold{rate}"], dtype=np.float64)
        # All detectors of a collection have the same model.
        if len(np.unique(known[np.isfinite(known)])) == 1 and np.all(np.isfinite(known)):
            points.append((f"model: {_point(rate)}", float(known[0]), None))
    return [*points, (ALL_CANDIDATES, 0.0, None)]


def _point(rate: float) -> str:
    return f"{rate:g} false per detector"


def _add_sample(rows: MetricRows, sample: CollectionSample) -> None:
    """Say what was searched."""
    search = sample.search
    megapixels = float(np.sum(search["nPixels"])) / 1e6
    for name, value, unit, text in (
        ("detectors", sample.n_detectors, "", "images"),
        ("area", megapixels, "Mpix", "pixels of the images"),
        (
            "searched",
            100.0 * float(np.sum(search["nSearched"])) / (1e6 * megapixels),
            "%",
            "pixels that are not masked",
        ),
        ("square_degrees", sample.square_degrees, "deg2", "area of the sky that was searched"),
        ("trails", float(np.sum(search["nTrails"])), "", "true trails"),
        ("counted", float(np.sum(search["nCounted"])), "", "of them, trails that enough is visible of"),
        ("candidates", float(np.sum(search["nCandidates"])), "", "candidates"),
        ("false", float(np.sum(search["nFalse"])), "", "of them, false ones"),
        ("duplicates", float(np.sum(search["nDuplicates"])), "", "of them, repetitions of a trail"),
        ("satellite", float(np.sum(search["nSatellite"])), "", "of them, on satellites' streaks"),
    ):
        rows.add("sample", name, value, unit=unit, description=text, method="network")


def _bootstrap(
    sample: CollectionSample,
    options: SummaryOptions,
    statistic: Callable[[_Floats], npt.ArrayLike],
) -> tuple[_Floats, _Floats]:
    """Return intervals of a statistic of weights of the detectors."""

    def of_groups(groups: _Ints) -> npt.ArrayLike:
        return statistic(np.bincount(groups, minlength=sample.n_detectors).astype(np.float64))

    return bootstrap_interval(of_groups, sample.n_detectors, resamples=options.resamples)


def _threshold_of(sample: CollectionSample, weight: _Floats, rate: float) -> float:
    """Return the threshold of a rate, each detector so many times; see
    `~lsst.meas.trails.core.operating_point.score_threshold`.
    """
    times = weight[sample.false_group]
    order = np.argsort(-sample.false_score)
    total = np.cumsum(times[order])
    allowed = np.floor(rate * float(weight @ sample.pixels) / DETECTOR_PIXELS)
    beyond = np.flatnonzero(total > allowed)
    return float(np.nextafter(sample.false_score[order[beyond[0]]], np.inf)) if len(beyond) else 0.0


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
    long = sample.numbers("trueLength")[sample.counted] >= LONG
    candidate_score = sample.numbers("score")[sample.candidates]

    def numbers(weight: _Floats) -> list[float]:
        least = threshold if rate is None else _threshold_of(sample, weight, rate)
        # Whole numbers of times: SNR50 counts trails.
        times = weight[sample.trail_group].astype(int)
        found = sample.trail_score >= least
        total = float(times.sum())
        repeated = np.repeat(found, times)
        values = np.repeat(snr, times)
        far = np.repeat(long, times)
        kept = (candidate_score >= least) * weight[sample.candidate_group]
        false = float(kept @ ~sample.is_true)
        per_detector = false * DETECTOR_PIXELS / float(weight @ sample.pixels)
        area = float(weight @ np.asarray(sample.search["skyArea"], dtype=np.float64))
        return [
            float(times @ found) / total if total else np.nan,
            snr50(values, repeated),
            snr50(values[far], repeated[far]),
            float(kept @ sample.is_true) / float(kept.sum()) if kept.sum() else np.nan,
            per_detector,
            false / area if area else np.nan,
        ]

    values = numbers(np.ones(sample.n_detectors))
    low, high = _bootstrap(sample, options, numbers)
    kept = int(np.count_nonzero(candidate_score >= threshold))
    trails = len(sample.counted)
    for i, (name, unit, count, text) in enumerate(
        (
            ("completeness", "", trails, "fraction of the trails that are found"),
            ("snr50", "", trails, "optimal SNR at which half of the trails are found"),
            (
                "snr50_long",
                "",
                int(np.count_nonzero(long)),
                f"the same for trails of {LONG:g} pixels and more",
            ),
            ("purity", "", kept, "fraction of the candidates that are trails"),
            ("false_per_detector", "", -1, "false candidates per detector of 16.4 Mpix"),
            ("false_per_square_degree", "1 / deg2", -1, "false candidates per square degree"),
        )
    ):
        rows.add(
            "detection", name, values[i], (low[i], high[i]), method="network", operatingPoint=point,
            count=count, unit=unit, description=text,
        )  # fmt: skip
    rows.add(
        "detection", "threshold", threshold, method="network", operatingPoint=point,
        description="least score of a candidate that is kept",
    )  # fmt: skip


def _add_bins(
    rows: MetricRows, section: str, metric: str, values: _Floats, hits: _Bools, by: str, **others: str
) -> None:
    """Add fractions in the bins of a quantity."""
    edges = np.asarray(QUANTITIES[by].edges, dtype=np.float64)
    total = np.histogram(values, edges)[0]
    found = np.histogram(values[hits], edges)[0]
    low, high = binomial_interval(found, total)
    for i in np.flatnonzero(total):
        rows.add(
            section, metric, found[i] / total[i], (low[i], high[i]), by=by, low=float(edges[i]),
            high=float(edges[i + 1]), count=int(total[i]), **others,
        )  # fmt: skip


def _add_completeness(rows: MetricRows, sample: CollectionSample, point: str, threshold: float) -> None:
    found = sample.trail_score >= threshold
    for by, quantity in QUANTITIES.items():
        values = sample.numbers(quantity.truth)[sample.counted]
        _add_bins(
            rows, "completeness", "completeness", values, found, by, method="network", operatingPoint=point
        )


def _add_purity(rows: MetricRows, sample: CollectionSample, point: str, threshold: float) -> None:
    kept = sample.numbers("score")[sample.candidates] >= threshold
    for by, quantity in QUANTITIES.items():
        values = sample.numbers(quantity.candidate)[sample.candidates]
        _add_bins(
            rows, "purity", "purity", values[kept], sample.is_true[kept], by, method="network",
            operatingPoint=point,
        )  # fmt: skip


def _add_two_dimensions(rows: MetricRows, sample: CollectionSample, options: SummaryOptions) -> None:
    """Add completeness in SNR and length."""
    found = sample.trail_score >= sample.threshold(options.main_rate)
    snr, length = (sample.numbers(name)[sample.counted] for name in ("snrOptimal", "trueLength"))
    edges = (np.array(_SNR_EDGES), np.array(_LENGTH_EDGES))
    total = np.histogram2d(snr, length, edges)[0].astype(int)
    hits = np.histogram2d(snr[found], length[found], edges)[0].astype(int)
    low, high = binomial_interval(hits, total)
    for i, j in np.argwhere(total > 0):
        rows.add(
            "completeness2d", "completeness", hits[i, j] / total[i, j], (low[i, j], high[i, j]),
            method="network", operatingPoint=_point(options.main_rate), by="snr", low=_SNR_EDGES[i],
            high=_SNR_EDGES[i + 1], by2="length", low2=_LENGTH_EDGES[j], high2=_LENGTH_EDGES[j + 1],
            count=int(total[i, j]),
        )  # fmt: skip


def _curve_rates(sample: CollectionSample, options: SummaryOptions) -> _Floats:
    """Return rates of false detections from one in all that was searched to
    the most there are.
    """
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
        found = [float(times @ (sample.trail_score >= _threshold_of(sample, weight, rate))) for rate in rates]
        return np.array(found) / times.sum() if times.sum() else np.full(len(rates), np.nan)

    values = curve(np.ones(sample.n_detectors))
    low, high = _bootstrap(sample, options, curve)
    for i, rate in enumerate(rates):
        for metric, abscissa in (
            ("false_per_detector", rate),
            ("false_per_square_degree", rate * sample.per_square_degree),
        ):
            rows.add(
                "froc", "completeness", values[i], (low[i], high[i]), method="network", by=metric,
                low=abscissa, high=abscissa, count=len(sample.counted),
            )  # fmt: skip


def _add_calibration(rows: MetricRows, sample: CollectionSample, options: SummaryOptions) -> None:
    """Add the fraction of trails among candidates by their score."""
    score, bins = sample.numbers("score")[sample.candidates], options.score_bins
    index = np.clip((score * bins).astype(int), 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    hits = np.bincount(index[sample.is_true], minlength=bins)
    low, high = binomial_interval(hits, count)
    for i in np.flatnonzero(count):
        common: dict[str, Any] = {
            "method": "network",
            "by": "score",
            "low": i / bins,
            "high": (i + 1) / bins,
            "count": int(count[i]),
        }
        rows.add("calibration", "fraction", hits[i] / count[i], (low[i], high[i]), **common)
        rows.add("calibration", "mean_score", float(np.mean(score[index == i])), **common)

    def error(weight: _Floats) -> float:
        times = weight[sample.candidate_group]
        all_of, true = (
            np.bincount(index, weights=w, minlength=bins) for w in (times, times * sample.is_true)
        )
        mean = np.bincount(index, weights=times * score, minlength=bins)
        return float(np.sum(np.abs(mean - true)) / all_of.sum()) if all_of.sum() else np.nan

    ends = _bootstrap(sample, options, error)
    rows.add(
        "calibration", "expected_calibration_error", error(np.ones(sample.n_detectors)),
        (float(ends[0]), float(ends[1])), method="network", count=len(score),
        description="mean difference of score and fraction of trails",
    )  # fmt: skip


def _add_errors(rows: MetricRows, sample: CollectionSample) -> None:
    """Add errors of fitted values in bins of SNR, and their pulls."""
    found = sample.counted[np.isfinite(sample.trail_score)]
    snr = sample.numbers("snrOptimal")[found]
    bright = snr > 10.0
    for name in ERRORS:
        values = sample.numbers(name)[found]
        for low, high in ((10.0, np.inf), *zip(_ERROR_EDGES[:-1], _ERROR_EDGES[1:], strict=True)):
            chosen = values[(snr >= low) & (snr < high) & np.isfinite(values)]
            if len(chosen) == 0:
                continue
            common = {
                "method": "network", "operatingPoint": ALL_CANDIDATES, "by": "snr", "low": low, "high": high,
                "count": len(chosen), "unit": _UNITS[name],
            }  # fmt: skip
            for metric, (value, ends) in (
                ("median", _median(chosen)),
                ("median_absolute", _median(np.abs(chosen))),
            ):
                rows.add("error", f"{name}_{metric}", value, ends, **common)
            tails = np.percentile(chosen, [15.865, 84.135])
            rows.add(
                "error", f"{name}_scatter", 0.5 * (tails[1] - tails[0]), (tails[0], tails[1]), **common,
                description="half of the range of 68% of the errors; the ends are those of the range",
            )  # fmt: skip
    for name in PULLS:
        values = sample.numbers(name)[found]
        chosen = values[np.isfinite(values) & bright]
        if len(chosen) == 0:
            continue
        common = {"method": "network", "operatingPoint": ALL_CANDIDATES, "count": len(chosen)}
        value, ends = _median(chosen)
        rows.add("pull", f"{name}_median", value, ends, **common)
        spread = 1.4826 * np.median(np.abs(chosen - value))
        rows.add("pull", f"{name}_spread", float(spread), _spread_interval(chosen), **common)
        edges = np.asarray(_PULL_EDGES)
        for i, number in enumerate(np.histogram(np.clip(chosen, -4.99, 4.99), edges)[0]):
            rows.add(
                "pull", "fraction", number / len(chosen), binomial_interval(number, len(chosen)),
                by=name, low=float(edges[i]), high=float(edges[i + 1]), **common,
            )  # fmt: skip


def _median(values: _Floats) -> tuple[float, tuple[float, float]]:
    """Return a median and the distribution-free interval of 95% of it, from
    the order statistics of ranks n/2 -+ 0.98 sqrt(n).
    """
    ordered, n = np.sort(values), len(values)
    reach = 0.98 * np.sqrt(n)
    low, high = int(np.floor(0.5 * n - reach)), int(np.ceil(0.5 * n + reach))
    ends = (ordered[low], ordered[high - 1]) if low >= 0 and high <= n else (np.nan, np.nan)
    return float(np.median(ordered)), (float(ends[0]), float(ends[1]))


def _spread_interval(values: _Floats) -> tuple[float, float]:
    """Return the interval of the robust spread, by bootstrap of the values."""

    def spread(index: _Ints) -> float:
        chosen = values[index]
        return float(1.4826 * np.median(np.abs(chosen - np.median(chosen))))

    low, high = bootstrap_interval(spread, len(values), resamples=200)
    return float(low), float(high)


def _add_others(rows: MetricRows, sample: CollectionSample, options: SummaryOptions) -> None:
    """Compare with the stack, or with baselines that stand in for it."""
    point = _point(options.main_rate)
    network = sample.trail_score >= sample.threshold(options.main_rate)
    total = len(sample.counted)
    keys = {name: key for key, name in METHODS.items()}
    for name, other in sample.methods().items():
        detections = float(np.sum(sample.search[f"n{keys[name]}"]))
        rows.add(
            "stack", "detections_per_detector", detections * DETECTOR_PIXELS / float(np.sum(sample.pixels)),
            method=name, description="all its detections, stars and galaxies too, per detector of 16.4 Mpix",
        )  # fmt: skip
        rows.add(
            "stack", "chance", float(np.nanmean(sample.search[f"chance{keys[name]}"])), method=name,
            description="fraction of displaced trails that it would find, by chance",
        )  # fmt: skip
        found_of = sample.numbers("snrOptimal")[sample.counted]
        rows.add(
            "stack", "snr50", snr50(found_of, other), method=name, count=total,
            description="optimal SNR at which it finds half of the trails, among its detections",
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
            rows.add(
                "stack", metric, hits / total, binomial_interval(hits, total), method=name,
                operatingPoint=point, count=total,
            )  # fmt: skip
            for by, quantity in QUANTITIES.items():
                values = sample.numbers(quantity.truth)[sample.counted]
                _add_bins(rows, "stack", metric, values, chosen, by, method=name, operatingPoint=point)
        missed = ~other
        if not np.any(missed):
            continue
        for rate in _curve_rates(sample, options):
            hits = int(np.count_nonzero(missed & (sample.trail_score >= sample.threshold(rate))))
            count = int(np.count_nonzero(missed))
            rows.add(
                "rescue", "fraction", hits / count, binomial_interval(hits, count), method=name,
                by="false_per_detector", low=rate, high=rate, count=count,
                description="fraction of the trails that it missed which the network finds",
            )  # fmt: skip
