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

"""Second stage of an adapted model: candidates of the survey, and its training on them.

Injected and labeled trails are true, and other candidates false, but for those that the first stage did not
learn from either. People decide some cases: candidates with a label count several times.
"""

from __future__ import annotations

__all__ = ("LABEL_COUNT", "adapt_second_stage", "search_for_samples")

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import astropy.table
import numpy as np
import threadpoolctl

from ..core.geometry import Trails
from ..nn.candidate_score import add_second_stage, second_stage
from ..nn.model_file import load_model, write_specification
from ..nn.model_specification import ModelSpecification
from ..training.calibration import classify
from ..training.second_stage import SecondStageRecipe, fine_tune_second_stage
from ..training.stamp_samples import StampSamples, search_stamps
from .average import TRAINED_FRACTION
from .backgrounds import at_artifact, short_trails, unknown_lines
from .images import ImageSource
from .search import InjectedTrails, inject_into

_LOG = logging.getLogger(__name__)

LABEL_COUNT = 5
"""Number of times that a candidate with a label is in the training."""


def search_for_samples(
    image: ImageSource,
    model: Path,
    trails: InjectedTrails,
    thresholds: tuple[float, float],
    candidates: Path,
    least_score: float,
    path: Path,
) -> None:
    """Search an image with injected trails, and write its candidates with their stamps.

    Parameters
    ----------
    image
        The image.
    model
        Specification of the model with the first stage.
    trails
        Trails to inject.
    thresholds
        Grow and seed thresholds.
    candidates, least_score
        Candidates of the image as it is, and lowest score of those that are left out; output of
        `~lsst.meas.trails.survey.backgrounds.find_probable` and
        `~lsst.meas.trails.survey.backgrounds.probable_score`.
    path
        File to write, for `~lsst.meas.trails.training.stamp_samples.StampSamples.read`.

    Raises
    ------
    ValueError
        Raised if the image cannot be used.
    """
    known = image.read()
    planes, injected = inject_into(image, known, trails)
    table = search_stamps(load_model(model), planes, thresholds)
    before = astropy.table.Table.read(candidates, format="ascii.ecsv")
    unknown, streaks = unknown_lines(known, before, least_score)
    classify(
        table,
        Trails.from_trails([*injected, *short_trails(known.labels)]),
        Trails.from_trails([*unknown, *streaks]),
    )
    is_true = np.asarray(table["is_true"])
    wrong = at_artifact(known.labels, np.asarray(table["x"]), np.asarray(table["y"])) & ~is_true
    labeled = wrong | (np.asarray(table["trail"]) >= len(injected))
    counts = np.where(labeled, LABEL_COUNT, np.where(np.asarray(table["ignored"]), 0, 1))
    StampSamples.from_table(table[np.repeat(np.arange(len(table)), counts)]).write(path)


def adapt_second_stage(
    trained: Path,
    start: Path,
    section: SecondStageRecipe | None,
    search: Callable[[tuple[float, float]], Sequence[Path]],
    threads: int,
) -> ModelSpecification:
    """Give a trained model the second stage of the model that it started from, trained further.

    The weights are averaged with those before, as those of the first stage.

    Parameters
    ----------
    trained
        Specification of the model with the first stage. Both files are rewritten; the score needs a new
        calibration.
    start
        Specification of the model that it started from. Without a second stage, nothing is changed.
    section
        Recipe of the training. Without one, or with too few candidates, the second stage is not changed.
    search
        Function of grow and seed thresholds that returns files of candidates; see `search_for_samples`.
    threads
        Threads of the training.

    Returns
    -------
    specification
        The specification as written.
    """
    stage = second_stage(load_model(start))
    if stage is None:
        return load_model(trained).specification
    facts = None
    if section is not None:
        files = search(section.thresholds)
        samples = StampSamples.read(files)
        counts = {"candidates": len(samples.is_true), "trails": int(np.sum(samples.is_true))}
        try:
            with threadpoolctl.threadpool_limits(threads):
                trained_stage = fine_tune_second_stage(section, stage, samples)
            mean = {
                name: (1.0 - TRAINED_FRACTION) * weights + TRAINED_FRACTION * trained_stage.weights[name]
                for name, weights in stage.weights.items()
            }
            stage = dataclasses.replace(stage, weights=mean)
            facts = {
                "images": len(files),
                **counts,
                "trained_fraction": TRAINED_FRACTION,
                **section.model_dump(mode="json", exclude={"scenes", "network"}),
            }
        except ValueError as error:
            _LOG.warning("%s The second stage of the model to start from is used as it is.", error)
    specification = add_second_stage(trained, stage.section, stage.weights)
    if facts is not None:
        specification = specification.replace(training={**specification.training, "second_stage": facts})
        write_specification(trained, specification)
    return specification
