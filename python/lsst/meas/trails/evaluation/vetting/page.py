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

"""The page: a folder or a single HTML file that needs no server.

Scripts and styles are part of the page; its content security policy allows no others, and no connections.
"""

from __future__ import annotations

__all__ = ("PAGE", "VetPage", "VetPageError", "write_vet_page")

import base64
import dataclasses
import hashlib
import importlib.resources
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jinja2

from ...core.atomic import atomic_folder, atomic_path
from ...core.catalog.labels import ARTIFACT_KINDS, FILE_COLUMNS
from .pictures import PANELS, VetCandidate

PAGE = "vet.html"
"""Name of the page in a folder."""

_PICTURES = "pictures"
_POSITION = ("ra", "dec")
"""Columns of a file of labels that identify the candidate once more."""


class VetPageError(RuntimeError):
    """Raised if a page cannot be written."""


@dataclasses.dataclass(frozen=True)
class VetPage:
    """Texts of the page."""

    title: str

    subtitle: str

    collection: str
    """Collection of the candidates."""

    generator: str = "meas_trails"
    """Name and version of the program."""


def write_vet_page(page: VetPage, candidates: Iterable[VetCandidate], output: Path) -> Path:
    """Write a page to label candidates, atomically.

    Parameters
    ----------
    page
        Texts of the page.
    candidates
        Candidates in the order of the page.
    output
        Folder for the page and its pictures; an earlier page in it is replaced. A name that ends in ``.html``
        is a single file that includes the pictures.

    Returns
    -------
    path
        The HTML file.

    Raises
    ------
    VetPageError
        Raised if there are no candidates, the folder has other files, or it cannot be written.
    """
    try:
        if output.suffix == ".html":
            output.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(output) as partial:
                partial.write_text(_render(page, candidates, _data_url), encoding="utf-8")
            return output
        with atomic_folder(output) as made:
            (made / _PICTURES).mkdir()

            def write(number: int, picture: bytes) -> str:
                name = f"{_PICTURES}/{number:06d}.webp"
                (made / name).write_bytes(picture)
                return name

            (made / PAGE).write_text(_render(page, candidates, write), encoding="utf-8")
        return output / PAGE
    except OSError as error:
        raise VetPageError(f"Cannot write the page to {output}: {error}") from error


def _data_url(number: int, picture: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(picture).decode()}"


def _render(page: VetPage, candidates: Iterable[VetCandidate], place: Callable[[int, bytes], str]) -> str:
    """Return the HTML page; ``place`` returns the address of a picture."""
    items = [_item(candidate, place(number, candidate.strip)) for number, candidate in enumerate(candidates)]
    if not items:
        raise VetPageError("There are no candidates to label; relax the conditions, or choose another visit.")
    # Progress is kept for this list of candidates.
    digest = hashlib.sha256("\n".join([page.collection, *(item["id"] for item in items)]).encode())
    data = {
        "key": f"meas_trails.vet.{digest.hexdigest()[:24]}",
        "collection": page.collection,
        "panels": list(PANELS.items()),
        "absent": sorted(set.intersection(*(set(item["missing"]) for item in items))),
        "kinds": list(ARTIFACT_KINDS.items()),
        "columns": [*FILE_COLUMNS, *_POSITION],
        "candidates": items,
    }
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lsst.meas.trails.resources", "templates"),
        # jinja2 does not escape templates with this ending by default.
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    folder = importlib.resources.files("lsst.meas.trails.resources") / "templates"
    script, style = ((folder / name).read_text(encoding="utf-8") for name in ("vet.js", "vet.css"))
    policy = (
        "default-src 'none'",
        "img-src 'self' file: data:",
        f"script-src '{_source_hash(script)}'",
        f"style-src '{_source_hash(style)}'",
        "base-uri 'none'",
        "form-action 'none'",
    )
    return environment.get_template("vet.html.j2").render(
        page=page,
        kinds=ARTIFACT_KINDS,
        script=script,
        style=style,
        policy="; ".join(policy),
        # No text of the data can end its element.
        data=json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
    )


def _source_hash(text: str) -> str:
    """Return the hash that allows an inline script or style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _item(candidate: VetCandidate, source: str) -> dict[str, Any]:
    """Return a candidate for the script."""
    return {
        # Numbers have 53 bits in JavaScript.
        "id": str(candidate.identifier),
        "visit": candidate.visit,
        "detector": candidate.detector,
        "ra": f"{candidate.ra:.6f}",
        "dec": f"{candidate.dec:.6f}",
        "score": f"{candidate.score:.3f}",
        "facts": candidate.facts,
        "line": [round(value, 4) for value in candidate.line],
        "side": candidate.side,
        "source": source,
        "missing": candidate.missing,
    }
