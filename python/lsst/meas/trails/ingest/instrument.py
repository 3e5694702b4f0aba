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

"""Instrument of the images from FITS files."""

from __future__ import annotations

__all__ = ("FitsCam", "make_fits_detector")

from typing import TYPE_CHECKING

from lsst.images.cameras import Detector

from ..repository.camera import CalibratedInstrument, make_detector

if TYPE_CHECKING:
    from lsst.daf.butler import Registry


class FitsCam(CalibratedInstrument):
    """Any telescope with calibrated images in FITS files.

    Its detectors and filters are registered when images are ingested.
    """

    detector_max = 256

    # Visit numbers are YYYYMMDD and five digits.
    visit_max = 2_100_000_000_000

    @staticmethod
    def detector_name(detector: int) -> str:
        """Return the name of a detector, unique in the instrument."""
        return f"CCD{detector:03d}"

    def register_image(self, registry: Registry, detector: int, physical_filter: str, band: str) -> None:
        """Insert the detector and the filter of an image into a registry with the instrument.

        Raises
        ------
        lsst.daf.butler.registry.ConflictingDefinitionError
            Raised if the registry has the filter with another band.
        """
        with registry.transaction():
            self.register_filter(registry, physical_filter, band)
            self.register_detector(registry, detector, self.detector_name(detector))


def make_fits_detector(visit: int, detector: int, shape: tuple[int, int], pixel_scale: float) -> Detector:
    """Describe a detector of `FitsCam`.

    Parameters
    ----------
    visit
        Visit number.
    detector
        Detector number.
    shape
        Shape (ny, nx) of the image, pixels.
    pixel_scale
        Arcseconds per pixel.

    Returns
    -------
    detector
        A detector in the middle of the focal plane, without amplifiers.
    """
    return make_detector(
        FitsCam,
        visit,
        detector,
        name=FitsCam.detector_name(detector),
        serial="unknown",
        physical_type="unknown",
        shape=shape,
        pixel_scale=pixel_scale,
    )
