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

"""Atomic writing and safe reading of HDF5 files."""

from __future__ import annotations

__all__ = (
    "MAX_ATTRIBUTE_BYTES",
    "MAX_CHUNK_BYTES",
    "Hdf5Output",
    "explain_open_error",
    "has_hard_links",
    "is_stored",
    "read_attribute",
    "unsafe_storage",
)

import contextlib
import errno
import io
import math
import os
from types import TracebackType
from typing import Any

import h5py

from .atomic import atomic_path


class Hdf5Output(contextlib.AbstractContextManager["Hdf5Output"]):
    """New HDF5 file that appears under its name when it is complete.

    A context manager: after an exception nothing is left behind, and an earlier file stays.

    Parameters
    ----------
    path
        The file to write.
    compatible
        Whether versions of HDF5 before 1.10 can read it; otherwise its structure has checksums.

    Raises
    ------
    OSError
        Raised, at the latest when the block ends, if the file cannot be written, for instance on a full disk.
    """

    file: h5py.File
    """The open file."""

    def __init__(self, path: str | os.PathLike[str], *, compatible: bool = False) -> None:
        with contextlib.ExitStack() as stack:
            partial = stack.enter_context(atomic_path(path))
            self._raw = stack.enter_context(_RawOutput(partial, "w+"))
            self.file = h5py.File(self._raw, "w", libver=None if compatible else ("v110", "v110"))
            self.check()
            self._stack = stack.pop_all()

    def check(self) -> None:
        """Raise the first error of writing, if any.

        HDF5 itself does not report it.
        """
        if self._raw.failure is not None:
            raise self._raw.failure

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            self.file.close()
            if error is None or isinstance(error, Exception):
                # HDF5's own error says less than the error of the system.
                self.check()
            if error is not None:
                raise error


class _RawOutput(io.FileIO):
    """File that keeps the first error of writing and discards later data.

    If writing fails, HDF5 cannot close the file either, and ends the process with a segmentation fault.
    """

    failure: OSError | None = None

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
        """Keep the first error, and add the file's name, which the system omits."""
        if self.failure is None:
            self.failure = OSError(error.errno, error.strerror, self.name)

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
            # Discarded data.
            view[count:] = bytes(len(view) - count)
        return len(view)


MAX_ATTRIBUTE_BYTES = 10_000_000
"""Largest attribute that is read: a configuration or a FITS header."""

MAX_CHUNK_BYTES = 2_000_000_000
"""Largest chunk that is read: any pixel of a compressed dataset needs a whole chunk in memory."""


def explain_open_error(error: Exception) -> str:
    """Return the text of an error of opening an HDF5 file, with a remedy if the file cannot be locked."""
    text = " ".join(str(error).split())
    if "unable to lock file" not in text:
        return text
    number = getattr(error, "errno", None)
    if number in (errno.EAGAIN, errno.EACCES):
        return f"{text}: another process has locked it, for example to write it; wait for its end"
    return (
        f"{text}: its file system has no locks; set the environment variable HDF5_USE_FILE_LOCKING=FALSE "
        "and repeat the command"
    )


def has_hard_links(file: h5py.File, name: str) -> bool:
    """Return whether a group or dataset is in the file itself.

    External links would open any HDF5 file that this process may read, or block on a named pipe. Unlike
    ``name in file`` and `h5py.Group.get`, this function does not follow links.
    """
    parts = name.strip("/").split("/")
    links = file.id.links
    for i in range(len(parts)):
        path = "/".join(parts[: i + 1]).encode()
        if not links.exists(path) or links.get_info(path).type != h5py.h5l.TYPE_HARD:
            return False
    return True


def read_attribute(item: h5py.Group | h5py.Dataset, name: str, default: Any = None) -> Any:
    """Return an attribute of a group or dataset.

    Parameters
    ----------
    item
        The group or dataset.
    name
        Name of the attribute.
    default
        Value if the attribute is missing.

    Raises
    ------
    ValueError
        Raised if the attribute is larger than `MAX_ATTRIBUTE_BYTES`, or has values of variable length: these
        refer to another part of the file, and HDF5 does not return from some false references.
    """
    if name not in item.attrs:
        return default
    attribute = item.attrs.get_id(name)
    if attribute.dtype.hasobject:
        raise ValueError(f"its attribute {name} has values of variable length; write a fixed length")
    size = attribute.get_space().get_simple_extent_npoints() * attribute.dtype.itemsize
    if size > MAX_ATTRIBUTE_BYTES:
        raise ValueError(f"its attribute {name} claims {size} bytes")
    return item.attrs[name]


def unsafe_storage(file: h5py.File, name: str, *, virtual: bool = False) -> str | None:
    """Return the reason why a dataset must not be read.

    Parameters
    ----------
    file
        The file.
    name
        Path of the dataset in the file.
    virtual
        Whether the dataset may be virtual; the caller must then check the names of the other files and read
        these instead.

    Returns
    -------
    problem
        End of a sentence that begins with the dataset's name; `None` if it can be read.
    """
    parent, _, last = name.strip("/").rpartition("/")
    if parent and not has_hard_links(file, parent):
        return "is in another file"
    if last not in set(file[parent or "/"]):
        return "does not exist: the file is damaged"
    if not has_hard_links(file, name):
        return "is in another file"
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        return "is not an array"
    if dataset.external or (dataset.is_virtual and not virtual):
        # Raw bytes of any file of this machine, or datasets of other files.
        return "is in other files"
    if dataset.dtype.hasobject:
        return "has values of variable length, which hang HDF5 if they are damaged"
    if dataset.chunks is not None and math.prod(dataset.chunks) * dataset.dtype.itemsize > MAX_CHUNK_BYTES:
        return f"has chunks of {dataset.chunks} values, more than {MAX_CHUNK_BYTES} bytes"
    return None


def is_stored(dataset: h5py.Dataset) -> bool:
    """Return whether all values are stored; HDF5 reads zeros for others."""
    if dataset.chunks is None:
        return bool(dataset.id.get_storage_size() == dataset.nbytes)
    expected = math.prod(-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True))
    return bool(dataset.id.get_num_chunks() == expected)
