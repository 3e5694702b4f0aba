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

"""The commands that summarize, join, import and export tile files."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from lsst.meas.trails.adcnn.files import AdcnnReader
from lsst.meas.trails.cli import main
from lsst.meas.trails.core.tiles.reader import TileReader
from lsst.meas.trails.core.tiles.writer import TrailTiles
from lsst.meas.trails.training.dataset import TrailTileDataset
from lsst.meas.trails.training.scenes import TrainingScenes, simulate_tile_file


def invoke(*args: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["tiles", *(str(arg) for arg in args)])
    # Errors are messages, not tracebacks.
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


def test_export_and_import(chain: Any, tmp_path: Path) -> None:
    """Pixels, masks and rows survive a round trip."""
    pair = tmp_path / "train.h5", tmp_path / "train.csv"
    code, output = invoke("export-adcnn", chain.repo, chain.training, *pair)
    assert code == 0, output
    # The third image is NaN: nothing was injected into it.
    assert "2 images with" in output
    butler = chain.butler(chain.training)
    expected = []
    for detector in (0, 1):
        data_id = chain.data_id(detector)
        expected.append(
            (
                butler.get("injected_preliminary_visit_image", data_id),
                butler.get("injected_trail_mask", data_id).get("TRAIL"),
                butler.get("injected_preliminary_visit_image_catalog", data_id),
            )
        )
    with AdcnnReader(*pair) as reader:
        assert len(reader) == 2
        for number, (image, mask, catalog) in enumerate(expected):
            adcnn = reader.read(number)
            assert adcnn is not None
            np.testing.assert_array_equal(adcnn.image, image.image.array)
            np.testing.assert_array_equal(adcnn.mask, mask)
            assert len(adcnn.trails) == len(catalog) > 0
            for row, trail in zip(adcnn.trails, catalog, strict=True):
                assert (row["x"], row["y"]) == (int(trail["x"]), int(trail["y"]))
                assert (row["image_id"], row["visit"], row["detector"]) == (number, chain.visit, number)
                assert row["physical_filter"] == "r"
                for name in ("ra", "dec", "mag", "trail_length", "beta", "SNR", "integrated_mag"):
                    assert row[name] == trail[name]

    tiles = tmp_path / "tiles"
    options = ("--tile-size", 64, "--empty-fraction", 1, "--ignore-below-snr", 0, "--fwhm", 4)
    code, output = invoke("import-adcnn", *pair, tiles, *options)
    assert code == 0, output
    assert "2 images with" in output
    names = sorted(os.listdir(tiles))
    assert names == ["train_000000.h5", "train_000001.h5"]
    for name, (image, mask, catalog) in zip(names, expected, strict=True):
        made = TrailTiles.read(tiles / name)
        covered = np.zeros(mask.shape, dtype=bool)
        for i, row in enumerate(made.table):
            part = slice(row["y0"], row["y0"] + 64), slice(row["x0"], row["x0"] + 64)
            np.testing.assert_array_equal(made.pixels["image"][i], image.image.array[part])
            np.testing.assert_array_equal(made.pixels["truth"][i], mask[part])
            covered[part] = True
        assert covered.all()
        np.testing.assert_array_equal(np.floor(made.catalog["x"]), np.trunc(catalog["x"]))
        np.testing.assert_array_equal(made.catalog["mag"], catalog["mag"])
        np.testing.assert_allclose(made.catalog["flux"], catalog["flux"], rtol=1e-6)

    # Existing files are not overwritten by default.
    code, output = invoke("export-adcnn", chain.repo, chain.training, *pair)
    assert code == 1
    assert "train.h5 exists" in output
    code, output = invoke("import-adcnn", *pair, tiles, *options)
    assert code == 1
    assert "train_000000.h5 exists" in output
    (tiles / names[1]).unlink()
    code, output = invoke("import-adcnn", *pair, tiles, *options, "--resume")
    assert code == 0
    assert "1 tile files existed" in output
    assert sorted(os.listdir(tiles)) == names


def test_export_from_missing_collections(chain: Any, tmp_path: Path) -> None:
    pair = tmp_path / "train.h5", tmp_path / "train.csv"
    for arguments, message in (
        ((tmp_path / "none", chain.training), "Butler repository"),
        ((chain.repo, "nothing"), "'nothing'"),
        ((chain.repo, chain.detected), "pipelines/MakeTrainingSet.yaml"),
        ((chain.repo, chain.training, "--where", "detector = 77"), "where detector = 77"),
        ((chain.repo, chain.training, "--where", "detector ="), "where detector ="),
    ):
        code, output = invoke("export-adcnn", *arguments[:2], *pair, *arguments[2:])
        assert code == 1, output
        assert message in output
        assert not any("train" in name for name in os.listdir(tmp_path))


def test_import_of_unusable_images(tmp_path: Path) -> None:
    hdf5, table, tiles = (tmp_path / name for name in ("train.h5", "train.csv", "tiles"))
    image = np.random.default_rng(1).standard_normal((2, 128, 128), dtype=np.float32)
    with h5py.File(hdf5, "w") as file:
        file["images"], file["masks"] = image, image > 3.0
    table.write_text("image_id,x,y,trail_length,beta,mag\n0,50,60,20,10,nan\n")
    code, output = invoke("import-adcnn", hdf5, table, tiles)
    assert code == 1
    assert "train.csv, line 2: mag is nan" in output
    table.write_text("image_id,x,y,trail_length,beta,mag\n0,50,60,20,10,24\n")
    code, output = invoke("import-adcnn", hdf5, table, tiles, "--first", 1)
    assert code == 1
    assert "train.h5, row 1" in output
    assert os.listdir(tiles) == []
    code, output = invoke("import-adcnn", hdf5, table, tiles, "--overlap", 256)
    assert code == 2
    assert "--overlap" in output


@pytest.mark.parametrize("command", ["export-adcnn", "import-adcnn"])
def test_help(command: str) -> None:
    code, output = invoke(command, "--help")
    assert code == 0
    assert "Asteroid_detection_CNN" in output


def write_scenes(folder: Path, count: int = 4) -> list[Path]:
    """Write the tile files of small simulated scenes."""
    scenes = TrainingScenes(seed=7, count=count, shape=(96, 128), trails=2.0)
    paths = [folder / f"scene{number}.h5" for number in range(count)]
    for number, path in enumerate(paths):
        simulate_tile_file(scenes, number, path, 32)
    return paths


def test_describe(tmp_path: Path) -> None:
    (path,) = write_scenes(tmp_path, 1)
    tiles = TrailTiles.read(path)
    code, output = invoke("describe", path)
    assert code == 0
    assert f"{len(tiles)} of 32 x 32 pixels" in output
    assert f"{np.count_nonzero(tiles.table['tile_class'] == 1)} missed" in output
    assert "simulation TrainingScenes, seed 7, scene 0" in output
    code, output = invoke("describe", path, "--json")
    summary = json.loads(output)
    assert summary["tiles"] == sum(summary["classes"].values()) == len(tiles)
    assert summary["images"][0]["data_id"] == tiles.source.data_id
    assert summary["images"][0]["config"] == tiles.source.config
    trails = np.asarray(tiles.catalog["source_type"]) == "Trail"
    assert summary["images"][0]["trails"] == np.count_nonzero(trails)
    assert summary["images"][0]["distractors"] == np.count_nonzero(~trails)
    code, output = invoke("describe", tmp_path / "none.h5")
    assert code == 1
    assert "none.h5" in output


def test_consolidate_files(tmp_path: Path) -> None:
    paths = write_scenes(tmp_path)
    output = tmp_path / "set.h5"
    code, text = invoke("consolidate", output, *paths, "--fractions", 0.5, 0.25, 0.25, "--virtual")
    assert code == 0, text
    manifest = json.loads((tmp_path / "set.manifest.json").read_text())
    assert {name: row["images"] for name, row in manifest["splits"].items()} == {
        "train": 2, "validation": 1, "test": 1
    }  # fmt: skip
    assert manifest["seed"] == 1
    dataset = TrailTileDataset([f"{output}#train"], ("science", "bad"))
    assert len(dataset) == manifest["splits"]["train"]["tiles"]
    assert dataset[0][0].shape == (2, 32, 32)
    code, text = invoke("describe", output)
    assert "in other files" in text
    assert "by groups that share visit or sky" in text
    code, text = invoke("consolidate", output, *paths)
    assert code == 1
    assert "set.h5 exists" in text
    code, text = invoke("consolidate", output, *paths[:2], "--overwrite")
    assert code == 1
    assert "2 independent groups" in text
    assert "--drop-overlaps" in text


def test_consolidate_a_collection(chain: Any, tmp_path: Path) -> None:
    """Two detectors of one visit cannot be split."""
    where = ("--repo", chain.repo, "--collection", chain.training)
    code, text = invoke("consolidate", tmp_path / "set.h5", *where)
    assert code == 1
    assert "1 independent groups" in text
    code, text = invoke("consolidate", tmp_path / "set.h5", *where, "--fractions", 0, 0, 1)
    assert code == 0, text
    with TileReader(f"{tmp_path / 'set.h5'}#test") as reader:
        assert {reader.source(number).data_id["detector"] for number in range(2)} == {0, 1}
        assert np.all(np.isfinite(reader.table["ra"]))
    for arguments in ((), ("--repo", chain.repo), (*where, tmp_path / "set.h5")):
        code, text = invoke("consolidate", tmp_path / "other.h5", *arguments)
        assert code == 2
        assert "FILES" in text.partition("Error:")[2]


@pytest.mark.process
@pytest.mark.parametrize(
    "arguments",
    [
        ("tiles", "consolidate", "out.h5", "text.h5"),
        ("tiles", "consolidate", "out.h5", "cut.h5"),
        ("tiles", "import-adcnn", "text.h5", "table.csv", "tiles"),
    ],
)
def test_commands_end_after_an_error(
    run_program: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
) -> None:
    """A thread of a progress bar would keep the process from ending."""
    (path,) = write_scenes(tmp_path, 1)
    (tmp_path / "cut.h5").write_bytes(path.read_bytes()[:-2000])
    for name in ("text.h5", "table.csv"):
        (tmp_path / name).write_text("no such file\n")
    monkeypatch.chdir(tmp_path)
    done = run_program("meas-trails", *arguments)
    assert done.returncode == 1
    assert "Error: " in done.stderr
    assert any(name in done.stderr for name in arguments[2:])
    assert "Traceback" not in done.stderr


@pytest.mark.process
def test_file_that_another_process_writes(
    run_program: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    (path,) = write_scenes(tmp_path, 1)
    command = ("meas-trails", "tiles", "describe", path)
    with path.open("r+b") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        done = run_program(*command)
    assert done.returncode == 1
    assert "another process" in done.stderr
    assert run_program(*command).returncode == 0
