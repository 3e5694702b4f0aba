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

"""Models as Arrow tables, for a Butler.

The table has one row with the specification and the weights, byte by byte as in the model's two files, and is
checked like these files.
"""

from __future__ import annotations

__all__ = ("model_from_table", "model_to_table", "write_table")

import os
from pathlib import Path

import pyarrow as pa

from .model_file import TrailModel, model_from_bytes, read_model_bytes, write_model_bytes
from .model_specification import MAX_WEIGHTS_BYTES, ModelError

MAX_TABLE_BYTES = MAX_WEIGHTS_BYTES + 10_000_000
"""Maximum size of a table."""

_SCHEMA = pa.schema(
    [pa.field("specification", pa.binary(), nullable=False), pa.field("weights", pa.binary(), nullable=False)]
)


def model_to_table(path: str | os.PathLike[str]) -> pa.Table:
    """Return the table of a model from its files.

    Parameters
    ----------
    path
        Either of its two files.

    Raises
    ------
    ModelError
        Raised if the model is not valid.
    """
    text, weights, weights_path = read_model_bytes(path)
    model_from_bytes(text, weights, source=str(weights_path))
    return pa.table({"specification": [text], "weights": [weights]}, schema=_SCHEMA)


def model_from_table(table: pa.Table, source: str) -> TrailModel:
    """Return the model in a table.

    Parameters
    ----------
    table
        Table from `model_to_table`.
    source
        Name of the dataset, for messages.

    Raises
    ------
    ModelError
        Raised if the table or the model is not valid.
    """
    return model_from_bytes(*_unpack(table, source), source=source)


def write_table(table: pa.Table, path: str | os.PathLike[str], source: str) -> None:
    """Write the model in a table as files.

    Parameters
    ----------
    table
        Table from `model_to_table`.
    path
        The ``.json`` file to write; the specification names the file of the weights, in the same folder.
    source
        Name of the dataset, for messages.

    Raises
    ------
    ModelError
        Raised if the table or the model is not valid.
    OSError
        Raised if a file cannot be written.
    """
    text, weights = _unpack(table, source)
    model_from_bytes(text, weights, source=source)
    write_model_bytes(Path(path), text, weights)


def _unpack(table: pa.Table, source: str) -> tuple[bytes, bytes]:
    if not isinstance(table, pa.Table) or table.num_rows != 1:
        raise ModelError(f"{source}: is not the table of one model; use 'meas-trails model ingest'.")
    if table.nbytes > MAX_TABLE_BYTES:
        raise ModelError(f"{source}: the table has {table.nbytes} bytes, more than {MAX_TABLE_BYTES}.")
    parts = []
    for name in _SCHEMA.names:
        if (count := table.column_names.count(name)) != 1:
            raise ModelError(f"{source}: the table has {count} columns {name} instead of one.")
        value = table.column(name)[0].as_py()
        if not isinstance(value, bytes):
            raise ModelError(f"{source}: the column {name} holds {type(value).__name__} instead of bytes.")
        parts.append(value)
    return parts[0], parts[1]
