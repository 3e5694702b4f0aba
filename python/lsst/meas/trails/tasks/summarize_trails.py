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

"""SummarizeTrailsTask: the numbers and figures of a collection."""

from __future__ import annotations

__all__ = ("SummarizeTrailsConfig", "SummarizeTrailsConnections", "SummarizeTrailsTask")

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import astropy.table
import numpy as np

import lsst.pipe.base.connectionTypes as cT
from lsst.pex.config import Field, ListField, RangeField
from lsst.pipe.base import (
    InputQuantizedConnection,
    InvalidQuantumError,
    NoWorkFound,
    OutputQuantizedConnection,
    PipelineTask,
    PipelineTaskConfig,
    PipelineTaskConnections,
    QuantumContext,
    Struct,
)

from ..evaluation.collection_sample import COLUMNS
from ..evaluation.metrics_table import select
from ..evaluation.summary import SummaryOptions, summarize

if TYPE_CHECKING:
    from lsst.daf.butler import DataCoordinate

_DETECTOR = ("instrument", "visit", "detector")

PLOTS = {
    "completeness": "Completeness against SNR, magnitude, length, rate, angle, density and distance.",
    "purity": "Purity against the same of the candidates.",
    "snr_length": "Completeness in SNR and length.",
    "froc": "Completeness against false detections.",
    "pixel": "ROC and precision-recall curves of pixels.",
    "calibration": "Fraction of trails among candidates against their score.",
    "residual": "Errors of fitted values against SNR.",
    "pull": "Errors of fitted values over their estimates.",
    "stack": "Found by the stack, by the network, by both, by neither.",
    "rescue": "Trails that the stack missed, found as false detections are added.",
    "adcnn": "Counts in the manner of Asteroid_detection_CNN.",
}
"""The figures, whose datasets are called ``trail_X_plot``."""


class SummarizeTrailsConnections(PipelineTaskConnections, dimensions=("instrument",)):
    """Inputs and outputs of SummarizeTrailsTask."""

    matches = cT.Input(
        doc="Trails with their candidates, and candidates that are no trails.",
        name="matched_injected_trail_detector",
        storageClass="ArrowAstropy",
        dimensions=_DETECTOR,
        multiple=True,
        deferLoad=True,
    )
    searches = cT.Input(
        doc="What was searched.",
        name="trail_search_detector",
        storageClass="ArrowAstropy",
        dimensions=_DETECTOR,
        multiple=True,
        deferLoad=True,
    )
    trail_metrics = cT.Output(
        doc="Metrics, one number a row.",
        name="trail_metrics",
        storageClass="ArrowAstropy",
        dimensions=("instrument",),
    )

    def __init__(self, *, config: SummarizeTrailsConfig) -> None:
        super().__init__(config=config)
        if config.makePlots:
            for name, text in PLOTS.items():
                plot = cT.Output(
                    doc=text, name=f"trail_{name}_plot", storageClass="Plot", dimensions=("instrument",)
                )
                setattr(self, f"trail_{name}_plot", plot)


class SummarizeTrailsConfig(PipelineTaskConfig, pipelineConnections=SummarizeTrailsConnections):
    """Configuration of SummarizeTrailsTask."""

    makePlots = Field[bool](
        doc="Draw the figures? Those that there is nothing to draw in are left out.", default=True
    )
    falseRates = ListField[float](
        doc="False detections per detector of 16.4 Mpix at which completeness is stated.",
        default=[1.0, 10.0, 100.0],
        minLength=1,
        itemCheck=lambda rate: rate > 0.0,
    )
    mainRate = RangeField(
        dtype=float, doc="The one of them that others are compared at.", default=10.0, min=0.0
    )
    resamples = RangeField(
        dtype=int, doc="Bootstrap samples of the detectors, for intervals.", default=200, min=20
    )

    def validate(self) -> None:
        super().validate()
        if self.mainRate not in list(self.falseRates):
            raise ValueError(f"mainRate ({self.mainRate:g}) must be one of falseRates.")


class SummarizeTrailsTask(PipelineTask):
    """Summarize what was found over a collection."""

    ConfigClass: ClassVar[type[SummarizeTrailsConfig]] = SummarizeTrailsConfig
    _DefaultName: ClassVar[str] = "summarizeTrails"

    config: SummarizeTrailsConfig

    def runQuantum(
        self,
        butlerQC: QuantumContext,
        inputRefs: InputQuantizedConnection,
        outputRefs: OutputQuantizedConnection,
    ) -> None:
        inputs = butlerQC.get(inputRefs)
        outputs = self.run(
            matches=inputs["matches"],
            searches=inputs["searches"],
            title=str(_data_id(butlerQC)["instrument"]),
        )
        # What there is nothing to draw in has no dataset.
        for name in list(outputRefs.keys()):
            if name not in outputs.getDict():
                delattr(outputRefs, name)
        butlerQC.put(outputs, outputRefs)

    def run(self, *, matches: Sequence[Any], searches: Sequence[Any], title: str = "") -> Struct:
        """Summarize a collection.

        Parameters
        ----------
        matches, searches
            Tables of `matched_injected_trail_detector` and
            `trail_search_detector`, or deferred handles of them, in any order.
        title
            What the figures say that they are of.

        Returns
        -------
        struct : `lsst.pipe.base.Struct`
            ``trail_metrics``
                `astropy.table.Table`; see
                `~lsst.meas.trails.evaluation.metrics_table.METRIC_COLUMNS`.
            ``trail_completeness_plot``, ...
                The figures, each a `matplotlib.figure.Figure`.

        Raises
        ------
        lsst.pipe.base.NoWorkFound
            Raised if there are no detectors.
        lsst.pipe.base.InvalidQuantumError
            Raised if tables do not belong together.
        """
        first, second = _by_image(matches), _by_image(searches)
        both = [key for key in first if key in second]
        if not both:
            raise NoWorkFound("There are no detectors to summarize.")
        if lost := len(first) + len(second) - 2 * len(both):
            self.log.warning("%d tables without the other one of their detector are left out.", lost)
        try:
            metrics = summarize(
                _read([first[key] for key in both], list(COLUMNS)),
                _read([second[key] for key in both], None),
                SummaryOptions(
                    rates=tuple(self.config.falseRates),
                    main_rate=self.config.mainRate,
                    resamples=self.config.resamples,
                ),
            )
        except ValueError as error:
            raise InvalidQuantumError(str(error)) from error
        self._tell(metrics, len(both))
        struct = Struct(trail_metrics=metrics)
        if self.config.makePlots:
            # Graphs are built without matplotlib.
            from ..evaluation.figures.metrics import metric_figures

            for name, figure in metric_figures(metrics, title=title).items():
                setattr(struct, name, figure)
        return struct

    def _tell(self, metrics: astropy.table.Table, detectors: int) -> None:
        """Write the main numbers to the task's metadata and the log."""
        self.metadata["nDetectors"] = detectors
        for rate in self.config.falseRates:
            point = f"{rate:g} false per detector"
            for row in select(metrics, section="detection", operatingPoint=point):
                if np.isfinite(row["value"]):
                    self.metadata[f"{row['metric']}_at_{rate:g}"] = float(row["value"])
        for name in ("auc", "average_precision"):
            for row in select(metrics, section="pixel", metric=name):
                self.metadata[f"pixel_{name}"] = float(row["value"])
        for row in select(metrics, section="calibration", metric="expected_calibration_error"):
            if np.isfinite(row["value"]):
                self.metadata["expected_calibration_error"] = float(row["value"])
        self.log.info(
            "%d detectors: half of the trails are found at SNR %s at %g false candidates per detector.",
            detectors,
            f"{self.metadata.get(f'snr50_at_{self.config.mainRate:g}', float('nan')):.2f}",
            self.config.mainRate,
        )


def _data_id(butlerQC: QuantumContext) -> DataCoordinate:
    """Return the data ID of a quantum, which has one once it runs."""
    return cast("DataCoordinate", butlerQC.quantum.dataId)


def _by_image(tables: Sequence[Any]) -> dict[tuple[int, int], Any]:
    """Return tables, or handles of them, by visit and detector; tables of
    one's own by their order.
    """
    result = {}
    for number, table in enumerate(tables):
        if hasattr(table, "dataId"):
            result[int(table.dataId["visit"]), int(table.dataId["detector"])] = table
        else:
            result[-1, number] = table
    return dict(sorted(result.items()))


def _read(tables: Sequence[Any], columns: list[str] | None) -> Iterator[astropy.table.Table]:
    """Read tables one after the other, no more columns than are needed."""
    for table in tables:
        if hasattr(table, "dataId"):
            yield table.get(parameters={} if columns is None else {"columns": columns})
        else:
            yield table
