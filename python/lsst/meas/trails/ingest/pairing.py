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

"""Pairing of images with masks, weights, variances and errors in files of their own."""

from __future__ import annotations

__all__ = ("FitsFiles", "find_unused", "pair_files")

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from astropy.io.fits import Header

from .header import find_detector
from .layout import FitsIngestError, open_fits
from .roles import find_role

_SUFFIXES = {".fits", ".fit", ".fts", ".fz", ".gz", ".bz2", ".xz", ".zip"}

_WORDS: Mapping[str, str] = {
    word: role
    for role, words in {
        "image": "image images img imgs sci scie science sciimg int drz drc bcd cbcd",
        "mask": "mask masks msk mskimg dq dqm dqmask flag flags flg bpm bad badpix badpixel badpixels bimsk "
        "maskbits bitmask",
        "weight": "weight weights wht wt wgt wtmap wmap weightmap invvar ivar conf confidence confmap",
        "variance": "var variance variances varmap",
        "error": "err error errors rms rmsmap sigma unc uncert uncertainty uncimg cbunc bunc noise",
    }.items()
    for word in words.split()
}
"""Content of a file by a word of its name."""

_ENDINGS = re.compile(r"(.+?)(mask|weight|flags?|variance|sigma|error)$")
"""Content of a file by the end of its name, without a separator."""

_NOIRLAB = re.compile(r"(o[opscrk])([idw])$")
"""Part of the names of NOIRLab's pipelines: ooi, ood and oow are image, mask and weight."""

_NOIRLAB_ROLES = {"i": "image", "d": "mask", "w": "weight"}

_HEADER_ROLES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(rf"({pattern})([^A-Z]|$)"), role)
    for pattern, role in (
        (r"(DQ|BIT|BAD|PIX)?MASK|BPM|BAD.?PIXELS?|DATA.?QUALITY|ANCILLARY[.]MASK", "mask"),
        (r"WT.?MAP|WEIGHT(.?MAP)?|INV.?VAR|CONFIDENCE|ANCILLARY[.]WEIGHT(MAP)?", "weight"),
        (r"VAR(IANCE)?", "variance"),
        (r"ERR(OR)?|RMS|SIGMA|UNC(ERTAINTY)?|ANCILLARY[.](RMS(MAP)?|ERR)", "error"),
    )
)
"""Content of a file by the beginning of a value of its header."""

_HEADER_KEYWORDS = ("PRODTYPE", "PRODCATG", "DATATYPE", "IMAGETYP", "IMTYPE", "EXTTYPE")
_EXPOSURE_KEYWORDS = ("EXPNUM", "VISIT", "EXPID", "DATE-OBS", "MJD-OBS")


@dataclasses.dataclass(frozen=True)
class FitsFiles:
    """An image and the files that belong to it."""

    image: Path
    """File of the image."""

    companions: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    """Files of its ``mask``, ``weight``, ``variance`` or ``error``."""

    def __str__(self) -> str:
        parts = ", ".join(f"{role} {path.name}" for role, path in self.companions.items())
        return f"{self.image.name} with {parts}" if parts else self.image.name


@dataclasses.dataclass(frozen=True)
class _Named:
    """A file, its content by its name, and a key that it shares with the files that belong to it."""

    path: Path
    role: str
    certain: bool
    """Whether it is no image even if it belongs to none."""
    key: tuple[str, ...]


def pair_files(paths: Sequence[Path]) -> list[FitsFiles]:
    """Find the mask, weight, variance and error files of images.

    Files belong together if their names, or the names of their folders, differ in a word for the content only
    (``a.fits`` and ``a.weight.fits``, ``c4d_1_ooi_r.fits`` and ``c4d_1_ood_r.fits``), or if their headers say
    what they are (``PRODTYPE = 'dqmask'``) and have the same exposure and detector.

    Parameters
    ----------
    paths
        The files.

    Returns
    -------
    files
        The images in the order of ``paths``.

    Raises
    ------
    FitsIngestError
        Raised if a mask or another companion has no image or more than one, or an image has two of a kind.
    """
    companions: dict[Path, dict[str, Path]] = {}
    images: list[Path] = []
    left: list[tuple[Path, str]] = []
    by_key: dict[tuple[str, ...], list[_Named]] = {}
    for file in map(_parse_name, paths):
        by_key.setdefault(file.key, []).append(file)
    for group in by_key.values():
        own = [file.path for file in group if file.role == "image"]
        images += own
        for file in group:
            if file.role == "image":
                continue
            if len(own) > 1:
                raise FitsIngestError(
                    f"{file.path} may belong to {own[0]} or {own[1]}, by their names; ingest them one by "
                    f"one, with --{file.role}."
                )
            if own:
                _attach(companions, own[0], file.role, file.path)
            elif file.certain and not _has_parts(file.path):
                left.append((file.path, file.role))
            else:
                images.append(file.path)
    _pair_by_header(images, companions, left)
    return [FitsFiles(path, companions.get(path, {})) for path in paths if path in images]


def find_unused(files: Iterable[FitsFiles]) -> list[Path]:
    """Return the files next to images that are named like their masks, weights, variances or errors."""
    files = list(files)
    images = {Path(os.path.abspath(item.image)) for item in files}
    alone = {_parse_name(item.image).key for item in files if not item.companions}
    folders = sorted({Path(os.path.abspath(item.image)).parent for item in files if not item.companions})
    found = []
    for path in (path for folder in folders for path in sorted(folder.iterdir())):
        named = _parse_name(path)
        is_part = named.role != "image" and path not in images
        if is_part and named.key in alone and Path(path).suffix.lower() in _SUFFIXES:
            found.append(path)
    return found


def _attach(companions: dict[Path, dict[str, Path]], image: Path, role: str, path: Path) -> None:
    found = companions.setdefault(image, {})
    if role in found:
        raise FitsIngestError(
            f"{path} and {found[role]} are both named like the {role} of {image}; name one of them, or the "
            f"right one with --{role}."
        )
    found[role] = path


def _has_parts(path: Path) -> bool:
    """Return whether a file holds an image with its mask or noise, whatever its name."""
    with open_fits(path) as hdus:
        roles = {find_role(hdu.header) for hdu in hdus if hdu.is_image and len(hdu.shape) == 2}
    return "image" in roles and len(roles - {"other"}) > 1


def _parse_name(path: Path) -> _Named:
    """Return the content of a file by its name, and its name without the words for it."""
    stem = path.name
    while Path(stem).suffix.lower() in _SUFFIXES:
        stem = Path(stem).stem
    role, certain, words = _find_role(stem)
    folder = Path(os.path.abspath(path)).parent
    # Folders such as images and masks.
    folder_role = _WORDS.get(folder.name.lower())
    place = folder if folder_role is None else folder.parent
    return _Named(path, role or folder_role or "image", certain, (str(place), *words))


def _find_role(name: str) -> tuple[str | None, bool, list[str]]:
    """Return the content that a name has a word for, whether this is certain, and the other words."""
    split = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
    words = [word for word in re.split(r"[._\-+ ]+", split) if word]
    for i, word in enumerate(words):
        if match := _NOIRLAB.match(word):
            return _NOIRLAB_ROLES[match[2]], True, [*words[:i], match[1], *words[i + 1 :]]
    # "image_mask" and "mask_image" are masks.
    rest = [word for word in words if _WORDS.get(word) != "image"]
    for i in reversed(range(len(rest))):
        if (role := _WORDS.get(rest[i])) is not None:
            # Pan-STARRS names variances like weights.
            role = "variance" if rest[i - 1 : i + 1] == ["unconv", "wt"] else role
            return role, len(words) > 1 and rest[i] == words[-1], rest[:i] + rest[i + 1 :]
    if rest and (match := _ENDINGS.match(rest[-1])):
        return _WORDS[match[2]], False, [*rest[:-1], match[1]]
    return "image" if len(rest) < len(words) else None, False, rest


def _pair_by_header(
    images: list[Path], companions: dict[Path, dict[str, Path]], left: Iterable[tuple[Path, str]]
) -> None:
    """Attach the files that no name pairs to the images of the same exposure and detector.

    Files that turn out not to be images are removed from ``images``.
    """
    headers = {path: _read_header(path) for path in (*images, *(path for path, _ in left))}
    unpaired = list(left)
    for path in list(images):
        if (role := _header_role(headers[path])) is not None:
            images.remove(path)
            unpaired.append((path, role))
    for path, role in unpaired:
        found = [image for image in images if _same_exposure(headers[path], headers[image])]
        if len(found) != 1:
            number = "its image is not" if not found else f"{len(found)} images of its exposure are"
            raise FitsIngestError(
                f"{path} is by its name or header the {role} of an image, and {number} among the files; "
                f"name the image and pass this file with --{role}, or pass --no-pairs if it is an image."
            )
        _attach(companions, found[0], role, path)


def _read_header(path: Path) -> Header:
    """Return the cards of the primary header and of the first image."""
    with open_fits(path) as hdus:
        header = hdus[0].header.copy()
        for hdu in hdus[1:]:
            if hdu.is_image:
                with contextlib.suppress(ValueError):
                    header.extend(hdu.header, strip=True, unique=True)
                break
        return header


def _header_role(header: Header) -> str | None:
    """Return the content of a file that is not an image, by its header."""
    for keyword in _HEADER_KEYWORDS:
        value = str(header.get(keyword, "")).strip().upper()
        for pattern, role in _HEADER_ROLES:
            if pattern.match(value):
                return role
    return None


def _same_exposure(one: Header, other: Header) -> bool:
    """Return whether two headers agree on the exposure, as far as both have it, and on the detector."""
    shared = [keyword for keyword in _EXPOSURE_KEYWORDS if keyword in one and keyword in other]
    same = all(one[keyword] == other[keyword] for keyword in shared)
    return bool(shared) and same and find_detector(one) == find_detector(other)
