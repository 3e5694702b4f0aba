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

"""Edge-on galaxies and diffraction spikes of the scenes of the domains that models call trails."""

from __future__ import annotations

__all__ = (
    "KINDS",
    "ContaminantScores",
    "contaminant_values",
    "score_contaminants",
    "summarize_contaminants",
)

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import astropy.table
import numpy as np
import numpy.typing as npt

from lsst.meas.trails.core.geometry import Trail, angle_difference, segment_distance

from domain_scenes import DomainScene

type _Floats = npt.NDArray[np.float64]
type _Ends = tuple[float, float, float, float]
type _Values = dict[str, Any]

KINDS = ("galaxies", "arms")
"""Kinds of contaminants."""

EDGE_ON_SNR, EDGE_ON_RATIO = 15.0, 0.2
"""Least SNR and largest axis ratio of galaxies that count as edge-on."""

GALAXY_ANGLE = 20.0
"""Largest angle between a candidate and the major axis of its galaxy, degrees."""

ARM_ANGLE, ARM_DISTANCE = 15.0, 1.5
"""Largest angle between a candidate and its arm, degrees, and distance of its midpoint, in FWHM."""

TRAIL_DISTANCE = 15.0
"""Least distance of a contaminant from a trail, pixels; a candidate on others may be due to the trail."""


class ContaminantScores(NamedTuple):
    """Best score of a false candidate on each contaminant of a scene, -inf without one."""

    galaxies: _Floats
    """Edge-on galaxies."""

    arms: _Floats
    """Arms of diffraction spikes."""


def score_contaminants(scene: DomainScene, matches: astropy.table.Table) -> ContaminantScores:
    """Match false candidates with edge-on galaxies and arms of diffraction spikes.

    A candidate is on a galaxy if its midpoint is within the half-light radius plus one FWHM of the center. A
    long arm may have several candidates, and a candidate through a star has two arms.

    Parameters
    ----------
    scene
        The scene.
    matches
        Match table of a model's candidates.
    """
    false = matches[np.asarray(matches["isFalse"], dtype=bool)]
    x, y, angle, score = (
        np.asarray(false[name], dtype=np.float64) for name in ("x", "y", "trailAnglePix", "score")
    )
    psf = scene.planes.psf
    galaxies, arms = [], []
    for center_x, center_y, direction, ratio, radius, snr in scene.galaxies:
        ends = Trail(center_x, center_y, 2.0 * radius, direction, 0.0).ends
        if snr > EDGE_ON_SNR and ratio < EDGE_ON_RATIO and not _near_trail(ends, scene.truth):
            on = np.hypot(x - center_x, y - center_y) < radius + psf.fwhm(center_x, center_y)
            on &= angle_difference(angle, direction) < GALAXY_ANGLE
            galaxies.append(np.max(score[on], initial=-np.inf))
    for ends in scene.arms:
        if not _near_trail(ends, scene.truth):
            arm = Trail.from_ends(*ends)
            on = segment_distance(x, y, *ends) < ARM_DISTANCE * psf.fwhm(arm.x, arm.y)
            on &= angle_difference(angle, arm.angle) < ARM_ANGLE
            arms.append(np.max(score[on], initial=-np.inf))
    return ContaminantScores(np.array(galaxies, dtype=np.float64), np.array(arms, dtype=np.float64))


def _near_trail(ends: _Ends | _Floats, truth: astropy.table.Table) -> bool:
    """Return whether a line is within `TRAIL_DISTANCE` of a trail."""
    x0, y0, x1, y1 = ends
    # Distances between points of 2 pixels and less change the result by a fraction of a pixel.
    t = np.linspace(0.0, 1.0, 2 + int(0.5 * np.hypot(x1 - x0, y1 - y0)))[:, None]
    trails = [np.asarray(truth[name], dtype=np.float64) for name in ("x0", "y0", "x1", "y1")]
    distance = segment_distance(x0 + t * (x1 - x0), y0 + t * (y1 - y0), *trails)
    return bool(np.any(distance < TRAIL_DISTANCE))


def contaminant_values(scenes: Sequence[ContaminantScores], threshold: float, own: float) -> _Values:
    """Return the number of contaminants of each kind, and the fractions that are called trails.

    Parameters
    ----------
    scenes
        Scores in each scene.
    threshold
        Score threshold of the domain.
    own
        Score threshold of the model, NaN if it has none; the fraction at it is then NaN.
    """
    values: _Values = {}
    for kind in KINDS:
        scores = np.concatenate([getattr(scene, kind) for scene in scenes])
        values[f"n_{kind}"] = len(scores)
        for key, least in ((kind, threshold), (f"{kind}_own", own)):
            called = np.isfinite(scores) & (scores >= least)
            values[key] = float(called.mean()) if scores.size and not np.isnan(least) else float("nan")
    return values


def summarize_contaminants(domains: Sequence[Mapping[str, Any]]) -> tuple[_Values, _Values]:
    """Return the fractions of the contaminants of all domains together, and of the worst domain.

    Parameters
    ----------
    domains
        Output of `contaminant_values` for each domain.
    """
    mean: _Values = {}
    worst: _Values = {}
    for kind in KINDS:
        count = np.array([values[f"n_{kind}"] for values in domains])
        mean[f"n_{kind}"] = int(count.sum())
        for key in (kind, f"{kind}_own"):
            fraction = np.array([values[key] for values in domains])
            known = np.isfinite(fraction)
            total = count[known].sum()
            mean[key] = float(count[known] @ fraction[known] / total) if total else float("nan")
            worst[key] = float(fraction[known].max()) if total else float("nan")
    return mean, worst
