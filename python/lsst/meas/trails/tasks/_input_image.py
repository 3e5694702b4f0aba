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

"""The door between the stack's images and this package's arrays.

Images come in as `lsst.images` objects or, in the full stack, as exposures
of `~lsst.meas.trails.tasks._afw`; what goes on from here are arrays.
"""

from __future__ import annotations

__all__ = (
    "TRAIL_PLANE",
    "InputImage",
    "UnreadableImageError",
    "check_covers",
    "make_probability_image",
    "make_trail_mask",
    "model_summary",
    "open_image",
    "open_template",
)

import contextlib
import dataclasses
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.coordinates import SkyCoord

from lsst.images import (
    Box,
    Image,
    Mask,
    MaskedImage,
    MaskPlane,
    MaskSchema,
    SkyProjection,
    VisitImage,
)
from lsst.pipe.base import InvalidQuantumError, UpstreamFailureNoWorkFound

from ..core.planes import PLANES, ImagePlanes, canonical_plane, plane_bits
from ..core.psf import PsfGrid
from ..core.template import cut_template
from ._afw import (
    AFW_STORAGE_CLASS,
    afw_mask_bits,
    afw_to_visit_image,
    find_exposure_record,
    is_exposure,
)

if TYPE_CHECKING:
    from lsst.daf.butler import DeferredDatasetHandle

TRAIL_PLANE = MaskPlane("TRAIL", "Pixel belongs to the trail of a moving object.")
"""Mask plane of trails, in truth masks and in detections."""

MODEL_KEY = "TRAIL_MODEL"
"""Metadata key under which a probability image carries its model's summary."""

_NO_TEMPLATE_PLANES = ("NO_DATA", "BAD", "UNMASKED_NAN")
"""Planes that leave a template without a value; where images that it is made
of were saturated or hit by cosmic rays, others fill in.
"""

_MIN_SIDE = 16
"""Smaller images than this hold no trail, pixels."""


class UnreadableImageError(RuntimeError):
    """Raised when the Butler knows of an image but cannot read it.

    Not a lack of work: the file is missing or damaged, or the place that it
    is kept at does not answer.
    """


@dataclasses.dataclass(frozen=True, eq=False)
class InputImage:
    """An image that has come through the door.

    Parameters
    ----------
    planes
        Image, variance, mask and PSF as arrays.
    visit_image
        The image they come from; must not be changed.
    flux_per_njy
        Image units per nJy.
    """

    planes: ImagePlanes
    visit_image: VisitImage
    flux_per_njy: float

    @property
    def bbox(self) -> Box:
        """Box of the image (`lsst.images.Box`)."""
        return self.visit_image.bbox

    @property
    def origin(self) -> tuple[int, int]:
        """Coordinates (x, y) of the first pixel (`tuple` [`int`, `int`])."""
        return int(self.bbox.x.start), int(self.bbox.y.start)

    @property
    def sky_projection(self) -> SkyProjection[Any]:
        """Mapping of the image's own coordinates to the sky."""
        return self.visit_image.sky_projection

    def pixel_to_sky(
        self, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return ICRS right ascension and declination, degrees."""
        sky = self.sky_projection.pixel_to_sky(x=np.asarray(x), y=np.asarray(y))
        return np.asarray(sky.ra.deg), np.asarray(sky.dec.deg)

    def array_to_sky(
        self, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return `pixel_to_sky` of array coordinates."""
        return self.pixel_to_sky(np.asarray(x) + self.origin[0], np.asarray(y) + self.origin[1])

    def sky_to_pixel(
        self, ra: npt.NDArray[np.float64], dec: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return x and y in the image's own coordinates of ICRS degrees."""
        point = self.sky_projection.sky_to_pixel(SkyCoord(ra=ra * u.deg, dec=dec * u.deg, frame="icrs"))
        return np.asarray(point.x), np.asarray(point.y)

    @property
    def pixel_scale(self) -> float:
        """Arcseconds per pixel at the center (`float`)."""
        x, y = self.bbox.x.center, self.bbox.y.center
        sky = self.sky_projection.pixel_to_sky(x=np.array([x, x + 1.0, x]), y=np.array([y, y, y + 1.0]))
        along_x, along_y = (sky[0].spherical_offsets_to(sky[i]) for i in (1, 2))
        area = along_x[0] * along_y[1] - along_x[1] * along_y[0]
        return float(np.sqrt(abs(area.to_value(u.arcsec**2))))

    def flux_per_njy_at(
        self, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Return the image units per nJy at positions in the image's own
        coordinates; a photometric scaling varies by a few per cent over an
        image.
        """
        scaling, box = self.visit_image.photometric_scaling, self.bbox
        if scaling is None or self.visit_image.unit.is_equivalent(u.nJy):
            return np.full(np.shape(x), self.flux_per_njy)
        # Midpoints may lie beyond the edge, where the scaling is not defined.
        x, y = np.clip(x, box.x.min, box.x.max), np.clip(y, box.y.min, box.y.max)
        center = scaling(x=box.x.center, y=box.y.center)
        return np.asarray(self.flux_per_njy * center / scaling(x=x, y=y))

    @property
    def exposure_time(self) -> float:
        """Exposure time in seconds; NaN where it is not known (`float`)."""
        time = self.visit_image.obs_info.exposure_time
        return float("nan") if time is None else float(time.to_value(u.s))

    @property
    def midpoint_mjd_tai(self) -> float:
        """Middle of the exposure, MJD, TAI; NaN where unknown (`float`)."""
        info = self.visit_image.obs_info
        if info.datetime_begin is None or info.datetime_end is None:
            return float("nan")
        begin, end = info.datetime_begin.tai.mjd, info.datetime_end.tai.mjd
        return float(0.5 * (begin + end))


def open_image(image: Any, *, psf_spacing: float = 512.0) -> InputImage:
    """Let an image in.

    Parameters
    ----------
    image
        A `lsst.images.VisitImage` or `~lsst.images.DifferenceImage`, a
        `lsst.daf.butler.DeferredDatasetHandle` of one, or, in the full
        stack, a `lsst.afw.image.ExposureF`.
    psf_spacing
        Distance at which the PSF is sampled, pixels.

    Raises
    ------
    lsst.pipe.base.UpstreamFailureNoWorkFound
        Raised if the image cannot be worked on: no PSF or WCS, no good
        pixel, no way to nJy, or too small.  The message says which.
    UnreadableImageError
        Raised if the Butler cannot read it.
    TypeError
        Raised if it is no image.
    """
    visit_image = _as_visit_image(image)
    if min(visit_image.bbox.shape) < _MIN_SIDE:
        raise UpstreamFailureNoWorkFound(
            f"The image is only {visit_image.bbox.shape[1]} x {visit_image.bbox.shape[0]} pixels."
        )
    planes = ImagePlanes(
        image=_native(visit_image.image.array),
        variance=_native(visit_image.variance.array),
        mask=_mask_bits(visit_image.mask),
        psf=_sample_psf(visit_image, psf_spacing),
    )
    if np.all(planes.bad()):
        raise UpstreamFailureNoWorkFound(
            "The image has no good pixel: all are masked, not finite, or without a positive variance."
        )
    return InputImage(planes=planes, visit_image=visit_image, flux_per_njy=_flux_per_njy(visit_image))


def open_template(template: Any, image: InputImage) -> npt.NDArray[np.float32]:
    """Let the template of an image in.

    Parameters
    ----------
    template
        A `lsst.images.MaskedImage`, such as a `~lsst.images.VisitImage`, a
        `lsst.daf.butler.DeferredDatasetHandle` of one, or, in the full
        stack, a `lsst.afw.image.ExposureF`.  It has the pixels of the image,
        and may have more, or fewer.
    image
        The image.

    Returns
    -------
    template
        On the pixels of the image and in its units, without its background,
        NaN where it has no data, shape (ny, nx).

    Raises
    ------
    lsst.pipe.base.UpstreamFailureNoWorkFound
        Raised if its unit leads to no flux.
    UnreadableImageError
        Raised if the Butler cannot read it.
    TypeError
        Raised if it is no image.
    """
    if hasattr(template, "ref") and hasattr(template, "get"):
        template = _read(template)
    if isinstance(template, MaskedImage):
        pixels = np.asarray(template.image.array)
        bits = _mask_bits(template.mask)
        start = (int(template.bbox.x.start), int(template.bbox.y.start))
        njy = 1.0 / _flux_per_njy(template)
    elif is_exposure(template):
        # A warped coadd lacks much of what a visit image has: it is not
        # converted, but read as it is.
        pixels = np.asarray(template.image.array)
        bits = afw_mask_bits(template.mask)
        corner = template.getBBox().getMin()
        start = (int(corner.getX()), int(corner.getY()))
        calibration = template.getPhotoCalib()
        njy = 1.0 if calibration is None else float(calibration.getCalibrationMean())
    else:
        raise TypeError(f"Expected a MaskedImage or ExposureF, not {type(template).__name__}.")
    missing = (bits & np.uint32(plane_bits(_NO_TEMPLATE_PLANES))) != 0
    origin = (start[0] - image.origin[0], start[1] - image.origin[1])
    return cut_template(pixels * (njy * image.flux_per_njy), missing, origin, image.planes.shape)


def check_covers(other: Image | Mask, image: InputImage, what: str) -> None:
    """Check that a plane has the pixels of the image that it is used with.

    Parameters
    ----------
    other
        The plane.
    image
        The image.
    what
        What the plane is, for the message.

    Raises
    ------
    lsst.pipe.base.InvalidQuantumError
        Raised if it has not: the two are of different images.
    """
    if other.bbox != image.bbox:
        raise InvalidQuantumError(
            f"The {what} covers {other.bbox}, the image {image.bbox}: they are not of the same image."
        )


def _as_visit_image(image: Any) -> VisitImage:
    if isinstance(image, VisitImage):
        return image
    if hasattr(image, "ref") and hasattr(image, "get"):
        read = _read(image)
        if is_exposure(read):
            return afw_to_visit_image(read, find_exposure_record(image))
        return _as_visit_image(read)
    if is_exposure(image):
        return afw_to_visit_image(image)
    raise TypeError(f"Expected a VisitImage, a DifferenceImage or an ExposureF, not {type(image).__name__}.")


def _read(handle: DeferredDatasetHandle) -> Any:
    """Read an image from the Butler.

    Raises
    ------
    UnreadableImageError
        Raised if that is impossible.
    """
    try:
        return handle.get()
    except OSError as error:
        problem: Exception = error
    except Exception as error:
        # Where the stack stores an ExposureF, its own conversion to a
        # VisitImage may want to know more, or not know a mask plane: it is
        # then read as it is, and converted here.
        problem = error
        with contextlib.suppress(Exception):
            return handle.get(storageClass=AFW_STORAGE_CLASS)
    raise UnreadableImageError(
        f"{handle.ref.datasetType.name} {handle.ref.dataId} cannot be read: {problem} "
        "Restore its file, or remove the dataset and run what made it again."
    ) from None


def _native(array: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    return np.asarray(array, dtype=np.float32)


def _mask_bits(mask: Mask) -> npt.NDArray[np.uint32]:
    """Return the planes that this package knows as bits, in either spelling;
    a mask need not have them all.
    """
    bits = np.zeros(tuple(mask.bbox.shape), dtype=np.uint32)
    for name in mask.schema.names:
        plane = canonical_plane(name)
        if plane in PLANES:
            bits[mask.get(name)] |= np.uint32(1 << PLANES.index(plane))
    return bits


def _sample_psf(image: VisitImage, spacing: float) -> PsfGrid:
    origin = (image.bbox.x.start, image.bbox.y.start)
    try:
        return PsfGrid.from_model(image.psf, origin, (image.bbox.y.size, image.bbox.x.size), spacing=spacing)
    except Exception as error:
        # Whatever a PSF model raises where it cannot be read or evaluated,
        # without it there is nothing to be done for this image.
        raise UpstreamFailureNoWorkFound(f"The PSF of the image cannot be used: {error}") from error


def _flux_per_njy(image: MaskedImage) -> float:
    """Return the image units per nJy."""
    try:
        return float(u.nJy.to(image.unit))
    except u.UnitConversionError:
        pass
    scaling = getattr(image, "photometric_scaling", None)
    if scaling is None:
        raise UpstreamFailureNoWorkFound(
            f"The image is in {image.unit} and has no photometric scaling to nJy."
        )
    try:
        unit_scale = (image.unit * scaling.unit).to(u.nJy)
    except u.UnitConversionError as error:
        raise UpstreamFailureNoWorkFound(
            f"The image is in {image.unit}, and its photometric scaling in {scaling.unit} leads to no nJy."
        ) from error
    # The scaling varies by a few per cent over a detector; its value at the
    # center serves for all of it.
    return float(1.0 / (scaling(x=image.bbox.x.center, y=image.bbox.y.center) * unit_scale))


def make_trail_mask(
    pixels: npt.NDArray[np.bool_], image: InputImage, metadata: Mapping[str, Any] | None = None
) -> Mask:
    """Return a mask with the plane ``TRAIL``.

    Parameters
    ----------
    pixels
        Pixels to set, shape (ny, nx).
    image
        The image that it belongs to, for its box and projection.
    metadata
        What to write with it.
    """
    mask = Mask(
        0,
        schema=MaskSchema([TRAIL_PLANE]),
        bbox=image.bbox,
        sky_projection=image.sky_projection,
        metadata=dict(metadata or {}),
    )
    mask.set(TRAIL_PLANE.name, pixels)
    return mask


def make_probability_image(
    probability: npt.NDArray[np.float32], image: InputImage, model: Mapping[str, Any]
) -> Image:
    """Return a probability map as an image that knows its model.

    Parameters
    ----------
    probability
        Shape (ny, nx), in [0, 1].
    image
        The image that it belongs to.
    model
        Summary of the model: thresholds, score and identity.
    """
    return Image(
        probability,
        bbox=image.bbox,
        sky_projection=image.sky_projection,
        metadata={MODEL_KEY: json.dumps(model, sort_keys=True)},
    )


def model_summary(probability: Image) -> dict[str, Any]:
    """Return the summary of the model that made a probability image.

    Raises
    ------
    lsst.pipe.base.UpstreamFailureNoWorkFound
        Raised if the image does not carry one.
    """
    try:
        summary = json.loads(str(probability.metadata[MODEL_KEY]))
        return {key: summary[key] for key in ("name", "version", "sha256", "thresholds", "score")}
    except (KeyError, TypeError, ValueError) as error:
        raise UpstreamFailureNoWorkFound(
            f"The probability image does not say which model made it ({MODEL_KEY} in its metadata)."
        ) from error
