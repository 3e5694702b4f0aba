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
from astropy.io.fits import Header

from lsst.meas.trails.ingest.wcs import ProjectionError
from lsst.meas.trails.ingest.wcs_header import read_wcs

from support.fits_files import tan_header

SIP: dict[str, object] = {
    "CTYPE1": "RA---TAN-SIP",
    "CTYPE2": "DEC--TAN-SIP",
    "A_ORDER": 2,
    "B_ORDER": 2,
    "A_2_0": 1.25e-5,
    "B_0_2": -2.5e-5,
}
TPV: dict[str, object] = {
    "CTYPE1": "RA---TPV",
    "CTYPE2": "DEC--TPV",
    "PV1_1": 1.0,
    "PV1_4": 2.5e-3,
    "PV2_1": 1.0,
    "PV2_5": -1.5e-2,
}
PC: dict[str, object] = {
    "CDELT1": -1.5e-4,
    "CDELT2": 1.5e-4,
    "PC1_1": 0.8,
    "PC1_2": -0.6,
    "PC2_1": 0.6,
    "PC2_2": 0.8,
}
CROTA: dict[str, object] = {"CDELT1": -1.5e-4, "CDELT2": 1.5e-4, "CROTA2": 30.0}

HEADERS: dict[str, Header] = {
    "CD": tan_header(),
    "SIP": tan_header(**SIP),
    "TPV": tan_header(**TPV),
    "PC": tan_header(**PC),
    "CROTA": tan_header(**CROTA),
    "poles": tan_header(LONPOLE=170.0, LATPOLE=3.0),
    "FK4": tan_header(RADESYS="FK4", EQUINOX=1950.0),
}
for name in ("PC", "CROTA"):
    del HEADERS[name]["CD1_1"], HEADERS[name]["CD2_2"]

NUMBERS = [
    (name, card.keyword)
    for name, header in HEADERS.items()
    for card in header.cards
    if isinstance(card.value, (int, float))
]


def places(wcs: astropy.wcs.WCS | None) -> np.ndarray:
    """Return the sky at some pixels, degrees."""
    assert wcs is not None
    sky = wcs.pixel_to_world(np.array([5.0, 70.0, 30.0]), np.array([3.0, 40.0, 60.0])).icrs
    return np.array([sky.ra.deg, sky.dec.deg])


def as_raw(header: Header, keyword: str, text: str) -> Header:
    """Return a header with a card of some text, as other programs write it."""
    cards = [f"{keyword:8}= {text:>20}" if c.keyword == keyword else str(c) for c in header.cards]
    return Header.fromstring("".join(f"{card:80}" for card in cards))


@pytest.mark.parametrize(("name", "keyword"), NUMBERS)
def test_numbers_in_other_forms(name: str, keyword: str) -> None:
    """A number in quotes or with the exponent D is the number."""
    header = HEADERS[name]
    expected = places(astropy.wcs.WCS(header))
    value = header[keyword]
    forms = [f"'{value}'"]
    if isinstance(value, float):
        forms += [f"{value:.12E}".replace("E", "D"), f"'{value:.12E}'".replace("E", "D")]
    for form in forms:
        changed = as_raw(header, keyword, form)
        np.testing.assert_allclose(places(read_wcs(changed)), expected, rtol=0, atol=1e-9, err_msg=form)


@pytest.mark.parametrize("name", HEADERS)
def test_ordinary_headers(name: str) -> None:
    np.testing.assert_array_equal(places(read_wcs(HEADERS[name])), places(astropy.wcs.WCS(HEADERS[name])))


@pytest.mark.parametrize(
    ("keyword", "text"),
    [
        ("CRVAL1", "'10:00:00'"),
        ("CRVAL1", "'10.0 hours'"),
        ("CRVAL1", "ten"),
        ("CRVAL1", "150,0"),
        ("CRVAL1", "T"),
        ("CRPIX2", "'center'"),
        ("CRPIX2", "''"),
        ("CD1_1", "'-1.4e-4 arcsec'"),
        ("CD2_2", "'x'"),
    ],
)
def test_what_is_no_number_is_refused_by_name(keyword: str, text: str) -> None:
    with pytest.raises(ProjectionError, match=keyword):
        read_wcs(as_raw(tan_header(), keyword, text))


@pytest.mark.parametrize(("keyword", "text"), [("CRVAL1", "'150.0 deg'"), ("CRPIX1", "'40.0 pix'")])
def test_numbers_with_their_unit(keyword: str, text: str) -> None:
    expected = places(astropy.wcs.WCS(tan_header()))
    np.testing.assert_allclose(places(read_wcs(as_raw(tan_header(), keyword, text))), expected)


@pytest.mark.parametrize("keyword", ["CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2"])
def test_missing_reference_is_refused(keyword: str) -> None:
    header = tan_header()
    del header[keyword]
    with pytest.raises(ProjectionError, match=keyword):
        read_wcs(header)


def test_contradicting_cards_are_refused() -> None:
    header = tan_header()
    header.append(("CRVAL1", 150.0), bottom=True)
    np.testing.assert_array_equal(places(read_wcs(header)), places(astropy.wcs.WCS(tan_header())))
    header.append(("CRVAL1", 152.0), bottom=True)
    with pytest.raises(ProjectionError, match=r"CRVAL1.*150.*152"):
        read_wcs(header)


@pytest.mark.parametrize(
    "cards",
    [
        {"RADESYS": "icrs"},
        {"RADESYS": "fk5", "EQUINOX": "J2000.0"},
        {"RADESYS": "FK5 ", "EQUINOX": "2000"},
        {"CTYPE1": "ra---tan", "CTYPE2": "dec--tan"},
        {"CUNIT1": "degrees", "CUNIT2": "DEG"},
        {
            "CUNIT1": "arcsec",
            "CUNIT2": "arcsec",
            "CRVAL1": 540000.0,
            "CRVAL2": 7200.0,
            "CD1_1": -0.504,
            "CD2_2": 0.504,
        },
    ],
)
def test_habits(cards: dict[str, object]) -> None:
    """FK5 of J2000 differs from ICRS by 0.02 arcsec."""
    np.testing.assert_allclose(
        places(read_wcs(tan_header(**cards))), places(read_wcs(tan_header())), atol=1e-5
    )


def test_equinox_in_quotes_is_used() -> None:
    """Half a century of precession is 0.6 degrees."""
    header = tan_header(EQUINOX="B1950")
    del header["RADESYS"]
    assert places(read_wcs(header))[0] - 150.0 == pytest.approx(0.63, abs=0.05)


@pytest.mark.parametrize("keyword", ["RADESYS", "RADECSYS"])
@pytest.mark.parametrize("value", ["J2000", "gappt", "GCRS"])
def test_unknown_systems_are_refused_by_name(keyword: str, value: str) -> None:
    header = tan_header()
    del header["RADESYS"]
    header[keyword] = value
    with pytest.raises(ProjectionError, match=rf"{keyword} = '{value.upper()}'.*ICRS"):
        read_wcs(header)


def test_system_of_galactic_coordinates_is_ignored() -> None:
    header = tan_header(CTYPE1="GLON-TAN", CTYPE2="GLAT-TAN", RADESYS="J2000")
    assert read_wcs(header) is not None


def test_no_wcs() -> None:
    assert read_wcs(Header({"EXPTIME": 30.0})) is None
    assert read_wcs(tan_header(CTYPE1="WAVE", CTYPE2="LINEAR")) is None
    with pytest.raises(ProjectionError, match="CTYPE1"):
        read_wcs(tan_header(CTYPE1="RA---XYZ"))


@pytest.mark.parametrize("scale", ["1.0E-3", "1.0D-3", "1.0d-3"])
def test_polynomials_of_tnx(scale: str) -> None:
    """A constant of 1e-3 degrees moves the image by as much."""
    header = tan_header(CTYPE1="RA---TNX", CTYPE2="DEC--TNX", CRVAL2=0.0)
    header["WAT0_001"] = "system=image"
    for axis, name, constant in ((1, "lngcor", scale), (2, "latcor", "0.0")):
        world = "ra" if axis == 1 else "dec"
        polynomial = (
            f'wtype=tnx axtype={world} {name} = "3. 3. 3. 2. -0.1 0.1 -0.1 0.1 {constant} 0. 0. 0. 0. 0. "'
        )
        header[f"WAT{axis}_001"] = polynomial[:68]
        header[f"WAT{axis}_002"] = polynomial[68:]
    wcs = read_wcs(header)
    assert wcs is not None
    sky = wcs.pixel_to_world(39.0, 31.0)
    assert (sky.ra.deg, sky.dec.deg) == pytest.approx((150.001, 0.0), abs=1e-7)


def test_degenerate_axes() -> None:
    cards: dict[str, object] = {"NAXIS": 3, "CTYPE3": "STOKES", "CRPIX3": 1.0, "CRVAL3": 1.0, "CDELT3": 1.0}
    header = tan_header(**cards)
    np.testing.assert_allclose(places(read_wcs(header)), places(read_wcs(tan_header())))


@pytest.mark.parametrize("turned", [{"CROTA1": 30.0}, {"CROTA1": 30.0, "CROTA2": 0.0}])
def test_rotation_of_the_wrong_axis(turned: dict[str, object]) -> None:
    """Wcslib reads CROTA2 only."""
    header = HEADERS["CROTA"].copy()
    del header["CROTA2"]
    header.update(turned)
    with pytest.raises(ProjectionError, match="CROTA1 is 30.0, but the rotation is read from CROTA2"):
        read_wcs(header)
    header["CROTA2"] = 30.0
    np.testing.assert_array_equal(places(read_wcs(header)), places(read_wcs(HEADERS["CROTA"])))


def test_hours_by_the_comment() -> None:
    header = tan_header()
    header["CRVAL1"] = (10.0, "[hours] right ascension")
    with pytest.raises(ProjectionError, match="CRVAL1 = 10.0 is in hours by its comment"):
        read_wcs(header)
    header["CRVAL1"] = (10.0, "RA in degrees, not hours")
    assert read_wcs(header) is not None


def test_distortions_of_scamp() -> None:
    """SCAMP writes the polynomials of TPV for TAN; wcslib would take them for angles or ignore them."""
    polynomial = {name: value for name, value in TPV.items() if name.startswith("PV")}
    found = places(read_wcs(tan_header(**polynomial)))
    np.testing.assert_array_equal(found, places(read_wcs(HEADERS["TPV"])))
    # The polynomial moves the positions.
    assert np.max(np.abs(found - places(read_wcs(HEADERS["CD"])))) > 1e-7
    # The pole of the standard.
    pole = places(read_wcs(tan_header(PV1_3=170.0)))
    np.testing.assert_allclose(pole, places(read_wcs(tan_header(LONPOLE=170.0))), rtol=0, atol=1e-9)
