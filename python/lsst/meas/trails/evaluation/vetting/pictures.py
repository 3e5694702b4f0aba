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

"""Pictures of a candidate in one strip: image, template, difference, probability."""

from __future__ import annotations

__all__ = ("PANELS", "VetCandidate", "vet_candidate")

import dataclasses
import io

import astropy.table
import matplotlib
import numpy as np
import numpy.typing as npt
import PIL.Image

from ...core.cutouts import Cutout
from ..figures.cutouts import stretch

PANELS: dict[str, str] = {
    "science": "Image",
    "template": "Template",
    "difference": "Difference",
    "probability": "Probability",
}
"""Pictures in a strip, left to right, and their titles."""

_MAX_SIDE = 255
"""Largest side of a picture, pixels; larger cutouts are binned."""

_QUALITY = 80
"""Quality of the compression, 0 to 100."""

_MISSING = 40
"""Gray of pixels without data."""


@dataclasses.dataclass(frozen=True, eq=False)
class VetCandidate:
    """Candidate as the page shows it."""

    identifier: int
    """Its ``trailCandidateId``."""

    visit: int

    detector: int

    ra: float
    """Right ascension of the midpoint, degrees."""

    dec: float
    """Declination of the midpoint, degrees."""

    score: float

    facts: tuple[tuple[str, str], ...]
    """Names and values of its properties."""

    line: tuple[float, float, float, float]
    """Ends of the fitted trail (x0, y0, x1, y1), as fractions of a picture from its top left corner."""

    side: int
    """Side of a picture, pixels of the image."""

    strip: bytes
    """WebP file with the pictures of `PANELS` side by side."""

    missing: tuple[str, ...] = ()
    """Pictures without data."""


def vet_candidate(row: astropy.table.Row, cutout: Cutout) -> VetCandidate:
    """Return a candidate with its pictures.

    Parameters
    ----------
    row
        Row of a catalog of candidates.
    cutout
        Its cutout, with arrays named as in `PANELS`. Arrays may be missing or hold nothing but NaN.
    """
    pictures, missing = [], []
    for name in PANELS:
        pixels = cutout.arrays.get(name)
        if pixels is None or not np.any(np.isfinite(pixels)):
            missing.append(name)
            pixels = np.full((cutout.side, cutout.side), np.nan)
        pictures.append(_picture(_bin(pixels), probability=name == "probability"))
    # The first row of an image is at its bottom.
    strip = np.ascontiguousarray(np.concatenate(pictures, axis=1)[::-1])
    stream = io.BytesIO()
    PIL.Image.fromarray(strip).save(stream, format="webp", quality=_QUALITY)
    return VetCandidate(
        identifier=int(row["trailCandidateId"]),
        visit=int(row["visit"]),
        detector=int(row["detector"]),
        ra=float(row["ra"]),
        dec=float(row["dec"]),
        score=float(row["score"]),
        facts=tuple(_facts(row)),
        line=_line(row, cutout.box),
        side=cutout.side,
        strip=stream.getvalue(),
        missing=tuple(missing),
    )


def _factor(side: int) -> int:
    """Return the number of pixels of a cutout per pixel of its picture, on each axis."""
    return -(-side // _MAX_SIDE)


def _bin(pixels: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return the means of blocks, so that the sides are at most `_MAX_SIDE`."""
    factor = _factor(pixels.shape[0])
    side = -(-pixels.shape[0] // factor)
    blocks = np.full((side * factor, side * factor), np.nan)
    blocks[: pixels.shape[0], : pixels.shape[1]] = pixels
    blocks = blocks.reshape(side, factor, side, factor)
    count = np.sum(np.isfinite(blocks), axis=(1, 3))
    total = np.sum(np.where(np.isfinite(blocks), blocks, 0.0), axis=(1, 3))
    result = np.full((side, side), np.nan)
    np.divide(total, count, out=result, where=count > 0)
    return result


def _picture(pixels: npt.NDArray[np.float64], *, probability: bool) -> npt.NDArray[np.uint8]:
    """Return the colors of pixels, shape (n, n, 3)."""
    known = np.isfinite(pixels)
    if probability:
        colors = matplotlib.colormaps["magma"](np.where(known, np.clip(pixels, 0.0, 1.0), 0.0))[..., :3]
    else:
        colors = np.repeat(stretch(pixels)[..., np.newaxis], 3, axis=2)
    picture = np.rint(255.0 * colors).astype(np.uint8)
    picture[~known] = _MISSING
    return picture


def _line(row: astropy.table.Row, box: tuple[int, int, int, int]) -> tuple[float, float, float, float]:
    """Return the ends of the trail as fractions of its picture."""
    factor = _factor(box[1] - box[0])
    # The last bins may extend beyond the cutout.
    side = -(-(box[1] - box[0]) // factor) * factor
    x0, x1 = ((float(row[name]) - box[0] + 0.5) / side for name in ("x0", "x1"))
    y0, y1 = (1.0 - (float(row[name]) - box[2] + 0.5) / side for name in ("y0", "y1"))
    return x0, y0, x1, y1


def _facts(row: astropy.table.Row) -> list[tuple[str, str]]:
    """Return the properties of a candidate to print."""
    flags = [name for name in row.colnames if isinstance(row[name], np.bool_) and row[name]]
    return [
        ("score", f"{row['score']:.3f}"),
        ("SNR", f"{row['snr']:.1f}"),
        ("length", f"{row['trailLength']:.1f} arcsec, {row['trailLengthPix']:.0f} pixels"),
        ("angle", f"{row['trailAngle']:.0f}° East of North"),
        ("rate", f"{row['trailRate']:.2f} deg/day"),
        ("magnitude", f"{row['trailMag']:.1f} {row['band']}"),
        ("position", f"{row['ra']:.5f} {row['dec']:+.5f}"),
        ("visit", str(row["visit"])),
        ("detector", f"{row['detector']}, x {row['x']:.0f}, y {row['y']:.0f}"),
        ("flags", ", ".join(flags) or "none"),
        ("identifier", str(row["trailCandidateId"])),
    ]
