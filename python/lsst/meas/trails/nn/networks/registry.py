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

"""Base class and registry of the architectures.

A network maps an input of shape (B, C, H, W), made by `lsst.meas.trails.core.normalize.network_input`, to the
logit of the probability that a pixel belongs to a trail, shape (B, 1, H/s, W/s), where s is its
``output_stride``.
"""

from __future__ import annotations

__all__ = (
    "MAX_CHANNELS",
    "Inner",
    "TrailNetwork",
    "count_parameters",
    "create_network",
    "network_names",
    "register",
)

import copy
import inspect
from collections.abc import Callable
from typing import Self

from torch import nn

from .blocks import ConvUnit

MAX_CHANNELS = 16
"""Maximum number of input channels."""

type Inner = tuple[slice, slice]
"""Rows and columns of a network's input, in whole multiples of its stride."""


class TrailNetwork(nn.Module):
    """Base class of the architectures.

    Notes
    -----
    In evaluation mode, the logit of a pixel may depend only on the pixels within ``receptive_radius``, so
    that windowed prediction is exact: no statistics over the tile (group or instance normalization, squeeze
    and excitation). Other networks define a ``tile_size``, and images are cut into such tiles.

    Networks without a ``tile_size`` take a second argument, ``inner``: the part of the input whose logits are
    needed.
    """

    in_channels: int
    """Number of input channels."""

    stride: int
    """Divisor of both sides of the input."""

    output_stride: int
    """Input pixels per output pixel along a side."""

    receptive_radius: int
    """Maximum distance, in input pixels along an axis, between the footprint of an output pixel and an input
    pixel that it depends on.
    """

    tile_size: int | None = None
    """Side of the only valid input, or `None` if any multiple of ``stride`` is valid."""

    def prepared_for_inference(self) -> Self:
        """Return a copy in evaluation mode with batch normalizations folded into convolutions."""
        network = copy.deepcopy(self).eval().requires_grad_(False)
        for module in network.modules():
            if isinstance(module, ConvUnit):
                module.fold()
        return network


_REGISTRY: dict[str, type[TrailNetwork]] = {}


def register(name: str) -> Callable[[type[TrailNetwork]], type[TrailNetwork]]:
    """Return a class decorator that adds an architecture to the registry.

    Parameters
    ----------
    name
        Its name in recipes and model specifications.

    Raises
    ------
    ValueError
        Raised if the name is already registered.
    """

    def decorate(cls: type[TrailNetwork]) -> type[TrailNetwork]:
        if name in _REGISTRY:
            raise ValueError(f"The architecture {name!r} is already registered; choose another name.")
        _REGISTRY[name] = cls
        return cls

    return decorate


def network_names() -> tuple[str, ...]:
    """Return the names of the registered architectures, sorted."""
    return tuple(sorted(_REGISTRY))


def create_network(name: str, *, in_channels: int, **hyperparameters: object) -> TrailNetwork:
    """Create a network with fresh random weights.

    Parameters
    ----------
    name
        Name of the architecture, one of `network_names`.
    in_channels
        Number of input channels.
    **hyperparameters
        Keyword arguments of the architecture.

    Raises
    ------
    ValueError
        Raised if the architecture or a hyperparameter is unknown, or a value is not valid.
    """
    if name not in _REGISTRY:
        raise ValueError(f"The architecture {name!r} is unknown; known are {', '.join(network_names())}.")
    cls = _REGISTRY[name]
    known = [key for key in inspect.signature(cls).parameters if key != "in_channels"]
    for key in hyperparameters:
        if key not in known:
            raise ValueError(f"{name} has no hyperparameter {key!r}; it has {', '.join(known)}.")
    if isinstance(in_channels, bool) or not isinstance(in_channels, int):
        raise ValueError(f"The number of input channels must be an integer, not {in_channels!r}.")
    if not 1 <= in_channels <= MAX_CHANNELS:
        raise ValueError(f"The number of input channels must be in 1..{MAX_CHANNELS}, not {in_channels}.")
    return cls(in_channels=in_channels, **hyperparameters)


def count_parameters(network: nn.Module) -> int:
    """Return the number of trainable numbers in a network."""
    return sum(parameter.numel() for parameter in network.parameters())
