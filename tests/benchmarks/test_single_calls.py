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

"""Tests of the functions that benchmarks call in a process of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
import single_calls
from processes import ADCNN

from lsst.meas.trails.cli import main
from lsst.meas.trails.nn import hardware


def test_adcnn_is_measured_with_its_tiles() -> None:
    measured = single_calls.adcnn(threads=1, side=128)
    assert measured["tile"] == 128
    assert measured["cpu"] > 0.0
    assert measured["peak"] > 2**22
    assert ADCNN.startswith(single_calls.ADCNN)


@pytest.mark.parametrize(
    ("fast", "expected"), [("bfloat16", {"float32", "bfloat16"}), ("float32", {"float32"})]
)
def test_engines_have_the_precisions_of_the_machine(
    fast: str, expected: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "precision_name", lambda *_: fast)
    variants = single_calls.engines(threads=1)
    assert {variant["engine"] for variant in variants} == {"openvino", "torch"}
    for engine in ("openvino", "torch"):
        assert {variant["dtype"] for variant in variants if variant["engine"] == engine} == expected


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from click.testing import CliRunner

    path = tmp_path_factory.mktemp("single_calls") / "repo"
    done = CliRunner().invoke(main, ["simulate", str(path), "--size", "256", "256", "--trails", "2"])
    assert done.exit_code == 0, done.output
    return path


def test_network_of_each_engine(repo: Path) -> None:
    for variant in single_calls.engines(threads=1):
        measured = single_calls.network(threads=1, repo=str(repo), model="direct", **variant)
        assert set(measured) == {"cpu", "wall", "peak"}
        assert measured["cpu"] > 0.0


def test_sep(repo: Path) -> None:
    assert single_calls.sep_extraction(threads=1, repo=str(repo))["wall"] > 0.0
