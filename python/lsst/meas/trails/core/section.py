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

"""Sections of recipes and model specifications: frozen pydantic models."""

from __future__ import annotations

__all__ = ("Section", "describe_error", "require")

import difflib
from collections.abc import Iterator, Mapping
from typing import ClassVar, Self, get_args, get_origin

import pydantic
from pydantic_core import ErrorDetails, PydanticCustomError

_MAX_SHOWN = 60
"""Characters of a bad value that an error message shows."""


class Section(pydantic.BaseModel):
    """Base class of the sections of a file.

    Types are strict ("3" is not a number), numbers are finite, lists become tuples, and unknown keys are
    errors.
    """

    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, ser_json_inf_nan="constants"
    )

    accepts_single_entries: ClassVar[bool] = False
    """Whether text may stand for a list with one entry."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _prepare(cls, value: object) -> object:
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise _problem("must be a section of 'key: value' lines")
        return {key: cls._prepare_entry(key, entry) for key, entry in value.items()}

    @classmethod
    def _prepare_entry(cls, key: object, value: object) -> object:
        """Convert a list for a field that holds a tuple; refuse unknown keys."""
        if not isinstance(key, str) or key not in cls.model_fields:
            known = sorted(cls.model_fields)
            close = difflib.get_close_matches(str(key), known, n=1)
            remedy = f"did you mean {close[0]!r}?" if close else "remove it."
            raise _problem(f"unknown key {str(key)!r}; {remedy} Known keys here: {', '.join(known)}")
        annotation = cls.model_fields[key].annotation
        if tuple in (get_origin(annotation), *map(get_origin, get_args(annotation))):
            if isinstance(value, str) and cls.accepts_single_entries:
                return (value,)
            return tuple(value) if isinstance(value, list) else value
        return value

    def replace(self, **changes: object) -> Self:
        """Return a validated copy with some values changed."""
        return type(self)(**{**dict(self), **changes})


def require(condition: bool, key: str, problem: str) -> None:
    """Raise an error about the value of a key, for validators of a section."""
    if not condition:
        raise _problem(problem, key)


def _problem(problem: str, key: str = "") -> PydanticCustomError:
    return PydanticCustomError("section", "{problem}", {"problem": problem, "key": key})


def describe_error(error: pydantic.ValidationError, source: str = "", where: str = "") -> str:
    """Describe the first problem of a section.

    Parameters
    ----------
    error
        Error of pydantic.
    source
        Name of the file; empty if there is none.
    where
        Key of the section in the file; empty for the whole file.

    Returns
    -------
    message
        Sentence that names file, key and value, such as
        ``FILE: data.balance must be less than or equal to 1, not 1.5.``
    """
    details = error.errors(include_url=False)[0]
    place = "".join(_steps(where, details)).removeprefix(".")
    prefix = f"{source}: " if source else ""
    value, key = details["input"], details.get("ctx", {}).get("key")
    if details["type"] == "missing":
        return f"{prefix}{place} is missing; add it."
    text = details["msg"].removeprefix("Value error, ").replace("Input should", "must", 1)
    text = text.replace("a valid tuple", "a list")
    if text.startswith("unknown key"):
        return f"{prefix}{place}{': ' if place else ''}{text}."
    if key:
        shown = f" (it is {_show(value[key])})" if isinstance(value, Mapping) and key in value else ""
    else:
        shown = f", not {_show(value)}"
        if details["type"] == "float_type" and _is_number(value):
            # YAML reads a number without a decimal point as text.
            shown += " (write 1e-3 as 1.0e-3)"
    return f"{prefix}{place}{' ' if place else ''}{text}{shown}."


def _steps(where: str, details: ErrorDetails) -> Iterator[str]:
    yield where
    for step in (*details["loc"], details.get("ctx", {}).get("key")):
        if step not in (None, ""):
            yield f"[{step}]" if isinstance(step, int) else f".{step}"


def _is_number(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(float(value) or True)
    except ValueError:
        return False


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."
