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

"""Commands that are killed with SIGKILL."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import astropy.io.fits
import numpy as np
import pytest
import yaml

from lsst.daf.butler import Butler
from lsst.meas.trails.core.tiles.reader import TileReader
from lsst.meas.trails.nn.model_file import ModelError, load_model, shipped_model_path
from lsst.meas.trails.repository.butler import IMAGE_DATASET_TYPE, TRUTH_DATASET_TYPE

from support.small import SMALL_NETWORK, write_tile_file

pytestmark = pytest.mark.process


def is_killed(outcome: Any) -> bool:
    return bool(outcome.code == -signal.SIGKILL)


def test_simulate(faulty: Any, tmp_path: Path) -> None:
    """Kill the command after the second truth table and before its image."""

    def content(repo: Path) -> dict[str, list[bytes]]:
        butler = Butler.from_config(repo, collections="input")
        images = [butler.get(ref) for ref in sorted(butler.query_datasets(IMAGE_DATASET_TYPE))]
        truths = [butler.get(ref) for ref in sorted(butler.query_datasets(TRUTH_DATASET_TYPE))]
        return {
            "images": [image.image.array.tobytes() for image in images],
            "truths": [table["x"].tobytes() for table in truths],
        }

    repo = tmp_path / "repo"
    command = ("meas-trails", "simulate", repo, "--detectors", 2, "--size", 64, 96, "--seed", 4)
    outcome = faulty.run(
        *command, killed_in="lsst.daf.butler.direct_butler:DirectButler.put", when=IMAGE_DATASET_TYPE, count=2
    )
    assert is_killed(outcome), outcome.output
    found = content(repo)
    assert (len(found["images"]), len(found["truths"])) == (1, 2)
    # A different simulation is refused.
    other = faulty.run(*command, "--trails", 7)
    assert other.code == 1
    assert re.search(r"'input'.* 3 ", other.output)

    assert "1 images existed already" in faulty.succeed(*command)
    completed = content(repo)
    again = faulty.run(*command)
    assert again.code == 1
    assert re.search(r"'input'.* 4 ", again.output)

    faulty.succeed("meas-trails", "simulate", tmp_path / "whole", *command[3:])
    assert completed == content(tmp_path / "whole")


def test_ingest_fits(faulty: Any, tmp_path: Path) -> None:
    """Kill the command before and after the first image, and with half of the second written."""
    files = []
    for number in (1, 2):
        pixels = np.random.default_rng(number).normal(100.0, 5.0, (64, 80)).astype(np.float32)
        header = astropy.io.fits.Header()
        header.update(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRPIX1=40.5, CRPIX2=32.5, CRVAL2=2.0)
        header.update(CRVAL1=150.0, CD1_1=-7e-5, CD2_2=7e-5, CCDNUM=number, FILTER="r", MAGZPT=28.9, GAIN=2.0)
        header.update({"DATE-OBS": "2024-11-09T05:00:00", "EXPTIME": 60.0})
        files.append(tmp_path / f"{number}.fits")
        astropy.io.fits.PrimaryHDU(pixels, header).writeto(files[-1])
    repo = tmp_path / "repo"
    command = ("meas-trails", "ingest-fits", repo, *files, "--fwhm", 1.0)

    def content(repo: Path) -> list[bytes]:
        butler = Butler.from_config(repo, collections="input")
        refs = butler.query_datasets(IMAGE_DATASET_TYPE, explain=False)
        return [butler.get(ref).image.array.tobytes() for ref in sorted(refs)]

    register = "lsst.daf.butler.registry.sql_registry:SqlRegistry.registerDatasetType"
    assert is_killed(faulty.run(*command, killed_in=register, count=5))
    assert not repo.exists()
    put = "lsst.daf.butler.direct_butler:DirectButler.put"
    assert is_killed(faulty.run(*command, killed_in=put))
    assert content(repo) == []
    transfer = "lsst.resources.file:FileResourcePath.transfer_from"
    assert is_killed(faulty.run(*command, killed_in=transfer, when=IMAGE_DATASET_TYPE, count=2, cut=True))
    assert len(content(repo)) == 1
    # Other options would give another image.
    other = faulty.run(*command, "--zeropoint", 27)
    assert other.code == 1
    assert re.search(r"1\.fits: .*'input'", other.output)

    assert "1 images existed already" in faulty.succeed(*command)
    faulty.succeed(*command[:2], tmp_path / "whole", *command[3:])
    assert content(repo) == content(tmp_path / "whole")
    assert faulty.run(*command).code == 1
    known = [
        sorted(kind.name for kind in Butler.from_config(path).registry.queryDatasetTypes())
        for path in (repo, tmp_path / "whole")
    ]
    assert known[0] == known[1]


@pytest.fixture
def training(faulty: Any, tmp_path: Path) -> tuple[object, ...]:
    """Return a command that trains a small network on simulated tiles."""
    scenes = {"count": 1, "shape": [96, 128], "trails": 4.0, "length": [20.0, 40.0], "snr": [30.0, 60.0]}
    mapping = {
        "model": {"name": "tiny", "hyperparameters": SMALL_NETWORK},
        "data": {
            "simulate": {
                "train": {"seed": 1, **scenes},
                "validation": {"seed": 2, **scenes},
                "tile_size": 64,
            }
        },
        "stages": [{"steps": 4, "batch_size": 2}],
        "checkpoint_steps": 1,
        "threads": 1,
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(mapping))
    return ("meas-trails", "train", tmp_path / "out", "--config", tmp_path / "recipe.yaml")


def test_train(training: tuple[object, ...], faulty: Any, tmp_path: Path) -> None:
    """Kill the command during simulation, during a step, and with half of a file written."""
    output = tmp_path / "out"
    tiles = "lsst.meas.trails.core.hdf5:Hdf5Output.check"
    assert is_killed(faulty.run(*training, killed_in=tiles, count=9))
    assert len(list(output.glob("tiles/*/*.h5"))) == 1
    step = "lsst.meas.trails.training.state:TrainingState.advance"
    assert is_killed(faulty.run(*training, killed_in=step, count=3))
    assert len(list(output.glob("tiles/*/*.h5"))) == 2
    replace = "lsst.meas.trails.core.atomic:os.replace"
    outcome = faulty.run(*training, killed_in=replace, when="checkpoint", cut=True)
    assert is_killed(outcome)
    assert "step 2 of 4" in outcome.output
    for suffix in ("safetensors", "json"):
        outcome = faulty.run(
            *training, killed_in="lsst.meas.trails.core.atomic:os.replace", when=f"tiny.{suffix}", cut=True
        )
        assert is_killed(outcome)
        assert not (output / "tiny.json").exists()

    faulty.succeed(*training)
    trained = load_model(output / "tiny.json").specification
    faulty.succeed(*training[:2], tmp_path / "whole", *training[3:])
    whole = load_model(tmp_path / "whole" / "tiny.json").specification
    # An uninterrupted run gives identical weights.
    assert trained.weights_sha256 == whole.weights_sha256
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "train"] == [1, 2, 3, 4]


def test_tiles_consolidate(faulty: Any, tmp_path: Path) -> None:
    files = [write_tile_file(tmp_path / f"{visit}.h5", visit=visit) for visit in (1, 2, 3)]
    output = tmp_path / "all.h5"
    command = ("meas-trails", "tiles", "consolidate", output, *files)
    assert is_killed(faulty.run(*command, killed_in="lsst.meas.trails.core.hdf5:Hdf5Output.check", count=3))
    assert not output.exists()
    faulty.succeed(*command)
    with TileReader(output) as reader:
        before = reader.pixels("image")
        assert len(reader) == 6
    # With --overwrite the older file is kept.
    half = {"killed_in": "lsst.meas.trails.core.atomic:os.replace", "cut": True}
    assert is_killed(faulty.run(*command, "--overwrite", "--seed", 2, **half))
    with TileReader(output) as reader:
        assert (reader.pixels("image") == before).all()
    faulty.succeed(*command, "--overwrite", "--seed", 2)
    with TileReader(output) as reader:
        assert len(reader.pixels("image")) == 6


def test_model_export(faulty: Any, tmp_path: Path) -> None:
    repo, output = tmp_path / "repo", tmp_path / "copy.json"
    Butler.makeRepo(repo)
    command = ("meas-trails", "model", "export", repo, "models", "-o", output)
    ingest = ("meas-trails", "model", "ingest", "direct", repo, "--run", "models")
    put = "lsst.daf.butler.datastores.fileDatastore:FileDatastore._register_datasets"
    assert is_killed(faulty.run(*ingest, killed_in=put))
    without_model = faulty.run(*command)
    assert without_model.code == 1
    assert "'models'" in without_model.output
    faulty.succeed(*ingest)
    # Neither weights alone nor half of a file are a model.
    replace = "lsst.meas.trails.core.atomic:os.replace"
    assert is_killed(faulty.run(*command, killed_in=replace, when="copy.json", cut=True))
    with pytest.raises(ModelError, match=r"copy\.json"):
        load_model(output)
    faulty.succeed(*command)
    assert load_model(output).checksum == load_model(shipped_model_path()).checksum
