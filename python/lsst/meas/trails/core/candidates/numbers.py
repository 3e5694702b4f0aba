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

"""Numbers of candidates for the second stage: features of the score, and the fit with its errors."""

from __future__ import annotations

__all__ = ("CANDIDATE_NUMBERS", "candidate_numbers")

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from .score import FEATURES, candidate_features, log_odds
from .stamps import stamp_steps

type _Floats = npt.NDArray[np.float64]

CANDIDATE_NUMBERS: tuple[str, ...] = (
    *FEATURES,
    "log_fwhm",
    "log_scale",
    "logit_mean",
    "log_area",
    "log_length_error",
    "log_angle_error",
    "log_across_error",
    "background",
    "log_brightness",
    "spike",
    "edge",
    "bad",
)
"""Numbers, in the order of `candidate_numbers`."""


def candidate_numbers(table: Mapping[str, npt.ArrayLike]) -> _Floats:
    """Return the numbers of candidates, shape (n, len(CANDIDATE_NUMBERS)).

    Parameters
    ----------
    table
        One row per candidate, with the columns of
        `~lsst.meas.trails.core.candidates.score.candidate_features` and ``area``, ``meanProbability``,
        ``flux``, ``background``, ``xErr``, ``yErr``, ``xyCovariance``, ``trailLengthPixErr``,
        ``trailAnglePix``, ``trailAnglePixErr``, ``spikeLikeness``, ``trail_flag_edge`` and ``badFlag``.

    Notes
    -----
    Errors are in FWHM: of the length, of an end across the trail due to its angle, and of the midpoint
    across the trail. ``background`` is the local background in the area of the trail over its flux.
    """

    def column(name: str) -> _Floats:
        return np.asarray(table[name], dtype=np.float64)

    def logarithm(values: _Floats, low: float, high: float, unknown: float) -> _Floats:
        return np.log(np.clip(np.where(np.isfinite(values), values, unknown), low, high))

    fwhm = np.maximum(column("psfFwhm"), 0.5)
    length = column("trailLengthPix")
    angle = np.deg2rad(column("trailAnglePix"))
    footprint = fwhm * (length + fwhm)
    steps = np.array([stamp_steps(*pair) for pair in zip(length, fwhm, strict=True)]).reshape(-1, 2)
    c, s = np.cos(angle), np.sin(angle)
    across = (s * column("xErr")) ** 2 + (c * column("yErr")) ** 2 - 2.0 * s * c * column("xyCovariance")
    background = np.nan_to_num(column("background") * footprint / np.maximum(column("flux"), 1e-30))
    more = np.stack(
        [
            np.log(fwhm),
            np.log(steps[:, 1] / steps[:, 0]),
            log_odds(column("meanProbability")),
            logarithm(column("area") / footprint, 0.01, 10.0, 1.0),
            logarithm(column("trailLengthPixErr") / fwhm, 1e-3, 10.0, 10.0),
            logarithm(np.deg2rad(column("trailAnglePixErr")) * length / fwhm, 1e-3, 10.0, 10.0),
            logarithm(np.sqrt(np.maximum(across, 0.0)) / fwhm, 1e-4, 10.0, 10.0),
            np.arcsinh(np.clip(background, -1e4, 1e4)),
            logarithm(column("snr") / np.sqrt(np.maximum(footprint, 1.0)), 1e-3, 1e4, 1.0),
            column("spikeLikeness"),
            column("trail_flag_edge"),
            column("badFlag"),
        ],
        axis=1,
    )
    return np.concatenate([candidate_features(table), more], axis=1)
