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
import scipy.ndimage

from lsst.images import MaskPlane

from ..core.planes import MASK_PLANES, canonical_plane, plane_bits
from .layout import FitsIngestError, FitsLayout, one_line, open_fits

type _Pixels = npt.NDArray[Any]

_PADDING_AREA = 64
"""Smallest number of adjacent zeros that are padding, pixels."""


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

    Pixels that are not finite, have no finite positive variance, or belong to padding (patches of exact zeros
    in an image without a mask) are masked as ``NO_DATA``.

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
        others = {role: _read_hdu(hdus[n], n, path) for role, n in layout.companions.items()}
        mask_header = hdus[layout.companions["mask"]].header.copy() if "mask" in others else None

    mask = np.zeros(layout.shape, dtype=np.uint32)
    extra: dict[str, npt.NDArray[np.bool_]] = {}
    if mask_header is not None:
        for name, flagged in _unpack_mask(others["mask"], mask_header, layout.companions["mask"], path):
            if name in MASK_PLANES:
                mask[flagged] |= np.uint32(plane_bits([name]))
            else:
                extra[name] = flagged

    no_data = ~np.isfinite(image)
    if mask_header is None:
        no_data |= _padding(image)
    variance: npt.NDArray[np.float32] | None = None
    weight: npt.NDArray[np.float32] | None = None
    if "variance" in others:
        variance = _as_float32(others["variance"])
    elif "error" in others:
        variance = np.square(_as_float32(others["error"]))
    elif "weight" in others:
        weight = _as_float32(others["weight"])
    for plane in (variance, weight):
        if plane is not None:
            # NaN fails both comparisons.
            no_data |= ~((plane > 0.0) & (plane < np.inf))
    image = _as_float32(image)
    no_data |= ~np.isfinite(image)
    image[~np.isfinite(image)] = np.nan
    mask[no_data] |= np.uint32(plane_bits(["NO_DATA"]))
    if np.all(no_data):
        raise FitsIngestError(
            f"{path}: no pixel of HDU {layout.hdu} has a finite value"
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


def _as_float32(pixels: _Pixels) -> npt.NDArray[np.float32]:
    """Copy pixels to native float32; values out of range become infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.array(pixels, dtype=np.float32, order="C")


def _unpack_mask(
    pixels: _Pixels, header: astropy.io.fits.Header, number: int, path: Path
) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """Yield the planes of a mask HDU with the names of `lsst.images`.

    Bits are described by ``MP_NAME = bit`` (`lsst.afw`) or ``MSKNnnnn = NAME`` (`lsst.images`). In a mask
    without descriptions, all nonzero pixels are ``BAD``.
    """

    def refuse(problem: str) -> FitsIngestError:
        return FitsIngestError(f"{path}: the mask in HDU {number} {problem}; ignore it with --ignore-mask.")

    if pixels.dtype.kind == "f":
        whole = np.where(np.isfinite(pixels), pixels, 0.0).astype(np.int64)
        if not np.array_equal(whole, pixels):
            raise refuse("holds fractions, not bits")
        pixels = whole
    try:
        bits: dict[str, int] = dict(MaskPlane.read_legacy(header, strip=False))
        for keyword, value in header.items():
            if keyword.startswith("MSKN") and keyword[4:].isdecimal():
                bits[str(value)] = int(keyword[4:])
    except (astropy.io.fits.VerifyError, ValueError) as error:
        # astropy parses a card when its value is requested.
        raise refuse(f"has a damaged header ({one_line(error)})") from error
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


def _padding(image: _Pixels) -> npt.NDArray[np.bool_]:
    """Return patches of exact zeros in images with fractional values."""
    zero = image == 0
    if image.dtype.kind != "f" or np.count_nonzero(zero) < _PADDING_AREA:
        return np.zeros(image.shape, dtype=np.bool_)
    finite = image[np.isfinite(image)]
    if np.array_equal(finite, np.round(finite)):
        return np.zeros(image.shape, dtype=np.bool_)
    labels, count = scipy.ndimage.label(zero)
    large = np.bincount(labels.ravel(), minlength=count + 1) >= _PADDING_AREA
    large[0] = False
    return np.asarray(large[labels], dtype=np.bool_)
