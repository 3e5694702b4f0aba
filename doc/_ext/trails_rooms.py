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

"""Rooms of the package and their imports, read from the source.

``rooms-figure``
    Picture of the rooms; an arrow leads from a room to one it imports from.
``rooms-list``
    Content and imports of every room.
"""

from __future__ import annotations

__all__ = ("Rooms", "draw_rooms", "read_rooms", "room_lines", "setup")

import ast
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
from docutils import nodes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Curve
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "python" / "lsst" / "meas" / "trails"
LAYERING = ROOT / "tests" / "test_layering.py"

_PACKAGE = ("lsst", "meas", "trails")
_PLACES = {
    "core": (5.0, 10.0),
    "repository": (2.5, 3.4),
    "nn": (5.8, 2.0),
    "evaluation": (8.6, 2.8),
    "ingest": (1.2, 2.0),
    "sim": (3.9, 2.0),
    "adcnn": (1.35, 2.3),
    "training": (5.85, 4.3),
    "tasks": (7.5, 5.0),
    "survey": (6.5, 5.0),
    "cli": (5.9, 5.2),
}
"""Center and width of the box of each room; the levels decide the heights."""
_ANCHORS = {
    ("ingest", "adcnn"): 1.2,
    ("adcnn", "ingest"): 1.2,
    ("adcnn", "nn"): 2.2,
    ("nn", "adcnn"): 5.2,
    ("training", "nn"): 5.85,
    ("nn", "training"): 5.85,
    ("survey", "training"): 4.4,
    ("training", "survey"): 4.4,
    ("tasks", "adcnn"): 5.5,
    ("tasks", "evaluation"): 9.0,
    ("evaluation", "tasks"): 9.0,
}
"""Horizontal position at which an arrow touches the first room; default: middle of the shared span."""
_VIA = {("adcnn", "nn"): 2.55, ("tasks", "adcnn"): 5.5}
"""Gaps between boxes that an arrow goes through."""
_HEIGHT, _STEP = 0.78, 1.32
_FILLS = {"arrays": "#d6e6f4", "torch": "#fbe3cf", "stack": "#e4e9ec"}
_EDGES = {"arrays": "#3b75af", "torch": "#d1813c", "stack": "#73818c"}
_LEGEND = {
    "arrays": "neither stack nor torch",
    "torch": "imports torch",
    "stack": "imports the stack, not torch",
}


@dataclasses.dataclass(frozen=True)
class Rooms:
    """Rooms of the package."""

    levels: tuple[tuple[str, ...], ...]
    """Names, lowest level first."""
    summaries: dict[str, str]
    """First line of the docstring of each room and of each folder in it (``core/fit``)."""
    modules: dict[str, int]
    """Number of modules of each room."""
    imports: dict[str, frozenset[str]]
    """Rooms that each room imports from."""
    kinds: dict[str, str]
    """Heaviest dependency of each room: ``arrays``, ``stack`` or ``torch``."""

    def subrooms(self, room: str) -> list[str]:
        """Return the names of the folders in a room."""
        return [name.partition("/")[2] for name in self.summaries if name.startswith(f"{room}/")]

    def drawn(self) -> list[tuple[str, str]]:
        """Return the imports that no chain of other imports implies."""
        return [
            (room, lower)
            for room, direct in self.imports.items()
            for lower in sorted(direct)
            if not any(lower in self._below(other) for other in direct if other != lower)
        ]

    def _below(self, room: str) -> set[str]:
        return {room, *(name for lower in self.imports[room] for name in self._below(lower))}


def read_rooms(source: Path = SOURCE, layering: Path = LAYERING) -> Rooms:
    """Read the rooms from the source, and their levels from the layering test."""
    constants = {
        node.targets[0].id: node.value
        for node in ast.parse(layering.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    levels = tuple(tuple(level) for level in ast.literal_eval(constants["LEVELS"]))
    summaries, modules, imports, kinds = {}, {}, {}, {}
    for room in (room for level in levels for room in level):
        paths = sorted((source / room).rglob("*.py"))
        for path in paths:
            if path.name == "__init__.py":
                text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
                summaries[path.parent.relative_to(source).as_posix()] = text.partition("\n")[0]
        names = {name for path in paths for name in _imported_names(path, source)}
        within = {name[3] for name in names if name[:3] == _PACKAGE and len(name) > 3}
        modules[room] = sum(path.name != "__init__.py" for path in paths)
        imports[room] = frozenset(within & {name for level in levels for name in level} - {room})
        outside = {name[0] for name in names if name[:3] != _PACKAGE}
        kinds[room] = "torch" if "torch" in outside else "stack" if "lsst" in outside else "arrays"
    return Rooms(levels, summaries, modules, imports, kinds)


def _imported_names(path: Path, source: Path) -> Iterator[tuple[str, ...]]:
    """Iterate over the absolute names that a module imports, split at the dots."""
    package = (*_PACKAGE, *path.relative_to(source).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            yield from ((*base, alias.name) for alias in node.names)


def room_lines(rooms: Rooms) -> list[str]:
    """Return the list of the rooms, highest level first, as Markdown."""
    lines = []
    for room in (room for level in reversed(rooms.levels) for room in level):
        lower = (f"`{name}`" for level in rooms.levels for name in level if name in rooms.imports[room])
        text = rooms.summaries[room].replace("``", "`")
        lines.append(
            f"- **{room}/** ({rooms.modules[room]} modules): {text} Imports {', '.join(lower) or 'no room'}."
        )
        lines += [f"  - {room}/{name}/: {rooms.summaries[f'{room}/{name}']}" for name in rooms.subrooms(room)]
    return lines


def draw_rooms(rooms: Rooms) -> Figure:
    """Draw the rooms, one level above the other."""
    figure = Figure(figsize=(7.4, 6.03))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(-0.15, 10.15), ylim=(-0.85, _STEP * len(rooms.levels) - 0.35), aspect="equal")
    axes.axis("off")
    bottoms = {room: _STEP * i for i, level in enumerate(rooms.levels) for room in level}
    for upper, lower in rooms.drawn():
        start = (_anchor(upper, lower), bottoms[upper])
        end = (_anchor(lower, upper), bottoms[lower] + _HEIGHT)
        axes.add_patch(_arrow(start, end, _VIA.get((upper, lower))))
    for room, bottom in bottoms.items():
        center, width = _PLACES[room]
        axes.add_patch(_box((center - width / 2, bottom), width, _HEIGHT, rooms.kinds[room]))
        parts = "    ".join(f"{name}/" for name in rooms.subrooms(room))
        middle = bottom + _HEIGHT / 2 + (0.15 if parts else 0.0)
        axes.text(center, middle, room, ha="center", va="center", size=13, weight="bold", zorder=4)
        axes.text(center, middle - 0.33, parts, ha="center", va="center", size=9.5, zorder=4)
    for x, (kind, text) in zip((0.0, 3.55, 6.3), _LEGEND.items(), strict=True):
        axes.add_patch(_box((x, -0.62), 0.3, 0.22, kind, rounding=0.05))
        axes.text(x + 0.42, -0.52, text, ha="left", va="center", size=9.5)
    return figure


def _anchor(room: str, other: str) -> float:
    """Return where an arrow between two rooms touches the box of the first one."""
    if (room, other) in _ANCHORS:
        return _ANCHORS[room, other]
    spans = [(center - width / 2, center + width / 2) for center, width in (_PLACES[room], _PLACES[other])]
    low, high = max(span[0] for span in spans), min(span[1] for span in spans)
    return (low + high) / 2 if low < high else _PLACES[room][0]


def _arrow(start: tuple[float, float], end: tuple[float, float], via: float | None) -> FancyArrowPatch:
    """Return an arrow, straight or through a gap at ``via`` between two boxes."""
    points, codes = [start, end], [Curve.MOVETO, Curve.LINETO]
    if via is not None:
        # Down through the gap, along the corridor below it, down to the end.
        turn, side = end[1] + (_STEP - _HEIGHT) / 2, 0.2 if end[0] > via else -0.2
        points, codes = [start], [Curve.MOVETO]
        if via != start[0]:
            points += [(start[0], start[1] - 0.25), (via, start[1] - 0.25), (via, start[1] - 0.5)]
            codes += [Curve.CURVE4] * 3
        points += [(via, turn + 0.2), (via, turn), (via + side, turn)]
        points += [(end[0] - side, turn), (end[0], turn), (end[0], turn - 0.15), end]
        codes += [Curve.LINETO, Curve.CURVE3, Curve.CURVE3] * 2 + [Curve.LINETO]
    style = "-|>,head_length=5,head_width=2.6"
    return FancyArrowPatch(path=Curve(points, codes), arrowstyle=style, color="#4a545c", linewidth=1.3)


def _box(
    corner: tuple[float, float], width: float, height: float, kind: str, rounding: float = 0.12
) -> FancyBboxPatch:
    return FancyBboxPatch(
        corner,
        width,
        height,
        boxstyle=f"round,pad=0,rounding_size={rounding}",
        facecolor=_FILLS[kind],
        edgecolor=_EDGES[kind],
        linewidth=1.3,
        zorder=3,
    )


class _RoomsFigure(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        path = Path(self.env.doctreedir) / "rooms.svg"
        with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "rooms", "font.family": "DejaVu Sans"}):
            draw_rooms(read_rooms()).savefig(path, metadata={"Date": None})
        image = nodes.image(uri="/" + os.path.relpath(path, self.env.srcdir), width="100%")
        image["alt"] = "Rooms of the package, with arrows to the rooms that they import from"
        return [image]


class _RoomsList(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes("\n".join(room_lines(read_rooms())))


def setup(app: Sphinx) -> ExtensionMetadata:
    """Add the directives to Sphinx."""
    app.add_directive("rooms-figure", _RoomsFigure)
    app.add_directive("rooms-list", _RoomsList)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
