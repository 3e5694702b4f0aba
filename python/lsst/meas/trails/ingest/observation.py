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

"""What becomes of FITS images, as far as their headers tell."""

from __future__ import annotations

__all__ = ("FitsObservation", "FitsOptions", "inspect_all", "inspect_fits")

import dataclasses
import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lsst.images import Box, DetectorFrame, SkyProjection

from .header import UNKNOWN_BAND, Filter, ZeroPoint, find_detector, find_filter, find_zeropoint
from .instrument import FitsCam
from .layout import FitsIngestError, FitsLayout, find_planes
from .timing import NOMINAL_DATE, Timing, find_timing, find_visit
from .wcs import ProjectionError, make_sky_projection

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class FitsOptions:
    """What the user knows better than the files.

    Parameters
    ----------
    hdu
        Number or EXTNAME of the HDU with the image.
    use_mask
        Whether to read the mask of a file.
    fwhm
        FWHM of the PSF, arcseconds; measured on the stars otherwise.
    zeropoint
        AB magnitude of one unit of the pixels.
    gain
        Electrons per unit of the pixels.
    exposure_time
        Seconds.
    date
        UTC of the start of the exposure, in ISO format or as a Modified
        Julian Date.
    band
        Band of the filter.
    visit, detector
        Numbers of the visit and the detector.
    """

    hdu: str | None = None
    use_mask: bool = True
    fwhm: float | None = None
    zeropoint: float | None = None
    gain: float | None = None
    exposure_time: float | None = None
    date: str | None = None
    band: str | None = None
    visit: int | None = None
    detector: int | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class FitsObservation:
    """A FITS image before its pixels are read.

    Parameters
    ----------
    layout
        Where its planes are.
    visit, detector
        Numbers that it gets in the repository.
    timing
        When it was exposed.
    filter
        The filter.
    zeropoint
        The photometric zero point.
    sky_projection
        Mapping of its pixels to the sky.
    """

    layout: FitsLayout
    visit: int
    detector: int
    timing: Timing
    filter: Filter
    zeropoint: ZeroPoint
    sky_projection: SkyProjection[DetectorFrame]

    @property
    def path(self) -> Path:
        """The file (`pathlib.Path`)."""
        return self.layout.path

    @property
    def bbox(self) -> Box:
        """Box of the image, which starts at (0, 0) (`lsst.images.Box`)."""
        return Box.from_shape(self.layout.shape)

    @property
    def data_id(self) -> dict[str, Any]:
        """Data ID of the image (`dict`)."""
        return {"instrument": FitsCam.getName(), "visit": self.visit, "detector": self.detector}


def inspect_all(paths: Iterable[Path], options: FitsOptions | None = None) -> list[FitsObservation]:
    """Find out what there is to know of FITS images that belong together.

    Parameters
    ----------
    paths
        FITS files.
    options
        What the user knows better than the files.

    Raises
    ------
    FitsIngestError
        Raised if a file cannot be used (see `inspect_fits`), or two would
        become the same detector of the same visit.
    """
    seen: dict[tuple[int, int], FitsObservation] = {}
    for path in paths:
        observation = inspect_fits(path, options)
        key = (observation.visit, observation.detector)
        if key in seen:
            raise FitsIngestError(
                f"{path}: it would be visit {key[0]}, detector {key[1]}, as is {seen[key].path}. "
                "Ingest them one by one with --visit or --detector."
            )
        seen[key] = observation
    return list(seen.values())


def inspect_fits(path: Path, options: FitsOptions | None = None) -> FitsObservation:
    """Find out what there is to know of a FITS image without its pixels.

    Parameters
    ----------
    path
        FITS file.
    options
        What the user knows better than the file.

    Raises
    ------
    FitsIngestError
        Raised if the file cannot be read or has no image or no WCS that can
        be used.
    """
    options = options or FitsOptions()
    layout = find_planes(path, options.hdu, use_mask=options.use_mask)
    header = layout.header
    try:
        timing = find_timing(header, date=options.date, exposure_time=options.exposure_time)
    except ValueError as error:
        raise FitsIngestError(str(error)) from error
    visit = options.visit if options.visit is not None else find_visit(header, timing, _digest(layout))
    detector = options.detector if options.detector is not None else find_detector(header)
    if not 0 < visit < FitsCam.visit_max:
        raise FitsIngestError(
            f"{path}: visit {visit} is not between 1 and {FitsCam.visit_max - 1}. Give --visit."
        )
    if not 0 <= detector < FitsCam.detector_max:
        raise FitsIngestError(
            f"{path}: detector {detector} is not below {FitsCam.detector_max}. Give --detector."
        )
    frame = DetectorFrame(
        instrument=FitsCam.getName(), visit=visit, detector=detector, bbox=Box.from_shape(layout.shape)
    )
    try:
        sky_projection = make_sky_projection(layout.wcs, frame)
    except ProjectionError as error:
        raise FitsIngestError(f"{path}: {error}.") from error
    if options.zeropoint is not None:
        zeropoint = ZeroPoint(options.zeropoint, "--zeropoint")
    else:
        zeropoint = find_zeropoint(header, layout.flux_per_count)
    observation = FitsObservation(
        layout=layout,
        visit=visit,
        detector=detector,
        timing=timing,
        filter=find_filter(header, options.band),
        zeropoint=zeropoint,
        sky_projection=sky_projection,
    )
    _warn_of_assumptions(observation, options.hdu)
    return observation


def _warn_of_assumptions(observation: FitsObservation, hdu: str | None) -> None:
    """Log what the headers did not say, what it is good for, and the option
    that gives it; and that an image was chosen among several.
    """
    timing, zeropoint = observation.timing, observation.zeropoint
    assumptions = []
    if zeropoint.assumed:
        assumptions.append(
            f"no zero point, {zeropoint.magnitude:g} is assumed and magnitudes are relative (--zeropoint)"
        )
    if timing.exposure_time_assumed:
        assumptions.append(
            f"no exposure time, {timing.exposure_time:g} s is assumed and rates of motion are relative "
            "(--exposure-time)"
        )
    if timing.date_assumed:
        assumptions.append(f"no date, {NOMINAL_DATE} is assumed (--date)")
    if observation.filter.band == UNKNOWN_BAND:
        assumptions.append(f"no known band, it is called {UNKNOWN_BAND!r} (--band)")
    if assumptions:
        _LOG.warning("%s: the headers have %s.", observation.path, "; ".join(assumptions))
    others = observation.layout.other_images
    if others and hdu is None:
        _LOG.warning(
            "%s: only the image in HDU %d is ingested, of %d. Choose others with --hdu.",
            observation.path,
            observation.layout.hdu,
            len(others) + 1,
        )


def _digest(layout: FitsLayout) -> int:
    """Return a number that depends on the contents of a file."""
    with layout.path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return int(digest[:15], 16) + layout.hdu
