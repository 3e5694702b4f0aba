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

"""Calibration of images of `lsst.images` to nJy."""

from __future__ import annotations

__all__ = ("flux_per_njy", "pixels_in_njy")

import astropy.units as u
import numpy as np
import numpy.typing as npt

from lsst.images import MaskedImage
from lsst.pipe.base import UpstreamFailureNoWorkFound


def pixels_in_njy(image: MaskedImage) -> npt.NDArray[np.floating]:
    """Return the pixels of an image in nJy, shape (ny, nx)."""
    pixels: npt.NDArray[np.floating] = np.asarray(image.image.array)
    njy = 1.0 / flux_per_njy(image)
    scaling = getattr(image, "photometric_scaling", None)
    if scaling is None or scaling.is_constant or u.nJy.is_equivalent(image.unit):
        return pixels * njy
    relative = njy / float(scaling(x=image.bbox.x.center, y=image.bbox.y.center))
    rendered: npt.NDArray[np.float32] = scaling.render(image.bbox, dtype=np.float32).array
    return pixels * (rendered * np.float32(relative))


def flux_per_njy(image: MaskedImage) -> float:
    """Return the image units per nJy at the center."""
    try:
        return float(u.nJy.to(image.unit))
    except u.UnitConversionError:
        pass
    scaling = getattr(image, "photometric_scaling", None)
    if scaling is None:
        raise UpstreamFailureNoWorkFound(
            f"The image is in {image.unit} and has no photometric scaling to nJy."
        )
    try:
        unit_scale = (image.unit * scaling.unit).to(u.nJy)
    except u.UnitConversionError as error:
        raise UpstreamFailureNoWorkFound(
            f"The image is in {image.unit}, and its photometric scaling {scaling.unit} does not yield nJy."
        ) from error
    njy = float(scaling(x=image.bbox.x.center, y=image.bbox.y.center) * unit_scale)
    if not njy > 0.0:
        raise UpstreamFailureNoWorkFound(f"The photometric scaling of the image is {njy} nJy.")
    return 1.0 / njy
