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

"""Trail-free images, kept for training: files, and pixels resident in memory.

Pixels are in units of the sky noise of their image, without background, in half precision: 5 bytes per pixel,
7 with a template. Files are mapped into memory, and copied to a GPU once.
"""

from __future__ import annotations

__all__ = ("BAD", "IGNORED", "NO_DATA", "TRAIL", "Background", "read_background", "write_background")

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.torch
import torch

from ..core.atomic import atomic_path
from ..core.background import fit_background
from ..core.injection.fresh import TrailFreeImage
from ..core.photometry import typical_variance
from ..core.psf import PsfGrid

BAD, NO_DATA, IGNORED, TRAIL = 1, 2, 4, 8
"""Bits of the flags of a pixel: it carries no information; it has no data; the loss ignores it; it belongs to
a real trail.
"""

_FORMAT = "meas_trails-background-1"
_LARGEST = 6.0e4
"""Greatest value in half precision, nearly."""


@dataclasses.dataclass(frozen=True, eq=False)
class Background:
    """A trail-free image without its background level, in units of its sky noise."""

    pixels: torch.Tensor
    """Signal, variance and, if there is one, template, shape (2 or 3, ny, nx), float16.

    The signal is 0 at bad pixels; the variance is 1 where it is not valid; the template is NaN where it has
    no data, or the variance is not valid.
    """

    flags: torch.Tensor
    """Bits of `BAD`, `NO_DATA`, `IGNORED` and `TRAIL`, shape (ny, nx), uint8."""

    psf: PsfGrid
    """PSF of the light of trails."""

    electrons: float
    """Electrons per unit; infinite for trails without Poisson noise."""

    full_well: float
    """Saturation level, units; may be infinite."""

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (ny, nx) of the image."""
        return self.flags.shape[0], self.flags.shape[1]

    @property
    def has_template(self) -> bool:
        """Whether there is a template."""
        return len(self.pixels) > 2

    @property
    def n_bytes(self) -> int:
        """Memory of the pixels, bytes."""
        return self.pixels.nbytes + self.flags.nbytes

    @classmethod
    def from_image(cls, image: TrailFreeImage, trails: npt.NDArray[np.bool_] | None = None) -> Background:
        """Return the background of a trail-free image.

        Parameters
        ----------
        image
            The image.
        trails
            Pixels of known trails in it after all, shape (ny, nx), which the network learns to find.

        Raises
        ------
        ValueError
            Raised if the image has no good pixel.
        """
        planes = image.planes
        bad = planes.bad()
        sky = typical_variance(planes, bad)
        if not sky > 0.0:
            raise ValueError("The image has no good pixel; leave it out.")
        sigma = math.sqrt(sky)
        signal = planes.image - fit_background(planes.image, bad).level()
        measured = (planes.variance > 0.0) & (planes.variance < np.inf)
        arrays = [np.where(bad, 0.0, signal / sigma), np.where(measured, planes.variance / sky, 1.0)]
        if planes.template is not None:
            arrays.append(np.where(measured, planes.template / sigma, np.nan))
        pixels = np.stack([np.clip(array, -_LARGEST, _LARGEST).astype(np.float16) for array in arrays])
        missing = planes.has("NO_DATA") | ~np.isfinite(planes.image)
        flags = BAD * bad.astype(np.uint8) + NO_DATA * missing.astype(np.uint8)
        flags += IGNORED * image.ignored.astype(np.uint8)
        if trails is not None:
            flags += TRAIL * trails.astype(np.uint8)
        return cls(
            pixels=torch.from_numpy(pixels),
            flags=torch.from_numpy(flags),
            psf=image.rendering.psf,
            electrons=float(image.gain) * sigma,
            full_well=float(image.full_well) / sigma,
        )

    def to(self, device: torch.device) -> Background:
        """Return the background with its pixels on a device."""
        return dataclasses.replace(self, pixels=self.pixels.to(device), flags=self.flags.to(device))


def write_background(path: Path, background: Background) -> None:
    """Write a background atomically."""
    psf = background.psf
    tensors = {
        "pixels": background.pixels,
        "flags": background.flags,
        "psf_x": torch.from_numpy(psf.x),
        "psf_y": torch.from_numpy(psf.y),
        "psf_kernels": torch.from_numpy(psf.kernels.astype(np.float32)),
    }
    values = {"electrons": background.electrons, "full_well": background.full_well}
    metadata = {"format": _FORMAT, "values": json.dumps(values)}
    with atomic_path(path) as partial:
        partial.write_bytes(safetensors.torch.save(tensors, metadata=metadata))


def read_background(path: Path) -> Background:
    """Return a background, with its pixels mapped from the file.

    Raises
    ------
    ValueError
        Raised if the file is not a complete background of this version.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise ValueError("its format is of another version")
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        values = json.loads(metadata["values"])
        x, y, kernels = (tensors[f"psf_{name}"].numpy().astype(np.float64) for name in ("x", "y", "kernels"))
        psf = PsfGrid(x=x, y=y, kernels=kernels)
        return Background(pixels=tensors["pixels"], flags=tensors["flags"], psf=psf, **values)
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: is not a background of this version ({error}); remove it.") from error
