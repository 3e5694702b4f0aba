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

"""Amplifiers of an image, their gains and full wells."""

from __future__ import annotations

__all__ = ("amplifiers_of", "full_wells", "known_gains")

from collections.abc import Iterator
from typing import Any

import astropy.units as u
import numpy as np
import numpy.typing as npt

from ..core.injection.gain import Box, GainMap
from ._input_image import InputImage

_LEVEL_KEY, _UNIT_KEY = "LSST ISR SATURATION LEVEL {}", "LSST ISR UNITS"
"""Metadata of IsrTaskLSST of ip_isr: level above which pixels of an amplifier are saturated, and its unit."""


def amplifiers_of(image: InputImage) -> list[tuple[Box, float]]:
    """Return the pixels and the nominal gain of each amplifier, NaN if unknown."""
    found = []
    for box, amplifier in _on_image(image):
        nominal = amplifier.nominal_calibrations
        found.append((box, float("nan") if nominal is None else float(nominal.gain)))
    return found


def _on_image(image: InputImage) -> Iterator[tuple[Box, Any]]:
    """Yield the amplifiers that the image covers, with their pixels."""
    (x0, y0), (ny, nx) = image.origin, image.planes.shape
    detector = image.visit_image.detector
    for amplifier in detector.amplifiers if detector is not None else ():
        box = amplifier.bbox
        y = slice(max(int(box.y.start) - y0, 0), min(int(box.y.stop) - y0, ny))
        x = slice(max(int(box.x.start) - x0, 0), min(int(box.x.stop) - x0, nx))
        if y.start < y.stop and x.start < x.stop:
            yield (y, x), amplifier


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


def full_wells(
    image: InputImage, gains: GainMap, electrons: float | None = None
) -> npt.NDArray[np.float32] | None:
    """Return the level at which each pixel saturates.

    Parameters
    ----------
    image
        The image.
    gains
        Electrons per image unit.
    electrons
        Full well of all amplifiers. By default, it is the level of each amplifier in the metadata that the
        detrending of the stack writes, else its nominal saturation.

    Returns
    -------
    levels
        Image units, shape (ny, nx); `None` if gains or full wells are unknown. Pixels of an amplifier without
        a full well have the median of the others.
    """
    if not gains.finite:
        return None
    wells: list[tuple[Box, float]] = []
    if electrons is None:
        metadata = image.visit_image.metadata
        found = [(box, _full_well(amplifier, metadata)) for box, amplifier in _on_image(image)]
        wells = [(box, well) for box, well in found if 0.0 < well < np.inf]
        if not wells:
            return None
        electrons = float(np.median([well for _, well in wells]))
    gain = gains.image(image.planes.shape)
    levels = np.where(np.isfinite(gain), np.float32(electrons), np.float32(np.inf))
    for box, well in wells:
        levels[box] *= np.float32(well / electrons)
    return np.asarray(np.divide(levels, gain, out=levels, where=np.isfinite(gain)))


def _full_well(amplifier: Any, metadata: Any) -> float:
    """Return the full well of an amplifier, electrons, NaN if unknown."""
    nominal = amplifier.nominal_calibrations
    gain, level = (np.nan, np.nan) if nominal is None else (float(nominal.gain), float(nominal.saturation))
    try:
        level = float(metadata[_LEVEL_KEY.format(amplifier.name)])
    except (KeyError, TypeError, ValueError):
        return level * gain
    return level if str(metadata.get(_UNIT_KEY, "")).lower().startswith("electron") else level * gain
