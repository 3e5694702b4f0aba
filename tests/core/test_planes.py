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

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lsst.meas.trails.core.planes import (
    ALIASES,
    BAD_PLANES,
    MASK_PLANES,
    ImagePlanes,
    canonical_plane,
    plane_bits,
)
from lsst.meas.trails.core.psf import PsfGrid


def planes_of(image: Any, variance: Any = None, mask: Any = None, template: Any = None) -> ImagePlanes:
    image = np.asarray(image, dtype=np.float32)
    return ImagePlanes(
        image=image,
        variance=np.ones_like(image) if variance is None else np.asarray(variance, dtype=np.float32),
        mask=np.zeros(image.shape, dtype=np.uint32) if mask is None else np.asarray(mask, dtype=np.uint32),
        psf=PsfGrid.gaussian(4.0),
        template=template,
    )


def test_bits_are_positions_in_planes() -> None:
    assert plane_bits([]) == 0
    assert plane_bits(["BAD"]) == 1
    assert plane_bits([MASK_PLANES[3], MASK_PLANES[5]]) == (1 << 3) | (1 << 5)
    assert plane_bits(MASK_PLANES) == 2 ** len(MASK_PLANES) - 1
    # Masks are uint32.
    assert len(MASK_PLANES) <= 32
    assert len(set(MASK_PLANES)) == len(MASK_PLANES)


@pytest.mark.parametrize(("afw", "canonical"), ALIASES.items())
def test_either_spelling(afw: str, canonical: str) -> None:
    assert canonical_plane(afw) == canonical
    assert canonical_plane(canonical) == canonical
    assert plane_bits([afw]) == plane_bits([canonical])


def test_unknown_plane_is_named() -> None:
    with pytest.raises(ValueError, match="'SHINY'"):
        plane_bits(["BAD", "SHINY"])


def test_has() -> None:
    planes = planes_of(np.zeros((1, 3)), mask=[[plane_bits(["SAT"]), plane_bits(["STREAK"]), 0]])
    assert planes.has("SATURATED").tolist() == [[True, False, False]]
    assert planes.has("SATURATED", "STREAK").tolist() == [[True, True, False]]


def test_bad_by_mask() -> None:
    mask = [[plane_bits([name]) for name in MASK_PLANES]]
    planes = planes_of(np.zeros((1, len(MASK_PLANES))), mask=mask)
    assert {name for name, bad in zip(MASK_PLANES, planes.bad()[0], strict=True) if bad} == set(BAD_PLANES)
    # The convolution of the stack stops before the edge; the pixels are good.
    assert "DETECTION_EDGE" not in BAD_PLANES


def test_bad_by_value() -> None:
    image = [[0.0, np.nan, np.inf, -np.inf, 0.0, 0.0, 0.0, 0.0]]
    variance = [[1.0, 1.0, 1.0, 1.0, np.nan, np.inf, 0.0, -1.0]]
    planes = planes_of(image, variance)
    assert planes.bad().tolist() == [[False, True, True, True, True, True, True, True]]


@given(
    image=hnp.arrays(np.float32, (3, 4)),
    variance=hnp.arrays(np.float32, (3, 4)),
    mask=hnp.arrays(np.uint32, (3, 4)),
)
def test_good_pixels_have_a_significance(
    image: np.ndarray[Any, Any], variance: np.ndarray[Any, Any], mask: np.ndarray[Any, Any]
) -> None:
    good = ~planes_of(image, variance, mask).bad()
    assert np.all(np.isfinite(image[good]))
    assert np.all(np.isfinite(np.sqrt(variance[good])))
    assert np.all(variance[good] > 0.0)


@given(st.sampled_from(["variance", "mask", "template"]), hnp.array_shapes(min_dims=1, max_dims=3))
def test_planes_of_another_shape_are_refused(name: str, shape: tuple[int, ...]) -> None:
    if shape == (3, 4):
        shape = (4, 3)
    with pytest.raises(ValueError, match=name):
        planes_of(np.zeros((3, 4)), **{name: np.zeros(shape)})


def test_image_must_be_flat() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3, 4\)"):
        planes_of(np.zeros((2, 3, 4)))


def test_shape() -> None:
    planes = planes_of(np.zeros((3, 4)), template=np.zeros((3, 4), dtype=np.float32))
    assert planes.shape == (3, 4)
