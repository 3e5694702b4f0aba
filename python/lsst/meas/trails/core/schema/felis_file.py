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

"""Database schema of the catalogs, in the format of Felis.

The format is described at https://felis.lsst.io. The schema of the layouts in the code is written to
``resources/schemas/trail_candidate.yaml``, which ships with the package; a test compares the two. After a
change of a layout, write it again with ``python -m lsst.meas.trails.core.schema.felis_file``.
"""

from __future__ import annotations

__all__ = ("SCHEMA_FILE", "SCHEMA_VERSION", "TABLES", "CatalogTable", "catalog_schema", "schema_text")

import dataclasses
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import yaml

from ..association.columns import ASSOCIATION_COLUMNS, KNOWN_TRAIL_COLUMNS
from ..atomic import atomic_path
from ..catalog.columns import CANDIDATE_COLUMNS, ColumnLayout
from ..linking.columns import TRACKLET_COLUMNS, TRACKLET_MEMBER_COLUMNS

SCHEMA_VERSION = "1.0.0"
"""Version of the schema. Increase the last number for new columns, the first for other changes."""

SCHEMA_FILE = Path(__file__).parents[2] / "resources" / "schemas" / "trail_candidate.yaml"
"""File of the schema in the package."""

_STRING_LENGTH = 64
"""Longest text of a cell, characters."""

_DATATYPES: dict[type, str] = {
    np.bool_: "boolean",
    np.int16: "short",
    np.int32: "int",
    np.int64: "long",
    np.float32: "float",
    np.float64: "double",
    np.str_: "string",
}

_UCDS: dict[str, str] = {
    "visit": "meta.id;obs.image",
    "detector": "meta.id;obs.image",
    "ssObjectId": "meta.id;src",
    "midpointMjdTai": "time.epoch",
    "exposureTime": "time.interval",
    "ra": "pos.eq.ra",
    "raErr": "stat.error;pos.eq.ra",
    "dec": "pos.eq.dec",
    "decErr": "stat.error;pos.eq.dec",
    "ra_dec_Cov": "stat.covariance",
    "x": "pos.cartesian.x",
    "xErr": "stat.error;pos.cartesian.x",
    "y": "pos.cartesian.y",
    "yErr": "stat.error;pos.cartesian.y",
    "trailRa": "pos.eq.ra",
    "trailRaErr": "stat.error;pos.eq.ra",
    "trailDec": "pos.eq.dec",
    "trailDecErr": "stat.error;pos.eq.dec",
    "trailChi2": "stat.fit.chi2",
    "snr": "stat.snr",
}
"""Unified content descriptors of the APDB, by column."""


@dataclasses.dataclass(frozen=True)
class CatalogTable:
    """A table of the schema.

    Parameters
    ----------
    description
        Content of the table.
    columns
        Its layout.
    key
        Columns that identify a row.
    """

    description: str
    columns: ColumnLayout
    key: tuple[str, ...]


TABLES: dict[str, CatalogTable] = {
    "trail_candidate": CatalogTable(
        "Trail candidates: rows of the dataset types trail_candidate_detector and trail_candidate.",
        CANDIDATE_COLUMNS,
        ("trailCandidateId",),
    ),
    "trail_candidate_associated": CatalogTable(
        "Trail candidates with the known objects that they are: rows of the dataset types "
        "trail_candidate_associated_detector and trail_candidate_associated.",
        {**CANDIDATE_COLUMNS, **ASSOCIATION_COLUMNS},
        ("trailCandidateId",),
    ),
    "trail_known_object": CatalogTable(
        "Predicted trails of known objects, found or missed: rows of trail_known_object_detector.",
        KNOWN_TRAIL_COLUMNS,
        ("visit", "detector", "designation"),
    ),
    "trail_tracklet": CatalogTable(
        "Tracklets: candidates of several visits that one object explains.",
        TRACKLET_COLUMNS,
        ("trackletId",),
    ),
    "trail_tracklet_member": CatalogTable(
        "Members of tracklets, one row per candidate.",
        TRACKLET_MEMBER_COLUMNS,
        ("trackletId", "trailCandidateId"),
    ),
}
"""Tables of the schema, by name. A new table of a database needs an entry here."""


def catalog_schema() -> dict[str, Any]:
    """Return the schema as the content of a Felis file."""
    return {
        "name": "meas_trails",
        "version": SCHEMA_VERSION,
        "description": "Catalogs of meas_trails, which finds the trails of moving objects in visit images.",
        "tables": [_table(name, table) for name, table in TABLES.items()],
    }


def schema_text() -> str:
    """Return the text of the Felis file."""
    return "---\n" + yaml.safe_dump(catalog_schema(), sort_keys=False, allow_unicode=True, width=100)


def _table(name: str, table: CatalogTable) -> dict[str, Any]:
    keys = [f"#{name}.{column}" for column in table.key]
    return {
        "name": name,
        "description": table.description,
        "primaryKey": keys[0] if len(keys) == 1 else keys,
        "columns": [_column(column, *table.columns[column]) for column in table.columns],
    }


def _column(name: str, dtype: type, unit: u.UnitBase | None, description: str) -> dict[str, Any]:
    column: dict[str, Any] = {"name": name, "datatype": _DATATYPES[dtype]}
    if dtype is np.str_:
        column["length"] = _STRING_LENGTH
    # A NaN is null in a database; other types have no value that means unknown.
    column["nullable"] = issubclass(dtype, np.floating)
    column["description"] = description
    if unit is not None:
        column["fits:tunit"] = "mag" if unit == u.ABmag else unit.to_string("fits")
    if name in _UCDS:
        column["ivoa:ucd"] = _UCDS[name]
    return column


if __name__ == "__main__":
    with atomic_path(SCHEMA_FILE) as partial:
        partial.write_text(schema_text(), encoding="utf-8")
