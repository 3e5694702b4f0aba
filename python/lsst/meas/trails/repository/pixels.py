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

"""Pixels and boxes of images in either image library of the stack."""

from __future__ import annotations

__all__ = ("pixels_and_box", "read_box", "read_pixels")

from typing import Any

import numpy as np
import numpy.typing as npt

from lsst.daf.butler import Butler, DataId
from lsst.images import Box, Image

_AFW_STORAGE_CLASSES = ("Exposure", "ExposureF", "MaskedImageF", "ImageF")
"""Storage classes of images whose boxes are an `lsst.geom.Box2I`."""


def pixels_and_box(image: Any) -> tuple[npt.NDArray[Any], Box]:
    """Return the pixels of an image and their box.

    Parameters
    ----------
    image
        An `lsst.images.Image` or, in the full stack, an `lsst.afw.image.Image`.
    """
    if isinstance(image, Image):
        return image.array, image.bbox
    return np.asarray(image.array), Box.from_legacy(image.getBBox())


def read_box(butler: Butler, dataset_type: str, data_id: DataId) -> Box:
    """Return the box of an image in a Butler, without its pixels.

    Parameters
    ----------
    butler
        The Butler.
    dataset_type
        Dataset type of the image, with any storage class of an image.
    data_id
        Data ID of the image.

    Raises
    ------
    LookupError
        Raised if the image does not exist.
    """
    box = butler.get(f"{dataset_type}.bbox", data_id)
    return box if isinstance(box, Box) else Box.from_legacy(box)


def read_pixels(
    butler: Butler, dataset_type: str, data_id: DataId, box: Box | None = None
) -> tuple[npt.NDArray[Any], Box]:
    """Return the pixels of an image in a Butler, and their box.

    Parameters
    ----------
    butler
        The Butler.
    dataset_type
        Dataset type of the image or of one of its components, such as ``visit_image.image``.
    data_id
        Data ID of the image.
    box
        Pixels to read, all by default.

    Raises
    ------
    LookupError
        Raised if the image does not exist.
    """
    parameters: dict[str, Any] = {}
    if box is not None:
        parent = dataset_type.partition(".")[0]
        is_afw = butler.get_dataset_type(parent).storageClass_name in _AFW_STORAGE_CLASSES
        parameters = {"bbox": box.to_legacy() if is_afw else box}
    return pixels_and_box(butler.get(dataset_type, data_id, parameters=parameters))
