# This file is part of meas_trails.
#
# Developed for the LSST Data Management System.
# This product includes software developed by the LSST Project
# (https://www.lsst.org).
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# This program is free software: you can redistribute it and/or modify
# it under the terms of the GNU General Public License as published by
# the Free Software Foundation, either version 3 of the License, or
# (at your option) any later version.
#
# This program is distributed in the hope that it will be useful,
# but WITHOUT ANY WARRANTY; without even the implied warranty of
# MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
# GNU General Public License for more details.
#
# You should have received a copy of the GNU General Public License
# along with this program.  If not, see <https://www.gnu.org/licenses/>.

"""Validation by what matters: the trails found in scenes, during training."""

from __future__ import annotations

__all__ = ("ObjectValidation",)

import logging
import math
from collections.abc import Callable

from ..training.calibration import ValidationScene, calibrate
from ..training.recipe import ModelRecipe
from .model_file import ModelSpecification, TrailModel
from .networks.registry import TrailNetwork

_LOG = logging.getLogger(__name__)

_THRESHOLDS = (0.15, 0.3)
"""Low and high threshold of the candidates, the same for every measurement,
so that they can be compared.
"""

_METRICS = ("completeness_at_", "snr50_at_")


class ObjectValidation:
    """Scenes in which trails are looked for with the network of the moment.

    Parameters
    ----------
    scene
        Makes the scene of a number, which training must not see.
    count
        Number of scenes.  They are made once and kept: 13 MB a megapixel.
    """

    def __init__(self, scene: Callable[[int], ValidationScene], count: int) -> None:
        self._scene = scene
        self._count = count
        self._scenes: list[ValidationScene] = []

    def measure(self, network: TrailNetwork, recipe: ModelRecipe, *, threads: int) -> dict[str, float]:
        """Return ``completeness_at_R`` and ``snr50_at_R`` at R false
        detections per detector.

        Parameters
        ----------
        network
            Network in evaluation mode.
        recipe
            What it is.
        threads
            Threads for the network.

        Notes
        -----
        Candidates are ranked by a score that is fitted to the candidates of
        the other half of the scenes.  A network that has not learnt yet what
        a trail is gives none to fit it to: then nothing is found.
        """
        if not self._scenes:
            self._scenes = [self._scene(number) for number in range(self._count)]
        specification = ModelSpecification(
            name=recipe.name,
            version=recipe.version,
            architecture=recipe.architecture,
            hyperparameters=recipe.hyperparameters,
            channels=recipe.channels,
        )
        model = TrailModel(specification=specification, network=network, checksum="")
        try:
            found = calibrate(model, self._scenes, threads=threads, thresholds=(_THRESHOLDS,)).metrics
        except ValueError as error:
            _LOG.info("No trails can be counted yet: %s", error)
            found = {}
        names = [f"{name}{rate}" for name in _METRICS for rate in (1, 10, 100)]
        metrics = {}
        for name in names:
            value = found.get(name)
            nothing = 0.0 if name.startswith("completeness") else math.nan
            metrics[name] = nothing if value is None else value
        return metrics
