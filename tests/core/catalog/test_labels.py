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

from __future__ import annotations

from pathlib import Path
from typing import Any

import astropy.table
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsst.meas.trails.core.catalog.columns import CANDIDATE_COLUMNS, table_of
from lsst.meas.trails.core.catalog.labels import (
    LABEL_COLUMNS,
    LabelError,
    check_labels,
    empty_labels,
    known_object_labels,
    read_label_file,
)

FIRST = 4611686018427387905
"""An identifier that a double cannot hold."""

HEADER = "trailCandidateId,visit,detector,label,kind,labeler,time"
TIME = "2026-11-27T14:00:00Z"


def make_candidates(count: int = 3) -> astropy.table.Table:
    columns: dict[str, Any] = {
        name: np.zeros(count) if dtype is not np.str_ else np.full(count, "r")
        for name, (dtype, _, _) in CANDIDATE_COLUMNS.items()
    }
    columns |= {"trailCandidateId": FIRST + np.arange(count), "visit": np.full(count, 7)}
    columns |= {"detector": np.full(count, 2), "ra": np.full(count, 359.9999), "dec": np.full(count, -60.0)}
    columns |= {"score": np.linspace(0.9, 0.1, count), "x0": 10.0 + np.arange(count)}
    return table_of(columns, CANDIDATE_COLUMNS)


def write(path: Path, *rows: str, header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *rows, ""]))
    return path


def read(path: Path, *rows: str, header: str = HEADER) -> astropy.table.Table:
    return read_label_file(write(path, *rows, header=header))


def test_labels_get_the_fit_of_their_candidates(tmp_path: Path) -> None:
    table = read(
        tmp_path / "a.csv",
        f"{FIRST + 2},7,2,artifact,cosmic_ray,\"Ada, L.\",{TIME}",
        f"{FIRST},7,2,trail,,,{TIME}",
    )  # fmt: skip
    labels = check_labels({"a.csv": table}, make_candidates())
    assert labels.colnames == list(LABEL_COLUMNS)
    # The order is that of the candidates, and no digit of an identifier is lost.
    assert labels["trailCandidateId"].tolist() == [FIRST, FIRST + 2]
    assert labels["label"].tolist() == ["trail", "artifact"]
    assert labels["kind"].tolist() == ["", "cosmic_ray"]
    assert labels["labeler"].tolist() == ["", "Ada, L."]
    assert labels["x0"].tolist() == [10.0, 12.0]
    np.testing.assert_allclose(labels["score"], [0.9, 0.1])
    assert {name: column.dtype.kind for name, column in empty_labels().items()} == {
        name: column.dtype.kind for name, column in labels.items()
    }


def test_an_ecsv_file_is_read_as_a_csv_file(tmp_path: Path) -> None:
    row = f"{FIRST},7,2,unsure,,007,{TIME}"
    csv = read(tmp_path / "a.csv", row)
    assert csv["labeler"].tolist() == ["007"]
    csv.write(tmp_path / "a.ecsv")
    ecsv = read_label_file(tmp_path / "a.ecsv")
    for name in csv.colnames:
        assert csv[name].tolist() == ecsv[name].tolist()


def test_a_file_without_rows_has_no_labels(tmp_path: Path) -> None:
    table = read(tmp_path / "a.csv")
    assert len(check_labels({"a.csv": table}, make_candidates())) == 0


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (f"{FIRST},7,2,asteroid,,,{TIME}", "asteroid"),
        (f"{FIRST},7,2,artifact,,,{TIME}", "kind"),
        (f"{FIRST},7,2,artifact,comet,,{TIME}", "comet"),
        (f"{FIRST},7,2,trail,spike,,{TIME}", "spike"),
        (f"4.6e18,7,2,trail,,,{TIME}", "trailCandidateId"),
        (f"99999999999999999999,7,2,trail,,,{TIME}", "trailCandidateId"),
        (f"{FIRST},7,,trail,,,{TIME}", "detector"),
        (f"{FIRST},7,2,trail,,,yesterday", "yesterday"),
        (f"{FIRST},7,2,trail,,,", "time"),
    ],
)
def test_invalid_rows_are_named(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(LabelError, match=rf"(?s)a\.csv, row 2: .*{message}"):
        read(tmp_path / "a.csv", f"{FIRST + 1},7,2,trail,,,{TIME}", row)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"a\.csv .*labeler, time"):
        read(tmp_path / "a.csv", header="trailCandidateId,visit,detector,label,kind")
    (tmp_path / "a.ecsv").write_bytes(bytes(range(256)))
    with pytest.raises(LabelError, match=r"a\.ecsv"):
        read_label_file(tmp_path / "a.ecsv")
    with pytest.raises(FileNotFoundError):
        read_label_file(tmp_path / "none.csv")


@given(content=st.binary(max_size=60))
def test_any_content_is_a_table_or_an_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("labels") / "a.csv"
    path.write_bytes(HEADER.encode() + b"\n" + content)
    try:
        table = read_label_file(path)
    except LabelError:
        return
    assert set(table["label"]) <= {"trail", "artifact", "unsure"}


def test_labels_of_other_candidates_are_refused(tmp_path: Path) -> None:
    header = f"{HEADER},ra,dec"
    for row, message in (
        (f"{FIRST + 7},7,2,trail,,,{TIME},359.9999,-60.0", str(FIRST + 7)),
        (f"{FIRST},8,2,trail,,,{TIME},359.9999,-60.0", "visit 7, not 8"),
        (f"{FIRST},7,2,trail,,,{TIME},359.9999,-60.01", "dec -60.0"),
        (f"{FIRST},7,2,trail,,,{TIME},1.0,-60.0", "ra 359.9999"),
    ):
        table = read(tmp_path / "a.csv", row, header=header)
        with pytest.raises(LabelError, match=rf"a\.csv, row 1: .*{message}"):
            check_labels({"a.csv": table}, make_candidates())
    # Right ascension wraps: 0.8 arcsec away.
    table = read(tmp_path / "a.csv", f"{FIRST},7,2,trail,,,{TIME},0.00035,-60.0", header=header)
    assert len(check_labels({"a.csv": table}, make_candidates())) == 1


def test_two_labels_of_a_candidate(tmp_path: Path) -> None:
    """Labels of two people are joined if they agree."""
    one = read(tmp_path / "a.csv", f"{FIRST},7,2,trail,,Ada,{TIME}")
    same = read(tmp_path / "b.csv", f"{FIRST},7,2,trail,,Bob,{TIME}")
    other = read(tmp_path / "c.csv", f"{FIRST},7,2,artifact,spike,Bob,{TIME}")
    labels = check_labels({"a.csv": one, "b.csv": same}, make_candidates())
    assert labels["labeler"].tolist() == ["Ada"]
    with pytest.raises(LabelError, match=r"c\.csv, row 1: .*'artifact spike'.*a\.csv, row 1 .*'trail'"):
        check_labels({"a.csv": one, "c.csv": other}, make_candidates())
    twice = astropy.table.vstack([one, one])
    with pytest.raises(LabelError, match=r"a\.csv, row 2: repeats .* row 1"):
        check_labels({"a.csv": twice}, make_candidates())


def test_a_message_has_the_first_errors(tmp_path: Path) -> None:
    rows = [f"{FIRST + i},7,2,spike,,,{TIME}" for i in range(20)]
    with pytest.raises(LabelError, match=r"(?s)row 1: .*row 5: .*15 more"):
        read(tmp_path / "a.csv", *rows)


def test_known_objects_are_trails() -> None:
    associated = make_candidates()
    associated["designation"] = ["2026 AB1", "", "2026 CD2"]
    associated["matchProbability"] = [0.95, np.nan, 0.6]
    labels = known_object_labels(associated)
    assert labels.colnames == list(LABEL_COLUMNS)
    assert labels["trailCandidateId"].tolist() == [FIRST]
    assert (labels["label"][0], labels["labeler"][0]) == ("trail", "known object 2026 AB1")
    assert len(known_object_labels(associated, 0.5)) == 2
    assert len(known_object_labels(associated[:0])) == 0
