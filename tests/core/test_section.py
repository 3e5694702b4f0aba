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

import math
from typing import Any

import pydantic
import pytest
from pydantic import Field

from lsst.meas.trails.core.section import Section, describe_error, require


class Inner(Section):
    size: tuple[int, int] = (1, 1)
    name: str = "x"


class Outer(Section):
    number: float = Field(1.0, lt=100.0)
    inner: Inner = Inner()
    inners: tuple[Inner, ...] = ()
    count: int | None = None

    @pydantic.model_validator(mode="after")
    def _check(self) -> Outer:
        require(self.number != 13.0, "number", "must not be 13")
        return self


def describe(mapping: Any) -> str:
    with pytest.raises(pydantic.ValidationError) as caught:
        Outer.model_validate(mapping)
    return describe_error(caught.value, "f.yaml", "scenes")


def test_valid_sections() -> None:
    section = Outer.model_validate({"number": 5, "inner": {"size": [3, 4]}, "inners": [{}], "count": None})
    assert section == Outer(number=5.0, inner=Inner(size=(3, 4)), inners=(Inner(),))
    assert isinstance(section.number, float)
    assert section.replace(number=2.0).number == 2.0
    with pytest.raises(pydantic.ValidationError):
        section.replace(number=13.0)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ("text", "f.yaml: scenes must be a section"),
        ({"nunber": 1.0}, "f.yaml: scenes: unknown key 'nunber'; did you mean 'number'"),
        ({1: 1.0}, "f.yaml: scenes: unknown key '1'"),
        ({"number": 1000.0}, "f.yaml: scenes.number must be less than 100, not 1000.0."),
        ({"number": 13}, "f.yaml: scenes.number must not be 13 (it is 13)."),
        ({"number": True}, "f.yaml: scenes.number "),
        ({"number": math.inf}, "f.yaml: scenes.number "),
        ({"number": 10**400}, "f.yaml: scenes.number "),
        ({"number": "1e3"}, "f.yaml: scenes.number "),
        ({"count": 1.0}, "f.yaml: scenes.count "),
        ({"inner": {"size": [3, 4, 5]}}, "f.yaml: scenes.inner.size "),
        ({"inner": {"size": [3, 4.5]}}, "f.yaml: scenes.inner.size[1] "),
        ({"inner": {"size": "34"}}, "f.yaml: scenes.inner.size "),
        ({"inners": [{}, {"name": 5}]}, "f.yaml: scenes.inners[1].name "),
        ({"inners": {}}, "f.yaml: scenes.inners "),
    ],
)
def test_errors_name_file_key_and_value(mapping: Any, message: str) -> None:
    assert describe(mapping).startswith(message)


def test_errors_are_short() -> None:
    assert len(describe({"number": "x" * 10_000})) < 200
    assert describe({"number": "1e-3"}).endswith("(write 1e-3 as 1.0e-3).")
