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

"""Rendering of trails: a uniform line convolved with the PSF.

A trail is a line of uniform brightness convolved with the local PSF (Veres et al. 2012, PASP 124, 1197, eq.
1). It is drawn in Fourier space, where the line of extent (dx, dy) around its midpoint is the factor
``sinc(fx dx + fy dy) exp(-2 pi i (fx x + fy y))`` on the transform of the PSF kernel. This is exact at any
sub-pixel position for a well-sampled PSF, conserves flux exactly, and has derivatives in closed form.
Injection, truth masks and fits share it.
"""

from __future__ import annotations

__all__ = (
    "FourierTrail",
    "TrailStamp",
    "add_trail",
    "optimal_snr",
    "render_trail",
    "trail_kernels",
    "truth_mask",
    "variance_under",
)

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.fft

from .geometry import Trail, Trails
from .psf import PsfGrid

type _Mask = npt.NDArray[np.bool_]
type _Floats = npt.NDArray[np.float64]

PIECE_LENGTH = 64.0
"""Longest piece of a trail that is drawn with one PSF, pixels."""

_SMALL = {"d": 1e-4, "f": 1e-2}
"""Argument below which the series of the sinc and its slope are exact, by type."""

_MARGIN = 2
"""Pixels beyond the reach of the kernel, for a sub-pixel shift."""


@dataclasses.dataclass(frozen=True, eq=False)
class TrailStamp:
    """The image of a trail of unit flux.

    Parameters
    ----------
    array
        Pixel values, shape (h, w), with a sum of 1.
    x0, y0
        Array coordinates of the stamp's first pixel; the stamp may reach beyond the image.
    """

    array: _Floats
    x0: int
    y0: int

    def clipped(self, shape: tuple[int, int]) -> tuple[tuple[slice, slice], _Floats]:
        """Return slices of an image, and a view of the stamp's pixels there.

        The slices (y, x) are empty if the stamp does not overlap the image.
        """
        h, w = self.array.shape
        y_start, y_stop = max(self.y0, 0), min(self.y0 + h, shape[0])
        x_start, x_stop = max(self.x0, 0), min(self.x0 + w, shape[1])
        y_stop, x_stop = max(y_start, y_stop), max(x_start, x_stop)
        part = self.array[y_start - self.y0 : y_stop - self.y0, x_start - self.x0 : x_stop - self.x0]
        return (slice(y_start, y_stop), slice(x_start, x_stop)), part


class FourierTrail:
    """Renderer of trails of unit flux in a box of fixed size.

    Parameters
    ----------
    kernels
        PSF kernels along the trail from its first to its second end, shape (n, k, k); the line is cut into
        ``n`` equal pieces. Images have their type: with float32, they are exact to 1e-6 of the peak in half
        the time.
    shape
        Shape (h, w) of the box.
    """

    def __init__(self, kernels: npt.NDArray[np.floating], shape: tuple[int, int]) -> None:
        self._shape = shape
        self._count = len(kernels)
        # A trail beyond the edge of the box wraps around, into the padding.
        # A box may be smaller than the kernel.
        k = kernels.shape[-1]
        r = k // 2 + _MARGIN
        fast = tuple(scipy.fft.next_fast_len(max(size + r, k), real=True) for size in shape)
        self._fast = fast
        self._fy, self._fx = scipy.fft.fftfreq(fast[0]), scipy.fft.rfftfreq(fast[1])
        self._type = kernels.dtype
        self._complex = np.result_type(self._type, np.complex64)
        padded = np.zeros((self._count, *fast), dtype=self._type)
        padded[:, :k, :k] = kernels
        padded = np.roll(padded, (-(k // 2), -(k // 2)), axis=(1, 2))
        self._kernels = scipy.fft.rfft2(padded, axes=(1, 2))

    def _invert(self, transform: npt.NDArray[np.complexfloating]) -> npt.NDArray[np.floating]:
        image = scipy.fft.irfft2(transform, s=self._fast, axes=(-2, -1))
        return np.asarray(image[..., : self._shape[0], : self._shape[1]])

    def _phase(self, x: float, y: float) -> npt.NDArray[np.complexfloating]:
        """Return the transform of a shift; vectors in double precision keep it exact."""
        rows, columns = (np.exp(-2j * np.pi * f * v) for f, v in ((self._fy, y), (self._fx, x)))
        return np.multiply.outer(rows.astype(self._complex), columns.astype(self._complex))

    def _line(
        self, dx: float, dy: float
    ) -> tuple[npt.NDArray[np.complexfloating], npt.NDArray[np.complexfloating]]:
        """Return the transform of the line and its derivative by ``q = fx dx + fy dy``.

        The line is centered and convolved with the PSF.
        """
        n = self._count
        q = np.add.outer(np.pi / n * self._fy * dy, np.pi / n * self._fx * dx).astype(self._type)
        # Sine and cosine of pi q / n; the series replaces their ratios to it where rounding would matter.
        turn = self._phase(-0.5 * dx / n, -0.5 * dy / n)
        small = np.abs(q) < _SMALL[self._type.char]
        near = q[small]
        q[small] = 1.0
        sinc = turn.imag / q
        sinc[small] = 1.0 - np.square(near) / 6.0
        slope = (turn.real - sinc) / q
        slope[small] = -near / 3.0
        return self._pieces(dx, dy, sinc, slope * (np.pi / n))

    def _pieces(
        self, dx: float, dy: float, sinc: npt.NDArray[np.floating], slope: npt.NDArray[np.floating]
    ) -> tuple[npt.NDArray[np.complexfloating], npt.NDArray[np.complexfloating]]:
        n = self._count
        if n == 1:
            return self._kernels[0] * sinc, self._kernels[0] * slope
        total = np.zeros(sinc.shape, dtype=self._complex)
        moment = np.zeros(sinc.shape, dtype=self._complex)
        for number, kernel in enumerate(self._kernels):
            t = (number + 0.5) / n - 0.5
            term = kernel * self._phase(t * dx, t * dy)
            total += term
            moment += (-2j * np.pi * t) * term
        return total * sinc / n, (moment * sinc + total * slope) / n

    def image(self, x: float, y: float, dx: float, dy: float) -> npt.NDArray[np.floating]:
        """Return a trail of unit flux, shape (h, w).

        Parameters
        ----------
        x, y
            Midpoint in the coordinates of the box, pixels.
        dx, dy
            Extent from the first to the second end, pixels.
        """
        line, _ = self._line(dx, dy)
        return self._invert(line * self._phase(x, y))

    def image_and_jacobian(
        self, x: float, y: float, dx: float, dy: float
    ) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
        """Return a trail, (h, w), and its derivatives by x, y, dx, dy, (4, h, w)."""
        line, slope = self._line(dx, dy)
        phase = self._phase(x, y)
        fx, fy = self._fx.astype(self._type), self._fy.astype(self._type)[:, None]
        transforms = np.empty((5, *phase.shape), dtype=self._complex)
        np.multiply(line, phase, out=transforms[0])
        np.multiply(slope, phase, out=slope)
        shift = (-2j * np.pi) * transforms[0]
        for number, (values, frequency) in enumerate(((shift, fx), (shift, fy), (slope, fx), (slope, fy))):
            np.multiply(values, frequency, out=transforms[1 + number])
        images = self._invert(transforms)
        return images[0], images[1:]


def trail_kernels(psf: PsfGrid, x0: float, y0: float, x1: float, y1: float) -> _Floats:
    """Return the PSF in the n pieces of a trail, shape (n, k, k).

    A piece is at most `PIECE_LENGTH` pixels long.
    """
    if psf.kernels.shape[:2] == (1, 1):
        return psf.kernels[0]
    count = max(1, int(np.ceil(np.hypot(x1 - x0, y1 - y0) / PIECE_LENGTH)))
    t = (np.arange(count) + 0.5) / count
    return np.array([psf.kernel(x0 + ti * (x1 - x0), y0 + ti * (y1 - y0)) for ti in t])


def render_trail(psf: PsfGrid, trail: Trail) -> TrailStamp:
    """Return a trail of unit flux on a stamp that holds all of it.

    Parameters
    ----------
    psf
        Point-spread function of the image; the trail follows its change.
    trail
        The trail; one of length 0 is a point source.

    Raises
    ------
    ValueError
        Raised if a parameter is not finite or the length is negative.
    """
    parameters = trail.x, trail.y, trail.length, trail.angle
    if not np.all(np.isfinite(parameters)) or trail.length < 0.0:
        raise ValueError(f"Cannot draw a trail with x, y, length, angle = {parameters}.")
    x0, y0, x1, y1 = trail.ends
    r = psf.size // 2 + _MARGIN
    left, bottom = int(np.floor(min(x0, x1))) - r, int(np.floor(min(y0, y1))) - r
    right, top = int(np.ceil(max(x0, x1))) + r, int(np.ceil(max(y0, y1))) + r
    renderer = FourierTrail(trail_kernels(psf, x0, y0, x1, y1), (top - bottom + 1, right - left + 1))
    array = renderer.image(trail.x - left, trail.y - bottom, x1 - x0, y1 - y0)
    # Ringing beyond the stamp is of order 1e-5 of the flux.
    return TrailStamp(array=array / array.sum(), x0=left, y0=bottom)


def add_trail(image: npt.NDArray[np.floating], psf: PsfGrid, trail: Trail) -> TrailStamp:
    """Add a noiseless trail to an image in place.

    Parameters
    ----------
    image
        Image to add to, shape (ny, nx).
    psf
        Point-spread function of the image.
    trail
        The trail, with its flux in the units of the image.

    Returns
    -------
    stamp
        The trail of unit flux.
    """
    stamp = render_trail(psf, trail)
    slices, part = stamp.clipped((image.shape[0], image.shape[1]))
    image[slices] += (trail.flux * part).astype(image.dtype)
    return stamp


def truth_mask(psf: PsfGrid, trails: Trails, shape: tuple[int, int], fraction: float = 0.25) -> _Mask:
    """Return the pixels that belong to trails.

    Parameters
    ----------
    psf
        Point-spread function of the image.
    trails
        The trails, array coordinates.
    shape
        Shape (ny, nx) of the image.
    fraction
        Brightness of the noiseless trail at the border of its mask, as a fraction of its ridge, so that the
        mask follows the seeing.
    """
    mask = np.zeros(shape, dtype=bool)
    for trail in trails:
        stamp = render_trail(psf, trail)
        slices, part = stamp.clipped(shape)
        mask[slices] |= part > fraction * stamp.array.max()
    return mask


def optimal_snr(
    stamp: TrailStamp, variance: npt.NDArray[np.floating], flux: float, bad: _Mask | None = None
) -> float:
    """Return the signal-to-noise ratio of a matched filter on a trail.

    The SNR is ``sqrt(sum (F t)^2 / V)`` for a trail of flux ``F``, with ``t`` the unit-flux trail and ``V``
    the variance without it.

    Parameters
    ----------
    stamp
        The trail of unit flux.
    variance
        Variance plane of the image, shape (ny, nx).
    flux
        Flux of the whole trail.
    bad
        Pixels to ignore, shape (ny, nx).
    """
    slices, part = stamp.clipped((variance.shape[0], variance.shape[1]))
    v = np.asarray(variance[slices], dtype=np.float64)
    good = (v > 0.0) & np.isfinite(v)
    if bad is not None:
        good &= ~bad[slices]
    return float(abs(flux) * np.sqrt(np.sum(np.square(part[good]) / v[good])))


def variance_under(stamp: TrailStamp, variance: npt.NDArray[np.floating], sky_variance: float) -> _Floats:
    """Return the variance of the pixels of a stamp, shape (h, w).

    Parameters
    ----------
    stamp
        The trail.
    variance
        Variance plane of the image, shape (ny, nx).
    sky_variance
        Variance of clean sky, used beyond the edge and for pixels without a valid variance.
    """
    result = np.full(stamp.array.shape, sky_variance)
    slices, inner = TrailStamp(result, stamp.x0, stamp.y0).clipped((variance.shape[0], variance.shape[1]))
    local = variance[slices]
    usable = (local > 0.0) & np.isfinite(local)
    inner[usable] = local[usable]
    return result
