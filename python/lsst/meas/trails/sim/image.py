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

"""Simulated visit images: scenes with a WCS, a detector and an observation."""

from __future__ import annotations

__all__ = ("ImageSummary", "SimulatedImage", "assemble_image", "image_truth")

import dataclasses
import functools
from typing import TypedDict

import astropy.table
import numpy as np
from astro_metadata_translator import ObservationInfo

from lsst.images import Box, DetectorFrame, DifferenceImage, SkyProjection, VisitImage
from lsst.images.cameras import Detector
from lsst.images.psfs import PointSpreadFunction

from ..repository.visit_image import make_difference_image, make_summary_stats, make_visit_image
from .difference import subtract_template, template_planes
from .observation import VisitPlan
from .psf import pixel_psf
from .scene import Scene


class ImageSummary(TypedDict):
    """Summary of a simulated image."""

    visit: int
    detector: int
    trails: int
    satellites: int
    fwhm: float
    """FWHM of the PSF, arcsec."""

    mag_lim: float
    """AB magnitude of a point source at 5 sigma."""


@dataclasses.dataclass(frozen=True, eq=False)
class SimulatedImage:
    """A simulated image and its truth."""

    image: VisitImage
    """The image."""

    truth: astropy.table.Table
    """One row per trail, satellite or new point source, in the image's own coordinates.

    The columns are `~lsst.meas.trails.core.injection.truth.TRUTH_COLUMNS`, ``source_type``, ``visit``,
    ``detector``, ``physical_filter`` and ``band``.
    """

    template: VisitImage | None = None
    """The template, if requested."""

    difference: DifferenceImage | None = None
    """The image minus the template, if requested."""

    def summary(self, visit: int, detector: int) -> ImageSummary:
        """Return the summary of the image, which is of a visit and detector."""
        kind = self.truth["source_type"]
        stats = self.image.summary_stats
        return {
            "visit": visit,
            "detector": detector,
            "trails": int(np.count_nonzero(kind == "Trail")),
            "satellites": int(np.count_nonzero(kind == "Satellite")),
            "fwhm": 2.355 * stats.psfSigma * stats.pixelScale,
            "mag_lim": stats.magLim,
        }


def assemble_image(
    scene: Scene,
    plan: VisitPlan,
    *,
    psf: PointSpreadFunction,
    sky_projection: SkyProjection[DetectorFrame],
    obs_info: ObservationInfo,
    detector: Detector,
    bbox: Box,
    zeropoint: float,
    background: float,
    with_template: bool = False,
    with_difference: bool = False,
) -> SimulatedImage:
    """Convert a scene to a visit image with truth, template and difference.

    Parameters
    ----------
    scene
        The scene; it must have a template if one is requested.
    plan
        The visit.
    psf, sky_projection, obs_info, detector, bbox
        Arguments of `~lsst.meas.trails.repository.visit_image.make_visit_image`.
    zeropoint, background
        Arguments of `~lsst.meas.trails.repository.visit_image.make_summary_stats`.
    with_template, with_difference
        Whether to return the template and the difference image.
    """
    summarize = functools.partial(
        make_summary_stats,
        sky_projection=sky_projection,
        bbox=bbox,
        exposure_time=plan.exposure_time,
        zenith_distance=90.0 - plan.altitude,
        zeropoint=zeropoint,
        background=background,
    )
    make = functools.partial(
        make_visit_image,
        sky_projection=sky_projection,
        obs_info=obs_info,
        detector=detector,
        band=plan.band,
        bbox=bbox,
    )
    template, difference = None, None
    if scene.template_psf is not None:
        planes = template_planes(scene.planes, scene.template_psf)
        if with_template:
            template = make(planes, psf=pixel_psf(scene.template_psf, bbox))
        if with_difference:
            subtracted = subtract_template(scene.planes, planes, scene.subtraction)
            pixels = make(
                subtracted.planes,
                psf=pixel_psf(subtracted.planes.psf, bbox),
                summary_stats=summarize(subtracted.planes),
            )
            difference = make_difference_image(pixels, subtracted.template_kernel)
    truth = image_truth(scene.truth, bbox, sky_projection)
    truth["visit"] = np.full(len(truth), plan.visit, dtype=np.int64)
    truth["detector"] = np.full(len(truth), detector.id, dtype=np.int32)
    truth["physical_filter"] = np.full(len(truth), plan.physical_filter)
    truth["band"] = np.full(len(truth), plan.band)
    image = make(scene.planes, psf=psf, summary_stats=summarize(scene.planes))
    image.metadata["LSST ISR UNITS"] = "electron"
    for amplifier in detector.amplifiers:
        image.metadata[f"LSST ISR SATURATION LEVEL {amplifier.name}"] = scene.full_well * scene.gain
    return SimulatedImage(
        image=image,
        truth=truth,
        template=template,
        difference=difference,
    )


def image_truth(
    truth: astropy.table.Table, bbox: Box, sky_projection: SkyProjection[DetectorFrame]
) -> astropy.table.Table:
    """Convert a truth table from array coordinates to image coordinates.

    Parameters
    ----------
    truth
        Table with ``x``, ``y``, ``ra``, ``dec``, also with suffixes ``0`` and ``1`` for the ends.
    bbox
        Box of the image.
    sky_projection
        Mapping of the image's own coordinates to the sky.

    Returns
    -------
    truth
        A copy with positions in the image's own coordinates and on the sky.
    """
    result = truth.copy()
    for suffix in ("", "0", "1"):
        result[f"x{suffix}"] += bbox.x.start
        result[f"y{suffix}"] += bbox.y.start
        if len(result):
            x, y = np.array(result[f"x{suffix}"]), np.array(result[f"y{suffix}"])
            sky = sky_projection.pixel_to_sky(x=x, y=y)
            result[f"ra{suffix}"][:] = sky.ra.deg
            result[f"dec{suffix}"][:] = sky.dec.deg
    return result
