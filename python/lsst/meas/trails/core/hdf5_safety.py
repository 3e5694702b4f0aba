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


"""What HDF5 files of unknown origin must not do: point to other files, make
small files need large memory, and make HDF5 itself go astray.
"""

from __future__ import annotations

__all__ = ("MAX_ATTRIBUTE_BYTES", "MAX_CHUNK_BYTES", "has_hard_links", "read_attribute", "unsafe_storage")

import math
from typing import Any

import h5py

MAX_ATTRIBUTE_BYTES = 10_000_000
"""Largest attribute that is read: a configuration, a FITS header."""

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
    An external link would open any HDF5 file that this process may read, and
    wait for ever for a named pipe.  Nothing is opened here: ``name in file``
    follows links, and so does `h5py.Group.get`.
    """
    parts = name.strip("/").split("/")
    links = file.id.links
    for i in range(len(parts)):
        path = "/".join(parts[: i + 1]).encode()
        if not links.exists(path) or links.get_info(path).type != h5py.h5l.TYPE_HARD:
            return False
    return True


def read_attribute(item: h5py.Group | h5py.Dataset, name: str, default: Any = None) -> Any:
    """Return an attribute.

    Parameters
    ----------
    item
        What has it.
    name
        Its name.
    default
        What to return where there is none.

    Raises
    ------
    ValueError
        Raised if it is larger than any needs to be, or its values are of
        variable length: these are claims about another part of the file, and
        HDF5 does not return from some that are false.
    """
    if name not in item.attrs:
        return default
    attribute = item.attrs.get_id(name)
    if attribute.dtype.hasobject:
        raise ValueError(f"its attribute {name} has values of variable length; write it with a fixed one")
    size = attribute.get_space().get_simple_extent_npoints() * attribute.dtype.itemsize
    if size > MAX_ATTRIBUTE_BYTES:
        raise ValueError(f"its attribute {name} claims {size} bytes")
    return item.attrs[name]


def unsafe_storage(file: h5py.File, name: str, *, virtual: bool = False) -> str | None:
    """Return why a dataset is not to be read, if so.

    Parameters
    ----------
    file
        The file.
    name
        Path of the dataset in it.
    virtual
        Whether the dataset may stand for parts of other files: then only
        these may be read, after a look at their names.

    Returns
    -------
    problem
        The end of a sentence that begins with its name; `None` where it can
        be read.
    """
    parent, _, last = name.strip("/").rpartition("/")
    if parent and not has_hard_links(file, parent):
        return "lies elsewhere"
    if last not in set(file[parent or "/"]):
        return "is not there: the file is damaged"
    if not has_hard_links(file, name):
        return "lies elsewhere"
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        return "is not an array"
    if dataset.external or (dataset.is_virtual and not virtual):
        # Raw bytes of any file of this machine, or datasets of others.
        return "lies in other files"
    if dataset.dtype.hasobject:
        return "has values of variable length, which HDF5 does not return from where they are damaged"
    if dataset.chunks is not None and math.prod(dataset.chunks) * dataset.dtype.itemsize > MAX_CHUNK_BYTES:
        return f"has chunks of {dataset.chunks} values, more than any needs"
    return None
