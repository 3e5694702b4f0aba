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

"""Cutouts of found trails, missed trails and false candidates."""

from __future__ import annotations

__all__ = ("Gallery",)

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import astropy.table
    import numpy as np
    import numpy.typing as npt

    from lsst.daf.butler import Butler

    from ..core.geometry import Trail
    from ..evaluation.figures.cutouts import Line
    from ..evaluation.report.page import GalleryItem, GalleryPart


type DataId = dict[str, int | str]

type Bounds = tuple[int, int, int, int]
"""First and last-plus-one column, first and last-plus-one row."""


class Gallery:
    """Galleries of found trails, missed trails and false candidates.

    Parameters
    ----------
    butler
        Butler with the images, the probabilities and the candidates.
    number
        Number of pictures of each kind.
    """

    def __init__(self, butler: Butler, number: int) -> None:
        self._butler = butler
        self._number = number
        self._missing: set[str] = set()
        self._images: dict[tuple[int | str, ...], tuple[str, Bounds] | None] = {}

    @property
    def missing(self) -> list[str]:
        """Datasets that pictures need but that do not exist."""
        return sorted(self._missing)

    def parts(self, matches: Iterable[astropy.table.Table], threshold: float) -> list[GalleryPart]:
        """Return the galleries of an evaluation.

        Parameters
        ----------
        matches
            The `matched_injected_trail_detector` of each detector, with a column ``instrument``.
        threshold
            Lowest score of a found trail.
        """
        from ..evaluation.report.page import GalleryPart

        kept: dict[str, list[tuple[float, astropy.table.Row]]] = {"found": [], "missed": [], "false": []}
        for table in matches:
            for kind, (rows, key) in _choices(table, threshold).items():
                kept[kind] += [(float(key[index]), table[int(index)]) for index in rows]
                kept[kind] = sorted(kept[kind], key=lambda entry: entry[0])[: self._number]
        panels = "Panels: image, trail probability, image with lines."
        colors = "The true trail is dashed and blue, the fitted trail solid and orange."
        texts = {
            "found": ("Best finds", f"The faintest found trails, by optimal SNR. {panels} {colors}"),
            "missed": (
                "Misses",
                f"The brightest missed trails, by optimal SNR. {panels} {colors} Candidates below the "
                "threshold are drawn, too.",
            ),
            "false": (
                "False detections",
                f"Candidates with the highest scores that are not on a trail. {panels} The candidate is "
                "solid and orange.",
            ),
        }
        parts = []
        for kind, (title, caption) in texts.items():
            items = [item for _, row in kept[kind] if (item := self._item(row)) is not None]
            parts.append(GalleryPart(title, caption if kept[kind] else f"{caption} There are none.", items))
        return parts

    def missed_known_objects(self, missed: astropy.table.Table) -> GalleryPart:
        """Return the gallery of missed known objects.

        Parameters
        ----------
        missed
            Rows of `trail_known_object_detector` with a column ``instrument``, best first.
        """
        from ..evaluation.figures.cutouts import TRUTH_COLOR, Line
        from ..evaluation.report.page import GalleryPart

        items = []
        for row in missed[: self._number]:
            line = Line(_trail(row, ("x0", "y0", "x1", "y1")), TRUTH_COLOR, dashed=True)
            caption = (
                f"{row['designation']}: visit {row['visit']}, detector {row['detector']}, expected SNR "
                f"{row['expectedSnr']:.1f}, {row['expectedLengthPix']:.0f} pixels; {row['missedReason']}."
            )
            if (item := self._drawn(row, [line], caption)) is not None:
                items.append(item)
        return GalleryPart(
            "Brightest missed objects",
            "Missed objects of the largest expected SNR. Panels: image, trail probability, image with the "
            "predicted trail, dashed and blue.",
            items,
        )

    def _item(self, row: astropy.table.Row) -> GalleryItem | None:
        from ..evaluation.figures.cutouts import CANDIDATE_COLOR, TRUTH_COLOR, Line

        lines = []
        if row["isTrail"]:
            lines.append(
                Line(_trail(row, ("trueX0", "trueY0", "trueX1", "trueY1")), TRUTH_COLOR, dashed=True)
            )
        if row["isCandidate"]:
            lines.append(Line(_trail(row, ("x0", "y0", "x1", "y1")), CANDIDATE_COLOR))
        return self._drawn(row, lines, _caption(row))

    def _drawn(self, row: astropy.table.Row, lines: list[Line], caption: str) -> GalleryItem | None:
        """Return the picture of trails on the image of a row."""
        import numpy as np

        from ..evaluation.figures.cutouts import cutout_box, cutout_picture
        from ..evaluation.report.page import GalleryItem

        data_id: DataId = {
            "instrument": str(row["instrument"]),
            "visit": int(row["visit"]),
            "detector": int(row["detector"]),
        }
        where = self._image(data_id)
        if where is None or not lines or not np.all(np.isfinite(lines[0].trail.ends)):
            return None
        image_type, bounds = where
        box = cutout_box(lines, bounds)
        image = self._pixels(f"{image_type}.image", data_id, box)
        if image is None:
            return None
        picture = cutout_picture(image, self._pixels("trail_probability", data_id, box), box, lines)
        return GalleryItem(picture, caption, f"Image, probability and lines: {caption}")

    def _image(self, data_id: DataId) -> tuple[str, Bounds] | None:
        """Return the dataset type and the bounds of the image of a detector."""
        from ..repository.candidates import CATALOG_TYPE, image_type_of, read_catalog
        from ..repository.pixels import read_box

        key = tuple(data_id.values())
        if key not in self._images:
            try:
                image_type = image_type_of(read_catalog(self._butler, CATALOG_TYPE, data_id))
                bbox = read_box(self._butler, image_type, data_id)
                self._images[key] = image_type, (bbox.x.start, bbox.x.stop, bbox.y.start, bbox.y.stop)
            except LookupError as error:
                self._missing.add(f"visit {data_id['visit']}, detector {data_id['detector']}: {error}")
                self._images[key] = None
        return self._images[key]

    def _pixels(self, name: str, data_id: DataId, box: Bounds) -> npt.NDArray[np.floating] | None:
        from lsst.images import Box

        from ..repository.pixels import read_pixels

        try:
            pixels, _ = read_pixels(
                self._butler, name, data_id, Box.factory[box[2] : box[3], box[0] : box[1]]
            )
        except LookupError:
            self._missing.add(f"{name} of visit {data_id['visit']}, detector {data_id['detector']}")
            return None
        return pixels


def _choices(
    table: astropy.table.Table, threshold: float
) -> dict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.floating]]]:
    """Return the rows of each kind, and the sort key of each row."""
    import numpy as np

    counted = np.asarray(table["isTrail"]) & np.asarray(table["isCounted"])
    score = np.where(np.asarray(table["isCandidate"]), np.asarray(table["score"]), -np.inf)
    above = score >= threshold
    snr = np.asarray(table["snrOptimal"])
    return {
        "found": (np.flatnonzero(counted & above), snr),
        "missed": (np.flatnonzero(counted & ~above), -snr),
        "false": (np.flatnonzero(np.asarray(table["isFalse"]) & above), -score),
    }


def _trail(row: astropy.table.Row, names: tuple[str, str, str, str]) -> Trail:
    from ..core.geometry import Trail

    return Trail.from_ends(*(float(row[name]) for name in names))


def _caption(row: astropy.table.Row) -> str:
    """Return the numbers of the trail and the candidate in a picture."""
    words = [f"Visit {row['visit']}, detector {row['detector']}."]
    if row["isTrail"]:
        words.append(
            f"True: SNR {row['snrOptimal']:.1f}, {row['trueLength']:.0f} pixels, {row['trueAngle']:.0f}°, "
            f"mag {row['trueMag']:.1f}."
        )
    if row["isCandidate"]:
        words.append(
            f"Fitted: score {row['score']:.2f}, SNR {row['snr']:.1f}, {row['trailLengthPix']:.0f} pixels, "
            f"{row['trailAnglePix']:.0f}°, mag {row['trailMag']:.1f}."
        )
    else:
        words.append("No candidate.")
    return " ".join(words)
