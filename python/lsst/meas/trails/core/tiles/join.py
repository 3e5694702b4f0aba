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

"""Joining tile files of many images into one, with splits."""

from __future__ import annotations

__all__ = ("JoinedImage", "list_images", "split_images", "write_tile_set")

import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ..atomic import atomic_path
from ..hdf5 import Hdf5Output
from ..injection.truth import is_trail
from .layout import SPLITS, TILE_DATASETS, TileFileError, TileSource
from .reader import TileReader
from .splits import ImagePlace, assign_splits, drop_overlaps, group_images
from .writer import create_pixels, write_header, write_source

_BLOCK = 64
"""Number of tiles copied at a time."""


@dataclasses.dataclass(frozen=True, eq=False)
class JoinedImage:
    """Image whose tiles go into a joined file."""

    path: Path
    """Tile file of the image."""

    number: int
    """Number of the image in the tile file."""

    source: TileSource
    """Description of the image."""

    place: ImagePlace
    """Visit and position of the image."""

    tiles: int
    """Number of tiles."""

    trails: int
    """Number of trails, without distractors."""

    tile_size: int
    """Side of the tiles, pixels."""

    datasets: tuple[str, ...]
    """Names of the datasets of pixels."""

    split: str | None = None
    """Name of the split; `None` if unassigned or left out."""

    group: int = -1
    """Number of the group of images that share a visit or sky."""


def list_images(files: Iterable[str | os.PathLike[str]]) -> Iterator[JoinedImage]:
    """Iterate over the images of tile files.

    Raises
    ------
    TileFileError
        Raised if a file cannot be read, the sizes of tiles differ, or an image is repeated.
    """
    seen: dict[str, Path] = {}
    tile_size = 0
    for name in files:
        with TileReader(name) as reader:
            if len(reader) and tile_size not in (0, reader.tile_size):
                raise TileFileError(
                    f"{name} has tiles of {reader.tile_size} pixels, the previous files of {tile_size}; "
                    "join tiles of one size."
                )
            tile_size = reader.tile_size if len(reader) else tile_size
            counts = np.bincount(reader.table["source"], minlength=reader.source_count)
            for number in range(reader.source_count):
                source = reader.source(number)
                identity = json.dumps(source.data_id, sort_keys=True)
                if identity in seen and source.data_id:
                    raise TileFileError(
                        f"{name} and {seen[identity]} have the same image {identity}; leave one out."
                    )
                seen[identity] = Path(name)
                yield JoinedImage(
                    path=Path(name),
                    number=number,
                    source=source,
                    place=ImagePlace.of(source),
                    tiles=int(counts[number]),
                    trails=int(np.count_nonzero(is_trail(reader.catalog(number)))),
                    tile_size=reader.tile_size,
                    datasets=reader.datasets,
                )


def split_images(
    images: Sequence[JoinedImage], fractions: Mapping[str, float], *, seed: int = 0, drop: bool = False
) -> list[JoinedImage]:
    """Assign images to splits that share neither visit nor sky.

    Parameters
    ----------
    images
        The images.
    fractions
        Fraction of the tiles for each split, by name.
    seed
        Seed of the random choice.
    drop
        Whether to split by visit only, and leave out images that share sky with another split: for surveys
        that connect all images.

    Raises
    ------
    SplitError
        Raised if there are fewer independent groups of images than splits.
    """
    places = [image.place for image in images]
    groups = group_images(places, by_sky=not drop)
    weights = np.array([image.tiles for image in images], dtype=np.int64)
    splits = assign_splits(groups, weights, fractions, np.random.default_rng(seed))
    dropped = drop_overlaps(places, splits) if drop else np.zeros(len(images), dtype=bool)
    return [
        dataclasses.replace(image, split=None if out else split, group=int(group))
        for image, split, group, out in zip(images, splits, groups, dropped, strict=True)
    ]


def write_tile_set(
    images: Sequence[JoinedImage],
    path: str | os.PathLike[str],
    *,
    virtual: bool = False,
    about: Mapping[str, object] | None = None,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Write the tiles of many files into one, atomically.

    Parameters
    ----------
    images
        The images, grouped by file; images without a split are left out and only listed in the manifest.
    path
        The file to write; the manifest is also written next to it, as JSON.
    virtual
        Whether to point to the files, which must be in the folder of ``path`` or below, instead of copying
        their pixels.
    about
        Further entries of the manifest, for instance the options of the split.
    advance
        Called after every file.

    Returns
    -------
    manifest
        Splits and images of the file.

    Raises
    ------
    TileFileError
        Raised if a file cannot be read, or cannot be pointed to, or is the file to write.
    OSError
        Raised if the file cannot be written.
    """
    path = Path(path)
    if path.exists() and any(path.samefile(image.path) for image in images):
        raise TileFileError(f"{path} is also one of the files to join; write to another file.")
    kept = [image for image in images if image.split is not None and image.tiles]
    if not kept:
        raise TileFileError("The files have no tile to join.")
    files = list(dict.fromkeys(image.path for image in kept))
    count, size = sum(image.tiles for image in kept), kept[0].tile_size
    names = [name for name in TILE_DATASETS if any(name in image.datasets for image in kept)]
    manifest = _manifest(images, path, about or {})
    with Hdf5Output(path) as output:
        file = output.file
        write_header(file, size)
        pixels = {
            name: h5py.VirtualLayout((count, size, size), TILE_DATASETS[name].dtype)
            if virtual
            else create_pixels(file, name, count, size)
            for name in names
        }
        tables, number, first = [], 0, 0
        for name in files:
            chosen = {image.number: image for image in kept if image.path == name}
            with TileReader(name) as reader:
                keep = np.isin(reader.table["source"], list(chosen))
                if not virtual:
                    _copy_pixels(pixels, reader, keep, first)
                elif np.all(keep):
                    _point_to_pixels(pixels, reader, path.resolve().parent, first)
                else:
                    raise TileFileError(f"{name} is used only in part; copy the tiles.")
                table = reader.table.copy()
                for old, image in chosen.items():
                    rows = reader.table["source"] == old
                    table["source"][rows], table["split"][rows] = number, SPLITS[str(image.split)]
                    write_source(file, number, image.source, reader.background(old), reader.catalog(old))
                    number += 1
                tables.append(table[keep])
                first += int(np.count_nonzero(keep))
            output.check()
            advance()
        for plane, layout in pixels.items() if virtual else ():
            file.create_virtual_dataset(plane, layout, fillvalue=TILE_DATASETS[plane].fill)
        file.create_dataset("table", data=np.concatenate(tables))
        text = json.dumps(manifest, indent=1)
        file.create_dataset("manifest", data=np.bytes_(text.encode()))
    with atomic_path(_manifest_path(path)) as partial:
        partial.write_text(text + "\n")
    return manifest


def _manifest_path(path: Path) -> Path:
    """Return the name of the manifest of a joined file."""
    return path.with_name(f"{path.stem}.manifest.json")


def _copy_pixels(
    datasets: Mapping[str, h5py.Dataset], reader: TileReader, keep: npt.NDArray[np.bool_], first: int
) -> None:
    """Copy the chosen tiles of a file into datasets, from a number on."""
    for name, dataset in datasets.items():
        place = first
        for start in range(0, len(reader), _BLOCK):
            block = slice(start, start + _BLOCK)
            stop = place + int(np.count_nonzero(keep[block]))
            known = name in reader.datasets
            dataset[place:stop] = (
                reader.pixels(name, block)[keep[block]] if known else TILE_DATASETS[name].fill
            )
            place = stop


def _point_to_pixels(
    layouts: Mapping[str, h5py.VirtualLayout], reader: TileReader, folder: Path, first: int
) -> None:
    """Point to all tiles of a file in virtual datasets, from a number on."""
    source = reader.path.resolve()
    if not source.is_relative_to(folder):
        raise TileFileError(
            f"{reader.path} is not in {folder} or a subfolder and cannot be pointed to; write the new file "
            "into a folder above all tile files, or copy the tiles."
        )
    if reader.is_virtual:
        raise TileFileError(f"{reader.path} points to other files itself; copy the tiles.")
    for name, layout in layouts.items():
        if name in reader.datasets:
            shape = (len(reader), *layout.shape[1:])
            part = h5py.VirtualSource(str(source.relative_to(folder)), name, shape=shape)
            layout[first : first + len(reader)] = part


def _manifest(images: Sequence[JoinedImage], path: Path, about: Mapping[str, object]) -> dict[str, Any]:
    folder = path.resolve().parent
    splits = {}
    for name in SPLITS:
        chosen = [image for image in images if image.split == name]
        if chosen:
            splits[name] = {
                "images": len(chosen),
                "visits": len({image.place.visit for image in chosen}),
                "tiles": sum(image.tiles for image in chosen),
                "trails": sum(image.trails for image in chosen),
            }
    rows = []
    for image in images:
        center = image.place.center
        rows.append(
            {
                "data_id": image.source.data_id,
                "split": image.split,
                "group": image.group,
                "ra": None if center is None else round(center[0], 6),
                "dec": None if center is None else round(center[1], 6),
                "tiles": image.tiles,
                "trails": image.trails,
                "file": os.path.relpath(image.path.resolve(), folder),
            }
        )
    return {
        **about,
        "splits": splits,
        "left_out": sum(image.split is None for image in images),
        "without_sky": sum(image.place.corners is None for image in images),
        "images": rows,
    }
