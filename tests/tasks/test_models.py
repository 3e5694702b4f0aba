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

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from lsst.meas.trails.nn.model_file import load_model, shipped_model_path
from lsst.meas.trails.nn.model_table import model_to_table
from lsst.meas.trails.tasks._models import butler_model, named_model
from lsst.pipe.base import InvalidQuantumError


def test_names_of_one_model(tmp_path: Path) -> None:
    """A shipped model, a path and a URI give the same model, loaded once."""
    shipped = named_model("difference")
    assert named_model("difference") is shipped
    for suffix in (".json", ".safetensors"):
        shutil.copy(shipped_model_path("difference").with_suffix(suffix), tmp_path)
    copy = tmp_path / "difference.json"
    assert named_model(str(copy)).checksum == named_model(copy.as_uri()).checksum == shipped.checksum
    with pytest.raises(InvalidQuantumError, match="indirect"):
        named_model("indirect")


def handle(identity: int, content: object) -> SimpleNamespace:
    dataset_type = SimpleNamespace(name="trail_model")
    return SimpleNamespace(
        ref=SimpleNamespace(id=identity, run="models", datasetType=dataset_type), get=lambda: content
    )


def test_model_of_a_butler() -> None:
    table = model_to_table(shipped_model_path())
    model = butler_model(handle(1, table))
    assert model.checksum == load_model(shipped_model_path()).checksum
    # The content of a dataset never changes.
    assert butler_model(handle(1, None)) is model
    with pytest.raises(InvalidQuantumError, match="trail_model in models"):
        butler_model(handle(2, table.slice(0, 0)))
