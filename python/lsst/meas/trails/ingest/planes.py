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

"""Pixels, variances and mask planes out of FITS files of any origin."""

from __future__ import annotations

__all__ = ("FitsPlanes", "read_planes")

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

# A patch of this many pixels that are all exactly zero is no sky.
_PADDING_AREA = 64


@dataclasses.dataclass(frozen=True, eq=False)
class FitsPlanes:
    """The planes of a FITS image, in the units of the file.

    Parameters
    ----------
    image
        Pixel values, shape (ny, nx), float32; NaN where there are none.
    variance
        Variance of the pixels, float32, if the file has one.
    weight
        Relative inverse variance, float32, if that is what the file has.
    mask
        Mask bits, uint32; bit ``i`` is plane ``MASK_PLANES[i]``.
    extra
        Mask planes that are not among `MASK_PLANES`, as boolean arrays by name.
    has_mask
        Whether the file has a mask of its own.
    """

    image: npt.NDArray[np.float32]
    variance: npt.NDArray[np.float32] | None
    weight: npt.NDArray[np.float32] | None
    mask: npt.NDArray[np.uint32]
    extra: Mapping[str, npt.NDArray[np.bool_]]
    has_mask: bool


def read_planes(layout: FitsLayout) -> FitsPlanes:
    """Read the pixels of a FITS image.

    Parameters
    ----------
    layout
        What `find_planes` found.

    Returns
    -------
    planes
        The planes.  Pixels that are not finite, have no finite positive
        variance, or belong to padding (patches of exact zeros in an image
        without a mask) are in the plane ``NO_DATA``.

    Raises
    ------
    FitsIngestError
        Raised if the pixels cannot be read or none of them is good.
    """
    path = layout.path
    with open_fits(path) as hdus:
        image = _read_pixels(hdus[layout.hdu], layout.hdu, path)
        others = {role: _read_pixels(hdus[n], n, path) for role, n in layout.companions.items()}
        mask_header = hdus[layout.companions["mask"]].header.copy() if "mask" in others else None

    mask = np.zeros(layout.shape, dtype=np.uint32)
    extra: dict[str, npt.NDArray[np.bool_]] = {}
    if mask_header is not None:
        for name, flagged in _unpack_mask(others["mask"], mask_header, path):
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
            # A NaN fails both comparisons.
            no_data |= ~((plane > 0.0) & (plane < np.inf))
    image = _as_float32(image)
    no_data |= ~np.isfinite(image)
    image[~np.isfinite(image)] = np.nan
    mask[no_data] |= np.uint32(plane_bits(["NO_DATA"]))
    if np.all(no_data):
        raise FitsIngestError(
            f"{path}: no pixel of HDU {layout.hdu} has a finite value"
            + (" and a positive variance" if variance is not None or weight is not None else "")
            + ". Choose another image with --hdu."
        )
    return FitsPlanes(
        image=image,
        variance=variance,
        weight=weight,
        mask=mask,
        extra=extra,
        has_mask=mask_header is not None,
    )


def _read_pixels(hdu: Any, number: int, path: Path) -> npt.NDArray[Any]:
    """Read the pixels of an HDU, shape (ny, nx), scaled as its header says."""
    try:
        data = hdu.data
    except Exception as error:
        # A damaged file can make astropy and its decompressors raise
        # anything.
        raise FitsIngestError(
            f"{path}: the pixels of HDU {number} cannot be read ({one_line(error)}). Copy the file again."
        ) from error
    pixels = np.asarray(data)
    if pixels.dtype.kind not in "iuf":
        raise FitsIngestError(f"{path}: HDU {number} holds pixels of type {pixels.dtype}, not numbers.")
    return pixels.reshape(pixels.shape[-2:])


def _as_float32(pixels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Copy pixels to native float32; what does not fit becomes infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.array(pixels, dtype=np.float32, order="C")


def _unpack_mask(
    pixels: npt.NDArray[Any], header: astropy.io.fits.Header, path: Path
) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """Yield the planes of a mask HDU, under the names of `lsst.images`.

    Bits are described by ``MP_NAME = bit`` (`lsst.afw`) or ``MSKNnnnn = NAME``
    (`lsst.images`).  In a mask that describes none, as the bits mean
    something else at every observatory, each pixel that is not zero is
    ``BAD``.
    """
    if pixels.dtype.kind == "f":
        whole = np.where(np.isfinite(pixels), pixels, 0.0).astype(np.int64)
        if not np.array_equal(whole, pixels):
            raise FitsIngestError(
                f"{path}: the mask holds fractions, not bits. Leave it out with --ignore-mask."
            )
        pixels = whole
    try:
        bits: dict[str, int] = dict(MaskPlane.read_legacy(header, strip=False))
        for keyword, value in header.items():
            if keyword.startswith("MSKN") and keyword[4:].isdecimal():
                bits[str(value)] = int(keyword[4:])
    except (astropy.io.fits.VerifyError, ValueError) as error:
        # astropy parses a card when its value is asked for.
        raise FitsIngestError(
            f"{path}: the mask's header is damaged ({one_line(error)}). Copy the file again, or leave the "
            "mask out with --ignore-mask."
        ) from error
    if not bits:
        flagged = pixels != 0
        if np.count_nonzero(flagged) > 0.5 * flagged.size:
            raise FitsIngestError(
                f"{path}: the mask does not say what its bits mean, and most of its pixels are not zero, "
                "as if that meant good. Leave it out with --ignore-mask."
            )
        yield "BAD", flagged
        return
    if len(bits) > 8 * pixels.dtype.itemsize:
        raise FitsIngestError(
            f"{path}: the mask's header names {len(bits)} planes, more than its pixels of type "
            f"{pixels.dtype} have bits. Leave the mask out with --ignore-mask."
        )
    for name, bit in bits.items():
        if not isinstance(bit, int) or not 0 <= bit < 8 * pixels.dtype.itemsize:
            raise FitsIngestError(
                f"{path}: the mask's header places plane {name} at bit {bit!r}, where its pixels of type "
                f"{pixels.dtype} have none. Leave the mask out with --ignore-mask."
            )
        yield canonical_plane(name), (pixels >> pixels.dtype.type(bit)) & 1 != 0


def _padding(image: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return the pixels outside the sky that some programs fill with zeros.

    A value of exactly zero is nothing special in an image of whole numbers,
    so only others are looked at.
    """
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
