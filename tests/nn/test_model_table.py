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

from pathlib import Path

import pyarrow as pa
import pytest

from lsst.meas.trails.nn.model_file import load_model, shipped_model_path
from lsst.meas.trails.nn.model_specification import ModelError
from lsst.meas.trails.nn.model_table import model_from_table, model_to_table, write_table


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return model_to_table(shipped_model_path())


def test_there_and_back(table: pa.Table, tmp_path: Path) -> None:
    model = model_from_table(table, "the table")
    assert model.checksum == load_model(shipped_model_path()).checksum
    write_table(table, tmp_path / "copy.json", "the table")
    weights = model.specification.weights_file
    for name, original in (("copy.json", "direct.json"), (weights, weights)):
        assert (tmp_path / name).read_bytes() == shipped_model_path().with_name(original).read_bytes()
    assert load_model(tmp_path / "copy.json").checksum == model.checksum


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"specification": [b"{}"]}, "0 columns weights"),
        ({"specification": ["{}"], "weights": [b""]}, "specification holds str"),
        ({"specification": [None], "weights": [b""]}, "specification holds NoneType"),
        ({"specification": [b"{}", b"{}"], "weights": [b"", b""]}, "one model"),
        ({"specification": [], "weights": []}, "one model"),
        ({"specification": [b"{"], "weights": [b""]}, "here: "),
        ({"specification": [b"x" * 2_000_000], "weights": [b""]}, "2000000 and 0 bytes"),
    ],
)
def test_other_tables_are_refused(columns: dict[str, list[object]], message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        model_from_table(pa.table(columns), "here")
    with pytest.raises(ModelError, match=message):
        write_table(pa.table(columns), tmp_path / "model.json", "here")
    assert not list(tmp_path.iterdir())


def test_damaged_weights_are_refused(table: pa.Table) -> None:
    weights = bytearray(table["weights"][0].as_py())
    weights[-1] ^= 1
    damaged = pa.table({"specification": table["specification"], "weights": [bytes(weights)]})
    with pytest.raises(ModelError, match="SHA-256"):
        model_from_table(damaged, "here")


def test_a_model_that_is_not_sound_is_not_packed(tmp_path: Path) -> None:
    write_table(model_to_table(shipped_model_path()), tmp_path / "copy.json", "the table")
    path = tmp_path / load_model(tmp_path / "copy.json").specification.weights_file
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelError, match="cut short"):
        model_to_table(tmp_path / "copy.json")
