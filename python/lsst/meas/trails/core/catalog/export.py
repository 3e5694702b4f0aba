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

"""Candidate catalogs as files: selected, sorted and written in several formats."""

from __future__ import annotations

__all__ = (
    "FILE_FORMATS",
    "REPORT_FORMATS",
    "CatalogFormatError",
    "Report",
    "choose_columns",
    "format_catalog",
    "format_of_path",
    "sort_rows",
    "write_catalog",
)

import dataclasses
import difflib
import io
from collections.abc import Sequence
from pathlib import Path

import astropy.table
import astropy.units as u
import numpy as np

from ..atomic import atomic_path
from .ades import AdesContext, ades_psv
from .heliolinx import COLUMN_FORMAT, heliolinx_detections, heliolinx_images
from .mpc80 import mpc80_lines
from .region_file import ds9_regions

FILE_FORMATS: dict[str, tuple[str, ...]] = {
    "ecsv": (".ecsv",),
    "csv": (".csv",),
    "parquet": (".parquet", ".parq"),
    "votable": (".vot", ".xml"),
    "ades": (".psv",),
    "mpc80": (".obs80",),
    "heliolinx": (".hldet",),
    "ds9": (".reg",),
}
"""File formats and the endings of file names that select them."""

REPORT_FORMATS = ("ades", "mpc80", "heliolinx")
"""Formats of observations, which need a `Report`; their fields are fixed."""

_ASTROPY_FORMATS = {"ecsv": "ascii.ecsv", "csv": "ascii.csv"}


@dataclasses.dataclass(frozen=True)
class Report:
    """Facts that `REPORT_FORMATS` need besides the candidates."""

    station: str
    """Observatory code of the Minor Planet Center."""

    context: AdesContext | None = None
    """Observer, telescope and calibration; required by ADES and the 80-column format."""

    images: astropy.table.Table | None = None
    """Images of the file for heliolinx; see `~lsst.meas.trails.core.catalog.heliolinx.heliolinx_images`."""


class CatalogFormatError(ValueError):
    """Raised if a column or file format does not exist."""


def format_of_path(path: Path) -> str:
    """Return the format that the ending of a file name selects.

    Raises
    ------
    CatalogFormatError
        Raised if the ending is unknown.
    """
    for name, endings in FILE_FORMATS.items():
        if path.suffix in endings:
            return name
    known = ", ".join(ending for endings in FILE_FORMATS.values() for ending in endings)
    raise CatalogFormatError(f"{path}: choose one of the endings {known}, or a format.")


def choose_columns(table: astropy.table.Table, names: str) -> list[str]:
    """Return the columns of a list of names.

    Parameters
    ----------
    table
        The catalog.
    names
        Names of columns, separated by commas; or ``all``.

    Raises
    ------
    CatalogFormatError
        Raised if a column does not exist, or there is no name.
    """
    if names == "all":
        return list(table.colnames)
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    for name in chosen:
        if name not in table.colnames:
            close = difflib.get_close_matches(name, table.colnames, n=1)
            hint = f"did you mean {close[0]}?" if close else f"columns are {', '.join(table.colnames)}."
            raise CatalogFormatError(f"There is no column {name!r}; {hint}")
    if not chosen:
        raise CatalogFormatError("Name at least one column.")
    return list(dict.fromkeys(chosen))


def sort_rows(table: astropy.table.Table, column: str) -> astropy.table.Table:
    """Return the rows of a catalog in the order of a column.

    Parameters
    ----------
    table
        The catalog.
    column
        Name of the column; a leading ``-`` sorts in descending order. Rows without a value come last.

    Raises
    ------
    CatalogFormatError
        Raised if the column does not exist.
    """
    (name,) = choose_columns(table, column.removeprefix("-"))
    values = np.asarray(table[name])
    if column.startswith("-"):
        # A stable descending sort: sort the reversed values, and reverse.
        order = len(values) - 1 - np.argsort(values[::-1], kind="stable")[::-1]
    else:
        order = np.argsort(values, kind="stable")
    if values.dtype.kind == "f":
        unknown = np.isnan(values[order])
        order = np.concatenate([order[~unknown], order[unknown]])
    return table[order]


def format_catalog(
    table: astropy.table.Table, file_format: str, columns: Sequence[str], report: Report | None = None
) -> str:
    """Return a catalog as text.

    Parameters
    ----------
    table
        The catalog; for `REPORT_FORMATS`, an output of
        `~lsst.meas.trails.core.catalog.observations.observation_table`.
    file_format
        One of `FILE_FORMATS`, other than ``parquet``.
    columns
        Columns to write; ignored by DS9 and by `REPORT_FORMATS`, whose fields are fixed.
    report
        Required by `REPORT_FORMATS`.

    Raises
    ------
    ValueError
        Raised if a report cannot represent a candidate, or there are none.
    """
    if file_format in REPORT_FORMATS:
        assert report is not None
        if file_format == "heliolinx":
            return heliolinx_detections(table, report.station)
        assert report.context is not None
        psv = ades_psv(table, report.context)
        return psv if file_format == "ades" else mpc80_lines(psv)
    if file_format == "ds9":
        return ds9_regions(table)
    prepared = _prepared(table, file_format, columns)
    if file_format == "votable":
        binary = io.BytesIO()
        prepared.write(binary, format="votable")
        return binary.getvalue().decode()
    text = io.StringIO()
    prepared.write(text, format=_ASTROPY_FORMATS[file_format])
    return text.getvalue()


def write_catalog(
    table: astropy.table.Table,
    path: Path,
    file_format: str,
    columns: Sequence[str],
    report: Report | None = None,
) -> list[Path]:
    """Write a catalog to a file, atomically; see `format_catalog`.

    Returns
    -------
    paths
        The file; for heliolinx also the column-format file and, if the report has images, the file of images,
        with the endings ``.colformat`` and ``.imgs``.
    """
    if file_format == "parquet":
        with atomic_path(path) as partial:
            _prepared(table, file_format, columns).write(str(partial), format="parquet")
        return [path]
    contents = {path: format_catalog(table, file_format, columns, report)}
    if file_format == "heliolinx":
        contents[path.with_suffix(".colformat")] = COLUMN_FORMAT
        if report is not None and report.images is not None:
            contents[path.with_suffix(".imgs")] = heliolinx_images(report.images, report.station)
    for name, content in contents.items():
        with atomic_path(name) as partial:
            partial.write_text(content, encoding="utf-8")
    return list(contents)


def _prepared(table: astropy.table.Table, file_format: str, columns: Sequence[str]) -> astropy.table.Table:
    """Return the columns of a catalog with units that the format has."""
    prepared = table[list(columns)]
    if file_format == "votable":
        # VOTables have no unit for AB magnitudes.
        for name in columns:
            if prepared[name].unit == u.ABmag:
                prepared[name].unit = "mag"
    return prepared
