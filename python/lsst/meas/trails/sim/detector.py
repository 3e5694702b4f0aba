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

"""Descriptions of the detectors of the simulated camera."""

from __future__ import annotations

__all__ = ("AMPLIFIER_GRID", "PIXEL_SCALE", "focal_plane_offset", "make_detector", "move_detector")

import numpy as np

from lsst.images import Box
from lsst.images.cameras import (
    Amplifier,
    AmplifierCalibrations,
    AmplifierRawGeometry,
    Detector,
    DetectorAttributes,
    ReadoutCorner,
)

from ..repository import camera
from ..repository.ast import inverse, parse_mapping, series
from .instrument import TrailSimCam, detector_place

PIXEL_SCALE = 0.2
"""Arcseconds per pixel."""

_PITCH = 42.25 / 40.72
"""Distance between the centers of neighboring detectors over detector size."""

AMPLIFIER_GRID = (2, 8)
"""Rows and columns of amplifiers on a detector of LSSTCam."""

_OVERSCAN_COLUMNS, _OVERSCAN_ROWS = 64, 48
_GAIN, _READ_NOISE, _SATURATION = 1.6, 8.5, 140_000.0
"""Typical of LSSTCam: electrons per count, electrons, electrons."""


def focal_plane_offset(detector: int, shape: tuple[int, int]) -> tuple[float, float]:
    """Return the position (x, y) of a detector relative to the boresight, pixels.

    The gaps between detectors of any shape (ny, nx) are proportional to the gaps of LSSTCam.
    """
    place = detector_place(detector)
    ny, nx = shape
    return place.column * nx * _PITCH, place.row * ny * _PITCH


def make_detector(visit: int, detector: int, shape: tuple[int, int]) -> Detector:
    """Describe a detector of `TrailSimCam` with a shape (ny, nx) in pixels."""
    return camera.make_detector(
        TrailSimCam,
        visit,
        detector,
        name=detector_place(detector).full_name,
        serial=f"SIM-{detector:03d}",
        physical_type="SIM",
        shape=shape,
        pixel_scale=PIXEL_SCALE,
        offset=focal_plane_offset(detector, shape),
        amplifiers=_amplifiers(Box.from_shape(shape)),
    )


def move_detector(original: Detector, visit: int, detector: int) -> Detector:
    """Copy any camera's detector to a detector of `TrailSimCam`.

    Amplifiers, geometry and serial number do not change.
    """
    attributes = DetectorAttributes(
        name=detector_place(detector).full_name,
        id=detector,
        type=original.type,
        serial=original.serial,
        bbox=original.bbox,
        orientation=original.orientation,
        pixel_size=original.pixel_size,
        physical_type=original.physical_type,
    )
    to_focal_plane = parse_mapping(original.to_focal_plane.show())
    to_field_angle = parse_mapping(original.to_field_angle.show())
    focal_plane_to_field_angle = series(inverse(to_focal_plane), to_field_angle)
    frames = camera.camera_frames(
        TrailSimCam.getName(), detector, original.bbox, to_focal_plane, focal_plane_to_field_angle
    )
    return Detector(attributes, original.amplifiers, frames, visit=visit)


def _amplifiers(bbox: Box) -> list[Amplifier]:
    rows, columns = AMPLIFIER_GRID
    y_edges = np.linspace(bbox.y.start, bbox.y.stop, rows + 1).astype(int)
    x_edges = np.linspace(bbox.x.start, bbox.x.stop, columns + 1).astype(int)
    amplifiers = []
    for row in range(rows):
        for column in range(columns):
            y0, y1 = int(y_edges[row]), int(y_edges[row + 1])
            x0, x1 = int(x_edges[column]), int(x_edges[column + 1])
            # The two rows are read out away from the middle of the detector,
            # so that the parallel overscans of both lie between them.
            raw_x0 = x0 + column * _OVERSCAN_COLUMNS
            raw_y0 = y0 + row * 2 * _OVERSCAN_ROWS
            raw_x1, raw_y1 = raw_x0 + x1 - x0, raw_y0 + y1 - y0
            whole_x1 = raw_x1 + _OVERSCAN_COLUMNS
            overscan_y0 = raw_y1 if row == 0 else raw_y0 - _OVERSCAN_ROWS
            overscan_y1 = overscan_y0 + _OVERSCAN_ROWS
            whole = Box.factory[min(raw_y0, overscan_y0) : max(raw_y1, overscan_y1), raw_x0:whole_x1]
            corner = ReadoutCorner.LL if row == 0 else ReadoutCorner.UL
            amplifiers.append(
                Amplifier(
                    name=f"C{rows - 1 - row}{column}",
                    bbox=Box.factory[y0:y1, x0:x1],
                    readout_corner=corner,
                    assembled_raw_geometry=AmplifierRawGeometry(
                        bbox=whole,
                        data_bbox=Box.factory[raw_y0:raw_y1, raw_x0:raw_x1],
                        serial_overscan_bbox=Box.factory[raw_y0:raw_y1, raw_x1:whole_x1],
                        parallel_overscan_bbox=Box.factory[overscan_y0:overscan_y1, raw_x0:raw_x1],
                        prescan_bbox=None,
                        readout_corner=corner,
                    ),
                    nominal_calibrations=AmplifierCalibrations(
                        gain=_GAIN,
                        read_noise=_READ_NOISE,
                        saturation=_SATURATION / _GAIN,
                        suspect_level=np.nan,
                        linearity_coefficients=np.zeros(2),
                        linearity_type="NONE",
                    ),
                )
            )
    return amplifiers
