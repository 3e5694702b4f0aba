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

"""Point-spread functions as arrays: kernels on a grid of positions."""

from __future__ import annotations

__all__ = ("FWHM_PER_SIGMA", "PsfGrid", "PsfModel", "kernel_fwhm")

import bisect
import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))
"""Full width at half maximum of a Gaussian of unit standard deviation."""


class PsfModel(Protocol):
    """Interface of PSF models, as in `lsst.images`."""

    def compute_kernel_image(self, *, x: float, y: float) -> Any:
        """Return an image of the PSF at a position: its ``array``, centered on (0, 0) of its ``bbox``."""
        ...


def kernel_fwhm(kernel: npt.NDArray[np.floating]) -> float:
    """Return the FWHM of the Gaussian with the same effective area, pixels.

    Parameters
    ----------
    kernel
        PSF image, shape (k, k), centered on its central pixel.

    Notes
    -----
    The effective area of a PSF, ``(sum p)^2 / sum p^2``, is ``4 pi sigma^2`` for a Gaussian (King 1983, PASP
    95, 163). It determines the noise of a matched filter, and unlike second moments it does not depend on the
    size of the stamp.
    """
    return _gaussian_fwhm(float(np.sum(kernel) ** 2 / np.sum(np.square(kernel))))


def _gaussian_fwhm(area: float) -> float:
    """Return the FWHM of a Gaussian of an effective area."""
    return float(FWHM_PER_SIGMA * math.sqrt(area / (4.0 * math.pi)))


@dataclasses.dataclass(frozen=True, eq=False)
class PsfGrid:
    """PSF kernels at the nodes of a rectangular grid over an image.

    Evaluating a PSF model takes milliseconds; trails, stars and fits need the PSF at thousands of positions,
    between which it hardly changes.

    Parameters
    ----------
    x, y
        Positions of the nodes in array coordinates, pixels, shapes (nx,) and (ny,), increasing.
    kernels
        PSF images, shape (ny, nx, k, k) with odd ``k``, each centered on its central pixel, with sum 1.

    Raises
    ------
    ValueError
        Raised if the shapes disagree, a kernel is not finite, or a kernel's sum is not positive.
    """

    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    kernels: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        kernels = np.asarray(self.kernels, dtype=np.float64)
        if kernels.ndim != 4 or kernels.shape[:2] != (len(self.y), len(self.x)):
            nodes = f"{len(self.y)} x {len(self.x)}"
            raise ValueError(f"PSF kernels of shape {kernels.shape} do not fit a grid of {nodes} nodes.")
        if kernels.shape[2] != kernels.shape[3] or kernels.shape[2] % 2 != 1:
            raise ValueError(f"PSF kernels have shape {kernels.shape[2:]}; pass squares with an odd side.")
        sums = kernels.sum(axis=(2, 3), keepdims=True)
        if not np.all(np.isfinite(kernels)) or np.any(sums <= 0.0):
            raise ValueError("A PSF kernel is not finite or its flux is not positive.")
        object.__setattr__(self, "x", np.asarray(self.x, dtype=np.float64))
        object.__setattr__(self, "y", np.asarray(self.y, dtype=np.float64))
        object.__setattr__(self, "kernels", kernels / sums)

    @classmethod
    def constant(cls, kernel: npt.NDArray[np.floating]) -> PsfGrid:
        """Return a grid with the same kernel, shape (k, k), everywhere."""
        return cls(x=np.zeros(1), y=np.zeros(1), kernels=np.asarray(kernel, dtype=np.float64)[None, None])

    @classmethod
    def gaussian(cls, fwhm: float, size: int = 25) -> PsfGrid:
        """Return a circular Gaussian PSF, the same everywhere.

        Parameters
        ----------
        fwhm
            Full width at half maximum in pixels.
        size
            Side of the kernel in pixels, odd.
        """
        r = size // 2
        u = np.arange(-r, r + 1, dtype=np.float64)
        profile = np.exp(-0.5 * np.square(u * FWHM_PER_SIGMA / fwhm))
        return cls.constant(np.multiply.outer(profile, profile))

    @classmethod
    def sampled(
        cls,
        function: Callable[[float, float], npt.NDArray[np.floating]],
        shape: tuple[int, int],
        spacing: float = 512.0,
    ) -> PsfGrid:
        """Sample a PSF model on a grid that covers an image.

        Parameters
        ----------
        function
            Function of a position (x, y) in array coordinates that returns the kernel, shape (k, k); ``k``
            may differ between positions.
        shape
            Shape (ny, nx) of the image.
        spacing
            Largest distance between nodes, pixels. Over 512 pixels of an LSST detector a kernel changes by 1
            to 2%, so that linear interpolation is accurate to a few parts in ten thousand.
        """
        counts = (max(2, int(np.ceil((size - 1) / spacing)) + 1) if size > 1 else 1 for size in shape)
        y, x = (np.linspace(0.0, size - 1.0, n) for size, n in zip(shape, counts, strict=True))
        kernels = [[np.asarray(function(float(xi), float(yi))) for xi in x] for yi in y]
        largest = max(kernel.shape[0] for row in kernels for kernel in row)
        return cls(
            x=x, y=y, kernels=np.array([[_enlarged(kernel, largest) for kernel in row] for row in kernels])
        )

    @classmethod
    def from_model(
        cls, model: PsfModel, origin: tuple[int, int], shape: tuple[int, int], spacing: float = 512.0
    ) -> PsfGrid:
        """Sample the PSF model of an image.

        Parameters
        ----------
        model
            The model.
        origin
            Coordinates (x, y) of the first pixel of the image in the model.
        shape, spacing
            As for `sampled`.
        """

        def kernel(x: float, y: float) -> npt.NDArray[np.floating]:
            return _centered(model.compute_kernel_image(x=x + origin[0], y=y + origin[1]))

        return cls.sampled(kernel, shape, spacing=spacing)

    @property
    def size(self) -> int:
        """Side of the kernels in pixels."""
        return int(self.kernels.shape[-1])

    @functools.cached_property
    def mean_kernel(self) -> npt.NDArray[np.float64]:
        """Kernel averaged over the image, shape (k, k)."""
        return np.asarray(self.kernels.mean(axis=(0, 1)))

    def kernel(self, x: float, y: float) -> npt.NDArray[np.float64]:
        """Return the kernel at a position, shape (k, k), sum 1.

        Parameters
        ----------
        x, y
            Position in array coordinates; outside the grid the nearest edge of the grid is used.
        """
        ix, fx = _locate(self.x, x)
        iy, fy = _locate(self.y, y)
        jx = min(ix + 1, len(self.x) - 1)
        jy = min(iy + 1, len(self.y) - 1)
        lower = (1.0 - fx) * self.kernels[iy, ix] + fx * self.kernels[iy, jx]
        upper = (1.0 - fx) * self.kernels[jy, ix] + fx * self.kernels[jy, jx]
        return np.asarray((1.0 - fy) * lower + fy * upper)

    def fwhm(self, x: float, y: float) -> float:
        """Return the FWHM at a position, pixels (see `kernel_fwhm`)."""
        ix, fx = _locate(self.x, x)
        iy, fy = _locate(self.y, y)
        weights = np.array([(1.0 - fy) * (1.0 - fx), (1.0 - fy) * fx, fy * (1.0 - fx), fy * fx])
        # The square of a sum of kernels of sum 1, without the sum: fits need the width at many places.
        return _gaussian_fwhm(1.0 / float(weights @ self._products[iy, ix] @ weights))

    @functools.cached_property
    def _products(self) -> npt.NDArray[np.float64]:
        """Scalar products of the four kernels around each cell of the grid, shape (ny, nx, 4, 4)."""
        flat = self.kernels.reshape(*self.kernels.shape[:2], -1)
        # The cells of the last row and column repeat it.
        flat = np.pad(flat, ((0, 1), (0, 1), (0, 0)), mode="edge")
        corners = np.stack([flat[:-1, :-1], flat[:-1, 1:], flat[1:, :-1], flat[1:, 1:]], axis=2)
        return np.asarray(corners @ corners.swapaxes(2, 3))


def _centered(image: Any) -> npt.NDArray[np.floating]:
    """Return a kernel as a square with an odd side around its central pixel.

    Kernels of afw may have an even side or not be square.
    """
    array: npt.NDArray[np.floating] = np.asarray(image.array)
    before = (-int(image.bbox.y.start), -int(image.bbox.x.start))
    after = tuple(size - 1 - start for size, start in zip(array.shape, before, strict=True))
    if min(*before, *after) < 0:
        raise ValueError(f"The central pixel (0, 0) of a PSF kernel is not in its box {image.bbox}.")
    radius = max(*before, *after)
    return np.pad(array, [(radius - low, radius - high) for low, high in zip(before, after, strict=True)])


def _enlarged(kernel: npt.NDArray[np.floating], size: int) -> npt.NDArray[np.floating]:
    """Return a square kernel with zeros around it, of another odd side."""
    missing = size - kernel.shape[0]
    return kernel if missing == 0 or missing % 2 else np.pad(kernel, missing // 2)


def _locate(nodes: npt.NDArray[np.float64], value: float) -> tuple[int, float]:
    """Return the node below a value, and the fraction to the next node."""
    if len(nodes) == 1:
        return 0, 0.0
    index = min(max(bisect.bisect_right(nodes, value) - 1, 0), len(nodes) - 2)
    fraction = float((value - nodes[index]) / (nodes[index + 1] - nodes[index]))
    return index, min(max(fraction, 0.0), 1.0)
