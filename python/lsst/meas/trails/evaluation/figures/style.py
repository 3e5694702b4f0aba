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

"""Colors, markers, lines and axes that the figures share."""

from __future__ import annotations

__all__ = ("STYLES", "bin_edges", "error_bars", "finish_fractions", "legend_below", "log_axis", "style")

from collections.abc import Mapping, Sequence
from typing import Any

import astropy.table
import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

STYLES: tuple[tuple[str, str, str], ...] = (
    ("#0072B2", "o", "-"),
    ("#D55E00", "s", "-"),
    ("#009E73", "^", "--"),
    ("#CC79A7", "D", "--"),
    ("#000000", "v", ":"),
    ("#E69F00", "P", "-."),
    ("#56B4E9", "X", "-."),
)
"""Color, marker and line of the first, second, ... curve.

The colors of Okabe and Ito (2008) are distinguishable with color blindness.
"""


def style(number: int) -> dict[str, Any]:
    """Return the keywords of `~matplotlib.axes.Axes.plot` for a curve."""
    color, marker, line = STYLES[number % len(STYLES)]
    return {"color": color, "marker": marker, "linestyle": line, "markersize": 5}


def error_bars(rows: astropy.table.Table) -> npt.NDArray[np.float64]:
    """Return the lengths of the error bars of metrics, shape (2, n)."""
    value = np.asarray(rows["value"])
    return np.clip(np.stack([value - rows["valueLow"], rows["valueHigh"] - value]), 0.0, None)


def bin_edges(rows: astropy.table.Table) -> list[float]:
    """Return the edges of the bins of metrics."""
    return sorted({*map(float, rows["low"]), *map(float, rows["high"])})


_LABEL_STEP = 0.055
"""Least distance of two labels of a logarithmic axis, as a fraction of the axis."""


def log_axis(axis: Axes, edges: Sequence[float]) -> None:
    """Make a logarithmic x axis with ticks at the edges of bins.

    Edges that are too close to the previous label, as on a wide range of SNR, have no tick.
    """
    axis.set_xscale("log")
    axis.set_xlim(edges[0] * 0.97, edges[-1] * 1.03)
    step = (edges[-1] / edges[0]) ** _LABEL_STEP
    labeled = [edges[0]]
    for edge in edges[1:]:
        if edge >= step * labeled[-1]:
            labeled.append(edge)
    axis.xaxis.set_major_locator(FixedLocator(labeled))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.tick_params(axis="x", labelsize=9)


def finish_fractions(axis: Axes, label: str = "") -> None:
    """Add grid, limits and label of a y axis that shows fractions."""
    axis.set_ylim(-0.03, 1.03)
    axis.grid(alpha=0.25)
    axis.set_ylabel(label)


def legend_below(figure: Figure, handles: Mapping[str, Artist]) -> None:
    """Add a legend below all panels, where it hides nothing."""
    columns = max(1, min(len(handles), 4))
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=columns)
