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

"""Picture of the conventions of pixels and angles.

``angles-figure``
    A trail in the image and on the sky, with its angles.
"""

from __future__ import annotations

__all__ = ("IMAGE_ANGLE", "SKY_ANGLE", "draw_angles", "setup")

import os
from pathlib import Path

import matplotlib as mpl
import numpy as np
from docutils import nodes
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from lsst.meas.trails.core.geometry import Trail
from lsst.meas.trails.core.motion import move

IMAGE_ANGLE = 35.0
"""Angle of the trail in the image, degrees."""

SKY_ANGLE = 125.0
"""Position angle of the same trail on the sky, with North up."""

_TRAIL, _ARC = "#D55E00", "#0072B2"


def draw_angles() -> Figure:
    """Draw a trail in the image and on the sky."""
    figure = Figure(figsize=(7.4, 3.7))
    image, sky = figure.subplots(1, 2)
    _draw_image(image)
    _draw_sky(sky)
    figure.subplots_adjust(left=0.05, right=0.97, bottom=0.08, top=0.9, wspace=0.15)
    return figure


def _draw_image(axes: Axes) -> None:
    axes.set_title("Image", fontsize=10)
    for edge in np.arange(-0.5, 11.0):
        axes.plot([edge, edge], [-0.5, 9.5], color="0.9", linewidth=0.6, zorder=0)
        if edge <= 9.5:
            axes.plot([-0.5, 10.5], [edge, edge], color="0.9", linewidth=0.6, zorder=0)
    axes.plot(0.0, 0.0, "o", color="black", markersize=3)
    axes.annotate("center of the first\npixel: (0, 0)", (0.2, 0.25), fontsize=8)
    trail = Trail(5.0, 5.2, 7.0, IMAGE_ANGLE)
    x0, y0, x1, y1 = trail.ends
    axes.plot([x0, x1], [y0, y1], color=_TRAIL, linewidth=5, alpha=0.6, solid_capstyle="round")
    axes.plot([trail.x], [trail.y], "o", color="black", markersize=3)
    axes.annotate("(x, y)", (trail.x - 1.3, trail.y + 0.25), fontsize=8)
    axes.annotate("(x0, y0)", (x0 - 1.0, y0 - 0.9), fontsize=8)
    axes.annotate("(x1, y1)", (x1 - 1.2, y1 + 0.6), fontsize=8)
    axes.plot([trail.x, trail.x + 4.5], [trail.y] * 2, color="0.5", linewidth=0.8, linestyle="--")
    turn = np.deg2rad(np.linspace(0.0, IMAGE_ANGLE, 40))
    x, y = trail.x + 2.2 * np.cos(turn), trail.y + 2.2 * np.sin(turn)
    _arc(axes, x, y)
    axes.annotate("trailAnglePix", (trail.x + 2.4, trail.y + 0.35), fontsize=8, color=_ARC)
    _arrow(axes, (0.0, 0.0), (10.3, 0.0), "+x", (9.7, 0.35))
    _arrow(axes, (0.0, 0.0), (0.0, 9.3), "+y", (0.25, 8.9))
    axes.set(xlim=(-0.8, 10.8), ylim=(-0.8, 9.8), aspect="equal")
    axes.axis("off")


def _draw_sky(axes: Axes) -> None:
    axes.set_title("Sky", fontsize=10)
    _arrow(axes, (0.0, 0.0), (0.0, 4.4), "North", (0.15, 4.2))
    _arrow(axes, (0.0, 0.0), (-4.4, 0.0), "East", (-4.4, 0.25))
    ends = [_place(SKY_ANGLE + turn, 3.4) for turn in (180.0, 0.0)]
    axes.plot(*np.transpose(ends), color=_TRAIL, linewidth=5, alpha=0.6, solid_capstyle="round")
    axes.plot(0.0, 0.0, "o", color="black", markersize=3)
    _arc(axes, *np.transpose([_place(angle, 1.6) for angle in np.linspace(0.0, SKY_ANGLE, 60)]))
    axes.annotate(f"trailAngle {SKY_ANGLE:g}", (-3.9, 1.5), fontsize=8, color=_ARC)
    turned = SKY_ANGLE - 180.0
    _arc(axes, *np.transpose([_place(angle, 2.3) for angle in np.linspace(0.0, turned, 40)]), dashed=True)
    axes.annotate(f"the same line as a\nbearing: {turned:g}", (2.0, 2.1), fontsize=8, color=_ARC)
    axes.set(xlim=(-4.8, 4.8), ylim=(-4.4, 4.9), aspect="equal")
    axes.axis("off")


def _place(angle: float, distance: float) -> tuple[float, float]:
    """Return the place in the picture, East to the left, at a position angle and distance from its center."""
    ra, dec = move(0.0, 0.0, distance / 3600.0, angle, 1.0)
    east = (float(ra) + 180.0) % 360.0 - 180.0
    return -3600.0 * east, 3600.0 * float(dec)


def _arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], text: str, at: tuple[float, float]
) -> None:
    style = {"arrowstyle": "-|>", "color": "black", "linewidth": 0.9, "shrinkA": 0.0, "shrinkB": 0.0}
    axes.annotate("", end, start, arrowprops=style)
    axes.annotate(text, at, fontsize=8)


def _arc(axes: Axes, x: np.ndarray, y: np.ndarray, *, dashed: bool = False) -> None:
    style = "--" if dashed else "-"
    axes.plot(x[:-3], y[:-3], color=_ARC, linewidth=1.1, linestyle=style)
    arrow = {"arrowstyle": "-|>", "color": _ARC, "linewidth": 1.1, "shrinkA": 0.0, "shrinkB": 0.0}
    axes.annotate("", (x[-1], y[-1]), (x[-4], y[-4]), arrowprops=arrow)


class _AnglesFigure(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        path = Path(self.env.doctreedir) / "angles.svg"
        with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "angles", "font.family": "DejaVu Sans"}):
            draw_angles().savefig(path, metadata={"Date": None})
        image = nodes.image(uri="/" + os.path.relpath(path, self.env.srcdir), width="100%")
        image["alt"] = (
            "Left: a trail in the image, its angle counter-clockwise from +x, and the first pixel at (0, 0). "
            "Right: the trail on the sky, with North up and East to the left, and its position angle."
        )
        return [image]


def setup(app: Sphinx) -> ExtensionMetadata:
    """Add the directive to Sphinx."""
    app.add_directive("angles-figure", _AnglesFigure)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
