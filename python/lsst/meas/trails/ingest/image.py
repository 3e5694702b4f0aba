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

"""Conversion of FITS images to visit images."""

from __future__ import annotations

__all__ = ("ORIGIN_KEY", "IngestSummary", "image_origin", "make_fits_image")

import dataclasses
import hashlib
import logging
from pathlib import Path

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astro_metadata_translator import ObservationInfo

from lsst.images import MaskPlane, VisitImage

from ..core.planes import BAD_PLANES, ImagePlanes, plane_bits
from ..core.printable import printable
from ..repository.camera import make_detector
from ..repository.visit_image import make_summary_stats, make_visit_image, sample_psf
from .filters import UNKNOWN_BAND
from .header import find_saturation
from .instrument import FitsCam
from .layout import FitsIngestError, FitsLayout
from .mosaic import MOST_MOSAIC, measure_mosaic
from .observation import FitsObservation, FitsOptions
from .pixels import FitsPixels, read_pixels
from .psf_fit import MIN_STARS, MeasuredPsf
from .star_psf import TooFewStarsError, gaussian_psf, measure_psf
from .variance import make_variance
from .wcs import pixel_scale

_LOG = logging.getLogger(__name__)

ORIGIN_KEY = "fitsOrigin"
"""Key of `image_origin` in the metadata of images."""


@dataclasses.dataclass(frozen=True)
class IngestSummary:
    """Summary of an ingested image."""

    path: Path
    """The file."""

    visit: int
    """Visit number."""

    detector: int
    """Detector number."""

    band: str
    """Band of the filter."""

    fwhm: float
    """FWHM of the PSF, arcseconds."""

    magnitude_limit: float
    """AB magnitude of a point source at 5 sigma."""


def make_fits_image(
    observation: FitsObservation, options: FitsOptions | None = None
) -> tuple[VisitImage, IngestSummary]:
    """Read a FITS image as a visit image in nJy.

    Parameters
    ----------
    observation
        Inspected file, from `~lsst.meas.trails.ingest.observation.inspect_fits`.
    options
        Values that replace header values.

    Raises
    ------
    FitsIngestError
        Raised if the pixels cannot be read or have no noise, or no star for the PSF is found.
    """
    options = options or FitsOptions()
    layout, path = observation.layout, observation.path
    pixels = read_pixels(layout)
    mask = pixels.mask
    _check_mosaic(pixels, path)
    if not pixels.has_mask:
        # NaN fails the comparison.
        mask[pixels.image >= _saturation(pixels, layout)] |= np.uint32(plane_bits(["SATURATED"]))
    bad = (mask & np.uint32(plane_bits(BAD_PLANES))) != 0
    variance, variance_source = make_variance(pixels, bad, layout, options)
    _LOG.info(
        "%s: variance: %s; zero point: %s.", printable(path), variance_source, observation.zeropoint.source
    )
    no_noise = ~((variance > 0.0) & (variance < np.inf))
    mask[no_noise] |= np.uint32(plane_bits(["NO_DATA"]))
    bad |= no_noise
    if np.all(bad):
        raise FitsIngestError(
            f"{path}: HDU {layout.hdu} has no good pixel with noise; choose another image with --hdu, or "
            "ignore a wrong mask with --ignore-mask."
        )

    scale = pixel_scale(layout.wcs)
    psf = _make_psf(pixels.image, variance, bad, scale, path, options)
    factor = np.float32(observation.zeropoint.njy_per_count)
    with np.errstate(over="ignore", invalid="ignore"):
        image, variance = pixels.image * factor, variance * np.square(factor)
    arrays = ImagePlanes(image=image, variance=variance, mask=mask, psf=sample_psf(psf.psf, observation.bbox))
    stats = make_summary_stats(
        arrays,
        observation.sky_projection,
        observation.bbox,
        exposure_time=observation.timing.exposure_time,
        zeropoint=observation.zeropoint.magnitude,
        n_psf_stars=psf.n_stars,
    )
    visit_image = make_visit_image(
        arrays,
        psf=psf.psf,
        sky_projection=observation.sky_projection,
        obs_info=_make_obs_info(observation),
        detector=make_detector(
            FitsCam,
            observation.visit,
            observation.detector,
            name=FitsCam.detector_name(observation.detector),
            serial="unknown",
            physical_type="unknown",
            shape=layout.shape,
            pixel_scale=scale,
        ),
        band=observation.filter.band,
        summary_stats=stats,
    )
    new = [name for name in pixels.extra if name not in visit_image.mask.schema]
    visit_image.mask = visit_image.mask.add_planes(
        MaskPlane(name, f"Plane {name} of the mask of {printable(path.name)}.") for name in new
    )
    for name, flagged in pixels.extra.items():
        visit_image.mask.set(name, flagged)
    visit_image.metadata = {
        "fitsFile": printable(path.name),
        "fitsHdu": layout.hdu,
        ORIGIN_KEY: image_origin(observation, options),
        "fitsInstrument": str(layout.header.get("INSTRUME", "unknown")),
        "zeroPoint": observation.zeropoint.magnitude,
        "zeroPointSource": observation.zeropoint.source,
        "zeroPointAssumed": observation.zeropoint.assumed,
        "varianceSource": variance_source,
        "psfSource": psf.kind,
        "psfStars": psf.n_stars,
        "bandUnknown": observation.filter.band == UNKNOWN_BAND,
        "assumedTimeFlag": bool(observation.timing.time_problem),
        "assumedExposureTimeFlag": observation.timing.exposure_time_assumed,
    }
    summary = IngestSummary(
        path=path,
        visit=observation.visit,
        detector=observation.detector,
        band=observation.filter.band,
        fwhm=psf.fwhm * scale,
        magnitude_limit=stats.magLim,
    )
    return visit_image, summary


def image_origin(observation: FitsObservation, options: FitsOptions) -> str:
    """Return the hexadecimal SHA-256 of the files of an image and the options."""
    with observation.path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
    for role, path in sorted(observation.layout.companion_files.items()):
        with path.open("rb") as stream:
            digest.update(f"{role} {hashlib.file_digest(stream, 'sha256').hexdigest()}".encode())
    digest.update(f"{observation.layout.hdu} {options}".encode())
    return digest.hexdigest()


def _check_mosaic(pixels: FitsPixels, path: Path) -> None:
    """Raise if adjacent pixels have different levels."""
    bad = (pixels.mask & np.uint32(plane_bits(BAD_PLANES))) != 0
    difference = measure_mosaic(pixels.image, bad)
    if difference > MOST_MOSAIC:
        raise FitsIngestError(
            f"{path}: adjacent pixels differ by {difference:.3g} times their scatter, as in a raw frame of a "
            "color camera; debayer it, or extract the pixels of one color as an image. If rows or columns "
            "alternate, calibrate the image."
        )


def _saturation(pixels: FitsPixels, layout: FitsLayout) -> float:
    """Return the saturation level, infinite if it is unknown or not above the sky."""
    level = find_saturation(layout.header)
    if level is None:
        return np.inf
    sky = float(np.nanmedian(pixels.image))
    if level <= sky:
        _LOG.warning(
            "%s: the saturation level of %g in the header is not above the sky of %.4g and is not used. Pass "
            "a --mask of the saturated pixels.",
            printable(layout.path),
            level,
            sky,
        )
        return np.inf
    return level


def _make_psf(
    image: npt.NDArray[np.float32],
    variance: npt.NDArray[np.float32],
    bad: npt.NDArray[np.bool_],
    scale: float,
    path: Path,
    options: FitsOptions,
) -> MeasuredPsf:
    if options.fwhm is not None:
        try:
            return gaussian_psf(options.fwhm / scale, image.shape)
        except ValueError as error:
            raise FitsIngestError(
                f"{path}: --fwhm {options.fwhm:g} arcsec with pixels of {scale:.3g} arcsec: {error}"
            ) from error
    try:
        psf = measure_psf(image, variance, bad, pixel_scale=scale)
    except TooFewStarsError as error:
        raise FitsIngestError(
            f"{path}: the PSF cannot be measured: {error}; pass the FWHM in arcseconds with --fwhm."
        ) from error
    few = psf.n_stars < MIN_STARS
    _LOG.log(
        logging.WARNING if few else logging.INFO,
        "%s: the PSF has a FWHM of %.2f arcsec, measured on %d star%s (%s).%s",
        printable(path),
        psf.fwhm * scale,
        psf.n_stars,
        "" if psf.n_stars == 1 else "s",
        psf.kind,
        " Check it, or pass --fwhm." if few else "",
    )
    return psf


def _make_obs_info(observation: FitsObservation) -> ObservationInfo:
    header, timing = observation.layout.header, observation.timing
    name = FitsCam.detector_name(observation.detector)
    return ObservationInfo(
        telescope=str(header.get("TELESCOP", "unknown")),
        instrument=FitsCam.getName(),
        exposure_id=observation.visit,
        visit_id=observation.visit,
        physical_filter=observation.filter.name,
        datetime_begin=timing.begin,
        datetime_end=timing.end,
        exposure_time=timing.exposure_time * u.s,
        detector_num=observation.detector,
        detector_name=name,
        detector_unique_name=name,
        detector_exposure_id=observation.visit * FitsCam.detector_max + observation.detector,
        object=str(header.get("OBJECT", "")).strip() or "unknown",
        observation_type="science",
        observation_id=str(observation.visit),
        observing_day=timing.day_obs,
        observation_counter=timing.second,
        has_simulated_content=False,
        can_see_sky=True,
    )
