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

"""Tests of the inputs and outputs of the tasks in a Butler."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import astropy.table
import numpy as np
import pytest

from lsst.daf.butler import Butler, DataCoordinate, DatasetType, Quantum
from lsst.meas.trails.core.association.columns import KNOWN_TRAIL_COLUMNS
from lsst.meas.trails.core.catalog.columns import CANDIDATE_COLUMNS, empty_catalog, table_of
from lsst.meas.trails.core.catalog.labels import empty_labels
from lsst.meas.trails.nn.model_file import shipped_model_path
from lsst.meas.trails.nn.model_table import model_to_table
from lsst.meas.trails.repository.butler import open_or_create
from lsst.meas.trails.sim.instrument import TrailSimCam
from lsst.meas.trails.sim.simulation import Simulation
from lsst.meas.trails.tasks import (
    AssociateTrailsTask,
    ConsolidateTrailCandidatesTask,
    InjectTrailsTask,
    LinkTrailsTask,
    MatchTrailsTask,
    SummarizeTrailsTask,
    TileToHdf5Task,
    TrailCandidateTask,
    TrailSegmentationTask,
)
from lsst.pipe.base import PipelineTask
from lsst.pipe.base.testUtils import assertValidOutput, lintConnections, makeQuantum, runTestQuantum

DETECTOR = ("instrument", "visit", "detector")
VISIT = ("instrument", "visit")
NIGHT = ("instrument", "day_obs")
GROUP = ("instrument", "group", "detector")
INSTRUMENT = ("instrument",)
SKY = ("htm7", "band")

TASKS: dict[type[PipelineTask], dict[str, tuple[str, str, tuple[str, ...]]]] = {
    InjectTrailsTask: {
        "image": ("preliminary_visit_image", "VisitImage", DETECTOR),
        "injection_catalogs": ("injection_catalog", "ArrowAstropy", SKY),
        "injected_image": ("injected_preliminary_visit_image", "VisitImage", DETECTOR),
        "injected_catalog": ("injected_preliminary_visit_image_catalog", "ArrowAstropy", DETECTOR),
        "injected_mask": ("injected_trail_mask", "MaskV2", DETECTOR),
    },
    TileToHdf5Task: {
        "image": ("injected_preliminary_visit_image", "VisitImage", DETECTOR),
        "injected_catalog": ("injected_preliminary_visit_image_catalog", "ArrowAstropy", DETECTOR),
        "injected_mask": ("injected_trail_mask", "MaskV2", DETECTOR),
        "labels": ("trail_label", "ArrowAstropy", DETECTOR),
        "trail_tiles": ("trail_tiles", "TrailTiles", DETECTOR),
    },
    TrailSegmentationTask: {
        "image": ("preliminary_visit_image", "VisitImage", DETECTOR),
        "template": ("template_detector", "VisitImage", DETECTOR),
        "trail_model": ("trail_model", "ArrowTable", ()),
        "trail_probability": ("trail_probability", "ImageV2", DETECTOR),
        "trail_mask": ("trail_mask", "MaskV2", DETECTOR),
    },
    TrailCandidateTask: {
        "image": ("preliminary_visit_image", "VisitImage", DETECTOR),
        "template": ("template_detector", "VisitImage", DETECTOR),
        "trail_probability": ("trail_probability", "ImageV2", DETECTOR),
        "trail_model": ("trail_model", "ArrowTable", ()),
        "trail_candidate_schema": ("trail_candidate_schema", "ArrowAstropy", ()),
        "trail_candidate_detector": ("trail_candidate_detector", "ArrowAstropy", DETECTOR),
    },
    MatchTrailsTask: {
        "image": ("injected_preliminary_visit_image", "VisitImage", DETECTOR),
        "candidates": ("trail_candidate_detector", "ArrowAstropy", DETECTOR),
        "truth": ("injected_preliminary_visit_image_catalog", "ArrowAstropy", DETECTOR),
        "known_truth": ("simulated_trail_catalog", "ArrowAstropy", DETECTOR),
        "truth_pixels": ("injected_trail_mask", "MaskV2", DETECTOR),
        "trail_probability": ("trail_probability", "ImageV2", DETECTOR),
        "stack_catalog": ("injected_source_detector", "ArrowAstropy", DETECTOR),
        "stack_trails_catalog": ("injected_long_trailed_source_detector", "ArrowAstropy", DETECTOR),
        "known_catalog": ("source_detector", "ArrowAstropy", DETECTOR),
        "matches": ("matched_injected_trail_detector", "ArrowAstropy", DETECTOR),
        "search": ("trail_search_detector", "ArrowAstropy", DETECTOR),
    },
    SummarizeTrailsTask: {
        "matches": ("matched_injected_trail_detector", "ArrowAstropy", DETECTOR),
        "searches": ("trail_search_detector", "ArrowAstropy", DETECTOR),
        "labels": ("trail_label", "ArrowAstropy", DETECTOR),
        "known": ("trail_known_object_detector", "ArrowAstropy", DETECTOR),
        "trail_metrics": ("trail_metrics", "ArrowAstropy", INSTRUMENT),
        **{
            f"trail_{name}_plot": (f"trail_{name}_plot", "Plot", INSTRUMENT)
            for name in (
                "completeness",
                "purity",
                "snr_length",
                "froc",
                "pixel",
                "calibration",
                "residual",
                "pull",
                "stack",
                "rescue",
                "adcnn",
                "label",
                "known",
            )
        },
    },
    AssociateTrailsTask: {
        "image": ("preliminary_visit_image", "VisitImage", DETECTOR),
        "candidates": ("trail_candidate_detector", "ArrowAstropy", DETECTOR),
        "preloaded_ss_object": ("preloaded_ss_object", "ArrowAstropy", GROUP),
        "preloaded_ss_object_visit": ("preloaded_ss_object_visit", "ArrowAstropy", VISIT),
        "known_objects": ("known_objects", "ArrowAstropy", ()),
        "trail_candidate_associated_detector": (
            "trail_candidate_associated_detector",
            "ArrowAstropy",
            DETECTOR,
        ),
        "trail_known_object_detector": ("trail_known_object_detector", "ArrowAstropy", DETECTOR),
    },
    ConsolidateTrailCandidatesTask: {
        "catalogs": ("trail_candidate_detector", "ArrowAstropy", DETECTOR),
        "trail_candidate": ("trail_candidate", "ArrowAstropy", VISIT),
    },
    LinkTrailsTask: {
        "candidates": ("trail_candidate", "ArrowAstropy", VISIT),
        "associated": ("trail_candidate_associated", "ArrowAstropy", VISIT),
        "trail_tracklet": ("trail_tracklet", "ArrowAstropy", NIGHT),
        "trail_tracklet_member": ("trail_tracklet_member", "ArrowAstropy", NIGHT),
    },
}
"""Dataset type, storage class and dimensions of the connections of each task."""


TRIXEL = 231_819
"""A part of the sky: any will do, the quantum is made by hand."""


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.__name__)
def test_connections(task: type[PipelineTask]) -> None:
    lintConnections(task.ConfigClass.ConnectionsClass)
    connections = task.ConfigClass.ConnectionsClass(config=task.ConfigClass())
    found = {
        name: (connection.name, connection.storageClass, tuple(getattr(connection, "dimensions", ())))
        for name, connection in connections.allConnections.items()
    }
    assert found == TASKS[task]
    assert all(connection.doc for connection in connections.allConnections.values())


def test_probability_need_not_be_written() -> None:
    config = TrailSegmentationTask.ConfigClass()
    config.writeProbability = False
    connections = config.ConnectionsClass(config=config)
    assert set(connections.outputs) == {"trail_mask"}


def test_template_is_optional() -> None:
    config = TrailSegmentationTask.ConfigClass()
    template = config.ConnectionsClass(config=config).template
    assert (template.minimum, template.deferLoad) == (0, True)
    config.useTemplate = False
    assert "template" not in config.ConnectionsClass(config=config).inputs


def test_without_injection_the_output_is_not_the_truth() -> None:
    """With no prefix, the truth mask would have the name of the network's."""
    config = MatchTrailsTask.ConfigClass()
    config.connections.injected_prefix = ""
    config.connections.truth = "simulated_trail_catalog"
    connections = config.ConnectionsClass(config=config)
    optional = {"truth_pixels", "known_truth", "known_catalog"}
    assert optional.isdisjoint(connections.inputs)
    names = {connection.name for connection in connections.allConnections.values()}
    assert "trail_mask" not in names
    assert {"simulated_trail_catalog", "preliminary_visit_image"} <= names


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.__name__)
def test_configuration_documents_units(task: type[PipelineTask]) -> None:
    config = task.ConfigClass()
    config.validate()
    pixels = {"minLength", "maxLength", "calibFluxRadius", "psfSpacing", "tileSize", "overlap", "window"}
    pixels |= {"maxGap", "minArea", "maxDistance", "minAngleLength", "densityRadius", "foundDistance"}
    for name, field in config._fields.items():
        assert field.doc
        if name in pixels:
            assert "pixels" in field.doc


@pytest.fixture(scope="module")
def butler(make_image: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Butler:
    """Return a Butler whose run holds one image and all that is made of it."""
    folder: Path = tmp_path_factory.mktemp("quanta") / "repo"
    simulation = Simulation(seed=3, visits=1, detectors=1, shape=(128, 160))
    simulation.register(open_or_create(folder), "input")
    butler = Butler.from_config(folder, run="test", writeable=True)
    for connections in TASKS.values():
        for name, storage_class, dimensions in connections.values():
            butler.registry.registerDatasetType(
                DatasetType(name, butler.dimensions.conform(dimensions), storage_class)
            )
    image = make_image([(80.0, 60.0, 60.0, 25.0, 60.0)], shape=(128, 160)).image
    injected = InjectTrailsTask(config=InjectTrailsTask.ConfigClass()).run(image=image)
    segmented = TrailSegmentationTask(config=TrailSegmentationTask.ConfigClass()).run(image=image)
    matched = MatchTrailsTask(config=MatchTrailsTask.ConfigClass()).run(
        image=injected.injected_image, candidates=empty_catalog(), truth=injected.injected_catalog
    )
    data_id = simulation.data_ids()[0]
    for name, dataset in {
        "preliminary_visit_image": image,
        "template_detector": make_image(shape=(128, 160)).image,
        "injected_preliminary_visit_image": injected.injected_image,
        "injected_preliminary_visit_image_catalog": injected.injected_catalog,
        "injected_trail_mask": injected.injected_mask,
        "trail_probability": segmented.trail_probability,
        "trail_candidate_detector": empty_catalog(),
        "trail_candidate": empty_catalog(),
        "trail_candidate_associated": empty_catalog(),
        "trail_known_object_detector": table_of(dict.fromkeys(KNOWN_TRAIL_COLUMNS, ()), KNOWN_TRAIL_COLUMNS),
        "simulated_trail_catalog": injected.injected_catalog[:0],
        "source_detector": astropy.table.Table({"x": [10.0], "y": [20.0]}),
        "injected_source_detector": astropy.table.Table({"x": [10.0, 80.0], "y": [20.0, 60.0]}),
        "injected_long_trailed_source_detector": astropy.table.Table({"x": [80.0], "y": [60.0]}),
        "matched_injected_trail_detector": matched.matches,
        "trail_search_detector": matched.search,
        "trail_label": empty_labels(),
    }.items():
        butler.put(dataset, name, data_id)
    columns = ["injection_id", "ra", "dec", "source_type", "mag", "trail_length", "beta", "x", "flux"]
    catalog = astropy.table.Table(injected.injected_catalog[columns][:2])
    butler.put(catalog, "injection_catalog", {"htm7": TRIXEL, "band": "r"})
    (group,) = butler.query_dimension_records("group", instrument=TrailSimCam.getName())
    ephemeris = {"instrument": TrailSimCam.getName(), "group": group.name, "detector": 0}
    butler.put(empty_catalog(), "preloaded_ss_object", ephemeris)
    butler.put(empty_catalog(), "preloaded_ss_object_visit", data_id)
    butler.put(empty_catalog(), "known_objects", {})
    butler.put(model_to_table(shipped_model_path("direct")), "trail_model", {})
    return butler


def quantum_ids(butler: Butler, task: type[PipelineTask]) -> tuple[DataCoordinate, dict[str, Any]]:
    """Return the data ID of a quantum and those of its connections."""
    (record,) = butler.query_dimension_records("visit", instrument=TrailSimCam.getName())
    (group,) = butler.query_dimension_records("group", instrument=TrailSimCam.getName())
    image = butler.registry.expandDataId(instrument=TrailSimCam.getName(), visit=record.id, detector=0)
    visit = butler.registry.expandDataId(instrument=TrailSimCam.getName(), visit=record.id)
    instrument = butler.registry.expandDataId(instrument=TrailSimCam.getName())
    night = butler.registry.expandDataId(instrument=TrailSimCam.getName(), day_obs=record.day_obs)
    connections = task.ConfigClass.ConnectionsClass(config=task.ConfigClass())
    sky = butler.registry.expandDataId(htm7=TRIXEL, band="r")
    ids: dict[str, Any] = {}
    for name, (_, _, dimensions) in TASKS[task].items():
        ids[name] = {
            DETECTOR: image,
            VISIT: visit,
            NIGHT: night,
            SKY: sky,
            INSTRUMENT: instrument,
            GROUP: butler.registry.expandDataId(
                instrument=TrailSimCam.getName(), group=group.name, detector=0
            ),
            (): {},
        }[dimensions]
        if connections.allConnections[name].multiple:
            ids[name] = [ids[name]]
    of_task = {frozenset(DETECTOR): image, frozenset(VISIT): visit, frozenset(INSTRUMENT): instrument}
    of_task[frozenset(NIGHT)] = night
    return of_task[frozenset(connections.dimensions)], ids


@pytest.mark.parametrize("kind", TASKS, ids=lambda task: task.__name__)
def test_quantum(butler: Butler, kind: type[PipelineTask]) -> None:
    """``runQuantum`` passes the inputs to ``run`` and puts the declared outputs."""
    task = kind(config=kind.ConfigClass())
    data_id, ids = quantum_ids(butler, kind)
    mock = runTestQuantum(task, butler, makeQuantum(task, butler, data_id, ids))
    assert mock is not None
    mock.assert_called_once()
    assert mock.call_args.args == ()
    arguments = mock.call_args.kwargs
    if kind in (InjectTrailsTask, TileToHdf5Task, TrailCandidateTask):
        # The packer of this instrument: visits of 13 digits, 189 detectors.
        assert arguments["packed"] == data_id["visit"] * 189 + data_id["detector"]
    if kind in (InjectTrailsTask, TrailCandidateTask):
        assert (arguments["visit"], arguments["detector"]) == (data_id["visit"], data_id["detector"])
    if kind is InjectTrailsTask:
        (handle,) = arguments["injection_catalogs"]
        assert handle.dataId["htm7"] == TRIXEL
    if kind is TrailSegmentationTask:
        assert arguments["num_cores"] == 1
        assert arguments["trail_model"].get().num_rows > 0
        assert arguments["template"].ref.datasetType.name == "template_detector"
    if kind is TileToHdf5Task:
        assert arguments["data_id"] == {"instrument": "TrailSimCam", "detector": 0, "visit": data_id["visit"]}
    if kind is MatchTrailsTask:
        assert (arguments["visit"], arguments["detector"]) == (data_id["visit"], data_id["detector"])
        # An empty catalog of candidates, without a model.
        assert arguments["candidates"].colnames == list(CANDIDATE_COLUMNS)
    result = task.run(**arguments)
    if kind is SummarizeTrailsTask:
        # Nothing was found or labeled, and no pixels were compared: some
        # figures would be empty.
        names = ("pixel", "calibration", "residual", "pull", "purity", "adcnn", "label")
        missing = {f"trail_{name}_plot" for name in names}
        assert missing.isdisjoint(result.getDict())
        assert {"trail_completeness_plot", "trail_froc_plot", "trail_stack_plot"} <= set(result.getDict())
        return
    assertValidOutput(task, result)
    if kind is InjectTrailsTask:
        # The trails of the catalog, at the same pixels.
        given = handle.get()
        np.testing.assert_allclose(result.injected_catalog["x"], given["x"], atol=1e-4)
        np.testing.assert_allclose(result.injected_catalog["flux"], given["flux"], rtol=1e-9)
    if kind is TrailCandidateTask:
        first = result.trail_candidate_detector["trailCandidateId"][0]
        packer = arguments["packer"]
        assert packer.unpack(int(first) >> (63 - packer.maxBits)) == data_id
        assert np.all(np.diff(result.trail_candidate_detector["trailCandidateId"]) == 1)
    if kind is ConsolidateTrailCandidatesTask:
        assert result.trail_candidate.colnames == list(CANDIDATE_COLUMNS)


@pytest.mark.parametrize(
    ("absent", "name"), [({"trail_model"}, "template"), ({"trail_model", "template_detector"}, "direct")]
)
def test_quantum_without_optional_inputs(butler: Butler, absent: set[str], name: str) -> None:
    """The model is chosen by whether the quantum has a template."""
    task = TrailSegmentationTask(config=TrailSegmentationTask.ConfigClass())
    whole = makeQuantum(task, butler, *quantum_ids(butler, TrailSegmentationTask))
    inputs = {kind: () if kind.name in absent else refs for kind, refs in whole.inputs.items()}
    quantum = Quantum(
        taskClass=TrailSegmentationTask, dataId=whole.dataId, inputs=inputs, outputs=whole.outputs
    )
    mock = runTestQuantum(task, butler, quantum)
    assert mock is not None
    result = task.run(**mock.call_args.kwargs)
    assertValidOutput(task, result)
    assert result.trail_mask.metadata["TRAIL_MODEL_NAME"] == name
