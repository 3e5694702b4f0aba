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

"""Small pictures of single trails: image, probability and fitted line."""

from __future__ import annotations

__all__ = ("CANDIDATE_COLOR", "TRUTH_COLOR", "Line", "cutout_box", "cutout_picture", "draw_cutout", "stretch")

import dataclasses
from collections.abc import Sequence

import matplotlib.patheffects
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ...core.geometry import Trail

TRUTH_COLOR = "#56B4E9"
CANDIDATE_COLOR = "#E69F00"
"""Colors of Okabe and Ito (2008), distinguishable with color blindness."""

MIN_SIDE = 64
"""Smallest side of a cutout, pixels."""

MAX_SIDE = 256
"""Largest side of a cutout, pixels; longer trails are cropped."""

_MARGIN = 24
"""Margin around a trail, pixels."""


@dataclasses.dataclass(frozen=True)
class Line:
    """Trail with its style in a figure."""

    trail: Trail
    """The trail, in the image's own coordinates."""

    color: str

    dashed: bool = False
    """Whether it is dashed, as a distinction without colors."""


def cutout_box(lines: Sequence[Line], bounds: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Return a square around trails, within an image.

    Parameters
    ----------
    lines
        The trails; the first is centered.
    bounds
        First and last-plus-one column, first and last-plus-one row.

    Returns
    -------
    box
        Bounds of the cutout, smaller than the square at the edge of the image, never empty.

    Raises
    ------
    ValueError
        Raised if the image is empty.
    """
    if bounds[0] >= bounds[1] or bounds[2] >= bounds[3]:
        raise ValueError(f"An image with bounds {bounds} is empty and has no cutouts.")
    middle = lines[0].trail.x, lines[0].trail.y
    reach = max(
        abs(value - middle[place % 2]) for line in lines for place, value in enumerate(line.trail.ends)
    )
    side = int(np.clip(2.0 * (np.ceil(reach) + _MARGIN), MIN_SIDE, MAX_SIDE))
    box: list[int] = []
    for center, (low, high) in zip(middle, (bounds[:2], bounds[2:]), strict=True):
        # At an edge the square moves inward, within the image.
        start = int(np.clip(round(center) - side // 2, low, max(low, high - side)))
        box += [start, min(start + side, high)]
    return box[0], box[1], box[2], box[3]


def stretch(image: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Map an image to [0, 1], with both noise and stars visible.

    Parameters
    ----------
    image
        Any shape; NaN becomes 0.
    """
    finite = image[np.isfinite(image)]
    if finite.size == 0:
        return np.zeros(image.shape)
    low, middle = np.percentile(finite, [15.87, 50.0])
    sigma = max(middle - low, 1e-30)
    scaled = np.arcsinh((image - middle) / (2.0 * sigma))
    # From 2 sigma below the sky to 20 sigma above.
    bottom, top = np.arcsinh(-1.0), np.arcsinh(10.0)
    return np.clip(np.nan_to_num((scaled - bottom) / (top - bottom), nan=0.0), 0.0, 1.0)


def draw_cutout(
    axis: Axes,
    pixels: npt.NDArray[np.floating],
    box: tuple[int, int, int, int],
    lines: Sequence[Line],
    *,
    probability: bool = False,
    ends_only: bool = False,
) -> None:
    """Draw one panel, without ticks.

    Parameters
    ----------
    axis
        Axes to draw on.
    pixels
        Pixels of the cutout.
    box
        Output of `cutout_box`.
    lines
        Trails drawn over the cutout.
    probability
        Whether the pixels are probabilities instead of an image.
    ends_only
        Whether to mark only the ends, which leaves the trail visible.
    """
    extent = (box[0] - 0.5, box[1] - 0.5, box[2] - 0.5, box[3] - 0.5)
    axis.imshow(
        pixels if probability else stretch(pixels),
        origin="lower",
        extent=extent,
        cmap="magma" if probability else "gray",
        vmin=0.0,
        vmax=1.0,
        interpolation="nearest",
    )
    for line in lines:
        axis.plot(
            line.trail.ends[0::2],
            line.trail.ends[1::2],
            color=line.color,
            linewidth=1.3,
            linestyle="none" if ends_only else (0, (3, 2)) if line.dashed else "-",
            marker="o",
            markersize=4.5,
            markerfacecolor="none",
            markeredgewidth=1.2,
        )
    axis.set_xlim(extent[0], extent[1])
    axis.set_ylim(extent[2], extent[3])
    axis.set_xticks([])
    axis.set_yticks([])


def cutout_picture(
    image: npt.NDArray[np.floating],
    probability: npt.NDArray[np.floating] | None,
    box: tuple[int, int, int, int],
    lines: Sequence[Line],
) -> npt.NDArray[np.uint8]:
    """Draw the image, the probability, and the image with trails over it.

    Parameters
    ----------
    image, probability
        The cutouts, shape (ny, nx); without a probability its panel is black.
    box
        Output of `cutout_box`.
    lines
        Trails drawn over the last panel.

    Returns
    -------
    picture
        Red, green and blue, shape (ny, nx, 3), uint8.
    """
    figure = Figure(figsize=(6.6, 2.26), dpi=100, facecolor="black")
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3)
    figure.subplots_adjust(left=0.005, right=0.995, bottom=0.01, top=0.99, wspace=0.015)
    nothing = np.zeros(image.shape)
    draw_cutout(panels[0], image, box, [])
    draw_cutout(panels[1], nothing if probability is None else probability, box, [], probability=True)
    draw_cutout(panels[2], image, box, lines)
    for axis in panels:
        axis.set_anchor("C")
        axis.set_facecolor("black")
    _scale_bar(panels[0], box)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _scale_bar(axis: Axes, box: tuple[int, int, int, int]) -> None:
    """Draw a bar of 20 pixels."""
    x, y = box[0] + 0.06 * (box[1] - box[0]), box[2] + 0.07 * (box[3] - box[2])
    outline = [matplotlib.patheffects.withStroke(linewidth=3.0, foreground="black")]
    axis.plot([x, x + 20.0], [y, y], color="white", linewidth=1.6, path_effects=outline)
    axis.annotate(
        "20 pixels",
        (x, y),
        xytext=(0, 3),
        textcoords="offset points",
        fontsize=9,
        color="white",
        path_effects=outline,
    )
