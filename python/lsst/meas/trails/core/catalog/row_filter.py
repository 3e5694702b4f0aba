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

Nothing is executed: a condition is split into numbers, texts, names, operators and parentheses. `ast.parse`
sees only placeholders for the first three, and all but a few kinds of nodes of its syntax tree are refused.
"""

from __future__ import annotations

__all__ = ("FilterError", "select_rows")

import ast
import difflib
import operator
import re
from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any, NamedTuple, NoReturn

import astropy.table
import numpy as np
import numpy.typing as npt

MAX_CONDITION_CHARACTERS = 10_000
"""Largest number of characters of a condition."""

MAX_DEPTH = 50
"""Largest number of nested parentheses and negations."""

type _Rows = npt.NDArray[np.bool_]

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>[+-]?\s*(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
      | (?P<text>'[^']*'|"[^"]*")
      | (?P<word>(?i:and|or|not|in)\b)
      | (?P<truth>(?i:true|false)\b)
      | (?P<column>[A-Za-z_]\w*)
      | (?P<symbol><=|>=|==|!=|<>|<|>|=|\(|\)|,)
    )""",
    re.VERBOSE,
)
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_KINDS = {"b": "truth value", "i": "number", "u": "number", "f": "number", "U": "text", "S": "text"}
_HINTS = {
    "&": "write 'and'",
    "|": "write 'or'",
    "!": "write 'not'",
    "'": "close the quote",
    '"': "close the quote",
}

_WIDTH = 6
"""Characters of each token in the text that is parsed: a syntax node starts at this times the number of its
first token.
"""


class FilterError(ValueError):
    """Raised if a condition cannot be understood."""


class _Operand(NamedTuple):
    """Column or constant in a condition."""

    values: npt.NDArray[np.generic] | int | float | str | bool
    kind: str
    written: str
    mask: npt.ArrayLike = False
    """Whether the values are missing."""


def select_rows(table: astropy.table.Table, condition: str) -> _Rows:
    """Return the rows of a table that fulfill a condition.

    Parameters
    ----------
    table
        Table with columns of numbers, truth values and texts.
    condition
        Comparisons (``<``, ``<=``, ``>``, ``>=``, ``==`` or ``=``, ``!=`` or ``<>``) of columns with numbers,
        quoted texts, ``true``, ``false`` or other columns, also chained as in
        ``10 < trailLengthPix <= 60``; ``column in (1, 2, 3)``; columns of truth values alone; combined by
        ``and``, ``or``, ``not`` and parentheses. ``not`` binds tighter than ``and``, which binds tighter than
        ``or``. Comparisons with NaN are false, except ``!=``; comparisons with masked values are false.

    Returns
    -------
    rows
        Truth values, shape (n,).

    Raises
    ------
    FilterError
        Raised if the condition is invalid. The message has the condition, the offending part and the remedy.
    """
    return _Condition(table, condition).rows()


class _Condition:
    """A condition, split into tokens."""

    def __init__(self, table: astropy.table.Table, condition: str) -> None:
        self._table = table
        self._condition = condition
        if len(condition) > MAX_CONDITION_CHARACTERS:
            self._fail(f"it has {len(condition)} characters, more than {MAX_CONDITION_CHARACTERS}.")
        self._tokens = list(self._split())

    def rows(self) -> _Rows:
        """Return the rows of the table that fulfill the condition."""
        try:
            tree = ast.parse("".join(f"{token:<{_WIDTH}}" for token in self._placeholders()), mode="eval")
        except SyntaxError as error:
            # At the end of the text the offset is 0.
            place = self._tokens[(error.offset - 1) // _WIDTH :] if error.offset else []
            near = repr(place[0][0].strip()) if place else "its end"
            self._fail(f"{error.msg} at {near}; join comparisons by 'and' or 'or', and close parentheses.")
        return self._evaluate(tree.body)

    def _fail(self, message: str) -> NoReturn:
        shown = self._condition if len(self._condition) <= 200 else f"{self._condition[:200]}..."
        raise FilterError(f"Condition {shown!r}: {message}")

    def _split(self) -> Iterator[re.Match[str]]:
        end = len(self._condition.rstrip())
        if end == 0:
            self._fail("it is empty.")
        position = 0
        while position < end:
            match = _TOKEN.match(self._condition, position)
            if match is None:
                wrong = self._condition[position:].lstrip()[0]
                self._fail(f"{wrong!r} has no meaning; {_HINTS.get(wrong, 'remove it')}.")
            yield match
            position = match.end()

    def _placeholders(self) -> Iterator[str]:
        """Iterate over Python tokens: operators, and ``vN`` for an operand."""
        depth = negations = 0
        previous = ""
        for number, token in enumerate(self._tokens):
            written = token[str(token.lastgroup)].lower()
            if previous == "in" and written != "(":
                self._fail(f"{written!r} after 'in' is not a list such as (1, 2).")
            previous = written
            is_operator = token.lastgroup in ("word", "symbol")
            depth += (written == "(") - (written == ")")
            negations = negations + (written == "not") if is_operator else 0
            if depth + negations >= MAX_DEPTH:
                self._fail(f"it has more than {MAX_DEPTH} nested parentheses or negations.")
            yield {"=": "==", "<>": "!="}.get(written, written) if is_operator else f"v{number}"

    def _evaluate(self, node: ast.expr) -> _Rows:
        match node:
            case ast.BoolOp(op=op, values=values):
                join = operator.and_ if isinstance(op, ast.And) else operator.or_
                return reduce(join, [self._evaluate(value) for value in values])
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return ~self._evaluate(operand)
            case ast.Compare(left=left, ops=[ast.In()], comparators=[values]):
                items = values.elts if isinstance(values, ast.Tuple) else [values]
                if not items:
                    self._fail("the list () has no values.")
                equal = [self._compare(ast.Eq(), self._operand(left), self._operand(item)) for item in items]
                return reduce(operator.or_, equal)
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                operands = [self._operand(item) for item in (left, *comparators)]
                return reduce(operator.and_, map(self._compare, ops, operands[:-1], operands[1:]))
            case ast.Name():
                column = self._operand(node)
                if column.kind != "truth value":
                    self._fail(f"{column.written!r} is a {column.kind}; compare it with something.")
                return self._known(column.values, column)
        self._refuse(node)

    def _refuse(self, node: ast.expr) -> NoReturn:
        last = self._tokens[((node.end_col_offset or 1) - 1) // _WIDTH]
        part = self._condition[self._tokens[node.col_offset // _WIDTH].start() : last.end()].strip()
        self._fail(f"{part!r} is not allowed here.")

    def _operand(self, node: ast.expr) -> _Operand:
        if not isinstance(node, ast.Name):
            self._refuse(node)
        token = self._tokens[node.col_offset // _WIDTH]
        written = token[str(token.lastgroup)]
        match token.lastgroup:
            case "number":
                return _Operand(_number(written), "number", written)
            case "text":
                return _Operand(written[1:-1], "text", written)
            case "truth":
                return _Operand(written.lower() == "true", "truth value", written)
        if written not in self._table.colnames:
            close = difflib.get_close_matches(written, self._table.colnames, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(self._table.colnames)}."
            self._fail(f"there is no column {written!r}; {hint} Put texts in quotes.")
        column = self._table[written]
        kind = _KINDS.get(column.dtype.kind)
        if kind is None or column.ndim != 1:
            self._fail(f"column {written!r} holds neither numbers, truth values nor texts.")
        values = np.asarray(column.astype(str) if column.dtype.kind == "S" else column)
        return _Operand(values, kind, written, getattr(column, "mask", False))

    def _compare(self, comparison: ast.cmpop, left: _Operand, right: _Operand) -> _Rows:
        if type(comparison) not in _COMPARISONS:
            self._fail(f"{left.written!r} and {right.written!r} cannot be compared like this.")
        if left.kind != right.kind:
            self._fail(
                f"a {left.kind} ({left.written}) cannot be compared with a {right.kind} ({right.written})."
            )
        compare = _COMPARISONS[type(comparison)]
        return self._known(compare(left.values, right.values), left, right)

    def _known(self, rows: object, *operands: _Operand) -> _Rows:
        """Return rows without those in which a column has no value."""
        known = np.broadcast_to(np.asarray(rows, dtype=np.bool_), len(self._table))
        return reduce(operator.and_, [~np.asarray(operand.mask) for operand in operands], known)


def _number(written: str) -> int | float:
    """Return a number; integers stay exact, as identifiers must."""
    written = "".join(written.split())
    try:
        return int(written)
    except ValueError:
        return float(written)
