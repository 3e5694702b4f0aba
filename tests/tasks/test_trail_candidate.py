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

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import astropy.table
import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from lsst.images import Box, Image
from lsst.meas.trails.core.background import SkySubtracted
from lsst.meas.trails.core.candidates.find import CandidateOptions, find_candidates
from lsst.meas.trails.core.candidates.score import FEATURES, ScoreModel
from lsst.meas.trails.core.catalog.columns import CANDIDATE_COLUMNS
from lsst.meas.trails.core.geometry import Trails, angle_difference
from lsst.meas.trails.core.render import truth_mask
from lsst.meas.trails.nn.candidate_score import LogitCalibration, add_second_stage, candidate_score
from lsst.meas.trails.nn.model_file import load_model, write_specification
from lsst.meas.trails.tasks import TrailCandidateConfig, TrailCandidateTask, TrailSegmentationTask
from lsst.meas.trails.tasks._input_image import read_input_image
from lsst.meas.trails.tasks._trail_images import ModelSummary, make_probability_image, model_summary
from lsst.pipe.base import InvalidQuantumError, UpstreamFailureNoWorkFound

from support.second_stages import copy_shipped_model, random_stage

SUMMARY = ModelSummary(
    name="drawn",
    version="7",
    sha256="ab",
    thresholds={"grow": 0.2, "seed": 0.5},
    min_area=12,
    score={},
    template_coverage=0.75,
)
FLAGS = [name for name, (dtype, _, _) in CANDIDATE_COLUMNS.items() if dtype is np.bool_]
START = (40, 30)


def make_task(**settings: Any) -> TrailCandidateTask:
    config = TrailCandidateConfig()
    for name, value in settings.items():
        setattr(config, name, value)
    config.validate()
    return TrailCandidateTask(config=config)


def probability_of(known: Any, *, peak: float = 0.9, **summary: Any) -> Image:
    """Return the probabilities of a perfect network."""
    image = read_input_image(known.image)
    x, y = image.origin
    truth = known.truth
    trails = Trails(truth["x"] - x, truth["y"] - y, truth["trail_length"], truth["beta"], truth["flux"])
    pixels = truth_mask(image.planes.psf, trails, image.planes.shape)
    content: Any = {**SUMMARY, **summary}
    return make_probability_image(peak * pixels.astype(np.float32), image, content)


def find(known: Any, *, probability: Image | None = None, **settings: Any) -> astropy.table.Table:
    return (
        make_task(**settings)
        .run(
            image=known.image,
            trail_probability=probability_of(known) if probability is None else probability,
            visit=12,
            detector=3,
        )
        .trail_candidate_detector
    )


@pytest.fixture(scope="module")
def known(make_image: Callable[..., Any], bright_trails: Any) -> Any:
    return make_image(bright_trails, start=START)


def check_measurements(catalog: astropy.table.Table, truth: astropy.table.Table) -> None:
    """Check a catalog, with tolerances of three or more times the errors at SNR 60."""
    assert len(catalog) == len(truth)
    for row in truth:
        candidate = catalog[np.argmin(np.hypot(catalog["x"] - row["x"], catalog["y"] - row["y"]))]
        assert np.hypot(candidate["x"] - row["x"], candidate["y"] - row["y"]) < 1.0
        assert angle_difference(candidate["trailAnglePix"], row["beta"]) < 2.0
        assert candidate["trailLengthPix"] == pytest.approx(row["trail_length"], rel=0.1)
        assert candidate["trailFlux"] == pytest.approx(row["flux"], rel=0.05)
        assert candidate["trailMag"] == pytest.approx(row["integrated_mag"], abs=0.055)
        assert not any(candidate[name] for name in FLAGS)


def test_network_and_fit_find_bright_trails(known: Any) -> None:
    segmented = TrailSegmentationTask(config=TrailSegmentationTask.ConfigClass()).run(image=known.image)
    catalog = find(known, probability=segmented.trail_probability)
    bright = catalog[np.asarray(catalog["snr"]) > 30.0]
    check_measurements(bright, known.truth)
    assert np.all((catalog["score"] >= 0.0) & (catalog["score"] <= 1.0))


def test_measurements(known: Any) -> None:
    catalog = find(known)
    check_measurements(catalog, known.truth)
    # The signal to noise of the fit lets the length vary too, and is lower.
    assert np.all((catalog["snr"] > 40.0) & (catalog["snr"] < 66.0))
    assert np.all(np.asarray(catalog["trailChi2"]) / catalog["trailNdata"] < 1.3)


def test_errors_are_those_of_the_noise(make_image: Callable[..., Any]) -> None:
    """Deviations over many realizations have the scatter of the stated errors."""
    deviations = []
    for seed in range(12):
        trail = (64.3, 50.7, 40.0, 33.0, 40.0)
        made = make_image([trail], shape=(100, 128), seed=100 + seed)
        (row,) = find(made)
        (truth,) = made.truth
        deviations.append(
            [
                (row["x"] - truth["x"]) / row["xErr"],
                (row["y"] - truth["y"]) / row["yErr"],
                (row["trailFlux"] - truth["flux"]) / row["trailFluxErr"],
                (row["trailAnglePix"] - truth["beta"]) / row["trailAngleErr"],
            ]
        )
    # 48 numbers, not quite independent: their variance is 1 within 0.5.
    assert np.mean(np.square(deviations)) == pytest.approx(1.0, abs=0.6)


def test_columns(known: Any) -> None:
    catalog = find(known)
    assert catalog.colnames == list(CANDIDATE_COLUMNS)
    for name, (_, unit, description) in CANDIDATE_COLUMNS.items():
        assert catalog[name].unit == unit
        assert catalog[name].description == description
    assert set(catalog["visit"]) == {12}
    assert set(catalog["detector"]) == {3}
    assert set(catalog["band"]) == {"r"}
    assert set(catalog["exposureTime"]) == {30.0}
    assert catalog["midpointMjdTai"][0] == pytest.approx(
        known.image.obs_info.datetime_begin.tai.mjd + 15.0 / 86400.0, abs=1e-9
    )
    assert catalog.meta["trailModel"] == {"name": "drawn", "version": "7", "sha256": "ab"}
    assert catalog.meta["templateCoverage"] == 0.75
    assert catalog.meta["imageShape"] == list(known.image.bbox.shape)
    assert catalog.meta["timeUncertainty"] == 0.5


def test_sky_columns(known: Any) -> None:
    catalog = find(known)
    sky = {}
    for suffix in ("", "0", "1"):
        sky[suffix] = known.image.sky_projection.pixel_to_sky(
            x=np.asarray(catalog[f"x{suffix}"]), y=np.asarray(catalog[f"y{suffix}"])
        )
        here = SkyCoord(catalog[f"ra{suffix}"].quantity, catalog[f"dec{suffix}"].quantity)
        # The pixel coordinates of the midpoint have single precision, as in the APDB.
        tolerance = 1e-6 if suffix else 1e-5
        assert np.all(here.separation(sky[suffix]) < tolerance * u.arcsec)
    # Pixels of 0.2 arcsec, and 30 s of exposure.
    length = sky["0"].separation(sky["1"])
    np.testing.assert_allclose(catalog["trailLength"], length.arcsec, rtol=1e-6)
    np.testing.assert_allclose(catalog["trailLength"], 0.2 * catalog["trailLengthPix"], rtol=1e-3)
    np.testing.assert_allclose(catalog["trailRate"], length.deg / (30.0 / 86400.0), rtol=1e-6)
    angle = sky["0"].position_angle(sky["1"]).deg
    assert np.all(angle_difference(catalog["trailAngle"], angle) < 0.01)
    assert np.all((catalog["trailAngle"] >= 0.0) & (catalog["trailAngle"] < 180.0))
    # Errors on the sky are those in pixels, here of a rotated detector.
    total = np.hypot(catalog["raErr"], catalog["decErr"])
    np.testing.assert_allclose(total * 3600.0, 0.2 * np.hypot(catalog["xErr"], catalog["yErr"]), rtol=0.01)


def test_ends_are_those_of_the_line(known: Any) -> None:
    catalog = find(known)
    # Midpoints have single precision.
    np.testing.assert_allclose(0.5 * (catalog["x0"] + catalog["x1"]), catalog["x"], rtol=1e-7)
    np.testing.assert_allclose(0.5 * (catalog["y0"] + catalog["y1"]), catalog["y"], rtol=1e-7)
    length = np.hypot(catalog["x1"] - catalog["x0"], catalog["y1"] - catalog["y0"])
    np.testing.assert_allclose(length, catalog["trailLengthPix"], rtol=1e-9)
    angle = np.rad2deg(np.arctan2(catalog["y1"] - catalog["y0"], catalog["x1"] - catalog["x0"]))
    assert np.all(angle_difference(angle, catalog["trailAnglePix"]) < 1e-6)


@pytest.mark.parametrize(
    ("trail", "masked", "expected"),
    [
        ((3.0, 60.0, 50.0, 30.0, 60.0), [], {"trail_flag_edge"}),
        (
            (80.0, 60.0, 50.0, 30.0, 60.0),
            [("SATURATED", (slice(59, 61), slice(79, 81)))],
            {"pixelFlags_saturated", "pixelFlags_saturatedCenter"},
        ),
        (
            (80.0, 60.0, 50.0, 0.0, 60.0),
            [("BAD", (slice(None), slice(60, 72)))],
            {"badFlag", "pixelFlags_bad"},
        ),
        # From edge to edge, and longer than the trail of any asteroid: the
        # trail has no ends to fit.
        ((120.0, 60.0, 500.0, 20.0, 300.0), [], {"streakFlag", "trail_flag_edge", "trail_flag"}),
        # A trail across a corner of the image may be an asteroid.
        ((230.0, 10.0, 60.0, 45.0, 100.0), [], {"trail_flag_edge"}),
    ],
    ids=lambda value: "+".join(sorted(value)) if isinstance(value, set) else "",
)
def test_flags(make_image: Callable[..., Any], trail: Any, masked: Any, expected: set[str]) -> None:
    made = make_image([trail], shape=(120, 240), masked=masked)
    (row,) = find(made)
    assert {name for name in FLAGS if row[name]} == expected


def test_nothing_to_find(known: Any) -> None:
    empty = make_probability_image(
        np.zeros(known.image.bbox.shape, dtype=np.float32), read_input_image(known.image), SUMMARY
    )
    catalog = find(known, probability=empty)
    assert len(catalog) == 0
    assert catalog.colnames == list(CANDIDATE_COLUMNS)
    assert catalog.meta["trailModel"]["name"] == "drawn"
    assert catalog.meta["imageShape"] == list(known.image.bbox.shape)


def test_nan_probabilities(known: Any) -> None:
    probability = probability_of(known)
    probability.array[::50] = np.nan
    assert len(find(known, probability=probability)) == 2


def test_thresholds(known: Any) -> None:
    faint = probability_of(known, peak=0.4)
    assert len(find(known, probability=faint)) == 0
    assert len(find(known, probability=faint, seedThreshold=0.3)) == 2
    with pytest.raises(InvalidQuantumError, match="growThreshold"):
        find(known, probability=faint, growThreshold=0.6)


def test_thresholds_of_the_segmentation(known: Any) -> None:
    """Mask and catalog are consistent unless this task is configured."""
    task = TrailSegmentationTask(config=TrailSegmentationTask.ConfigClass())
    task.config.seedThreshold, task.config.minArea = 0.3, 150
    segmented = task.run(image=known.image).trail_probability
    summary = model_summary(segmented)
    assert (summary["thresholds"]["seed"], summary["min_area"]) == (0.3, 150)
    faint = probability_of(known, peak=0.4, thresholds=summary["thresholds"], min_area=12)
    areas = sorted(find(known, probability=faint)["area"])
    assert len(areas) == 2
    between = int(np.mean(areas))
    faint = probability_of(known, peak=0.4, thresholds=summary["thresholds"], min_area=between)
    assert list(find(known, probability=faint)["area"]) == areas[1:]
    assert len(find(known, probability=faint, minArea=12)) == 2


def test_score_without_calibration_is_the_probability(known: Any) -> None:
    assert find(known)["score"] == pytest.approx([0.9, 0.9])


def test_score_is_that_of_the_model(known: Any) -> None:
    """The score depends on the SNR alone: log-odds ln(snr) - 4."""
    count = len(FEATURES)
    weights = np.zeros(count)
    weights[FEATURES.index("log_snr")] = 1.0
    model = ScoreModel(mean=np.zeros(count), scale=np.ones(count), coefficients=weights, intercept=-4.0)
    score = {**model.to_mapping(), "at_false_per_detector": {"10": 0.25}}
    catalog = find(known, probability=probability_of(known, score=score))
    snr = np.asarray(catalog["snr"])
    # Scores use the SNR without confusion noise, whose estimate from few
    # pixels is not exactly zero.
    np.testing.assert_allclose(catalog["score"], snr / (snr + np.exp(4.0)), rtol=0.03)
    assert np.all(np.diff(catalog["score"]) <= 0.0)
    assert catalog.meta["scoreAtFalsePerDetector"] == {"10": 0.25}
    between = float(np.mean(catalog["score"]))
    assert len(find(known, probability=probability_of(known, score=score), minScore=between)) == 1


@pytest.mark.parametrize("score", [{"features": ["size"]}, {"features": list(FEATURES), "intercept": None}])
def test_score_that_cannot_be_used(known: Any, score: dict[str, Any]) -> None:
    with pytest.raises(InvalidQuantumError, match="score.*drawn"):
        find(known, probability=probability_of(known, score=score))


@pytest.fixture
def ranking_model(tmp_path: Path) -> Path:
    """Return a model with a second stage."""
    path = copy_shipped_model(tmp_path, "template")
    stage = random_stage(widths=(4, 8), dense=8, dense_numbers=4)
    specification = add_second_stage(path, stage.section, stage.weights)
    write_specification(path, specification.replace(score=LogitCalibration(0.5, 0.1).to_mapping()))
    return path


def test_score_of_a_second_stage(known: Any, ranking_model: Path) -> None:
    model = load_model(ranking_model)
    summary = {
        "score": dict(model.specification.score),
        "sha256": model.checksum,
        "source": str(ranking_model),
        "template_coverage": 0.0,
    }
    catalog = find(known, probability=probability_of(known, **summary))
    expected = find_candidates(
        probability_of(known).array,
        SkySubtracted.from_planes(read_input_image(known.image).planes),
        candidate_score(model),
        CandidateOptions(grow=0.2, seed=0.5),
    )
    np.testing.assert_allclose(catalog["score"], expected["score"], rtol=1e-5)
    assert len(np.unique(catalog["score"])) == 2
    with pytest.raises(InvalidQuantumError, match="segment the image again"):
        find(known, probability=probability_of(known, **(summary | {"sha256": "ab"})))
    del summary["source"]
    with pytest.raises(InvalidQuantumError, match="trail_model"):
        find(known, probability=probability_of(known, **summary))


def test_a_second_stage_sees_the_template_of_the_network(known: Any, ranking_model: Path) -> None:
    model = load_model(ranking_model)
    probability = probability_of(
        known,
        score=dict(model.specification.score),
        sha256=model.checksum,
        source=str(ranking_model),
        template_coverage=1.0,
    )
    with pytest.raises(InvalidQuantumError, match="useTemplate"):
        find(known, probability=probability)
    summary: Any = {**model_summary(probability), "template_coverage": 0.0}
    without = find(known, probability=probability_of(known, **summary))
    seen = make_task().run(image=known.image, trail_probability=probability, template=known.image)
    assert np.all(seen.trail_candidate_detector["score"] != without["score"])


def test_probabilities_of_another_image(known: Any) -> None:
    probability = probability_of(known)
    moved = Image(
        probability.array, bbox=Box.from_shape(probability.bbox.shape), metadata=probability.metadata
    )
    with pytest.raises(InvalidQuantumError, match="probability image"):
        find(known, probability=moved)


def test_probabilities_of_an_unknown_model(known: Any) -> None:
    probability = probability_of(known)
    nameless = Image(probability.array, bbox=probability.bbox)
    with pytest.raises(UpstreamFailureNoWorkFound, match="TRAIL_MODEL"):
        find(known, probability=nameless)


def test_candidates_on_bad_pixels_are_dropped(make_image: Callable[..., Any]) -> None:
    """Interpolated pixels hold no information."""
    made = make_image(
        [(80.0, 60.0, 50.0, 30.0, 60.0)],
        shape=(120, 160),
        masked=[("INTERPOLATED", (slice(None), slice(40, 160)))],
    )
    assert len(find(made)) == 0


def test_task_metadata(known: Any) -> None:
    task = make_task()
    task.run(image=known.image, trail_probability=probability_of(known))
    assert task.metadata["nCandidates"] == 2
    assert task.metadata["nStreaks"] == 0
    assert task.metadata["timeSource"] == "record"
    assert task.metadata["nFitFailed"] == 0
