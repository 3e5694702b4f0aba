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

"""Labels of candidates, given by people who looked at them.

A label says whether a candidate is a trail. The page of ``meas-trails vet`` writes a file of labels with the
columns `FILE_COLUMNS`; `check_labels` makes a `trail_label` of it. That has the positions and fits of the
candidates too, so that labels remain useful when another model finds other candidates.
"""

from __future__ import annotations

__all__ = (
    "ARTIFACT_KINDS",
    "FILE_COLUMNS",
    "LABELS",
    "LABEL_COLUMNS",
    "LabelError",
    "check_labels",
    "empty_labels",
    "known_object_labels",
    "read_label_file",
)

import datetime
from collections.abc import Iterator, Mapping
from pathlib import Path

import astropy.io.ascii
import astropy.table
import numpy as np
import numpy.typing as npt

from .columns import CANDIDATE_COLUMNS, ColumnLayout, table_of

LABELS: dict[str, str] = {
    "trail": "a trail of a moving object",
    "artifact": "anything else",
    "unsure": "either is possible",
}
"""Labels of a candidate and their meanings."""

ARTIFACT_KINDS: dict[str, str] = {
    "spike": "diffraction spike",
    "galaxy": "galaxy",
    "cosmic_ray": "cosmic ray",
    "bleed": "bleed trail",
    "satellite": "satellite or airplane",
    "dipole": "residual of a subtraction",
    "star": "star or blend of stars",
    "other": "another artifact",
}
"""Kinds of artifacts and their meanings."""

_LABELED: ColumnLayout = {
    "trailCandidateId": CANDIDATE_COLUMNS["trailCandidateId"],
    "visit": CANDIDATE_COLUMNS["visit"],
    "detector": CANDIDATE_COLUMNS["detector"],
    "label": (np.str_, None, "`trail`, `artifact` or `unsure`."),
    "kind": (
        np.str_,
        None,
        f"Kind of an artifact: {', '.join(f'`{name}`' for name in ARTIFACT_KINDS)}; empty for other labels.",
    ),
    "labeler": (
        np.str_,
        None,
        "Name of the person who gave the label, empty if unknown; `known object` and a designation for "
        "candidates that are known objects.",
    ),
    "time": (np.str_, None, "Time of the label, ISO 8601, UTC; empty for known objects."),
}

_COPIED = (
    "x", "y", "x0", "y0", "x1", "y1", "ra", "dec", "trailLengthPix", "trailAnglePix", "trailFlux", "snr",
    "score",
)  # fmt: skip
"""Columns of the candidate in a table of labels."""

FILE_COLUMNS = tuple(_LABELED)
"""Columns of a file of labels. It may also have ``ra`` and ``dec`` of the candidates, which are checked."""

LABEL_COLUMNS: ColumnLayout = {**_LABELED, **{name: CANDIDATE_COLUMNS[name] for name in _COPIED}}
"""Columns of `trail_label`: type, unit and description."""

MIN_PROBABILITY = 0.9
"""Smallest probability that a candidate is a known object for a label."""

_SAME_PLACE = 1.0 / 3600.0
"""Largest distance of a candidate from its position in a file of labels, degrees in each coordinate."""

_SHOWN = 5
"""Most errors in a message."""


class LabelError(ValueError):
    """Raised if a file of labels cannot be used."""


def empty_labels() -> astropy.table.Table:
    """Return a table of labels with all its columns and no rows."""
    return table_of(dict.fromkeys(LABEL_COLUMNS, ()), LABEL_COLUMNS)


def read_label_file(path: Path) -> astropy.table.Table:
    """Read a file of labels.

    Parameters
    ----------
    path
        CSV or ECSV file with `FILE_COLUMNS` in any order, and any others.

    Returns
    -------
    table
        The file as text, with identifiers as integers.

    Raises
    ------
    LabelError
        Raised if the file cannot be read, lacks a column, or has an invalid row.
    """
    is_ecsv = path.suffix == ".ecsv"
    try:
        if is_ecsv:
            raw = astropy.table.Table.read(path, format="ascii.ecsv")
        else:
            as_text = {"*": [astropy.io.ascii.convert_numpy(str)]}
            raw = astropy.table.Table.read(path, format="ascii.csv", guess=False, converters=as_text)
    except FileNotFoundError:
        raise
    except Exception as error:
        raise LabelError(f"{path} is not a table in {'ECSV' if is_ecsv else 'CSV'}: {error}") from error
    if missing := [name for name in FILE_COLUMNS if name not in raw.colnames]:
        raise LabelError(f"{path} has no column {', '.join(missing)}; download the labels from their page.")
    table = astropy.table.Table()
    for name in FILE_COLUMNS:
        column = np.ma.filled(np.ma.asarray(raw[name]).astype(str), "")
        table[name] = np.asarray(column).astype(str) if len(raw) else np.array([], dtype=str)
    for name in ("ra", "dec"):
        if name in raw.colnames:
            table[name] = np.ma.filled(np.ma.asarray(raw[name]).astype(str), "nan").astype(str)
    _raise_errors([f"{path}, row {row}: {text}" for row, text in _row_errors(table)])
    for name in ("trailCandidateId", "visit", "detector"):
        table[name] = np.array([int(value) for value in table[name]], dtype=np.int64)
    for name in set(table.colnames).difference(FILE_COLUMNS):
        table[name] = np.array([float(value) for value in table[name]], dtype=np.float64)
    return table


def check_labels(
    files: Mapping[str, astropy.table.Table], candidates: astropy.table.Table
) -> astropy.table.Table:
    """Join files of labels, and check them against the candidates.

    Parameters
    ----------
    files
        Tables of `read_label_file` by the names of their files. Of rows in several files that agree, the
        first one counts.
    candidates
        Rows of a catalog of candidates.

    Returns
    -------
    labels
        One row per labeled candidate with `LABEL_COLUMNS`, in the order of the candidates.

    Raises
    ------
    LabelError
        Raised if a row has no candidate, a candidate is elsewhere, or two rows have the same candidate and
        different labels or the same file. The message has the file and row of the first errors.
    """
    index = {int(number): row for row, number in enumerate(candidates["trailCandidateId"])}
    chosen: dict[int, tuple[str, int]] = {}
    errors = []
    for name, table in files.items():
        for number, row in enumerate(table, start=1):
            place = f"{name}, row {number}"
            identifier = int(row["trailCandidateId"])
            if identifier not in index:
                errors.append(
                    f"{place}: no candidate has trailCandidateId {identifier}; pass the page's collection."
                )
                continue
            if text := _differs(row, candidates[index[identifier]]):
                errors.append(f"{place}: candidate {identifier} {text}; pass the page's collection.")
                continue
            if identifier not in chosen:
                chosen[identifier] = (name, number)
                continue
            other, line = chosen[identifier]
            if other == name:
                errors.append(
                    f"{place}: repeats candidate {identifier} of row {line}; delete one of the rows."
                )
            elif any(row[key] != files[other][line - 1][key] for key in ("label", "kind")):
                errors.append(
                    f"{place}: labels candidate {identifier} {_text(row)!r}, but {other}, row {line} labels "
                    f"it {_text(files[other][line - 1])!r}; agree on one and delete the other row."
                )
    _raise_errors(errors)
    if not chosen:
        return empty_labels()
    order = sorted(chosen, key=index.__getitem__)
    rows = [files[chosen[key][0]][chosen[key][1] - 1] for key in order]
    found = candidates[[index[key] for key in order]]
    columns = {name: np.array([row[name] for row in rows]) for name in FILE_COLUMNS}
    return table_of(columns | {name: np.asarray(found[name]) for name in _COPIED}, LABEL_COLUMNS)


def known_object_labels(
    associated: astropy.table.Table, min_probability: float = MIN_PROBABILITY
) -> astropy.table.Table:
    """Return the candidates that are known objects as labels ``trail``.

    Parameters
    ----------
    associated
        A `trail_candidate_associated_detector`.
    min_probability
        Smallest probability that a candidate is the object.

    Returns
    -------
    labels
        One row per such candidate, with `LABEL_COLUMNS`.
    """
    designation = np.asarray(associated["designation"]).astype(str)
    known = (designation != "") & (np.asarray(associated["matchProbability"]) >= min_probability)
    rows, count = associated[known], int(np.count_nonzero(known))
    names = (*FILE_COLUMNS[:3], *_COPIED)
    columns: dict[str, npt.ArrayLike] = {name: np.asarray(rows[name]) for name in names}
    columns |= {
        "label": np.full(count, "trail"),
        "kind": np.full(count, ""),
        "labeler": np.array([f"known object {name}" for name in designation[known]], dtype=str),
        "time": np.full(count, ""),
    }
    return table_of(columns, LABEL_COLUMNS)


def _row_errors(table: astropy.table.Table) -> Iterator[tuple[int, str]]:
    """Yield number and text of each invalid row, from 1."""
    for number, row in enumerate(table, start=1):
        for name in ("trailCandidateId", "visit", "detector"):
            try:
                np.int64(int(row[name]))
            except (ValueError, OverflowError):
                yield number, f"{name} is {str(row[name])!r}; it must be a whole number."
        for name in set(table.colnames).difference(FILE_COLUMNS):
            try:
                float(row[name])
            except ValueError:
                yield number, f"{name} is {str(row[name])!r}; it must be a number."
        label, kind = str(row["label"]), str(row["kind"])
        if label not in LABELS:
            yield number, f"label is {label!r}; it must be one of {', '.join(LABELS)}."
        elif label == "artifact" and kind not in ARTIFACT_KINDS:
            yield number, f"kind is {kind!r}; for an artifact it must be one of {', '.join(ARTIFACT_KINDS)}."
        elif label != "artifact" and kind:
            yield number, f"kind is {kind!r}; it must be empty for the label {label!r}."
        try:
            datetime.datetime.fromisoformat(str(row["time"]))
        except ValueError:
            yield number, f"time is {str(row['time'])!r}; it must be an ISO 8601 time."


def _differs(row: astropy.table.Row, candidate: astropy.table.Row) -> str:
    """Return how a candidate differs from the one that was labeled; empty if it is the same."""
    for name in ("visit", "detector"):
        if row[name] != candidate[name]:
            return f"belongs to {name} {candidate[name]}, not {row[name]}"
    if "ra" in row.colnames and "dec" in row.colnames:
        across = abs((float(row["ra"]) - float(candidate["ra"]) + 180.0) % 360.0 - 180.0)
        across *= np.cos(np.deg2rad(float(candidate["dec"])))
        if across > _SAME_PLACE or abs(float(row["dec"]) - float(candidate["dec"])) > _SAME_PLACE:
            return (
                f"is at ra {candidate['ra']:.5f}, dec {candidate['dec']:.5f}, not at {row['ra']:.5f}, "
                f"{row['dec']:.5f}"
            )
    return ""


def _text(row: astropy.table.Row) -> str:
    return f"{row['label']} {row['kind']}".strip()


def _raise_errors(errors: list[str]) -> None:
    """Raise an error with the first messages, if there are any."""
    if errors:
        left = len(errors) - _SHOWN
        more = [f"... and {left} more errors."] if left > 0 else []
        raise LabelError("\n".join(errors[:_SHOWN] + more))
