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

"""Results of models by domain, as text, JSON and figures."""

from __future__ import annotations

__all__ = ("DomainResult", "SceneResult", "real_summary", "summarize_domains", "write_results")

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import astropy.table
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from lsst.meas.trails.core.atomic import atomic_path
from lsst.meas.trails.core.operating_point import DETECTOR_PIXELS, FALSE_RATES, snr50
from lsst.meas.trails.evaluation.calibration import calibration_error
from lsst.meas.trails.evaluation.collection_sample import CollectionSample
from lsst.meas.trails.evaluation.figures.curves import draw_by_length
from lsst.meas.trails.evaluation.figures.style import legend_below
from lsst.meas.trails.evaluation.metrics_table import point_name, select
from lsst.meas.trails.training.survey_images import PRIOR_DENSITY

from detection_results import OPTIONS, MethodResult
from domain_contaminants import ContaminantScores, contaminant_values, summarize_contaminants
from domain_tables import MAIN, bin_lines, contaminant_lines, domain_lines, real_lines

type _Floats = npt.NDArray[np.float64]
type _Values = dict[str, Any]

BRIGHT, BRIGHT_LENGTH = (30.0, 1500.0), (10.0, 150.0)
"""SNR and length of bright trails."""

SNR50_LIMIT = 30.0
"""Largest SNR of the trails to which SNR50 is fitted."""

VISIBLE = 0.95
"""Least fraction of visible flux of bright trails, which lie on no saturated star."""

REAL_SNRS = (3.0, 7.0, 15.0, 30.0, 1000.0)
"""Bins of SNR of trails injected into real images."""

_OPTIONS = dataclasses.replace(OPTIONS, resamples=50)
"""Options of the summary; each resample fits SNR50 a dozen times, in 50 ms."""


class SceneResult(NamedTuple):
    """Result of a model in one scene."""

    matches: astropy.table.Table
    """Match table."""

    search: astropy.table.Table
    """Search table."""

    points: _Floats
    """New points: SNR, FWHM, and score of the best candidate of at least 6 pixels on it, -inf without one."""

    contaminants: ContaminantScores
    """Scores of false candidates on edge-on galaxies and diffraction spikes."""


class DomainResult:
    """Result of a model in all scenes of a domain.

    Parameters
    ----------
    scenes
        Result of each scene.
    """

    def __init__(self, scenes: Sequence[SceneResult]) -> None:
        self.method = MethodResult([(scene.matches, scene.search) for scene in scenes], _OPTIONS)
        self._points = np.concatenate([scene.points for scene in scenes])
        self._contaminants = [scene.contaminants for scene in scenes]
        self._own = float(scenes[0].search[f"modelThreshold{MAIN}"][0])
        self._bright = np.concatenate([_bright_scores(scene.matches) for scene in scenes])

    def values(self) -> _Values:
        """Return the numbers of the domain, by name.

        SNR50 is that of all trails, of those of at least 20 pixels, and the 95% interval of the first. It is
        `SNR50_LIMIT` if no trail up to that SNR is found.
        """
        method = self.method
        values: _Values = {"megapixels": method.megapixels, "trails": len(method.sample.counted)}
        for rate in FALSE_RATES:
            threshold = method.detection("threshold", rate)[0]
            values[f"threshold_at_{rate}"] = threshold
            snr, low, high = method.detection("snr50", rate)
            values[f"snr50_at_{rate}"] = self._known(snr, threshold)
            values[f"snr50_interval_at_{rate}"] = [low, high]
            values[f"snr50_long_at_{rate}"] = self._known(method.detection("snr50_long", rate)[0], threshold)
        own = select(
            method.metrics,
            section="detection",
            metric="false_per_detector",
            operatingPoint=f"model: {point_name(MAIN)}",
        )
        values["own"] = float(own["value"][0]) if len(own) else np.nan
        values["calibration"] = self._calibration_error()
        threshold = values[f"threshold_at_{MAIN}"]
        values["bright"] = _mean(self._bright >= threshold)
        values["points"] = _mean(self._points[:, 2] >= threshold)
        values["n_bright"], values["n_points"] = len(self._bright), len(self._points)
        return values | contaminant_values(self._contaminants, threshold, self._own)

    def _calibration_error(self) -> float:
        """Return the expected calibration error of the score at the density of trails that it is made for."""
        sample = self.method.sample
        score = sample.numbers("score")[sample.candidates]
        weight = PRIOR_DENSITY * self.method.megapixels / max(len(sample.counted), 1)
        return calibration_error(score, sample.is_true, weight=np.where(sample.is_true, weight, 1.0))

    def _known(self, snr: float, threshold: float) -> float:
        """Return an SNR50, the largest SNR of its fit if no trail is found."""
        sample = self.method.sample
        missed = len(sample.counted) > 0 and not np.any(sample.trail_score[_faint(sample)] >= threshold)
        return SNR50_LIMIT if np.isnan(snr) and missed else snr

    def bins(self) -> astropy.table.Table:
        """Return completeness in bins of SNR and length at `MAIN` false candidates per detector."""
        return select(self.method.metrics, section="completeness2d")


def _faint(sample: CollectionSample) -> npt.NDArray[np.bool_]:
    """Return the counted trails to which SNR50 is fitted."""
    return np.asarray(sample.numbers("snrOptimal")[sample.counted] <= SNR50_LIMIT)


def _mean(values: npt.ArrayLike) -> float:
    array = np.asarray(values, dtype=np.float64)
    return float(array.mean()) if array.size else float("nan")


def _bright_scores(matches: astropy.table.Table) -> _Floats:
    """Return the scores of visible bright trails, -inf without a candidate."""
    snr, length, visible = (
        np.asarray(matches[name], dtype=np.float64)
        for name in ("snrOptimal", "trueLength", "visibleFraction")
    )
    chosen = np.asarray(matches["isTrail"]) & (visible >= VISIBLE)
    chosen &= (snr >= BRIGHT[0]) & (snr < BRIGHT[1])
    chosen &= (length >= BRIGHT_LENGTH[0]) & (length <= BRIGHT_LENGTH[1])
    return np.where(matches["isCandidate"], matches["score"], -np.inf)[chosen]


def summarize_domains(domains: Mapping[str, DomainResult]) -> dict[str, _Values]:
    """Return the numbers of each domain, and their mean and worst.

    The worst rate of false candidates at the model's own threshold is the farthest from `MAIN` as a ratio.
    The means of galaxies and spikes are over those of all domains.
    """
    values = {name: result.values() for name, result in domains.items()}
    mean: _Values = {}
    worst: _Values = {}
    for key in [name for name in next(iter(values.values())) if name.startswith(("snr50_at", "snr50_long"))]:
        numbers = np.array([v[key] for v in values.values()])
        mean[key], worst[key] = float(np.mean(numbers)), float(np.max(numbers))
    for key, choose in (("bright", np.nanmin), ("points", np.nanmax), ("calibration", np.nanmax)):
        numbers = np.array([v[key] for v in values.values()])
        mean[key], worst[key] = float(np.mean(numbers)), float(choose(numbers))
    rates = np.array([v["own"] for v in values.values()])
    # A rate below half a candidate in the area is not known to differ from none.
    least = 0.5 * DETECTOR_PIXELS / 1e6 / np.array([v["megapixels"] for v in values.values()])
    mean["own"], worst["own"] = float(np.mean(rates)), _farthest(rates, least)
    called = summarize_contaminants(list(values.values()))
    return values | {"mean": mean | called[0], "worst": worst | called[1]}


def _farthest(rates: _Floats, least: _Floats) -> float:
    return float(rates[np.argmax(np.abs(np.log(np.maximum(rates, least) / MAIN)))])


def real_summary(rows: Sequence[Mapping[str, Any]]) -> _Values:
    """Return the numbers of the real images.

    Parameters
    ----------
    rows
        Output of `domain_real.RealJob`.
    """
    tests = {str(row["test"]) for row in rows}
    by_test = {test: [row for row in rows if row["test"] == test] for test in tests}
    alerts = by_test.get("alert", [])
    values: _Values = {"alerts": {"called": _mean([row["found"] for row in alerts]), "of": len(alerts)}}
    for test in ("point", "trail"):
        values[test] = []
        for snr in sorted({float(row["asked"]) for row in by_test.get(test, [])}):
            part = [row for row in by_test[test] if row["asked"] == snr]
            fitted = np.array([row["fitted"] / row["length"] for row in part if row["found"]])
            values[test].append(
                {
                    "snr": float(np.median([row["snr"] for row in part])),
                    "called": _mean([row["found"] for row in part]),
                    "of": len(part),
                    "length_ratio": float(np.median(fitted)) if fitted.size and test == "trail" else None,
                }
            )
    for test in ("cutout", "calexp"):
        if not (part := by_test.get(test, [])):
            continue
        snrs = np.array([row["snr"] for row in part])
        found = np.array([row["found"] for row in part])
        faint = snrs <= REAL_SNRS[-2]
        values[test] = {
            "snr50": snr50(snrs[faint], found[faint]),
            "bins": [
                {"snr": [low, high], "found": _mean(found[inside]), "of": int(np.count_nonzero(inside))}
                for low, high in zip(REAL_SNRS[:-1], REAL_SNRS[1:], strict=True)
                for inside in [(snrs >= low) & (snrs < high)]
            ],
        }
    if "calexp false" in by_test:
        values["calexp_false"] = int(by_test["calexp false"][0]["found"])
    return values


def write_results(
    output: Path | None,
    results: Mapping[str, Mapping[str, DomainResult]],
    real: Mapping[str, Sequence[Mapping[str, Any]]],
    titles: Mapping[str, str],
) -> str:
    """Return the tables as Markdown, and write them with JSON and figures to a folder.

    Parameters
    ----------
    output
        The folder, if any.
    results
        Results by method and domain.
    real
        Rows of real images by method.
    titles
        Titles of the domains.
    """
    numbers = {method: summarize_domains(domains) for method, domains in results.items() if domains}
    found = {method: real_summary(rows) for method, rows in real.items()}
    text = "\n".join(
        [
            *domain_lines(numbers, titles),
            *contaminant_lines(numbers, titles),
            *(
                line
                for method, domains in results.items()
                for line in bin_lines(method, [result.bins() for result in domains.values()])
            ),
            *real_lines(found),
        ]
    )
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        document = {
            "methods": numbers,
            "completeness": {
                method: {name: _bin_records(result.bins()) for name, result in domains.items()}
                for method, domains in results.items()
            },
            "real": found,
        }
        for name, content in (
            ("domains.md", text + "\n"),
            ("domains.json", json.dumps(_finite(document), indent=1)),
        ):
            with atomic_path(output / name) as partial:
                partial.write_text(content)
        for method, domains in results.items():
            if domains:
                figure = completeness_figure(domains, titles)
                figure.suptitle(f"{method}: completeness at {point_name(MAIN)} by length in pixels")
                figure.savefig(output / f"completeness-{Path(method).name.replace(':', '-')}.png", dpi=110)
    return text


def completeness_figure(domains: Mapping[str, DomainResult], titles: Mapping[str, str]) -> Figure:
    """Draw completeness against SNR by length, a panel for each domain."""
    columns = min(len(domains), 4)
    rows = -(-len(domains) // columns)
    figure = Figure(figsize=(4.6 * columns, 3.6 * rows + 0.4), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.ravel()[len(domains) :]:
        axis.set_axis_off()
    for axis, (name, result) in zip(axes.ravel(), domains.items(), strict=False):
        draw_by_length(axis, result.bins())
        axis.set_title(titles[name])
    for row in axes:
        row[0].set_ylabel("fraction found")
    handles, labels = axes[0][0].get_legend_handles_labels()
    legend_below(figure, dict(zip(labels, handles, strict=True)))
    return figure


def _finite(value: Any) -> Any:
    """Return a document for JSON, without NaN."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value if not isinstance(value, float) or np.isfinite(value) else None


def _bin_records(rows: astropy.table.Table) -> list[_Values]:
    return [
        {
            "snr": [float(row["low"]), float(row["high"])],
            "length": [float(row["low2"]), float(row["high2"])],
            "completeness": float(row["value"]),
            "interval": [float(row["valueLow"]), float(row["valueHigh"])],
            "trails": int(row["count"]),
        }
        for row in rows
    ]
