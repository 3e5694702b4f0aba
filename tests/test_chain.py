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

"""The pipelines from images in a Butler to masks, catalogs and tiles, run by `pipetask`."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import astropy.table
import numpy as np
import pytest
import scipy.ndimage
from click.testing import CliRunner, Result

from lsst.daf.butler import Butler
from lsst.images import Mask
from lsst.meas.trails.cli import main
from lsst.meas.trails.core.catalog.columns import CANDIDATE_COLUMNS, empty_catalog
from lsst.meas.trails.core.tiles.reader import TileReader
from lsst.meas.trails.core.tiles.writer import TrailTiles
from lsst.meas.trails.nn.model_file import load_model, save_model, shipped_model_path
from lsst.meas.trails.repository.butler import open_or_create
from lsst.meas.trails.sim.simulation import Simulation
from lsst.pipe.base import InvalidQuantumError, Pipeline, QuantumSuccessCaveats
from lsst.pipe.base.simple_pipeline_executor import SimplePipelineExecutor

PIPELINES = Path(__file__).resolve().parents[1] / "pipelines"
WITH_METADATA = {"strip_astropy_meta_yaml": False}
"""Parameters of a Butler's `get` that keep the metadata of a table."""


def detectors_of(butler: Butler, dataset_type: str) -> list[int]:
    """Return the detectors with a dataset of a type."""
    refs = butler.query_datasets(dataset_type, explain=False)
    return sorted(ref.dataId["detector"] for ref in refs)


@pytest.fixture(scope="module")
def detected(chain: Any) -> Butler:
    butler: Butler = chain.butler(chain.detected)
    return butler


@pytest.fixture(scope="module")
def training(chain: Any) -> Butler:
    butler: Butler = chain.butler(chain.training)
    return butler


def candidates_of(chain: Any, butler: Butler, detector: int) -> astropy.table.Table:
    return butler.get("trail_candidate_detector", chain.data_id(detector), parameters=WITH_METADATA)


def test_outputs_exist_except_for_the_image_without_good_pixels(detected: Butler, training: Butler) -> None:
    for name in ("trail_probability", "trail_mask", "trail_candidate_detector"):
        assert detectors_of(detected, name) == [0, 1], name
    assert len(detected.query_datasets("trail_candidate")) == 1
    for name in (
        "injected_preliminary_visit_image",
        "injected_preliminary_visit_image_catalog",
        "injected_trail_mask",
        "trail_tiles",
    ):
        assert detectors_of(training, name) == [0, 1], name


@pytest.mark.parametrize("label", ["trailSegmentation", "injectTrails"])
def test_image_without_good_pixels_is_reported(
    chain: Any, detected: Butler, training: Butler, label: str
) -> None:
    """The quantum succeeds without outputs and logs the reason."""
    butler = detected if label == "trailSegmentation" else training
    quantum = butler.get(f"{label}_metadata", chain.data_id(2))["quantum"]
    caveats = QuantumSuccessCaveats(int(quantum["caveats"]))
    assert QuantumSuccessCaveats.UPSTREAM_FAILURE_NO_WORK in caveats
    assert QuantumSuccessCaveats.ALL_OUTPUTS_MISSING in caveats
    log = butler.get(f"{label}_log", chain.data_id(2))
    assert any("The image has no good pixel" in record.message for record in log)


def test_mask(chain: Any, detected: Butler) -> None:
    image = detected.get("preliminary_visit_image", chain.data_id(1))
    mask = detected.get("trail_mask", chain.data_id(1))
    probability = detected.get("trail_probability", chain.data_id(1))
    assert isinstance(mask, Mask)
    assert mask.bbox == probability.bbox == image.bbox
    metadata = detected.get("trailSegmentation_metadata", chain.data_id(1))["trailSegmentation"]
    pixels = mask.get("TRAIL")
    assert np.count_nonzero(pixels) == metadata["trailPixels"] > 0
    # Compression changes the probabilities only slightly.
    assert probability.array[pixels].min() > 0.0
    for row in detected.get("simulated_trail_catalog", chain.data_id(1)):
        assert pixels[round(row["y"]), round(row["x"])]


def test_bright_trails_are_in_the_catalog(chain: Any, detected: Butler, bright_trails: Any) -> None:
    catalog = candidates_of(chain, detected, 1)
    for x, y, length, _, _ in bright_trails:
        distance = np.hypot(catalog["x"] - x, catalog["y"] - y)
        candidate = catalog[np.argmin(distance)]
        assert distance.min() < 2.0
        assert candidate["trailLengthPix"] == pytest.approx(length, rel=0.15)
        assert candidate["snr"] > 30.0


def test_catalogs(chain: Any, detected: Butler) -> None:
    catalogs = [candidates_of(chain, detected, detector) for detector in (0, 1)]
    packed = 0
    for detector, catalog in enumerate(catalogs):
        assert catalog.colnames == list(CANDIDATE_COLUMNS)
        assert set(catalog["detector"]) <= {detector}
        assert set(catalog["visit"]) <= {chain.visit}
        for name, (_, unit, _) in CANDIDATE_COLUMNS.items():
            assert catalog[name].unit == unit
        packed += len(catalog)
    visit = detected.get("trail_candidate", chain.data_id(1), parameters=WITH_METADATA)
    assert len(visit) == packed == len(set(visit["trailCandidateId"]))
    together = astropy.table.vstack(catalogs, metadata_conflicts="silent")
    np.testing.assert_array_equal(visit["trailCandidateId"], together["trailCandidateId"])
    schema = detected.get("trail_candidate_schema", parameters=WITH_METADATA)
    assert len(schema) == 0
    for name, (_, unit, description) in CANDIDATE_COLUMNS.items():
        assert (schema[name].dtype, schema[name].unit) == (empty_catalog()[name].dtype, unit)
        assert schema[name].description == description
    # The third detector has no catalog.
    assert visit.meta["nDetectors"] == 2


def test_catalogs_name_the_model(chain: Any, detected: Butler) -> None:
    loaded = load_model(shipped_model_path())
    specification = loaded.specification
    model = {
        "name": specification.name,
        "version": specification.version,
        "sha256": loaded.checksum,
    }
    assert candidates_of(chain, detected, 1).meta["trailModel"] == model
    visit = detected.get("trail_candidate", chain.data_id(1), parameters=WITH_METADATA)
    assert visit.meta["trailModel"] == model
    mask = detected.get("trail_mask", chain.data_id(1))
    assert mask.metadata["TRAIL_MODEL_SHA256"] == loaded.checksum


def test_injection(chain: Any, training: Butler) -> None:
    data_id = chain.data_id(1)
    before = training.get("preliminary_visit_image", data_id)
    after = training.get("injected_preliminary_visit_image", data_id)
    catalog = training.get("injected_preliminary_visit_image_catalog", data_id)
    mask = training.get("injected_trail_mask", data_id)
    assert len(catalog) > 0
    added = after.image.array.astype(np.float64) - before.image.array
    brightest = catalog[np.argmax(catalog["snr_optimal"])]
    pixels = mask.get("TRAIL")
    assert pixels[int(brightest["y"]), int(brightest["x"])]
    assert added[pixels].mean() > 3.0 * abs(added[~pixels].mean())
    # Each image has its own trails.
    other = training.get("injected_preliminary_visit_image_catalog", chain.data_id(0))
    assert not set(catalog["x"]) & set(other["x"])


def test_tiles(chain: Any, training: Butler) -> None:
    data_id = chain.data_id(1)
    tiles = training.get("trail_tiles", data_id)
    image = training.get("injected_preliminary_visit_image", data_id).image.array
    assert isinstance(tiles, TrailTiles)
    assert len(tiles) > 0
    assert tiles.source.data_id == data_id
    row = tiles.table[0]
    part = image[row["y0"] : row["y0"] + 256, row["x0"] : row["x0"] + 256]
    np.testing.assert_array_equal(tiles.pixels["image"][0, : part.shape[0], : part.shape[1]], part)
    assert np.any(tiles.pixels["truth"] == 1)
    # Training reads the file directly.
    uri = training.getURI("trail_tiles", data_id)
    with TileReader(uri.ospath) as reader:
        assert len(reader) == len(tiles)
        assert np.any(reader.read(0).truth == tiles.pixels["truth"][0])


def test_detection_on_injected_images(chain: Any) -> None:
    """One parameter and one subset of the pipeline select the input."""
    butler = chain.butler(chain.injected)
    assert detectors_of(butler, "trail_candidate_detector") == [1]
    assert not butler.query_datasets("trail_candidate", explain=False)


def test_second_run_does_nothing(
    chain: Any, pipetask_run: Callable[..., Result], caplog: pytest.LogCaptureFixture
) -> None:
    """The image without good pixels counts as done, too."""
    before = sorted(ref.id for ref in chain.butler(chain.detected).query_datasets("trail_mask"))
    done = pipetask_run(
        "-b", chain.repo, "-p", PIPELINES / "DetectTrails.yaml", "-i", "input",
        "-o", chain.detected, "--extend-run", "--skip-existing-in", chain.detected,
    )  # fmt: skip
    # A pipeline with no quanta left is an error to pipetask.
    assert "trailSegmentation because no quanta remain (3 previously succeeded and skipped)" in caplog.text
    assert "QuantumGraph was empty" in done.output
    assert sorted(ref.id for ref in chain.butler(chain.detected).query_datasets("trail_mask")) == before


def execute(
    repo: Path,
    output: str,
    *more: str,
    part: str = "trailSegmentation",
    detectors: tuple[int, ...] = (1, 2),
    **settings: Any,
) -> SimplePipelineExecutor:
    """Return an executor of segmentation, or more, for some detectors."""
    butler = SimplePipelineExecutor.prep_butler(str(repo), inputs=["input", *more], output=output)
    pipeline = Pipeline.from_uri(f"{PIPELINES / 'DetectTrails.yaml'}#{part}")
    for name, value in settings.items():
        pipeline.addConfigOverride("trailSegmentation", name, value)
    return SimplePipelineExecutor.from_pipeline(
        pipeline,
        butler=butler,
        where=f"instrument = 'TrailSimCam' AND detector IN ({', '.join(map(str, detectors))})",
    )


def test_model_that_cannot_be_used_leaves_nothing(fresh_repo: Any, tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_bytes(shipped_model_path().read_bytes()[:-100])
    executor = execute(fresh_repo.repo, "trails/broken", model=str(broken))
    with pytest.raises((InvalidQuantumError, SystemExit)):
        executor.run(register_dataset_types=True)
    butler = fresh_repo.butler("trails/broken")
    for name in ("trail_mask", "trail_probability"):
        assert detectors_of(butler, name) == []
    assert not list(fresh_repo.repo.glob("trails/broken/**/*trail_mask*.fits"))
    # The next run, with a good model, succeeds.
    execute(fresh_repo.repo, "trails/good").run()
    assert detectors_of(fresh_repo.butler("trails/good"), "trail_mask") == [1]


def test_model_of_the_butler(fresh_repo: Any, tmp_path: Path) -> None:
    """A model in the inputs replaces the shipped model; the outputs name the model used."""
    shipped = load_model(shipped_model_path())
    mine = shipped.specification.replace(name="mine", version="7", second_stage=None, score={})
    save_model(tmp_path / "mine", shipped.network, mine)
    done = CliRunner().invoke(main, ["model", "ingest", str(tmp_path / "mine.json"), str(fresh_repo.repo)])
    assert done.exit_code == 0, done.output
    for more, name in ((["models/mine/7"], "mine"), ([], shipped.specification.name)):
        output = f"trails/{name}"
        execute(fresh_repo.repo, output, *more, part="perDetector").run(register_dataset_types=True)
        butler = fresh_repo.butler(output)
        mask = butler.get("trail_mask", fresh_repo.data_id(1))
        assert mask.metadata["TRAIL_MODEL_NAME"] == name
        metadata = butler.get("trailSegmentation_metadata", fresh_repo.data_id(1))["trailSegmentation"]
        assert metadata["trailModel"].split()[0] == name
        version = {"mine": "7"}.get(name, shipped.specification.version)
        assert candidates_of(fresh_repo, butler, 1).meta["trailModel"] == {
            "name": name,
            "version": version,
            # The checksum covers weights and specification.
            "sha256": mask.metadata["TRAIL_MODEL_SHA256"],
        }
    assert mask.metadata["TRAIL_MODEL_SHA256"] == shipped.checksum


@pytest.fixture(scope="module")
def template_repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with a visit of which the first of two detectors has a template."""
    repo = tmp_path_factory.mktemp("template") / "repo"
    butler = open_or_create(repo)
    WITH_TEMPLATE.register(butler, "input")
    WITH_TEMPLATE.put(butler, "input", 0, 0)
    dataclasses.replace(WITH_TEMPLATE, template=False).put(butler, "input", 0, 1)
    return repo


WITH_TEMPLATE = Simulation(seed=8, detectors=2, shape=(200, 256), trails=4, template=True)


def test_detection_with_templates(template_repo: Path, pipetask_run: Callable[..., Result]) -> None:
    """Each detector is searched with the model for what it has; all outputs say so."""
    done = pipetask_run(
        "-b", template_repo, "-p", PIPELINES / "DetectTrails.yaml", "-i", "input", "-o", "trails",
        "--register-dataset-types",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    results = Butler.from_config(template_repo, collections="trails")
    for data_id, name in zip(WITH_TEMPLATE.data_ids(), ("template", "direct"), strict=True):
        mask = results.get("trail_mask", data_id).metadata
        catalog = results.get("trail_candidate_detector", data_id, parameters=WITH_METADATA)
        metadata = results.get("trailSegmentation_metadata", data_id)["trailSegmentation"]
        assert mask["TRAIL_MODEL_NAME"] == name
        assert metadata["trailModel"].split()[0] == name
        assert catalog.meta["trailModel"] == {
            "name": name,
            "version": mask["TRAIL_MODEL_VERSION"],
            "sha256": mask["TRAIL_MODEL_SHA256"],
        }
        score = load_model(shipped_model_path(name)).specification.score
        assert catalog.meta["scoreAtFalsePerDetector"] == score["at_false_per_detector"]
        assert {text.split()[0] for text in catalog["reliabilityVersion"]} == {name}
        covered = catalog.meta["templateCoverage"]
        assert (covered > 0.5) == (name == "template")
        assert covered == mask["TRAIL_TEMPLATE_COVERAGE"] == metadata["templateCoverage"]
    visit = results.get("trail_candidate", WITH_TEMPLATE.data_ids()[0], parameters=WITH_METADATA)
    assert (visit.meta["nDetectors"], visit.meta["nDetectorsWithTemplate"]) == (2, 1)
    assert "trailModel" not in visit.meta
    assert visit.meta["scoreAtFalsePerDetector"]["10"] > 0.0


def test_one_model_with_and_without_templates(template_repo: Path) -> None:
    """A model of the Butler with template channels replaces both configured ones."""
    done = CliRunner().invoke(
        main, ["model", "ingest", "template", str(template_repo), "--run", "models/one"]
    )
    assert done.exit_code == 0, done.output
    execute(template_repo, "trails/one", "models/one", part="perDetector", detectors=(0, 1)).run(
        register_dataset_types=True
    )
    results = Butler.from_config(template_repo, collections="trails/one")
    for data_id, has_template in zip(WITH_TEMPLATE.data_ids(), (True, False), strict=True):
        catalog = results.get("trail_candidate_detector", data_id, parameters=WITH_METADATA)
        assert catalog.meta["trailModel"]["name"] == "template"
        assert (catalog.meta["templateCoverage"] > 0.5) == has_template


def test_template_that_was_not_made(template_repo: Path, tmp_path: Path) -> None:
    """The template was expected when the graph was built, and is missing when it runs."""
    repo = tmp_path / "repo"
    shutil.copytree(template_repo, repo)
    executor = execute(repo, "trails/without", detectors=(0,))
    butler = Butler.from_config(repo, writeable=True)
    butler.pruneDatasets(
        butler.query_datasets("template_detector", "input"), purge=True, unstore=True, disassociate=True
    )
    executor.run(register_dataset_types=True)
    (ref,) = butler.query_datasets("trail_mask", "trails/without")
    assert butler.get(ref).metadata["TRAIL_MODEL_NAME"] == "direct"


def test_detection_in_differences(tmp_path: Path) -> None:
    """Trails are found among negative sources and dipoles, which are not candidates."""
    repo = tmp_path / "repo"
    butler = open_or_create(repo)
    with_trails = Simulation(seed=12, detectors=2, shape=(300, 400), trails=6, difference=True)
    with_trails.register(butler, "input")
    with_trails.put(butler, "input", 0, 0)
    dataclasses.replace(with_trails, trails=0).put(butler, "input", 0, 1)
    SimplePipelineExecutor.from_pipeline(
        Pipeline.from_uri(str(PIPELINES / "DetectTrailsInDifference.yaml")),
        butler=SimplePipelineExecutor.prep_butler(str(repo), inputs=["input"], output="trails"),
    ).run(register_dataset_types=True)
    results = Butler.from_config(repo, collections="trails")
    catalogs = []
    for data_id in with_trails.data_ids():
        assert results.get("trail_mask", data_id).metadata["TRAIL_MODEL_NAME"] == "difference"
        mask = results.get("difference_image", data_id).mask
        negative, positive = mask.get("DETECTED_NEGATIVE"), mask.get("DETECTED")
        # Entire sources, some of them next to a positive one.
        assert np.count_nonzero(negative) > 50
        assert np.any(positive & scipy.ndimage.binary_dilation(negative))
        catalogs.append(results.get("trail_candidate_detector", data_id))
    for row in results.get("simulated_trail_catalog", with_trails.data_ids()[0]):
        if row["snr_optimal"] > 15.0:
            distance = np.hypot(catalogs[0]["x"] - row["x"], catalogs[0]["y"] - row["y"])
            assert distance.min() < 5.0
    assert np.count_nonzero(catalogs[0]["score"] > 0.5) >= 2
    # A satellite crosses the second image.
    others = catalogs[1][~catalogs[1]["streakFlag"]]
    assert not np.any(others["score"] > 0.5)
    assert len(results.query_datasets("trail_candidate")) == 1


def test_probability_can_be_left_out(fresh_repo: Any) -> None:
    execute(fresh_repo.repo, "trails/mask", writeProbability=False).run(register_dataset_types=True)
    butler = fresh_repo.butler("trails/mask")
    assert detectors_of(butler, "trail_mask") == [1]
    assert not butler.registry.queryDatasetTypes("trail_probability")
