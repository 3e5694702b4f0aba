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

"""Candidates with their stamps, on which a second stage is trained."""

from __future__ import annotations

__all__ = ("StampSamples", "search_stamps", "simulate_stamp_file")

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Self

import astropy.table
import numpy as np
import numpy.typing as npt
import safetensors.numpy

from ..core.atomic import atomic_path
from ..core.background import SkySubtracted, fit_background
from ..core.candidates.find import CandidateOptions, find_candidates
from ..core.candidates.numbers import CANDIDATE_NUMBERS, candidate_numbers
from ..core.candidates.score import FoundCandidates
from ..core.candidates.stamps import STAMP_CHANNELS, STAMP_SHAPE, cut_stamps
from ..core.normalize import TEMPLATE_CHANNELS
from ..core.planes import ImagePlanes
from ..nn.model_file import TrailModel
from ..nn.predict import predict_probability
from .calibration import ValidationScene, classify
from .scenes import TrainingScenes


@dataclasses.dataclass(frozen=True, eq=False)
class StampSamples:
    """Candidates with their truth."""

    stamps: npt.NDArray[np.float16]
    """Stamps, shape (n, len(STAMP_CHANNELS), *STAMP_SHAPE)."""

    numbers: npt.NDArray[np.float32]
    """Numbers, shape (n, len(CANDIDATE_NUMBERS))."""

    is_true: npt.NDArray[np.bool_]
    """Truth of each candidate, true for a trail, shape (n,)."""

    def write(self, path: Path) -> None:
        """Write the candidates to a file of safetensors."""
        arrays = {name: np.ascontiguousarray(value) for name, value in vars(self).items()}
        with atomic_path(path) as partial:
            safetensors.numpy.save_file(arrays, partial)

    @classmethod
    def from_table(cls, table: astropy.table.Table) -> Self:
        """Return the candidates of a table of `search_stamps` with a column ``is_true``."""
        return cls(*(np.asarray(table[name]) for name in ("stamp", "numbers", "is_true")))

    @classmethod
    def read(cls, paths: Iterable[Path]) -> Self:
        """Read and join the candidates of files."""
        parts = [safetensors.numpy.load_file(path) for path in paths]
        return cls(
            **{
                field.name: np.concatenate([part[field.name] for part in parts])
                for field in dataclasses.fields(cls)
            }
        )


class _Recorder:
    """Score that keeps stamps and numbers of the candidates as columns."""

    def score(self, found: FoundCandidates) -> npt.NDArray[np.float64]:
        stamps = cut_stamps(found.sky, found.probability, found.trails)
        found.table["stamp"] = stamps.astype(np.float16)
        found.table["numbers"] = candidate_numbers(found.table).astype(np.float32)
        return np.asarray(found.table["topProbability"], dtype=np.float64)


def search_stamps(
    model: TrailModel, planes: ImagePlanes, thresholds: tuple[float, float]
) -> astropy.table.Table:
    """Search an image, and keep stamps and numbers of the candidates.

    Parameters
    ----------
    model
        The first stage.
    planes
        The image.
    thresholds
        Grow and seed thresholds.

    Returns
    -------
    table
        As of `~lsst.meas.trails.core.candidates.find.find_candidates`, and the columns ``stamp`` and
        ``numbers`` with the values of `StampSamples`.
    """
    background = fit_background(planes.image, planes.bad())
    probability = predict_probability(model, planes, background=background, threads=1, device="cpu")
    options = CandidateOptions(grow=thresholds[0], seed=thresholds[1])
    table = find_candidates(
        probability, SkySubtracted.from_planes(planes, background), score=_Recorder(), options=options
    )
    if len(table) == 0:
        table["stamp"] = np.zeros((0, len(STAMP_CHANNELS), *STAMP_SHAPE), dtype=np.float16)
        table["numbers"] = np.zeros((0, len(CANDIDATE_NUMBERS)), dtype=np.float32)
    return table


def _find_samples(model: TrailModel, scene: ValidationScene, thresholds: tuple[float, float]) -> StampSamples:
    """Return the candidates of a scene, without repeated ones and satellites."""
    table = search_stamps(model, scene.planes, thresholds)
    classify(table, scene.trails, scene.satellites)
    return StampSamples.from_table(table[~np.asarray(table["ignored"])])


def simulate_stamp_file(
    model: TrailModel, scenes: TrainingScenes, index: int, thresholds: tuple[float, float], path: Path
) -> None:
    """Simulate a scene, search it, and write its candidates.

    Parameters
    ----------
    model
        The first stage. If it uses templates, a scene with a template is searched without it too.
    scenes
        The set of scenes.
    index
        Number of the scene in the set.
    thresholds
        Grow and seed thresholds.
    path
        The file to write.
    """
    scene = scenes.validation_scene(index)
    searches = [scene]
    if scene.planes.template is not None and TEMPLATE_CHANNELS & set(model.specification.channels):
        planes = dataclasses.replace(scene.planes, template=None)
        searches.append(dataclasses.replace(scene, planes=planes))
    parts = [_find_samples(model, search, thresholds) for search in searches]
    joined = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in dataclasses.fields(StampSamples)
    }
    StampSamples(**joined).write(path)
