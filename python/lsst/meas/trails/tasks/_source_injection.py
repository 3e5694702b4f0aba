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

"""Injection by `lsst.source.injection` of the full stack.

No other module names that package.
"""

from __future__ import annotations

__all__ = ("inject_with_stack",)

import dataclasses
import types
from typing import Any

import astropy.table
import astropy.units as u
import numpy as np
import numpy.typing as npt

from lsst.pipe.base import InvalidQuantumError

from ..core.planes import ImagePlanes
from ._afw import AFW_STORAGE_CLASS, afw_mask_planes, afw_plane_map, exposure_for_injection, is_exposure
from ._input_image import InputImage
from ._read_image import is_handle

_MAX_SEED = 2**31 - 1_000_000
"""Largest seed: signed 32 bits, less the seeds of the following trails."""


def inject_with_stack(
    image: object,
    input_image: InputImage,
    truth: astropy.table.Table,
    *,
    rng: np.random.Generator,
    add_noise: bool,
    calib_flux_radius: float,
) -> tuple[ImagePlanes, npt.NDArray[np.bool_], dict[str, npt.NDArray[np.bool_]]]:
    """Inject trails with `lsst.source.injection.VisitInjectTask`.

    Parameters
    ----------
    image
        The image as passed to the task: a deferred handle, a `lsst.afw.image.ExposureF`, or a
        `lsst.images.VisitImage`.
    input_image
        The same image, converted.
    truth
        Truth table of the trails, with columns ``ra``, ``dec``, ``source_type``, ``mag``, ``trail_length``,
        ``beta`` and ``injection_id``.
    rng
        Random number generator, for the seed of the noise.
    add_noise
        Whether to add Poisson noise to image and variance.
    calib_flux_radius
        Radius of the aperture that holds the fluxes of the catalog, pixels.

    Returns
    -------
    planes
        Arrays of the image with the trails.
    injected
        Mask of the injected rows of the table.
    mask_planes
        Pixels of each mask plane of the image with the trails, by its name in afw.

    Raises
    ------
    lsst.pipe.base.InvalidQuantumError
        Raised if the package is not installed, cannot use the image, or injects nothing.
    """
    try:
        from lsst.source.injection import VisitInjectConfig, VisitInjectTask
    except ImportError as error:
        raise InvalidQuantumError(
            "engine='source_injection' needs the package source_injection of the LSST Science Pipelines, "
            f"which cannot be imported ({error}). Set it up, or use engine='native'."
        ) from error
    planes = input_image.planes
    if len(truth) == 0:
        return planes, np.zeros(0, dtype=bool), {}
    exposure = _as_exposure(image, input_image)
    config = VisitInjectConfig()
    config.inject_variance = add_noise
    config.add_noise = add_noise
    config.calib_flux_radius = calib_flux_radius
    # Keep trails that extend into the image from outside.
    config.trim_padding = int(np.ceil(np.max(truth["trail_length"]))) + planes.psf.size
    # Not 0: GalSim then uses a new seed from the system every time.
    config.noise_seed = int(rng.integers(1, _MAX_SEED))
    names = ("injection_id", "ra", "dec", "source_type", "mag", "trail_length", "beta")
    # Without units, which the task would convert.
    catalog = astropy.table.Table({name: np.array(truth[name]) for name in names})
    result = VisitInjectTask(config=config).run(
        [catalog], exposure, exposure.getPsf(), exposure.getPhotoCalib(), exposure.getWcs()
    )
    output, table = result.output_exposure, result.output_catalog
    array = np.asarray(output.image.array, dtype=np.float32)
    variance = np.asarray(output.variance.array, dtype=np.float32)
    if array.shape != planes.shape:
        raise InvalidQuantumError(
            f"source_injection returned an image of shape {array.shape}, not {planes.shape}."
        )
    done = np.asarray(table["injection_id"])[np.asarray(table["injection_flag"]) == 0]
    injected = np.isin(np.asarray(truth["injection_id"]), done)
    if np.any(injected) and np.array_equal(array, planes.image, equal_nan=True):
        raise InvalidQuantumError(
            "source_injection left the image unchanged: it could not determine the gain. "
            "Use engine='native', or addNoise=False."
        )
    planes = dataclasses.replace(planes, image=array.copy(), variance=variance.copy())
    return planes, injected, dict(afw_mask_planes(output.mask))


def _as_exposure(image: Any, input_image: InputImage) -> Any:
    """Return a private copy of an image as an exposure."""
    visit_image = input_image.visit_image
    try:
        if is_handle(image):
            exposure = image.get(storageClass=AFW_STORAGE_CLASS)
        elif is_exposure(image):
            exposure = image.clone()
        else:
            planes = afw_plane_map(visit_image.mask.schema.names)
            exposure = visit_image.to_legacy(copy=True, plane_map=planes)
    except Exception as error:
        # The error names the missing package or the unsupported WCS.
        raise InvalidQuantumError(
            f"The image cannot be converted for source_injection: {error}. Use engine='native'."
        ) from error
    info = visit_image.obs_info
    seconds = None if info.exposure_time is None else info.exposure_time.to_value(u.s)
    record = types.SimpleNamespace(
        id=info.exposure_id or 0, instrument=info.instrument or "", exposure_time=seconds
    )
    return exposure_for_injection(exposure, record)
