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

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from lsst.daf.butler import DatasetType
from lsst.meas.trails.evaluation.figures.captions import CAPTIONS
from lsst.meas.trails.repository.butler import open_or_create
from lsst.meas.trails.sim.simulation import Simulation
from lsst.pipe.base import Pipeline, PipelineGraph
from lsst.pipe.base.simple_pipeline_executor import SimplePipelineExecutor

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "python" / "lsst" / "meas" / "trails" / "resources" / "pipelines"
NAMES = sorted(str(path.relative_to(FOLDER).with_suffix("")) for path in FOLDER.rglob("*.yaml"))

DETECTOR = {"instrument", "visit", "detector"}
VISIT = {"instrument", "visit"}
NIGHT = {"instrument", "day_obs"}

TYPES: dict[str, tuple[str, set[str]]] = {
    "preliminary_visit_image": ("VisitImage", DETECTOR),
    "injection_catalog": ("ArrowAstropy", {"htm7", "band"}),
    "injected_preliminary_visit_image": ("VisitImage", DETECTOR),
    "injected_preliminary_visit_image_catalog": ("ArrowAstropy", DETECTOR),
    "injected_trail_mask": ("MaskV2", DETECTOR),
    "template_detector": ("VisitImage", DETECTOR),
    "difference_image": ("VisitImage", DETECTOR),
    "trail_tiles": ("TrailTiles", DETECTOR),
    "trail_probability": ("ImageV2", DETECTOR),
    "trail_mask": ("MaskV2", DETECTOR),
    "trail_candidate_detector": ("ArrowAstropy", DETECTOR),
    "trail_candidate": ("ArrowAstropy", VISIT),
    "trail_tracklet": ("ArrowAstropy", NIGHT),
    "trail_tracklet_member": ("ArrowAstropy", NIGHT),
    "trail_candidate_associated_detector": ("ArrowAstropy", DETECTOR),
    "trail_candidate_associated": ("ArrowAstropy", VISIT),
    "trail_known_object_detector": ("ArrowAstropy", DETECTOR),
    "preloaded_ss_object": ("ArrowAstropy", {"instrument", "group", "detector"}),
    "preloaded_ss_object_visit": ("ArrowAstropy", VISIT),
    "known_objects": ("ArrowAstropy", set()),
}
"""Storage class and dimensions of the dataset types of this package."""

SUMMARY = {"matched_injected_trail_detector", "trail_search_detector", "trail_metrics", *CAPTIONS}
"""Dataset types of every evaluation."""

EPHEMERIDES = {"preloaded_ss_object", "preloaded_ss_object_visit", "known_objects"}
"""Optional inputs of the association."""

DETECTIONS = {
    "trail_probability",
    "trail_mask",
    "trail_candidate_detector",
    "trail_candidate",
    "trail_candidate_associated_detector",
    "trail_candidate_associated",
    "trail_known_object_detector",
}
"""Outputs of every detection."""

INPUTS_AND_OUTPUTS = {
    "DetectTrails": (
        {"preliminary_visit_image", "template_detector", "trail_model"} | EPHEMERIDES,
        DETECTIONS,
    ),
    "DetectTrailsInDifference": (
        {"difference_image", "trail_model"} | EPHEMERIDES,
        DETECTIONS,
    ),
    "EvaluateTrails": (
        {
            "preliminary_visit_image",
            "template_detector",
            "injection_catalog",
            "trail_model",
            "simulated_trail_catalog",
            "source_detector",
            "injected_source_detector",
            "injected_long_trailed_source_detector",
            "trail_label",
            "trail_known_object_detector",
        },
        {
            "injected_preliminary_visit_image",
            "injected_preliminary_visit_image_catalog",
            "injected_trail_mask",
            "trail_probability",
            "trail_mask",
            "trail_candidate_detector",
        }
        | SUMMARY,
    ),
    "EvaluateSimulatedTrails": (
        {
            "preliminary_visit_image",
            "template_detector",
            "trail_model",
            "simulated_trail_catalog",
            "source_detector",
            "long_trailed_source_detector",
            "trail_label",
            "trail_known_object_detector",
        },
        {"trail_probability", "trail_mask", "trail_candidate_detector"} | SUMMARY,
    ),
    "EvaluateKnownObjects": (
        {"preliminary_visit_image", "template_detector", "trail_model", "trail_label"} | EPHEMERIDES,
        DETECTIONS | {"trail_metrics", *CAPTIONS},
    ),
    "LinkTrails": (
        {"trail_candidate", "trail_candidate_associated"},
        {"trail_tracklet", "trail_tracklet_member"},
    ),
    "MakeTrainingSet": (
        {"preliminary_visit_image", "injection_catalog", "trail_label"},
        {
            "injected_preliminary_visit_image",
            "injected_preliminary_visit_image_catalog",
            "injected_trail_mask",
            "trail_tiles",
        },
    ),
}

DETECT_SUBSETS = {
    "perDetector": {"trailSegmentation", "trailCandidate", "associateTrails"},
    "perVisit": {"consolidateTrailCandidates", "consolidateAssociatedTrails"},
    "detect": {"trailSegmentation", "trailCandidate", "consolidateTrailCandidates"},
    "associate": {"associateTrails", "consolidateAssociatedTrails"},
}

PRODUCTIONS = {
    "ap": ("preliminary_visit_image", "long_trailed_source_detector"),
    "drp": ("visit_image", "long_trailed_dia_source"),
}
"""Image and long trails of the Alert and the Data Release Production."""

for folder, (image, trails) in PRODUCTIONS.items():
    for pipeline in ("DetectTrails", "EvaluateTrails"):
        inputs, outputs = (
            {name.replace("preliminary_visit_image", image) for name in names}
            for names in INPUTS_AND_OUTPUTS[pipeline]
        )
        if pipeline == "EvaluateTrails":
            inputs -= {"source_detector", "injected_source_detector", "injected_long_trailed_source_detector"}
            inputs |= {"dia_source_detector", "injected_dia_source_detector", f"injected_{trails}"}
        INPUTS_AND_OUTPUTS[f"{folder}/{pipeline}"] = (inputs, outputs)

SUBSETS = {
    "DetectTrails": DETECT_SUBSETS,
    "DetectTrailsInDifference": DETECT_SUBSETS,
    "EvaluateTrails": {
        "inject": {"injectTrails"},
        "evaluate": {"trailSegmentation", "trailCandidate", "matchTrails", "summarizeTrails"},
        "matchAndSummarize": {"matchTrails", "summarizeTrails"},
    },
    "EvaluateSimulatedTrails": {"matchAndSummarize": {"matchTrails", "summarizeTrails"}},
    "MakeTrainingSet": {"inject": {"injectTrails"}, "tile": {"tileToHdf5"}},
}


def data_types(graph: PipelineGraph) -> tuple[set[str], set[str]]:
    """Return the inputs and outputs of a pipeline, without schemas and those of the middleware."""
    inputs, outputs = set(), set()
    for name in graph.dataset_types:
        if name.endswith(("_config", "_log", "_metadata", "_schema")) or name == "packages":
            continue
        (outputs if graph.producer_of(name) is not None else inputs).add(name)
    return inputs, outputs


def test_all_pipelines_are_tested() -> None:
    assert set(NAMES) >= set(INPUTS_AND_OUTPUTS)
    assert (ROOT / "pipelines").resolve() == FOLDER


@pytest.mark.parametrize("name", NAMES)
def test_graph(name: str) -> None:
    graph = Pipeline.from_uri(str(FOLDER / f"{name}.yaml")).to_graph()
    for node in graph.tasks.values():
        task, connections = node.label, node.get_connections()
        for connection in connections.allConnections.values():
            if connection.name in TYPES:
                storage_class, dimensions = TYPES[connection.name]
                assert (connection.storageClass, set(connection.dimensions)) == (storage_class, dimensions), (
                    task
                )
    assert graph.description


@pytest.mark.parametrize("name", INPUTS_AND_OUTPUTS)
def test_inputs_and_outputs(name: str) -> None:
    graph = Pipeline.from_uri(str(FOLDER / f"{name}.yaml")).to_graph()
    assert data_types(graph) == INPUTS_AND_OUTPUTS[name]


@pytest.mark.parametrize("product_dir", [str(ROOT), None], ids=["set up", "installed"])
@pytest.mark.parametrize("name", NAMES)
def test_eups_uri(name: str, product_dir: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The URI works for a product set up with EUPS and for an installed package."""
    if product_dir is None:
        monkeypatch.delenv("MEAS_TRAILS_DIR", raising=False)
    else:
        monkeypatch.setenv("MEAS_TRAILS_DIR", product_dir)
    pipeline = Pipeline.from_uri(f"eups://meas_trails/pipelines/{name}.yaml")
    expected = Pipeline.from_uri(str(FOLDER / f"{name}.yaml"))
    assert set(pipeline.to_graph().tasks) == set(expected.to_graph().tasks)


@pytest.mark.parametrize("name", INPUTS_AND_OUTPUTS)
def test_input_image_is_a_parameter(name: str) -> None:
    pipeline = Pipeline.from_uri(str(FOLDER / f"{name}.yaml"))
    pipeline.addConfigOverride("parameters", "input_image", "visit_image")
    inputs, outputs = data_types(pipeline.to_graph())
    expected = [
        {"visit_image" if name == "difference_image" else name.replace("preliminary_", "") for name in names}
        for names in INPUTS_AND_OUTPUTS[name]
    ]
    assert [inputs, outputs] == expected


@pytest.mark.parametrize("name", NAMES)
def test_template_is_a_parameter(name: str) -> None:
    """Every search of images but difference images uses templates by default."""
    pipeline = Pipeline.from_uri(str(FOLDER / f"{name}.yaml"))
    graph = pipeline.to_graph()
    searches = "trailSegmentation" in graph.tasks and name != "DetectTrailsInDifference"
    assert ("template_detector" in graph.dataset_types) == searches
    if searches:
        pipeline.addConfigOverride("parameters", "template_image", "template_matched")
        inputs = data_types(graph)[0] - {"template_detector"} | {"template_matched"}
        assert data_types(pipeline.to_graph())[0] == inputs
        for label in ("trailSegmentation", "trailCandidate"):
            pipeline.addConfigOverride(label, "useTemplate", False)
        assert data_types(pipeline.to_graph())[0] == inputs - {"template_matched"}


def required_inputs(graph: PipelineGraph) -> Iterator[DatasetType]:
    """Yield the dataset types without which a pipeline has nothing to do."""
    for name, node in graph.iter_overall_inputs():
        if node is not None and not all(
            graph.tasks[edge.task_label].is_optional(edge.connection_name)
            for edge in graph.consuming_edges_of(name)
        ):
            yield node.dataset_type


@pytest.fixture(scope="module", params=["some", "none", "not registered"])
def templates(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[bool]]:
    """Return a repository with two visits, and whether each has a template."""
    folder = tmp_path_factory.mktemp("graphs") / "repo"
    butler = open_or_create(folder)
    simulation = Simulation(seed=3, visits=2, shape=(64, 64))
    simulation.register(butler, "input")
    butler.collections.register("input")
    ids = [butler.registry.expandDataId(data_id) for data_id in simulation.data_ids()]
    for name in NAMES:
        graph = Pipeline.from_uri(str(FOLDER / f"{name}.yaml")).to_graph(registry=butler.registry)
        for kind in required_inputs(graph):
            if butler.registry.registerDatasetType(kind):
                wanted = {data_id.subset(kind.dimensions) for data_id in ids}
                butler.registry.insertDatasets(kind, wanted, "input")
    has_template = [request.param == "some", False]
    if request.param != "not registered":
        kind = DatasetType("template_detector", butler.dimensions.conform(DETECTOR), "VisitImage")
        butler.registry.registerDatasetType(kind)
        butler.registry.insertDatasets(
            kind, [i for i, has in zip(ids, has_template, strict=True) if has], "input"
        )
    return folder, has_template


@pytest.mark.parametrize("name", NAMES)
def test_quantum_graph(name: str, templates: tuple[Path, list[bool]]) -> None:
    """Images are searched whether they have a template, and whether the repository knows templates at all."""
    repo, has_template = templates
    butler = SimplePipelineExecutor.prep_butler(str(repo), ["input"], f"output/{name}")
    pipeline = Pipeline.from_uri(str(FOLDER / f"{name}.yaml"))
    predicted = SimplePipelineExecutor.from_pipeline(pipeline, butler=butler).predicted
    assert set(predicted.quanta_by_task) == set(pipeline.task_labels)
    searches = predicted.quanta_by_task.get("trailSegmentation", {})
    quanta = predicted.build_execution_quanta()
    if searches and name != "DetectTrailsInDifference":
        inputs = [quanta[searches[data_id]].inputs["template_detector"] for data_id in sorted(searches)]
        assert [len(refs) == 1 for refs in inputs] == has_template


@pytest.mark.parametrize("name", NAMES)
def test_subsets(name: str) -> None:
    pipeline = Pipeline.from_uri(str(FOLDER / f"{name}.yaml"))
    if name in SUBSETS:
        assert {label: set(tasks) for label, tasks in pipeline.subsets.items()} == SUBSETS[name]
    for label, tasks in pipeline.subsets.items():
        part = Pipeline.from_uri(f"{FOLDER / name}.yaml#{label}").to_graph()
        assert set(part.tasks) == set(tasks)


@pytest.mark.parametrize("name", NAMES)
def test_documented(name: str) -> None:
    content = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    assert content["description"]
    assert all(subset["description"] for subset in content.get("subsets", {}).values())


@pytest.mark.process
def test_graphs_need_no_torch() -> None:
    """Batch systems build graphs on machines that load torch slowly."""
    program = (
        "import sys\n"
        "from lsst.pipe.base import Pipeline\n"
        "for path in sys.argv[1:]:\n"
        "    assert Pipeline.from_uri(path).to_graph().tasks\n"
        "print('torch' in sys.modules)\n"
    )
    paths = [str(FOLDER / f"{name}.yaml") for name in NAMES]
    done = subprocess.run(
        [sys.executable, "-c", program, *paths], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "False"


@pytest.mark.process
def test_pipetask_build(
    run_program: Callable[..., subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEAS_TRAILS_DIR", str(ROOT))
    for where in (ROOT / "pipelines" / "DetectTrails.yaml", "eups://meas_trails/pipelines/DetectTrails.yaml"):
        done = run_program("pipetask", "build", "-p", where, "--show", "pipeline")
        assert done.returncode == 0, done.stderr
        shown = yaml.safe_load(done.stdout)
        assert shown["tasks"]["trailSegmentation"]["class"] == "lsst.meas.trails.tasks.TrailSegmentationTask"


@pytest.mark.parametrize("folder", PRODUCTIONS)
@pytest.mark.parametrize("name", ["DetectTrails", "EvaluateTrails"])
def test_pipelines_of_the_productions(folder: str, name: str) -> None:
    """They have all tasks and subsets of the general pipelines."""
    pipeline = Pipeline.from_uri(str(FOLDER / folder / f"{name}.yaml"))
    general = Pipeline.from_uri(str(FOLDER / f"{name}.yaml"))
    assert set(pipeline.task_labels) == set(general.task_labels)
    assert pipeline.subsets == general.subsets
