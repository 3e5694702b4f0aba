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

"""Searches of the images that are left out of a training, with injected trails.

All models search the same pixels: the random numbers of an image are those of its data ID.
"""

from __future__ import annotations

__all__ = ("InjectedTrails", "inject_into", "read_search", "search_for_calibration", "search_for_test")

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import astropy.table
import numpy as np

from ..core.atomic import atomic_path
from ..core.background import SkySubtracted, fit_background
from ..core.candidates.find import CandidateOptions, find_candidates
from ..core.catalog.columns import candidate_catalog
from ..core.geometry import Trails
from ..core.injection.fresh import add_fresh_trails
from ..core.injection.gain import GainMap
from ..core.injection.population import TrailPopulation, draw_trails
from ..core.injection.truth import add_distractors, truth_table
from ..core.operating_point import DETECTOR_PIXELS, FALSE_RATES
from ..core.planes import ImagePlanes
from ..evaluation.match_table import ImageContext, match_table, search_table
from ..nn.candidate_score import candidate_score
from ..nn.model_file import TrailModel, load_model
from ..nn.model_specification import ModelSpecification
from ..nn.predict import predict_probability
from ..training.candidate_sample import SearchedScene
from ..training.survey import survey_thresholds
from ..training.survey_images import InjectionOptions, SurveyImage, search_survey_image
from .images import ImageSource, KnownImage


@dataclasses.dataclass(frozen=True)
class InjectedTrails:
    """Trails that are injected into each image: faint ones, and bright ones up to saturation."""

    seed: int
    """Seed of the trails."""

    density: float = 10.0
    """Trails per million pixels."""

    bright: float = 0.2
    """Fraction of bright trails."""

    def populations(self) -> tuple[TrailPopulation, TrailPopulation]:
        """Return the populations of the faint and of the bright trails."""
        area = 1.0e6
        return (
            TrailPopulation(
                number=(1.0 - self.bright) * self.density, density_area=area, brightness=(3.0, 30.0)
            ),
            TrailPopulation(
                number=self.bright * self.density,
                density_area=area,
                brightness=(30.0, 3000.0),
                brightness_index=-1.0,
            ),
        )


def inject_into(image: ImageSource, known: KnownImage, trails: InjectedTrails) -> tuple[ImagePlanes, Trails]:
    """Add trails to an image; the same ones each time.

    Returns
    -------
    planes
        The image with the trails.
    injected
        The trails, array coordinates.
    """
    rng = np.random.default_rng([trails.seed, _number(image)])
    drawn = [draw_trails(population, known.planes, rng) for population in trails.populations()]
    injected = Trails.from_trails(trail for part in drawn for trail in part)
    return add_fresh_trails(known.background(), injected, rng).planes, injected


def _truth(known: KnownImage, injected: Trails) -> astropy.table.Table:
    """Return the truth of an image; real trails are of the type ``Satellite``, which nothing counts."""
    truth = truth_table(known.planes, injected, pixel_to_sky=known.pixel_to_sky)
    real = _real(known)
    return add_distractors(
        truth, real, ["Satellite"] * len(real), known.planes.psf, pixel_to_sky=known.pixel_to_sky
    )


def _real(known: KnownImage) -> Trails:
    """Return labeled trails, and candidates that may be some."""
    return Trails.from_trails([*known.labels.trails, *known.labels.unknown])


def _number(image: ImageSource) -> int:
    """Return a number that identifies an image."""
    return int.from_bytes(hashlib.sha256(image.name.encode()).digest()[:8], "little")


def search_for_calibration(image: ImageSource, model: Path, trails: InjectedTrails, path: Path) -> None:
    """Search an image as it is and with injected trails, and write the candidates.

    Parameters
    ----------
    image
        The image.
    model
        Specification of the model.
    trails
        Trails to inject.
    path
        ECSV file to write, for `read_search`.

    Raises
    ------
    ValueError
        Raised if the image cannot be used.
    """
    known = image.read()
    network = load_model(model)
    scene = search_survey_image(
        network,
        SurveyImage(known.planes, GainMap.uniform(known.gain), _real(known)),
        InjectionOptions(number=trails.density * DETECTOR_PIXELS / 1e6),
        np.random.default_rng([trails.seed, _number(image)]),
        thresholds=survey_thresholds(network.specification),
        group=image.visit,
    )
    tables = []
    for (grow, seed), table in scene.tables.items():
        plain = astropy.table.Table(table)
        plain.meta.clear()
        plain["grow"], plain["seed"] = np.full(len(table), grow), np.full(len(table), seed)
        tables.append(plain)
    joined = astropy.table.vstack(tables, metadata_conflicts="silent")
    joined.meta = {
        "n_pixels": scene.n_pixels,
        "visit": image.visit,
        "thresholds": [list(pair) for pair in scene.tables],
        "snr": scene.snr.tolist(),
        "length": scene.length.tolist(),
    }
    with atomic_path(path) as partial:
        joined.write(partial, format="ascii.ecsv")


def read_search(path: Path) -> SearchedScene:
    """Return the candidates that `search_for_calibration` wrote.

    Raises
    ------
    ValueError
        Raised if the file cannot be used; the message names it.
    """
    try:
        joined = astropy.table.Table.read(path, format="ascii.ecsv")
        meta: Mapping[str, Any] = joined.meta
        pairs = [(float(grow), float(seed)) for grow, seed in meta["thresholds"]]
        grow, seed = (np.asarray(joined[name], dtype=np.float64) for name in ("grow", "seed"))
        tables = {pair: joined[(grow == pair[0]) & (seed == pair[1])] for pair in pairs}
        snr, length = (np.array(meta[name], dtype=np.float64) for name in ("snr", "length"))
        return SearchedScene(tables, snr, length, int(meta["n_pixels"]), int(meta["visit"]))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read ({error}); remove it to search the image again.") from error


def search_for_test(
    image: ImageSource,
    models: Mapping[str, tuple[Path, ModelSpecification]],
    trails: InjectedTrails,
    paths: Mapping[str, tuple[Path, Path]],
) -> None:
    """Search an image with injected trails with several models, and compare with the truth.

    Parameters
    ----------
    image
        The image.
    models
        Specification file, for the weights, and specification, for thresholds and score, by name.
    trails
        Trails to inject.
    paths
        ECSV files to write for each model: its match table and its search table.

    Raises
    ------
    ValueError
        Raised if the image cannot be used.
    """
    known = image.read()
    planes, injected = inject_into(image, known, trails)
    truth = _truth(known, injected)
    background = fit_background(planes.image, planes.bad())
    sky = SkySubtracted.from_planes(planes, background)
    context = ImageContext(
        shape=planes.shape,
        pixel_scale=known.pixel_scale,
        exposure_time=known.exposure_time if known.exposure_time > 0.0 else 0.0,
        visit=image.visit,
        detector=image.detector,
    )
    networks: dict[Path, tuple[TrailModel, Any]] = {}
    for name, (path, specification) in models.items():
        if path not in networks:
            network = load_model(path)
            networks[path] = (
                network,
                predict_probability(network, planes, background=background, threads=1, device="cpu"),
            )
        network, probability = networks[path]
        thresholds = specification.thresholds
        found = find_candidates(
            probability,
            sky,
            candidate_score(network, specification.score),
            CandidateOptions(grow=thresholds["grow"], seed=thresholds["seed"]),
        )
        catalog = candidate_catalog(
            found,
            first_id=0,
            visit=image.visit,
            detector=image.detector,
            band="",
            midpoint_mjd_tai=0.0,
            exposure_time=known.exposure_time,
            pixel_to_sky=known.pixel_to_sky,
        )
        matches = match_table(catalog, truth, context)
        at_rate: Any = specification.score.get("at_false_per_detector", {})
        measured = {f"modelThreshold{rate}": float(at_rate.get(str(rate), np.nan)) for rate in FALSE_RATES}
        n_searched = int(np.count_nonzero(~planes.bad()))
        search = search_table(matches, context, n_searched=n_searched, measured=measured)
        for path_of_table, table in zip(paths[name], (matches, search), strict=True):
            with atomic_path(path_of_table) as partial:
                table.write(partial, format="ascii.ecsv")
