# This file is part of meas_trails.
#
# Developed for the LSST Data Management System.
# This product includes software developed by the LSST Project
# (https://www.lsst.org).
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# This program is free software: you can redistribute it and/or modify
# it under the terms of the GNU General Public License as published by
# the Free Software Foundation, either version 3 of the License, or
# (at your option) any later version.
#
# This program is distributed in the hope that it will be useful,
# but WITHOUT ANY WARRANTY; without even the implied warranty of
# MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
# GNU General Public License for more details.
#
# You should have received a copy of the GNU General Public License
# along with this program.  If not, see <https://www.gnu.org/licenses/>.


"""HDF5 files that are there whole or not at all."""

from __future__ import annotations

__all__ = ("Hdf5Output",)

import io
import os
from pathlib import Path
from types import TracebackType
from typing import Self

import h5py


class Hdf5Output:
    """A new HDF5 file that appears under its name only when it is complete.

    Use it as a context manager; where its block is left by an exception
    nothing is left behind, and a file that was there before stays.

    Parameters
    ----------
    path
        The file to write.
    compatible
        Whether versions of HDF5 before 1.10 shall read it.  Without, its
        structure has checksums.

    Raises
    ------
    OSError
        Raised, at the latest when the block ends, if the file cannot be
        written, for instance on a full disk.
    """

    file: h5py.File
    """The file to write into."""

    def __init__(self, path: str | os.PathLike[str], *, compatible: bool = False) -> None:
        self.path = Path(path)
        self._partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        self._raw = _RawOutput(self._partial, self.path)
        try:
            self.file = h5py.File(self._raw, "w", libver=None if compatible else ("v110", "v110"))
            self.check()
        except BaseException:
            self._discard()
            raise

    def check(self) -> None:
        """Raise the error that writing has met, if any.

        HDF5 does not tell; a writer of many gigabytes asks now and then, so
        as not to go on in vain.
        """
        if self._raw.failure is not None:
            raise self._raw.failure

    def _discard(self) -> None:
        self._raw.close()
        self._partial.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.file.close()
            if error is None or isinstance(error, Exception):
                # What HDF5 made of it says less than the error itself.
                self.check()
            if error is None:
                self._raw.close()
                os.replace(self._partial, self.path)
        finally:
            self._discard()


class _RawOutput(io.FileIO):
    """A file that keeps the first error of writing, and takes and forgets
    everything after it.

    HDF5 that cannot write cannot close the file either, and ends the process
    with a segmentation fault.
    """

    failure: OSError | None = None

    def __init__(self, path: Path, target: Path) -> None:
        super().__init__(path, "w+")
        self._target = target

    def write(self, data: object) -> int:
        view = memoryview(data).cast("B")  # type: ignore[arg-type]
        done = 0
        while self.failure is None and done < len(view):
            try:
                done += super().write(view[done:]) or 0
            except OSError as error:
                self._keep(error)
        return len(view)

    def _keep(self, error: OSError) -> None:
        """Keep the first error, with the file that the system leaves out."""
        if self.failure is None:
            self.failure = OSError(error.errno, error.strerror, os.fspath(self._target))

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self._keep(error)
            return 0 if size is None else size

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        count = super().readinto(view) or 0
        if count < len(view):
            # What was forgotten.
            view[count:] = bytes(len(view) - count)
        return len(view)
