# This file is part of meas_trails.
#
# Developed for the LSST Data Management System.
# This product includes software developed by the LSST Project
# (https://www.lsst.org).
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# This program is free software: you can redistribute it and/or modify
# it under the terms of the GNU General Public License as published by
# the Free Software Foundation, either version 3 of the License, or
# (at your option) any later version.
#
# This program is distributed in the hope that it will be useful,
# but WITHOUT ANY WARRANTY; without even the implied warranty of
# MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
# GNU General Public License for more details.
#
# You should have received a copy of the GNU General Public License
# along with this program.  If not, see <https://www.gnu.org/licenses/>.

"""Figures of single detectors."""

from __future__ import annotations

__all__ = ("detector_figure",)

from typing import Any

import astropy.table
import matplotlib.patheffects
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from .cutouts import CANDIDATE_COLOR, TRUTH_COLOR, stretch

_SATELLITE = "#CC79A7"
_PANEL_HEIGHT = 6.0
"""Height of a panel, inches."""

_MAX_SIDE = 1400
"""Larger images are binned for display, pixels."""


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
    step = max(1, int(np.ceil(max(image.shape) / _MAX_SIDE)))
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
        _label(axes[2], row, right_edge=extent[1] - 0.07 * nx)
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


def _label(axis: Any, row: astropy.table.Row, right_edge: float) -> None:
    """Write the score of a candidate beside its right end, or beside its left
    one where there is no room.
    """
    ends = sorted([(float(row["x0"]), float(row["y0"])), (float(row["x1"]), float(row["y1"]))])
    room = ends[1][0] < right_edge
    axis.annotate(
        f"{row['score']:.2f}",
        ends[1] if room else ends[0],
        xytext=(5, 3) if room else (-5, 3),
        ha="left" if room else "right",
        textcoords="offset points",
        fontsize=7,
        color=CANDIDATE_COLOR,
        path_effects=[matplotlib.patheffects.withStroke(linewidth=1.5, foreground="black")],
    )
