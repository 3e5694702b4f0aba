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

"""Images of a survey as backgrounds of a training.

Nobody knows all trails in them. The loss ignores the pixels of the most probable ones and of satellites; few
others are left, as trails are rare. Candidates that are labeled as artifacts stay, as examples of what is no
trail, and labeled trails are found.
"""

from __future__ import annotations

__all__ = (
    "PROBABLE_RATE",
    "at_artifact",
    "find_probable",
    "make_background",
    "probable_score",
    "short_trails",
    "unknown_lines",
)

import math
from collections.abc import Iterable
from pathlib import Path

import astropy.table
import numpy as np
import numpy.typing as npt

from ..core.atomic import atomic_path
from ..core.background import SkySubtracted, fit_background
from ..core.candidates.find import CandidateOptions, find_candidates
from ..core.geometry import Trail, Trails, line_band
from ..core.injection.population import MAX_INJECTED_LENGTH
from ..core.operating_point import DETECTOR_PIXELS
from ..core.planes import ImagePlanes
from ..core.render import truth_mask
from ..core.tiles.labels import LabeledTruth
from ..nn.candidate_score import candidate_score
from ..nn.model_file import load_model
from ..nn.predict import predict_probability
from ..training.backgrounds import Background, write_background
from .images import ImageSource, KnownImage

PROBABLE_RATE = 1.0
"""Candidates per detector, the best of all images, that the loss ignores.

There are fewer real trails. If most of these candidates are false, the training lacks few of its thousands of
hard examples.
"""

_SEED = 0.5
"""Least seed threshold of these candidates; fainter ones are not among the best."""

_EDGE = 0.02
"""Brightness at the border of the ignored pixels of a trail, relative to its brightest pixel."""

_STREAK_WIDTH = 4.0
"""Half of the width of the ignored pixels of a satellite, FWHM."""

_SAME_PLACE = 6.0
"""Largest distance between the midpoints of a candidate and the same candidate with a label, pixels."""

_COLUMNS = ("x", "y", "trailLengthPix", "trailAnglePix", "score", "streakFlag")


def find_probable(image: ImageSource, model: Path, path: Path) -> None:
    """Search an image with a model and write its candidates, unless a pipeline has searched it.

    Parameters
    ----------
    image
        The image.
    model
        Specification of the model.
    path
        ECSV file to write: candidates in array coordinates.

    Raises
    ------
    ValueError
        Raised if the image cannot be used.
    """
    known = image.read()
    found = known.candidates
    table = _search(known, model) if found is None else astropy.table.Table(found[list(_COLUMNS)])
    table.meta = {"shape": list(known.planes.shape), "pixel_scale": known.pixel_scale}
    with atomic_path(path) as partial:
        table.write(partial, format="ascii.ecsv")


def _search(known: KnownImage, path: Path) -> astropy.table.Table:
    """Return the candidates of a model in an image."""
    planes, model = known.planes, load_model(path)
    specification = model.specification
    background = fit_background(planes.image, planes.bad())
    probability = predict_probability(model, planes, background=background, threads=1, device="cpu")
    found = find_candidates(
        probability,
        SkySubtracted.from_planes(planes, background),
        candidate_score(model),
        CandidateOptions(
            grow=specification.thresholds["grow"], seed=max(specification.thresholds["seed"], _SEED)
        ),
    )
    return astropy.table.Table(found[list(_COLUMNS)])


def probable_score(tables: Iterable[astropy.table.Table]) -> float:
    """Return the lowest score of the candidates that the loss ignores.

    Parameters
    ----------
    tables
        Output of `find_probable` of all images.
    """
    rows = list(tables)
    scores = [np.asarray(table["score"])[~np.asarray(table["streakFlag"], dtype=bool)] for table in rows]
    joined = np.sort(np.concatenate(scores) if scores else np.zeros(0))[::-1]
    area = sum(math.prod(table.meta["shape"]) for table in rows)
    count = round(PROBABLE_RATE * area / DETECTOR_PIXELS)
    if count == 0 or len(joined) == 0:
        return np.inf
    return float(joined[min(count, len(joined)) - 1])


def make_background(image: ImageSource, candidates: Path, least_score: float, path: Path) -> None:
    """Write an image as a background.

    Parameters
    ----------
    image
        The image.
    candidates
        Output of `find_probable`.
    least_score
        Output of `probable_score`.
    path
        File to write; see `~lsst.meas.trails.training.backgrounds.write_background`.

    Raises
    ------
    ValueError
        Raised if the image cannot be used.
    """
    known = image.read()
    table = astropy.table.Table.read(candidates, format="ascii.ecsv")
    trails = truth_mask(known.planes.psf, short_trails(known.labels), known.planes.shape)
    ignored = _ignored(known, table, least_score) & ~trails
    write_background(path, Background.from_image(known.background(ignored), trails))


def _ignored(known: KnownImage, table: astropy.table.Table, least_score: float) -> npt.NDArray[np.bool_]:
    """Return the pixels that the loss ignores, shape (ny, nx)."""
    unknown, streaks = unknown_lines(known, table, least_score)
    return _streaks(known.planes, streaks) | truth_mask(known.planes.psf, unknown, known.planes.shape, _EDGE)


def unknown_lines(known: KnownImage, table: astropy.table.Table, least_score: float) -> tuple[Trails, Trails]:
    """Return the lines in an image that neither stage learns from.

    Parameters
    ----------
    known
        The image.
    table
        Its candidates, output of `find_probable`.
    least_score
        Output of `probable_score`.

    Returns
    -------
    unknown
        The most probable candidates, and those with a label that leaves it open.
    streaks
        Satellites, and labeled trails that are too long for an asteroid.
    """
    lines = Trails.from_table(table, length="trailLengthPix", angle="trailAnglePix", flux="score")
    is_streak = np.asarray(table["streakFlag"], dtype=bool)
    wrong = at_artifact(known.labels, lines.x, lines.y)
    probable = ~is_streak & ~wrong & (np.asarray(table["score"]) >= least_score)
    unsure, long = _by_length(known.labels.unknown)
    long_trails = _by_length(known.labels.trails)[1]
    unknown = Trails.from_trails([*unsure, *lines[probable]])
    return unknown, Trails.from_trails([*lines[is_streak & ~wrong], *long, *long_trails])


def at_artifact(
    labels: LabeledTruth, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """Return which candidates are labeled as artifacts, by their midpoints, shape (n,)."""
    wrong = np.zeros(len(x), dtype=bool)
    for artifact_x, artifact_y in labels.artifacts:
        wrong |= np.hypot(x - artifact_x, y - artifact_y) < _SAME_PLACE
    return wrong


def short_trails(labels: LabeledTruth) -> Trails:
    """Return labeled trails that are short enough for an asteroid."""
    return _by_length(labels.trails)[0]


def _by_length(lines: Trails) -> tuple[Trails, Trails]:
    """Return the lines that can be rendered as trails, and longer ones."""
    short = lines.length <= MAX_INJECTED_LENGTH
    return lines[short], lines[~short]


def _streaks(planes: ImagePlanes, lines: Iterable[Trail]) -> npt.NDArray[np.bool_]:
    """Return the pixels of satellites, which cross the image, and of the plane for them."""
    mask = planes.has("STREAK")
    for line in lines:
        width = _STREAK_WIDTH * planes.psf.fwhm(line.x, line.y)
        mask |= line_band(planes.shape, line.x, line.y, line.angle, width)
    return mask
