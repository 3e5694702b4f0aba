# This file is part of meas_trails.
#
# Developed for the LSST Data Management System.
# This product includes software developed by the LSST Project
# (https://www.lsst.org).
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# This program is free software: you can redistribute it and/or modify
# it under the terms of the GNU General Public License as published by
# the Free Software Foundation, either version 3 of the License, or
# (at your option) any later version.
#
# This program is distributed in the hope that it will be useful,
# but WITHOUT ANY WARRANTY; without even the implied warranty of
# MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
# GNU General Public License for more details.
#
# You should have received a copy of the GNU General Public License
# along with this program.  If not, see <https://www.gnu.org/licenses/>.

"""The commands that look at what the pipelines have written."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import astropy.table
import matplotlib.image
import numpy as np
import pytest
from click.testing import CliRunner

from lsst.daf.butler import Butler, CollectionType
from lsst.meas.trails.cli import main
from lsst.meas.trails.core.catalog import CANDIDATE_COLUMNS


def invoke(*args: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    # A traceback is not a message.
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


def test_compare(chain: Any) -> None:
    code, output = invoke("compare", chain.repo, chain.detected, "--min-score", 0.0, "--detector", 1)
    assert code == 0
    assert f"Visit {chain.visit}, detector 1" in output
    assert "Candidates with a score of at least 0.000, in 1 detectors (0.1 Mpix)" in output
    assert "found 2 of 2 trails" in output
    assert "found 2 of 2 trails with SNR > 15 and length > 20 pixels (100%)" in output
    assert "per detector of 16.4 Mpix" in output


def test_compare_in_brief(chain: Any) -> None:
    code, output = invoke("compare", chain.repo, chain.detected, "--brief")
    assert code == 0
    assert "in 2 detectors" in output
    assert "of 8 trails" in output
    assert "offset" not in output


def test_compare_with_injected_trails(chain: Any) -> None:
    """The truth of an injected image: the injected and the simulated trails."""
    injected = chain.butler(chain.training).get("injected_preliminary_visit_image_catalog", chain.data_id(1))
    code, output = invoke("compare", chain.repo, chain.injected, "--brief")
    assert code == 0
    assert f"of {len(injected) + 2} trails" in output
    # The collection of candidates on the images themselves may lead to those
    # catalogs, too.
    butler = Butler.from_config(chain.repo, writeable=True)
    butler.collections.register("both", CollectionType.CHAINED)
    butler.collections.redefine_chain("both", [chain.detected, chain.training])
    code, output = invoke("compare", chain.repo, "both", "--brief", "--detector", 1)
    assert code == 0
    assert "of 2 trails" in output


def test_compare_without_truth(chain: Any) -> None:
    (run,) = chain.butler(chain.detected).collections.query(f"{chain.detected}/*")
    code, output = invoke("compare", chain.repo, run)
    assert code == 1
    assert "has a truth table" in output


def test_candidates(chain: Any) -> None:
    code, output = invoke("candidates", chain.repo, chain.detected, "--detector", 1)
    assert code == 0
    assert str(chain.visit) in output
    assert "deg / d" in output
    number = len(chain.butler(chain.detected).get("trail_candidate_detector", chain.data_id(1)))
    assert f"{number} candidates" in output
    code, output = invoke("candidates", chain.repo, chain.detected, "--min-score", 1.0, "--detector", 1)
    assert code == 0


@pytest.mark.parametrize("suffix", [".ecsv", ".csv", ".parquet", ".vot", ".xml"])
def test_export(chain: Any, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"candidates{suffix}"
    code, message = invoke("candidates", chain.repo, chain.detected, "--streaks", "-o", output)
    assert code == 0
    assert "candidates written to" in message
    formats = {".csv": "ascii.csv", ".vot": "votable", ".xml": "votable"}
    with warnings.catch_warnings():
        # A file that its readers complain of is not a good one.
        warnings.simplefilter("error")
        table = astropy.table.Table.read(output, format=formats.get(suffix))
    expected = chain.butler(chain.detected).get("trail_candidate", chain.data_id(1))
    assert table.colnames == list(CANDIDATE_COLUMNS)
    assert len(table) == len(expected)
    assert np.all(np.diff(np.asarray(table["score"])) <= 0.0)
    np.testing.assert_array_equal(np.sort(table["trailCandidateId"]), np.sort(expected["trailCandidateId"]))
    if suffix != ".csv":
        for name in ("ra", "trailLength", "trailFlux", "trailRate", "x", "area"):
            assert table[name].unit == CANDIDATE_COLUMNS[name][1]
        assert "mag" in str(table["trailMag"].unit)


def test_export_to_an_unknown_format(chain: Any, tmp_path: Path) -> None:
    code, output = invoke("candidates", chain.repo, chain.detected, "-o", tmp_path / "candidates.doc")
    assert code == 2
    assert "choose one of the endings .ecsv" in output
    assert not list(tmp_path.iterdir())


def test_export_to_nowhere(chain: Any, tmp_path: Path) -> None:
    code, output = invoke("candidates", chain.repo, chain.detected, "-o", tmp_path / "no" / "c.ecsv")
    assert code == 1
    assert "cannot be written" in output


def test_show(chain: Any, tmp_path: Path) -> None:
    output = tmp_path / "picture.png"
    code, message = invoke("show", chain.repo, chain.detected, "--detector", 1, "-o", output)
    assert code == 0
    assert "picture.png" in message
    picture = matplotlib.image.imread(output)
    assert picture.shape[1] > 2 * picture.shape[0] > 600
    # Three panels with something in each of them.
    for panel in np.array_split(picture[..., :3].mean(axis=2), 3, axis=1):
        assert panel.std() > 0.05


def test_show_the_injected_image(chain: Any, tmp_path: Path) -> None:
    """It is the one that the candidates were found in."""
    pictures = []
    for options in ((), ("--image", "preliminary_visit_image")):
        code, _ = invoke("show", chain.repo, chain.injected, "-o", tmp_path / "picture.png", *options)
        assert code == 0
        pictures.append(matplotlib.image.imread(tmp_path / "picture.png"))
    first, second = (picture[:, : picture.shape[1] // 4] for picture in pictures)
    assert np.count_nonzero(np.abs(first - second) > 0.2) > 1000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--visit", 7), "no such trail_candidate_detector; it may have others"),
        (("--image", "visit_image"), "holds no visit_image of visit"),
        (("-o", "picture.doc"), "cannot be written"),
        (("-o", "no/such/folder/picture.png"), "cannot be written"),
    ],
)
def test_show_cannot(
    chain: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[object, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, output = invoke("show", chain.repo, chain.detected, *options)
    assert code == 1
    assert message in output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["compare", "candidates", "show"])
def test_no_such_repository_or_collection(chain: Any, tmp_path: Path, command: str) -> None:
    code, output = invoke(command, tmp_path, "anything")
    assert code == 1
    assert "There is no Butler repository at" in output
    code, output = invoke(command, chain.repo, "anything")
    assert code == 1
    assert "has no collection 'anything'" in output
    code, output = invoke(command, chain.repo, "input")
    assert code == 1
    assert "run pipelines/DetectTrails.yaml first" in output
