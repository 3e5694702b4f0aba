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
from lsst.meas.trails.core.planes import PLANES
from lsst.meas.trails.tasks._input_image import (
    InputImage,
    check_covers,
    make_probability_image,
    make_trail_mask,
    model_summary,
    open_image,
    open_template,
)
from lsst.pipe.base import InvalidQuantumError, UpstreamFailureNoWorkFound

SUMMARY = {"name": "m", "version": "1", "sha256": "ab", "thresholds": {"grow": 0.2, "seed": 0.5}, "score": {}}


def changed(original: VisitImage, **parts: Any) -> VisitImage:
    """Return a visit image with other parts."""
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
    opened = open_image(visit_image)
    assert opened.origin == (100, 30)
    assert opened.planes.shape == (48, 64)
    np.testing.assert_array_equal(opened.planes.image, visit_image.image.array)
    np.testing.assert_array_equal(opened.planes.variance, visit_image.variance.array)
    # The PSF of the fixture is a Gaussian of 4 pixels.
    assert opened.planes.psf.fwhm(10.0, 20.0) == pytest.approx(4.0, abs=0.02)
    assert opened.exposure_time == 30.0
    info = visit_image.obs_info
    assert opened.midpoint_mjd_tai == pytest.approx(info.datetime_begin.tai.mjd + 15.0 / 86400.0, abs=1e-9)
    ra, dec = opened.pixel_to_sky(np.array([131.5]), np.array([53.5]))
    center = visit_image.sky_projection.pixel_to_sky(x=131.5, y=53.5)
    assert ra[0] == pytest.approx(center.ra.deg, abs=1e-10)
    assert dec[0] == pytest.approx(center.dec.deg, abs=1e-10)


def test_psf_is_evaluated_where_the_image_is(visit_image: VisitImage) -> None:
    """A PSF is a function of the image's coordinates, not the array's."""
    asked = []

    class Recorder:
        def compute_kernel_image(self, *, x: float, y: float) -> Image:
            asked.append((x, y))
            return visit_image.psf.compute_kernel_image(x=x, y=y)

    image = changed(visit_image, psf=Recorder())
    open_image(image)
    assert set(asked) == {(100.0, 30.0), (163.0, 30.0), (100.0, 77.0), (163.0, 77.0)}


def test_times_that_are_not_known(visit_image: VisitImage) -> None:
    with visit_image.obs_info.edit_copy() as info:
        info.exposure_time = None
        info.datetime_end = None
    opened = open_image(changed(visit_image, obs_info=info))
    assert np.isnan(opened.exposure_time)
    assert np.isnan(opened.midpoint_mjd_tai)


def test_handle_is_read(visit_image: VisitImage) -> None:
    handle = types.SimpleNamespace(ref=None, get=lambda: visit_image)
    assert open_image(handle).visit_image is visit_image


def test_not_an_image() -> None:
    with pytest.raises(TypeError, match="not ndarray"):
        open_image(np.zeros((100, 100)))


@pytest.mark.parametrize(
    ("spelling", "plane"),
    [
        *((name, name) for name in PLANES),
        ("SAT", "SATURATED"),
        ("CR", "COSMIC_RAY"),
        ("INTRP", "INTERPOLATED"),
        ("EDGE", "DETECTION_EDGE"),
        ("UNMASKEDNAN", "UNMASKED_NAN"),
    ],
)
def test_plane_in_either_spelling(visit_image: VisitImage, spelling: str, plane: str) -> None:
    # A custom plane that is set means nothing to us, and is no error.
    planes = open_image(with_planes(visit_image, "MY_PLANE", spelling)).planes
    expected = np.zeros(planes.shape, dtype=np.uint32)
    expected[1] = 1 << PLANES.index(plane)
    np.testing.assert_array_equal(planes.mask, expected)


def test_mask_without_the_usual_planes(visit_image: VisitImage) -> None:
    empty = changed(visit_image, mask=Mask(0, schema=MaskSchema([]), bbox=visit_image.bbox))
    planes = open_image(empty).planes
    assert not planes.mask.any()
    assert not planes.bad().any()


@pytest.mark.parametrize(
    ("unit", "expected"), [(u.nJy, 1.0), (u.uJy, 1e-3), (u.Jy, 1e-9)], ids=["nJy", "uJy", "Jy"]
)
def test_flux_units(visit_image: VisitImage, unit: u.UnitBase, expected: float) -> None:
    image = in_unit(visit_image, unit)
    assert open_image(image).flux_per_njy == pytest.approx(expected)


def test_instrumental_units(visit_image: VisitImage) -> None:
    """2.5 uJy per electron at the center, more to the right."""
    scaling = field(visit_image.bbox, [[2.5, 0.1]], u.uJy / u.electron)
    opened = open_image(in_unit(visit_image, u.electron, scaling))
    assert opened.flux_per_njy == pytest.approx(1.0 / 2500.0)


@pytest.mark.parametrize("unit", [None, u.nJy / u.adu, u.dimensionless_unscaled], ids=str)
def test_instrumental_units_without_a_way_out(visit_image: VisitImage, unit: u.UnitBase | None) -> None:
    scaling = None if unit is None else field(visit_image.bbox, [[1.0]], unit)
    with pytest.raises(UpstreamFailureNoWorkFound, match="The image is in electron"):
        open_image(in_unit(visit_image, u.electron, scaling))


def test_no_psf(visit_image: VisitImage) -> None:
    unreadable = changed(visit_image, psf=ArchiveReadError("no module piffle"))
    with pytest.raises(UpstreamFailureNoWorkFound, match="PSF of the image cannot be used: no module piffle"):
        open_image(unreadable)


def test_psf_without_flux(visit_image: VisitImage) -> None:
    class Broken:
        def compute_kernel_image(self, *, x: float, y: float) -> Image:
            return Image(np.full((25, 25), np.nan))

    with pytest.raises(UpstreamFailureNoWorkFound, match="PSF of the image cannot be used"):
        open_image(changed(visit_image, psf=Broken()))


@pytest.mark.parametrize("shape", [(10, 200), (200, 15), (1, 1)])
def test_tiny_image(make_image: Callable[..., Any], shape: tuple[int, int]) -> None:
    with pytest.raises(UpstreamFailureNoWorkFound, match=f"only {shape[1]} x {shape[0]} pixels"):
        open_image(make_image(shape=shape).image)


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
        open_image(visit_image)


@pytest.fixture
def opened(visit_image: VisitImage) -> InputImage:
    return open_image(visit_image)


def test_trail_mask(opened: InputImage) -> None:
    pixels = np.zeros(opened.planes.shape, dtype=bool)
    pixels[3, 5:9] = True
    mask = make_trail_mask(pixels, opened, {"KEY": "value"})
    assert list(mask.schema.names) == ["TRAIL"]
    assert mask.bbox == opened.bbox
    assert mask.metadata["KEY"] == "value"
    np.testing.assert_array_equal(mask.get("TRAIL"), pixels)


def test_probability_image_knows_its_model(opened: InputImage) -> None:
    image = make_probability_image(np.zeros(opened.planes.shape, dtype=np.float32), opened, SUMMARY)
    assert image.bbox == opened.bbox
    assert model_summary(image) == SUMMARY


@pytest.mark.parametrize("metadata", [{}, {"TRAIL_MODEL": "{"}, {"TRAIL_MODEL": "3"}, {"TRAIL_MODEL": "{}"}])
def test_probability_image_of_unknown_origin(metadata: dict[str, str]) -> None:
    image = Image(np.zeros((4, 4), dtype=np.float32), metadata=metadata)
    with pytest.raises(UpstreamFailureNoWorkFound, match="does not say which model made it"):
        model_summary(image)


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


def test_template_is_brought_to_the_pixels_of_the_image(visit_image: VisitImage, opened: InputImage) -> None:
    bbox = Box.factory[20:90, 110 - 20 : 150]
    template = open_template(make_template(visit_image, bbox, value=7.0), opened)
    assert template.shape == opened.planes.shape
    assert template[40 - 30, 110 - 100] == pytest.approx(50.0, rel=1e-5)
    # Its first columns lie beside the image, and it ends at x = 150.
    assert np.all(np.isnan(template[:, 50:]))
    assert np.all(np.isfinite(template[:, :50]))
    assert np.nanmedian(template) == pytest.approx(0.0, abs=1e-4)


def test_template_without_data_is_nan(visit_image: VisitImage, opened: InputImage) -> None:
    template = open_template(make_template(visit_image, opened.bbox), opened)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(template[0])), [2])


def test_template_in_another_unit(visit_image: VisitImage, opened: InputImage) -> None:
    template = make_template(visit_image, opened.bbox)
    other = MaskedImage(Image(template.image.array / 1e3, bbox=opened.bbox, unit=u.uJy), mask=template.mask)
    np.testing.assert_allclose(
        open_template(other, opened), open_template(template, opened), rtol=1e-5, equal_nan=True
    )
    counts = MaskedImage(Image(template.image.array, bbox=opened.bbox, unit=u.electron), mask=template.mask)
    with pytest.raises(UpstreamFailureNoWorkFound, match="no photometric scaling"):
        open_template(counts, opened)


class AfwCoadd:
    """What is asked of a warped `lsst.afw.image.ExposureF`."""

    def __init__(self, template: MaskedImage, nanojansky: float | None) -> None:
        values = np.zeros(template.bbox.shape, dtype=np.int32)
        values[template.mask.get("NO_DATA")] |= 1 << 8
        values[template.mask.get("SAT")] |= 1 << 1
        self.image = types.SimpleNamespace(array=template.image.array)
        self.mask = types.SimpleNamespace(
            array=values, getMaskPlaneDict=lambda: {"SAT": 1, "NO_DATA": 8, "SENSOR_EDGE": 9}
        )
        self._bbox, self._nanojansky = template.bbox, nanojansky

    def getMaskedImage(self) -> object:
        return self

    def getBBox(self) -> object:
        corner = types.SimpleNamespace(getX=lambda: self._bbox.x.start, getY=lambda: self._bbox.y.start)
        return types.SimpleNamespace(getMin=lambda: corner)

    def getPhotoCalib(self) -> object:
        if self._nanojansky is None:
            return None
        return types.SimpleNamespace(getCalibrationMean=lambda: self._nanojansky)


@pytest.mark.parametrize(("scale", "nanojansky"), [(1.0, None), (1.0, 1.0), (0.1, 10.0)])
def test_template_of_the_full_stack(
    visit_image: VisitImage, opened: InputImage, scale: float, nanojansky: float | None
) -> None:
    template = make_template(visit_image, Box.factory[20:90, 90:200])
    expected = open_template(template, opened)
    scaled = MaskedImage(
        Image(template.image.array * scale, bbox=template.bbox, unit=u.nJy), mask=template.mask
    )
    result = open_template(AfwCoadd(scaled, nanojansky), opened)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5, equal_nan=True)


def test_what_is_no_template(opened: InputImage) -> None:
    with pytest.raises(TypeError, match="not dict"):
        open_template({}, opened)


def test_planes_of_another_image(opened: InputImage) -> None:
    check_covers(Image(np.zeros((48, 64)), bbox=opened.bbox), opened, "map")
    for box in (Box.factory[0:48, 0:64], Box.factory[30:78, 100:165]):
        with pytest.raises(InvalidQuantumError, match="The map covers .* not of the same image"):
            check_covers(Image(np.zeros(box.shape), bbox=box), opened, "map")
