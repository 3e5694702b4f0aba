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


"""What HDF5 files of unknown origin must not do: point to other files, and
make small files need large memory.
"""

from __future__ import annotations

__all__ = ("MAX_CHUNK_BYTES", "has_hard_links", "unsafe_storage")

import math

import h5py

MAX_CHUNK_BYTES = 2_000_000_000
"""Largest chunk that is read.  Of a compressed dataset a whole chunk is in
memory for each pixel that is wanted.
"""


def has_hard_links(file: h5py.File, name: str) -> bool:
    """Return whether something is in the file itself, under its own name.

    Parameters
    ----------
    file
        The file.
    name
        Path of a group or a dataset in it.

    Notes
    -----
    An external link would open any HDF5 file that this process may read.
    """
    parts = name.strip("/").split("/")
    return all(
        isinstance(file.get("/".join(parts[: i + 1]), getlink=True), h5py.HardLink) for i in range(len(parts))
    )


def unsafe_storage(file: h5py.File, name: str) -> str | None:
    """Return why a dataset is not to be read, if so.

    Parameters
    ----------
    file
        The file.
    name
        Path of the dataset in it.

    Returns
    -------
    problem
        The end of a sentence that begins with its name; `None` where it can
        be read.
    """
    if name not in file:
        return "is not there: the file is damaged"
    if not has_hard_links(file, name):
        return "lies elsewhere"
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        return "is not an array"
    if dataset.external:
        # Raw bytes of any file of this machine.
        return "lies in other files"
    if dataset.chunks is not None and math.prod(dataset.chunks) * dataset.dtype.itemsize > MAX_CHUNK_BYTES:
        return f"has chunks of {dataset.chunks} values, more than any needs"
    return None
