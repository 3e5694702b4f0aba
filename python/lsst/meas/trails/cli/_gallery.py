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

"""Cutouts of what was found, missed and wrongly found."""

from __future__ import annotations

__all__ = ("Gallery",)

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import astropy.table

    from lsst.daf.butler import Butler

    from ..core.geometry import Trail
    from ..evaluation.report.page import GalleryItem, GalleryPart


class Gallery:
    """Draws trails, with the pixels that a Butler has of them.

    Parameters
    ----------
    butler
        Has the images, the probabilities and the candidates.
    number
        Pictures of each kind.
    """

    def __init__(self, butler: Butler, number: int) -> None:
        self._butler = butler
        self._number = number
        self._missing: set[str] = set()
        self._images: dict[tuple[str, int, int], tuple[str, tuple[int, int, int, int]] | None] = {}

    @property
    def missing(self) -> list[str]:
        """What pictures would have needed and is not there."""
        return sorted(self._missing)

    def parts(self, matches: Iterable[astropy.table.Table], threshold: float) -> list[GalleryPart]:
        """Return the galleries of an evaluation.

        Parameters
        ----------
        matches
            The `matched_injected_trail_detector` of each detector, with a
            column ``instrument``; of each only the rows that may be shown
            are kept in memory.
        threshold
            Score from which on a trail is found.
        """
        from ..evaluation.report.page import GalleryPart

        kept: dict[str, list[tuple[float, astropy.table.Row]]] = {"found": [], "missed": [], "false": []}
        for table in matches:
            for kind, (rows, key) in _choices(table, threshold).items():
                kept[kind] += [(float(key[index]), table[int(index)]) for index in rows]
                # The sort is stable: of equals the first detector's come first.
                kept[kind] = sorted(kept[kind], key=lambda entry: entry[0])[: self._number]
        panels = "Left the image, in the middle the trail probability, right the image with lines over it."
        colors = "The true trail is dashed and blue, the fitted one solid and orange."
        texts = {
            "found": (
                "Best finds",
                f"Trails that were found although they are the faintest, by their optimal SNR. {panels} "
                f"{colors}",
            ),
            "missed": (
                "Misses",
                f"Trails that were not found although they are the brightest, by their optimal SNR. {panels} "
                f"{colors} A candidate below the threshold is drawn, too.",
            ),
            "false": (
                "False detections",
                f"Candidates on no trail, with the highest scores. {panels} The candidate is solid and "
                "orange.",
            ),
        }
        parts = []
        for kind, (title, caption) in texts.items():
            items = [item for _, row in kept[kind] if (item := self._item(row)) is not None]
            none = "" if kept[kind] else " There are none."
            parts.append(GalleryPart(title, caption + none, items))
        return parts

    def _item(self, row: astropy.table.Row) -> GalleryItem | None:
        import numpy as np

        from ..evaluation.figures.cutouts import (
            CANDIDATE_COLOR,
            TRUTH_COLOR,
            Line,
            cutout_box,
            cutout_picture,
        )
        from ..evaluation.report.page import GalleryItem

        lines = []
        if row["isTrail"]:
            lines.append(
                Line(_trail(row, ("trueX0", "trueY0", "trueX1", "trueY1")), TRUTH_COLOR, dashed=True)
            )
        if row["isCandidate"]:
            lines.append(Line(_trail(row, ("x0", "y0", "x1", "y1")), CANDIDATE_COLOR))
        where = self._image(str(row["instrument"]), int(row["visit"]), int(row["detector"]))
        if where is None or not lines or not np.all(np.isfinite(lines[0].trail.ends)):
            return None
        image_type, bounds = where
        box = cutout_box(lines, bounds)
        data_id = self._data_id(str(row["instrument"]), int(row["visit"]), int(row["detector"]))
        image = self._pixels(f"{image_type}.image", data_id, box)
        if image is None:
            return None
        picture = cutout_picture(image, self._pixels("trail_probability", data_id, box), box, lines)
        caption = _caption(row)
        return GalleryItem(picture, caption, f"Image, probability and lines: {caption}")

    def _data_id(self, instrument: str, visit: int, detector: int) -> dict[str, Any]:
        return {"instrument": instrument, "visit": visit, "detector": detector}

    def _image(
        self, instrument: str, visit: int, detector: int
    ) -> tuple[str, tuple[int, int, int, int]] | None:
        """Return the dataset type and the bounds of the image of a detector."""
        key = (instrument, visit, detector)
        if key not in self._images:
            self._images[key] = self._find_image(*key)
        return self._images[key]

    def _find_image(
        self, instrument: str, visit: int, detector: int
    ) -> tuple[str, tuple[int, int, int, int]] | None:
        from ..repository.candidates import CATALOG_TYPE, image_type_of

        data_id = self._data_id(instrument, visit, detector)
        try:
            catalog = self._butler.get(CATALOG_TYPE, data_id, parameters={"strip_astropy_meta_yaml": False})
            image_type = image_type_of(catalog)
            bbox = self._butler.get(f"{image_type}.bbox", data_id)
        except LookupError as error:
            self._missing.add(f"visit {visit}, detector {detector}: {error}")
            return None
        return image_type, (bbox.x.start, bbox.x.stop, bbox.y.start, bbox.y.stop)

    def _pixels(self, name: str, data_id: dict[str, Any], box: tuple[int, int, int, int]) -> Any:
        from lsst.images import Box

        try:
            part = self._butler.get(
                name, data_id, parameters={"bbox": Box.factory[box[2] : box[3], box[0] : box[1]]}
            )
        except LookupError:
            self._missing.add(f"{name} of visit {data_id['visit']}, detector {data_id['detector']}")
            return None
        return part.array


def _choices(table: astropy.table.Table, threshold: float) -> dict[str, tuple[Any, Any]]:
    """Return the rows of each kind, and what they are sorted by."""
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
    """Return what a picture shows, in numbers."""
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
