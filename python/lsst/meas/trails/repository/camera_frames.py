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

"""Coordinate frames of a camera of one detector."""

from __future__ import annotations

__all__ = ("camera_frames",)

from typing import Any

import starlink.Ast

from lsst.images import Box
from lsst.images.cameras import (
    CameraFrameSet,
    CameraFrameSetSerializationModel,
)

from .ast import to_text


def camera_frames(
    instrument: str, detector: int, bbox: Box, to_focal_plane: Any, to_field_angle: Any
) -> CameraFrameSet:
    """Return the coordinate systems of a camera of one detector.

    Parameters
    ----------
    instrument
        Name of the instrument.
    detector
        Number of the detector.
    bbox
        Box of the detector's pixels.
    to_focal_plane
        Starlink AST mapping from pixels to millimeters in the focal plane.
    to_field_angle
        Starlink AST mapping from there to field angles in radians.
    """
    pixels = starlink.Ast.Frame(
        2,
        f'Ident=DETECTOR_{detector:03d},Title="Pixel Coordinates (Detector {detector})",'
        "Label(1)=x,Label(2)=y,Unit(1)=pix,Unit(2)=pix,"
        f"Bottom(1)={bbox.x.min},Bottom(2)={bbox.y.min},Top(1)={bbox.x.max},Top(2)={bbox.y.max}",
    )
    focal_plane = starlink.Ast.Frame(
        2, 'Ident=FOCAL_PLANE,Title="Focal Plane Coordinates",Label(1)=x,Label(2)=y,Unit(1)=mm,Unit(2)=mm'
    )
    field_angle = starlink.Ast.Frame(
        2, 'Ident=FIELD_ANGLE,Title="Field Angle Coordinates",Label(1)=x,Label(2)=y,Unit(1)=rad,Unit(2)=rad'
    )
    frames = starlink.Ast.FrameSet(pixels)
    frames.addframe(1, to_focal_plane, focal_plane)
    frames.addframe(2, to_field_angle, field_angle)
    model = CameraFrameSetSerializationModel(instrument=instrument, ast=to_text(frames))
    # The text holds all there is: nothing is fetched from an archive.
    return model.deserialize(archive=None)  # type: ignore[arg-type]
