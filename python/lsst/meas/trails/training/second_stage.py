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

"""Training of the second stage on candidates; see `lsst.meas.trails.nn.second_stage`."""

from __future__ import annotations

__all__ = ("SecondStageNetwork", "SecondStageRecipe", "fine_tune_second_stage", "train_second_stage")

import logging
from collections.abc import Callable, Iterator
from typing import Self

import numpy as np
import numpy.typing as npt
import pydantic
import torch
from pydantic import Field
from torch import nn

from ..core.section import require
from ..nn.hardware import choose_device, use_bfloat16
from ..nn.second_stage import MAX_NUMBER, SecondStage, SecondStageSection
from .recipe_section import RecipeSection
from .stamp_samples import StampSamples

_LOG = logging.getLogger(__name__)

_WARMUP = 0.1
"""Fraction of the steps in which the learning rate rises."""

_EPSILON = 1.0e-5
"""Added to variances by torch's batch normalization."""


class SecondStageRecipe(RecipeSection):
    """Second stage of a model, trained on the candidates of its first stage."""

    scenes: dict[str, object] | None = None
    """Scenes to search, with a seed of their own: fields of
    `~lsst.meas.trails.training.scenes.TrainingScenes`. With a model that uses templates, scenes with a
    template are searched without it too. ``meas-trails adapt`` searches the images of the survey instead, and
    its recipe has no scenes; every other training needs them.
    """

    thresholds: tuple[float, float] = (0.015, 0.03)
    """Grow and seed thresholds of the candidates."""

    network: SecondStageSection = SecondStageSection()
    """The network. ``meas-trails adapt`` keeps the one of the model to start from."""

    epochs: int = Field(10, ge=1)
    """Passes over the candidates."""

    batch_size: int = Field(128, ge=2)
    """Candidates per step."""

    learning_rate: float = Field(2.0e-3, gt=0.0, le=1.0)
    """Peak learning rate, after a warm-up and before a cosine decay."""

    weight_decay: float = Field(0.02, ge=0.0, le=10.0)
    """Decoupled weight decay."""

    dropout: float = Field(0.3, ge=0.0, lt=1.0)
    """Fraction of the features that each step leaves out."""

    ema: float = Field(0.99, ge=0.0, lt=1.0)
    """Decay of the moving average of the weights, which is exported."""

    seed: int = Field(1, ge=0, lt=2**32)
    """Seed of weights, order and mirroring."""

    @pydantic.model_validator(mode="after")
    def _check(self) -> Self:
        grow, seed = self.thresholds
        require(0.0 < grow <= seed < 1.0, "thresholds", "must satisfy 0 < grow <= seed < 1")
        if self.scenes is None:
            is_default = self.network == SecondStageSection()
            require(is_default, "network", "needs 'scenes': without them, a trained network is fine-tuned")
            return self
        for name, least in (("seed", 0), ("count", 1)):
            value = self.scenes.get(name)
            valid = isinstance(value, int) and not isinstance(value, bool) and value >= least
            require(valid, "scenes", f"must have a whole number {name!r} of at least {least}")
        return self


class SecondStageNetwork(nn.Module):
    """The network of a second stage in torch, for its training.

    Parameters
    ----------
    section
        Its specification.
    mean, scale
        Standardization of the numbers of candidates, shape (len(section.numbers),).
    dropout
        Fraction of the features that a step leaves out.
    normalize
        Normalize the convolutions by batch. Their weights for inference have no normalization: to train these
        further, do without.
    """

    _mean: torch.Tensor
    _scale: torch.Tensor

    def __init__(
        self,
        section: SecondStageSection,
        mean: npt.NDArray[np.floating],
        scale: npt.NDArray[np.floating],
        dropout: float,
        *,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        self._section = section
        shapes = section.weight_shapes()
        self._convolutions = nn.ModuleList()
        self._normalizations = nn.ModuleList()
        for name, stride, width in section.convolutions():
            channels = shapes[f"{name}.weight"][1]
            self._convolutions.append(nn.Conv2d(channels, width, 3, stride, padding=1, bias=not normalize))
            self._normalizations.append(nn.BatchNorm2d(width) if normalize else nn.Identity())
        self._layers = nn.ModuleDict(
            {
                name: nn.Linear(shapes[f"{name}.weight"][1], shapes[f"{name}.weight"][0])
                for name in ("dense", "numbers", "joined", "output")
                if f"{name}.weight" in shapes
            }
        )
        self._dropout = nn.Dropout(dropout)
        for name, values in (("_mean", mean), ("_scale", scale)):
            self.register_buffer(name, torch.from_numpy(values.astype(np.float32)), persistent=False)

    @classmethod
    def from_stage(cls, stage: SecondStage, dropout: float) -> Self:
        """Return the network with the weights of a trained second stage, and without normalizations."""
        none = np.zeros(0, dtype=np.float32)
        mean, scale = (stage.weights.get(f"numbers.{name}", none) for name in ("mean", "scale"))
        network = cls(stage.section, mean, scale, dropout, normalize=False)
        names = [name for name, _, _ in stage.section.convolutions()]
        for name, layer in (*zip(names, network._convolutions, strict=True), *network._layers.items()):
            layer.load_state_dict(
                {part: torch.tensor(stage.weights[f"{name}.{part}"]) for part in ("weight", "bias")}
            )
        return network

    def forward(self, stamps: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """Return log-odds, shape (n,)."""
        features = []
        if self._section.channels:
            x = stamps
            for convolution, normalize in zip(self._convolutions, self._normalizations, strict=True):
                x = torch.relu(normalize(convolution(x)))
            h, w = self._section.folded_shape
            x = (x + x.flip(2))[:, :, :h]
            x = (x + x.flip(3))[..., :w] * 0.25
            features.append(torch.relu(self._layers["dense"](self._dropout(x.flatten(1)))))
        if self._section.numbers:
            scaled = (numbers - self._mean) / self._scale
            features.append(torch.relu(self._layers["numbers"](scaled.clamp(-MAX_NUMBER, MAX_NUMBER))))
        joined = torch.relu(self._layers["joined"](torch.cat(features, dim=1)))
        return self._layers["output"](self._dropout(joined)).squeeze(1)

    @torch.no_grad()
    def export(self) -> SecondStage:
        """Return the network for inference, with its normalizations folded into convolutions."""
        weights: dict[str, torch.Tensor] = {}
        pairs = zip(self._convolutions, self._normalizations, strict=True)
        for (name, _, _), (convolution, normalize) in zip(self._section.convolutions(), pairs, strict=True):
            of_norm = normalize.state_dict()
            if not of_norm:
                weights |= {f"{name}.{part}": tensor for part, tensor in convolution.state_dict().items()}
                continue
            scale = of_norm["weight"] / torch.sqrt(of_norm["running_var"] + _EPSILON)
            weights[f"{name}.weight"] = convolution.state_dict()["weight"] * scale[:, None, None, None]
            weights[f"{name}.bias"] = of_norm["bias"] - of_norm["running_mean"] * scale
        for name, layer in self._layers.items():
            weights |= {f"{name}.{part}": tensor for part, tensor in layer.state_dict().items()}
        if self._section.numbers:
            weights |= {"numbers.mean": self._mean, "numbers.scale": self._scale}
        return SecondStage(self._section, {name: w.detach().numpy().copy() for name, w in weights.items()})


def train_second_stage(
    recipe: SecondStageRecipe, samples: StampSamples, *, device: str = "cpu"
) -> SecondStage:
    """Train a second stage.

    Parameters
    ----------
    recipe
        Its recipe.
    samples
        Candidates that the first stage found.
    device
        Torch device, or ``auto``.

    Raises
    ------
    ValueError
        Raised if there are too few candidates, or all or none of them are trails; or the device does not
        exist.
    """
    numbers = samples.numbers[:, recipe.network.number_indices].astype(np.float64)

    def create() -> SecondStageNetwork:
        mean, scale = numbers.mean(axis=0), numbers.std(axis=0)
        # A number that never varied has no scale.
        return SecondStageNetwork(recipe.network, mean, np.where(scale > 1e-3, scale, 1.0), recipe.dropout)

    return _train(recipe, create, recipe.network, samples, device)


def fine_tune_second_stage(
    recipe: SecondStageRecipe, stage: SecondStage, samples: StampSamples
) -> SecondStage:
    """Train a second stage further.

    Parameters
    ----------
    recipe
        Recipe of the training; its network is not used.
    stage
        The second stage. The standardization of its numbers stays.
    samples
        Candidates that the first stage found.

    Raises
    ------
    ValueError
        Raised if there are too few candidates, or all or none of them are trails.
    """
    return _train(
        recipe, lambda: SecondStageNetwork.from_stage(stage, recipe.dropout), stage.section, samples
    )


def _train(
    recipe: SecondStageRecipe,
    create: Callable[[], SecondStageNetwork],
    section: SecondStageSection,
    samples: StampSamples,
    device_name: str = "cpu",
) -> SecondStage:
    """Create a network with the seed of the recipe, and train it."""
    is_trail = samples.is_true
    steps = recipe.epochs * (len(is_trail) // recipe.batch_size)
    if steps == 0 or not np.any(is_trail) or np.all(is_trail):
        raise ValueError(
            f"Cannot train a second stage: {int(np.sum(is_trail))} of {len(is_trail)} candidates are trails, "
            f"and a step takes {recipe.batch_size}; add scenes or images."
        )
    channels, columns = section.channel_indices, section.number_indices
    device = torch.device(choose_device(device_name))
    rng = np.random.default_rng(recipe.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = create().to(device)
        average = torch.optim.swa_utils.AveragedModel(
            network, avg_fn=_moving_average(recipe.ema), use_buffers=True
        )
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.99), weight_decay=recipe.weight_decay
        )
        # Torch divides by the length of the warm-up, less one step.
        warmup = _WARMUP if _WARMUP * steps > 1.0 else 0.0
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, recipe.learning_rate, total_steps=steps, pct_start=warmup
        )
        targets = torch.from_numpy(is_trail.astype(np.float32)).to(device)
        numbers = torch.from_numpy(samples.numbers[:, columns].astype(np.float32)).to(device)
        network.train().to(memory_format=torch.channels_last)
        bfloat16 = use_bfloat16("auto", str(device))
        total = 0.0
        for step, batch in enumerate(_batches(len(is_trail), recipe.batch_size, steps, rng), 1):
            drawn = torch.from_numpy(batch).to(device)
            images = torch.from_numpy(samples.stamps[batch][:, channels]).to(device).float()
            for axis in (2, 3):
                mirrored = torch.from_numpy(rng.random(len(batch)) < 0.5).to(device)
                images = torch.where(mirrored[:, None, None, None], images.flip(axis), images)
            images = images.contiguous(memory_format=torch.channels_last)
            with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                logits = network(images, numbers[drawn]).float()
            loss = nn.functional.binary_cross_entropy_with_logits(logits, targets[drawn])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            average.update_parameters(network)
            total += float(loss.detach())
            if step % max(1, steps // 10) == 0:
                _LOG.info("Second stage: step %d of %d, mean loss %.4f.", step, steps, total / step)
    network.load_state_dict(average.module.state_dict())
    return network.cpu().eval().export()


def _moving_average(decay: float) -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor | int], torch.Tensor]:
    def average(mean: torch.Tensor, value: torch.Tensor, count: torch.Tensor | int) -> torch.Tensor:
        # The first weights are random and must not last.
        kept = min(decay, float(1 + count) / float(10 + count))
        return mean * kept + value * (1.0 - kept)

    return average


def _batches(
    size: int, batch_size: int, steps: int, rng: np.random.Generator
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the candidates of each step, in a new order in each pass."""
    per_pass = size // batch_size
    for step in range(steps):
        if step % per_pass == 0:
            order = rng.permutation(size)
        first = step % per_pass * batch_size
        yield order[first : first + batch_size]
