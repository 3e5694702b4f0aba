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

"""Inputs that are truncated or have changed bytes."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import astropy.table
import h5py
import numpy as np
import pytest

from lsst.daf.butler import Butler, DatasetType
from lsst.meas.trails.adcnn.files import ADCNN_COLUMNS, AdcnnFileError, AdcnnReader
from lsst.meas.trails.nn.model_file import shipped_model_path
from lsst.meas.trails.nn.model_table import model_to_table
from lsst.meas.trails.repository.butler import open_or_create
from lsst.meas.trails.sim.simulation import Simulation
from lsst.meas.trails.training.checkpoint import CheckpointError, read_checkpoint
from lsst.meas.trails.training.dataset import TrailTileDataset
from lsst.meas.trails.training.recipe import Recipe
from lsst.meas.trails.training.trainer import CHECKPOINT_NAME, train
from lsst.pipe.base import Pipeline
from lsst.pipe.base.simple_pipeline_executor import SimplePipelineExecutor
from lsst.sphgeom import HtmPixelization, LonLat, UnitVector3d

from support.small import SMALL_NETWORK, write_tile_file

_PIPELINES = Path(__file__).parents[2] / "pipelines"


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with an image and every optional input of the tasks."""
    repo = tmp_path_factory.mktemp("damaged") / "repo"
    butler = open_or_create(repo)
    simulation = Simulation(seed=8, shape=(128, 160), trails=0.0, template=True)
    simulation.register(butler, "input")
    simulation.put(butler, "input", 0, 0)
    (image,) = butler.query_datasets("preliminary_visit_image", "input")
    sky = butler.get(image).sky_projection.pixel_to_sky(x=80.0, y=64.0)
    catalog = astropy.table.Table({"ra": [sky.ra.deg], "dec": [sky.dec.deg], "source_type": ["Trail"]})
    catalog["mag"], catalog["trail_length"], catalog["beta"] = 24.0, 20.0, 30.0
    trixel = HtmPixelization(7).index(UnitVector3d(LonLat.fromDegrees(sky.ra.deg, sky.dec.deg)))
    for name, storage_class, content, data_id in (
        ("injection_catalog", "ArrowAstropy", catalog, {"htm7": trixel, "band": "r"}),
        ("trail_model", "ArrowTable", model_to_table(shipped_model_path()), {}),
    ):
        kind = DatasetType(name, butler.dimensions.conform(list(data_id)), storage_class)
        butler.registry.registerDatasetType(kind)
        butler.collections.register(name)
        butler.put(content, kind, data_id, run=name)
    return repo


@contextlib.contextmanager
def cut(path: Path) -> Iterator[None]:
    """Truncate a file by a third within a context."""
    whole = path.read_bytes()
    path.write_bytes(whole[: 2 * len(whole) // 3])
    yield
    path.write_bytes(whole)


@pytest.mark.parametrize(
    ("name", "run", "pipeline", "output"),
    [
        ("preliminary_visit_image", "input", "DetectTrails.yaml#trailSegmentation", "trail_mask"),
        ("template_detector", "input", "DetectTrails.yaml#trailSegmentation", "trail_mask"),
        ("trail_model", "trail_model", "DetectTrails.yaml#trailSegmentation", "trail_mask"),
        (
            "injection_catalog",
            "injection_catalog",
            "MakeTrainingSet.yaml#injectTrails",
            "injected_preliminary_visit_image",
        ),
    ],
)
def test_dataset_cut_short(name: str, run: str, pipeline: str, output: str, repo: Path) -> None:
    """The quantum fails and names the file; with the file restored the pipeline succeeds."""
    collection = f"without/{name}"

    def execute(part: str) -> None:
        # Names of runs differ by the second, in which two may start.
        butler = SimplePipelineExecutor.prep_butler(str(repo), ["input", run], f"{collection}/{part}")
        graph = Pipeline.from_uri(f"{_PIPELINES / pipeline}")
        SimplePipelineExecutor.from_pipeline(graph, butler=butler).run(True, save_versions=False)

    def written() -> list[Any]:
        butler = Butler.from_config(repo)
        runs = butler.collections.query(f"{collection}/*/*")
        return [butler.get(ref) for ref in butler.query_datasets(output, runs, explain=False)]

    butler = Butler.from_config(repo)
    path = Path(butler.getURI(butler.query_datasets(name, run)[0]).ospath)
    with cut(path), pytest.raises(Exception, match=re.escape(path.name)):
        execute("cut")
    assert written() == []
    execute("whole")
    assert len(written()) == 1


@pytest.mark.parametrize("name", ["train.h5", "train.csv"])
def test_adcnn_file_cut_short(name: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "train.h5", "w") as file:
        file["images"] = np.ones((2, 32, 32), dtype=np.float32)
        file["masks"] = np.zeros((2, 32, 32), dtype=bool)
    values = dict.fromkeys(ADCNN_COLUMNS, "")
    values.update(trail_length="10.0", mag="24.5", beta="30.0", x="12", y="15", image_id="1")
    lines = [",".join(ADCNN_COLUMNS), *[",".join(values.values())] * 2]
    (tmp_path / "train.csv").write_text("\n".join(lines))
    paths = (tmp_path / "train.h5", tmp_path / "train.csv")
    with cut(tmp_path / name), pytest.raises(AdcnnFileError, match=re.escape(str(tmp_path / name))):
        AdcnnReader(*paths)
    with AdcnnReader(*paths) as reader:
        assert len(reader.trails) == 2


def test_checkpoint_of_changed_bytes(tmp_path: Path) -> None:
    """A change of any byte is detected; an intact copy resumes."""
    tiles = write_tile_file(tmp_path / "tiles.h5")
    recipe = Recipe.from_mapping(
        {
            "model": {"name": "tiny", "hyperparameters": SMALL_NETWORK},
            "data": {"train": [str(tiles)], "tiles_per_epoch": 4},
            "stages": [{"steps": 4, "batch_size": 2}],
            "threads": 1,
        }
    )

    def run(stop_after: int) -> None:
        dataset = TrailTileDataset([str(tiles)], recipe.model.channels, seed=recipe.seed, stride=2)
        train(recipe, dataset, None, tmp_path / "out", progress=False, device="cpu", stop_after=stop_after)

    run(2)
    path, copy = tmp_path / "out" / CHECKPOINT_NAME, tmp_path / "copy"
    shutil.copy(path, copy)
    content = copy.read_bytes()
    # Among the numbers, in the middle and at the end, and in the texts.
    places = [len(content) // 2, len(content) - 1, content.index(b"digest") + 12, content.index(b'"step') + 9]
    for place in places:
        changed = bytearray(content)
        changed[place] ^= 0x01
        path.write_bytes(changed)
        with pytest.raises(CheckpointError, match=re.escape(str(path))):
            run(3)
    shutil.copy(copy, path)
    run(3)
    assert read_checkpoint(path).scalars["step"] == 3
