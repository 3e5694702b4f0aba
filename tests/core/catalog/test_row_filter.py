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

import re
import string

import astropy.table
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsst.meas.trails.core.catalog.row_filter import FilterError, select_rows

BIG = 2**62 + 1
"""An identifier that a float cannot hold."""

TABLE = astropy.table.Table(
    {
        "snr": [5.0, 8.0, 12.0, np.nan],
        "trailLengthPix": [30.0, 10.0, 60.0, 25.0],
        "visit": np.array([7, 7, 8, 8], dtype=np.int64),
        "trailCandidateId": np.array([BIG - 1, BIG, BIG + 1, 3], dtype=np.int64),
        "band": ["g", "r", "i", "r"],
        "trail_flag_edge": [False, True, False, True],
        "spectrum": np.zeros((4, 2)),
    }
)


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("snr > 8", [2]),
        ("snr >= 8 and trailLengthPix > 20", [2]),
        ("snr >= 8 AND trailLengthPix > 20 OR visit = 7", [0, 1, 2]),
        # `and` binds tighter than `or`, `not` tighter than both.
        ("visit == 7 or visit == 8 and snr < 10", [0, 1]),
        ("(visit == 7 or visit == 8) and snr < 10", [0, 1]),
        ("not visit == 7 and snr > 1", [2]),
        ("not (visit == 7 and snr > 6)", [0, 2, 3]),
        ("not not trail_flag_edge", [1, 3]),
        ("trail_flag_edge", [1, 3]),
        ("trail_flag_edge = false", [0, 2]),
        ("trail_flag_edge != TRUE", [0, 2]),
        ("5 < snr <= 12", [1, 2]),
        ("12 > snr", [0, 1]),
        ("trailLengthPix > snr", [0, 1, 2]),
        ("band == 'r'", [1, 3]),
        ('band <> "r" and snr<1e1', [0]),
        ("band in ('g', 'i')", [0, 2]),
        ("not band in ('g', 'i')", [1, 3]),
        ("visit in (8)", [2, 3]),
        ("snr > -.5e+1", [0, 1, 2]),
        ("snr < +6.", [0]),
        # Comparisons with NaN are false, except !=.
        ("snr < 1e300 or snr >= 1e300", [0, 1, 2]),
        ("snr != 5", [1, 2, 3]),
        (f"trailCandidateId == {BIG}", [1]),
        (f"trailCandidateId > {10**30}", []),
        ("true", [0, 1, 2, 3]),
        ("1 > 2", []),
    ],
)
def test_conditions(condition: str, rows: list[int]) -> None:
    assert np.flatnonzero(select_rows(TABLE, condition)).tolist() == rows


def test_masked_values_fulfill_no_comparison() -> None:
    table = astropy.table.Table({"snr": np.ma.array([1.0, 2.0, 3.0], mask=[False, True, False])})
    assert select_rows(table, "snr > 0").tolist() == [True, False, True]
    assert select_rows(table, "snr < 10 or snr > 10").tolist() == [True, False, True]


def test_no_rows() -> None:
    assert select_rows(TABLE[:0], "snr > 8 and not trail_flag_edge and band in ('r')").shape == (0,)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("", "empty"),
        ("snr >", "at its end"),
        ("snr & 3", "'and'"),
        ("snr > 3 | snr < 2", "'or'"),
        ("!trail_flag_edge", "'not'"),
        ("Snr > 3", "'Snr'; did you mean snr?"),
        ("band == r", "'r'"),
        ("zzz", "'zzz'; known are snr, trailLengthPix"),
        ("snr", "'snr'"),
        ("snr > 'a'", "number (snr) cannot be compared with a text ('a')"),
        ("trail_flag_edge > 1", "truth value (trail_flag_edge) cannot be compared with a number (1)"),
        ("spectrum > 1", "'spectrum'"),
        ("((snr > 3)", "'('"),
        ("snr > 3)", "')'"),
        ("snr > 3 visit", "'visit'"),
        ("band == 'r", "quote"),
        ("snr in 3", "'3'"),
        ("visit not in (3)", "'visit'"),
        ("visit in (1 2)", "'1'"),
        ("visit in ()", "()"),
        ("snr > - visit", "'-'"),
        ("and snr > 3", "'and'"),
        ("snr.__class__ > 3", "'.'"),
        ("__import__('os')", "\"__import__('os')\""),
        ("snr > (visit, 3)", "'(visit, 3)'"),
        ("(snr > 3) > 3", "'snr > 3'"),
        ("12abc > 3", "'1'"),
        ("snr + 3 > 3", "'+ 3'"),
        ("snr if visit else 3", "'if'"),
        ("not " * 60 + "trail_flag_edge", "50"),
        ("(" * 1000, "50"),
        ("snr > 3 or " * 1000 + "trail_flag_edge", "10000"),
    ],
)
def test_invalid_conditions_are_refused(condition: str, message: str) -> None:
    with pytest.raises(FilterError, match=re.escape(message)) as raised:
        select_rows(TABLE, condition)
    assert repr(condition[:200])[:-1] in str(raised.value)


WORDS = st.sampled_from(
    [
        "snr",
        "visit",
        "band",
        "trail_flag_edge",
        "and",
        "or",
        "not",
        "in",
        "(",
        ")",
        ",",
        "<",
        "==",
        "-",
        "3",
        "'r'",
        "true",
    ]
)


@given(st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=25).map(" ".join)))
def test_any_text_selects_or_is_refused(condition: str) -> None:
    """Any text gives a selection or a FilterError."""
    message = ""
    rows = np.zeros(4, dtype=bool)
    try:
        rows = select_rows(TABLE, condition)
    except FilterError as error:
        message = str(error)
    assert rows.dtype == bool
    assert rows.shape == (4,)
    assert message == "" or message.endswith((".", "?"))


@given(
    st.floats(-20.0, 20.0).map(lambda value: round(value, 3)),
    st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
    st.text(string.whitespace, max_size=3),
)
def test_numbers_are_read_exactly(value: float, symbol: str, space: str) -> None:
    rows = select_rows(TABLE, f"{space}snr{space}{symbol}{space}{value}{space}")
    expected = {
        "<": np.less,
        "<=": np.less_equal,
        ">": np.greater,
        ">=": np.greater_equal,
        "==": np.equal,
        "!=": np.not_equal,
    }[symbol](np.asarray(TABLE["snr"]), value)
    np.testing.assert_array_equal(rows, expected)
