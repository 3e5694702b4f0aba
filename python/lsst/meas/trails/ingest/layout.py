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

"""Where FITS files of any origin keep an image, its mask and its variance."""

from __future__ import annotations

__all__ = ("FitsIngestError", "FitsLayout", "find_planes", "one_line", "open_fits")

import contextlib
import dataclasses
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import astropy.io.fits
import astropy.wcs
import numpy as np
from astropy.utils.exceptions import AstropyWarning

from .untrusted import check_headers, check_primary_header

MIN_SIZE = 32
"""Smallest side of an image worth ingesting, pixels."""

MAX_SIZE = 20000
"""Largest side of an image, pixels: more than any detector has."""

_BLOCK = 2880
"""FITS files are made of blocks of this many bytes."""

# What an HDU holds, by its EXTTYPE (the stack's calexps) or its EXTNAME.
_ROLES: Mapping[str, str] = {
    "MASK": "mask",
    "DQ": "mask",
    "FLAGS": "mask",
    "VARIANCE": "variance",
    "VAR": "variance",
    "ERR": "error",
    "ERROR": "error",
    "SIGMA": "error",
    "RMS": "error",
    "UNCERT": "error",
    "IVAR": "weight",
    "INVVAR": "weight",
    "WEIGHT": "weight",
    "WHT": "weight",
}


_WCS_NUMBER = re.compile(r"(CRVAL|CRPIX|CDELT|CROTA)[12]$|(CD|PC|PV)[12]_\d+$|[AB]_\d_\d$")


class FitsIngestError(ValueError):
    """A FITS file cannot be ingested; the message names the file and says
    what would help.
    """


@dataclasses.dataclass(frozen=True, eq=False)
class FitsLayout:
    """Where a FITS file keeps its planes, and what its headers say.

    Parameters
    ----------
    path
        The file.
    hdu
        Number of the HDU with the image, counted from 0.
    companions
        Numbers of the HDUs with other planes, by what they hold: ``mask``,
        ``variance``, ``error`` or ``weight``.
    shape
        Shape (ny, nx) of the image.
    header
        Header of the image with the cards of the primary header that it does
        not have itself.
    wcs
        Celestial WCS of the image.
    flux_per_count
        Calibration that the stack stored with the image, nJy per count, if
        there is one.
    other_images
        Numbers of further HDUs with images, which have nothing to do with it.
    """

    path: Path
    hdu: int
    companions: Mapping[str, int]
    shape: tuple[int, int]
    header: astropy.io.fits.Header
    wcs: astropy.wcs.WCS
    flux_per_count: float | None = None
    other_images: Sequence[int] = ()


def find_planes(path: Path, hdu: str | None = None, *, use_mask: bool = True) -> FitsLayout:
    """Find the image in a FITS file, and the planes and WCS that go with it.

    Parameters
    ----------
    path
        FITS file; may be compressed as a whole (gzip, bzip2) or in tiles.
    hdu
        Number (from 0) or EXTNAME of the HDU with the image; by default the
        first one with a two-dimensional image.
    use_mask
        Whether a mask in the file is wanted.

    Returns
    -------
    layout
        What was found.  No pixels have been read.

    Raises
    ------
    FitsIngestError
        Raised if the file cannot be read, is cut short, or has no usable
        image or no WCS.
    """
    with open_fits(path) as hdus:
        number = _find_image(hdus, path, hdu)
        chosen = hdus[number]
        shape = _image_shape(chosen)
        assert shape is not None, "Only HDUs with a two-dimensional image are chosen."
        _check_shape(shape, path)
        companions = {
            role: n for role, n in _find_companions(hdus, number).items() if use_mask or role != "mask"
        }
        for role, n in companions.items():
            if _image_shape(hdus[n]) != shape:
                raise FitsIngestError(
                    f"{path}: the {role} plane in HDU {n} has shape {_image_shape(hdus[n])}, the image in "
                    f"HDU {number} {shape}. Choose another image with --hdu."
                )
        for n in (number, *companions.values()):
            _check_complete(hdus[n], n, path)
        header = _readable(chosen.header)
        header.extend(_readable(hdus[0].header), strip=True, unique=True)
        return FitsLayout(
            path=path,
            hdu=number,
            companions=companions,
            shape=shape,
            header=header,
            wcs=_read_wcs(chosen.header, header, hdus, path),
            flux_per_count=_read_photo_calib(hdus),
            other_images=[n for n in _images(hdus) if n != number],
        )


@contextlib.contextmanager
def open_fits(path: Path) -> Iterator[astropy.io.fits.HDUList]:
    """Open a FITS file with the headers of its HDUs loaded.

    Parameters
    ----------
    path
        FITS file.

    Raises
    ------
    FitsIngestError
        Raised if the file cannot be read or is cut short.
    """
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            # Headers that astropy does not return from are not shown to it.
            check_primary_header(path)
            with astropy.io.fits.open(path, memmap=False, lazy_load_hdus=True) as hdus:
                check_headers(hdus)
                # A file that ends inside an HDU would pass for one without
                # the planes that are missing.
                for warning in caught:
                    if any(w in str(warning.message) for w in ("truncated", "Error validating header")):
                        raise FitsIngestError(
                            f"{path}: the file is cut short or damaged ({one_line(warning.message)}). "
                            "Copy it again."
                        )
                yield hdus
    except FitsIngestError:
        raise
    except OSError as error:
        raise FitsIngestError(f"{path}: not a readable FITS file ({one_line(error)}).") from error
    except Exception as error:
        # On damaged headers astropy raises KeyError, TypeError, VerifyError
        # and others, and only when a card is looked at.
        raise FitsIngestError(
            f"{path}: its headers are damaged ({one_line(error)}). Copy the file again, or repair them."
        ) from error


def one_line(error: object) -> str:
    """Return the text of an exception or warning without its line breaks."""
    return " ".join(str(error).split())


def _readable(header: astropy.io.fits.Header) -> astropy.io.fits.Header:
    """Copy the cards of a header that follow the FITS standard well enough to
    have a value: no card is needed so much that others should stop a file.
    """
    cards = []
    for card in header.cards:
        with contextlib.suppress(astropy.io.fits.VerifyError, ValueError):
            if card.value is not None:
                cards.append(card)
    return astropy.io.fits.Header(cards, copy=True)


def _role(hdu: Any) -> str:
    """Return what an HDU holds: ``image`` unless its name says otherwise."""
    header = hdu.header
    name = str(header.get("EXTTYPE") or header.get("EXTNAME") or "").strip().upper()
    if name not in _ROLES and any(card.startswith("MP_") for card in header):
        return "mask"
    return _ROLES.get(name, "image")


def _image_shape(hdu: Any) -> tuple[int, int] | None:
    """Return the shape (ny, nx) of an HDU with a two-dimensional image, or
    one with further axes of length 1; `None` of any other.
    """
    if not hdu.is_image or len(hdu.shape) < 2 or any(n != 1 for n in hdu.shape[:-2]):
        return None
    return (int(hdu.shape[-2]), int(hdu.shape[-1]))


def _images(hdus: astropy.io.fits.HDUList) -> list[int]:
    """Return the numbers of the HDUs with two-dimensional images that are no
    masks or noise.
    """
    return [n for n, hdu in enumerate(hdus) if _image_shape(hdu) is not None and _role(hdu) == "image"]


def _find_image(hdus: astropy.io.fits.HDUList, path: Path, wanted: str | None) -> int:
    if wanted is not None:
        try:
            number = hdus.index_of(int(wanted) if wanted.isdecimal() else wanted)
            hdu = hdus[number]
        except (KeyError, IndexError):
            raise FitsIngestError(
                f"{path}: there is no HDU {wanted}; the file has {_contents(hdus)}."
            ) from None
        if _image_shape(hdu) is None:
            raise FitsIngestError(
                f"{path}: HDU {wanted} has no two-dimensional image; the file has {_contents(hdus)}."
            )
        return int(number)
    if images := _images(hdus):
        return images[0]
    raise FitsIngestError(
        f"{path}: there is no two-dimensional image; the file has {_contents(hdus)}. "
        "Of a cube, write the plane you want to a file of its own."
    )


def _contents(hdus: astropy.io.fits.HDUList) -> str:
    """Describe the HDUs of a file in a few words."""
    words = []
    for number, hdu in enumerate(hdus):
        if hdu.is_image:
            size = " x ".join(str(n) for n in reversed(hdu.shape))
            words.append(f"{number} {hdu.name or 'unnamed'} ({size or 'empty'})")
        else:
            words.append(f"{number} {hdu.name or 'unnamed'} (table)")
    shown = words if len(words) <= 8 else [*words[:8], f"{len(words) - 8} more"]
    return "HDUs " + ", ".join(shown)


def _find_companions(hdus: astropy.io.fits.HDUList, number: int) -> dict[str, int]:
    """Return the HDUs that belong to an image, by their role.

    These are the first of each role that follow it and have its EXTVER; up to
    the next image in files that do not tell their images apart by EXTVER.
    """
    images = _images(hdus)
    versions = {hdus[n].header.get("EXTVER", 1) for n in images}
    version = hdus[number].header.get("EXTVER", 1)
    found: dict[str, int] = {}
    for n in range(number + 1, len(hdus)):
        hdu = hdus[n]
        if _image_shape(hdu) is None:
            continue
        role = _role(hdu)
        if role == "image":
            if len(versions) < len(images):
                break
        elif hdu.header.get("EXTVER", 1) == version and role not in found:
            found[role] = n
    return found


def _check_shape(shape: tuple[int, int], path: Path) -> None:
    ny, nx = shape
    if min(shape) < MIN_SIZE or max(shape) > MAX_SIZE:
        raise FitsIngestError(
            f"{path}: the image has {nx} x {ny} pixels; between {MIN_SIZE} and {MAX_SIZE} a side can be "
            "ingested. Cut the file, or choose another image with --hdu."
        )


def _check_complete(hdu: Any, number: int, path: Path) -> None:
    """Raise if a file is too short for the pixels that a header announces,
    before an array of that size is made.
    """
    if path.suffix.lower() in (".gz", ".bz2", ".xz", ".zip", ".z"):
        return
    info = hdu.fileinfo()
    # Some writers leave out the padding of the last block.
    needed = info["datLoc"] + info["datSpan"] - (_BLOCK - 1)
    size = os.path.getsize(path)
    if size < needed:
        raise FitsIngestError(
            f"{path}: the file is cut short: HDU {number} should end at byte {needed}, the file has {size}. "
            "Copy it again."
        )


def _read_wcs(
    own: astropy.io.fits.Header,
    merged: astropy.io.fits.Header,
    hdus: astropy.io.fits.HDUList,
    path: Path,
) -> astropy.wcs.WCS:
    """Return the celestial WCS of the image's own header, or of the primary
    header where it has none.
    """
    problem = "its headers have none"
    for header in (own, merged):
        try:
            with warnings.catch_warnings():
                # About keywords out of date, which are put right.
                warnings.simplefilter("ignore", AstropyWarning)
                _check_wcs_cards(header)
                wcs = astropy.wcs.WCS(header, fobj=hdus)
                if wcs.has_celestial:
                    return wcs.celestial
        except Exception as error:
            # wcslib has dozens of its own exceptions, and headers that are
            # wrong in other ways raise others.  A WCS that is wrong is not
            # completed from elsewhere.
            problem = one_line(error)
            break
    raise FitsIngestError(
        f"{path}: no celestial WCS ({problem}). Solve the image first, for example with astrometry.net, "
        "so that its header has CTYPE1 = 'RA---TAN' and the rest."
    )


def _check_wcs_cards(header: astropy.io.fits.Header) -> None:
    """Raise ValueError if a card of the WCS has no number: wcslib takes the
    default for it, without a word.
    """
    for card in header.cards:
        if _WCS_NUMBER.match(card.keyword):
            try:
                float(card.value)
            except (astropy.io.fits.VerifyError, TypeError, ValueError):
                raise ValueError(f"{card.keyword} is no number") from None


def _read_photo_calib(hdus: astropy.io.fits.HDUList) -> float | None:
    """Return the calibration of a calexp, nJy per count, if there is one.

    The stack keeps it in a table of its own persistence framework; the cards
    of the header are a copy for other readers, by the second of exposure.
    """
    for hdu in hdus:
        if isinstance(hdu, astropy.io.fits.BinTableHDU) and hdu.header.get("AR_NAME") == "PhotoCalib":
            with contextlib.suppress(KeyError, IndexError, TypeError, ValueError):
                mean = float(hdu.data["calibrationMean"][0])
                if np.isfinite(mean) and mean > 0.0:
                    return mean
    return None
