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

"""Losses, and the recipe's blend of them.

Every loss takes logits, targets in [0, 1] and a weight map (0 on ignored pixels) with the same shape (B, 1,
h, w), uses float32 whatever the precision of the logits, and returns a scalar. Means and sums cover the whole
batch: most tiles have no trail, and an overlap per tile would be 0 or 1 there.
"""

from __future__ import annotations

__all__ = (
    "BlendedLoss",
    "LossFunction",
    "asymmetric_focal",
    "dice",
    "focal",
    "focal_tversky",
    "tversky",
    "weighted_bce",
)

import dataclasses
import inspect
import sys
from collections.abc import Callable, Mapping

import torch
from torch.nn import functional

type LossFunction = Callable[..., torch.Tensor]
"""Function of logits, targets and weights, and of keyword parameters."""

_SMOOTH = 1.0
"""Pixels added to numerator and denominator of an overlap, so that a batch without trails has a defined loss
with small gradients.
"""


def _prepare(
    logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return all three as float32, and zero on ignored pixels, which may be not finite."""
    valid = valid.float()
    seen = valid > 0.0
    zero = torch.zeros_like(valid)
    return torch.where(seen, logits.float(), zero), torch.where(seen, target.float(), zero), valid


def _mean(values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Return the weighted mean; 0 if all weights are 0."""
    total = valid.sum()
    return (values * valid).sum() / torch.where(total > 0.0, total, torch.ones_like(total))


def weighted_bce(
    logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor, *, positive_weight: float = 1.0
) -> torch.Tensor:
    """Return the binary cross-entropy with a weight on trail pixels.

    Parameters
    ----------
    logits, target, valid
        Logits, targets and weights, shape (B, 1, h, w).
    positive_weight
        Weight of a trail pixel relative to a background pixel.
    """
    logits, target, valid = _prepare(logits, target, valid)
    positive = functional.softplus(-logits)
    negative = functional.softplus(logits)
    return _mean(positive_weight * target * positive + (1.0 - target) * negative, valid)


def focal(
    logits: torch.Tensor,
    target: torch.Tensor,
    valid: torch.Tensor,
    *,
    gamma: float = 2.0,
    alpha: float = 0.25,
) -> torch.Tensor:
    """Return the focal loss (Lin et al. 2017, arXiv:1708.02002, equation 5).

    Parameters
    ----------
    logits, target, valid
        Logits, targets and weights, shape (B, 1, h, w).
    gamma
        Exponent that reduces the weight of well classified pixels.
    alpha
        Weight of trails; background has ``1 - alpha``.
    """
    loss = asymmetric_focal(
        logits,
        target,
        valid,
        gamma_positive=gamma,
        gamma_negative=gamma,
        positive_weight=alpha / (1.0 - alpha),
    )
    return loss * (1.0 - alpha)


def asymmetric_focal(
    logits: torch.Tensor,
    target: torch.Tensor,
    valid: torch.Tensor,
    *,
    gamma_positive: float = 0.0,
    gamma_negative: float = 2.0,
    positive_weight: float = 1.0,
) -> torch.Tensor:
    """Return the focal loss with an exponent for each class.

    Easy background is suppressed while faint trails keep their full gradient (Ridnik et al. 2021,
    arXiv:2009.14119, equation 4).

    Parameters
    ----------
    logits, target, valid
        Logits, targets and weights, shape (B, 1, h, w).
    gamma_positive, gamma_negative
        Exponents for trails and for background.
    positive_weight
        Weight of a trail pixel relative to a background pixel.
    """
    logits, target, valid = _prepare(logits, target, valid)
    # p^gamma as exp(gamma log p): the logarithm of a sigmoid has a finite gradient everywhere, unlike a power
    # of a vanishing probability.
    positive = torch.exp(-gamma_positive * functional.softplus(logits)) * functional.softplus(-logits)
    negative = torch.exp(-gamma_negative * functional.softplus(-logits)) * functional.softplus(logits)
    return _mean(positive_weight * target * positive + (1.0 - target) * negative, valid)


def tversky(
    logits: torch.Tensor,
    target: torch.Tensor,
    valid: torch.Tensor,
    *,
    false_positive: float = 0.3,
    false_negative: float = 0.7,
) -> torch.Tensor:
    """Return one minus the Tversky index (Salehi et al. 2017, arXiv:1706.05721).

    Parameters
    ----------
    logits, target, valid
        Logits, targets and weights, shape (B, 1, h, w).
    false_positive, false_negative
        Weights of the two kinds of error; 1/2 and 1/2 give the Dice loss.
    """
    logits, target, valid = _prepare(logits, target, valid)
    probability = torch.sigmoid(logits) * valid
    target = target * valid
    overlap = (torch.sigmoid(logits) * target).sum()
    wrong = false_positive * (probability.sum() - overlap) + false_negative * (target.sum() - overlap)
    return 1.0 - (overlap + _SMOOTH) / (overlap + wrong + _SMOOTH)


def dice(logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Return one minus the Dice coefficient.

    It has sums instead of sums of squares (Milletari et al. 2016, arXiv:1606.04797).

    Parameters
    ----------
    logits, target, valid
        Logits, targets and weights, shape (B, 1, h, w).
    """
    return tversky(logits, target, valid, false_positive=0.5, false_negative=0.5)


def focal_tversky(
    logits: torch.Tensor,
    target: torch.Tensor,
    valid: torch.Tensor,
    *,
    false_positive: float = 0.3,
    false_negative: float = 0.7,
    gamma: float = 0.75,
) -> torch.Tensor:
    """Return a power of the Tversky loss (Abraham & Khan 2019, arXiv:1810.07842).

    Parameters
    ----------
    logits, target, valid
        Logits, targets and weights, shape (B, 1, h, w).
    false_positive, false_negative
        Weights of the two kinds of error.
    gamma
        The exponent, the inverse of the paper's gamma.
    """
    loss = tversky(logits, target, valid, false_positive=false_positive, false_negative=false_negative)
    # The gradient of a fractional power diverges at zero.
    return torch.pow(loss.clamp_min(1.0e-6), gamma)


_LOSSES: dict[str, LossFunction] = {
    "asymmetric_focal": asymmetric_focal,
    "bce": weighted_bce,
    "dice": dice,
    "focal": focal,
    "focal_tversky": focal_tversky,
    "tversky": tversky,
}
"""Losses by their names in recipes."""


@dataclasses.dataclass(frozen=True)
class _Term:
    function: LossFunction
    start: float
    end: float
    parameters: dict[str, float]


class BlendedLoss:
    """Weighted sum of losses, with weights that may ramp.

    Parameters
    ----------
    terms
        Weights by name of the loss. A weight is a number, or a pair (at the start of a stage, at its end), or
        a mapping with such a ``weight`` and parameters of the loss, such as
        ``{"weight": 1.0, "positive_weight": 5.0}``.

    Raises
    ------
    ValueError
        Raised if a loss or parameter is unknown or a number is out of range.
    """

    def __init__(self, terms: Mapping[str, object]) -> None:
        if not terms:
            raise ValueError(f"must have at least one term; known losses are {', '.join(_LOSSES)}")
        self._terms = {name: _parse_term(name, value) for name, value in terms.items()}

    def weights(self, progress: float) -> dict[str, float]:
        """Return the weights at a fraction of the stage (0 to 1)."""
        return {name: term.start + progress * (term.end - term.start) for name, term in self._terms.items()}

    def __call__(
        self, logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor, progress: float = 1.0
    ) -> torch.Tensor:
        """Return the loss.

        Parameters
        ----------
        logits, target, valid
            Logits, targets and weights, shape (B, 1, h, w).
        progress
            Fraction of the stage that is done.
        """
        total = torch.zeros((), dtype=torch.float32, device=logits.device)
        for name, weight in self.weights(progress).items():
            if weight > 0.0:
                term = self._terms[name]
                total = total + weight * term.function(logits, target, valid, **term.parameters)
        return total


def _parse_term(name: str, value: object) -> _Term:
    if name not in _LOSSES:
        raise ValueError(f"has an unknown loss {name!r}; known losses are {', '.join(_LOSSES)}")
    function = _LOSSES[name]
    parameters: dict[str, float] = {}
    if isinstance(value, Mapping):
        signature = inspect.signature(function).parameters.values()
        known = [parameter.name for parameter in signature if parameter.kind is parameter.KEYWORD_ONLY]
        for key, number in value.items():
            if key == "weight":
                continue
            if key not in known:
                raise ValueError(
                    f"has an unknown key {key!r} in {name}; known keys are {', '.join(['weight', *known])}"
                )
            parameters[key] = _number(f"{name}.{key}", number)
        value = value.get("weight", 1.0)
    if isinstance(value, (list, tuple)):
        if len(value) != 2:
            raise ValueError(f"must have a number or a pair (start, end) as weight of {name}")
        start, end = (_number(name, number) for number in value)
    else:
        start = end = _number(name, value)
    if max(start, end) == 0.0:
        raise ValueError(f"has a zero weight for {name}; remove {name}")
    if name == "focal" and not 0.0 < parameters.get("alpha", 0.25) < 1.0:
        raise ValueError("must have focal.alpha between 0 and 1")
    return _Term(function=function, start=start, end=end, parameters=parameters)


def _number(name: str, value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if 0.0 <= value <= sys.float_info.max:
            return float(value)
    raise ValueError(f"must have a finite number of at least 0 for {name}")
