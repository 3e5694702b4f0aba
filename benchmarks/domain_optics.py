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

"""Point-spread functions, noise and differences of the scenes of `domain_scenes`."""

from __future__ import annotations

__all__ = (
    "Optics",
    "SpikeArms",
    "convolve",
    "draw_core",
    "draw_template_noise",
    "resample_noise",
    "subtract",
    "wide_transform",
)

import dataclasses
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.ndimage

from lsst.meas.trails.core.geometry import clip_segment
from lsst.meas.trails.core.psf import PsfGrid, kernel_fwhm

_TEMPLATE_CORRELATION = (0.2, -0.08, -0.1)
"""Correlation of the noise of neighbors, diagonal neighbors, and pixels two columns or rows apart, in
templates of LSSTCam alerts (``lsst_alerts.md`` of the real data).
"""

type _Floats = npt.NDArray[np.float64]
type _Complex = npt.NDArray[np.complex128]

_EPSILON = 0.01
"""Softening of the deconvolution in a matching kernel."""

_FADING = 1.4
"""Power of the distance from the star by which spikes fade."""

_ARM_STEP = 0.5
"""Distance of the points of a spike, pixels."""

ARM_LENGTH = 3.0
"""Least length of a listed arm in FWHM; shorter ones are inside the image of their star."""


@dataclasses.dataclass(frozen=True, eq=False)
class Optics:
    """PSFs and noise of an image and its template."""

    cores: _Floats
    """PSF kernels at the corners of the image, shape (2, 2, k, k), or (1, 1, k, k) if it does not change."""

    template_core: _Floats
    """PSF kernel of the template, shape (k, k)."""

    template_noise: float
    """Noise of a pixel of the template, in units of the image's."""

    wide_fraction: float
    """Fraction of the light in the halo and the spikes, beyond the kernels."""

    spike_fraction: float
    """Fraction of the light in the spikes."""

    def psf(self, shape: tuple[int, int]) -> PsfGrid:
        """Return the PSF that the image states, which lacks halo and spikes."""
        y, x = (np.linspace(0.0, s - 1.0, n) for s, n in zip(shape, self.cores.shape[:2], strict=True))
        return PsfGrid(x=x, y=y, kernels=self.cores)


class SpikeArms(NamedTuple):
    """Arms of the spikes of all stars of an image."""

    angles: _Floats
    """Directions from the star, degrees counter-clockwise from +x."""

    density: float
    """Light of an arm one pixel from its star, per pixel of length and flux of the star."""

    reach: float
    """Distance at which arms end, pixels."""

    def lengths(self, flux: npt.ArrayLike) -> _Floats:
        """Return the distances at which arms of stars of some fluxes sink into the noise.

        There, the light per pixel of length equals the sky noise of a pixel. A point-source filter on the
        arm, whose noise is 1 over the root of the effective area, then has an SNR of about 1 for any FWHM.
        """
        visible = np.power(self.density * np.asarray(flux, dtype=np.float64), 1.0 / _FADING)
        return np.minimum(visible, self.reach)

    def segments(self, stars: _Floats, offset: int, shape: tuple[int, int], fwhm: float) -> _Floats:
        """Return the visible parts of arms in an image, columns x0, y0, x1 and y1.

        Parameters
        ----------
        stars
            Columns x, y and flux, in the grid of light.
        offset
            Grid coordinate of position 0 of the image.
        shape
            Shape (ny, nx) of the image, in the middle of a grid that is ``2 * offset`` larger.
        fwhm
            FWHM of the image, pixels.
        """
        least = ARM_LENGTH * fwhm
        length = self.lengths(stars[:, 2])
        listed = length >= least
        x, y, length = (v[listed, None, None, None] for v in (*(stars[:, :2].T - offset), length))
        angle = np.deg2rad(self.angles)
        # Light that leaves the grid enters it from the other side.
        right, up = (np.array([-1, 0, 1]) * (shape[i] + 2 * offset) for i in (1, 0))
        x0, y0 = x + right[:, None, None], y + up[:, None]
        x0, y0, x1, y1 = np.broadcast_arrays(x0, y0, x0 + length * np.cos(angle), y0 + length * np.sin(angle))
        ends = np.stack([end.ravel() for end in clip_segment(x0, y0, x1, y1, shape)], axis=1)
        middle = 0.5 * (ends[:, :2] + ends[:, 2:])
        inside = np.all((middle >= -0.5) & (middle <= np.array(shape[::-1]) - 0.5), axis=1)
        long = np.hypot(ends[:, 2] - ends[:, 0], ends[:, 3] - ends[:, 1]) >= least
        return np.asarray(ends[inside & long])


def draw_core(rng: np.random.Generator, fwhm: float) -> _Floats:
    """Return a Moffat PSF with ellipticity and a displaced part, shape (k, k), sum 1.

    Parameters
    ----------
    rng
        Random numbers.
    fwhm
        FWHM by effective area, pixels.
    """
    half = max(12, int(3.0 * fwhm))
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float64)
    beta, ratio, angle = rng.uniform(2.6, 5.0), rng.uniform(0.75, 1.0), rng.uniform(0.0, np.pi)
    u = (x * np.cos(angle) + y * np.sin(angle)) * np.sqrt(ratio)
    v = (y * np.cos(angle) - x * np.sin(angle)) / np.sqrt(ratio)
    # Coma: some of the light lies on one side.
    part, shift = rng.uniform(0.0, 0.2), 0.3 * fwhm
    width = fwhm / (2.0 * np.sqrt(2.0 ** (1.0 / beta) - 1.0))
    for _ in range(6):
        one, two = ((1.0 + ((u - s) ** 2 + v * v) / width**2) ** -beta for s in (-part * shift, shift))
        core = (1.0 - part) * one + part * two
        # The effective area of a Moffat profile is larger than that of a Gaussian of its FWHM.
        width *= fwhm / kernel_fwhm(core)
    return np.asarray(core / core.sum())


def wide_transform(
    rng: np.random.Generator, grid: tuple[int, int], fraction: float, spike_fraction: float
) -> tuple[_Complex, SpikeArms]:
    """Return the transform by which halo and spikes multiply that of the core, and the arms of the spikes.

    Parameters
    ----------
    rng
        Random numbers.
    grid
        Shape of the grid of light.
    fraction
        Fraction of the light in halo and spikes.
    spike_fraction
        Fraction of the light in the spikes.
    """
    y, x = (scipy.fft.fftfreq(n, 1.0 / n) for n in grid)
    radius = np.hypot(y[:, None], x)
    halo = np.where(radius < 400.0, np.power(radius + 4.0, -rng.uniform(2.2, 2.8)), 0.0)
    spikes = np.zeros(grid)
    arms, first = int(rng.choice([4, 6, 8])), rng.uniform(0.0, np.pi)
    r = np.arange(2.0, rng.uniform(150.0, 400.0), _ARM_STEP)
    angles = first + 2.0 * np.pi * np.arange(arms) / arms
    for angle in angles:
        rows = np.round(r * np.sin(angle)).astype(int) % grid[0]
        columns = np.round(r * np.cos(angle)).astype(int) % grid[1]
        np.add.at(spikes, (rows, columns), np.power(r, -_FADING))
    spike = min(spike_fraction, fraction)
    wide = (fraction - spike) * halo / halo.sum() + spike * spikes / spikes.sum()
    density = float(spike / spikes.sum() / _ARM_STEP)
    lines = SpikeArms(np.rad2deg(angles), density, float(r[-1]))
    return np.asarray(1.0 - fraction + scipy.fft.rfft2(wide)), lines


def _transform(kernel: _Floats, grid: tuple[int, int], shift: npt.ArrayLike = (0.0, 0.0)) -> _Complex:
    """Return the transform of a kernel around the first pixel of a grid."""
    half = kernel.shape[0] // 2
    padded = np.zeros(grid)
    padded[: kernel.shape[0], : kernel.shape[1]] = kernel
    result = scipy.fft.rfft2(np.roll(padded, (-half, -half), axis=(0, 1)))
    dy, dx = np.asarray(shift, dtype=np.float64)
    fy, fx = scipy.fft.fftfreq(grid[0])[:, None], scipy.fft.rfftfreq(grid[1])
    return np.asarray(result * np.exp(-2j * np.pi * (fy * dy + fx * dx)))


def convolve(
    sky: _Floats, cores: _Floats, wide: _Complex | float = 1.0, shift: npt.ArrayLike = (0.0, 0.0)
) -> _Floats:
    """Return light convolved with a PSF.

    Parameters
    ----------
    sky
        Grid of light, shape (ny, nx), periodic.
    cores
        PSF kernels at the corners, shape (2, 2, k, k), or (1, 1, k, k).
    wide
        Factor of halo and spikes; see `wide_transform`.
    shift
        Shift (dy, dx) of the image, pixels.
    """
    grid = (sky.shape[0], sky.shape[1])
    total = np.zeros((grid[0], grid[1] // 2 + 1), dtype=np.complex128)
    fy, fx = (np.linspace(0.0, 1.0, n) for n in grid)
    for i, row in enumerate(cores):
        for j, core in enumerate(row):
            part = sky
            if cores.shape[:2] != (1, 1):
                part = part * (fy if i else 1.0 - fy)[:, None] * (fx if j else 1.0 - fx)
            total += scipy.fft.rfft2(part) * _transform(core, grid, shift)
    return np.asarray(scipy.fft.irfft2(total * wide, s=grid))


def draw_template_noise(rng: np.random.Generator, grid: tuple[int, int]) -> _Floats:
    """Return noise of unit variance with the correlations that warping leaves in templates.

    Parameters
    ----------
    rng
        Random numbers.
    grid
        Shape (ny, nx).
    """
    y, x = (2.0 * np.pi * f for f in (scipy.fft.fftfreq(grid[0])[:, None], scipy.fft.rfftfreq(grid[1])))
    side, corner, far = _TEMPLATE_CORRELATION
    power = 1.0 + 2.0 * side * (np.cos(y) + np.cos(x)) + 4.0 * corner * np.cos(y) * np.cos(x)
    power += 2.0 * far * (np.cos(2.0 * y) + np.cos(2.0 * x))
    # Further lags make the power positive.
    power = np.maximum(power, 0.02)
    noise = scipy.fft.irfft2(scipy.fft.rfft2(rng.standard_normal(grid)) * np.sqrt(power), s=grid)
    return np.asarray(noise / noise.std())


def resample_noise(noise: _Floats, rng: np.random.Generator) -> tuple[_Floats, _Floats]:
    """Interpolate noise on a rotated grid.

    Parameters
    ----------
    noise
        White noise of unit variance.
    rng
        Random numbers.

    Returns
    -------
    noise
        Interpolated noise.
    variance
        Its variance per pixel, as a stack's warper states it, shape ().

    Notes
    -----
    Noise on scales larger than a pixel, and with it the true SNR of a trail, is as before.
    """
    angle = rng.uniform(-0.03, 0.03)
    scale = rng.uniform(0.98, 1.02)
    matrix = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    offset = rng.uniform(0.0, 1.0, 2)
    order = int(rng.choice([1, 3]))
    result = scipy.ndimage.affine_transform(noise, matrix, offset, order=order, mode="grid-wrap")
    return np.asarray(result), np.asarray(result.var())


def subtract(
    image: _Floats, template: _Floats, optics: Optics, errors: npt.ArrayLike
) -> tuple[_Floats, _Floats]:
    """Subtract a template, matched to the image or the image to it, and whiten the noise.

    Parameters
    ----------
    image, template
        Pixels, shape (ny, nx).
    optics
        Their PSFs and noise.
    errors
        Factors of the widths of the PSFs that the kernel is made from, shape (2,).

    Returns
    -------
    difference
        The difference image.
    kernel
        Its true PSF, shape (k, k), with the sum of the flux of a source in it normalized away.

    Notes
    -----
    The sharper image is convolved (Alard & Lupton 1998), by a softened deconvolution in Fourier space; the
    whitening is that of Reiss & Lupton (DMTN-021).
    """
    grid = (image.shape[0], image.shape[1])
    core = optics.cores.mean(axis=(0, 1))
    narrow = kernel_fwhm(optics.template_core) <= kernel_fwhm(core)
    s, t = (
        _transform(_scaled(kernel, float(error)), grid)
        for kernel, error in zip((core, optics.template_core), np.asarray(errors), strict=True)
    )
    sharp, broad = (t, s) if narrow else (s, t)
    match = broad * np.conj(sharp) / (np.square(np.abs(sharp)) + _EPSILON**2)
    match /= match[0, 0]
    one = np.ones_like(match)
    on_image, on_template = (one, match) if narrow else (match, one)
    sigma = optics.template_noise
    power = np.square(np.abs(on_image)) + np.square(sigma * np.abs(on_template))
    white = np.sqrt(power / (1.0 + sigma**2))
    # The mean level of the filter is 1, so that fluxes are kept.
    white = np.maximum(white / white[0, 0], 1e-3)
    difference = (scipy.fft.rfft2(image) * on_image - scipy.fft.rfft2(template) * on_template) / white
    side = 2 * (core.shape[0] // 2 + 6) + 1
    psf = np.roll(
        scipy.fft.irfft2(_transform(core, grid) * on_image / white, s=grid), (side // 2, side // 2), (0, 1)
    )
    return np.asarray(scipy.fft.irfft2(difference, s=grid)), np.asarray(psf[:side, :side])


def _scaled(kernel: _Floats, factor: float) -> _Floats:
    """Return a kernel with its width multiplied by a factor."""
    center = kernel.shape[0] // 2
    scaled = scipy.ndimage.affine_transform(
        kernel, np.full(2, 1.0 / factor), np.full(2, center * (1.0 - 1.0 / factor)), order=3
    )
    return np.asarray(scaled / scaled.sum())
