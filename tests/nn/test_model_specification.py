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

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsst.meas.trails.nn.model_specification import ModelError, ModelSpecification

from support.networks import make_specification

_HOSTILE = settings(max_examples=60, deadline=None)


@pytest.mark.parametrize(
    ("changes", "tile_size"),
    [({}, None), ({"architecture": "UNetResSE", "hyperparameters": {"width": 8}}, 128)],
)
def test_json_round_trip(changes: dict[str, Any], tile_size: int | None) -> None:
    specification = make_specification(**changes)
    text = specification.to_json()
    assert ModelSpecification.from_json(text) == specification
    assert json.loads(text).get("tile_size") == specification.tile_size == tile_size


def test_errors_have_the_type_of_models() -> None:
    with pytest.raises(ModelError, match="pixel_scale .*-1.0"):
        make_specification(pixel_scale=-1.0)
    with pytest.raises(ModelError, match="thresholds"):
        make_specification().replace(thresholds={"seed": 0.1, "grow": 0.2})
    with pytest.raises(ModelError, match="version is missing"):
        ModelSpecification(name="tiny", architecture="trail_unet", channels=("science",))
    with pytest.raises(ModelError, match="^here: .*None"):
        ModelSpecification.from_json("{}", "here")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@_HOSTILE
@given(content=st.binary(max_size=200))
def test_random_specification(content: bytes) -> None:
    with pytest.raises(ModelError):
        ModelSpecification.from_json(content)


@_HOSTILE
@given(key=st.sampled_from(sorted(json.loads(make_specification().to_json()))), value=_JSON)
def test_any_value_anywhere_is_taken_or_refused(key: str, value: Any) -> None:
    data = json.loads(make_specification().to_json())
    data[key] = value
    try:
        parsed = ModelSpecification.from_json(json.dumps(data))
    except ModelError:
        return
    assert ModelSpecification.from_json(parsed.to_json()) == parsed
