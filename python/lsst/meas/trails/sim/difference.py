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

"""Difference images: subtraction of a template."""

from __future__ import annotations

__all__ = ("Difference", "Subtraction", "subtract_template", "template_planes")

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.ndimage
import scipy.signal

from ..core.background import fit_background
from ..core.planes import BAD_PLANES, ImagePlanes, plane_bits
from ..core.psf import FWHM_PER_SIGMA, PsfGrid

_SIDE = 41
"""Smallest side of the kernels, pixels."""

_REGULARIZATION = 1e-4
"""Power, in units of the PSF's flux squared, below which a fitted kernel fades out."""

_SAME_WIDTH = 0.02
"""Largest relative difference of PSF widths without matching."""

_SAMPLE = 500_000
"""Number of pixels to measure the scatter of a difference on."""

_DETECTION_SIGMA = 5.0
"""Significance of the sources that are marked in the mask."""

type _Image = npt.NDArray[np.float32]
type _Kernel = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Subtraction:
    """Quality of a subtraction."""

    kernel_fit: float = 0.0
    """Kernel between the Gaussian that matches the widths (0) and the kernel that matches the PSFs (1)."""

    width_error: float = 0.0
    """Relative error of the width of the Gaussian; it leaves rings around stars."""

    states_image_psf: bool = False
    """Whether the difference states the PSF of the image, as the stack does, and not its own."""

    excess_width: float = 0.0
    """Relative excess of the width of the light over the stated PSF of the image."""


@dataclasses.dataclass(frozen=True, eq=False)
class Difference:
    """A difference image and the kernel of its template."""

    planes: ImagePlanes
    """The difference, in the units of the images, with the PSF that it states."""

    light_psf: PsfGrid
    """PSF of its light."""

    template_kernel: _Kernel
    """Convolution kernel of the template, with odd sides."""


def subtract_template(
    image: ImagePlanes, template: ImagePlanes, quality: Subtraction | None = None
) -> Difference:
    """Subtract a template from an image.

    Parameters
    ----------
    image
        The image.
    template
        Template on the same pixels and in the same units, with its own variance and PSF; NaN where it has no
        data.
    quality
        Quality of the subtraction.

    Returns
    -------
    difference
        The image minus the template, without residual background. The mask is the mask of the image, with
        ``NO_DATA`` where the template has no data, and ``DETECTED`` and ``DETECTED_NEGATIVE`` of the
        difference.

    Raises
    ------
    ValueError
        Raised if the shapes differ.

    Notes
    -----
    The sharper of the two images is convolved with a kernel, by default the Gaussian that matches the PSF
    widths in the middle of the image. Other differences between the PSFs (ellipticity, wings, variation over
    the image) leave residuals, as do errors of registration (dipoles) and of the flux scale, and variable
    stars. Both images are also convolved with the kernel that whitens the noise again (Reiss & Lupton 2016,
    DMTN-021; Zackay et al. 2016, ApJ 830, 27). The noise of a warped template is not white: the variance is
    scaled to the scatter of the difference.
    """
    if image.shape != template.shape:
        raise ValueError(f"The template has shape {template.shape}, the image {image.shape}.")
    quality = Subtraction() if quality is None else quality
    image_kernel, template_kernel = _matching_kernels(image, template, quality)
    missing = ~np.isfinite(template.image)
    values = _convolve(image.image, image_kernel) - _convolve(template.image, template_kernel)
    mask = _spread(image.mask, image_kernel)
    mask &= ~np.uint32(plane_bits(["DETECTED", "DETECTED_NEGATIVE"]))
    mask[_grow(missing, template_kernel)] |= np.uint32(plane_bits(["NO_DATA"]))
    values[missing | ~np.isfinite(image.image)] = np.nan
    variance = (image.variance + template.variance).astype(np.float32)
    kernels = image.psf.kernels
    light_psf = PsfGrid(
        x=image.psf.x,
        y=image.psf.y,
        kernels=scipy.signal.fftconvolve(kernels, image_kernel[None, None], mode="same", axes=(2, 3)),
    )
    psf = _narrowed(image.psf, 1.0 + quality.excess_width) if quality.states_image_psf else light_psf
    planes = ImagePlanes(image=values, variance=variance, mask=mask, psf=psf)
    values -= fit_background(values, planes.bad()).level()
    variance *= _variance_factor(planes)
    _mark_sources(planes)
    return Difference(planes=planes, light_psf=light_psf, template_kernel=template_kernel)


def template_planes(planes: ImagePlanes, psf: PsfGrid) -> ImagePlanes:
    """Return the template of an image as a separate image with variance and mask.

    Parameters
    ----------
    planes
        Image with a template.
    psf
        Point-spread function of the template.
    """
    template = planes.template
    assert template is not None
    missing = ~np.isfinite(template)
    # Pixels below the median hold noise but no sources.
    below = template - np.nanmedian(template)
    variance = float(np.nanmean(np.square(below[below < 0.0]))) if np.any(below < 0.0) else 0.0
    return ImagePlanes(
        image=template,
        variance=np.where(missing, np.float32(np.nan), np.float32(variance)),
        mask=np.where(missing, np.uint32(plane_bits(["NO_DATA"])), np.uint32(0)),
        psf=psf,
    )


def _matching_kernels(
    image: ImagePlanes, template: ImagePlanes, quality: Subtraction
) -> tuple[_Kernel, _Kernel]:
    """Return the kernels for the image and for the template."""
    ny, nx = image.shape
    center = 0.5 * (nx - 1), 0.5 * (ny - 1)
    image_width, template_width = image.psf.fwhm(*center), template.psf.fwhm(*center)
    if quality.kernel_fit == 0.0 and abs(image_width / template_width - 1.0) < _SAME_WIDTH:
        return np.ones((1, 1)), np.ones((1, 1))
    image_is_sharper = image_width < template_width
    sigma = np.sqrt(abs(image_width**2 - template_width**2)) / FWHM_PER_SIGMA * (1.0 + quality.width_error)
    # The Gaussian reaches 4 sigma.
    side = max(_SIDE, 2 * int(np.ceil(4.0 * sigma)) + 1)
    frequency = np.fft.fftfreq(side)
    squared = np.square(frequency)[:, None] + np.square(frequency)[None, :]
    match = np.exp(-2.0 * np.square(np.pi * sigma) * squared).astype(np.complex128)
    if quality.kernel_fit > 0.0:
        planes = (image, template) if image_is_sharper else (template, image)
        sharp, wide = (_transform(part.psf.kernel(*center), side) for part in planes)
        fitted = wide * np.conj(sharp) / (np.square(np.abs(sharp)) + _REGULARIZATION)
        match = (1.0 - quality.kernel_fit) * match + quality.kernel_fit * fitted / np.real(fitted[0, 0])
    image_noise, template_noise = (_typical_variance(planes) for planes in (image, template))
    one = np.ones_like(match)
    image_match, template_match = (match, one) if image_is_sharper else (one, match)
    power = np.square(np.abs(image_match)) * image_noise + np.square(np.abs(template_match)) * template_noise
    whiten = np.sqrt((image_noise + template_noise) / power)
    image_kernel, template_kernel = (
        np.fft.fftshift(np.fft.ifft2(part * whiten).real) for part in (image_match, template_match)
    )
    return image_kernel, template_kernel


def _narrowed(psf: PsfGrid, factor: float) -> PsfGrid:
    """Return a PSF that is narrower by a factor."""
    if factor == 1.0:
        return psf
    center = psf.size // 2
    kernels = psf.kernels.reshape(-1, psf.size, psf.size)
    offset = center * (1.0 - factor)
    narrow = [scipy.ndimage.affine_transform(kernel, [factor, factor], offset) for kernel in kernels]
    return PsfGrid(x=psf.x, y=psf.y, kernels=np.reshape(narrow, psf.kernels.shape))


def _transform(kernel: _Kernel, side: int) -> npt.NDArray[np.complex128]:
    """Return the Fourier transform of a kernel, cut or padded to a side."""
    change = (side - kernel.shape[0]) // 2
    if change < 0:
        kernel = kernel[-change:change, -change:change]
    elif change > 0:
        kernel = np.pad(kernel, change)
    return np.fft.fft2(np.fft.ifftshift(kernel))


def _typical_variance(planes: ImagePlanes) -> float:
    good = ~planes.bad()
    return float(np.median(planes.variance[good])) if np.any(good) else 1.0


def _convolve(image: _Image, kernel: _Kernel) -> _Image:
    """Convolve an image with its non-finite pixels set to zero."""
    filled = np.where(np.isfinite(image), image, np.float32(0.0))
    if kernel.size == 1:
        return filled
    return np.asarray(scipy.signal.oaconvolve(filled, kernel, mode="same"), dtype=np.float32)


def _grow(pixels: npt.NDArray[np.bool_], kernel: _Kernel) -> npt.NDArray[np.bool_]:
    """Grow pixels to where they contribute over a tenth of the kernel's weight."""
    if kernel.size == 1 or not np.any(pixels):
        return pixels
    r = kernel.shape[0] // 2
    distance = np.hypot(*np.ogrid[-r : r + 1, -r : r + 1])
    weight = np.abs(kernel)
    shares = [float(weight[distance <= radius].sum()) / float(weight.sum()) for radius in range(r)]
    radius = int(np.searchsorted(shares, 0.9))
    return np.asarray(scipy.ndimage.distance_transform_edt(~pixels) <= radius)


def _spread(mask: npt.NDArray[np.uint32], kernel: _Kernel) -> npt.NDArray[np.uint32]:
    """Return a mask with bad pixels grown by a convolution kernel."""
    result = mask.copy()
    for name in BAD_PLANES:
        bit = np.uint32(plane_bits([name]))
        result[_grow((mask & bit) != 0, kernel)] |= bit
    return result


def _variance_factor(planes: ImagePlanes) -> np.float32:
    """Return the ratio of measured to nominal variance of a mostly empty difference."""
    good = ~planes.bad()
    step = max(1, int(np.sqrt(good.size / _SAMPLE)))
    part = (slice(None, None, step), slice(None, None, step))
    good = good[part]
    if not np.any(good):
        return np.float32(1.0)
    ratio = planes.image[part][good] / np.sqrt(planes.variance[part][good])
    deviation = np.median(np.abs(ratio - np.median(ratio))) / 0.6745
    return np.float32(deviation**2 if deviation > 0.0 else 1.0)


def _mark_sources(planes: ImagePlanes) -> None:
    """Mark sources, detected with a filter matched to the PSF and grown by a FWHM."""
    good = ~planes.bad()
    if not np.any(good):
        return
    weight = np.where(good, np.float32(1.0) / np.where(good, planes.variance, np.float32(1.0)), 0.0)
    values = np.where(good, planes.image, np.float32(0.0))
    kernel = planes.psf.mean_kernel[::-1, ::-1]
    signal = scipy.signal.oaconvolve(values * weight, kernel, mode="same")
    noise = scipy.signal.oaconvolve(weight, np.square(kernel), mode="same")
    significance = signal / np.sqrt(np.maximum(noise, 1e-3 * float(noise.max()) + 1e-30))
    reach = planes.psf.fwhm(0.5 * planes.shape[1], 0.5 * planes.shape[0])
    signs = {"DETECTED": significance, "DETECTED_NEGATIVE": -significance}
    for name, signed in signs.items():
        found = signed > _DETECTION_SIGMA
        if np.any(found):
            grown = scipy.ndimage.distance_transform_edt(~found) <= reach
            planes.mask[grown] |= np.uint32(plane_bits([name]))
