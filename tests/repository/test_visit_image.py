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

import numpy as np
import pytest

from lsst.images import Box
from lsst.meas.trails.core.planes import MASK_PLANES, ImagePlanes, plane_bits
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.repository.visit_image import make_mask, make_summary_stats
from lsst.meas.trails.sim.observation import make_sky_projection, plan_visit


def test_mask_planes_by_name() -> None:
    bits = np.zeros((20, 30), dtype=np.uint32)
    bits[3, 4] = plane_bits(["SATURATED", "INTERPOLATED"])
    bits[5] = plane_bits(["BAD"])
    mask = make_mask(bits, Box.factory[100:120, 200:230])
    assert mask.bbox.start == (100, 200)
    np.testing.assert_array_equal(mask.get("SATURATED"), (bits & plane_bits(["SAT"])) != 0)
    np.testing.assert_array_equal(mask.get("BAD"), (bits & plane_bits(["BAD"])) != 0)
    assert not mask.get("COSMIC_RAY").any()
    # The stack's planes always exist, others only if set.
    assert {"DETECTED", "SPIKE", "NOT_DEBLENDED"} <= set(mask.schema.names)
    assert "STREAK" not in mask.schema.names


@pytest.mark.parametrize("plane", MASK_PLANES)
def test_every_plane_is_converted(plane: str) -> None:
    bits = np.zeros((4, 5), dtype=np.uint32)
    bits[1, 2] = plane_bits([plane])
    mask = make_mask(bits)
    expected = np.zeros((4, 5), dtype=bool)
    expected[1, 2] = True
    np.testing.assert_array_equal(mask.get(plane), expected)
    assert sum(int(mask.get(name).sum()) for name in mask.schema.names) == 1


def test_unknown_bits() -> None:
    with pytest.raises(ValueError, match="0x100000"):
        make_mask(np.full((2, 2), 1 << 20, dtype=np.uint32))
    with pytest.raises(ValueError, match=r"\(2, 2\).*\(3, 2\)"):
        make_mask(np.zeros((2, 2), dtype=np.uint32), Box.factory[0:3, 0:2])


def test_summary_of_a_known_image() -> None:
    """Sky noise 20 nJy and a Gaussian PSF with a sigma of 2 pixels."""
    shape = (300, 400)
    planes = ImagePlanes(
        image=np.zeros(shape, dtype=np.float32),
        variance=np.full(shape, 400.0, dtype=np.float32),
        mask=np.zeros(shape, dtype=np.uint32),
        psf=PsfGrid.gaussian(2.0 * 2.3548, size=31),
    )
    planes.variance[:40] = np.nan
    projection = make_sky_projection(plan_visit(1, 0, "r"), 94, shape)
    bbox = Box.from_shape(shape)
    stats = make_summary_stats(
        planes, projection, bbox, exposure_time=30.0, zeropoint=31.4 + 2.5, background=100.0
    )
    assert stats.psfSigma == pytest.approx(2.0, rel=1e-3)
    assert stats.psfIxx == pytest.approx(4.0, rel=1e-3)
    assert stats.psfIxy == pytest.approx(0.0, abs=1e-6)
    assert stats.psfArea == pytest.approx(4.0 * np.pi * 4.0, rel=1e-3)
    # The zero point is 2.5 magnitudes above nJy: 10 counts per nJy.
    assert stats.skyNoise == pytest.approx(200.0)
    assert stats.meanVar == pytest.approx(40_000.0)
    assert stats.skyBg == pytest.approx(1000.0)
    assert stats.pixelScale == pytest.approx(0.2, rel=1e-6)
    # 5 sigma: 5 x 20 nJy x sqrt(4 pi sigma^2).
    limit = 5.0 * 20.0 * np.sqrt(4.0 * np.pi * 4.0)
    assert stats.magLim == pytest.approx(31.4 - 2.5 * np.log10(limit), abs=1e-3)
    assert len(set(stats.raCorners)) == 4
