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

import base64
import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from lsst.meas.trails.core.atomic import FOLDER_MARK
from lsst.meas.trails.evaluation.vetting.page import VetPage, VetPageError, write_vet_page
from lsst.meas.trails.evaluation.vetting.pictures import VetCandidate

HOSTILE = "</script><script>alert('x')</script>\"'&{{ 7 * 7 }}"
TEXTS = VetPage(title=HOSTILE, subtitle=HOSTILE, collection=HOSTILE)


def make_candidate(number: int, **values: Any) -> VetCandidate:
    stream = io.BytesIO()
    PIL.Image.fromarray(np.zeros((8, 32, 3), dtype=np.uint8)).save(stream, format="webp")
    settings: dict[str, Any] = {
        "identifier": 2**62 + number,
        "visit": 7,
        "detector": 2,
        "ra": 10.0,
        "dec": -60.0,
        "score": 0.9,
        "facts": (("band", HOSTILE),),
        "line": (0.2, 0.2, 0.8, 0.7),
        "side": 8,
        "strip": stream.getvalue(),
    }
    return VetCandidate(**settings | values)


def data_of(page: Path) -> dict[str, Any]:
    """Return the data of a page."""
    found = re.search(
        r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL
    )
    assert found is not None
    data = json.loads(found[1])
    assert isinstance(data, dict)
    return data


def test_a_folder_has_the_pictures_as_files(tmp_path: Path) -> None:
    page = write_vet_page(TEXTS, (make_candidate(i) for i in range(3)), tmp_path / "vet")
    assert page == tmp_path / "vet" / "vet.html"
    items = data_of(page)["candidates"]
    # Identifiers are texts: JavaScript would round them.
    assert [item["id"] for item in items] == [str(2**62 + i) for i in range(3)]
    for item in items:
        assert PIL.Image.open(page.parent / item["source"]).size == (32, 8)
    assert sorted(path.name for path in page.parent.iterdir()) == sorted(
        [FOLDER_MARK, "pictures", "vet.html"]
    )


def test_a_single_file_includes_the_pictures(tmp_path: Path) -> None:
    page = write_vet_page(TEXTS, [make_candidate(0)], tmp_path / "one.html")
    assert list(tmp_path.iterdir()) == [page]
    kind, _, picture = data_of(page)["candidates"][0]["source"].partition(",")
    assert kind == "data:image/webp;base64"
    assert PIL.Image.open(io.BytesIO(base64.b64decode(picture))).size == (32, 8)


def test_texts_stay_texts(tmp_path: Path) -> None:
    page = write_vet_page(TEXTS, [make_candidate(0)], tmp_path / "one.html")
    assert "alert('x')</script>" not in page.read_text()
    data = data_of(page)
    assert data["collection"] == HOSTILE
    assert data["candidates"][0]["facts"] == [["band", HOSTILE]]


def test_the_policy_allows_the_script_and_style_of_the_page_only(tmp_path: Path) -> None:
    texts = VetPage("title", "subtitle", "u/me/trails")
    text = write_vet_page(texts, [make_candidate(0)], tmp_path / "one.html").read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    allowed = policy[1].replace("&#39;", "'")
    assert allowed.startswith("default-src 'none'; ")
    assert "unsafe" not in allowed
    assert "http" not in allowed
    for name in ("script", "style"):
        (content,) = re.findall(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in allowed
    assert not re.search(r"\b(?:src|href)=\"(?!data:,)", text)
    assert not re.search(r"\son\w+=|\sstyle=", text)


def test_progress_belongs_to_the_candidates(tmp_path: Path) -> None:
    def key(collection: str, *numbers: int) -> str:
        texts = VetPage("title", "subtitle", collection)
        page = write_vet_page(texts, [make_candidate(i) for i in numbers], tmp_path / "one.html")
        return str(data_of(page)["key"])

    assert key("a", 1, 2) == key("a", 1, 2)
    assert len({key("a", 1, 2), key("a", 1), key("b", 1, 2)}) == 3


def test_pictures_that_no_candidate_has(tmp_path: Path) -> None:
    first = make_candidate(0, missing=("template", "difference"))
    second = make_candidate(1, missing=("difference",))
    data = data_of(write_vet_page(TEXTS, [first, second], tmp_path / "one.html"))
    assert data["absent"] == ["difference"]
    assert data["candidates"][0]["missing"] == ["template", "difference"]


def test_errors(tmp_path: Path) -> None:
    for output in (tmp_path / "vet", tmp_path / "one.html"):
        with pytest.raises(VetPageError, match="no candidates"):
            write_vet_page(TEXTS, [], output)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(VetPageError, match=re.escape(str(tmp_path))):
        write_vet_page(TEXTS, [make_candidate(0)], tmp_path)
