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

"""Plans of the architectures, and their registry.

A plan describes a network: its hyperparameters, geometry and weights. It needs neither torch, in which
networks are trained, nor OpenVINO, which runs some of them.

A network maps an input of shape (B, C, H, W), made by `lsst.meas.trails.core.normalize.network_input`, to the
logit of the probability that a pixel belongs to a trail, shape (B, 1, H/s, W/s), where s is its
``output_stride``.
"""

from __future__ import annotations

__all__ = (
    "MAX_CHANNELS",
    "Inner",
    "NetworkPlan",
    "Weights",
    "create_network",
    "create_plan",
    "network_names",
    "plan_hyperparameters",
    "register",
)

import abc
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import openvino

MAX_CHANNELS = 16
"""Maximum number of input channels."""

type Inner = tuple[slice, slice]
"""Rows and columns of a network's input, in whole multiples of its stride."""

type Weights = Mapping[str, npt.NDArray[np.float32]]
"""Weights of a network by name."""


class NetworkPlan(abc.ABC):
    """Base class of the plans.

    Notes
    -----
    The logit of a pixel may depend only on the pixels within ``receptive_radius``, so that windowed
    prediction is exact: no statistics over the tile (group or instance normalization, squeeze and
    excitation). Other networks define a ``tile_size``, and images are cut into such tiles.

    Parameters
    ----------
    in_channels
        Number of input channels.
    **hyperparameters
        Keyword arguments of the architecture; each subclass names its own, with defaults.

    Raises
    ------
    ValueError
        Raised if a hyperparameter is of the wrong type or out of range.
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

    network: ClassVar[str]
    """Module, a colon and class of the network in torch, a
    `~lsst.meas.trails.nn.networks.network.TrailNetwork` made from the plan.
    """

    graph: ClassVar[str | None] = None
    """Module, a colon and function of the network's graph in OpenVINO; `None` if only torch can run it. The
    arguments are the plan and those of `create_graph`.
    """

    @abc.abstractmethod
    def __init__(self, in_channels: int, **hyperparameters: Any) -> None: ...

    def create_network(self) -> Any:
        """Return the network in torch, with fresh random weights."""
        return _imported(self.network)(self)

    def create_graph(self, weights: Weights, shape: tuple[int, int], inner: Inner) -> openvino.Model:
        """Return the network as a graph of OpenVINO.

        Parameters
        ----------
        weights
            Weights by name.
        shape
            Shape (H, W) of the input, multiples of ``stride``.
        inner
            The part of the input whose logits are computed.
        """
        assert self.graph is not None
        return _imported(self.graph)(self, weights, shape, inner)

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the stored weights by name."""
        import torch

        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            state = self.create_network().state_dict()
        # Counters of batches are only for training.
        return {name: tuple(tensor.shape) for name, tensor in state.items() if tensor.is_floating_point()}


def _imported(name: str) -> Any:
    """Return a class or function; plans do not import what needs torch or OpenVINO."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


_REGISTRY: dict[str, type[NetworkPlan]] = {}


def register(name: str) -> Callable[[type[NetworkPlan]], type[NetworkPlan]]:
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

    def decorate(cls: type[NetworkPlan]) -> type[NetworkPlan]:
        if name in _REGISTRY:
            raise ValueError(f"The architecture {name!r} is already registered; choose another name.")
        _REGISTRY[name] = cls
        return cls

    return decorate


def network_names() -> tuple[str, ...]:
    """Return the names of the registered architectures, sorted."""
    return tuple(sorted(_REGISTRY))


def plan_hyperparameters(name: str) -> dict[str, object]:
    """Return the hyperparameters of an architecture with their defaults.

    Parameters
    ----------
    name
        Name of the architecture, one of `network_names`.
    """
    parameters = inspect.signature(_REGISTRY[name]).parameters
    return {key: known.default for key, known in parameters.items() if key != "in_channels"}


def create_plan(name: str, *, in_channels: int, **hyperparameters: object) -> NetworkPlan:
    """Return the plan of a network.

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
    known = plan_hyperparameters(name)
    for key in hyperparameters:
        if key not in known:
            raise ValueError(f"{name} has no hyperparameter {key!r}; it has {', '.join(known)}.")
    if isinstance(in_channels, bool) or not isinstance(in_channels, int):
        raise ValueError(f"The number of input channels must be an integer, not {in_channels!r}.")
    if not 1 <= in_channels <= MAX_CHANNELS:
        raise ValueError(f"The number of input channels must be in 1..{MAX_CHANNELS}, not {in_channels}.")
    return _REGISTRY[name](in_channels=in_channels, **hyperparameters)


def create_network(name: str, *, in_channels: int, **hyperparameters: object) -> Any:
    """Create a network in torch, with fresh random weights.

    Parameters
    ----------
    name, in_channels, **hyperparameters
        As for `create_plan`.

    Raises
    ------
    ValueError
        Raised as by `create_plan`.
    """
    return create_plan(name, in_channels=in_channels, **hyperparameters).create_network()
