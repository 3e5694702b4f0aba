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

"""Sections of a recipe: plain data into dataclasses, with checks.

The annotations of a dataclass say what a section may hold.
"""

from __future__ import annotations

__all__ = ("BadValueError", "RecipeError", "build_section", "plain", "require")

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any


class RecipeError(ValueError):
    """A recipe that cannot be followed; the message names file and key."""


def require(condition: bool, key: str, problem: str) -> None:
    """Raise an error that `build_section` completes with the place in the file."""
    if not condition:
        raise BadValueError(key, problem)


class BadValueError(ValueError):
    """A value that does not fit its key; `build_section` adds the place."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(problem)
        self.key = key


def build_section[T](cls: type[T], mapping: Any, where: str, source: str) -> T:
    """Build a frozen dataclass from a mapping, refusing what does not fit.

    Parameters
    ----------
    cls
        The dataclass; its annotations say what is allowed.
    mapping
        Values by name.
    where, source
        Key of the section and name of the file, for messages.

    Raises
    ------
    RecipeError
        Raised if a key is unknown or missing, or a value is of the wrong
        type or out of range.
    """
    place = f"{source}: {where}" if where else source
    if not isinstance(mapping, Mapping):
        raise RecipeError(f"{place}: must be a section of 'key: value' lines, not {_show(mapping)}.")
    assert dataclasses.is_dataclass(cls)
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    values: dict[str, Any] = {}
    for key, value in mapping.items():
        if key not in fields:
            close = difflib.get_close_matches(str(key), fields, n=1)
            remedy = f"did you mean {close[0]!r}?" if close else "remove it."
            raise RecipeError(
                f"{place}: unknown key {str(key)!r}; {remedy} Known keys here: {', '.join(sorted(fields))}."
            )
        values[key] = _convert(hints[key], value, f"{where}.{key}" if where else key, source)
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise RecipeError(f"{place}: the key {name!r} is missing; add it.")
    try:
        return cls(**values)
    except BadValueError as problem:
        key = f"{where}.{problem.key}" if where else problem.key
        given = f" (it is {_show(values[problem.key])})" if problem.key in values else ""
        raise RecipeError(f"{source}: {key} {problem}{given}.") from None
    except ValueError as error:
        raise RecipeError(f"{place}: {error}") from error


def _convert(hint: Any, value: Any, where: str, source: str) -> Any:
    """Return a value as what the annotation asks for."""
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        options = [option for option in typing.get_args(hint) if option is not type(None)]
        return None if value is None else _convert(options[0], value, where, source)
    if dataclasses.is_dataclass(hint):
        assert isinstance(hint, type)
        return build_section(hint, value, where, source)
    if origin is tuple:
        # One name where a list is asked for is what people write.
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, Sequence):
            raise RecipeError(f"{source}: {where} must be a list, not {_show(value)}.")
        items = typing.get_args(hint)
        if items[-1] is Ellipsis:
            items = items[:1] * len(value)
        if len(value) != len(items):
            raise RecipeError(f"{source}: {where} must have {len(items)} entries, not {len(value)}.")
        return tuple(
            _convert(item, entry, f"{where}[{i}]", source)
            for i, (item, entry) in enumerate(zip(items, value, strict=True))
        )
    if origin is dict:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise RecipeError(
                f"{source}: {where} must be a section of 'key: value' lines, not {_show(value)}."
            )
        return dict(value)
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            value = float(value)
        except OverflowError:
            raise RecipeError(f"{source}: {where} must be a number of at most 308 digits.") from None
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        hint_float = ""
        if hint is float and isinstance(value, str):
            hint_float = " (YAML takes 1e-3 for text: write 1.0e-3)"
        raise RecipeError(f"{source}: {where} must be {names[hint]}, not {_show(value)}{hint_float}.")
    if hint is float and not math.isfinite(value):
        raise RecipeError(f"{source}: {where} must be finite, not {_show(value)}.")
    return value


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def plain(value: Any) -> Any:
    """Return a dataclass as dictionaries, lists, and what they hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    return value
