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

"""Conditions on the columns of a table, such as ``snr > 8 and band == "r"``.

Nothing is ever executed: a condition is taken apart into numbers, texts, names
of columns, comparisons, ``and``, ``or``, ``not`` and parentheses, and anything
else is an error.
"""

from __future__ import annotations

__all__ = ("FilterError", "select_rows")

import dataclasses
import difflib
import operator
import re
from collections.abc import Callable
from typing import Any, NoReturn

import astropy.table
import numpy as np
import numpy.typing as npt

MAX_CONDITION_CHARACTERS = 10_000
"""Of a condition, characters."""

MAX_DEPTH = 50
"""Of parentheses and negations within each other."""

type _Rows = npt.NDArray[np.bool_]

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
      | (?P<text>'[^']*'|"[^"]*")
      | (?P<name>[A-Za-z_]\w*)
      | (?P<symbol><=|>=|==|!=|<>|<|>|=|\(|\)|,|-|\+)
      | (?P<end>$)
    )""",
    re.VERBOSE,
)
_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "=": operator.eq,
    "!=": operator.ne,
    "<>": operator.ne,
}
_WORDS = ("and", "or", "not", "in", "true", "false")


class FilterError(ValueError):
    """A condition that cannot be understood."""


@dataclasses.dataclass(frozen=True)
class _Token:
    kind: str
    value: str
    start: int


@dataclasses.dataclass(frozen=True)
class _Operand:
    """A column or a constant: its values, its kind, and how it was written."""

    values: Any
    kind: str
    written: str


def select_rows(table: astropy.table.Table, condition: str) -> _Rows:
    """Return which rows of a table fulfill a condition.

    Parameters
    ----------
    table
        A table whose columns are numbers, truth values and texts.
    condition
        Comparisons (``<``, ``<=``, ``>``, ``>=``, ``==`` or ``=``, ``!=`` or
        ``<>``, also chained as in ``10 < trailLengthPix <= 60``) of columns
        with numbers, quoted texts, ``true``, ``false`` or other columns;
        ``column in (1, 2, 3)``; columns that are truth values by themselves;
        put together by ``and``, ``or``, ``not`` and parentheses.  ``not``
        binds tighter than ``and``, and that tighter than ``or``.  A
        comparison with NaN is false, but for ``!=``; one with a masked value
        is false.

    Returns
    -------
    rows : `numpy.ndarray`
        Truth values, shape (n,).

    Raises
    ------
    FilterError
        Raised if the condition is none.  The message says where, and what
        would be right.
    """
    return _Parser(table, condition).parse()


class _Parser:
    """Recursive descent: each method reads one kind of phrase, from where the
    last one stopped.
    """

    def __init__(self, table: astropy.table.Table, condition: str) -> None:
        self._table = table
        self._condition = condition
        if len(condition) > MAX_CONDITION_CHARACTERS:
            raise FilterError(f"A condition of {len(condition)} characters is too long.")
        self._tokens = list(self._split())
        self._next = 0
        self._depth = 0

    def _split(self) -> list[_Token]:
        tokens: list[_Token] = []
        position = 0
        while not tokens or tokens[-1].kind != "end":
            match = _TOKEN.match(self._condition, position)
            if match is None:
                start = position + len(self._condition[position:]) - len(self._condition[position:].lstrip())
                found = self._condition[start]
                hint = {
                    "&": "; write 'and'",
                    "|": "; write 'or'",
                    "!": "; write 'not'",
                    "'": "; a text lacks its closing quote",
                    '"': "; a text lacks its closing quote",
                }.get(found, "")
                self._fail(f"{found!r} means nothing here{hint}", start)
            kind = str(match.lastgroup)
            tokens.append(_Token(kind, match[kind], match.start(kind)))
            position = match.end()
        return tokens

    def _fail(self, message: str, position: int) -> NoReturn:
        before, rest = self._condition[:position], self._condition[position:]
        where = f"after {before[-40:].strip()!r}" if before.strip() else "at the beginning"
        if not rest.strip():
            where = "at the end" if before.strip() else "in an empty condition"
        raise FilterError(f"{message}, {where}.")

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _word(self) -> str:
        """Return the next token if it is a word of the language, else ""."""
        token = self._peek()
        lowered = token.value.lower()
        return lowered if token.kind == "name" and lowered in _WORDS else ""

    def _take(self) -> _Token:
        token = self._peek()
        self._next += token.kind != "end"
        return token

    def _takes(self, symbol: str) -> bool:
        found = self._peek().kind == "symbol" and self._peek().value == symbol
        self._next += found
        return found

    def parse(self) -> _Rows:
        rows = self._either()
        token = self._peek()
        if token.kind != "end":
            self._fail(f"{token.value!r} is one too many; join conditions with 'and' or 'or'", token.start)
        return rows

    def _either(self) -> _Rows:
        rows = self._both()
        while self._word() == "or":
            self._take()
            rows = rows | self._both()
        return rows

    def _both(self) -> _Rows:
        rows = self._negation()
        while self._word() == "and":
            self._take()
            rows = rows & self._negation()
        return rows

    def _negation(self) -> _Rows:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise FilterError(f"More than {MAX_DEPTH} parentheses or negations within each other.")
        if self._word() == "not":
            self._take()
            rows = ~self._negation()
        elif self._takes("("):
            rows = self._either()
            if not self._takes(")"):
                self._fail("A ')' is missing", self._peek().start)
        else:
            rows = self._comparison()
        self._depth -= 1
        return rows

    def _comparison(self) -> _Rows:
        start = self._peek().start
        left = self._operand()
        rows: _Rows | None = None
        if self._word() == "in":
            self._take()
            return self._membership(left)
        while self._peek().kind == "symbol" and self._peek().value in _COMPARISONS:
            token = self._take()
            right = self._operand()
            compared = self._compare(token, left, right)
            rows = compared if rows is None else rows & compared
            left = right
        if rows is not None:
            return rows
        if left.kind != "truth value":
            self._fail(
                f"{left.written!r} is a {left.kind} and no condition; compare it with something",
                start + len(left.written),
            )
        return self._known(left, np.broadcast_to(np.asarray(left.values, dtype=bool), len(self._table)))

    def _membership(self, left: _Operand) -> _Rows:
        if not self._takes("("):
            self._fail("After 'in' there must be a list such as (1, 2)", self._peek().start)
        equals = _Token("symbol", "==", self._peek().start)
        rows = np.zeros(len(self._table), dtype=bool)
        while True:
            rows |= self._compare(equals, left, self._operand())
            if self._takes(")"):
                return rows
            if not self._takes(","):
                self._fail("A ',' or ')' is missing", self._peek().start)

    def _operand(self) -> _Operand:
        token = self._take()
        if token.kind == "number":
            return _Operand(_number(token.value), "number", token.value)
        if token.kind == "symbol" and token.value in "+-":
            number = self._take()
            if number.kind == "number":
                return _Operand(_number(token.value + number.value), "number", token.value + number.value)
            self._fail(f"After {token.value!r} there must be a number", number.start)
        if token.kind == "text":
            return _Operand(token.value[1:-1], "text", token.value)
        if token.kind == "name" and token.value.lower() in ("true", "false"):
            return _Operand(token.value.lower() == "true", "truth value", token.value)
        if token.kind == "name" and token.value.lower() not in _WORDS:
            return self._column(token)
        self._fail(
            f"There must be a column, a number or a text where {token.value!r} is"
            if token.value
            else "A column, a number or a text is missing",
            token.start,
        )

    def _column(self, token: _Token) -> _Operand:
        if token.value not in self._table.colnames:
            close = difflib.get_close_matches(token.value, self._table.colnames, n=1, cutoff=0.5)
            hint = f"; did you mean {close[0]}?" if close else f": {', '.join(self._table.colnames)}."
            quoted = " A text must be in quotes." if self._next > 1 else ""
            raise FilterError(f"There is no column {token.value!r}{hint}{quoted}")
        column = self._table[token.value]
        kinds = {"b": "truth value", "i": "number", "u": "number", "f": "number", "U": "text", "S": "text"}
        kind = kinds.get(column.dtype.kind)
        if kind is None or column.ndim != 1:
            raise FilterError(f"Column {token.value!r} holds neither numbers, truth values nor texts.")
        values = column.astype(str) if column.dtype.kind == "S" else column
        return _Operand(values, kind, token.value)

    def _compare(self, token: _Token, left: _Operand, right: _Operand) -> _Rows:
        if left.kind != right.kind:
            self._fail(
                f"A {left.kind} ({left.written}) cannot be compared with a {right.kind} ({right.written})",
                token.start,
            )
        compared = _COMPARISONS[token.value](_plain(left.values), _plain(right.values))
        rows = np.broadcast_to(np.asarray(compared, dtype=bool), len(self._table)).copy()
        return self._known(left, self._known(right, rows))

    def _known(self, operand: _Operand, rows: _Rows) -> _Rows:
        """Return rows without those in which a column has no value."""
        mask = getattr(operand.values, "mask", None)
        return rows if mask is None else rows & ~np.asarray(mask)


def _plain(values: Any) -> Any:
    """Return a column as an array, and a constant as it is."""
    return np.asarray(values) if isinstance(values, astropy.table.Column) else values


def _number(written: str) -> int | float:
    """Return a number; integers stay exact, as identifiers must."""
    try:
        return int(written)
    except ValueError:
        return float(written)
