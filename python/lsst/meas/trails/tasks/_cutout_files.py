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

"""FITS cutouts and a contact sheet of the candidates of a collection."""

from __future__ import annotations

__all__ = ("SHEET_LIMIT", "CutoutFiles", "write_cutouts")

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import astropy.table
import numpy as np
from PIL import Image

from ..core.atomic import atomic_folder
from ..core.catalog.selection import CandidateSelection
from ..core.cutout_fits import cutout_hdus, local_cd_matrices
from ..core.cutouts import CUTOUT_MARGIN, CUTOUT_SIDE
from ..core.geometry import Trail
from ._candidate_images import CandidateImages, read_candidate_images

if TYPE_CHECKING:
    from ..evaluation.figures.contact_sheet import ContactSheet
    from ..repository.candidates import DetectorResult

SHEET_LIMIT = 300
"""Largest number of candidates on a contact sheet."""

SHEET_NAME = "contact_sheet.png"
TABLE_NAME = "candidates.ecsv"

_PANELS = ("science", "template", "difference", "probability")

_CARDS = {
    "visit": ("VISIT", "Visit of the image"),
    "detector": ("DETECTOR", "Detector of the image"),
    "band": ("BAND", "Band of the image"),
    "midpointMjdTai": ("MJD-MID", "Middle of the exposure, MJD, TAI"),
    "exposureTime": ("EXPTIME", "[s] Exposure time"),
    "score": ("SCORE", "Calibrated probability of a trail"),
    "snr": ("SNR", "Fitted flux over its error"),
    "trailMag": ("TRMAG", "AB magnitude of the whole trail"),
    "trailLength": ("TRLEN", "[arcsec] Length of the trail"),
    "trailAngle": ("TRANGLE", "[deg] Position angle of the trail, E of N"),
}
"""Cards of the primary header by column: keyword and comment."""

_END_CARDS = (("TRX0", 0), ("TRY0", 2), ("TRX1", 0), ("TRY1", 2))
"""Keywords of the ends of a trail, and the element of the box that holds the start of their axis."""


@dataclasses.dataclass(frozen=True)
class CutoutFiles:
    """Numbers of what was written."""

    cutouts: int
    """Number of FITS files."""

    on_sheet: int
    """Number of candidates on the contact sheet."""

    total: int
    """Number of candidates before the limit."""


def write_cutouts(
    results: Sequence[DetectorResult],
    selection: CandidateSelection,
    folder: Path,
    *,
    side: int = CUTOUT_SIDE,
    margin: int = CUTOUT_MARGIN,
    track: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> CutoutFiles:
    """Write a FITS file of each selected candidate, a table and a contact sheet.

    Parameters
    ----------
    results
        Catalogs of the detectors.
    selection
        Conditions on the candidates, their order and number.
    folder
        Folder to create, atomically; an earlier result in it is replaced. ``VISIT_DETECTOR/ID.fits`` holds
        each cutout, ``candidates.ecsv`` the rows with the column ``cutout``, and ``contact_sheet.png`` the
        first `SHEET_LIMIT` of them.
    side, margin
        Smallest side of a cutout, and margin beyond the ends of a trail, pixels.
    track
        Wraps the numbers of the detectors, to show the progress.

    Raises
    ------
    FileExistsError
        Raised if the folder has other content.
    ValueError
        Raised if no candidate is selected.
    FilterError, CatalogFormatError
        Raised if a condition or the order cannot be understood.
    RepositoryError
        Raised if an image is missing or cannot be used.
    """
    from ..evaluation.figures.contact_sheet import ContactSheet

    tables = []
    for number, result in enumerate(results):
        table = selection.matching(result.candidates)
        table["_result"] = np.full(len(table), number)
        tables.append(table)
    ordered = selection.ordered(astropy.table.vstack(tables, metadata_conflicts="silent"))
    chosen = ordered[: selection.limit]
    if not len(chosen):
        raise ValueError("No candidate is selected, so that there is nothing to cut; relax the conditions.")
    owner = np.asarray(chosen["_result"])
    chosen.remove_column("_result")
    chosen["cutout"] = [
        f"{visit}_{detector:03d}/{identifier}.fits"
        for visit, detector, identifier in zip(
            *(chosen[name].tolist() for name in ("visit", "detector", "trailCandidateId")), strict=True
        )
    ]
    sheet: ContactSheet | None = None
    with atomic_folder(folder) as made:
        for number in track(np.unique(owner).tolist()):
            places = np.flatnonzero(owner == number)
            images = read_candidate_images(results[number])
            if sheet is None:
                panels = [name for name in _PANELS if name in images.arrays]
                sheet = ContactSheet(panels, columns=max(1, 15 // (len(panels) + 1)))
            _write_detector(images, chosen[places], made, side, margin)
            on_sheet = places < SHEET_LIMIT
            _add_tiles(sheet, images, chosen[places[on_sheet]], places[on_sheet].tolist(), side, margin)
        assert sheet is not None
        Image.fromarray(sheet.picture()).save(made / SHEET_NAME)
        chosen.write(made / TABLE_NAME, format="ascii.ecsv")
    return CutoutFiles(cutouts=len(chosen), on_sheet=len(sheet), total=len(ordered))


def _write_detector(
    images: CandidateImages, rows: astropy.table.Table, folder: Path, side: int, margin: int
) -> None:
    """Write the FITS files of candidates of one detector."""
    columns = {name: rows[name].tolist() for name in (*_CARDS, "x", "y", "cutout", "trailCandidateId")}
    ends = [rows[name].tolist() for name in ("x0", "y0", "x1", "y1")]
    x, y = (np.asarray(columns[name], dtype=np.float64) for name in ("x", "y"))
    ra, dec, matrices = local_cd_matrices(x, y, images.image.pixel_to_sky)
    (folder / columns["cutout"][0]).parent.mkdir(exist_ok=True)
    for cutout in images.cutouts(rows, side, margin):
        row = cutout.row
        cards: dict[str, tuple[str | int | float, str]] = {
            "CANDID": (columns["trailCandidateId"][row], "trailCandidateId"),
            "IMTYPE": (images.dataset_types[images.searched], "Dataset type of this image"),
            **{keyword: (columns[name][row], comment) for name, (keyword, comment) in _CARDS.items()},
        }
        for (keyword, start), values in zip(_END_CARDS, ends, strict=True):
            cards[keyword] = (values[row] - cutout.box[start] + 1.0, "[pix] End of the trail in the cutout")
        for name, dataset_type in images.dataset_types.items():
            if name != images.searched:
                cards[f"TYPE_{name[:3].upper()}"] = (dataset_type, f"Dataset type of {name.upper()}")
        hdus = cutout_hdus(
            cutout,
            image=images.searched,
            center=(x[row], y[row], ra[row], dec[row]),
            cd_matrix=matrices[row],
            cards=cards,
        )
        hdus.writeto(folder / columns["cutout"][row])


def _add_tiles(
    sheet: ContactSheet,
    images: CandidateImages,
    rows: astropy.table.Table,
    places: list[int],
    side: int,
    margin: int,
) -> None:
    """Add candidates of one detector to a contact sheet."""
    for cutout in images.cutouts(rows, side, margin):
        row = rows[cutout.row]
        trail = Trail.from_ends(*(float(row[name]) for name in ("x0", "y0", "x1", "y1")))
        labels = (
            f"{places[cutout.row] + 1}  score {row['score']:.3f}  SNR {row['snr']:.1f}  "
            f'{row["trailLength"]:.1f}"  mag {row["trailMag"]:.1f}  {cutout.side} pixels',
            f"{row['trailCandidateId']}  visit {row['visit']}  detector {row['detector']}",
        )
        sheet.add(places[cutout.row], cutout, images.searched, trail, labels)
