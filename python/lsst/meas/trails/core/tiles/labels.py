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

"""Labels of candidates as truth of tiles: real trails, hard negatives, and pixels without a truth."""

from __future__ import annotations

__all__ = ("LabeledTruth", "append_trails")

import dataclasses
from typing import Self

import astropy.table
import numpy as np
import numpy.typing as npt

from ..geometry import PixelToSky, Trails
from ..injection.truth import truth_table
from ..planes import ImagePlanes


@dataclasses.dataclass(frozen=True, eq=False)
class LabeledTruth:
    """Labeled candidates of one image, in array coordinates."""

    trails: Trails
    """Candidates labeled as trails, as fitted; fluxes in nJy."""

    unknown: Trails
    """Candidates labeled unsure, and trails without a flux."""

    artifacts: npt.NDArray[np.float64]
    """Midpoints x and y of the artifacts, shape (k, 2)."""

    @classmethod
    def from_labels(cls, labels: astropy.table.Table, origin: tuple[int, int] = (0, 0)) -> Self:
        """Return the labels of one image.

        Parameters
        ----------
        labels
            A `trail_label`. Rows without a finite line are left out.
        origin
            Coordinates (x, y) of the first pixel of the array in the image.
        """
        values = {
            name: np.asarray(labels[name], dtype=np.float64)
            for name in ("x", "y", "trailLengthPix", "trailAnglePix", "trailFlux")
        }
        x, y, length, angle, flux = values.values()
        lines = Trails(x - origin[0], y - origin[1], length, angle, flux)
        label = np.asarray(labels["label"]).astype(str)
        usable = np.all(np.isfinite([x, y, length, angle]), axis=0)
        bright = np.isfinite(flux) & (flux > 0.0)
        is_trail = usable & (label == "trail")
        middle = np.stack([lines.x, lines.y], axis=1)
        return cls(
            trails=lines[is_trail & bright],
            unknown=lines[(usable & (label == "unsure")) | (is_trail & ~bright)],
            artifacts=middle[(label == "artifact") & np.all(np.isfinite(middle), axis=1)],
        )


def append_trails(
    catalog: astropy.table.Table,
    trails: Trails,
    planes: ImagePlanes,
    flux_per_njy: npt.NDArray[np.float64],
    pixel_to_sky: PixelToSky | None = None,
) -> astropy.table.Table:
    """Return a truth table with additional rows for real trails.

    Parameters
    ----------
    catalog
        Truth table in array coordinates.
    trails
        The trails, array coordinates; fluxes in nJy.
    planes
        The image. It contains the trails, which adds their own noise to their SNR.
    flux_per_njy
        Image units per nJy of each trail.
    pixel_to_sky
        Map from array coordinates to the sky.

    Returns
    -------
    table
        A new table with the columns of the catalog; values that are not known are NaN, 0 or empty.
    """
    if len(trails) == 0:
        return catalog
    first = int(np.max(catalog["injection_id"])) + 1 if len(catalog) else 0
    scaled = dataclasses.replace(trails, flux=trails.flux * flux_per_njy)
    rows = truth_table(
        planes,
        scaled,
        flux_per_njy=flux_per_njy,
        pixel_to_sky=pixel_to_sky,
        injection_id=first + np.arange(len(trails), dtype=np.int64),
    )
    added = astropy.table.Table()
    for name in catalog.colnames:
        column = catalog[name]
        if name in rows.colnames:
            added[name] = rows[name]
        else:
            fill = np.nan if column.dtype.kind == "f" else 0 if column.dtype.kind != "U" else ""
            added[name] = np.full(len(trails), fill, dtype=column.dtype)
    return astropy.table.vstack([catalog, added], metadata_conflicts="silent")
