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
from typing import Any

import astropy.table
import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, VarianceUncertainty
from astropy.wcs import WCS

from lsst.meas.trails.core.cutout_fits import cutout_hdus, local_cd_matrices
from lsst.meas.trails.core.cutouts import cut_candidates
from lsst.meas.trails.core.planes import MASK_PLANES, plane_bits
from lsst.meas.trails.core.psf import PsfGrid


def tan_wcs(ra: float = 0.01, dec: float = -60.0) -> WCS:
    """Return a rotated gnomonic WCS of 0.2 arcsec, with its reference point at pixel (400, 600)."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crpix = [401.0, 601.0]
    wcs.wcs.crval = [ra, dec]
    angle, scale = np.deg2rad(25.0), 0.2 / 3600.0
    wcs.wcs.cd = scale * np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return wcs


def make_cutout(x: float = 430.3, y: float = 570.6) -> tuple[fits.HDUList, Any]:
    """Return the file of a trail on an image of 500 x 480 pixels that begins at (300, 400)."""
    rng = np.random.default_rng(1)
    shape = (480, 500)
    arrays = {
        "science": rng.normal(size=shape).astype(np.float32),
        "variance": np.full(shape, 4.0, dtype=np.float32),
        "mask": np.zeros(shape, dtype=np.uint32),
        "probability": rng.random(shape).astype(np.float32),
    }
    arrays["mask"][170, 130] = plane_bits(["SATURATED"])
    arrays["mask"][171, 130] = plane_bits(["DETECTED"])
    row = astropy.table.Table({"x": [x], "y": [y], "x0": [x - 10.0], "y0": [y], "x1": [x + 10.0], "y1": [y]})
    (cutout,) = cut_candidates(arrays, row, origin=(300, 400), psf=PsfGrid.gaussian(4.0, 25))
    wcs = tan_wcs()
    ra, dec, matrices = local_cd_matrices(
        np.array([x]), np.array([y]), lambda x, y: tuple(wcs.pixel_to_world_values(x, y))
    )
    hdus = cutout_hdus(
        cutout,
        image="science",
        center=(x, y, float(ra[0]), float(dec[0])),
        cd_matrix=matrices[0],
        cards={"SCORE": (0.5, "Score"), "TRMAG": (float("nan"), "Unknown")},
    )
    return hdus, cutout


def test_read_as_the_cutout_of_an_alert(tmp_path: Path) -> None:
    """Read the file as brokers read the cutouts of Rubin's alert packets."""
    hdus, cutout = make_cutout()
    hdus.writeto(tmp_path / "cutout.fits")
    data = CCDData.read(tmp_path / "cutout.fits")
    np.testing.assert_array_equal(data.data, cutout.arrays["science"])
    assert str(data.unit) == "nJy"
    assert isinstance(data.uncertainty, VarianceUncertainty)
    np.testing.assert_array_equal(data.uncertainty.array, cutout.arrays["variance"])
    # One saturated pixel is bad, a detected one is not.
    assert np.argwhere(data.mask).tolist() == [[570 - cutout.box[2], 430 - cutout.box[0]]]
    assert data.psf.sum() == pytest.approx(1.0, abs=1e-6)
    assert (data.header["CUTMINX"], data.header["CUTMINY"]) == (cutout.box[0] - 1, cutout.box[2] - 1)
    assert data.header["SCORE"] == 0.5
    assert "TRMAG" not in data.header


def test_local_wcs_agrees_with_that_of_the_image() -> None:
    hdus, cutout = make_cutout()
    local, whole = WCS(hdus[0].header), tan_wcs()
    columns, lines = np.meshgrid(np.arange(cutout.side), np.arange(cutout.side))
    found = local.pixel_to_world(columns, lines)
    true = whole.pixel_to_world(columns + cutout.box[0], lines + cutout.box[2])
    # 0.1 milliarcsec: the approximation is linear over 101 pixels.
    assert found.separation(true).arcsec.max() < 1e-4


def test_planes_and_other_images() -> None:
    hdus, cutout = make_cutout()
    assert [hdu.name for hdu in hdus] == ["PRIMARY", "MASK", "UNCERT", "PSFIMAGE", "FLAGS", "PROBABILITY"]
    for bit, name in enumerate(MASK_PLANES):
        assert hdus["FLAGS"].header[f"MP_{name}"] == bit
    np.testing.assert_array_equal(hdus["FLAGS"].data, cutout.arrays["mask"])
    np.testing.assert_array_equal(hdus["PROBABILITY"].data, cutout.arrays["probability"])


def test_pixels_off_the_image_are_masked() -> None:
    hdus, cutout = make_cutout(x=302.0)
    assert not cutout.inside.all()
    assert np.all(hdus["MASK"].data[~cutout.inside] == 1)
    assert np.all(np.isnan(hdus[0].data[~cutout.inside]))


def test_matrices_across_the_origin_of_right_ascension() -> None:
    wcs = tan_wcs(ra=0.0)
    ra, _, matrices = local_cd_matrices(
        np.array([400.0]), np.array([600.0]), lambda x, y: tuple(wcs.pixel_to_world_values(x, y))
    )
    assert ra[0] % 360.0 == pytest.approx(0.0, abs=1e-9)
    np.testing.assert_allclose(matrices[0], wcs.wcs.cd, atol=1e-10)
