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

"""Injection by `lsst.source.injection`, which only the full stack has.

No other module names it.
"""

from __future__ import annotations

__all__ = ("inject_with_stack",)

import dataclasses
from typing import Any

import astropy.table
import numpy as np
import numpy.typing as npt

from lsst.pipe.base import InvalidQuantumError

from ..core.planes import ImagePlanes
from ._afw import AFW_STORAGE_CLASS, afw_plane_map, is_exposure
from ._input_image import InputImage

_MAX_SEED = 2**31 - 1_000_000
"""Seeds are signed 32-bit numbers, and every trail takes the next."""


def inject_with_stack(
    image: Any,
    opened: InputImage,
    truth: astropy.table.Table,
    *,
    rng: np.random.Generator,
    add_noise: bool,
    calib_flux_radius: float,
) -> tuple[ImagePlanes, npt.NDArray[np.bool_]]:
    """Inject trails with `lsst.source.injection.VisitInjectTask`.

    Parameters
    ----------
    image
        The image as the task got it: a deferred handle, an
        `lsst.afw.image.ExposureF`, or a `lsst.images.VisitImage`.
    opened
        The same image.
    truth
        Truth table of the trails: its ``ra``, ``dec``, ``source_type``,
        ``mag``, ``trail_length``, ``beta`` and ``injection_id`` are what is
        injected.
    rng
        Random numbers, for the seed of the noise.
    add_noise
        Add Poisson noise, to image and variance?
    calib_flux_radius
        Radius in pixels in which fluxes are what the catalog says.

    Returns
    -------
    planes
        The planes with the trails.
    injected
        Which rows of the table are in them.

    Raises
    ------
    lsst.pipe.base.InvalidQuantumError
        Raised if the package is not installed, the image cannot be converted
        for it, or nothing is injected.
    """
    try:
        from lsst.source.injection import VisitInjectConfig, VisitInjectTask
    except ImportError as error:
        raise InvalidQuantumError(
            "engine='source_injection' needs the package source_injection of the LSST Science Pipelines, "
            f"which cannot be imported here ({error}). Set it up, or use engine='native'."
        ) from error
    planes = opened.planes
    if len(truth) == 0:
        return planes, np.zeros(0, dtype=bool)
    exposure = _as_exposure(image, opened)
    config = VisitInjectConfig()
    config.inject_variance = add_noise
    config.add_noise = add_noise
    config.calib_flux_radius = calib_flux_radius
    # Trails that reach into the image from outside are wanted, too.
    config.trim_padding = int(np.ceil(np.max(truth["trail_length"]))) + planes.psf.size
    # Not 0: GalSim then takes a seed from the system, another one each time.
    config.noise_seed = int(rng.integers(1, _MAX_SEED))
    names = ("injection_id", "ra", "dec", "source_type", "mag", "trail_length", "beta")
    # Without units, which it would convert between.
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
            "source_injection left the image as it was: it could not make out the gain. "
            "Use engine='native', or addNoise=False."
        )
    return dataclasses.replace(planes, image=array.copy(), variance=variance.copy()), injected


def _as_exposure(image: Any, opened: InputImage) -> Any:
    """Return the image as an exposure of its own, free to be changed."""
    if hasattr(image, "ref") and hasattr(image, "get"):
        return image.get(storageClass=AFW_STORAGE_CLASS)
    if is_exposure(image):
        return image.clone()
    planes = afw_plane_map(opened.visit_image.mask.schema.names)
    try:
        return opened.visit_image.to_legacy(copy=True, plane_map=planes)
    except Exception as error:
        # It says what is missing: a package of the stack, or a WCS that no
        # other than its own can read.
        raise InvalidQuantumError(
            f"The image cannot be handed to source_injection: {error}. Use engine='native'."
        ) from error
