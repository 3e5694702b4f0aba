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

"""Detectors of the simulated camera, in the form that images carry."""

from __future__ import annotations

__all__ = (
    "PIXEL_SCALE",
    "focal_plane_offset",
    "make_detector",
    "move_detector",
)

import numpy as np
import starlink.Ast

from lsst.images import Box
from lsst.images.cameras import (
    Amplifier,
    AmplifierCalibrations,
    AmplifierRawGeometry,
    Detector,
    DetectorAttributes,
    DetectorType,
    Orientation,
    ReadoutCorner,
)

from ..repository.ast import inverse, parse_mapping, series
from ..repository.camera_frames import camera_frames
from .instrument import TrailSimCam, detector_place

PIXEL_SCALE = 0.2
"""Arcseconds per pixel."""

_PIXEL_SIZE = 0.01
"""Millimeters per pixel."""

_ARCSEC = np.pi / (180.0 * 3600.0)

_PITCH = 42.25 / 40.72
"""Distance between the centers of neighboring detectors over their size."""

_AMPLIFIER_GRID = (2, 8)
"""Rows and columns of amplifiers."""

_OVERSCAN_COLUMNS, _OVERSCAN_ROWS = 64, 48
_GAIN, _READ_NOISE, _SATURATION = 1.6, 8.5, 140_000.0
"""Typical of LSSTCam: electrons per count, electrons, electrons."""


def focal_plane_offset(detector: int, shape: tuple[int, int]) -> tuple[float, float]:
    """Return where the center of a detector is, relative to the boresight.

    Detectors of any size lie side by side with the gaps of LSSTCam in
    proportion.

    Parameters
    ----------
    detector
        Number of the detector.
    shape
        Shape (ny, nx) of all detectors, pixels.

    Returns
    -------
    x, y
        Offset in pixels.

    Raises
    ------
    ValueError
        Raised if there is no such detector.
    """
    place = detector_place(detector)
    ny, nx = shape
    return place.column * nx * _PITCH, place.row * ny * _PITCH


def make_detector(visit: int, detector: int, shape: tuple[int, int]) -> Detector:
    """Describe a detector of `TrailSimCam`.

    Parameters
    ----------
    visit
        Number of the visit.
    detector
        Number of the detector.
    shape
        Shape (ny, nx) of the detector in pixels.

    Raises
    ------
    ValueError
        Raised if there is no such detector.
    """
    place = detector_place(detector)
    ny, nx = shape
    bbox = Box.factory[0:ny, 0:nx]
    x_offset, y_offset = focal_plane_offset(detector, shape)
    center_x, center_y = 0.5 * (nx - 1), 0.5 * (ny - 1)
    to_focal_plane = starlink.Ast.WinMap(
        [0.0, 0.0],
        [1.0, 1.0],
        [(x_offset - center_x) * _PIXEL_SIZE, (y_offset - center_y) * _PIXEL_SIZE],
        [(x_offset - center_x + 1.0) * _PIXEL_SIZE, (y_offset - center_y + 1.0) * _PIXEL_SIZE],
    )
    to_field_angle = starlink.Ast.ZoomMap(2, PIXEL_SCALE / _PIXEL_SIZE * _ARCSEC)
    attributes = DetectorAttributes(
        name=place.full_name,
        id=detector,
        type=DetectorType.SCIENCE,
        serial=f"SIM-{detector:03d}",
        bbox=bbox,
        orientation=Orientation(
            focal_plane_x=x_offset * _PIXEL_SIZE,
            focal_plane_y=y_offset * _PIXEL_SIZE,
            focal_plane_z=0.0,
            # Half a pixel more, as afw counts from the corner of the first.
            pixel_reference_x=center_x + 0.5,
            pixel_reference_y=center_y + 0.5,
        ),
        pixel_size=_PIXEL_SIZE,
        physical_type="SIM",
    )
    frames = camera_frames(TrailSimCam.getName(), detector, bbox, to_focal_plane, to_field_angle)
    return Detector(attributes, _amplifiers(bbox), frames, visit=visit)


def move_detector(original: Detector, visit: int, detector: int) -> Detector:
    """Return a copy of any camera's detector as one of `TrailSimCam`.

    Parameters
    ----------
    original
        The detector to copy: its amplifiers, geometry and serial number stay.
    visit
        Number of the visit.
    detector
        Number of the new detector.

    Raises
    ------
    ValueError
        Raised if there is no such detector.
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
    frames = camera_frames(
        TrailSimCam.getName(), detector, original.bbox, to_focal_plane, focal_plane_to_field_angle
    )
    return Detector(attributes, original.amplifiers, frames, visit=visit)


def _amplifiers(bbox: Box) -> list[Amplifier]:
    rows, columns = _AMPLIFIER_GRID
    y_edges = np.linspace(bbox.y.start, bbox.y.stop, rows + 1).astype(int)
    x_edges = np.linspace(bbox.x.start, bbox.x.stop, columns + 1).astype(int)
    amplifiers = []
    for row in range(rows):
        for column in range(columns):
            y0, y1 = int(y_edges[row]), int(y_edges[row + 1])
            x0, x1 = int(x_edges[column]), int(x_edges[column + 1])
            # Rows are read out downwards and upwards, away from the middle,
            # so that the overscan of the upper ones lies above them.
            raw_x0 = x0 + column * _OVERSCAN_COLUMNS
            raw_y0 = y0 + row * 2 * _OVERSCAN_ROWS
            raw_x1, raw_y1 = raw_x0 + x1 - x0, raw_y0 + y1 - y0
            serial = Box.factory[raw_y0:raw_y1, raw_x1 : raw_x1 + _OVERSCAN_COLUMNS]
            if row == 0:
                parallel = Box.factory[raw_y1 : raw_y1 + _OVERSCAN_ROWS, raw_x0:raw_x1]
                whole = Box.factory[raw_y0 : raw_y1 + _OVERSCAN_ROWS, raw_x0 : raw_x1 + _OVERSCAN_COLUMNS]
            else:
                parallel = Box.factory[raw_y0 - _OVERSCAN_ROWS : raw_y0, raw_x0:raw_x1]
                whole = Box.factory[raw_y0 - _OVERSCAN_ROWS : raw_y1, raw_x0 : raw_x1 + _OVERSCAN_COLUMNS]
            corner = ReadoutCorner.LL if row == 0 else ReadoutCorner.UL
            amplifiers.append(
                Amplifier(
                    name=f"C{rows - 1 - row}{column}",
                    bbox=Box.factory[y0:y1, x0:x1],
                    readout_corner=corner,
                    assembled_raw_geometry=AmplifierRawGeometry(
                        bbox=whole,
                        data_bbox=Box.factory[raw_y0:raw_y1, raw_x0:raw_x1],
                        serial_overscan_bbox=serial,
                        parallel_overscan_bbox=parallel,
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
