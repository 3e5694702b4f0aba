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

"""The two thresholds on trail probability: configured, or the model's own."""

from __future__ import annotations

__all__ = ("check_thresholds", "choose_thresholds")

from collections.abc import Mapping

from lsst.pipe.base import InvalidQuantumError


def check_thresholds(grow: float | None, seed: float | None) -> None:
    """Check the thresholds of a configuration.

    Parameters
    ----------
    grow, seed
        Probability of the pixels of a component, and the one that it must
        reach somewhere; `None` for the model's own.

    Raises
    ------
    ValueError
        Raised if they are out of order.
    """
    if grow is not None and seed is not None and grow > seed:
        raise ValueError(f"growThreshold ({grow}) must not be larger than seedThreshold ({seed}).")


def choose_thresholds(
    grow: float | None, seed: float | None, model: Mapping[str, float]
) -> tuple[float, float]:
    """Return the lower and the upper threshold.

    Parameters
    ----------
    grow, seed
        As configured; see `check_thresholds`.
    model
        Thresholds ``grow`` and ``seed`` of the model.

    Raises
    ------
    lsst.pipe.base.InvalidQuantumError
        Raised if the configured one is on the wrong side of the model's.
    """
    grow = model["grow"] if grow is None else grow
    seed = model["seed"] if seed is None else seed
    if grow > seed:
        raise InvalidQuantumError(
            f"The grow threshold ({grow}) is larger than the seed threshold ({seed}); those of the model are "
            f"{model['grow']} and {model['seed']}: configure both growThreshold and seedThreshold."
        )
    return grow, seed
