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

"""The instrument that images from FITS files belong to."""

from __future__ import annotations

__all__ = ("DETECTOR_MAX", "VISIT_MAX", "FitsCam", "make_fits_detector")

from typing import TYPE_CHECKING, NoReturn

import numpy as np
import starlink.Ast

from lsst.images import Box
from lsst.images.cameras import Detector, DetectorAttributes, DetectorType, Orientation
from lsst.pipe.base import Instrument

from ..repository.camera_frames import camera_frames

if TYPE_CHECKING:
    from lsst.daf.butler import DataId, Registry

DETECTOR_MAX = 256
"""Exclusive limit of detector numbers."""

VISIT_MAX = 2_100_000_000_000
"""Exclusive limit of visit numbers: that of YYYYMMDD and five digits."""

_PIXEL_SIZE = 0.01
"""Millimeters per pixel, where nothing but the angles matters."""

_ARCSEC = np.pi / (180.0 * 3600.0)


class FitsCam(Instrument):
    """Any telescope whose calibrated images come as FITS files.

    Its detectors and filters are those of the files: they are registered when
    an image that has them is ingested.

    Parameters
    ----------
    collection_prefix
        Prefix for the names of its collections instead of the instrument's
        own name.
    """

    def __init__(self, collection_prefix: str | None = None):
        super().__init__(collection_prefix=collection_prefix)

    @classmethod
    def getName(cls) -> str:
        """Return the name of the instrument in data IDs."""
        return "FitsCam"

    @staticmethod
    def detector_name(detector: int) -> str:
        """Return the name of a detector, unique in the instrument."""
        return f"CCD{detector:03d}"

    def register(self, registry: Registry, *, update: bool = False) -> None:
        """Insert the instrument into a registry.

        Parameters
        ----------
        registry
            Registry of the data repository.
        update
            Whether to change a record that is there and differs.

        Raises
        ------
        lsst.daf.butler.registry.ConflictingDefinitionError
            Raised if the record is there with other contents and ``update``
            is `False`.
        """
        registry.syncDimensionData(
            "instrument",
            {
                "name": self.getName(),
                "class_name": f"lsst.meas.trails.instruments.{type(self).__name__}",
                "detector_max": DETECTOR_MAX,
                "visit_max": VISIT_MAX,
                "exposure_max": VISIT_MAX,
                "visit_system": 0,
            },
            update=update,
        )

    def register_image(self, registry: Registry, detector: int, physical_filter: str, band: str) -> None:
        """Insert the detector and the filter of an image into a registry that
        has the instrument.

        Parameters
        ----------
        registry
            Registry of the data repository.
        detector
            Number of the detector.
        physical_filter
            Name of the filter.
        band
            Name of its band.

        Raises
        ------
        lsst.daf.butler.registry.ConflictingDefinitionError
            Raised if the registry has the filter with another band.
        """
        name = self.getName()
        with registry.transaction():
            registry.syncDimensionData(
                "physical_filter", {"instrument": name, "name": physical_filter, "band": band}
            )
            registry.syncDimensionData(
                "detector",
                {
                    "instrument": name,
                    "id": detector,
                    "full_name": self.detector_name(detector),
                    "purpose": "SCIENCE",
                },
            )

    def getRawFormatter(self, dataId: DataId) -> NoReturn:
        """Raise: this instrument has no raw data.

        Raises
        ------
        NotImplementedError
            Always raised.
        """
        raise NotImplementedError(
            f"{self.getName()} has no raw data: `meas-trails ingest-fits` reads calibrated images."
        )


def make_fits_detector(visit: int, detector: int, shape: tuple[int, int], pixel_scale: float) -> Detector:
    """Describe a detector of `FitsCam`.

    Parameters
    ----------
    visit
        Number of the visit.
    detector
        Number of the detector.
    shape
        Shape (ny, nx) of the image in pixels, which is all that is known of
        the detector.
    pixel_scale
        Arcseconds per pixel.

    Returns
    -------
    detector
        A detector in the middle of a focal plane of its own, without
        amplifiers.
    """
    bbox = Box.from_shape(shape)
    center_y, center_x = 0.5 * (shape[0] - 1), 0.5 * (shape[1] - 1)
    to_focal_plane = starlink.Ast.WinMap(
        [0.0, 0.0],
        [1.0, 1.0],
        [-center_x * _PIXEL_SIZE, -center_y * _PIXEL_SIZE],
        [(1.0 - center_x) * _PIXEL_SIZE, (1.0 - center_y) * _PIXEL_SIZE],
    )
    to_field_angle = starlink.Ast.ZoomMap(2, pixel_scale / _PIXEL_SIZE * _ARCSEC)
    attributes = DetectorAttributes(
        name=FitsCam.detector_name(detector),
        id=detector,
        type=DetectorType.SCIENCE,
        serial="unknown",
        bbox=bbox,
        orientation=Orientation(
            focal_plane_x=0.0,
            focal_plane_y=0.0,
            focal_plane_z=0.0,
            # Half a pixel more, as afw counts from the corner of the first.
            pixel_reference_x=center_x + 0.5,
            pixel_reference_y=center_y + 0.5,
        ),
        pixel_size=_PIXEL_SIZE,
        physical_type="unknown",
    )
    frames = camera_frames(FitsCam.getName(), detector, bbox, to_focal_plane, to_field_angle)
    return Detector(attributes, [], frames, visit=visit)
