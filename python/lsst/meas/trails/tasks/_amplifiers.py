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

"""Amplifiers of an image and their gains."""

from __future__ import annotations

__all__ = ("amplifiers_of", "known_gains")

import astropy.units as u
import numpy as np

from ..core.injection.gain import Box, GainMap
from ._input_image import InputImage


def amplifiers_of(image: InputImage) -> list[tuple[Box, float]]:
    """Return the pixels and the nominal gain of each amplifier, NaN if unknown."""
    found = []
    (x0, y0), (ny, nx) = image.origin, image.planes.shape
    detector = image.visit_image.detector
    for amplifier in detector.amplifiers if detector is not None else ():
        box = amplifier.bbox
        y = slice(max(int(box.y.start) - y0, 0), min(int(box.y.stop) - y0, ny))
        x = slice(max(int(box.x.start) - x0, 0), min(int(box.x.stop) - x0, nx))
        if y.start < y.stop and x.start < x.stop:
            nominal = amplifier.nominal_calibrations
            found.append(((y, x), float("nan") if nominal is None else float(nominal.gain)))
    return found


def known_gains(image: InputImage) -> GainMap | None:
    """Return the gains that follow from the unit of the image, `None` if unknown."""
    unit = image.visit_image.unit
    if unit.is_equivalent(u.electron):
        return GainMap.uniform(float(unit.to(u.electron)))
    amplifiers = amplifiers_of(image)
    if unit.is_equivalent(u.adu) and amplifiers and all(gain > 0.0 for _, gain in amplifiers):
        scale = float(unit.to(u.adu))
        gains = tuple(gain * scale for _, gain in amplifiers)
        return GainMap(
            default=float(np.median(gains)), boxes=tuple(box for box, _ in amplifiers), gains=gains
        )
    return None
