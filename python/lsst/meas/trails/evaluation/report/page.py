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

"""A report in one HTML file that needs nothing else, and its numbers and
figures as files beside it.

What is in it is said with `Section` and the parts of one; all texts are
escaped when the page is made, wherever they came from.
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
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import astropy.table
import jinja2
import matplotlib.image
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

PAGE = "report.html"
"""Name of the page, by which an earlier report is known."""

MARK = "made_by_meas_trails"
"""Name of the file that marks a folder as one that may be replaced."""

_SCREEN_DPI = 110
_PRINT_DPI = 200
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class ReportError(RuntimeError):
    """A report that cannot be written."""


@dataclasses.dataclass(frozen=True)
class Card:
    """One of the numbers at the head of the page.

    Parameters
    ----------
    value
        The number, with unit and interval.
    label
        What it is.
    """

    value: str
    label: str


@dataclasses.dataclass(frozen=True)
class Paragraph:
    """Text.

    Parameters
    ----------
    text
        The text.
    warning
        Whether it is set apart, as what a reader must not miss.
    """

    text: str
    warning: bool = False


@dataclasses.dataclass(frozen=True)
class Listing:
    """A long text that is folded away, such as a configuration.

    Parameters
    ----------
    title
        What it is.
    text
        The text, shown as it is.
    """

    title: str
    text: str


@dataclasses.dataclass(frozen=True, eq=False)
class FigurePart:
    """A figure, also written as PNG and PDF.

    Parameters
    ----------
    name
        Of the files, without ending.
    figure
        The figure.
    caption
        What it shows and how to read it.
    alt
        What it shows, for those who cannot see it.
    """

    name: str
    figure: Figure
    caption: str
    alt: str


@dataclasses.dataclass(frozen=True, eq=False)
class TablePart:
    """A table, also written as ECSV.

    Parameters
    ----------
    name
        Of the file, without ending.
    table
        The numbers.
    caption
        What they are.
    labels
        Headings of columns, where they are not the columns' names.
    formats
        Format specifications of columns, where 4 digits are not right.
    shown
        Columns on the page; all of them by default.
    max_rows
        So many rows are on the page at most; the file has all.
    """

    name: str
    table: astropy.table.Table
    caption: str
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    formats: Mapping[str, str] = dataclasses.field(default_factory=dict)
    shown: Sequence[str] | None = None
    max_rows: int = 200


@dataclasses.dataclass(frozen=True, eq=False)
class GalleryItem:
    """One picture of a gallery.

    Parameters
    ----------
    picture
        Red, green and blue of its pixels, first row at the top, shape (ny,
        nx, 3), uint8.
    caption
        What it is.
    alt
        What it shows, for those who cannot see it.
    """

    picture: npt.NDArray[np.uint8]
    caption: str
    alt: str


@dataclasses.dataclass(frozen=True, eq=False)
class GalleryPart:
    """Small pictures beside each other.

    Parameters
    ----------
    title
        Its heading.
    caption
        What the pictures show.
    items
        The pictures.
    """

    title: str
    caption: str
    items: Sequence[GalleryItem]


type Part = Paragraph | Listing | FigurePart | TablePart | GalleryPart


@dataclasses.dataclass(frozen=True, eq=False)
class Section:
    """A part of the page with a heading.

    Parameters
    ----------
    title
        The heading.
    parts
        What is below it.
    """

    title: str
    parts: Sequence[Part]


@dataclasses.dataclass(frozen=True, eq=False)
class Report:
    """All that is on the page.

    Parameters
    ----------
    title, subtitle
        Its heading.
    cards
        The most important numbers.
    sections
        The rest.
    footer
        Last line.
    generator
        Name and version of the program.
    """

    title: str
    subtitle: str
    cards: Sequence[Card]
    sections: Sequence[Section]
    footer: str = ""
    generator: str = "meas_trails"


def write_report(report: Report, folder: Path) -> Path:
    """Write a report: all of it, or nothing.

    Parameters
    ----------
    report
        What it holds.
    folder
        Where to; made if it is not there.  An earlier report in it is
        replaced.

    Returns
    -------
    page : `pathlib.Path`
        ``report.html``.  Beside it are ``figures`` with every figure as PNG
        and PDF, and ``tables`` with every table as ECSV.

    Raises
    ------
    ReportError
        Raised if the folder holds something else than a report, or cannot be
        written to.  It is as it was before, then.
    """
    if folder.exists() and not _replaceable(folder):
        raise ReportError(
            f"{folder} is there and is no report of this program: name another folder, or an empty one."
        )
    _check_names(report)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
            made = Path(scratch) / "report"
            made.mkdir(mode=0o777)
            _write_files(report, made)
            _put_in_place(made, folder, Path(scratch) / "earlier")
    except OSError as error:
        raise ReportError(f"The report cannot be written to {folder}: {error}") from error
    return folder / PAGE


def _put_in_place(made: Path, folder: Path, earlier: Path) -> None:
    """Exchange a folder for a new one; on failure the old one comes back."""
    replaced = folder.exists()
    if replaced:
        os.rename(folder, earlier)
    try:
        os.rename(made, folder)
    except OSError:
        if replaced:
            os.rename(earlier, folder)
        raise


def _replaceable(folder: Path) -> bool:
    return folder.is_dir() and ((folder / MARK).is_file() or not any(folder.iterdir()))


def _parts(report: Report) -> Iterator[Part]:
    for section in report.sections:
        yield from section.parts


def _check_names(report: Report) -> None:
    """See that files have names of their own, without folders in them."""
    for kind in (FigurePart, TablePart):
        names = [part.name for part in _parts(report) if isinstance(part, kind)]
        wrong = [name for name in names if not _NAME.fullmatch(name) or names.count(name) > 1]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is no name for a file of its own.")


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
    (folder / MARK).write_text("A new report of meas-trails evaluate may replace this folder.\n")


def render(report: Report) -> str:
    """Return the page.

    Parameters
    ----------
    report
        What it holds.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lsst.meas.trails.resources", "templates"),
        # By hand: the ending is not one that jinja2 would escape.
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


def _view(part: Part) -> dict[str, Any]:
    """Return what the template needs of a part."""
    match part:
        case Paragraph():
            return {"kind": "paragraph", "text": part.text, "warning": part.warning}
        case Listing():
            return {"kind": "listing", "title": part.title, "text": part.text}
        case FigurePart():
            return {"kind": "figure", "caption": part.caption, "alt": part.alt, **_embed(_drawn(part.figure))}
        case GalleryPart():
            items = [
                {"caption": item.caption, "alt": item.alt, **_embed(_encoded(item.picture))}
                for item in part.items
            ]
            return {"kind": "gallery", "title": part.title, "caption": part.caption, "pictures": items}
        case TablePart():
            return _table_view(part)


def _drawn(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_SCREEN_DPI)
    return stream.getvalue()


def _encoded(picture: npt.NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    matplotlib.image.imsave(stream, picture, format="png")
    return stream.getvalue()


def _embed(png: bytes) -> dict[str, Any]:
    # A PNG's first chunk begins with its width and height.
    width, height = (int.from_bytes(png[start : start + 4], "big") for start in (16, 20))
    source = "data:image/png;base64," + base64.b64encode(png).decode()
    return {"source": source, "width": width, "height": height}


def _table_view(part: TablePart) -> dict[str, Any]:
    names = list(part.table.colnames if part.shown is None else part.shown)
    columns = []
    for name in names:
        unit = part.table[name].unit
        columns.append(
            {
                "label": part.labels.get(name, name),
                "unit": "" if unit is None else str(unit),
                "is_text": part.table[name].dtype.kind in "USO",
            }
        )
    rows = [
        [_cell(row[name], part.formats.get(name, ".4g")) for name in names]
        for row in part.table[: part.max_rows]
    ]
    caption = part.caption
    if len(part.table) > part.max_rows:
        caption += f" The first {part.max_rows} of {len(part.table)} rows; tables/{part.name}.ecsv has all."
    return {"kind": "table", "caption": caption, "columns": columns, "rows": rows}


def _cell(value: Any, spec: str) -> str:
    """Return a value as people read it."""
    if isinstance(value, (float, np.floating)):
        return format(float(value), spec) if np.isfinite(value) else "\N{EN DASH}"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    return str(value)
