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

"""Inspection of FITS images without their pixels: visit, time, filter, WCS."""

from __future__ import annotations

__all__ = ("FitsObservation", "FitsOptions", "inspect_all", "inspect_fits")

import dataclasses
import hashlib
import logging
import math
from collections.abc import Iterable
from pathlib import Path

from lsst.images import Box, DetectorFrame, SkyProjection

from ..core.printable import printable
from .exposure_time import LONGEST_EXPOSURE
from .filters import MAX_BAND, UNKNOWN_BAND, Filter, find_filter
from .header import ZeroPoint, find_color_pattern, find_detector, find_zeropoint
from .instrument import FitsCam
from .layout import FitsIngestError, FitsLayout, read_layout
from .pairing import FitsFiles
from .timing import Timing, find_timing, find_visit
from .wcs import ProjectionError, make_sky_projection

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class FitsOptions:
    """Choices of the user; most of them replace header values."""

    hdu: str | None = None
    """Number or EXTNAME of the HDU with the image."""

    use_mask: bool = True
    """Whether to read the mask of a file."""

    fwhm: float | None = None
    """FWHM of the PSF, arcseconds; measured on stars by default."""

    zeropoint: float | None = None
    """AB magnitude of one unit of the pixels."""

    noise: str = "check"
    """Origin of the variance: ``file``, ``sky`` (measured), or ``check`` (the file's if the sky agrees)."""

    gain: float | None = None
    """Electrons per unit of the pixels."""

    exposure_time: float | None = None
    """Seconds."""

    date: str | None = None
    """UTC of the start of the exposure, in ISO format or as an MJD."""

    band: str | None = None
    """Band of the filter."""

    visit: int | None = None
    """Visit number."""

    detector: int | None = None
    """Detector number."""


@dataclasses.dataclass(frozen=True, eq=False)
class FitsObservation:
    """An inspected FITS image without its pixels."""

    layout: FitsLayout
    """HDUs of the file."""

    visit: int
    """Visit number."""

    detector: int
    """Detector number."""

    timing: Timing
    """Time of the exposure."""

    filter: Filter
    """Filter."""

    zeropoint: ZeroPoint
    """Photometric zero point."""

    sky_projection: SkyProjection[DetectorFrame]
    """Mapping of pixels to the sky."""

    @property
    def path(self) -> Path:
        """Path of the file."""
        return self.layout.path

    @property
    def bbox(self) -> Box:
        """Box of the image, starting at (0, 0)."""
        return Box.from_shape(self.layout.shape)

    @property
    def data_id(self) -> dict[str, str | int]:
        """Data ID of the image."""
        return {"instrument": FitsCam.getName(), "visit": self.visit, "detector": self.detector}


def inspect_all(
    files: Iterable[FitsFiles | Path], options: FitsOptions | None = None
) -> list[FitsObservation]:
    """Inspect FITS files with different visits or detectors.

    Raises
    ------
    FitsIngestError
        Raised if a file cannot be used (see `inspect_fits`), or two files have the same visit and detector.
    """
    seen: dict[tuple[int, int], FitsObservation] = {}
    for file in files:
        observation = inspect_fits(file, options)
        key = (observation.visit, observation.detector)
        if key in seen and observation.path.samefile(seen[key].path):
            raise FitsIngestError(f"{observation.path} is named twice; name it once.")
        if key in seen:
            raise FitsIngestError(
                f"{observation.path} and {seen[key].path} are both visit {key[0]}, detector {key[1]}; ingest "
                "them one by one with --visit or --detector, or with --mask or --weight if one belongs to "
                "the other."
            )
        seen[key] = observation
    return list(seen.values())


def inspect_fits(file: FitsFiles | Path, options: FitsOptions | None = None) -> FitsObservation:
    """Inspect a FITS image without reading its pixels.

    Parameters
    ----------
    file
        The file of the image, alone or with the files of its mask and noise.
    options
        Values that replace header values.

    Raises
    ------
    FitsIngestError
        Raised if the file cannot be read or has no usable image or WCS.
    """
    options = options or FitsOptions()
    _check_options(options)
    files = file if isinstance(file, FitsFiles) else FitsFiles(file)
    path = files.image
    layout = read_layout(path, options.hdu, use_mask=options.use_mask, companion_files=files.companions)
    header = layout.header
    if pattern := find_color_pattern(header):
        raise FitsIngestError(
            f"{path}: {pattern} marks a raw frame of a color camera, in which adjacent pixels have different "
            "colors; debayer it, or extract the pixels of one color as an image. Remove the card if that is "
            "done."
        )
    try:
        timing = find_timing(header, date=options.date, exposure_time=options.exposure_time)
    except ValueError as error:
        raise FitsIngestError(f"{path}: {error}.") from error
    visit = options.visit if options.visit is not None else find_visit(header, timing, _digest(layout))
    detector = options.detector if options.detector is not None else find_detector(header)
    if not 0 < visit < FitsCam.visit_max:
        raise FitsIngestError(
            f"{path}: visit {visit} is not between 1 and {FitsCam.visit_max - 1}; pass --visit."
        )
    if not 0 <= detector < FitsCam.detector_max:
        raise FitsIngestError(
            f"{path}: detector {detector} is not between 0 and {FitsCam.detector_max - 1}; pass --detector."
        )
    frame = DetectorFrame(
        instrument=FitsCam.getName(), visit=visit, detector=detector, bbox=Box.from_shape(layout.shape)
    )
    try:
        sky_projection = make_sky_projection(layout.wcs, frame)
    except ProjectionError as error:
        raise FitsIngestError(f"{path}: in HDU {layout.hdu}, {error}.") from error
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


def _check_options(options: FitsOptions) -> None:
    """Raise if an option has no usable value."""
    for name in ("fwhm", "zeropoint", "gain", "exposure_time"):
        value = getattr(options, name)
        if value is not None and not math.isfinite(value):
            raise FitsIngestError(f"--{name.replace('_', '-')} is {value}; pass a finite number.")
    if options.exposure_time is not None and not 0.0 < options.exposure_time < LONGEST_EXPOSURE:
        raise FitsIngestError(
            f"--exposure-time is {options.exposure_time:g} s, not between 0 and {LONGEST_EXPOSURE:g}; pass "
            "seconds."
        )
    if options.band is not None and not 1 <= len(options.band) <= MAX_BAND:
        raise FitsIngestError(f"--band {options.band!r} has not 1 to {MAX_BAND} characters; shorten it.")


def _warn_of_assumptions(observation: FitsObservation, hdu: str | None) -> None:
    """Log assumed values with the option that sets each, and ignored images."""
    timing, zeropoint = observation.timing, observation.zeropoint
    assumptions = []
    if zeropoint.assumed:
        assumptions.append(
            f"zero point {zeropoint.magnitude:g}, which makes magnitudes relative (set --zeropoint)"
        )
    if timing.exposure_time_assumed:
        assumptions.append(
            f"exposure time {timing.exposure_time:g} s, which makes rates of motion relative "
            "(set --exposure-time)"
        )
    if timing.time_problem:
        assumptions.append(
            f"start {timing.begin.utc.isot} UTC, as {timing.time_problem}, so that candidates cannot be "
            "exported as observations (set --date)"
        )
    if observation.filter.band == UNKNOWN_BAND:
        assumptions.append(f"band {UNKNOWN_BAND!r} (set --band)")
    if assumptions:
        _LOG.warning(
            "%s: values not in the headers are assumed: %s.",
            printable(observation.path),
            "; ".join(assumptions),
        )
    others = observation.layout.other_images
    if others and hdu is None:
        _LOG.warning(
            "%s: only the first of %d images, in HDU %d, is ingested. Choose others with --hdu.",
            printable(observation.path),
            len(others) + 1,
            observation.layout.hdu,
        )


def _digest(layout: FitsLayout) -> int:
    """Return a number from the contents of a file."""
    with layout.path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return int(digest[:15], 16) + layout.hdu
