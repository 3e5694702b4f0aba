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

"""Pixels, variances and masks of FITS images."""

from __future__ import annotations

__all__ = ("FitsPixels", "read_pixels")

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import astropy.io.fits
import numpy as np
import numpy.typing as npt

from lsst.images import MaskPlane

from ..core.planes import BAD_PLANES, MASK_PLANES, canonical_plane, plane_bits
from .cards import get_number
from .fill import find_fill
from .layout import FitsIngestError, FitsLayout, one_line, open_fits
from .noirlab_mask import NoirlabMask

type _Pixels = npt.NDArray[Any]


_NOISE_ROLES = ("variance", "error", "inverse", "weight")
"""Roles of companions with the noise, the preferred first."""


@dataclasses.dataclass(frozen=True, eq=False)
class FitsPixels:
    """Pixels of a FITS image, in the units of the file, shape (ny, nx)."""

    image: npt.NDArray[np.float32]
    """Pixel values; NaN for missing data."""

    variance: npt.NDArray[np.float32] | None
    """Variance of the pixels, if in the file."""

    weight: npt.NDArray[np.float32] | None
    """Relative inverse variance, if in the file."""

    mask: npt.NDArray[np.uint32]
    """Mask bits; bit ``i`` is plane ``MASK_PLANES[i]``."""

    extra: Mapping[str, npt.NDArray[np.bool_]]
    """Mask planes that are not in `MASK_PLANES`, by name."""

    has_mask: bool
    """Whether the file has a mask."""


def read_pixels(layout: FitsLayout) -> FitsPixels:
    """Read the pixels of a FITS image.

    Pixels without data (see `~lsst.meas.trails.ingest.fill.find_fill`) or without a finite positive variance
    are masked as ``NO_DATA``.

    Parameters
    ----------
    layout
        HDUs of the image, from `~lsst.meas.trails.ingest.layout.read_layout`.

    Raises
    ------
    FitsIngestError
        Raised if the pixels cannot be read or all of them lack data.
    """
    path = layout.path
    with open_fits(path) as hdus:
        image = _read_hdu(hdus[layout.hdu], layout.hdu, path)
    others: dict[str, _Pixels] = {}
    mask_header: astropy.io.fits.Header | None = None
    for role, number in layout.companions.items():
        with open_fits(layout.companion_path(role)) as hdus:
            others[role] = _read_hdu(hdus[number], number, layout.companion_path(role))
            if role == "mask":
                mask_header = hdus[number].header.copy()

    mask = np.zeros(layout.shape, dtype=np.uint32)
    extra: dict[str, npt.NDArray[np.bool_]] = {}
    if mask_header is not None:
        for name, flagged in _unpack_mask(
            others["mask"], mask_header, layout.companions["mask"], layout.companion_path("mask")
        ):
            if name in MASK_PLANES:
                mask[flagged] |= np.uint32(plane_bits([name]))
            else:
                extra[name] = flagged

    # Pixels that the mask of the file excludes keep their values.
    masked = (mask & np.uint32(plane_bits(BAD_PLANES))) != 0
    no_data = find_fill(image, _blanks(layout.header)) & ~masked
    fill = no_data.copy()
    variance: npt.NDArray[np.float32] | None = None
    weight: npt.NDArray[np.float32] | None = None
    if "variance" in others:
        variance = _as_float32(others["variance"])
    elif "error" in others:
        error = _as_float32(others["error"])
        variance = np.where(error > 0.0, np.square(error), np.float32(0.0))
    elif "inverse" in others:
        with np.errstate(divide="ignore"):
            variance = np.reciprocal(_as_float32(others["inverse"]))
    elif "weight" in others:
        weight = _as_float32(others["weight"])
    for plane in (variance, weight):
        if plane is not None:
            # NaN fails both comparisons.
            usable = (plane > 0.0) & (plane < np.inf)
            if not np.any(usable):
                role = next(role for role in _NOISE_ROLES if role in others)
                raise FitsIngestError(
                    f"{path}: the {role} in HDU {layout.companions[role]} of {layout.companion_path(role)} "
                    "has no finite positive value; remove it, to use the measured scatter of the sky."
                )
            no_data |= ~usable
    image = _as_float32(image)
    fill |= ~np.isfinite(image)
    image[fill] = np.nan
    no_data |= fill
    mask[no_data] |= np.uint32(plane_bits(["NO_DATA"]))
    if np.all(no_data):
        raise FitsIngestError(
            f"{path}: no pixel of HDU {layout.hdu} has a finite value that differs from its neighbors"
            + (" and a positive variance" if variance is not None or weight is not None else "")
            + "; choose another image with --hdu."
        )
    return FitsPixels(
        image=image,
        variance=variance,
        weight=weight,
        mask=mask,
        extra=extra,
        has_mask=mask_header is not None,
    )


def _read_hdu(hdu: astropy.io.fits.ImageHDU, number: int, path: Path) -> _Pixels:
    """Read the pixels of an HDU with the scaling of its header, shape (ny, nx)."""
    for keyword in ("BSCALE", "BZERO"):
        if isinstance(hdu.header.get(keyword), (str, bool)):
            raise FitsIngestError(
                f"{path}: in HDU {number}, {keyword} = {hdu.header[keyword]!r} is not a number; write it as "
                "one."
            )
    try:
        data = hdu.data
    except Exception as error:
        # astropy's decompressors raise various exceptions on damaged files.
        raise FitsIngestError(
            f"{path}: the pixels of HDU {number} cannot be read ({one_line(error)}); copy the file again."
        ) from error
    pixels = np.asarray(data)
    if pixels.dtype.kind not in "iuf":
        raise FitsIngestError(f"{path}: the pixels of HDU {number} have type {pixels.dtype}, not a number.")
    return pixels.reshape(pixels.shape[-2:])


def _blanks(header: astropy.io.fits.Header) -> tuple[float, ...]:
    """Return the values of pixels without data, as stored and as scaled."""
    blank = get_number(header, "BLANK")
    if blank is None:
        return ()
    scale, zero = (get_number(header, keyword) for keyword in ("BSCALE", "BZERO"))
    return (blank, blank * (1.0 if scale is None else scale) + (0.0 if zero is None else zero))


def _as_float32(pixels: _Pixels) -> npt.NDArray[np.float32]:
    """Copy pixels to native float32; values out of range become infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.array(pixels, dtype=np.float32, order="C")


def _unpack_mask(
    pixels: _Pixels, header: astropy.io.fits.Header, number: int, path: Path
) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """Yield the planes of a mask HDU with the names of `lsst.images`.

    Bits are described by ``MP_NAME = bit`` (`lsst.afw`) or ``MSKNnnnn = NAME`` (`lsst.images`). In a mask
    without descriptions, other than a `NoirlabMask`, all nonzero pixels are ``BAD``.
    """

    def refuse(problem: str) -> FitsIngestError:
        return FitsIngestError(f"{path}: the mask in HDU {number} {problem}; ignore it with --ignore-mask.")

    if pixels.dtype.kind == "f":
        known = np.isfinite(pixels)
        whole = np.where(known, pixels, 0.0).astype(np.int64)
        if not np.array_equal(whole[known], pixels[known]):
            raise refuse("holds fractions, not bits")
        yield "BAD", ~known
        pixels = whole
    try:
        bits: dict[str, int] = dict(MaskPlane.read_legacy(header, strip=False))
        for keyword, value in header.items():
            if keyword.startswith("MSKN") and keyword[4:].isdecimal():
                bits[str(value)] = int(keyword[4:])
    except (astropy.io.fits.VerifyError, ValueError) as error:
        # astropy parses a card when its value is requested.
        raise refuse(f"has a damaged header ({one_line(error)})") from error
    if not bits and NoirlabMask.describes(header):
        yield from NoirlabMask(header).planes(pixels)
        return
    if not bits:
        flagged = pixels != 0
        if np.count_nonzero(flagged) > 0.5 * flagged.size:
            raise refuse("does not describe its bits, and most pixels are not zero, as if 1 meant good")
        yield "BAD", flagged
        return
    limit = 8 * pixels.dtype.itemsize
    if len(bits) > limit:
        raise refuse(f"names {len(bits)} planes, but its pixels have {limit} bits")
    for name, bit in bits.items():
        if not isinstance(bit, int) or not 0 <= bit < limit:
            raise refuse(f"has plane {name} at bit {bit!r}, but its pixels have {limit} bits")
        yield canonical_plane(name), (pixels >> pixels.dtype.type(bit)) & 1 != 0
