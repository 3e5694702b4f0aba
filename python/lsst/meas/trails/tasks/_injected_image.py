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

"""The image that InjectTrailsTask writes."""

from __future__ import annotations

__all__ = ("check_writable", "make_injected_image")

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lsst.images import (
    VisitImage,
    get_legacy_optional_mask_planes,
    get_legacy_visit_image_mask_planes,
)
from lsst.images.psfs import (
    GaussianPointSpreadFunction,
    LegacyPointSpreadFunction,
    PiffWrapper,
    PointSpreadFunction,
    PSFExWrapper,
)
from lsst.pipe.base import InvalidQuantumError

from ..core.geometry import Trails
from ..core.injection.saturation import SATURATION_PLANES
from ..core.planes import ImagePlanes, canonical_plane
from ._afw import AFW_STORAGE_CLASS
from ._observation import with_changed_info

if TYPE_CHECKING:
    from lsst.daf.butler import DatasetType

INJECTED, INJECTED_CORE = "INJECTED", "INJECTED_CORE"
"""Mask planes of injected pixels and of the centers of injected sources, as in source_injection."""

_CORE_RADIUS = 1
"""Half of the side of a core, less half a pixel: 3x3 pixels, as in source_injection."""

_WRITABLE = (PiffWrapper, PSFExWrapper, GaussianPointSpreadFunction)
"""Types of PSFs that files of `lsst.images` can hold."""


def check_writable(psf: PointSpreadFunction, dataset_type: DatasetType) -> None:
    """Check that an image with a PSF can be written as a dataset type.

    Parameters
    ----------
    psf
        PSF of the image.
    dataset_type
        Dataset type of the image in its repository.

    Raises
    ------
    lsst.pipe.base.InvalidQuantumError
        Raised if it cannot; the message names the way out.
    """
    if isinstance(psf, _WRITABLE) or (
        isinstance(psf, LegacyPointSpreadFunction) and dataset_type.storageClass_name == AFW_STORAGE_CLASS
    ):
        return
    kind = type(psf.legacy_psf if isinstance(psf, LegacyPointSpreadFunction) else psf).__name__
    name, dimensions = dataset_type.name, " ".join(dataset_type.dimensions.required)
    raise InvalidQuantumError(
        f"The PSF of the image is a {kind}, which a {dataset_type.storageClass_name} cannot hold; only Piff, "
        f"PSFEx and Gaussian PSFs can be written. Write the image as an {AFW_STORAGE_CLASS}: before the "
        f"first run, register its dataset type with 'butler register-dataset-type REPO {name} "
        f"{AFW_STORAGE_CLASS} {dimensions}'. If {name} is in use, set connections.injected_prefix of each "
        "task that uses it to another prefix."
    )


def make_injected_image(
    image: VisitImage,
    injected: ImagePlanes,
    trails: Iterable[Trails],
    planes: Mapping[str, npt.NDArray[np.bool_]] | None = None,
) -> VisitImage:
    """Return a copy of an image with injected light.

    Parameters
    ----------
    image
        The image, not changed.
    injected
        New pixels, variance and mask.
    trails
        The injected trails and distractors, array coordinates.
    planes
        Pixels of the mask planes ``INJECTED`` and ``INJECTED_CORE`` that the engine set, if it set any.

    Returns
    -------
    result
        Image of the same class. Mask plane ``INJECTED`` has the pixels with another value, ``INJECTED_CORE``
        the 3x3 pixels around each midpoint, both in addition to those of the image and the engine. Saturated
        pixels have the planes of ``injected``. If anything was injected, the observation information has
        ``has_simulated_content``.
    """
    pixels = image.image.array
    changed = (injected.image != pixels) & ~(np.isnan(injected.image) & np.isnan(pixels))
    core = np.zeros(changed.shape, dtype=bool)
    count = 0
    for group in trails:
        count += len(group)
        for x, y in zip(np.rint(group.x), np.rint(group.y), strict=True):
            columns, rows = (
                slice(max(int(at) - _CORE_RADIUS, 0), max(int(at) + _CORE_RADIUS + 1, 0)) for at in (x, y)
            )
            core[rows, columns] = True
    result = image.copy()
    result.image.array[...] = injected.image
    result.variance.array[...] = injected.variance
    known: list[Any] = [*get_legacy_visit_image_mask_planes().values()]
    known += get_legacy_optional_mask_planes().values()
    marks = {INJECTED: changed, INJECTED_CORE: core}
    for name, mask in marks.items():
        if planes is not None and name in planes:
            mask |= planes[name]
    names = {canonical_plane(name): name for name in result.mask.schema.names}
    # The name of the plane in the image may be that of afw.
    marks |= {names.get(name, name): mask for name in SATURATION_PLANES if (mask := injected.has(name)).any()}
    for name, mask in marks.items():
        if name in result.mask.schema.names:
            mask |= result.mask.get(name)
        else:
            result.mask = result.mask.add_planes([plane for plane in known if plane.name == name])
        result.mask.set(name, mask)
    return with_changed_info(result, has_simulated_content=True) if count else result
