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
    where
        Pixels of the box to return, shape (h, w); by default all. Images of m pixels have the shape (m,) in
        place of (h, w).
    """

    def __init__(
        self, kernels: npt.NDArray[np.floating], shape: tuple[int, int], where: _Mask | None = None
    ) -> None:
        self._shape = shape
        self._count = len(kernels)
        # A trail beyond the edge of the box wraps around, into the padding.
        # A box may be smaller than the kernel.
        k = kernels.shape[-1]
        r = k // 2 + _MARGIN
        fast = tuple(scipy.fft.next_fast_len(max(size + r, k), real=True) for size in shape)
        self._fast = fast
        self._pixels = None
        if where is not None:
            rows, columns = np.nonzero(where)
            self._pixels = rows * fast[1] + columns
        self._fy, self._fx = scipy.fft.fftfreq(fast[0]), scipy.fft.rfftfreq(fast[1])
        self._type = kernels.dtype
        self._complex = np.result_type(self._type, np.complex64)
        # Derivatives by a shift.
        self._by_x = (-2j * np.pi * self._fx).astype(self._complex)
        self._by_y = (-2j * np.pi * self._fy).astype(self._complex)[:, None]
        # The central pixel of a kernel is the origin.
        self._kernels = scipy.fft.rfft2(kernels, s=fast, axes=(1, 2)) * self._phase(-(k // 2), -(k // 2))

    def _invert(self, transforms: npt.NDArray[np.complexfloating]) -> npt.NDArray[np.floating]:
        images = scipy.fft.irfft2(transforms, s=self._fast, axes=(-2, -1), overwrite_x=True)
        if self._pixels is None:
            return np.asarray(images[..., : self._shape[0], : self._shape[1]])
        flat = images.reshape(*images.shape[:-2], -1)
        return np.asarray(flat.take(self._pixels, axis=-1, mode="clip"))

    def _phase(self, x: float, y: float) -> npt.NDArray[np.complexfloating]:
        """Return the transform of a shift; vectors in double precision keep it exact."""
        angles = np.concatenate((self._fy * (-2.0 * np.pi * y), self._fx * (-2.0 * np.pi * x)))
        # Sine and cosine are several times faster than a complex exponential.
        turns = np.empty(len(angles), dtype=self._complex)
        turns.real, turns.imag = np.cos(angles), np.sin(angles)
        return turns[: len(self._fy), None] * turns[len(self._fy) :]

    def _line(
        self, dx: float, dy: float
    ) -> tuple[npt.NDArray[np.complexfloating], npt.NDArray[np.complexfloating]]:
        """Return the transform of the line and its derivative by ``q = fx dx + fy dy``.

        The line is centered and convolved with the PSF.
        """
        n = self._count
        turn = self._phase(-0.5 * dx / n, -0.5 * dy / n)
        q = (np.pi / n * dy * self._fy)[:, None] + np.pi / n * dx * self._fx
        q = q.astype(self._type).ravel()
        # Sine and cosine of pi q / n; the series replaces their ratios to it where rounding would matter.
        small = np.flatnonzero(np.abs(q) < _SMALL[self._type.char])
        near = q[small]
        q[small] = 1.0
        sinc = turn.imag.ravel() / q
        sinc[small] = 1.0 - np.square(near) / 6.0
        slope = (turn.real.ravel() - sinc) / q
        slope[small] = -near / 3.0
        return self._pieces(turn, sinc.reshape(turn.shape), slope.reshape(turn.shape))

    def _pieces(
        self,
        turn: npt.NDArray[np.complexfloating],
        sinc: npt.NDArray[np.floating],
        slope: npt.NDArray[np.floating],
    ) -> tuple[npt.NDArray[np.complexfloating], npt.NDArray[np.complexfloating]]:
        """Return the transform of the line and its derivative from the ones of a piece.

        The phase of a piece is a power of ``turn``, a shift by half a piece.
        """
        n = self._count
        if n == 1:
            return self._kernels[0] * sinc, self._kernels[0] * (np.pi * slope)
        back = np.conj(turn * turn)
        phase = turn
        for _ in range(n - 2):
            phase = phase * turn
        total: npt.NDArray[np.complexfloating] = np.zeros(turn.shape, dtype=self._complex)
        moment: npt.NDArray[np.complexfloating] = np.zeros(turn.shape, dtype=self._complex)
        for number, kernel in enumerate(self._kernels):
            term = kernel * phase
            total += term
            moment += term * self._complex.type(1j * np.pi * (n - 1 - 2 * number) / n)
            if number < n - 1:
                phase = phase * back
        total /= n
        moment *= sinc / n
        moment += total * (slope * (np.pi / n))
        total *= sinc
        return total, moment

    def image(self, x: float, y: float, dx: float, dy: float, blur: float = 0.0) -> npt.NDArray[np.floating]:
        """Return a trail of unit flux, shape (h, w).

        Parameters
        ----------
        x, y
            Midpoint in the coordinates of the box, pixels.
        dx, dy
            Extent from the first to the second end, pixels.
        blur
            Standard deviation of a Gaussian with which the trail is convolved, pixels.
        """
        line, _ = self._line(dx, dy)
        line = line * self._phase(x, y)
        if blur > 0.0:
            rows, columns = (
                np.exp(-2.0 * np.square(np.pi * blur * f)).astype(self._type) for f in (self._fy, self._fx)
            )
            line *= rows[:, None] * columns
        return self._invert(line)

    def image_and_jacobian(
        self, x: float, y: float, dx: float, dy: float
    ) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
        """Return a trail, (h, w), and its derivatives by x, y, dx, dy, (4, h, w)."""
        line, slope = self._line(dx, dy)
        phase = self._phase(x, y)
        transforms = np.empty((5, *phase.shape), dtype=self._complex)
        np.multiply(line, phase, out=transforms[0])
        np.multiply(transforms[0], self._by_x, out=transforms[1])
        np.multiply(transforms[0], self._by_y, out=transforms[2])
        slope *= phase
        np.multiply(slope, self._fx.astype(self._type), out=transforms[3])
        np.multiply(slope, self._fy.astype(self._type)[:, None], out=transforms[4])
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
