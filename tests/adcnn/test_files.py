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

import os
import resource
from pathlib import Path
from typing import Any

import astropy.table
import h5py
import numpy as np
import pytest

from lsst.meas.trails.adcnn.files import ADCNN_COLUMNS, AdcnnFileError, AdcnnReader, AdcnnWriter

SHAPE = (150, 200)

ROW: dict[str, Any] = {
    "ra": 10.5,
    "dec": -3.25,
    "source_type": "Trail",
    "trail_length": 23.5,
    "mag": 24.5,
    "beta": 77.0,
    "visit": 2025120200123,
    "detector": 94,
    "integrated_mag": 21.1,
    "PSF_mag": 21.9,
    "SNR": 6.5,
    "physical_filter": "r",
    "x": 100,
    "y": 75,
    "SNR_estimation": 7.1,
    "m5_local": 24.1,
    "m5_detector": 24.2,
    "stack_detection": True,
    "stack_mag": 21.5,
    "stack_mag_err": 0.1,
    "stack_snr": 10.0,
    "image_id": 0,
}


def write_hdf5(path: Path, count: int = 3, *, labels: bool = False, **options: Any) -> None:
    """Write images in the documented layout; row 1 is a failed detector."""
    rng = np.random.default_rng(1)
    images = rng.standard_normal((count, *SHAPE), dtype=np.float32)
    images[1] = 0.0
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=images, **options)
        file.create_dataset("masks", data=images > 2.0, **options)
        if labels:
            file.create_dataset("real_labels", data=(images > 1.0).astype(np.uint16) * 7, **options)


def write_csv(path: Path, rows: list[dict[str, Any]], columns: list[str] | None = None) -> None:
    columns = columns or list(ROW)
    lines = [",".join(columns), *(",".join(str(row[name]) for name in columns) for row in rows)]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "train.h5", tmp_path / "train.csv"
    write_hdf5(paths[0])
    write_csv(
        paths[1], [ROW, {**ROW, "image_id": 2, "x": 3, "stack_detection": False}, {**ROW, "image_id": 2}]
    )
    return paths


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunks": (1, 128, 128)},
        {"chunks": (2, 50, 200), "compression": "gzip"},
        {"chunks": (1, 150, 200), "compression": "lzf"},
    ],
)
@pytest.mark.parametrize("labels", [False, True])
def test_images(pair: tuple[Path, Path], options: dict[str, Any], labels: bool) -> None:
    write_hdf5(pair[0], labels=labels, **options)
    with AdcnnReader(*pair) as reader, h5py.File(pair[0]) as file:
        assert (len(reader), reader.shape, reader.has_real_labels) == (3, (3, *SHAPE), labels)
        assert reader.read(1) is None
        for number in (0, 2):
            image = reader.read(number)
            assert image is not None
            np.testing.assert_array_equal(image.image, file["images"][number])
            np.testing.assert_array_equal(image.mask, file["masks"][number])
            assert image.mask.dtype == bool
            if labels:
                np.testing.assert_array_equal(image.real_labels, file["real_labels"][number])
            else:
                assert image.real_labels is None


@pytest.mark.parametrize("last", [22, 19, 15])
def test_layouts_of_the_table(pair: tuple[Path, Path], last: int) -> None:
    """Layouts of 22, 19 or fewer columns lack the last ones but image_id."""
    columns = [*list(ROW)[: last - 1], "image_id"]
    write_csv(pair[1], [ROW, {**ROW, "image_id": 2}], columns)
    with AdcnnReader(*pair) as reader:
        image = reader.read(2)
        assert image is not None
        assert image.trails.colnames == columns
        row = image.trails[0]
        for name in columns:
            assert row[name] == (2 if name == "image_id" else ROW[name])
        assert image.trails["visit"].dtype == np.int64


def test_an_index_column_and_gaps(pair: tuple[Path, Path]) -> None:
    """Read a file that pandas wrote."""
    columns = ["Unnamed: 0", *ROW]
    row = {**ROW, "Unnamed: 0": 0, "stack_mag": "", "stack_detection": "", "physical_filter": ""}
    write_csv(pair[1], [row], columns)
    with AdcnnReader(*pair) as reader:
        (trail,) = reader.trails
    assert np.isnan(trail["stack_mag"])
    assert not trail["stack_detection"]
    assert trail["physical_filter"] == ""
    assert list(reader.trails.colnames) == list(ADCNN_COLUMNS)


def test_images_without_trails(pair: tuple[Path, Path]) -> None:
    pair[1].write_text(",".join(ROW) + "\n")
    with AdcnnReader(*pair) as reader:
        image = reader.read(0)
        assert image is not None
        assert len(image.trails) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mag": "nan"}, "line 3: mag is nan"),
        ({"mag": ""}, "line 3: mag is"),
        ({"mag": "bright"}, "line 3: mag is 'bright'"),
        ({"x": "inf"}, "line 3: x is inf"),
        ({"trail_length": -3.0}, "line 3: trail_length is -3"),
        ({"image_id": 3}, "line 3: image_id is 3; the HDF5 file has 3 images"),
        ({"image_id": -1}, "line 3: image_id is -1"),
    ],
)
def test_invalid_rows_are_refused(pair: tuple[Path, Path], change: dict[str, Any], message: str) -> None:
    write_csv(pair[1], [ROW, {**ROW, **change}])
    with pytest.raises(AdcnnFileError, match=message) as caught:
        AdcnnReader(*pair)
    assert "train.csv" in str(caught.value)


@pytest.mark.parametrize("column", ["image_id", "x", "mag"])
def test_missing_columns(pair: tuple[Path, Path], column: str) -> None:
    write_csv(pair[1], [ROW], [name for name in ROW if name != column])
    with pytest.raises(AdcnnFileError, match=f"train.csv has no column {column}"):
        AdcnnReader(*pair)


def test_a_failed_detector_with_trails(pair: tuple[Path, Path]) -> None:
    write_csv(pair[1], [{**ROW, "image_id": 1}])
    with (
        AdcnnReader(*pair) as reader,
        pytest.raises(AdcnnFileError, match="row 1 .* 1 trails"),
    ):
        reader.read(1)


def test_other_files(pair: tuple[Path, Path]) -> None:
    hdf5, table = pair
    with pytest.raises(AdcnnFileError, match="none.h5"):
        AdcnnReader(hdf5.with_name("none.h5"), table)
    with pytest.raises(AdcnnFileError, match="cannot be opened"):
        AdcnnReader(table, table)
    for name, content, message in (
        ("masks", None, "no array masks"),
        ("masks", np.zeros((3, 5, 5), dtype=bool), "masks has shape"),
        ("images", np.zeros((3, 5)), "no array images"),
        ("real_labels", np.zeros((2, *SHAPE), dtype=np.uint16), "real_labels has shape"),
    ):
        write_hdf5(hdf5)
        with h5py.File(hdf5, "r+") as file:
            file.pop(name, None)
            if content is not None:
                file[name] = content
        with pytest.raises(AdcnnFileError, match=message):
            AdcnnReader(hdf5, table)


@pytest.mark.parametrize("gzip", [False, True])
@pytest.mark.parametrize("labels", [False, True])
def test_round_trip(tmp_path: Path, gzip: bool, labels: bool) -> None:
    rng = np.random.default_rng(2)
    paths = tmp_path / "new.h5", tmp_path / "new.csv"
    images = rng.standard_normal((3, *SHAPE), dtype=np.float32)
    images[0, 3, 4] = np.nan
    trails = astropy.table.Table({"x": [7.9, 150.2], "y": [3.1, 60.0], "beta": [10.0, 170.0]})
    trails["trail_length"], trails["mag"], trails["visit"] = 33.25, 24.125, 2025120200123
    trails["injection_id"] = 4
    with AdcnnWriter(*paths, real_labels=labels, gzip=gzip) as writer:
        for i, image in enumerate(images):
            writer.append(image, image > 1.0, trails[:i], (image > 2.0).astype(np.uint16) if labels else None)
    assert sorted(os.listdir(tmp_path)) == ["new.csv", "new.h5"]
    assert paths[1].read_text().splitlines()[0] == ",".join(ADCNN_COLUMNS)
    with AdcnnReader(*paths) as reader:
        for i in range(3):
            image = reader.read(i)
            assert image is not None
            np.testing.assert_array_equal(image.image, images[i])
            np.testing.assert_array_equal(image.mask, images[i] > 1.0)
            assert (image.real_labels is not None) == labels
            assert len(image.trails) == i
            for row, expected in zip(image.trails, trails, strict=False):
                assert (row["x"], row["y"]) == (int(expected["x"]), int(expected["y"]))
                for name in ("trail_length", "mag", "beta", "visit"):
                    assert row[name] == expected[name]
                assert np.isnan(row["stack_mag"])


def test_images_of_another_shape(tmp_path: Path) -> None:
    def write() -> None:
        with AdcnnWriter(tmp_path / "new.h5", tmp_path / "new.csv") as writer:
            for width in (20, 21):
                writer.append(
                    np.ones((20, width), dtype=np.float32), np.zeros((20, width), bool), astropy.table.Table()
                )

    with pytest.raises(ValueError, match="\\(20, 21\\).*\\(20, 20\\)"):
        write()
    assert os.listdir(tmp_path) == []


def test_a_full_disk(tmp_path: Path) -> None:
    rows = astropy.table.Table({"x": np.arange(2000.0)})

    def write() -> None:
        with AdcnnWriter(tmp_path / "new.h5", tmp_path / "new.csv") as writer:
            for _ in range(10):
                writer.append(np.ones((100, 100), dtype=np.float32), np.zeros((100, 100), bool), rows)

    write()
    sizes = [(tmp_path / name).stat().st_size for name in ("new.h5", "new.csv")]
    for name in ("new.h5", "new.csv"):
        (tmp_path / name).unlink()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (100, 60_000, min(sizes) - 10, max(sizes) - 10):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            with pytest.raises(OSError, match="File too large"):
                write()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert os.listdir(tmp_path) == []
