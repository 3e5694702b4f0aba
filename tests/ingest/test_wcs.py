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

import astropy.wcs
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from lsst.images import Box, DetectorFrame
from lsst.meas.trails.ingest.wcs import ProjectionError, make_sky_projection, pixel_scale

from support.fits_files import tan_header

SHAPE = (1500, 2000)
FRAME = DetectorFrame(instrument="FitsCam", visit=1, detector=0, bbox=Box.from_shape(SHAPE))

BASE: dict[str, object] = {
    "CRPIX1": 900.5,
    "CRPIX2": 750.0,
    "CRVAL2": 32.0,
    "CD1_1": -7e-5,
    "CD1_2": 1e-6,
    "CD2_1": 2e-6,
    "CD2_2": 7.1e-5,
}

# A radial distortion of a few pixels at the corners.
SIP: dict[str, object] = {
    "A_ORDER": 3,
    "B_ORDER": 3,
    "A_3_0": 3e-9,
    "A_1_2": 3e-9,
    "B_0_3": 3e-9,
    "B_2_1": 3e-9,
    "A_0_2": 1e-7,
}
TERMS = {1: 1.001, 2: 1e-3, 4: 2e-3, 7: -0.05, 9: 0.03}
TPV: dict[str, object] = {f"PV{axis}_{term}": value for axis in (1, 2) for term, value in TERMS.items()}


def make_wcs(code: str, cards: dict[str, object]) -> astropy.wcs.WCS:
    wcs = astropy.wcs.WCS(tan_header(**{**BASE, "CTYPE1": f"RA---{code}", "CTYPE2": f"DEC--{code}", **cards}))
    assert isinstance(wcs, astropy.wcs.WCS)
    return wcs


# The first axis of the pixels points North.
SWAPPED: dict[str, object] = {
    "CTYPE1": "DEC--TAN",
    "CTYPE2": "RA---TAN",
    "CRVAL1": 32.0,
    "CRVAL2": 150.0,
    "CD1_1": 7.1e-5,
    "CD2_2": -7e-5,
}

GOOD: dict[str, tuple[str, dict[str, object]]] = {
    "TAN": ("TAN", {}),
    "SIP": ("TAN-SIP", SIP),
    "TPV": ("TPV", TPV),
    "TAN with PV, as SCAMP writes": ("TAN", TPV),
    "ZPN": ("ZPN", {"PV2_1": 1.0, "PV2_3": 50.0}),
    "STG": ("STG", {}),
    "FK5": ("TAN", {"RADESYS": "FK5", "EQUINOX": 2000.0}),
    "FK5 of date": ("TPV", {**TPV, "RADESYS": "FK5", "EQUINOX": 1975.0}),
    "FK4": ("TAN", {"RADESYS": "FK4", "EQUINOX": 1950.0}),
    "Galactic": ("TAN-SIP", {**SIP, "CTYPE1": "GLON-TAN-SIP", "CTYPE2": "GLAT-TAN-SIP"}),
    "declination first": ("TAN", SWAPPED),
    "declination first, SIP": ("TAN", {**SWAPPED, **SIP, "CTYPE1": "DEC--TAN-SIP", "CTYPE2": "RA---TAN-SIP"}),
    "declination first, FK5": ("TAN", {**SWAPPED, "RADESYS": "FK5", "EQUINOX": 1975.0}),
    "near the pole": ("TAN", {"RADESYS": "FK5", "EQUINOX": 2000.0, "CRVAL2": 89.95}),
}


@pytest.mark.filterwarnings("ignore:Removed redundant SIP")
@pytest.mark.parametrize("name", GOOD)
def test_agrees_with_astropy(name: str) -> None:
    wcs = make_wcs(*GOOD[name])
    projection = make_sky_projection(wcs, FRAME)
    rng = np.random.default_rng(3)
    x, y = rng.uniform(0, SHAPE[1] - 1, 50), rng.uniform(0, SHAPE[0] - 1, 50)
    sky = projection.pixel_to_sky(x=x, y=y)
    expected = wcs.pixel_to_world(x, y)
    assert isinstance(expected, SkyCoord)
    # The elliptic aberration of FK4 is not a rotation: 1e-3 pixels.
    tolerance = 3e-3 if name == "FK4" else 1e-5
    assert np.max(sky.separation(expected.icrs).arcsec) / pixel_scale(wcs) < tolerance
    back = projection.sky_to_pixel(sky)
    assert np.max(np.hypot(back.x - x, back.y - y)) < 1e-3


def test_first_pixel_is_zero() -> None:
    """FITS counts pixels from 1, sky projections from 0."""
    wcs = make_wcs("TAN", {})
    sky = make_sky_projection(wcs, FRAME).pixel_to_sky(x=899.5, y=749.0)
    assert sky.ra.deg == pytest.approx(150.0, abs=1e-9)
    assert sky.dec.deg == pytest.approx(32.0, abs=1e-9)


def test_pixel_scale() -> None:
    wcs = make_wcs("TAN", {"CD1_2": 0.0, "CD2_1": 0.0})
    assert pixel_scale(wcs) == pytest.approx(3600.0 * np.sqrt(7e-5 * 7.1e-5))


@pytest.mark.parametrize(
    ("code", "cards", "message"),
    [
        ("CAR", {}, "converted"),
        ("TPV", {**TPV, **SWAPPED, "CTYPE1": "DEC--TPV", "CTYPE2": "RA---TPV"}, "converted"),
        ("TAN", {"CD1_1": 0.2, "CD2_2": 0.2}, "arcsec"),
        # The corners lie beyond the horizon of the projection.
        ("SIN", {"CRPIX1": -3000.0, "CD1_1": 0.033, "CD2_2": 0.033}, "the sky"),
        # The polynomial is not monotonic beyond half of the image.
        ("TPV", {"PV1_1": 1.0, "PV1_7": -200.0, "PV2_1": 1.0}, "round trip"),
    ],
)
def test_refused(code: str, cards: dict[str, object], message: str) -> None:
    with pytest.raises(ProjectionError, match=message):
        make_sky_projection(make_wcs(code, cards), FRAME)


def test_lookup_table_is_refused() -> None:
    wcs = make_wcs("TAN", {})
    table = np.ones((4, 4), dtype=np.float32)
    wcs.cpdis1 = astropy.wcs.DistortionLookupTable(table, (1, 1), (1, 1), (600, 600))
    with pytest.raises(ProjectionError, match="CPDIS.* TAN-SIP"):
        make_sky_projection(wcs, FRAME)
