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

"""Calibration of a model's thresholds and score on real images, whose content is unknown.

Almost every candidate in a real image is false. The candidates of the images as they are therefore measure
the rate of false ones, without any truth; trails that are injected into the same images measure completeness.
"""

from __future__ import annotations

__all__ = (
    "SurveyCalibration",
    "calibrate_survey",
    "check_size",
    "fit_survey",
    "own_thresholds",
    "survey_thresholds",
)

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from .. import __version__
from ..core.operating_point import DETECTOR_PIXELS
from ..core.progress import make_progress, track
from ..nn.candidate_score import TableScore, score_of_table
from ..nn.hardware import precision_name
from ..nn.model_file import load_model
from ..nn.model_specification import ModelSpecification
from .calibration import THRESHOLDS, mean_completeness
from .candidate_sample import CandidateSample, SearchedScene
from .survey_images import (
    PRIOR_DENSITY,
    ImageSource,
    InjectionOptions,
    SurveyError,
    Thresholds,
    search_survey,
)
from .survey_rates import ScoreMeasurement, measure_score

_FOLDS = 5
"""Parts of the visits; each is scored by a model of the others."""


@dataclasses.dataclass(frozen=True, eq=False)
class SurveyCalibration:
    """Result of a calibration on real images."""

    specification: ModelSpecification
    """The model's new specification; the weights are unchanged."""

    before: ScoreMeasurement | None
    """The old thresholds and score on the same images, `None` if the model had no score."""

    after: ScoreMeasurement
    """The new ones, each visit with a score that was fitted to other visits."""

    left_out: tuple[str, ...] = ()
    """Images that could not be used, with the reason."""


def check_size(images: Sequence[ImageSource], precision: float) -> None:
    """Check that images are enough for a calibration.

    Parameters
    ----------
    images
        The images.
    precision
        Largest relative error of the number of false candidates at the score for 10 per detector.

    Raises
    ------
    SurveyError
        Raised if there are fewer than two visits, or the area is too small; the message says how many images
        are needed.
    """
    if not images:
        raise SurveyError("There are no images to calibrate on.")
    visits = len({image.visit for image in images})
    if visits < 2:
        raise SurveyError(
            f"All {len(images)} images are of one visit; pass images of at least 2 visits: the score is "
            "fitted to some visits and measured on others."
        )
    needed = int(np.ceil(1.0 / precision**2))
    pixels = float(sum(image.shape[0] * image.shape[1] for image in images))
    expected = 10.0 * pixels / DETECTOR_PIXELS
    if expected < needed:
        count = int(np.ceil(needed / expected * len(images)))
        raise SurveyError(
            f"{len(images)} images of {pixels / 1e6:.1f} megapixels hold only {expected:.0f} false "
            f"candidates at a score for 10 per detector of {DETECTOR_PIXELS / 1e6:.1f} megapixels; a "
            f"precision of {precision:.0%} needs {needed}: pass at least {count} such images, or a larger "
            "--precision."
        )


def fit_survey(
    searched: Sequence[SearchedScene],
    specification: ModelSpecification,
    thresholds: Sequence[Thresholds] = THRESHOLDS,
) -> tuple[ScoreMeasurement | None, ScoreMeasurement, TableScore]:
    """Choose thresholds and fit the score of a model on searched images.

    Parameters
    ----------
    searched
        The images, searched with the thresholds and those of the specification.
    specification
        The model before.
    thresholds
        Pairs of grow and seed thresholds to choose from.

    Returns
    -------
    before
        The old thresholds and score, `None` without a score.
    after
        The thresholds with the highest completeness, and a score fitted to other visits.
    score
        The score of all visits.

    Raises
    ------
    SurveyError
        Raised if there are no false candidates or no found trails to fit a score.
    """
    old_pair = own_thresholds(specification)
    before = None
    if specification.score:
        sample = CandidateSample(searched, old_pair)
        old = sample.scored(score_of_table(specification.score))
        at_rate = specification.score.get("at_false_per_detector", {})
        assert isinstance(at_rate, Mapping)
        before = measure_score(sample, old, _prior(sample), at_rate)
    results, problems = [], []
    for pair in thresholds:
        sample = CandidateSample(searched, pair)
        prior = _prior(sample)
        try:
            score = sample.cross_validated(min(_FOLDS, len(sample.group_pixels)), prior)
            results.append((measure_score(sample, score, prior), sample.fit(prior=prior)))
        except ValueError as error:
            problems.append(str(error))
    if not results:
        raise SurveyError(f"{problems[0]} Pass more images, or another model.")
    after, final = max(results, key=lambda result: mean_completeness(result[0].metrics))
    return before, after, final


def calibrate_survey(
    model_path: Path,
    images: Sequence[ImageSource],
    *,
    injection: InjectionOptions = InjectionOptions(),
    thresholds: Sequence[Thresholds] = THRESHOLDS,
    precision: float = 0.15,
    processes: int | None = None,
    console: Console | None = None,
    provenance: Mapping[str, object] | None = None,
) -> SurveyCalibration:
    """Choose the thresholds and calibrate the score of a model on real images.

    Parameters
    ----------
    model_path
        The model's JSON file.
    images
        Images of at least two visits.
    injection
        Trails to inject, for completeness.
    thresholds
        Pairs of grow and seed thresholds to choose from.
    precision
        Largest relative error of the number of false candidates at the score for 10 per detector.
    processes
        Processes, of one thread each; by default one per core.
    console
        Console that shows progress; by default none.
    provenance
        Further entries of the specification's ``training["calibration"]``, such as repository and collection.

    Raises
    ------
    SurveyError
        Raised if the images are too few or cannot be used.
    ModelError
        Raised if the model cannot be used.
    """
    check_size(images, precision)
    specification = load_model(model_path).specification
    pairs = survey_thresholds(specification, thresholds)
    searched = search_survey(model_path, images, injection=injection, thresholds=pairs, processes=processes)
    found, used, left_out = [], [], []
    with make_progress(console or Console(stderr=True, quiet=True)) as progress:
        shown = track(progress, searched, "Searching images", len(images))
        for image, result in zip(images, shown, strict=True):
            if isinstance(result, str):
                left_out.append(result)
            else:
                found.append(result)
                used.append(image)
    if left_out and not used:
        raise SurveyError(f"None of the {len(images)} images can be used: {left_out[0]}")
    check_size(used, precision)
    before, after, score = fit_survey(found, specification, thresholds)
    calibration = {
        "images": [image.label for image in used],
        "visits": len({image.visit for image in used}),
        "megapixels": after.n_pixels / 1e6,
        "false_candidates": after.n_false,
        "injected_trails": after.n_trails,
        "injection": dataclasses.asdict(injection),
        "prior_trails_per_megapixel": PRIOR_DENSITY,
        "precision": precision_name("auto", "cpu"),
        **(provenance or {}),
    }
    training = {key: value for key, value in specification.training.items() if key != "calibration_scenes"}
    now = datetime.datetime.now(datetime.UTC)
    new = specification.replace(
        version=f"{specification.version.partition('+')[0]}+{now:%Y%m%d}",
        thresholds=dict(zip(("grow", "seed"), after.thresholds, strict=True)),
        score={
            **score.to_mapping(),
            "at_false_per_detector": dict(after.at_false),
            "false_per_detector_at": dict(after.false_at_score),
        },
        training={**training, "calibration": calibration},
        metrics={**specification.metrics, **after.metrics},
        created=now.isoformat(timespec="seconds"),
        package_version=str(__version__),
    )
    return SurveyCalibration(new, before, after, tuple(left_out))


def own_thresholds(specification: ModelSpecification) -> Thresholds:
    """Return the grow and seed threshold of a model."""
    return specification.thresholds["grow"], specification.thresholds["seed"]


def survey_thresholds(
    specification: ModelSpecification, thresholds: Sequence[Thresholds] = THRESHOLDS
) -> tuple[Thresholds, ...]:
    """Return the pairs of thresholds to search with: those to choose from, and the model's own."""
    return tuple(dict.fromkeys([*thresholds, own_thresholds(specification)]))


def _prior(sample: CandidateSample) -> float:
    """Return the density of trails that scores refer to, relative to the injected one."""
    return PRIOR_DENSITY * sample.n_pixels / 1e6 / max(len(sample.snr), 1)
