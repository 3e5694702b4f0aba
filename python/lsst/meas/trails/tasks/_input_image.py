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

"""Conversion of the images that tasks read to arrays.

Images are `lsst.images` objects or, in the full stack, exposures of `lsst.afw.image`; see
`~lsst.meas.trails.tasks._afw`.
"""

from __future__ import annotations

__all__ = (
    "InputImage",
    "InputImageConfig",
    "UnreadableImageError",
    "check_covers",
    "read_input_image",
    "read_template",
)

import dataclasses
import logging
from typing import Any

import astropy.table
import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.coordinates import SkyCoord

from lsst.images import Box, Image, Mask, MaskedImage, SkyProjection, VisitImage
from lsst.images.serialization import ArchiveReadError
from lsst.pex.config import Config, RangeField
from lsst.pipe.base import InvalidQuantumError, UpstreamFailureNoWorkFound

from ..core.catalog.columns import ASSUMPTION_FLAGS
from ..core.planes import MASK_PLANES, ImagePlanes, canonical_plane, plane_bits
from ..core.psf import FWHM_PER_SIGMA, PsfGrid
from ..core.template import cut_template
from ..repository.pixels import pixels_and_box
from ._afw import UnreadableImageError, afw_mask_planes, afw_to_njy, is_exposure, kernel_model
from ._calibration import flux_per_njy, pixels_in_njy
from ._read_image import has_psf_area, is_handle, read_handle, read_visit_image

_LOG = logging.getLogger(__name__)

_NO_TEMPLATE_PLANES = ("NO_DATA", "BAD", "UNMASKED_NAN")
"""Planes of the template pixels without a value.

A coadd has a value where one of its images was saturated or hit by a cosmic ray: other images fill in.
"""

_MIN_SIDE = 16
"""Shortest side of an image that is searched for trails, pixels."""

_Coordinates = npt.NDArray[np.float64]


class InputImageConfig(Config):
    """Configuration of a task that reads an image."""

    psfSpacing = RangeField(
        dtype=float, doc="Distance between samples of the PSF model, pixels.", default=512.0, min=16.0
    )


@dataclasses.dataclass(frozen=True, eq=False)
class InputImage:
    """Image of a task, with its pixels as arrays.

    Array coordinates count from the first pixel of the arrays, image coordinates from the origin of the
    detector.
    """

    planes: ImagePlanes
    """Image, variance, mask and PSF as arrays."""

    visit_image: VisitImage
    """Original image; must not be changed."""

    flux_per_njy: float
    """Image units per nJy at the center."""

    @property
    def bbox(self) -> Box:
        """Box of the image."""
        return self.visit_image.bbox

    @property
    def origin(self) -> tuple[int, int]:
        """Image coordinates (x, y) of the first pixel."""
        return int(self.bbox.x.start), int(self.bbox.y.start)

    @property
    def sky_projection(self) -> SkyProjection[Any]:
        """Mapping of image coordinates to the sky."""
        return self.visit_image.sky_projection

    def pixel_to_sky(self, x: _Coordinates, y: _Coordinates) -> tuple[_Coordinates, _Coordinates]:
        """Return right ascension and declination, ICRS degrees."""
        sky = self.sky_projection.pixel_to_sky(x=np.asarray(x), y=np.asarray(y))
        return np.asarray(sky.ra.deg), np.asarray(sky.dec.deg)

    def array_to_sky(self, x: _Coordinates, y: _Coordinates) -> tuple[_Coordinates, _Coordinates]:
        """Return `pixel_to_sky` of array coordinates."""
        return self.pixel_to_sky(np.asarray(x) + self.origin[0], np.asarray(y) + self.origin[1])

    def sky_to_pixel(self, ra: _Coordinates, dec: _Coordinates) -> tuple[_Coordinates, _Coordinates]:
        """Return image coordinates x and y of ICRS degrees."""
        point = self.sky_projection.sky_to_pixel(SkyCoord(ra=ra * u.deg, dec=dec * u.deg, frame="icrs"))
        return np.asarray(point.x), np.asarray(point.y)

    def to_array_coordinates(self, catalog: astropy.table.Table) -> astropy.table.Table:
        """Return a copy of a truth table, with midpoints and ends in array coordinates.

        Raises
        ------
        ValueError
            Raised if the table lacks one of these columns.
        """
        result = catalog.copy()
        for axis, start in zip("xy", self.origin, strict=True):
            for name in (axis, f"{axis}0", f"{axis}1"):
                if name not in result.colnames:
                    raise ValueError(f"The catalog of trails has no column {name}.")
                result[name] = np.asarray(result[name]) - start
        return result

    @property
    def pixel_scale(self) -> float:
        """Arcseconds per pixel at the center."""
        x, y = self.bbox.x.center, self.bbox.y.center
        sky = self.sky_projection.pixel_to_sky(x=np.array([x, x + 1.0, x]), y=np.array([y, y, y + 1.0]))
        along_x, along_y = (sky[0].spherical_offsets_to(sky[i]) for i in (1, 2))
        area = along_x[0] * along_y[1] - along_x[1] * along_y[0]
        return float(np.sqrt(abs(area.to_value(u.arcsec**2))))

    def flux_per_njy_at(self, x: _Coordinates, y: _Coordinates) -> _Coordinates:
        """Return the image units per nJy at image coordinates.

        A photometric scaling varies by a few percent across an image.
        """
        scaling, box = self.visit_image.photometric_scaling, self.bbox
        if scaling is None or self.visit_image.unit.is_equivalent(u.nJy):
            return np.full(np.shape(x), self.flux_per_njy)
        # The scaling is not defined beyond the edge, where midpoints may lie.
        x, y = np.clip(x, box.x.min, box.x.max), np.clip(y, box.y.min, box.y.max)
        center = scaling(x=box.x.center, y=box.y.center)
        return np.asarray(self.flux_per_njy * center / scaling(x=x, y=y))

    def flux_per_njy_map(self) -> npt.NDArray[np.float32] | float:
        """Return the image units per nJy of each pixel, shape (ny, nx), or of all if they are the same."""
        scaling, box = self.visit_image.photometric_scaling, self.bbox
        if scaling is None or scaling.is_constant or self.visit_image.unit.is_equivalent(u.nJy):
            return self.flux_per_njy
        center = float(scaling(x=box.x.center, y=box.y.center))
        rendered: npt.NDArray[np.float32] = scaling.render(box, dtype=np.float32).array
        return self.flux_per_njy * center / rendered

    @property
    def exposure_time(self) -> float:
        """Exposure time in seconds, NaN if unknown."""
        time = self.visit_image.obs_info.exposure_time
        return float("nan") if time is None else float(time.to_value(u.s))

    @property
    def assumed(self) -> tuple[str, ...]:
        """Names of `ASSUMPTION_FLAGS` that hold for the image."""
        metadata = self.visit_image.metadata
        return tuple(name for name in ASSUMPTION_FLAGS if metadata.get(name) is True)

    @property
    def midpoint_mjd_tai(self) -> float:
        """Middle of the exposure, MJD, TAI; NaN if unknown."""
        info = self.visit_image.obs_info
        if info.datetime_begin is None or info.datetime_end is None:
            return float("nan")
        begin, end = info.datetime_begin.tai.mjd, info.datetime_end.tai.mjd
        return float(0.5 * (begin + end))


def read_input_image(image: object, *, psf_spacing: float = 512.0, with_psf: bool = True) -> InputImage:
    """Convert an input image to arrays.

    Parameters
    ----------
    image
        A `lsst.images.VisitImage` or `~lsst.images.DifferenceImage`, a
        `lsst.daf.butler.DeferredDatasetHandle` of one, or, in the full stack, a `lsst.afw.image.ExposureF`.
    psf_spacing
        Distance between samples of the PSF model, pixels.
    with_psf
        Whether to read the PSF model of an image in the Butler, whose packages take 2 s to import. Without
        it, the PSF is a Gaussian with the effective area that the summary statistics of the image state, or
        the model if they do not.

    Raises
    ------
    lsst.pipe.base.UpstreamFailureNoWorkFound
        Raised if the image has no PSF, WCS, good pixel or conversion to nJy, or is too small; the message
        says which.
    UnreadableImageError
        Raised if the Butler cannot read the image or its PSF, or a package of its conversion is missing.
    TypeError
        Raised if the object is not an image.
    """
    visit_image = read_visit_image(image, with_psf=with_psf)
    ny, nx = visit_image.bbox.shape
    if min(ny, nx) < _MIN_SIDE:
        raise UpstreamFailureNoWorkFound(f"The image is only {nx} x {ny} pixels.")
    planes = ImagePlanes(
        image=_native(visit_image.image.array),
        variance=_native(visit_image.variance.array),
        mask=_mask_bits(visit_image.mask),
        psf=_sample_psf(visit_image, psf_spacing) if with_psf else _summary_psf(visit_image, psf_spacing),
    )
    if np.all(planes.bad()):
        raise UpstreamFailureNoWorkFound(
            "The image has no good pixel: all are masked, not finite, or without a positive variance."
        )
    result = InputImage(planes=planes, visit_image=visit_image, flux_per_njy=flux_per_njy(visit_image))
    if not np.isfinite(result.midpoint_mjd_tai):
        _LOG.warning("The time of the observation is unknown: its midpoint is NaN.")
    return result


def read_template(template: object, image: InputImage) -> npt.NDArray[np.float32]:
    """Convert the template of an image to an array.

    Parameters
    ----------
    template
        A `lsst.images.MaskedImage`, such as a `~lsst.images.VisitImage`, a
        `lsst.daf.butler.DeferredDatasetHandle` of one, or, in the full stack, a `lsst.afw.image.ExposureF`,
        on the pixel grid of the image. It may cover more or fewer pixels.
    image
        The image.

    Returns
    -------
    template
        Template on the pixels of the image and in its units, without its background, NaN where it has no
        data, shape (ny, nx).

    Raises
    ------
    lsst.pipe.base.UpstreamFailureNoWorkFound
        Raised if the unit of the template cannot be converted to nJy.
    UnreadableImageError
        Raised if the Butler cannot read the template.
    TypeError
        Raised if the object is not an image.
    """
    handle: Any = template
    read: Any = read_handle(handle, with_psf=False) if is_handle(template) else template
    if isinstance(read, MaskedImage):
        bits = _mask_bits(read.mask)
        njy = pixels_in_njy(read)
    elif is_exposure(read):
        # A warped coadd lacks parts of a VisitImage: do not convert it.
        bits = _afw_mask_bits(read.mask)
        njy = afw_to_njy(read)
    else:
        raise TypeError(f"Expected a MaskedImage or ExposureF, not {type(read).__name__}.")
    _, box = pixels_and_box(read.image)
    missing = (bits & np.uint32(plane_bits(_NO_TEMPLATE_PLANES))) != 0
    origin = (int(box.x.start) - image.origin[0], int(box.y.start) - image.origin[1])
    result = cut_template(njy, missing, origin, image.planes.shape)
    result *= np.asarray(image.flux_per_njy_map(), dtype=np.float32)
    return result


def check_covers(other: Image | Mask, image: InputImage, name: str) -> None:
    """Check that a mask or map has the pixels of an image.

    Parameters
    ----------
    other
        The mask or map.
    image
        The image.
    name
        Name of the mask or map in the message.

    Raises
    ------
    lsst.pipe.base.InvalidQuantumError
        Raised if the boxes differ: the two belong to different images.
    """
    if other.bbox != image.bbox:
        raise InvalidQuantumError(
            f"The {name} covers {other.bbox}, the image {image.bbox}: they belong to different images."
        )


def _native(array: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    return np.asarray(array, dtype=np.float32)


def _mask_bits(mask: Mask) -> npt.NDArray[np.uint32]:
    """Return the known mask planes, under either of their names, as the bits of `MASK_PLANES`."""
    bits = np.zeros(mask.array.shape[:2], dtype=np.uint32)
    known = [
        (mask.schema.bit(name), np.uint32(1 << MASK_PLANES.index(canonical_plane(name))))
        for name in mask.schema.names
        if canonical_plane(name) in MASK_PLANES
    ]
    # A few rows at a time stay in the cache of the processor.
    for y in range(0, len(bits), 16):
        layers = np.moveaxis(mask.array[y : y + 16], 2, 0).copy()
        for place, value in known:
            bits[y : y + 16] |= ((layers[place.index] & place.mask) != 0) * value
    return bits


def _afw_mask_bits(mask: Any) -> npt.NDArray[np.uint32]:
    """Return the known planes of a `lsst.afw.image.Mask` as the bits of `MASK_PLANES`."""
    bits = np.zeros(mask.array.shape, dtype=np.uint32)
    for name, pixels in afw_mask_planes(mask):
        if (plane := canonical_plane(name)) in MASK_PLANES:
            bits[pixels] |= np.uint32(1 << MASK_PLANES.index(plane))
    return bits


def _sample_psf(image: VisitImage, spacing: float) -> PsfGrid:
    try:
        psf = image.psf
    except ArchiveReadError as error:
        raise UnreadableImageError(
            f"The PSF of the image cannot be read: {error} Set up the package of its type."
        ) from error
    origin = (image.bbox.x.start, image.bbox.y.start)
    try:
        return PsfGrid.from_model(
            kernel_model(psf), origin, (image.bbox.y.size, image.bbox.x.size), spacing=spacing
        )
    except ValueError as error:
        raise UpstreamFailureNoWorkFound(f"The PSF of the image cannot be used: {error}") from error


def _summary_psf(image: VisitImage, spacing: float) -> PsfGrid:
    """Return a Gaussian of the area in the summary statistics, or the PSF model if there is none."""
    statistics = image.summary_stats
    if not has_psf_area(statistics):
        return _sample_psf(image, spacing)
    return PsfGrid.gaussian(float(FWHM_PER_SIGMA * np.sqrt(statistics.psfArea / (4.0 * np.pi))))
