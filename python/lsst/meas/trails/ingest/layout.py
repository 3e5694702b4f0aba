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

"""Layout of FITS files: HDUs of the image, its mask and its variance, and the WCS."""

from __future__ import annotations

__all__ = ("FitsIngestError", "FitsLayout", "one_line", "open_fits", "read_layout")

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import astropy.io.fits
import astropy.wcs
import numpy as np
from astropy.utils.exceptions import AstropyWarning

from .packing import PackingError, first_bytes, open_unpacked
from .roles import find_role
from .untrusted import IncompleteFileError, check_headers, find_end
from .wcs import ProjectionError
from .wcs_header import read_wcs

MIN_SIZE = 32
"""Smallest side of an image, pixels."""

MAX_SIZE = 20000
"""Largest side of an image, pixels; detectors are smaller."""

type _ImageHdu = astropy.io.fits.PrimaryHDU | astropy.io.fits.ImageHDU | astropy.io.fits.CompImageHDU


class FitsIngestError(ValueError):
    """Raised if a FITS file cannot be ingested; the message names the file."""


@dataclasses.dataclass(frozen=True, eq=False)
class FitsLayout:
    """HDUs of an image in a FITS file, and its header."""

    path: Path
    """The file."""

    hdu: int
    """Number of the HDU with the image, counted from 0."""

    companions: Mapping[str, int]
    """Numbers of the HDUs with mask, variance, error, inverse variance or weight, in this file or in
    `companion_files`.

    Keys are by `~lsst.meas.trails.ingest.roles.find_role`.
    """

    shape: tuple[int, int]
    """Shape (ny, nx) of the image."""

    header: astropy.io.fits.Header
    """Header of the image, completed with cards of the primary header."""

    wcs: astropy.wcs.WCS
    """Celestial WCS of the image."""

    flux_per_count: float | None = None
    """Calibration of the stack, nJy per count."""

    other_images: Sequence[int] = ()
    """Numbers of the HDUs with other images."""

    companion_files: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    """Files of the companions that are in other files."""

    def companion_path(self, role: str) -> Path:
        """Return the file of a companion."""
        return self.companion_files.get(role, self.path)


def read_layout(
    path: Path,
    hdu: str | None = None,
    *,
    use_mask: bool = True,
    companion_files: Mapping[str, Path] | None = None,
) -> FitsLayout:
    """Find an image, its companion HDUs and its WCS in a FITS file.

    No pixels are read.

    Parameters
    ----------
    path
        FITS file, optionally packed as a whole (gzip, bzip2, xz, zip) or compressed in tiles.
    hdu
        Number (from 0) or EXTNAME of the HDU with the image; by default the first two-dimensional image.
    use_mask
        Whether to use the mask of the image.
    companion_files
        Files of the mask, variance, error or weight, by these words; they replace the HDUs of the file.

    Raises
    ------
    FitsIngestError
        Raised if a file cannot be read or is truncated, or has no usable image or WCS.
    """
    with open_fits(path) as hdus:
        number = _find_image(hdus, path, hdu)
        chosen = hdus[number]
        shape = _image_shape(chosen)
        assert shape is not None, "Only HDUs with a two-dimensional image are chosen."
        _check_shape(shape, path, number)
        companions = _find_companions(hdus, number)
        files = dict(companion_files or {})
        if files.keys() - {"mask"}:
            companions = {role: n for role, n in companions.items() if role == "mask"}
        for role, file in files.items():
            companions[role] = _find_in_file(file, chosen.name, number, shape)
        if not use_mask:
            companions.pop("mask", None)
        for role in companions.keys() - files.keys():
            n = companions[role]
            if _image_shape(hdus[n]) != shape:
                raise FitsIngestError(
                    f"{path}: the {role} in HDU {n} has shape {_image_shape(hdus[n])}, the image in HDU "
                    f"{number} {shape}; choose another image with --hdu."
                )
        header = _readable(chosen.header)
        header.extend(_readable(hdus[0].header), strip=True, unique=True)
        return FitsLayout(
            path=path,
            hdu=number,
            companions=companions,
            shape=shape,
            header=header,
            wcs=_read_wcs(hdus, number, path),
            flux_per_count=_read_photo_calib(hdus),
            other_images=[n for n in _images(hdus) if n != number],
            companion_files=files,
        )


@contextlib.contextmanager
def open_fits(path: Path) -> Iterator[astropy.io.fits.HDUList]:
    """Open a FITS file and load the headers of its HDUs.

    Raises
    ------
    FitsIngestError
        Raised if the file cannot be read or is truncated.
    """
    try:
        with warnings.catch_warnings(), contextlib.ExitStack() as stack:
            # astropy warns about missing padding, and about cards that it repairs.
            warnings.simplefilter("ignore", AstropyWarning)
            stream = stack.enter_context(open_unpacked(path))
            # Some malicious headers keep astropy in an endless loop.
            end = find_end(stream)
            stream = stack.enter_context(first_bytes(stream, end))
            hdus = stack.enter_context(astropy.io.fits.open(stream, memmap=False, lazy_load_hdus=True))
            check_headers(hdus, stream)
            yield hdus
    except FitsIngestError:
        raise
    except PackingError as error:
        raise FitsIngestError(f"{path} {one_line(error)}.") from error
    except IncompleteFileError as error:
        raise FitsIngestError(f"{path}: {error}; copy it again.") from error
    except OSError as error:
        # The rest is an option of astropy.
        problem = one_line(error).partition(" If this is really")[0].rstrip(".")
        raise FitsIngestError(f"{path} is not a readable FITS file: {problem}.") from error
    except Exception as error:
        # On damaged headers astropy raises KeyError, TypeError, VerifyError
        # and others, when a card is parsed.
        raise FitsIngestError(
            f"{path}: the headers are damaged ({one_line(error)}); copy the file again or repair them."
        ) from error


def one_line(error: object) -> str:
    """Return the text of an exception or warning without line breaks."""
    return " ".join(str(error).split())


def _readable(header: astropy.io.fits.Header) -> astropy.io.fits.Header:
    """Return the cards of a header that have a readable value."""
    cards = []
    for card in header.cards:
        with contextlib.suppress(astropy.io.fits.VerifyError, ValueError):
            if card.value is not None:
                cards.append(card)
    return astropy.io.fits.Header(cards, copy=True)


def _image_shape(hdu: _ImageHdu) -> tuple[int, int] | None:
    """Return the shape (ny, nx) of an HDU with a two-dimensional image.

    Additional axes of length 1 are ignored. Other HDUs give `None`.
    """
    if not hdu.is_image or len(hdu.shape) < 2 or any(n != 1 for n in hdu.shape[:-2]):
        return None
    return (int(hdu.shape[-2]), int(hdu.shape[-1]))


def _images(hdus: astropy.io.fits.HDUList) -> list[int]:
    """Return the numbers of the HDUs with two-dimensional images."""
    return [
        n for n, hdu in enumerate(hdus) if _image_shape(hdu) is not None and find_role(hdu.header) == "image"
    ]


def _find_image(hdus: astropy.io.fits.HDUList, path: Path, wanted: str | None) -> int:
    if wanted is not None:
        try:
            number = hdus.index_of(int(wanted) if wanted.isdecimal() else wanted)
            hdu = hdus[number]
        except (KeyError, IndexError):
            raise FitsIngestError(f"{path} has no HDU {wanted}; choose one of {_contents(hdus)}.") from None
        if _image_shape(hdu) is None:
            raise FitsIngestError(
                f"{path}: HDU {wanted} has no two-dimensional image; choose one of {_contents(hdus)}."
            )
        return int(number)
    if images := _images(hdus):
        return images[0]
    raise FitsIngestError(
        f"{path} has no two-dimensional image but {_contents(hdus)}. Cubes are not supported: extract one "
        "plane first."
    )


def _contents(hdus: astropy.io.fits.HDUList) -> str:
    """Describe the HDUs of a file."""
    words = []
    for number, hdu in enumerate(hdus):
        size = " x ".join(str(n) for n in reversed(hdu.shape)) or "empty" if hdu.is_image else "table"
        words.append(f"{number} {hdu.name or 'unnamed'} ({size})")
    shown = words if len(words) <= 8 else [*words[:8], f"{len(words) - 8} more"]
    return "HDUs " + ", ".join(shown)


def _find_companions(hdus: astropy.io.fits.HDUList, number: int) -> dict[str, int]:
    """Return the HDUs that belong to an image by their content.

    These are the first of each kind after the image with equal EXTVER. In files whose images share EXTVER,
    the search stops at the next image. The HDUs before the only image of a file belong to it, too.
    """
    images = _images(hdus)
    versions = {hdus[n].header.get("EXTVER", 1) for n in images}
    version = hdus[number].header.get("EXTVER", 1)
    found: dict[str, int] = {}
    before = range(number) if images == [number] else range(0)
    for n in (*range(number + 1, len(hdus)), *before):
        hdu = hdus[n]
        if _image_shape(hdu) is None:
            continue
        role = find_role(hdu.header)
        if role == "image":
            if len(versions) < len(images):
                break
        elif role != "other" and hdu.header.get("EXTVER", 1) == version and role not in found:
            found[role] = n
    return found


def _find_in_file(path: Path, name: str, number: int, shape: tuple[int, int]) -> int:
    """Return the HDU of a companion file that belongs to an HDU of another file.

    It has the name of that HDU, or else its number, or is the only image.
    """
    with open_fits(path) as hdus:
        shapes = {n: found for n, hdu in enumerate(hdus) if (found := _image_shape(hdu)) is not None}
        named = [n for n in shapes if name and hdus[n].name == name]
        numbered = [n for n in shapes if n == number]
        chosen = next((c for c in (named, numbered, list(shapes)) if len(c) == 1), None)
        if chosen is None:
            raise FitsIngestError(
                f"{path} has {len(shapes)} images, and none is named {name!r} or in HDU {number} like the "
                f"image that it belongs to, but {_contents(hdus)}."
            )
        if shapes[chosen[0]] != shape:
            raise FitsIngestError(
                f"{path}: HDU {chosen[0]} has shape {shapes[chosen[0]]}, the image that it belongs to has "
                f"{shape}; pass --no-pairs if the files do not belong together."
            )
        return chosen[0]


def _check_shape(shape: tuple[int, int], path: Path, number: int) -> None:
    ny, nx = shape
    if min(shape) < MIN_SIZE or max(shape) > MAX_SIZE:
        raise FitsIngestError(
            f"{path}: HDU {number} has {nx} x {ny} pixels, not {MIN_SIZE} to {MAX_SIZE} per side; cut the "
            "image or choose another with --hdu."
        )


def _read_wcs(hdus: astropy.io.fits.HDUList, number: int, path: Path) -> astropy.wcs.WCS:
    """Return the celestial WCS of the image's header, or else of this completed from the primary header."""
    own = hdus[number].header
    merged = own.copy()
    merged.extend(hdus[0].header, strip=True, unique=True)
    try:
        # A damaged WCS is not completed.
        wcs = read_wcs(own, hdus) or read_wcs(merged, hdus)
    except ProjectionError as error:
        raise FitsIngestError(f"{path}: in HDU {number}, {error}.") from error
    if wcs is None:
        raise FitsIngestError(
            f"{path}: HDU {number} has no celestial WCS; solve the image, for example with astrometry.net, "
            "to get CTYPE1 = 'RA---TAN' and the other keywords."
        )
    return wcs


def _read_photo_calib(hdus: astropy.io.fits.HDUList) -> float | None:
    """Return the calibration of a calexp, nJy per count.

    The stack stores it in a table; the header cards are zero points of counts per second.
    """
    for hdu in hdus:
        if isinstance(hdu, astropy.io.fits.BinTableHDU) and hdu.header.get("AR_NAME") == "PhotoCalib":
            with contextlib.suppress(KeyError, IndexError, TypeError, ValueError):
                mean = float(hdu.data["calibrationMean"][0])
                if np.isfinite(mean) and mean > 0.0:
                    return mean
    return None
