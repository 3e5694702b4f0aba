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

"""Visit images made of arrays."""

from __future__ import annotations

__all__ = (
    "make_difference_image",
    "make_mask",
    "make_summary_stats",
    "make_visit_image",
    "pixel_psf",
    "sample_psf",
)

from collections.abc import Mapping
from typing import TYPE_CHECKING

import astropy.units as u
import galsim
import numpy as np
import numpy.typing as npt
import piff

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
from lsst.images.psfs import PiffWrapper

from ..core.photometry import AB_ZEROPOINT_NJY, point_source_flux_limit
from ..core.planes import PLANES, ImagePlanes
from ..core.psf import PsfGrid

if TYPE_CHECKING:
    from astro_metadata_translator import ObservationInfo

    from lsst.images.cameras import Detector
    from lsst.images.psfs import PointSpreadFunction

_MORE_PLANES: Mapping[str, str] = {
    "STREAK": "Pixel is part of a streak across the detector, such as that of a satellite.",
    "DETECTED_NEGATIVE": "Pixel was part of a detected negative source.",
    "HIGH_VARIANCE": "Pixel's variance is much higher than that of its neighbors.",
}


def make_mask(bits: npt.NDArray[np.uint32], bbox: Box | None = None) -> Mask:
    """Convert mask bits to a mask.

    Parameters
    ----------
    bits
        Bits by `lsst.meas.trails.core.planes.PLANES`, shape (ny, nx).
    bbox
        Box of the mask; starts at (0, 0) by default.

    Returns
    -------
    mask
        It has the planes of the stack's visit images, set or not, and those
        others of ``bits`` that are set anywhere.

    Raises
    ------
    ValueError
        Raised if a bit is set that stands for no plane, or the shapes
        disagree.
    """
    used = int(np.bitwise_or.reduce(bits, axis=None)) if bits.size else 0
    if used >> len(PLANES):
        raise ValueError(f"Mask bits {used:#x} go beyond the {len(PLANES)} planes that there are.")
    if bbox is None:
        bbox = Box.from_shape(bits.shape)
    elif tuple(bbox.shape) != bits.shape:
        raise ValueError(f"A mask of shape {bits.shape} does not fill a box of shape {tuple(bbox.shape)}.")
    schema = MaskSchema(
        [
            *get_legacy_visit_image_mask_planes().values(),
            *(
                MaskPlane(name, description)
                for name, description in _MORE_PLANES.items()
                if used & (1 << PLANES.index(name))
            ),
        ]
    )
    mask = Mask(0, bbox=bbox, schema=schema)
    for i, name in enumerate(PLANES):
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
    """Summarize an image as the stack does.

    Parameters
    ----------
    planes
        The image in nJy.
    sky_projection
        Its mapping to the sky.
    bbox
        Its box.
    exposure_time
        Seconds.
    zenith_distance
        Degrees.
    zeropoint
        AB magnitude of one count; the sky level and noise of the summary are
        in counts.
    background
        Sky level that was subtracted, nJy.
    n_psf_stars
        Number of stars behind the PSF.
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
    center = sky_projection.pixel_to_sky(x=0.5 * (bbox.x.min + bbox.x.max), y=0.5 * (bbox.y.min + bbox.y.max))
    right = sky_projection.pixel_to_sky(
        x=0.5 * (bbox.x.min + bbox.x.max) + 1.0, y=0.5 * (bbox.y.min + bbox.y.max)
    )
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
    """Make a visit image of arrays and what describes them.

    Parameters
    ----------
    planes
        The image in nJy; the visit image shares its memory.
    psf
        The PSF, in the image's own coordinates.
    sky_projection
        Mapping of the image's own coordinates to the sky.
    obs_info
        The observation; it must name a physical filter.
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
        Raised if the box does not have the shape of the arrays or a mask bit
        stands for no plane.
    """
    if bbox is None:
        bbox = Box.from_shape(planes.shape)
    mask = make_mask(planes.mask, bbox)
    return VisitImage(
        Image(planes.image, bbox=bbox, unit=u.nJy, sky_projection=sky_projection),
        mask=mask,
        variance=Image(planes.variance, bbox=bbox, unit=u.nJy**2),
        obs_info=obs_info,
        summary_stats=summary_stats,
        psf=psf,
        detector=detector,
        band=band,
    )


def make_difference_image(image: VisitImage, template_kernel: npt.NDArray[np.float64]) -> DifferenceImage:
    """Make a difference image of a visit image that holds its pixels.

    Parameters
    ----------
    image
        Pixels, mask and PSF of the difference, and what describes the image
        that was subtracted from; the difference image shares its memory.
    template_kernel
        What the template was convolved with, shape (k, k) with odd ``k``.
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


def pixel_psf(grid: PsfGrid, bbox: Box, pixel_scale: float = 0.2) -> PiffWrapper:
    """Make a PSF of its images: the inverse of `sample_psf`.

    Parameters
    ----------
    grid
        The PSF in the array coordinates of the image.
    bbox
        Box of the image.
    pixel_scale
        Arcseconds per pixel.

    Returns
    -------
    psf
        The PSF as a grid of pixels, each a polynomial of the position, of
        second order where there are as many nodes.
    """
    order = min(2, len(grid.x) - 1, len(grid.y) - 1)
    x, y = (part.ravel() for part in np.meshgrid(grid.x + bbox.x.start, grid.y + bbox.y.start))
    terms = [(i, j) for i in range(order + 1) for j in range(order + 1 - i)]
    # Field positions of single detectors are pixels times the scale.
    matrix = np.stack([(x * pixel_scale) ** i * (y * pixel_scale) ** j for i, j in terms], axis=1)
    solved = np.linalg.lstsq(matrix, grid.kernels.reshape(len(x), -1), rcond=None)[0]
    coefficients = np.zeros((grid.size**2, order + 1, order + 1))
    for (i, j), values in zip(terms, solved, strict=True):
        coefficients[:, i, j] = values
    interp = piff.Polynomial(order=order)
    wcs = galsim.PixelScale(pixel_scale)
    target = piff.Star.makeTarget(x=float(x[0]), y=float(y[0]), wcs=wcs, stamp_size=1)
    first = piff.Star(target.data, target.fit.newParams(grid.kernels[0, 0].ravel(), num=None))
    psf = piff.SimplePSF(piff.PixelGrid(scale=pixel_scale, size=grid.size), interp)
    psf.stars = interp.initialize([first])
    interp.coeffs = list(coefficients)
    psf.stars = interp.interpolateList(psf.stars)
    psf.wcs = {0: wcs}
    psf.pointing = None
    return PiffWrapper(psf, bounds=bbox, stamp_size=grid.size)
