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

import astropy.table
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsst.meas.trails.core.cutouts import MAX_CUTOUT_SIDE, cut_candidates, cutout_side
from lsst.meas.trails.core.planes import plane_bits
from lsst.meas.trails.core.psf import PsfGrid

ORIGIN = (1000, 2000)


def make_rows(*places: tuple[float, float], length: float = 10.0) -> astropy.table.Table:
    """Return candidates with trails along +x."""
    x, y = (np.array(values, dtype=float) for values in zip(*places, strict=True))
    return astropy.table.Table({"x": x, "y": y, "x0": x - length / 2, "y0": y, "x1": x + length / 2, "y1": y})


def make_arrays(shape: tuple[int, int] = (300, 400)) -> dict[str, np.ndarray]:
    """Return arrays whose pixels hold their own coordinates."""
    y, x = np.indices(shape)
    return {
        "x": (x + ORIGIN[0]).astype(np.float32),
        "y": (y + ORIGIN[1]).astype(np.float32),
        "mask": np.zeros(shape, dtype=np.uint32),
        "bad": np.zeros(shape, dtype=bool),
    }


def test_side() -> None:
    assert cutout_side(0.0, 0.0, 20.0, 10.0) == 101
    # Length 100.5 and two margins of 25 pixels make 151 pixels.
    assert cutout_side(0.0, 0.0, -100.5, 10.0) == 151
    assert cutout_side(0.0, 0.0, 3.0, 90.0, side=64, margin=10) == 111
    assert cutout_side(0.0, 0.0, 1e6, 0.0) == MAX_CUTOUT_SIDE
    assert cutout_side(np.nan, 0.0, 1.0, 0.0) == 101


def test_pixels_of_the_center() -> None:
    arrays = make_arrays()
    rows = make_rows((1200.4, 2149.6), (1101.0, 2102.0), length=120.0)
    cutouts = list(cut_candidates(arrays, rows, origin=ORIGIN))
    assert [cutout.row for cutout in cutouts] == [0, 1]
    first = cutouts[0]
    assert first.side == 171
    assert first.box == (1115, 1286, 2065, 2236)
    center = first.side // 2
    assert (first.arrays["x"][center, center], first.arrays["y"][center, center]) == (1200, 2150)
    np.testing.assert_array_equal(first.arrays["x"][0], np.arange(1115, 1286))
    np.testing.assert_array_equal(first.arrays["y"][:, 0], np.arange(2065, 2236))
    assert first.inside.all()
    # Cutouts are copies.
    first.arrays["x"][...] = -1.0
    assert arrays["x"].min() == 1000.0


@given(st.floats(-200.0, 600.0), st.floats(-200.0, 500.0))
def test_edges(x: float, y: float) -> None:
    """Pixels beyond the image have no data, wherever the midpoint is."""
    arrays = make_arrays()
    rows = make_rows((x + ORIGIN[0], y + ORIGIN[1]))
    (cutout,) = cut_candidates(arrays, rows, origin=ORIGIN)
    columns = np.arange(cutout.box[0], cutout.box[1])
    lines = np.arange(cutout.box[2], cutout.box[3])[:, None]
    assert columns[50] == round(x + ORIGIN[0])
    on = (columns >= 1000) & (columns < 1400) & (lines >= 2000) & (lines < 2300)
    np.testing.assert_array_equal(cutout.inside, on)
    np.testing.assert_array_equal(cutout.arrays["x"], np.where(on, columns, np.nan))
    np.testing.assert_array_equal(cutout.arrays["y"], np.where(on, lines, np.nan))
    np.testing.assert_array_equal(cutout.arrays["mask"], np.where(on, 0, plane_bits(["NO_DATA"])))
    assert not cutout.arrays["bad"].any()
    assert cutout.arrays["mask"].dtype == np.uint32


def test_psf_of_the_midpoint() -> None:
    kernels = np.stack([PsfGrid.gaussian(fwhm, 25).mean_kernel for fwhm in (3.0, 5.0)])
    psf = PsfGrid.sampled(lambda x, y: kernels[0] if x < 200.0 else kernels[1], (300, 400), spacing=1000.0)
    left, right = cut_candidates(
        make_arrays(), make_rows((1000.0, 2100.0), (1399.0, 2100.0)), origin=ORIGIN, psf=psf
    )
    assert left.psf is not None
    assert right.psf is not None
    assert left.psf.sum() == pytest.approx(1.0)
    assert left.psf.max() > 2.0 * right.psf.max()


def test_invalid_input() -> None:
    arrays = make_arrays()
    with pytest.raises(ValueError, match="Row 1 "):
        list(cut_candidates(arrays, make_rows((1.0, 1.0), (np.nan, 1.0))))
    with pytest.raises(ValueError, match=r"\(3, 3\)"):
        list(cut_candidates({**arrays, "x": np.zeros((3, 3))}, make_rows((1.0, 1.0))))
    with pytest.raises(ValueError, match="shape"):
        list(cut_candidates({}, make_rows((1.0, 1.0))))
