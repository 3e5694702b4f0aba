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

__all__ = ("LARGE", "detector_figure", "mosaic_figure")

from typing import Any

import astropy.table
import matplotlib.patheffects
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from ...core.geometry import Trail
from .cutouts import CANDIDATE_COLOR, TRUTH_COLOR, Line, cutout_box, draw_cutout, stretch

_SATELLITE = "#CC79A7"
_PANEL_HEIGHT = 6.0
"""Height of a panel, inches."""

LARGE = 1400
"""Larger images are binned for display, in which trails can hardly be seen,
pixels.
"""


def detector_figure(
    image: npt.NDArray[np.floating],
    probability: npt.NDArray[np.floating],
    candidates: astropy.table.Table,
    truth: astropy.table.Table | None = None,
    *,
    origin: tuple[int, int] = (0, 0),
    title: str = "",
    min_score: float = 0.0,
) -> Figure:
    """Draw an image, its trail probability, and candidates over the truth.

    Parameters
    ----------
    image, probability
        Shape (ny, nx).
    candidates
        A `trail_candidate_detector`; those below ``min_score`` are left out.
    truth
        What is known to be there, if anything is.
    origin
        Coordinates (x, y) of the first pixel.
    title
        Heading.
    min_score
        Least score drawn.

    Returns
    -------
    figure : `matplotlib.figure.Figure`
        Three panels, one beside the other.
    """
    ny, nx = image.shape
    panel = float(np.clip(_PANEL_HEIGHT * nx / ny, 3.0, 2.0 * _PANEL_HEIGHT))
    figure = Figure(figsize=(3.0 * panel + 1.6, _PANEL_HEIGHT + 1.2), layout="constrained")
    axes = figure.subplots(1, 3, sharex=True, sharey=True)
    step = max(1, int(np.ceil(max(image.shape) / LARGE)))
    # Binning drops the rows and columns that fill no bin.
    x0, y0 = origin[0] - 0.5, origin[1] - 0.5
    extent = (x0, x0 + nx // step * step, y0, y0 + ny // step * step)
    shown = stretch(_bin(image, step, np.mean))
    peak = _bin(probability, step, np.max)
    for axis in (axes[0], axes[2]):
        axis.imshow(shown, origin="lower", extent=extent, cmap="gray", vmin=0.0, vmax=1.0)
    axes[0].set_title("Image")
    picture = axes[1].imshow(peak, origin="lower", extent=extent, cmap="magma", vmin=0.0, vmax=1.0)
    axes[1].set_title("Trail probability")
    figure.colorbar(picture, ax=axes[1], shrink=0.8, label="probability")
    chosen = candidates[np.asarray(candidates["score"]) >= min_score]
    handles = []
    if truth is not None:
        kind = np.asarray(truth["source_type"]).astype(str)
        handles += _draw(axes[2], truth[kind == "Trail"], TRUTH_COLOR, 5.0, "true trail", alpha=0.8)
        handles += _draw(axes[2], truth[kind == "Satellite"], _SATELLITE, 5.0, "satellite", alpha=0.8)
    threshold = f", score ≥ {min_score:.2f}" if min_score > 0.0 else ""
    handles += _draw(axes[2], chosen, CANDIDATE_COLOR, 1.8, f"candidate{threshold}")
    for row in chosen:
        _label(axes[2], row, extent[1] - 0.07 * nx, f"{row['score']:.2f}")
    against = "Candidates with their scores" + ("" if truth is None else ", over the truth")
    axes[2].set_title(against)
    if handles:
        # Below the panels, where it hides nothing.
        figure.legend(handles=handles, loc="outside lower right", ncols=len(handles), fontsize=9)
    for axis in axes:
        axis.set_xlabel("x (pixels)")
    axes[0].set_ylabel("y (pixels)")
    axes[0].set_xlim(x0, x0 + nx)
    axes[0].set_ylim(y0, y0 + ny)
    figure.suptitle(title)
    return figure


def mosaic_figure(
    image: npt.NDArray[np.floating],
    probability: npt.NDArray[np.floating] | None,
    candidates: astropy.table.Table,
    truth: astropy.table.Table | None = None,
    *,
    origin: tuple[int, int] = (0, 0),
    title: str = "",
    min_score: float = 0.0,
    cutouts: int = 12,
) -> Figure:
    """Draw a large image with numbered candidates, and the best of them at
    full resolution beside it.

    Parameters
    ----------
    image, probability
        Shape (ny, nx); without a probability the cutouts show the image only.
    candidates
        A `trail_candidate_detector`; those below ``min_score`` are left out.
    truth
        What is known to be there, if anything is.
    origin
        Coordinates (x, y) of the first pixel.
    title
        Heading.
    min_score
        Least score drawn.
    cutouts
        So many candidates are shown at full resolution at most.

    Returns
    -------
    figure : `matplotlib.figure.Figure`
    """
    chosen = candidates[np.asarray(candidates["score"]) >= min_score]
    chosen = chosen[np.argsort(-np.asarray(chosen["score"]), kind="stable")]
    count = min(cutouts, len(chosen))
    columns = int(np.clip(np.ceil(count / 4), 1, 3))
    rows = max(1, int(np.ceil(count / columns)))
    overview = 9.0 * image.shape[1] / image.shape[0]
    figure = Figure(figsize=(overview + 4.2 * columns * bool(count) + 0.8, 10.0), layout="constrained")
    subfigures = figure.subfigures(
        1, 2, squeeze=False, width_ratios=(overview, max(4.2 * columns * bool(count), 0.01))
    )
    left, right = subfigures[0]
    axis = left.subplots()
    handles = _draw_overview(axis, image, chosen, truth, origin, min_score)
    for number, row in enumerate(chosen[:count], start=1):
        _label(axis, row, origin[0] + 0.93 * image.shape[1], str(number), size=11)
    above = f" with a score ≥ {min_score:.2f}" if min_score > 0.0 else ""
    axis.set_title(f"{title}: {len(chosen)} candidate{'s' if len(chosen) != 1 else ''}{above}")
    if handles:
        left.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=9)
    if count == 0:
        return figure
    panels = right.subplots(rows, columns * 2, squeeze=False)
    for axis in panels.ravel():
        axis.set_axis_off()
    for number, row in enumerate(chosen[:count]):
        pair = panels[number % rows][2 * (number // rows) : 2 * (number // rows) + 2]
        _draw_pair(pair, image, probability, row, truth, origin)
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


def _draw_overview(
    axis: Any,
    image: npt.NDArray[np.floating],
    chosen: astropy.table.Table,
    truth: astropy.table.Table | None,
    origin: tuple[int, int],
    min_score: float,
) -> list[Any]:
    """Draw an image with candidates and truth; returns handles for a legend."""
    ny, nx = image.shape
    step = max(1, int(np.ceil(max(image.shape) / LARGE)))
    x0, y0 = origin[0] - 0.5, origin[1] - 0.5
    extent = (x0, x0 + nx // step * step, y0, y0 + ny // step * step)
    axis.imshow(
        stretch(_bin(image, step, np.mean)), origin="lower", extent=extent, cmap="gray", vmin=0.0, vmax=1.0
    )
    handles = []
    if truth is not None:
        kind = np.asarray(truth["source_type"]).astype(str)
        handles += _draw(axis, truth[kind == "Trail"], TRUTH_COLOR, 4.0, "true trail", alpha=0.8)
        handles += _draw(axis, truth[kind == "Satellite"], _SATELLITE, 4.0, "satellite", alpha=0.8)
    handles += _draw(axis, chosen, CANDIDATE_COLOR, 1.6, "candidate")
    axis.set_xlim(x0, x0 + nx)
    axis.set_ylim(y0, y0 + ny)
    axis.set_xlabel("x (pixels)")
    axis.set_ylabel("y (pixels)")
    return handles


def _draw_pair(
    pair: Any,
    image: npt.NDArray[np.floating],
    probability: npt.NDArray[np.floating] | None,
    row: astropy.table.Row,
    truth: astropy.table.Table | None,
    origin: tuple[int, int],
) -> None:
    """Draw a candidate at full resolution: the image and its probability."""
    ny, nx = image.shape
    fitted = Line(_trail(row), CANDIDATE_COLOR)
    box = cutout_box([fitted], (origin[0], origin[0] + nx, origin[1], origin[1] + ny))
    part = (slice(box[2] - origin[1], box[3] - origin[1]), slice(box[0] - origin[0], box[1] - origin[0]))
    known: list[Line] = []
    if truth is not None:
        trails = truth[np.asarray(truth["source_type"]).astype(str) == "Trail"]
        known = [Line(_trail(known_row), TRUTH_COLOR, dashed=True) for known_row in trails]
    pair[0].set_axis_on()
    draw_cutout(pair[0], image[part], box, [*known, fitted], ends_only=True)
    if probability is not None:
        pair[1].set_axis_on()
        draw_cutout(pair[1], probability[part], box, [*known, fitted], probability=True)


def _trail(row: astropy.table.Row) -> Trail:
    return Trail.from_ends(float(row["x0"]), float(row["y0"]), float(row["x1"]), float(row["y1"]))


def _bin(array: npt.NDArray[np.floating], step: int, reduce: Any) -> npt.NDArray[np.floating]:
    """Bin an image by an integer factor, dropping the incomplete rest."""
    if step == 1:
        return array
    ny, nx = array.shape[0] // step, array.shape[1] // step
    blocks = array[: ny * step, : nx * step].reshape(ny, step, nx, step)
    return np.asarray(reduce(blocks, axis=(1, 3)))


def _draw(
    axis: Any, table: astropy.table.Table, color: str, width: float, label: str, alpha: float = 1.0
) -> list[Any]:
    """Draw the segments of a table; returns a handle for the legend."""
    if len(table) == 0:
        return []
    x = np.stack([table["x0"], table["x1"], np.full(len(table), np.nan)], axis=1).ravel()
    y = np.stack([table["y0"], table["y1"], np.full(len(table), np.nan)], axis=1).ravel()
    return list(
        axis.plot(x, y, color=color, linewidth=width, alpha=alpha, label=label, solid_capstyle="round")
    )


def _label(axis: Any, row: astropy.table.Row, right_edge: float, text: str, size: int = 7) -> None:
    """Write something beside the right end of a candidate, or beside its left
    one where there is no room.
    """
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
