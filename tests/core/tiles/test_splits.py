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

import astropy.wcs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.core.tiles.layout import TileSource
from lsst.meas.trails.core.tiles.splits import (
    ImagePlace,
    SplitError,
    assign_splits,
    corners_overlap,
    drop_overlaps,
    group_images,
    image_corners,
)

SHAPE = (1000, 2000)
SCALE = 0.2 / 3600.0
"""Pixel scale, degrees: images are 0.111 degrees wide and 0.056 high."""


def header(ra: float, dec: float, turn: float = 0.0, mirrored: bool = False) -> str:
    wcs = astropy.wcs.WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [0.5 * (SHAPE[1] + 1), 0.5 * (SHAPE[0] + 1)]
    c, s = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
    wcs.wcs.cd = SCALE * np.array([[c, -s], [s, c]]) @ np.diag([1.0 if mirrored else -1.0, 1.0])
    return str(wcs.to_header().tostring(sep="\n"))


def place(visit: Any, ra: float = 10.0, dec: float = -5.0, **options: Any) -> ImagePlace:
    source = TileSource(
        data_id={"instrument": "I", "visit": visit},
        shape=SHAPE,
        psf_kernel=PsfGrid.gaussian(4.0).mean_kernel,
        wcs=header(ra, dec, **options),
    )
    return ImagePlace.of(source)


@pytest.mark.parametrize(("ra", "dec"), [(10.0, -5.0), (0.0, 0.0), (120.0, 89.99), (359.99, -60.0)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_corners(ra: float, dec: float, mirrored: bool) -> None:
    corners = image_corners(header(ra, dec, mirrored=mirrored), SHAPE)
    assert corners is not None
    np.testing.assert_allclose(np.linalg.norm(corners, axis=1), 1.0)
    sides = np.rad2deg(np.linalg.norm(corners - np.roll(corners, -1, axis=0), axis=1))
    np.testing.assert_allclose(sides, np.array([2000, 1000, 2000, 1000]) * SCALE, rtol=1e-4)
    center = place(1, ra, dec).center
    assert center is not None
    assert center[1] == pytest.approx(dec, abs=1e-4)


@pytest.mark.parametrize("text", ["", "nonsense", "CTYPE1  = 'PIXEL'", "CTYPE1  = 'RA---TAN'"])
def test_headers_without_a_sky(text: str) -> None:
    assert image_corners(text, SHAPE) is None


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(
    ("dec", "turn", "overlap"),
    [
        (0.0, 0.0, True),
        (0.05, 0.0, True),
        (0.06, 0.0, False),
        # An upright image extends further.
        (0.08, 90.0, True),
        (0.09, 90.0, False),
        # Their circumcircles overlap, the images do not.
        (0.11, 45.0, False),
    ],
)
def test_overlap(dec: float, turn: float, overlap: bool, mirrored: bool) -> None:
    a, b = place(1, dec=-5.0), place(2, dec=-5.0 + dec, turn=turn, mirrored=mirrored)
    assert a.corners is not None
    assert b.corners is not None
    assert corners_overlap(a.corners, b.corners) is overlap
    assert corners_overlap(b.corners, a.corners) is overlap


def test_across_the_meridian_and_at_the_pole() -> None:
    for first, second, together in (
        ((359.98, 0.0), (0.02, 0.0), True),
        ((359.9, 0.0), (0.1, 0.0), False),
        ((0.0, 89.99), (180.0, 89.99), True),
        ((0.0, 89.9), (180.0, 89.9), False),
    ):
        groups = group_images([place(1, *first), place(2, *second)])
        assert (groups[0] == groups[1]) is np.bool_(together)


def test_groups() -> None:
    """Visits 1 and 2 share sky, as do 2 and 3; 4 is elsewhere, 5 has no position."""
    places = [
        place(1, 10.0),
        place(1, 40.0),
        place(2, 40.05),
        place(2, 70.0),
        place(3, 70.0),
        place(4, 100.0),
        ImagePlace("5", None),
        ImagePlace("5", None),
        ImagePlace("6", None),
    ]
    groups = group_images(places)
    assert len(set(groups[:5])) == 1
    assert len({groups[0], groups[5], groups[6], groups[8]}) == 4
    assert groups[6] == groups[7]
    by_visit = group_images(places, by_sky=False)
    assert len(set(by_visit)) == 6


def test_each_simulated_scene_has_its_own_sky() -> None:
    kernel = PsfGrid.gaussian(4.0).mean_kernel
    # Their headers have the same arbitrary position.
    scenes = [
        TileSource({"simulation": "s", "seed": 1, "scene": scene}, SHAPE, kernel, wcs=header(0.0, 0.0))
        for scene in (1, 2, 2)
    ]
    groups = group_images([ImagePlace.of(source) for source in scenes])
    assert groups[0] != groups[1] == groups[2]


@given(
    st.lists(st.integers(1, 300), min_size=30, max_size=80),
    st.integers(0, 100),
)
def test_fractions(sizes: list[int], seed: int) -> None:
    wanted = {"train": 0.7, "validation": 0.2, "test": 0.1}
    splits = assign_splits(np.arange(len(sizes)), np.array(sizes), wanted, np.random.default_rng(seed))
    total = sum(sizes)
    for name, fraction in wanted.items():
        part = sum(size for size, split in zip(sizes, splits, strict=True) if split == name)
        # Within about one group.
        assert abs(part - fraction * total) <= max(sizes)


def test_groups_stay_whole() -> None:
    groups = np.array([0, 1, 2, 0, 1, 2, 3, 3])
    splits = assign_splits(
        groups, np.full(8, 10), {"train": 2.0, "validation": 1.0, "test": 0.0}, np.random.default_rng(1)
    )
    assert set(splits) == {"train", "validation"}
    for group in range(4):
        assert len({split for split, number in zip(splits, groups, strict=True) if number == group}) == 1


def test_every_split_gets_a_group() -> None:
    splits = assign_splits(
        np.arange(3), np.array([1000, 1, 1]), {"train": 0.98, "validation": 0.01, "test": 0.01},
        np.random.default_rng(1),
    )  # fmt: skip
    assert sorted(splits) == ["test", "train", "validation"]
    assert splits[0] == "train"


def test_too_few_groups() -> None:
    with pytest.raises(SplitError, match="2 independent groups.*3 splits"):
        assign_splits(
            np.array([0, 1, 1]), np.ones(3, dtype=int), {"train": 1, "validation": 1, "test": 1},
            np.random.default_rng(1),
        )  # fmt: skip


def test_overlapping_images_are_dropped() -> None:
    places = [place(1), place(2), place(3), place(3, 50.0), place(4, 80.0)]
    splits = ["train", "validation", "test", "test", "train"]
    dropped = drop_overlaps(places, splits)
    # The test image remains on the sky that all three share.
    assert list(dropped) == [True, True, False, False, False]
