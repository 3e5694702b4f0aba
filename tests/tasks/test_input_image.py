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

import types
from collections.abc import Callable
from typing import Any

import astropy.units as u
import numpy as np
import pytest

from lsst.images import Box, Image, Mask, MaskedImage, MaskPlane, MaskSchema, VisitImage
from lsst.images.fields import ChebyshevField
from lsst.images.serialization import ArchiveReadError
from lsst.meas.trails.core.planes import MASK_PLANES
from lsst.meas.trails.tasks._input_image import (
    InputImage,
    UnreadableImageError,
    check_covers,
    read_input_image,
    read_template,
)
from lsst.pipe.base import InvalidQuantumError, UpstreamFailureNoWorkFound


def changed(original: VisitImage, **parts: Any) -> VisitImage:
    """Return a visit image with replaced parts."""
    values: dict[str, Any] = {
        "mask": original.mask,
        "variance": original.variance,
        "obs_info": original.obs_info,
        "psf": original.psf,
        "detector": original.detector,
        "band": original.band,
        "sky_projection": original.sky_projection,
        **parts,
    }
    return VisitImage(values.pop("image", original.image), **values)


@pytest.fixture
def visit_image(make_image: Callable[..., Any]) -> VisitImage:
    image = make_image(shape=(48, 64), start=(100, 30)).image
    assert isinstance(image, VisitImage)
    return image


def in_unit(image: VisitImage, unit: u.UnitBase, scaling: ChebyshevField | None = None) -> VisitImage:
    return changed(
        image,
        image=Image(image.image.array, bbox=image.bbox, unit=unit),
        variance=Image(image.variance.array, bbox=image.bbox, unit=unit**2),
        photometric_scaling=scaling,
    )


def field(box: Box, coefficients: list[list[float]], unit: u.UnitBase) -> ChebyshevField:
    return ChebyshevField(box, np.array(coefficients), unit=unit)


def with_planes(image: VisitImage, *names: str) -> VisitImage:
    """Return the image with a mask of some planes, plane ``i`` set in row ``i``."""
    schema = MaskSchema([MaskPlane(name, "A plane.") for name in names])
    mask = Mask(0, schema=schema, bbox=image.bbox)
    for row, name in enumerate(names):
        pixels = np.zeros(image.bbox.shape, dtype=bool)
        pixels[row] = True
        mask.set(name, pixels)
    return changed(image, mask=mask)


def test_arrays_and_coordinates(visit_image: VisitImage) -> None:
    input_image = read_input_image(visit_image)
    assert input_image.origin == (100, 30)
    assert input_image.planes.shape == (48, 64)
    np.testing.assert_array_equal(input_image.planes.image, visit_image.image.array)
    np.testing.assert_array_equal(input_image.planes.variance, visit_image.variance.array)
    # The PSF of the fixture is a Gaussian of 4 pixels.
    assert input_image.planes.psf.fwhm(10.0, 20.0) == pytest.approx(4.0, abs=0.02)
    assert input_image.exposure_time == 30.0
    info = visit_image.obs_info
    middle = info.datetime_begin.tai.mjd + 15.0 / 86400.0
    assert input_image.midpoint_mjd_tai == pytest.approx(middle, abs=1e-9)
    ra, dec = input_image.pixel_to_sky(np.array([131.5]), np.array([53.5]))
    center = visit_image.sky_projection.pixel_to_sky(x=131.5, y=53.5)
    assert ra[0] == pytest.approx(center.ra.deg, abs=1e-10)
    assert dec[0] == pytest.approx(center.dec.deg, abs=1e-10)


def test_psf_is_evaluated_at_image_coordinates(visit_image: VisitImage) -> None:
    """A PSF model depends on image coordinates, not on array coordinates."""
    asked = []

    class Recorder:
        def compute_kernel_image(self, *, x: float, y: float) -> Image:
            asked.append((x, y))
            return visit_image.psf.compute_kernel_image(x=x, y=y)

    image = changed(visit_image, psf=Recorder())
    read_input_image(image)
    assert set(asked) == {(100.0, 30.0), (163.0, 30.0), (100.0, 77.0), (163.0, 77.0)}


def test_assumed_values(visit_image: VisitImage) -> None:
    assert read_input_image(visit_image).assumed == ()
    marked = visit_image.copy()
    marked.metadata |= {"assumedTimeFlag": True, "assumedExposureTimeFlag": False}
    assert read_input_image(marked).assumed == ("assumedTimeFlag",)


def test_unknown_times(visit_image: VisitImage, caplog: pytest.LogCaptureFixture) -> None:
    with visit_image.obs_info.edit_copy() as info:
        info.exposure_time = None
        info.datetime_end = None
    input_image = read_input_image(changed(visit_image, obs_info=info))
    assert np.isnan(input_image.exposure_time)
    assert np.isnan(input_image.midpoint_mjd_tai)
    assert "midpoint is NaN" in caplog.text


def test_handle_is_read(visit_image: VisitImage) -> None:
    handle = types.SimpleNamespace(ref=None, get=lambda: visit_image)
    assert read_input_image(handle).visit_image is visit_image


def test_not_an_image() -> None:
    with pytest.raises(TypeError, match="not ndarray"):
        read_input_image(np.zeros((100, 100)))


@pytest.mark.parametrize(
    ("spelling", "plane"),
    [
        *((name, name) for name in MASK_PLANES),
        ("SAT", "SATURATED"),
        ("CR", "COSMIC_RAY"),
        ("INTRP", "INTERPOLATED"),
        ("EDGE", "DETECTION_EDGE"),
        ("UNMASKEDNAN", "UNMASKED_NAN"),
    ],
)
def test_plane_in_either_spelling(visit_image: VisitImage, spelling: str, plane: str) -> None:
    # A custom plane is ignored.
    planes = read_input_image(with_planes(visit_image, "MY_PLANE", spelling)).planes
    expected = np.zeros(planes.shape, dtype=np.uint32)
    expected[1] = 1 << MASK_PLANES.index(plane)
    np.testing.assert_array_equal(planes.mask, expected)


def test_mask_without_the_usual_planes(visit_image: VisitImage) -> None:
    empty = changed(visit_image, mask=Mask(0, schema=MaskSchema([]), bbox=visit_image.bbox))
    planes = read_input_image(empty).planes
    assert not planes.mask.any()
    assert not planes.bad().any()


@pytest.mark.parametrize(
    ("unit", "expected"), [(u.nJy, 1.0), (u.uJy, 1e-3), (u.Jy, 1e-9)], ids=["nJy", "uJy", "Jy"]
)
def test_flux_units(visit_image: VisitImage, unit: u.UnitBase, expected: float) -> None:
    image = in_unit(visit_image, unit)
    assert read_input_image(image).flux_per_njy == pytest.approx(expected)


def test_instrumental_units(visit_image: VisitImage) -> None:
    """2.5 uJy per electron at the center, more to the right."""
    scaling = field(visit_image.bbox, [[2.5, 0.1]], u.uJy / u.electron)
    input_image = read_input_image(in_unit(visit_image, u.electron, scaling))
    assert input_image.flux_per_njy == pytest.approx(1.0 / 2500.0)


@pytest.mark.parametrize("unit", [None, u.nJy / u.adu, u.dimensionless_unscaled], ids=str)
def test_instrumental_units_without_a_scaling(visit_image: VisitImage, unit: u.UnitBase | None) -> None:
    scaling = None if unit is None else field(visit_image.bbox, [[1.0]], unit)
    with pytest.raises(UpstreamFailureNoWorkFound, match="electron"):
        read_input_image(in_unit(visit_image, u.electron, scaling))


def test_calibration_of_zero(visit_image: VisitImage) -> None:
    scaling = field(visit_image.bbox, [[0.0]], u.nJy / u.electron)
    with pytest.raises(UpstreamFailureNoWorkFound, match="0.0 nJy"):
        read_input_image(in_unit(visit_image, u.electron, scaling))


def test_unreadable_psf(visit_image: VisitImage) -> None:
    unreadable = changed(visit_image, psf=ArchiveReadError("no module piffle"))
    # The package of the PSF is not set up: a failure, not a lack of work.
    with pytest.raises(UnreadableImageError, match="no module piffle"):
        read_input_image(unreadable)


def test_psf_without_flux(visit_image: VisitImage) -> None:
    class Broken:
        def compute_kernel_image(self, *, x: float, y: float) -> Image:
            return Image(np.full((25, 25), np.nan))

    with pytest.raises(UpstreamFailureNoWorkFound, match="PSF"):
        read_input_image(changed(visit_image, psf=Broken()))


@pytest.mark.parametrize("shape", [(10, 200), (200, 15), (1, 1)])
def test_tiny_image(make_image: Callable[..., Any], shape: tuple[int, int]) -> None:
    with pytest.raises(UpstreamFailureNoWorkFound, match=f"{shape[1]} x {shape[0]}"):
        read_input_image(make_image(shape=shape).image)


@pytest.mark.parametrize("what", ["nan", "variance", "masked"])
def test_no_good_pixel(visit_image: VisitImage, what: str) -> None:
    match what:
        case "nan":
            visit_image.image.array[...] = np.nan
        case "variance":
            visit_image.variance.array[...] = 0.0
        case "masked":
            visit_image.mask.set("NO_DATA", np.ones(visit_image.bbox.shape, dtype=bool))
    with pytest.raises(UpstreamFailureNoWorkFound, match="no good pixel"):
        read_input_image(visit_image)


@pytest.fixture
def input_image(visit_image: VisitImage) -> InputImage:
    return read_input_image(visit_image)


def make_template(image: VisitImage, bbox: Box, value: float = 0.0) -> MaskedImage:
    """Return a flat template with a source at (110, 40)."""
    array = np.full(bbox.shape, value, dtype=np.float32)
    array[40 - bbox.y.start, 110 - bbox.x.start] += 50.0
    schema = MaskSchema([MaskPlane("NO_DATA", "No data."), MaskPlane("SAT", "Saturated.")])
    mask = Mask(0, schema=schema, bbox=bbox)
    for name, column in (("NO_DATA", 2), ("SAT", 4)):
        pixels = np.zeros(bbox.shape, dtype=bool)
        pixels[:, column] = True
        mask.set(name, pixels)
    return MaskedImage(Image(array, bbox=bbox, unit=image.unit), mask=mask)


def test_template_is_cut_to_the_pixels_of_the_image(visit_image: VisitImage, input_image: InputImage) -> None:
    bbox = Box.factory[20:90, 110 - 20 : 150]
    template = read_template(make_template(visit_image, bbox, value=7.0), input_image)
    assert template.shape == input_image.planes.shape
    assert template[40 - 30, 110 - 100] == pytest.approx(50.0, rel=1e-5)
    # Its first columns lie outside the image, and it ends at x = 150.
    assert np.all(np.isnan(template[:, 50:]))
    assert np.all(np.isfinite(template[:, :50]))
    assert np.nanmedian(template) == pytest.approx(0.0, abs=1e-4)


def test_template_without_data_is_nan(visit_image: VisitImage, input_image: InputImage) -> None:
    template = read_template(make_template(visit_image, input_image.bbox), input_image)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(template[0])), [2])


def test_template_in_another_unit(visit_image: VisitImage, input_image: InputImage) -> None:
    template = make_template(visit_image, input_image.bbox)
    pixels = template.image.array
    other = MaskedImage(Image(pixels / 1e3, bbox=input_image.bbox, unit=u.uJy), mask=template.mask)
    np.testing.assert_allclose(
        read_template(other, input_image), read_template(template, input_image), rtol=1e-5, equal_nan=True
    )
    counts = MaskedImage(Image(pixels, bbox=input_image.bbox, unit=u.electron), mask=template.mask)
    with pytest.raises(UpstreamFailureNoWorkFound, match="photometric scaling"):
        read_template(counts, input_image)


@pytest.mark.parametrize(("scale", "nanojansky"), [(1.0, None), (1.0, 1.0), (0.1, 10.0)])
def test_template_of_the_full_stack(
    visit_image: VisitImage,
    input_image: InputImage,
    make_exposure: Callable[..., Any],
    scale: float,
    nanojansky: float | None,
) -> None:
    """A warped coadd has no detector and no visit information."""
    template = make_template(visit_image, Box.factory[20:90, 90:200])
    expected = read_template(template, input_image)
    pixels = (template.image.array * scale).astype(np.float32)
    plain = changed(
        visit_image,
        image=Image(pixels, bbox=template.bbox, unit=u.nJy),
        mask=template.mask,
        variance=Image(np.ones_like(pixels), bbox=template.bbox, unit=u.nJy**2),
    )
    calibration = {"PhotoCalib": None} if nanojansky is None else {"calibration": nanojansky}
    coadd = make_exposure(plain, Detector=None, VisitInfo=None, **calibration)
    result = read_template(coadd, input_image)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5, equal_nan=True)


def test_not_a_template(input_image: InputImage) -> None:
    with pytest.raises(TypeError, match="not dict"):
        read_template({}, input_image)


def test_planes_of_another_image(input_image: InputImage) -> None:
    check_covers(Image(np.zeros((48, 64)), bbox=input_image.bbox), input_image, "map")
    for box in (Box.factory[0:48, 0:64], Box.factory[30:78, 100:165]):
        with pytest.raises(InvalidQuantumError, match="map"):
            check_covers(Image(np.zeros(box.shape), bbox=box), input_image, "map")
