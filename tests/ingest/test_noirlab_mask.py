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

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from lsst.meas.trails.core.planes import BAD_PLANES, plane_bits
from lsst.meas.trails.ingest.layout import read_layout
from lsst.meas.trails.ingest.noirlab_mask import NoirlabMask
from lsst.meas.trails.ingest.pixels import read_pixels

from support.fits_files import write_noise


def names_of(value: int, **cards: object) -> set[str]:
    mask = NoirlabMask(fits.Header({"PRODTYPE": "dqmask", **cards}))
    return {name for name, flagged in mask.planes(np.array([[value]], dtype=np.int32)) if flagged[0, 0]}


@pytest.mark.parametrize("version", ["V4.8.2", "V3.5.0", "v3.10", "5.1", None])
@pytest.mark.parametrize(
    ("value", "name"),
    [
        (1, "BAD"),
        (3, "SATURATED"),
        (4, "SATURATED"),
        (5, "COSMIC_RAY"),
        (7, "TRANSIENT"),
        (8, "STREAK"),
        (99, "BAD"),
    ],
)
def test_values(version: str | None, value: int, name: str) -> None:
    assert names_of(value, PLVER=version) == {name}


@pytest.mark.parametrize("version", ["V3.4.1", "V2.0"])
def test_bits_of_early_versions(version: str) -> None:
    assert names_of(0, PLVER=version) == set()
    assert names_of(16 + 4, PLVER=version) == {"COSMIC_RAY", "INTERPOLATED"}
    assert names_of(128, PLVER=version) == {"TRANSIENT"}
    assert names_of(256, PLVER=version) == {"BAD"}


def test_a_trail_among_transients_is_searched(tmp_path: Path) -> None:
    """Only the pixels that are bad in themselves are lost."""
    image = write_noise(tmp_path / "c4d_ooi.fits")
    values = np.zeros((64, 80), dtype=np.int32)
    values[10], values[20], values[30] = 7, 8, 1
    path = tmp_path / "c4d_ood.fits"
    header = fits.Header({"PRODTYPE": "dqmask", "PLVER": "V4.8.2"})
    fits.PrimaryHDU(values, header).writeto(path)
    pixels = read_pixels(read_layout(image, companion_files={"mask": path}))
    bad = (pixels.mask & np.uint32(plane_bits(BAD_PLANES))) != 0
    np.testing.assert_array_equal(bad, values == 1)
    np.testing.assert_array_equal(pixels.extra["TRANSIENT"], values == 7)
    np.testing.assert_array_equal(pixels.mask & np.uint32(plane_bits(["STREAK"])) != 0, values == 8)
