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

"""Visit and difference images from arrays."""

from __future__ import annotations

__all__ = ("make_difference_image", "make_mask", "make_summary_stats", "make_visit_image", "sample_psf")

from collections.abc import Mapping
from typing import TYPE_CHECKING

import astropy.units as u
import galsim
import numpy as np
import numpy.typing as npt

from lsst.images import (
    Box,
    DetectorFrame,
    DifferenceImage,
    Image,
    Mask,
    MaskPlane,
    MaskSchema,
    ObservationSummaryStats,
    SkyProjection,
    VisitImage,
    get_legacy_visit_image_mask_planes,
)
from lsst.images.convolution_kernels import ImageBasisConvolutionKernel
from lsst.images.fields import ChebyshevField

from ..core.photometry import AB_ZEROPOINT_NJY, point_source_flux_limit
from ..core.planes import MASK_PLANES, ImagePlanes
from ..core.psf import PsfGrid

if TYPE_CHECKING:
    from astro_metadata_translator import ObservationInfo

    from lsst.images.cameras import Detector
    from lsst.images.psfs import PointSpreadFunction

_MORE_PLANES: Mapping[str, str] = {
    "STREAK": "Pixel is part of a streak across the detector, for example of a satellite.",
    "DETECTED_NEGATIVE": "Pixel was part of a detected negative source.",
    "HIGH_VARIANCE": "Pixel's variance is much higher than that of its neighbors.",
}


def make_mask(bits: npt.NDArray[np.uint32], bbox: Box | None = None) -> Mask:
    """Convert mask bits to a mask.

    Parameters
    ----------
    bits
        Bits by `lsst.meas.trails.core.planes.MASK_PLANES`, shape (ny, nx).
    bbox
        Box of the mask; starts at (0, 0) by default.

    Returns
    -------
    mask
        All planes of the stack's visit images, and other planes that ``bits`` sets anywhere.

    Raises
    ------
    ValueError
        Raised if a bit belongs to no plane or the shapes differ.
    """
    used = int(np.bitwise_or.reduce(bits, axis=None)) if bits.size else 0
    if used >> len(MASK_PLANES):
        raise ValueError(f"Mask bits {used:#x} exceed the {len(MASK_PLANES)} known planes.")
    if bbox is None:
        bbox = Box.from_shape(bits.shape)
    elif tuple(bbox.shape) != bits.shape:
        raise ValueError(f"The mask has shape {bits.shape}, the box {tuple(bbox.shape)}.")
    more = [
        MaskPlane(name, text) for name, text in _MORE_PLANES.items() if used & (1 << MASK_PLANES.index(name))
    ]
    mask = Mask(0, bbox=bbox, schema=MaskSchema([*get_legacy_visit_image_mask_planes().values(), *more]))
    for i, name in enumerate(MASK_PLANES):
        if used & (1 << i):
            mask.set(name, (bits & np.uint32(1 << i)) != 0)
    return mask


def make_summary_stats(
    planes: ImagePlanes,
    sky_projection: SkyProjection[DetectorFrame],
    bbox: Box,
    *,
    exposure_time: float = np.nan,
    zenith_distance: float = np.nan,
    zeropoint: float = AB_ZEROPOINT_NJY,
    background: float = np.nan,
    n_psf_stars: int = 0,
) -> ObservationSummaryStats:
    """Return the stack's summary statistics of an image.

    Parameters
    ----------
    planes
        The image in nJy.
    sky_projection
        Mapping of the image's own coordinates to the sky.
    bbox
        Box of the image.
    exposure_time
        Seconds.
    zenith_distance
        Degrees.
    zeropoint
        AB magnitude of one count; sky level and noise are given in counts.
    background
        Subtracted sky level, nJy.
    n_psf_stars
        Number of stars that the PSF was measured on.
    """
    counts_per_njy = 10.0 ** (0.4 * (zeropoint - AB_ZEROPOINT_NJY))
    good = ~planes.bad()
    step = max(1, int(np.sqrt(good.size / 500_000)))
    sample = planes.variance[::step, ::step][good[::step, ::step]]
    variance = float(np.median(sample)) if sample.size else np.nan
    ny, nx = planes.shape
    kernel = planes.psf.kernel(0.5 * (nx - 1), 0.5 * (ny - 1))
    moments = galsim.hsm.FindAdaptiveMom(galsim.Image(np.ascontiguousarray(kernel)), strict=False)
    sigma, e1, e2 = moments.moments_sigma, moments.observed_shape.e1, moments.observed_shape.e2
    # sigma^4 is the determinant of the moments, e = (Ixx - Iyy, 2 Ixy) / (Ixx + Iyy).
    trace = 2.0 * sigma**2 / np.sqrt(max(1.0 - e1**2 - e2**2, 1e-6))
    x, y = 0.5 * (bbox.x.min + bbox.x.max), 0.5 * (bbox.y.min + bbox.y.max)
    center, right = sky_projection.pixel_to_sky(x=x, y=y), sky_projection.pixel_to_sky(x=x + 1.0, y=y)
    corners = sky_projection.pixel_to_sky(
        x=np.array([bbox.x.min, bbox.x.max, bbox.x.max, bbox.x.min]),
        y=np.array([bbox.y.min, bbox.y.min, bbox.y.max, bbox.y.max]),
    )
    limit = float(point_source_flux_limit(kernel, variance))
    return ObservationSummaryStats(
        psfSigma=float(sigma),
        psfArea=float(np.sum(kernel) ** 2 / np.sum(np.square(kernel))),
        psfIxx=float(0.5 * trace * (1.0 + e1)),
        psfIyy=float(0.5 * trace * (1.0 - e1)),
        psfIxy=float(0.5 * trace * e2),
        ra=float(center.ra.deg),
        dec=float(center.dec.deg),
        pixelScale=float(center.separation(right).arcsec),
        zenithDistance=zenith_distance,
        expTime=exposure_time,
        zeroPoint=zeropoint,
        skyBg=background * counts_per_njy,
        skyNoise=float(np.sqrt(variance)) * counts_per_njy,
        meanVar=variance * counts_per_njy**2,
        raCorners=tuple(float(v) for v in corners.ra.deg),
        decCorners=tuple(float(v) for v in corners.dec.deg),
        nPsfStar=n_psf_stars,
        magLim=float(AB_ZEROPOINT_NJY - 2.5 * np.log10(limit)) if limit > 0.0 else np.nan,
    )


def make_visit_image(
    planes: ImagePlanes,
    *,
    psf: PointSpreadFunction,
    sky_projection: SkyProjection[DetectorFrame],
    obs_info: ObservationInfo,
    detector: Detector,
    band: str,
    bbox: Box | None = None,
    summary_stats: ObservationSummaryStats | None = None,
) -> VisitImage:
    """Make a visit image from arrays and their description.

    Parameters
    ----------
    planes
        The image in nJy; the visit image shares its memory.
    psf
        The PSF, in the image's own coordinates.
    sky_projection
        Mapping of the image's own coordinates to the sky.
    obs_info
        The observation, with a physical filter.
    detector
        The detector.
    band
        Band of the filter.
    bbox
        Box of the image; starts at (0, 0) by default.
    summary_stats
        Summary of the image, empty by default.

    Raises
    ------
    ValueError
        Raised if box and arrays differ in shape or a mask bit belongs to no plane.
    """
    if bbox is None:
        bbox = Box.from_shape(planes.shape)
    return VisitImage(
        Image(planes.image, bbox=bbox, unit=u.nJy, sky_projection=sky_projection),
        mask=make_mask(planes.mask, bbox),
        variance=Image(planes.variance, bbox=bbox, unit=u.nJy**2),
        obs_info=obs_info,
        summary_stats=summary_stats,
        psf=psf,
        detector=detector,
        band=band,
    )


def make_difference_image(image: VisitImage, template_kernel: npt.NDArray[np.float64]) -> DifferenceImage:
    """Convert a visit image with the pixels of a difference to a difference image.

    Parameters
    ----------
    image
        Pixels, mask, PSF and description of the difference; the difference image shares its memory.
    template_kernel
        Convolution kernel of the template, shape (k, k) with odd ``k``.
    """
    constant = ChebyshevField(image.bbox, np.ones((1, 1)))
    return DifferenceImage(
        image.image,
        mask=image.mask,
        variance=image.variance,
        sky_projection=image.sky_projection,
        obs_info=image.obs_info,
        summary_stats=image.summary_stats,
        psf=image.psf,
        detector=image.detector,
        band=image.band,
        kernel=ImageBasisConvolutionKernel(template_kernel[None], [constant]),
    )


def sample_psf(psf: PointSpreadFunction, bbox: Box, spacing: float = 512.0) -> PsfGrid:
    """Sample a PSF over an image.

    Parameters
    ----------
    psf
        The PSF, in the image's own coordinates.
    bbox
        Box of the image.
    spacing
        Largest distance between samples, pixels.

    Returns
    -------
    grid
        The PSF in the array coordinates of the image.
    """
    origin = (bbox.x.start, bbox.y.start)
    return PsfGrid.from_model(psf, origin, (bbox.y.size, bbox.x.size), spacing=spacing)
