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

"""Dataset of crops of resident backgrounds with fresh trails."""

from __future__ import annotations

__all__ = ("InjectedCrops",)

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from ..core.psf import kernel_fwhm
from ..sim.detector import PIXEL_SCALE
from .backgrounds import read_background
from .compose import compose_batch
from .crop_plan import CropPlan, draw_crop
from .dataset import Batch, Key, TileDatasetError, TileKey, check_tile_size, cycle
from .device_input import DEVICE_CHANNELS
from .recipe import AugmentationRecipe
from .recipe_data import InjectionRecipe

_LOG = logging.getLogger(__name__)

# Purposes of random numbers, part of their keys; those of tile files are 1 and 2.
_ORDER, _CONTENT, _NOISE = 4, 5, 6

_SHARE = 0.6
"""Largest part of the free memory of a GPU that backgrounds may fill."""


class InjectedCrops:
    """Crops of trail-free images, with fresh trails each time that one is drawn.

    Parameters
    ----------
    files
        Files of `lsst.meas.trails.training.backgrounds`, of images not smaller than a crop.
    channels
        Input channels, in `lsst.meas.trails.training.device_input.DEVICE_CHANNELS`.
    size
        Side of the crops, pixels.
    seed
        Seed of everything random.
    injection
        Distributions of the trails.
    augmentation
        Variations of the crops; ``blur`` must be 0.
    balance, stride
        As for `~lsst.meas.trails.training.dataset.TrailTileDataset`.
    simulated
        Number of files, counted from the first, that are simulated.
    simulated_fraction
        Fraction of the crops from these files; by default all files are drawn equally often.
    device
        Device of the training. Backgrounds are copied to a GPU if they fit; otherwise crops are.

    Raises
    ------
    TileDatasetError
        Raised if there are no files, one is damaged or too small, or a channel or variation is not supported.
    """

    def __init__(
        self,
        files: Sequence[str | Path],
        channels: Sequence[str],
        *,
        size: int,
        seed: int,
        injection: InjectionRecipe,
        augmentation: AugmentationRecipe,
        balance: float = 0.0,
        stride: int = 2,
        simulated: int = 0,
        simulated_fraction: float | None = None,
        device: torch.device | None = None,
    ) -> None:
        if unknown := [name for name in channels if name not in DEVICE_CHANNELS]:
            raise TileDatasetError(
                f"Unknown input channels {unknown}; with data.inject, known are {', '.join(DEVICE_CHANNELS)}."
            )
        if augmentation.blur > 0.0:
            raise TileDatasetError("augmentation.blur is for tile files; set it to 0 with data.inject.")
        check_tile_size(size, stride)
        self.files = tuple(map(str, files))
        self.channels = tuple(channels)
        self.size = size
        self.seed = seed
        self._injection = injection
        self._augmentation = augmentation
        self._balance = balance
        self._stride = stride
        self._simulated = simulated
        self._simulated_fraction = simulated_fraction
        self._device = device or torch.device("cpu")
        try:
            self._backgrounds = [read_background(Path(name)) for name in self.files]
        except ValueError as error:
            raise TileDatasetError(str(error)) from error
        if not self._backgrounds:
            raise TileDatasetError("There are no scenes; simulate at least one.")
        for name, background in zip(self.files, self._backgrounds, strict=True):
            if min(background.shape) < size:
                raise TileDatasetError(
                    f"{name} has {background.shape} pixels; use tiles of at most that size."
                )
        if self._device.type == "cuda":
            self._move()

    def _move(self) -> None:
        """Copy the backgrounds to the GPU if they fit."""
        needed = sum(background.n_bytes for background in self._backgrounds)
        free, _ = torch.cuda.mem_get_info(self._device)
        if needed <= _SHARE * free:
            self._backgrounds = [background.to(self._device) for background in self._backgrounds]
        else:
            _LOG.info(
                "The scenes have %.1f GB, the GPU %.1f GB: scenes stay on the host.", needed / 1e9, free / 1e9
            )

    def __len__(self) -> int:
        """Return the number of crops that cover the backgrounds once."""
        return sum((ny // self.size) * (nx // self.size) for ny, nx in (b.shape for b in self._backgrounds))

    @property
    def sources(self) -> tuple[tuple[float, float], float]:
        """Range of PSF widths, pixels, and pixel scale, arcsec."""
        widths = [kernel_fwhm(background.psf.mean_kernel) for background in self._backgrounds]
        return (round(min(widths), 3), round(max(widths), 3)), PIXEL_SCALE

    def tile_name(self, key: Key) -> str:
        """Return the file and place of a crop, for messages."""
        plan = self.plan(key)
        return f"{self.files[plan.background]}, row {plan.y0}, column {plan.x0}"

    def draw(self, count: int, *, epoch: int) -> list[TileKey]:
        """Draw the crops of an epoch; their ``tile`` is the number of the background.

        Every background is drawn n times before any other, or of its kind if there is a fraction of
        simulated ones, is drawn n + 1 times.
        """
        rng = np.random.default_rng([self.seed, _ORDER, epoch])
        numbers = np.arange(len(self._backgrounds))
        if self._simulated_fraction is None:
            drawn = cycle(numbers, count, rng)
        else:
            simulated = round(self._simulated_fraction * count)
            kinds = (numbers[: self._simulated], simulated), (numbers[self._simulated :], count - simulated)
            drawn = rng.permutation(np.concatenate([cycle(kind, number, rng) for kind, number in kinds]))
        return [TileKey(int(number), epoch, slot) for slot, number in enumerate(drawn)]

    def plan(self, key: Key, min_snr: float = 0.0) -> CropPlan:
        """Return the content of a crop.

        Parameters
        ----------
        key
            Key of the crop.
        min_snr
            Minimum SNR of the trails.
        """
        assert isinstance(key, TileKey)
        rng = np.random.default_rng([self.seed, _CONTENT, key.epoch, key.slot])
        shape = self._backgrounds[key.tile].shape
        return draw_crop(rng, key.tile, shape, self.size, self._injection, self._augmentation, min_snr)

    def load(self, batches: Sequence[Sequence[Key]], *, min_snr: float = 0.0) -> Iterator[Batch]:
        """Iterate over batches of (input, target, valid) on the device."""
        for batch in batches:
            first = batch[0]
            assert isinstance(first, TileKey)
            seed = np.random.SeedSequence([self.seed, _NOISE, first.epoch, first.slot]).generate_state(1)
            yield compose_batch(
                self._backgrounds,
                [self.plan(key, min_snr) for key in batch],
                size=self.size,
                channels=self.channels,
                injection=self._injection,
                balance=self._balance,
                stride=self._stride,
                device=self._device,
                seed=int(seed[0]),
            )
