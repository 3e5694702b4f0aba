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

"""Training files of Asteroid_detection_CNN: an HDF5 file and a CSV file.

The HDF5 file has ``images`` (N, H, W) float32, ``masks`` (N, H, W) bool and optionally ``real_labels`` (N, H,
W) uint16: whole detectors, all of one shape. Files reach 100 GB, so only one image at a time is in memory.

The CSV file has one row per trail. ``image_id`` is the number of the image; ``x`` and ``y`` are the midpoint,
truncated to whole pixels; ``beta`` is in degrees counter-clockwise from +x, ``trail_length`` in pixels;
``mag`` is per pixel of length: the flux of the trail is ``flux(mag) * trail_length``. Columns may be missing:
layouts of 22, 19 and fewer columns exist.
"""

from __future__ import annotations

__all__ = ("ADCNN_COLUMNS", "AdcnnFileError", "AdcnnImage", "AdcnnReader", "AdcnnWriter")

import contextlib
import csv
import dataclasses
import os
from pathlib import Path
from types import TracebackType
from typing import Any

import astropy.table
import h5py
import numpy as np
import numpy.typing as npt

from ..core.atomic import atomic_path
from ..core.hdf5 import Hdf5Output, explain_open_error, unsafe_storage

ADCNN_COLUMNS: dict[str, type] = {
    "ra": float,
    "dec": float,
    "source_type": str,
    "trail_length": float,
    "mag": float,
    "beta": float,
    "visit": int,
    "detector": int,
    "integrated_mag": float,
    "PSF_mag": float,
    "SNR": float,
    "physical_filter": str,
    "x": int,
    "y": int,
    "SNR_estimation": float,
    "m5_local": float,
    "m5_detector": float,
    "stack_detection": bool,
    "stack_mag": float,
    "stack_mag_err": float,
    "stack_snr": float,
    "image_id": int,
}
"""Columns of the CSV file, in order."""

_NEEDED = ("image_id", "x", "y", "trail_length", "beta", "mag")
_CHUNK = 128
_MAX_SIDE = 20_000
_MAX_IMAGES = 1_000_000
_MAX_CSV_BYTES = 2_000_000_000
_MAX_LINE = 100_000


class AdcnnFileError(ValueError):
    """Raised if a file cannot be used; the message names the file and the row."""


@dataclasses.dataclass(frozen=True, eq=False)
class AdcnnImage:
    """One image of the HDF5 file with its trails."""

    number: int
    """Row in the HDF5 file."""

    image: npt.NDArray[np.float32]
    """Pixels, shape (H, W)."""

    mask: npt.NDArray[np.bool_]
    """Pixels of injected trails, shape (H, W)."""

    real_labels: npt.NDArray[np.uint16] | None
    """Non-zero on real sources that the stack had found before the injection, shape (H, W); `None` if the
    file has no such dataset.
    """

    trails: astropy.table.Table
    """Rows of the CSV file, with its columns of `ADCNN_COLUMNS`."""


class AdcnnReader(contextlib.AbstractContextManager["AdcnnReader"]):
    """Reader of the two files, one image at a time.

    Parameters
    ----------
    hdf5
        The HDF5 file.
    table
        The CSV file.

    Raises
    ------
    AdcnnFileError
        Raised if a file is missing, damaged, or of another layout, or if a row of the CSV file does not
        describe a trail of an image.
    """

    trails: astropy.table.Table
    """All rows of the CSV file."""

    def __init__(self, hdf5: str | os.PathLike[str], table: str | os.PathLike[str]) -> None:
        self.hdf5, self.csv = Path(hdf5), Path(table)
        for path in (self.hdf5, self.csv):
            if not path.is_file():
                raise AdcnnFileError(f"{path} does not exist.")
        try:
            self._file = h5py.File(self.hdf5, "r")
        except OSError as error:
            raise AdcnnFileError(
                f"{self.hdf5} cannot be opened as an HDF5 file: {explain_open_error(error)}"
            ) from error
        try:
            self.shape, self.has_real_labels = self._check()
            self.trails = _read_csv(self.csv, len(self))
        except BaseException:
            self._file.close()
            raise

    def _check(self) -> tuple[tuple[int, int, int], bool]:
        shapes: dict[str, tuple[int, int, int]] = {}
        for name, kinds in (("images", "f"), ("masks", "bui"), ("real_labels", "bui")):
            if name not in set(self._file) and name == "real_labels":
                continue
            if problem := unsafe_storage(self._file, name):
                raise AdcnnFileError(f"{self.hdf5} has no array {name} of shape (N, H, W): it {problem}.")
            dataset = self._file[name]
            if dataset.ndim != 3 or dataset.dtype.kind not in kinds:
                raise AdcnnFileError(f"{self.hdf5} has no array {name} of shape (N, H, W).")
            shapes[name] = dataset.shape
            if dataset.shape != shapes["images"]:
                raise AdcnnFileError(
                    f"{self.hdf5}: {name} has shape {dataset.shape}, images has {shapes['images']}."
                )
        count, height, width = shapes["images"]
        if count > _MAX_IMAGES or not 1 <= min(height, width) <= max(height, width) <= _MAX_SIDE:
            raise AdcnnFileError(
                f"{self.hdf5} has {count} images of {height} x {width} pixels; at most {_MAX_IMAGES} of "
                f"1 to {_MAX_SIDE} pixels a side can be read."
            )
        return shapes["images"], "real_labels" in shapes

    def __len__(self) -> int:
        return int(self.shape[0])

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, number: int) -> AdcnnImage | None:
        """Read the image in a row of the HDF5 file.

        Returns
        -------
        image
            `None` for a failed detector: all pixels are zero and there are no trails.

        Raises
        ------
        AdcnnFileError
            Raised if the row is damaged, or all pixels are zero although the CSV file has trails in it.
        """
        try:
            image = np.asarray(self._file["images"][number], dtype=np.float32)
            mask = np.asarray(self._file["masks"][number]) != 0
            labels = self._file["real_labels"][number] if self.has_real_labels else None
        except (OSError, RuntimeError, KeyError) as error:
            raise AdcnnFileError(f"{self.hdf5} is damaged in row {number}: {error}") from error
        trails = self.trails[np.asarray(self.trails["image_id"]) == number]
        if not np.any(image):
            if len(trails) == 0:
                return None
            raise AdcnnFileError(
                f"{self.hdf5}: row {number} is all zero, but {self.csv} has {len(trails)} trails in it."
            )
        return AdcnnImage(number=number, image=image, mask=mask, real_labels=labels, trails=trails)


def _read_csv(path: Path, count: int) -> astropy.table.Table:
    """Read the rows of a CSV file and check that each is a trail."""
    size = path.stat().st_size
    if size > _MAX_CSV_BYTES:
        raise AdcnnFileError(f"{path} has {size} bytes, more than {_MAX_CSV_BYTES}.")
    with path.open("rb") as stream:
        if len(stream.readline(_MAX_LINE)) == _MAX_LINE:
            raise AdcnnFileError(
                f"{path} is not a CSV file: its first line has {_MAX_LINE} or more characters."
            )
    try:
        raw = astropy.table.Table.read(path, format="ascii.csv", guess=False)
    except Exception as error:
        raise AdcnnFileError(f"{path} cannot be read as a CSV file: {error}") from error
    if missing := [name for name in _NEEDED if name not in raw.colnames]:
        raise AdcnnFileError(f"{path} has no column {', '.join(missing)}.")
    table = astropy.table.Table()
    for name, kind in ADCNN_COLUMNS.items():
        if name in raw.colnames:
            table[name] = _column(raw[name], kind, name, path)
    for name in _NEEDED:
        values = np.asarray(table[name], dtype=np.float64)
        wrong = ~np.isfinite(values)
        if name == "trail_length":
            wrong |= values < 0.0
        if name == "image_id":
            wrong |= (values < 0) | (values >= count)
        if np.any(wrong):
            row = int(np.flatnonzero(wrong)[0])
            hint = f"; the HDF5 file has {count} images" if name == "image_id" else ""
            # Line 1 has the names.
            raise AdcnnFileError(f"{path}, line {row + 2}: {name} is {raw[name][row]}{hint}.")
    return table


def _column(column: Any, kind: type, name: str, path: Path) -> npt.NDArray[Any]:
    """Return a column as its type; masked values are NaN, False or empty."""
    masked = np.ma.getmaskarray(np.ma.asarray(column))
    texts = np.ma.filled(np.ma.asarray(column).astype(str), "")
    if kind is str:
        return np.where(masked, "", texts)
    if kind is bool:
        return np.isin(np.char.lower(np.char.strip(texts)), ["true", "1", "1.0"]) & ~masked
    result = np.full(len(column), np.nan)
    for row in np.flatnonzero(~masked):
        try:
            result[row] = float(column[row])
        except (ValueError, OverflowError):
            raise AdcnnFileError(
                f"{path}, line {row + 2}: {name} is {str(column[row])!r}, not a number."
            ) from None
    if kind is int and np.all(np.isfinite(result)):
        # Visits have more digits than a float.
        whole = np.ma.filled(column, 0)
        return np.asarray(whole if whole.dtype.kind in "iu" else np.trunc(result), dtype=np.int64)
    return result


class AdcnnWriter(contextlib.AbstractContextManager["AdcnnWriter"]):
    """Writer of the two files, one image at a time.

    A context manager: both files appear when the block ends; after an exception nothing is left behind.

    Parameters
    ----------
    hdf5
        The HDF5 file.
    table
        The CSV file.
    real_labels
        Whether to write footprints of real sources.
    gzip
        Whether to compress: masks become tiny, images hardly shrink, and reading takes longer.

    Raises
    ------
    OSError
        Raised if a file cannot be written, for instance on a full disk.
    """

    def __init__(
        self,
        hdf5: str | os.PathLike[str],
        table: str | os.PathLike[str],
        *,
        real_labels: bool = False,
        gzip: bool = False,
    ) -> None:
        self.csv = Path(table)
        self._output = Hdf5Output(hdf5, compatible=True)
        self._gzip = gzip
        self._dtypes: dict[str, type] = {"images": np.float32, "masks": np.bool_}
        if real_labels:
            self._dtypes["real_labels"] = np.uint16
        self._rows: list[astropy.table.Table] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(
        self,
        image: npt.NDArray[np.float32],
        mask: npt.NDArray[np.bool_],
        trails: astropy.table.Table,
        real_labels: npt.NDArray[np.uint16] | None = None,
    ) -> None:
        """Append an image.

        Parameters
        ----------
        image, mask, real_labels
            As in `AdcnnImage`.
        trails
            Trails in the image; missing columns of `ADCNN_COLUMNS` stay empty, other columns are ignored.

        Raises
        ------
        ValueError
            Raised if the shape differs from the previous images'.
        """
        file = self._output.file
        arrays = {"images": image, "masks": mask, "real_labels": real_labels}
        for name, dtype in self._dtypes.items():
            values = arrays[name]
            if values is None or values.shape != image.shape:
                raise ValueError(f"{name} must have the shape {image.shape} of the image.")
            if name not in file:
                file.create_dataset(
                    name,
                    shape=(0, *image.shape),
                    maxshape=(None, *image.shape),
                    dtype=dtype,
                    chunks=(1, *(min(_CHUNK, size) for size in image.shape)),
                    compression="gzip" if self._gzip else None,
                )
            dataset = file[name]
            if dataset.shape[1:] != image.shape:
                raise ValueError(
                    f"The image has shape {image.shape}, the previous ones {dataset.shape[1:]}: all images "
                    "of a file must have the same shape."
                )
            dataset.resize(self._count + 1, axis=0)
            dataset[self._count] = values
            self._output.check()
        rows = astropy.table.Table()
        for name, kind in ADCNN_COLUMNS.items():
            if name == "image_id":
                rows[name] = np.full(len(trails), self._count)
            elif name in trails.colnames:
                values = np.ma.filled(np.ma.asarray(trails[name]))
                # Midpoints are truncated to whole pixels.
                rows[name] = np.trunc(values).astype(np.int64) if kind is int else values.astype(kind)
            else:
                rows[name] = np.full(len(trails), "")
        if len(rows):
            self._rows.append(rows)
        self._count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._output.__exit__(kind, error, trace)
            return
        with atomic_path(self.csv) as partial, self._output:
            self._write_csv(partial)

    def _write_csv(self, path: Path) -> None:
        columns = list(ADCNN_COLUMNS)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            for table in self._rows:
                writer.writerows([_text(row[name]) for name in columns] for row in table)


def _text(value: object) -> str:
    """Return a value as CSV text, numbers with all digits."""
    if isinstance(value, (float, np.floating)):
        return "" if np.isnan(value) else repr(float(value))
    return str(value)
