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

"""Middle of the exposure at each place of an image."""

from __future__ import annotations

__all__ = ("ExposureMidpoints", "find_midpoints")

import dataclasses
import logging
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.shutter import HEADER_UNCERTAINTY, SHUTTER_UNCERTAINTY, ShutterMotion
from ._input_image import InputImage

_LOG = logging.getLogger(__name__)

_INSTRUMENT = "LSSTCam"
"""Instrument whose shutter is described in the header."""

type _Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class ExposureMidpoints:
    """Middle of the exposure at places of an image.

    Parameters
    ----------
    mjd_tai
        Middle of the exposure, MJD, TAI, shape (n,).
    uncertainty
        Their systematic error, seconds.
    source
        ``record``: begin and end of the visit, the same everywhere; ``shutter cards``: motion of the shutter
        in the header; ``ip_isr``: the same with `lsst.ip.isr.shutterTiming`.
    """

    mjd_tai: _Floats
    uncertainty: float = HEADER_UNCERTAINTY
    source: str = "record"


def find_midpoints(image: InputImage, x: _Floats, y: _Floats, beam_file: str = "") -> ExposureMidpoints:
    """Return the middle of the exposure at places of an image.

    Parameters
    ----------
    image
        The image.
    x, y
        The places, image coordinates, shape (n,).
    beam_file
        Beam table of `lsst.ip.isr.shutterTiming`; by default the cards are used without the stack.
    """
    nominal = ExposureMidpoints(np.full(np.shape(x), image.midpoint_mjd_tai))
    visit_image = image.visit_image
    detector = visit_image.detector
    if detector.instrument != _INSTRUMENT or len(x) == 0:
        return nominal
    if beam_file:
        times = _stack_midpoints(visit_image, x, y, beam_file)
        if times is not None and np.all(np.isfinite(times)):
            return ExposureMidpoints(times, SHUTTER_UNCERTAINTY, "ip_isr")
    motion = ShutterMotion.from_cards(dict(visit_image.metadata), image.exposure_time)
    if motion is None:
        _LOG.warning("The header does not describe the shutter: times are those of the visit.")
        return nominal
    times = motion.midpoints(detector.to_focal_plane.apply_forward(x=x, y=y).y)
    if not np.all(np.isfinite(times)):
        return nominal
    return ExposureMidpoints(times, SHUTTER_UNCERTAINTY, "shutter cards")


def _stack_midpoints(visit_image: Any, x: _Floats, y: _Floats, beam_file: str) -> _Floats | None:
    """Return the times of `lsst.ip.isr.shutterTiming`, `None` if it has none."""
    try:
        from lsst.ip.isr.shutterTiming import ShutterTimingConfig, computeShutterTiming
    except ImportError as error:
        _LOG.warning("Shutter timing of the stack is not available: %s.", error)
        return None
    config = ShutterTimingConfig()
    config.beamFile = beam_file
    timing = computeShutterTiming(dict(visit_image.metadata), visit_image.detector.to_legacy(), config)
    if timing.message:
        _LOG.warning("Shutter timing of the stack: %s.", timing.message)
    return np.asarray(timing.tMidMjdTai(x, y), dtype=np.float64)
