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

"""SummarizeTrailsTask: metrics and figures of a collection."""

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

from ..core.catalog.labels import LABEL_COLUMNS
from ..evaluation.collection_sample import COLUMNS, CollectionSample
from ..evaluation.figures.captions import CAPTIONS
from ..evaluation.known_objects import KNOWN_NEEDED, add_known_objects
from ..evaluation.labels import add_labels
from ..evaluation.metrics_table import MetricRows, point_name, select
from ..evaluation.summary import SummaryOptions, summarize
from ._connections import table_input

if TYPE_CHECKING:
    from lsst.daf.butler import DataCoordinate


class SummarizeTrailsConnections(PipelineTaskConnections, dimensions=("instrument",)):
    """Inputs and outputs of SummarizeTrailsTask."""

    matches = table_input(
        doc="Trails with their candidates, and unmatched candidates.",
        name="matched_injected_trail_detector",
        multiple=True,
        deferLoad=True,
    )
    searches = table_input(
        doc="Search totals of each detector.", name="trail_search_detector", multiple=True, deferLoad=True
    )
    labels = table_input(
        doc="Labels of candidates, from meas-trails vet.",
        name="trail_label",
        multiple=True,
        deferLoad=True,
        minimum=0,
    )
    known = table_input(
        doc="Predicted trails of known objects, found or missed.",
        name="trail_known_object_detector",
        multiple=True,
        deferLoad=True,
        minimum=0,
    )
    trail_metrics = cT.Output(
        doc="Metrics, one number per row.",
        name="trail_metrics",
        storageClass="ArrowAstropy",
        dimensions=("instrument",),
    )

    def __init__(self, *, config: SummarizeTrailsConfig) -> None:
        super().__init__(config=config)
        if not config.evaluateTruth:
            del self.matches
            del self.searches
        if config.makePlots:
            for name, text in CAPTIONS.items():
                plot = cT.Output(doc=text, name=name, storageClass="Plot", dimensions=("instrument",))
                setattr(self, name, plot)


class SummarizeTrailsConfig(PipelineTaskConfig, pipelineConnections=SummarizeTrailsConnections):
    """Configuration of SummarizeTrailsTask."""

    makePlots = Field[bool](doc="Draw the figures; figures without data are not written.", default=True)
    evaluateTruth = Field[bool](
        doc="Measure the detection of true trails; otherwise of known objects and labeled candidates only.",
        default=True,
    )
    falseRates = ListField[float](
        doc="False candidates per detector of 16.4 Mpix at which completeness is measured.",
        default=[1.0, 10.0, 100.0],
        minLength=1,
        itemCheck=lambda rate: rate > 0.0,
    )
    mainRate = RangeField(
        dtype=float, doc="The rate of falseRates at which other methods are compared.", default=10.0, min=0.0
    )
    resamples = RangeField(
        dtype=int, doc="Bootstrap samples of the detectors, for intervals.", default=200, min=20
    )

    def validate(self) -> None:
        super().validate()
        if self.mainRate not in list(self.falseRates):
            raise ValueError(f"mainRate must be one of falseRates, not {self.mainRate:g}.")


class SummarizeTrailsTask(PipelineTask):
    """Summarize the detections in a collection."""

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
            matches=inputs.get("matches", ()),
            searches=inputs.get("searches", ()),
            labels=inputs.get("labels", ()),
            known=inputs.get("known", ()),
            title=str(_data_id(butlerQC)["instrument"]),
        )
        # Figures without data have no dataset.
        for name in list(outputRefs.keys()):
            if name not in outputs.getDict():
                delattr(outputRefs, name)
        butlerQC.put(outputs, outputRefs)

    def run(
        self,
        *,
        matches: Sequence[Any] = (),
        searches: Sequence[Any] = (),
        labels: Sequence[Any] = (),
        known: Sequence[Any] = (),
        title: str = "",
    ) -> Struct:
        """Summarize a collection.

        Parameters
        ----------
        matches, searches
            Tables of `matched_injected_trail_detector` and `trail_search_detector`, or deferred handles of
            them, in any order.
        labels
            Tables of `trail_label`, or deferred handles of them, of any detectors.
        known
            Tables of `trail_known_object_detector`, or deferred handles of them, of any detectors.
        title
            Title of the figures.

        Returns
        -------
        struct : `lsst.pipe.base.Struct`
            ``trail_metrics``
                `astropy.table.Table`; see `~lsst.meas.trails.evaluation.metrics_table.METRIC_COLUMNS`.
            ``trail_completeness_plot``, ...
                The figures, each a `matplotlib.figure.Figure`.

        Raises
        ------
        lsst.pipe.base.NoWorkFound
            Raised if no detector has both tables, or without ``evaluateTruth`` if there is neither a known
            object nor a label.
        lsst.pipe.base.InvalidQuantumError
            Raised if the tables are inconsistent.
        """
        given = self._labels(labels)
        objects = self._known(known)
        if self.config.evaluateTruth:
            metrics = self._evaluate(matches, searches, given, objects)
        else:
            metrics = _without_truth(given, objects)
        struct = Struct(trail_metrics=metrics)
        if self.config.makePlots:
            # Graphs are built without matplotlib.
            from ..evaluation.figures.metrics import metric_figures

            for name, figure in metric_figures(metrics, title=title).items():
                setattr(struct, name, figure)
        return struct

    def _evaluate(
        self,
        matches: Sequence[Any],
        searches: Sequence[Any],
        labels: astropy.table.Table | None,
        known: astropy.table.Table | None,
    ) -> astropy.table.Table:
        """Return the metrics of a sample with a truth."""
        first, second = _by_image(matches), _by_image(searches)
        both = [key for key in first if key in second]
        if not both:
            raise NoWorkFound("No detector has both a match table and a search table.")
        if lost := len(first) + len(second) - 2 * len(both):
            self.log.warning("Ignored %d tables whose detector lacks the matching table.", lost)
        try:
            sample = CollectionSample(
                _read([first[key] for key in both], list(COLUMNS)), _read([second[key] for key in both], None)
            )
        except ValueError as error:
            raise InvalidQuantumError(str(error)) from error
        metrics = summarize(
            sample,
            SummaryOptions(
                rates=tuple(self.config.falseRates),
                main_rate=self.config.mainRate,
                resamples=self.config.resamples,
            ),
            labels,
            known,
        )
        self._record(metrics, len(both))
        return metrics

    def _known(self, known: Sequence[Any]) -> astropy.table.Table | None:
        """Return the joined trails of known objects, `None` without any."""
        tables = list(_read(known, list(KNOWN_NEEDED)))
        self.metadata["nKnown"] = sum(map(len, tables))
        return astropy.table.vstack(tables, metadata_conflicts="silent") if tables else None

    def _labels(self, labels: Sequence[Any]) -> astropy.table.Table | None:
        """Return the joined labels, `None` without any."""
        tables = list(_read(labels, list(LABEL_COLUMNS)))
        self.metadata["nLabels"] = sum(map(len, tables))
        return astropy.table.vstack(tables, metadata_conflicts="silent") if tables else None

    def _record(self, metrics: astropy.table.Table, detectors: int) -> None:
        """Write the main numbers to the task's metadata and the log."""
        self.metadata["nDetectors"] = detectors
        for rate in self.config.falseRates:
            for row in select(metrics, section="detection", operatingPoint=point_name(rate)):
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


def _without_truth(
    labels: astropy.table.Table | None, known: astropy.table.Table | None
) -> astropy.table.Table:
    """Return the metrics that need no truth."""
    rows = MetricRows()
    if labels is not None:
        add_labels(rows, labels)
    if known is not None:
        add_known_objects(rows, known)
    metrics = rows.table()
    if len(metrics) == 0:
        raise NoWorkFound("There is neither a known object nor a labeled candidate.")
    return metrics


def _data_id(butlerQC: QuantumContext) -> DataCoordinate:
    """Return the data ID of a running quantum."""
    return cast("DataCoordinate", butlerQC.quantum.dataId)


def _by_image(tables: Sequence[Any]) -> dict[tuple[int, int], Any]:
    """Return handles of tables by visit and detector; plain tables by order."""
    result = {}
    for number, table in enumerate(tables):
        if hasattr(table, "dataId"):
            result[int(table.dataId["visit"]), int(table.dataId["detector"])] = table
        else:
            result[-1, number] = table
    return dict(sorted(result.items()))


def _read(tables: Sequence[Any], columns: list[str] | None) -> Iterator[astropy.table.Table]:
    """Read tables one after another, with only the columns named."""
    for table in tables:
        if hasattr(table, "dataId"):
            yield table.get(parameters={} if columns is None else {"columns": columns})
        else:
            yield table
