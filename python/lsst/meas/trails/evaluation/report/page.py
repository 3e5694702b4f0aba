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

"""Report in a single HTML file, with its numbers and figures next to it.

The content is described by `Section` and its parts; all texts are escaped in the page.
"""

from __future__ import annotations

__all__ = (
    "Card",
    "FigurePart",
    "GalleryItem",
    "GalleryPart",
    "Listing",
    "Paragraph",
    "Report",
    "ReportError",
    "Section",
    "TablePart",
    "render",
    "write_report",
)

import base64
import dataclasses
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import astropy.table
import jinja2
import matplotlib.image
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from ...core.atomic import atomic_folder

PAGE = "report.html"
"""Name of the page."""

_SCREEN_DPI = 110
_PRINT_DPI = 200
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class ReportError(RuntimeError):
    """Raised if a report cannot be written."""


@dataclasses.dataclass(frozen=True)
class Card:
    """Number at the top of the page."""

    value: str
    """The number, with unit and interval."""

    label: str
    """Meaning of the number."""


@dataclasses.dataclass(frozen=True)
class Paragraph:
    """Text."""

    text: str

    warning: bool = False
    """Whether the text is set off as a warning."""


@dataclasses.dataclass(frozen=True)
class Listing:
    """Long text that is collapsed at first, such as a configuration."""

    title: str

    text: str
    """The text, shown verbatim."""


@dataclasses.dataclass(frozen=True, eq=False)
class FigurePart:
    """Figure, also written as PNG and PDF."""

    name: str
    """Name of the files, without ending."""

    figure: Figure

    caption: str
    """Content of the figure, and how to read it."""

    alt: str
    """Alternative text."""


@dataclasses.dataclass(frozen=True, eq=False)
class TablePart:
    """Table, also written as ECSV."""

    name: str
    """Name of the file, without ending."""

    table: astropy.table.Table

    caption: str

    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Headings of columns; their names by default."""

    shown: Sequence[str] | None = None
    """Columns on the page; all by default."""

    formats: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Formats of columns of floats on the page; four digits by default."""

    max_rows: int = 200
    """Most rows on the page; the file has all."""


@dataclasses.dataclass(frozen=True, eq=False)
class GalleryItem:
    """Picture of a gallery."""

    picture: npt.NDArray[np.uint8]
    """Red, green and blue of its pixels, first row at the top, shape (ny, nx, 3)."""

    caption: str

    alt: str
    """Alternative text."""


@dataclasses.dataclass(frozen=True, eq=False)
class GalleryPart:
    """Small pictures in a grid."""

    title: str

    caption: str

    items: Sequence[GalleryItem]


type Part = Paragraph | Listing | FigurePart | TablePart | GalleryPart


@dataclasses.dataclass(frozen=True, eq=False)
class Section:
    """Part of the page with a heading."""

    title: str

    parts: Sequence[Part]


@dataclasses.dataclass(frozen=True, eq=False)
class Report:
    """Content of the page."""

    title: str

    subtitle: str

    cards: Sequence[Card]
    """The most important numbers."""

    sections: Sequence[Section]

    footer: str = ""
    """Last line."""

    generator: str = "meas_trails"
    """Name and version of the program."""


def write_report(report: Report, folder: Path) -> Path:
    """Write a report to a folder atomically.

    Parameters
    ----------
    report
        Content of the report.
    folder
        Folder, created if missing. An earlier report in it is replaced.

    Returns
    -------
    page
        ``report.html``. Next to it are ``figures`` with every figure as PNG and PDF, and ``tables`` with
        every table as ECSV.

    Raises
    ------
    ReportError
        Raised if the folder has other content than a report, or cannot be written. It is unchanged in this
        case.
    """
    _check_names(report)
    try:
        with atomic_folder(folder) as made:
            _write_files(report, made)
    except OSError as error:
        raise ReportError(f"Cannot write the report to {folder}: {error}") from error
    return folder / PAGE


def _parts(report: Report) -> Iterator[Part]:
    for section in report.sections:
        yield from section.parts


def _check_names(report: Report) -> None:
    """Check that file names are unique and valid."""
    for kind in (FigurePart, TablePart):
        names = [part.name for part in _parts(report) if isinstance(part, kind)]
        wrong = [name for name in names if not _NAME.fullmatch(name) or names.count(name) > 1]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is not a unique, valid file name.")


def _write_files(report: Report, folder: Path) -> None:
    for name in ("figures", "tables"):
        (folder / name).mkdir()
    for part in _parts(report):
        if isinstance(part, FigurePart):
            for ending in ("png", "pdf"):
                part.figure.savefig(folder / "figures" / f"{part.name}.{ending}", dpi=_PRINT_DPI)
        elif isinstance(part, TablePart):
            part.table.write(folder / "tables" / f"{part.name}.ecsv", format="ascii.ecsv")
    (folder / PAGE).write_text(render(report), encoding="utf-8")


def render(report: Report) -> str:
    """Return the HTML page of a report.

    Parameters
    ----------
    report
        Content of the report.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lsst.meas.trails.resources", "templates"),
        # jinja2 does not escape templates with this ending by default.
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    view = {
        **{field.name: getattr(report, field.name) for field in dataclasses.fields(report)},
        "sections": [
            {"title": section.title, "parts": [_view(part) for part in section.parts]}
            for section in report.sections
        ],
    }
    return environment.get_template("report.html.j2").render(report=view)


def _view(part: Part) -> dict[str, object]:
    """Return the values of a part for the template."""
    match part:
        case Paragraph():
            return {"kind": "paragraph", "text": part.text, "warning": part.warning}
        case Listing():
            return {"kind": "listing", "title": part.title, "text": part.text}
        case FigurePart():
            picture = _embed(lambda stream: part.figure.savefig(stream, format="png", dpi=_SCREEN_DPI))
            return {"kind": "figure", "caption": part.caption, "alt": part.alt, **picture}
        case GalleryPart():
            return {
                "kind": "gallery",
                "title": part.title,
                "caption": part.caption,
                "pictures": [_picture(item) for item in part.items],
            }
        case TablePart():
            return _table_view(part)


def _picture(item: GalleryItem) -> dict[str, object]:
    picture = _embed(lambda stream: matplotlib.image.imsave(stream, item.picture, format="png"))
    return {"caption": item.caption, "alt": item.alt, **picture}


def _embed(write: Callable[[BinaryIO], None]) -> dict[str, object]:
    """Return a PNG as a data URL, with its size."""
    stream = io.BytesIO()
    write(stream)
    png = stream.getvalue()
    # The first chunk of a PNG begins with its width and height.
    width, height = (int.from_bytes(png[start : start + 4], "big") for start in (16, 20))
    source = "data:image/png;base64," + base64.b64encode(png).decode()
    return {"source": source, "width": width, "height": height}


def _table_view(part: TablePart) -> dict[str, object]:
    names = list(part.table.colnames if part.shown is None else part.shown)
    columns = [
        {
            "label": part.labels.get(name, name),
            "unit": str(part.table[name].unit or ""),
            "is_text": part.table[name].dtype.kind in "USO",
        }
        for name in names
    ]
    rows = [
        [_cell(row[name], part.formats.get(name, ".4g")) for name in names]
        for row in part.table[: part.max_rows]
    ]
    caption = part.caption
    if part.max_rows == 0:
        caption += f" tables/{part.name}.ecsv has {len(part.table)} rows."
    elif len(part.table) > part.max_rows:
        caption += f" The first {part.max_rows} of {len(part.table)} rows; tables/{part.name}.ecsv has all."
    return {"kind": "table", "caption": caption, "columns": columns, "rows": rows}


def _cell(value: object, style: str) -> str:
    """Return the text of a table cell."""
    if np.ma.is_masked(value):
        return "\N{EN DASH}"
    if isinstance(value, (float, np.floating)):
        return f"{float(value):{style}}" if np.isfinite(value) else "\N{EN DASH}"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    return str(value)
