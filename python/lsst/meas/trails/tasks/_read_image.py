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

"""Images from the Butler, whole or without their PSF."""

from __future__ import annotations

__all__ = ("has_psf_area", "is_handle", "read_handle", "read_visit_image")

import contextlib
import importlib
import importlib.util
import sys
import types
from typing import TYPE_CHECKING, Any

import numpy as np

from lsst.images import ObservationSummaryStats, VisitImage
from lsst.images.serialization import ArchiveReadError

from ._afw import AFW_STORAGE_CLASS, UnreadableImageError, afw_to_visit_image, is_exposure
from ._observation import find_observation, with_times

if TYPE_CHECKING:
    from lsst.daf.butler import DeferredDatasetHandle

_DEFERRED = "treegp"
"""Package that Piff imports for interpolation with Gaussian processes only, and that imports scikit-learn and
pandas: two thirds of the time that Piff takes to import.
"""

_PARTS = ("masked_image", "obs_info", "summary_stats", "photometric_scaling", "detector")
"""Components of a visit image but its PSF and what no task uses."""


def is_handle(image: object) -> bool:
    """Return whether an object is a deferred handle."""
    return hasattr(image, "ref") and hasattr(image, "get")


def read_visit_image(image: object, *, with_psf: bool = True) -> VisitImage:
    """Return an image as a `lsst.images.VisitImage`.

    Parameters
    ----------
    image
        The image or its handle; see `~lsst.meas.trails.tasks._input_image.read_input_image`.
    with_psf
        Whether to read the PSF from the Butler; see `read_handle`. It is read in any case if the summary
        statistics lack its area.
    """
    handle: Any = image if is_handle(image) else None
    read = image if handle is None else read_handle(handle, with_psf=with_psf or not _reads_psf_area(handle))
    if isinstance(read, VisitImage):
        info = read.obs_info
        if handle is None or None not in (info.datetime_begin, info.datetime_end, info.exposure_time):
            return read
        return with_times(read, find_observation(handle))
    if is_exposure(read):
        record = None if handle is None else find_observation(handle)
        return with_times(afw_to_visit_image(read, record), record)
    raise TypeError(f"Expected a VisitImage, a DifferenceImage or an ExposureF, not {type(read).__name__}.")


def read_handle(handle: DeferredDatasetHandle, *, with_psf: bool = True) -> object:
    """Read an image from the Butler.

    Parameters
    ----------
    handle
        Handle of the image.
    with_psf
        Whether to read the PSF: without it, the packages of its model, which take 2 s to import, are not
        needed. The result is then a `lsst.images.VisitImage` that raises if it is asked for its PSF. Images
        of other storage classes are read whole.

    Raises
    ------
    UnreadableImageError
        Raised if the image cannot be read.
    """
    if not with_psf and (parts := _read_parts(handle)) is not None:
        return parts
    _defer_import(_DEFERRED)
    try:
        return handle.get()
    except OSError as error:
        problem: Exception = error
    except Exception as error:
        # The stack's own conversion of a stored ExposureF fails without an
        # exposure record or on an unknown mask plane: read it unconverted.
        problem = error
        with contextlib.suppress(Exception):
            return handle.get(storageClass=AFW_STORAGE_CLASS)
    raise UnreadableImageError(
        f"{handle.ref.datasetType.name} {handle.ref.dataId} cannot be read: {problem} "
        "Restore its file, or remove the dataset and run the task that created it again."
    ) from None


def has_psf_area(statistics: ObservationSummaryStats) -> bool:
    """Return whether summary statistics state the area of the PSF."""
    return bool(np.isfinite(statistics.psfArea) and statistics.psfArea > 0.0)


def _reads_psf_area(handle: DeferredDatasetHandle) -> bool:
    """Return whether the summary statistics of an image, which are a small part of it, state its PSF area."""
    # Other storage classes have no such component, and errors of their own; reading the whole image describes
    # a damaged one.
    with contextlib.suppress(Exception):
        return has_psf_area(handle.get(component="summary_stats"))
    return False


def _read_parts(handle: DeferredDatasetHandle) -> VisitImage | None:
    """Return a visit image without its PSF, `None` if the Butler cannot read its components."""
    with contextlib.suppress(Exception):
        parts = handle.get(component="components", parameters={"components": list(_PARTS)})
        pixels: Any = parts["masked_image"]
        info = parts["obs_info"]
        return VisitImage(
            pixels.image,
            mask=pixels.mask,
            variance=pixels.variance,
            sky_projection=pixels.sky_projection,
            obs_info=info,
            summary_stats=parts["summary_stats"],
            photometric_scaling=parts["photometric_scaling"],
            detector=parts["detector"],
            psf=ArchiveReadError("The PSF was left out."),
            # The Butler has no component for it.
            band=str(handle.dataId.get("band", info.physical_filter)),
            metadata=dict(pixels.metadata),
        )
    return None


def _defer_import(name: str) -> None:
    """Import a package at the first use of one of its names, instead of at its import.

    Parameters
    ----------
    name
        Name of the package.

    Notes
    -----
    A stand-in takes the package's place among the loaded modules. `importlib.util.LazyLoader` would import
    the package at the next ``import`` statement.
    """
    spec = None if name in sys.modules else importlib.util.find_spec(name)
    if spec is None:
        return
    stand_in = types.ModuleType(name)

    def load(attribute: str) -> object:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
        return getattr(importlib.import_module(name), attribute)

    stand_in.__spec__ = spec
    stand_in.__getattr__ = load  # type: ignore[method-assign]
    sys.modules[name] = stand_in
