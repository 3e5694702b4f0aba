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

"""One picture with the cutouts of many candidates."""

from __future__ import annotations

__all__ = ("ContactSheet",)

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ...core.cutouts import Cutout
from ...core.geometry import Trail
from .cutouts import CANDIDATE_COLOR, stretch

_PANEL = 112
"""Side of a panel on the sheet, pixels."""

_GAP = 3
_LABEL = 15
"""Height of a line of text, pixels."""

_MIN_HALF_GAP = 6.0
"""Distance of the marks from the ends of a trail, pixels of the cutout."""


class ContactSheet:
    """Tiles of candidates, in a grid.

    A tile has a panel for each image, and the searched image again with the trail: two lines point to its
    ends from outside, so that they do not cover it.

    Parameters
    ----------
    images
        Names of the images, in the order of the panels; a cutout may lack some.
    columns
        Largest number of tiles in a row.
    """

    def __init__(self, images: Sequence[str], columns: int = 3) -> None:
        self._images = tuple(images)
        self._columns = columns
        self._tiles: dict[int, Image.Image] = {}
        self._font = ImageFont.truetype(
            f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf", size=_LABEL - 4
        )

    def __len__(self) -> int:
        return len(self._tiles)

    def add(self, place: int, cutout: Cutout, searched: str, trail: Trail, labels: Sequence[str]) -> None:
        """Add the tile of a candidate.

        Parameters
        ----------
        place
            Place in the order of the sheet.
        cutout
            Cutout with arrays of these names; ``probability`` is drawn on a scale from 0 to 1, others with a
            stretch for noise and stars.
        searched
            Name of the image on which the trail is marked.
        trail
            The trail in the image's own coordinates.
        labels
            Two lines of text.
        """
        panels = [_panel(cutout.arrays, name) for name in self._images]
        panels.append(_marked(_panel(cutout.arrays, searched), cutout, trail))
        width = len(panels) * (_PANEL + _GAP) + _GAP
        tile = Image.new("RGB", (width, _PANEL + 2 * _LABEL + _GAP), "black")
        for number, panel in enumerate(panels):
            tile.paste(panel, (_GAP + number * (_PANEL + _GAP), 0))
        draw = ImageDraw.Draw(tile)
        for line, text in enumerate(labels[:2]):
            draw.text((_GAP, _PANEL + line * _LABEL), text, font=self._font, fill="white")
        self._tiles[place] = tile

    def picture(self) -> npt.NDArray[np.uint8]:
        """Return the sheet, with a header that names the panels: shape (ny, nx, 3), uint8.

        Raises
        ------
        ValueError
            Raised if there are no tiles.
        """
        if not self._tiles:
            raise ValueError("A contact sheet needs at least one cutout.")
        tiles = [self._tiles[place] for place in sorted(self._tiles)]
        columns = min(self._columns, len(tiles))
        width, height = tiles[0].width + 4 * _GAP, tiles[0].height
        rows = -(-len(tiles) // columns)
        sheet = Image.new("RGB", (columns * width, _LABEL + 2 * _GAP + rows * height), "#202020")
        draw = ImageDraw.Draw(sheet)
        for column in range(columns):
            for number, name in enumerate((*self._images, "trail")):
                x = column * width + 2 * _GAP + number * (_PANEL + _GAP)
                draw.text((x, _GAP), name, font=self._font, fill="white")
        for index, tile in enumerate(tiles):
            row, column = divmod(index, columns)
            sheet.paste(tile, (column * width + 2 * _GAP, _LABEL + 2 * _GAP + row * height))
        return np.asarray(sheet)


def _panel(arrays: Mapping[str, npt.NDArray[np.floating]], name: str) -> Image.Image:
    """Return an image as a panel, with the first row of pixels at the bottom."""
    if name not in arrays:
        return Image.new("RGB", (_PANEL, _PANEL), "#202020")
    array = arrays[name]
    if name == "probability":
        values = matplotlib.colormaps["magma"](np.nan_to_num(array), bytes=True)[..., :3]
    else:
        values = np.repeat((255.0 * stretch(array)).astype(np.uint8)[..., None], 3, axis=2)
    picture = Image.fromarray(np.ascontiguousarray(values[::-1]))
    shrinks = max(picture.size) > _PANEL
    return picture.resize((_PANEL, _PANEL), Image.Resampling.BOX if shrinks else Image.Resampling.NEAREST)


def _marked(panel: Image.Image, cutout: Cutout, trail: Trail) -> Image.Image:
    """Return a panel with lines that point to the ends of a trail."""
    draw = ImageDraw.Draw(panel)
    scale = _PANEL / cutout.side
    for x, y, sign in ((*trail.ends[:2], -1.0), (*trail.ends[2:], 1.0)):
        points = []
        for distance in (_MIN_HALF_GAP, _MIN_HALF_GAP + 14.0):
            column = x + sign * distance * trail.direction[0] - cutout.box[0] + 0.5
            row = y + sign * distance * trail.direction[1] - cutout.box[2] + 0.5
            points.append((column * scale, (cutout.side - row) * scale))
        draw.line(points, fill=CANDIDATE_COLOR, width=2)
    return panel
