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

__all__ = ("FitsCam",)

from typing import TYPE_CHECKING

from ..repository.camera import CalibratedInstrument

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
            self.register_record(registry, "physical_filter", {"name": physical_filter, "band": band})
            record = {"id": detector, "full_name": self.detector_name(detector), "purpose": "SCIENCE"}
            self.register_record(registry, "detector", record)
