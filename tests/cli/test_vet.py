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

"""The command vet: the page, and the way of its labels into the Butler."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from click.testing import CliRunner

from lsst.meas.trails.cli import main


def invoke(*args: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["vet", *map(str, args)])
    # Errors are messages, not tracebacks.
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


def data_of(page: Path) -> dict[str, Any]:
    """Return the data of a page."""
    found = re.search(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found is not None
    data = json.loads(found[1])
    assert isinstance(data, dict)
    return data


def test_the_page_has_the_best_candidates_first(chain: Any, tmp_path: Path) -> None:
    code, output = invoke(chain.repo, chain.detected, "-o", tmp_path / "vet", "--streaks")
    assert code == 0, output
    data = data_of(tmp_path / "vet" / "vet.html")
    catalogs = [
        chain.butler(chain.detected).get("trail_candidate_detector", chain.data_id(i)) for i in (0, 1)
    ]
    known = {str(row["trailCandidateId"]): row for table in catalogs for row in table}
    assert {item["id"] for item in data["candidates"]} == set(known)
    assert f"{len(known)} candidates" in output
    scores = [float(item["score"]) for item in data["candidates"]]
    assert scores == sorted(scores, reverse=True)
    # The chain has neither templates nor difference images.
    assert data["absent"] == ["difference", "template"]
    for item in data["candidates"]:
        assert float(item["ra"]) == pytest.approx(float(known[item["id"]]["ra"]), abs=1e-6)
        with PIL.Image.open(tmp_path / "vet" / item["source"]) as strip:
            assert strip.width == 4 * strip.height


def test_selection(chain: Any, tmp_path: Path) -> None:
    code, output = invoke(
        chain.repo, chain.detected, "-o", tmp_path / "one.html", "--limit", 1, "--detector", 1
    )
    assert code == 0
    assert "--limit" in output
    (item,) = data_of(tmp_path / "one.html")["candidates"]
    assert item["detector"] == 1
    assert item["source"].startswith("data:image/webp;base64,")
    for options, message in (
        (("--where", "Snr > 3"), "did you mean snr?"),
        (("--sort", "scores"), "did you mean score?"),
    ):
        code, output = invoke(chain.repo, chain.detected, "-o", tmp_path / "one.html", *options)
        assert code == 2
        assert message in output
    code, output = invoke(chain.repo, chain.detected, "-o", tmp_path / "new.html", "--where", "snr > 1e9")
    assert code == 1
    assert "no candidates" in output
    assert not (tmp_path / "new.html").exists()


def test_collect(chain: Any, tmp_path: Path) -> None:
    page = tmp_path / "vet.html"
    invoke(chain.repo, chain.detected, "-o", page)
    items = data_of(page)["candidates"]
    ends = "me,2026-11-27T14:00:00Z"
    rows = [
        f"{item['id']},{item['visit']},{item['detector']},{'artifact,galaxy' if i else 'trail,'},{ends}"
        for i, item in enumerate(items)
    ]
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(["trailCandidateId,visit,detector,label,kind,labeler,time", *rows]))
    code, output = invoke(chain.repo, chain.detected, "--collect", path, "--run", "labels/cli")
    assert code == 0, output
    assert f"{len(items)} labels put into run 'labels/cli'" in output
    assert f"{1 / len(items):.0%} of {len(items)} labeled candidates are trails" in output
    code, output = invoke(chain.repo, chain.detected, "--collect", path, "--run", "labels/cli")
    assert code == 1
    assert "--overwrite" in output
    path.write_text(path.read_text().replace(",trail,", ",asteroid,"))
    code, output = invoke(chain.repo, chain.detected, "--collect", path, "--run", "labels/cli", "--overwrite")
    assert code == 1
    assert "row 1: label is 'asteroid'" in output


def test_options_that_exclude_each_other(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").touch()
    collect = ("--collect", tmp_path / "labels.csv")
    for options, message in (
        ((), "--collect"),
        (("-o", "vet", *collect), "either"),
        (collect, "--run"),
        (("-o", "vet", "--run", "labels"), "--run"),
        (("-o", "vet", "--overwrite"), "--overwrite"),
    ):
        code, output = invoke("repo", "collection", *options)
        assert code == 2
        assert message in output
