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

"""Figures of single detectors."""

from __future__ import annotations

__all__ = ("LARGE", "DetectorView", "detector_figure", "mosaic_figure")

import dataclasses
from collections.abc import Callable, Sequence

import astropy.table
import matplotlib.patheffects
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...core.geometry import Trail
from .cutouts import CANDIDATE_COLOR, TRUTH_COLOR, Line, cutout_box, draw_cutout, stretch

_SATELLITE = "#CC79A7"
_PANEL_HEIGHT = 6.0
"""Height of a panel, inches."""

LARGE = 1400
"""Side above which images are binned for display, which hides most trails, pixels."""


@dataclasses.dataclass(frozen=True, eq=False)
class DetectorView:
    """Image of a detector, with its candidates and truth."""

    image: npt.NDArray[np.floating]
    """Pixels, shape (ny, nx)."""

    probability: npt.NDArray[np.floating] | None
    """Trail probability, shape (ny, nx)."""

    candidates: astropy.table.Table
    """A `trail_candidate_detector`."""

    truth: astropy.table.Table | None = None
    """Truth table of the image."""

    origin: tuple[int, int] = (0, 0)
    """Coordinates (x, y) of the first pixel."""

    title: str = ""

    min_score: float = 0.0
    """Lowest score of drawn candidates."""

    @property
    def step(self) -> int:
        """Factor by which the image is binned for display."""
        return max(1, int(np.ceil(max(self.image.shape) / LARGE)))

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top edges of the binned image, pixels.

        Rows and columns that do not fill a bin are dropped.
        """
        (ny, nx), step = self.image.shape, self.step
        x0, y0 = self.origin[0] - 0.5, self.origin[1] - 0.5
        return x0, x0 + nx // step * step, y0, y0 + ny // step * step

    def chosen(self) -> astropy.table.Table:
        """Return the candidates with at least the lowest score."""
        return self.candidates[np.asarray(self.candidates["score"]) >= self.min_score]

    def of_type(self, source_type: str) -> astropy.table.Table:
        """Return the rows of the truth of a type."""
        if self.truth is None:
            return self.candidates[:0]
        return self.truth[np.asarray(self.truth["source_type"]).astype(str) == source_type]

    def draw_image(self, axis: Axes) -> None:
        """Draw the image, binned if it is large."""
        shown = stretch(_bin(self.image, self.step, np.mean))
        axis.imshow(shown, origin="lower", extent=self.extent, cmap="gray", vmin=0.0, vmax=1.0)
        self.limit(axis)

    def limit(self, axis: Axes) -> None:
        """Label an axis, and limit it to the image."""
        (ny, nx), (x0, _, y0, _) = self.image.shape, self.extent
        axis.set_xlim(x0, x0 + nx)
        axis.set_ylim(y0, y0 + ny)
        axis.set_xlabel("x (pixels)")

    def draw_lines(self, axis: Axes, truth_width: float, width: float, label: str) -> list[Line2D]:
        """Draw candidates over the truth, and return handles for a legend."""
        return [
            *_draw(axis, self.of_type("Trail"), TRUTH_COLOR, truth_width, "true trail", alpha=0.8),
            *_draw(axis, self.of_type("Satellite"), _SATELLITE, truth_width, "satellite", alpha=0.8),
            *_draw(axis, self.chosen(), CANDIDATE_COLOR, width, label),
        ]


def detector_figure(view: DetectorView) -> Figure:
    """Draw an image, its trail probability, and its candidates over the truth.

    Parameters
    ----------
    view
        The detector, with a probability.

    Returns
    -------
    figure
        Three panels side by side.
    """
    assert view.probability is not None
    ny, nx = view.image.shape
    panel = float(np.clip(_PANEL_HEIGHT * nx / ny, 3.0, 2.0 * _PANEL_HEIGHT))
    figure = Figure(figsize=(3.0 * panel + 1.6, _PANEL_HEIGHT + 1.2), layout="constrained")
    axes = figure.subplots(1, 3, sharex=True, sharey=True)
    view.draw_image(axes[0])
    axes[0].set_title("Image")
    axes[0].set_ylabel("y (pixels)")
    picture = axes[1].imshow(
        _bin(view.probability, view.step, np.max),
        origin="lower",
        extent=view.extent,
        cmap="magma",
        vmin=0.0,
        vmax=1.0,
    )
    view.limit(axes[1])
    axes[1].set_title("Trail probability")
    figure.colorbar(picture, ax=axes[1], shrink=0.8, label="probability")
    view.draw_image(axes[2])
    threshold = f", score ≥ {view.min_score:.2f}" if view.min_score > 0.0 else ""
    handles = view.draw_lines(axes[2], 5.0, 1.8, f"candidate{threshold}")
    for row in view.chosen():
        _label(axes[2], row, view.extent[1] - 0.07 * nx, f"{row['score']:.2f}")
    axes[2].set_title("Candidates with their scores" + ("" if view.truth is None else ", over the truth"))
    if handles:
        figure.legend(handles=handles, loc="outside lower right", ncols=len(handles), fontsize=9)
    figure.suptitle(view.title)
    return figure


def mosaic_figure(view: DetectorView, cutouts: int = 12) -> Figure:
    """Draw a large image with numbered candidates, and cutouts of the best.

    Parameters
    ----------
    view
        The detector; without a probability the cutouts show the image only.
    cutouts
        Largest number of candidates shown at full resolution.

    Returns
    -------
    figure
        The image at the left, the cutouts at the right.
    """
    chosen = view.chosen()
    chosen = chosen[np.argsort(-np.asarray(chosen["score"]), kind="stable")]
    count = min(cutouts, len(chosen))
    columns = int(np.clip(np.ceil(count / 4), 1, 3))
    rows = max(1, int(np.ceil(count / columns)))
    overview = 9.0 * view.image.shape[1] / view.image.shape[0]
    width = 4.2 * columns * bool(count)
    figure = Figure(figsize=(overview + width + 0.8, 10.0), layout="constrained")
    ratios = (overview, max(width, 0.01))
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=ratios)[0]
    axis = left.subplots()
    view.draw_image(axis)
    axis.set_ylabel("y (pixels)")
    handles = view.draw_lines(axis, 4.0, 1.6, "candidate")
    for number, row in enumerate(chosen[:count], start=1):
        _label(axis, row, view.origin[0] + 0.93 * view.image.shape[1], str(number), size=11)
    above = f" with a score ≥ {view.min_score:.2f}" if view.min_score > 0.0 else ""
    axis.set_title(f"{view.title}: {len(chosen)} candidate{'s' if len(chosen) != 1 else ''}{above}")
    if handles:
        left.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=9)
    if count == 0:
        return figure
    panels = right.subplots(rows, columns * 2, squeeze=False)
    for axis in panels.ravel():
        axis.set_axis_off()
    for number, row in enumerate(chosen[:count]):
        pair = panels[number % rows][2 * (number // rows) : 2 * (number // rows) + 2]
        _draw_pair(pair, view, row)
        pair[0].set_title(
            f"{number + 1}:  score {row['score']:.2f}, SNR {row['snr']:.1f}, "
            f"{row['trailLengthPix']:.0f} pixels",
            fontsize=9,
            loc="left",
        )
    best = f"The best {count}, at" if count < len(chosen) else "At"
    right.suptitle(
        f"{best} full resolution: image with the ends marked, probability with the lines", fontsize=11
    )
    return figure


def _draw_pair(pair: Sequence[Axes], view: DetectorView, row: astropy.table.Row) -> None:
    """Draw the image and the probability of a candidate at full resolution."""
    (ny, nx), (x0, y0) = view.image.shape, view.origin
    fitted = Line(_trail(row), CANDIDATE_COLOR)
    left, right, bottom, top = box = cutout_box([fitted], (x0, x0 + nx, y0, y0 + ny))
    part = (slice(bottom - y0, top - y0), slice(left - x0, right - x0))
    known = [Line(_trail(true), TRUTH_COLOR, dashed=True) for true in view.of_type("Trail")]
    pair[0].set_axis_on()
    draw_cutout(pair[0], view.image[part], box, [*known, fitted], ends_only=True)
    if view.probability is not None:
        pair[1].set_axis_on()
        draw_cutout(pair[1], view.probability[part], box, [*known, fitted], probability=True)


def _trail(row: astropy.table.Row) -> Trail:
    return Trail.from_ends(*(float(row[name]) for name in ("x0", "y0", "x1", "y1")))


def _bin(
    array: npt.NDArray[np.floating], step: int, reduce: Callable[..., npt.ArrayLike]
) -> npt.NDArray[np.floating]:
    """Bin an image by an integer factor, dropping the incomplete rest."""
    if step == 1:
        return array
    ny, nx = array.shape[0] // step, array.shape[1] // step
    blocks = array[: ny * step, : nx * step].reshape(ny, step, nx, step)
    return np.asarray(reduce(blocks, axis=(1, 3)))


def _draw(
    axis: Axes, table: astropy.table.Table, color: str, width: float, label: str, alpha: float = 1.0
) -> list[Line2D]:
    """Draw the segments of a table; returns a handle for the legend."""
    if len(table) == 0:
        return []
    gap = np.full(len(table), np.nan)
    x, y = (np.stack([table[f"{n}0"], table[f"{n}1"], gap], axis=1).ravel() for n in "xy")
    return axis.plot(x, y, color=color, linewidth=width, alpha=alpha, label=label, solid_capstyle="round")


def _label(axis: Axes, row: astropy.table.Row, right_edge: float, text: str, size: int = 7) -> None:
    """Write a text at the right end of a candidate, or at the left end near the edge."""
    ends = sorted([(float(row["x0"]), float(row["y0"])), (float(row["x1"]), float(row["y1"]))])
    room = ends[1][0] < right_edge
    axis.annotate(
        text,
        ends[1] if room else ends[0],
        xytext=(5, 3) if room else (-5, 3),
        ha="left" if room else "right",
        textcoords="offset points",
        fontsize=size,
        color=CANDIDATE_COLOR,
        path_effects=[matplotlib.patheffects.withStroke(linewidth=1.5, foreground="black")],
    )
