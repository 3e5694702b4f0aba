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

"""Steps of an adaptation that go image by image, and keep their results in files."""

from __future__ import annotations

__all__ = ("Steps",)

import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import astropy.table
import numpy as np
from rich.console import Console

from ..core.processes import run_all
from ..core.progress import make_progress, track
from ..evaluation.collection_sample import CollectionSample
from ..evaluation.summary import summarize
from ..nn.hardware import precision_name
from ..nn.model_file import load_model
from ..nn.model_specification import ModelSpecification
from ..nn.second_stage import STAMP_VERSION
from ..training.survey import fit_survey
from .backgrounds import find_probable, make_background, probable_score
from .images import ImageSource
from .plan import AdaptationError, Plan
from .search import read_search, search_for_calibration, search_for_test
from .second_stage import search_for_samples

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class Steps:
    """Steps of an adaptation."""

    folder: Path
    """Folder of the adaptation."""

    jobs: int
    """Largest number of processes."""

    console: Console
    """Console that shows progress."""

    def probable(self, images: Sequence[ImageSource], model: Path) -> tuple[dict[ImageSource, Path], float]:
        """Search images to train on with the model to start from.

        Returns
        -------
        searches
            Files of the candidates, of the images that can be used.
        score
            Lowest score of the candidates that are ignored.
        """
        searches = self._make(
            "Searching images",
            {image: (self._path("searches/train", image),) for image in images},
            lambda image, paths: (find_probable, (image, model, *paths)),
        )
        paths = {image: path for image, (path,) in searches.items()}
        return paths, probable_score(map(_read, paths.values()))

    def backgrounds(self, images: Sequence[ImageSource], model: Path) -> tuple[list[Path], tuple[int, int]]:
        """Return the files of the backgrounds to train on, and their smallest sides (ny, nx)."""
        searches, score = self.probable(images, model)
        made = self._make(
            "Reading images",
            {image: (self._path("backgrounds", image, ".safetensors"),) for image in searches},
            lambda image, paths: (make_background, (image, searches[image], score, *paths)),
        )
        shapes = [_read(searches[image]).meta["shape"] for image in made]
        rows, columns = (min(int(shape[axis]) for shape in shapes) for axis in (0, 1))
        return [path for (path,) in made.values()], (rows, columns)

    def samples(self, plan: Plan, trained: Path, start: Path, thresholds: tuple[float, float]) -> list[Path]:
        """Search images to train on, with injected trails, and return the files of the candidates.

        Parameters
        ----------
        plan
            The plan.
        trained
            Model with the first stage.
        start
            The model to start from.
        thresholds
            Grow and seed thresholds.
        """
        searches, score = self.probable(plan.images["train"], start)
        fixed = repr((STAMP_VERSION, thresholds, load_model(trained).specification.weights_sha256))
        folder = f"searches/second-stage-{hashlib.sha256(fixed.encode()).hexdigest()[:12]}"
        made = self._make(
            "Searching for the second stage",
            {image: (self._path(folder, image, ".safetensors"),) for image in searches},
            lambda image, paths: (
                search_for_samples,
                (image, trained, plan.trails, thresholds, searches[image], score, *paths),
            ),
        )
        return [path for (path,) in made.values()]

    def pixel_scale(self) -> float | None:
        """Return the pixel scale of the images to train on, arcsec; `None` if it varies."""
        tables = [_read(path) for path in sorted(self.folder.glob("searches/train/*.ecsv"))]
        scales = [float(table.meta["pixel_scale"]) for table in tables]
        return round(float(np.median(scales)), 4) if max(scales) <= 1.05 * min(scales) else None

    def calibrate(self, plan: Plan, model: Path, specification: ModelSpecification) -> ModelSpecification:
        """Search images with a model, and return its specification with new thresholds and score."""
        folder = f"searches/calibrate-{specification.weights_sha256[:12]}"
        found = self._make(
            "Calibrating",
            {image: (self._path(folder, image),) for image in plan.images["calibrate"]},
            lambda image, paths: (search_for_calibration, (image, model, plan.trails, *paths)),
        )
        scenes = [read_search(path) for (path,) in found.values()]
        try:
            _, measured, score = fit_survey(scenes, specification)
        except ValueError as error:
            area = sum(scene.n_pixels for scene in scenes) / 1e6
            raise AdaptationError(
                f"The {len(scenes)} images for calibration have only {area:.1f} megapixels: {error}"
            ) from error
        return specification.replace(
            thresholds=dict(zip(("grow", "seed"), measured.thresholds, strict=True)),
            score={
                **score.to_mapping(),
                "at_false_per_detector": dict(measured.at_false),
                "false_per_detector_at": dict(measured.false_at_score),
            },
            metrics={**specification.metrics, **measured.metrics},
            training={**specification.training, "calibration_precision": precision_name("auto", "cpu")},
        )

    def test(
        self, plan: Plan, models: Mapping[str, tuple[Path, ModelSpecification]]
    ) -> dict[str, astropy.table.Table]:
        """Search images with all models and return the metrics of each."""
        images = plan.images["test"]
        keys = [(s.weights_sha256, s.thresholds, s.score) for _, s in models.values()]
        folder = f"searches/test-{hashlib.sha256(json.dumps(keys).encode()).hexdigest()[:12]}"

        def paths_of(image: ImageSource) -> dict[str, tuple[Path, Path]]:
            return {
                name: (
                    self._path(folder, image, f"-{name}-matches.ecsv"),
                    self._path(folder, image, f"-{name}-search.ecsv"),
                )
                for name in models
            }

        found = self._make(
            "Measuring",
            {image: tuple(path for pair in paths_of(image).values() for path in pair) for image in images},
            lambda image, paths: (search_for_test, (image, models, plan.trails, paths_of(image))),
        )
        pairs = [paths_of(image) for image in found]
        return {
            name: summarize(
                CollectionSample(
                    (_read(pair[name][0]) for pair in pairs), (_read(pair[name][1]) for pair in pairs)
                )
            )
            for name in models
        }

    def _path(self, folder: str, image: ImageSource, suffix: str = ".ecsv") -> Path:
        """Return the path of a file of an image."""
        (self.folder / folder).mkdir(parents=True, exist_ok=True)
        return self.folder / folder / f"{image.name}{suffix}"

    def _make(
        self,
        description: str,
        files: Mapping[ImageSource, tuple[Path, ...]],
        call: Callable[[ImageSource, tuple[Path, ...]], tuple[Callable[..., None], tuple[object, ...]]],
    ) -> dict[ImageSource, tuple[Path, ...]]:
        """Call a function for each image whose files do not exist, in several processes.

        Parameters
        ----------
        description
            Text next to the progress bar.
        files
            Files of each image.
        call
            Function that returns the function, and its arguments, that makes the files of an image.

        Returns
        -------
        made
            Images with files; the others cannot be used.
        """
        calls = [call(image, paths) for image, paths in files.items() if not _exist(paths)]
        with make_progress(self.console) as progress:
            problems = run_all([(_attempt, part) for part in calls], self.jobs)
            for problem in track(progress, problems, description, len(calls)):
                if problem:
                    _LOG.warning("%s It is left out.", problem)
        made = {image: paths for image, paths in files.items() if _exist(paths)}
        if not made:
            raise AdaptationError(
                f"{description}: none of {len(files)} images can be used; see the warnings."
            )
        return made


def _exist(paths: Sequence[Path]) -> bool:
    return all(path.exists() for path in paths)


def _attempt(function: Callable[..., None], arguments: tuple[object, ...]) -> str:
    """Call a function; return why its image cannot be used, or nothing."""
    try:
        function(*arguments)
    except ValueError as error:
        return str(error)
    return ""


def _read(path: Path) -> astropy.table.Table:
    return astropy.table.Table.read(path, format="ascii.ecsv")
