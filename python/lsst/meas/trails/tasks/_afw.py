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

"""Conversion of `lsst.afw.image` exposures, the older images of the stack.

No other module names that library. It does not need to be installed: exposures are recognized by their
methods.
"""

from __future__ import annotations

__all__ = (
    "AFW_STORAGE_CLASS",
    "UnreadableImageError",
    "afw_mask_planes",
    "afw_plane_map",
    "afw_to_njy",
    "afw_to_visit_image",
    "exposure_for_injection",
    "is_exposure",
    "kernel_model",
)

import logging
import types
from collections.abc import Iterable, Iterator
from typing import Any

import astropy.time
import astropy.units as u
import numpy as np
import numpy.typing as npt

from lsst.daf.butler import Timespan
from lsst.images import Image, MaskPlane, VisitImage, get_legacy_difference_image_mask_planes
from lsst.images.psfs import LegacyPointSpreadFunction, PointSpreadFunction
from lsst.pipe.base import UpstreamFailureNoWorkFound

from ..core.psf import PsfModel
from ._observation import OBSERVATION_FIELDS

_LOG = logging.getLogger(__name__)

AFW_STORAGE_CLASS = "ExposureF"
"""Storage class of exposures in a Butler."""

_UNIX_EPOCH_MJD = 40587.0
_NANOSECONDS_PER_DAY = 86400.0e9

_UNIT_KEY = "BUNIT"
_ISR_UNIT_KEY = "LSST ISR UNITS"
"""Metadata key for the unit after instrument signature removal."""

_COUNTS = ("adu", "count", "counts", "ct", "dn")
_ELECTRONS = ("e", "e-", "electron", "electrons")
"""Names of instrumental units in lowercase; FITS and astropy know some of them only."""

_PARTS = {
    "Wcs": "WCS",
    "Psf": "PSF",
    "Detector": "Detector",
    "Filter": "FilterLabel",
}
"""Parts without which an exposure cannot be searched, and their names in messages."""

_SETUP = "obs_base, cell_coadds, meas_extensions_psfex and meas_extensions_piff"
"""Packages that the conversion of an exposure imports."""


class UnreadableImageError(RuntimeError):
    """Raised if an image exists but cannot be read or converted.

    This is a failure, not a lack of work: the file is missing or damaged, its storage does not respond, or a
    package is not set up.
    """


def is_exposure(image: object) -> bool:
    """Return whether an object is a `lsst.afw.image.Exposure`."""
    return hasattr(image, "getMaskedImage") and hasattr(image, "getPhotoCalib")


def afw_plane_map(names: Iterable[str]) -> dict[str, MaskPlane]:
    """Return the `lsst.images` mask plane for each plane of an exposure.

    Parameters
    ----------
    names
        Names of the planes. All get an entry, because a conversion fails on a plane without one; unknown
        planes keep their names.
    """
    planes = dict(get_legacy_difference_image_mask_planes())
    known = {plane.name for plane in planes.values()}
    for name in names:
        if name not in planes and name not in known:
            planes[name] = MaskPlane(name, "Mask plane of the original image.")
    return planes


def afw_mask_planes(mask: Any) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """Yield the name and the pixels of each plane of a `lsst.afw.image.Mask`."""
    # The sign is a plane like any other.
    values = np.asarray(mask.array).view(np.uint32)
    for name, bit in mask.getMaskPlaneDict().items():
        yield name, (values & np.uint32(1 << bit)) != 0


def afw_to_njy(exposure: Any) -> npt.NDArray[np.floating]:
    """Return the pixels of an exposure in nJy, shape (ny, nx); without a calibration, they are in nJy."""
    pixels: npt.NDArray[np.floating] = np.asarray(exposure.image.array)
    calibration = exposure.getPhotoCalib()
    if calibration is None:
        return pixels
    if calibration._isConstant:
        return pixels * np.float32(calibration.getCalibrationMean())
    return np.asarray(calibration.calibrateImage(exposure.getMaskedImage()).image.array)


def afw_to_visit_image(exposure: Any, record: types.SimpleNamespace | None = None) -> VisitImage:
    """Convert an exposure to a `lsst.images.VisitImage`.

    Parameters
    ----------
    exposure
        The `lsst.afw.image.ExposureF`; the result shares its image and its variance.
    record
        Record of the observation; see `~lsst.meas.trails.tasks._observation.find_observation`. It supplies
        the identifier and the times that the visit information of the exposure lacks, and takes precedence
        if it is that of the exposure.

    Raises
    ------
    lsst.pipe.base.UpstreamFailureNoWorkFound
        Raised if the exposure lacks a required part; the message names it.
    UnreadableImageError
        Raised if a package is not set up or the unit cannot be parsed.
    """
    for part, name in _PARTS.items():
        if getattr(exposure.info, f"get{part}")() is None:
            raise UpstreamFailureNoWorkFound(f"The image has no {name}.")
    if exposure.info.getVisitInfo() is None and record is None:
        raise UpstreamFailureNoWorkFound("The image has no VisitInfo, and no record of its visit is known.")
    # A shallow copy: pixels and parts are shared, the list of parts is not.
    view = type(exposure)(exposure, False)
    _set_unit(view)
    _complete_visit_info(view, record)
    try:
        return VisitImage.from_legacy(
            view,
            exposure_record=_observation(view, record),
            plane_map=afw_plane_map(view.mask.getMaskPlaneDict()),
        )
    except ImportError as error:
        raise UnreadableImageError(f"The image cannot be converted: {error}. Set up {_SETUP}.") from error


def kernel_model(psf: PointSpreadFunction) -> PsfModel:
    """Return a PSF as a model whose kernels may have a different box at each position.

    `lsst.images` requires the kernels of afw to have the box of the largest kernel at the corners.
    """
    return _AfwKernels(psf.legacy_psf) if isinstance(psf, LegacyPointSpreadFunction) else psf


class _AfwKernels:
    """Kernels of a `lsst.afw.detection.Psf`."""

    def __init__(self, psf: Any) -> None:
        self._psf = psf

    def compute_kernel_image(self, *, x: float, y: float) -> Image:
        from lsst.geom import Point2D

        return Image.from_legacy(self._psf.computeKernelImage(Point2D(x, y)))


def exposure_for_injection(exposure: Any, record: types.SimpleNamespace | None) -> Any:
    """Change a private copy of an exposure to one that source_injection accepts.

    Parameters
    ----------
    exposure
        The exposure, changed in place. It loses its detector if an amplifier extends beyond its pixels,
        because source_injection cuts the exposure into amplifiers, and gets visit information if it has none.
    record
        Record of the observation.
    """
    detector, box = exposure.getDetector(), exposure.getBBox()
    if detector is not None and not all(box.contains(item.getBBox()) for item in detector.getAmplifiers()):
        _LOG.info("The image does not cover its amplifiers: source_injection fits one gain to all of it.")
        exposure.info.setDetector(None)
    _complete_visit_info(exposure, record)
    return exposure


def _complete_visit_info(exposure: Any, record: types.SimpleNamespace | None) -> None:
    """Set the visit information of an exposure that has none, or the identifier if it is 0."""
    from lsst.afw.image import VisitInfo

    visit_info = exposure.info.getVisitInfo()
    if visit_info is None:
        known: dict[str, Any] = {}
        if record is not None:
            known = {"id": record.id, "instrumentLabel": record.instrument}
            if record.exposure_time is not None:
                known["exposureTime"] = float(record.exposure_time)
        exposure.info.setVisitInfo(VisitInfo(**known))
    elif visit_info.getId() == 0 and record is not None:
        exposure.info.setVisitInfo(visit_info.copyWith(id=record.id))


def _observation(exposure: Any, record: types.SimpleNamespace | None) -> Any:
    """Return the record of an observation, with the visit information where the record has nothing.

    `None` if the time of the observation is unknown.
    """
    visit_info = exposure.info.getVisitInfo()
    date, seconds = visit_info.getDate(), float(visit_info.getExposureTime())
    timespan = None
    if date.isValid() and np.isfinite(seconds):
        # Nanoseconds of TAI since 1970.
        middle = astropy.time.Time(
            _UNIX_EPOCH_MJD, date.nsecs() / _NANOSECONDS_PER_DAY, format="mjd", scale="tai"
        )
        half = 0.5 * seconds * u.s
        timespan = Timespan(middle - half, middle + half)
    sources: list[dict[str, Any]] = [
        {
            "instrument": visit_info.getInstrumentLabel() or None,
            "id": visit_info.getId(),
            "physical_filter": exposure.info.getFilter().physicalLabel or None,
            "exposure_time": seconds if np.isfinite(seconds) else None,
            "timespan": timespan,
        }
    ]
    if record is not None:
        sources.insert(0 if record.is_exposure else 1, vars(record))
    known = {
        name: next((source[name] for source in sources if source.get(name) is not None), None)
        for name in OBSERVATION_FIELDS
    }
    return None if known["timespan"] is None else types.SimpleNamespace(**known)


def _set_unit(view: Any) -> None:
    """Make the unit in the metadata of a shallow copy of an exposure that of its pixels.

    A `PhotoCalib` multiplies the pixels of its exposure to nJy, whatever their unit is called.
    """
    unit = _pixel_unit(view.getMetadata(), view.getPhotoCalib())
    metadata = view.getMetadata().deepCopy()
    metadata[_UNIT_KEY] = unit.to_string()
    if not unit.is_equivalent(u.nJy):
        metadata[_ISR_UNIT_KEY] = unit.to_string()
    view.info.setMetadata(metadata)


def _pixel_unit(metadata: Any, calibration: Any) -> u.UnitBase:
    """Return the unit of the pixels of an exposure."""
    stated, isr = _parse_unit(metadata, _UNIT_KEY), _parse_unit(metadata, _ISR_UNIT_KEY)
    if stated == u.adu and isr == u.electron:
        # The unit of the raw image.
        stated = isr
    if stated is not None and stated.is_equivalent(u.nJy):
        return stated
    if calibration is not None and calibration._isConstant and calibration.getCalibrationMean() == 1.0:
        if stated is not None:
            _LOG.warning("%s is %s but the PhotoCalib is 1: the pixels are in nJy.", _UNIT_KEY, stated)
        return u.nJy
    if (unit := stated or isr) is not None:
        return unit
    if calibration is None:
        raise UpstreamFailureNoWorkFound(
            f"The image has neither a unit ({_UNIT_KEY}, {_ISR_UNIT_KEY}) nor a PhotoCalib."
        )
    _LOG.warning("The image has no %s and no %s: assuming electrons.", _UNIT_KEY, _ISR_UNIT_KEY)
    return u.electron


def _parse_unit(metadata: Any, key: str) -> u.UnitBase | None:
    """Return the unit under a metadata key, `None` without one."""
    text = metadata.get(key)
    if not text:
        return None
    name = str(text).strip()
    if name.lower() in _COUNTS:
        return u.adu
    if name.lower() in _ELECTRONS:
        return u.electron
    try:
        return u.Unit(name)
    except ValueError as error:
        raise UnreadableImageError(
            f"{key} = {text!r} is not a unit. Correct the metadata of the image."
        ) from error
