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

import dataclasses
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest

from lsst.daf.butler import Butler
from lsst.images import DifferenceImage, VisitImage
from lsst.meas.trails.repository.butler import RepositoryError, open_or_create
from lsst.meas.trails.sim.simulation import Simulation

SIMULATION = Simulation(seed=11, visits=1, detectors=2, shape=(128, 160), trails=5)


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("simulation") / "repo"
    rows = list(SIMULATION.run(open_or_create(root), "input"))
    assert [(row["visit"], row["detector"]) for row in rows] == [
        (data_id["visit"], data_id["detector"]) for data_id in SIMULATION.data_ids()
    ]
    return root


@pytest.fixture
def butler(repo: Path) -> Butler:
    return Butler.from_config(repo, collections="input")


@pytest.mark.parametrize("detector", [0, 1])
def test_round_trip(butler: Butler, detector: int) -> None:
    made = SIMULATION.image(0, detector)
    image = butler.get("preliminary_visit_image", SIMULATION.data_ids()[detector])
    assert isinstance(image, VisitImage)
    assert image.bbox == made.image.bbox
    assert image.unit == u.nJy
    np.testing.assert_array_equal(image.image.array, made.image.image.array)
    np.testing.assert_array_equal(image.variance.array, made.image.variance.array)
    assert image.mask.schema == made.image.mask.schema
    np.testing.assert_array_equal(image.mask.array, made.image.mask.array)
    for x, y in ((0.0, 0.0), (80.3, 64.7), (159.0, 127.0)):
        np.testing.assert_array_equal(
            image.psf.compute_kernel_image(x=x, y=y).array,
            made.image.psf.compute_kernel_image(x=x, y=y).array,
        )
    assert image.sky_projection == made.image.sky_projection
    assert image.detector == made.image.detector
    assert image.obs_info == made.image.obs_info
    assert image.summary_stats == made.image.summary_stats
    assert (image.band, image.physical_filter) == ("r", "r_sim")

    truth = butler.get("simulated_trail_catalog", SIMULATION.data_ids()[detector])
    assert truth.colnames == made.truth.colnames
    for name in truth.colnames:
        np.testing.assert_array_equal(truth[name], made.truth[name])


def test_records_agree_with_the_image(butler: Butler) -> None:
    image = butler.get("preliminary_visit_image", SIMULATION.data_ids()[0])
    data_id = butler.registry.expandDataId(SIMULATION.data_ids()[0])
    visit = data_id.records["visit"]
    assert visit is not None
    assert visit.id == image.obs_info.visit_id
    assert visit.day_obs == image.obs_info.observing_day
    assert visit.timespan.begin == image.obs_info.datetime_begin
    assert visit.timespan.end == image.obs_info.datetime_end
    detector = data_id.records["detector"]
    assert detector is not None
    assert detector.full_name == image.detector.name == image.obs_info.detector_unique_name


def test_detectors_lie_side_by_side(butler: Butler) -> None:
    first, second = butler.query_dimension_records("visit_detector_region", instrument="TrailSimCam")
    assert first.region.isDisjointFrom(second.region)
    gap = first.region.getBoundingCircle().getCenter().dot(second.region.getBoundingCircle().getCenter())
    # The distance of the centers is a width and a gap.
    assert np.rad2deg(np.arccos(gap)) * 3600.0 == pytest.approx(160 * 0.2 * 42.25 / 40.72, rel=1e-3)


def test_sky_noise_agrees_with_the_variance() -> None:
    image = SIMULATION.image(0, 0).image
    blank = Simulation(seed=11, detectors=1, shape=(128, 160), trails=0).image(0, 0).image
    assert blank.summary_stats.skyNoise == pytest.approx(image.summary_stats.skyNoise, rel=1e-2)
    pixels = blank.image.array
    # Differences of neighbors remove the background, their median the stars.
    # The standard deviation of 20000 pixels has an error of 1%.
    steps = np.diff(pixels, axis=1)
    noise = 1.4826 * np.nanmedian(np.abs(steps - np.nanmedian(steps))) / np.sqrt(2.0)
    assert noise == pytest.approx(np.sqrt(np.nanmedian(blank.variance.array)), rel=0.05)


def test_reproducible() -> None:
    first, again = SIMULATION.image(0, 1), SIMULATION.image(0, 1)
    np.testing.assert_array_equal(first.image.image.array, again.image.image.array)
    # Other images have no influence.
    more = dataclasses.replace(SIMULATION, visits=3, detectors=4).image(0, 1)
    np.testing.assert_array_equal(first.image.image.array, more.image.image.array)


@pytest.mark.parametrize(
    ("other", "visit", "detector"),
    [(dataclasses.replace(SIMULATION, seed=12), 0, 0), (SIMULATION, 0, 1), (SIMULATION, 1, 0)],
)
def test_noise_is_independent(other: Simulation, visit: int, detector: int) -> None:
    """Seeds, visits and detectors do not share noise."""
    noises = []
    for simulation, v, d in ((SIMULATION, 0, 0), (other, visit, detector)):
        image = simulation.image(v, d).image
        pixels = image.image.array / np.sqrt(image.variance.array)
        steps = np.nan_to_num(np.diff(pixels, axis=1)).clip(-4.0, 4.0)
        noises.append(steps.ravel())
    correlation = np.corrcoef(noises[0], noises[1])[0, 1]
    # 20000 independent pixels correlate by 0.01.
    assert abs(correlation) < 0.05


def test_difference_image(repo: Path) -> None:
    simulation = dataclasses.replace(SIMULATION, detectors=1, template=True, difference=True)
    butler = Butler.from_config(repo, writeable=True)
    list(simulation.run(butler, "difference"))
    (data_id,) = simulation.data_ids()
    made = simulation.image(0, 0).difference
    assert made is not None
    difference = butler.get("difference_image", data_id, collections="difference")
    assert isinstance(difference, DifferenceImage)
    np.testing.assert_array_equal(difference.image.array, made.image.array)
    np.testing.assert_array_equal(difference.mask.array, made.mask.array)
    for x, y in ((0.0, 0.0), (80.3, 64.7)):
        np.testing.assert_allclose(
            difference.psf.compute_kernel_image(x=x, y=y).array,
            made.psf.compute_kernel_image(x=x, y=y).array,
            atol=1e-9,
        )
        assert difference.kernel.compute_kernel_image(x=x, y=y).array.sum() == pytest.approx(1.0)
    assert difference.summary_stats == made.summary_stats
    # The image does not depend on the template, which is subtracted.
    image, template, alone = (
        butler.get(name, data_id, collections=run)
        for name, run in (
            ("preliminary_visit_image", "difference"),
            ("template_detector", "difference"),
            ("preliminary_visit_image", "input"),
        )
    )
    np.testing.assert_array_equal(image.image.array, alone.image.array)
    np.testing.assert_array_equal(image.mask.array, alone.mask.array)
    assert difference.bbox == image.bbox
    assert np.all(difference.mask.get("NO_DATA")[template.mask.get("NO_DATA")])
    good = np.isfinite(difference.image.array) & np.isfinite(image.image.array)
    light = [np.quantile(np.abs(part.image.array[good]), 0.99) for part in (difference, image)]
    assert light[0] < light[1]
    # The template is stored only if requested.
    only = dataclasses.replace(simulation, template=False).image(0, 0)
    assert only.template is None
    assert only.difference is not None
    np.testing.assert_array_equal(only.difference.image.array, made.image.array)


def test_existing_datasets_are_refused(repo: Path) -> None:
    butler = Butler.from_config(repo, writeable=True)
    with pytest.raises(RepositoryError, match="Run 'input' holds 4 .*--run"):
        next(SIMULATION.run(butler, "input"))
    with pytest.raises(RepositoryError, match="--seed"):
        next(dataclasses.replace(SIMULATION, shape=(200, 160)).run(butler, "other"))


@pytest.mark.process
def test_processes_make_equal_images(repo: Path) -> None:
    butler = Butler.from_config(repo, writeable=True)
    rows = list(SIMULATION.run(butler, "parallel", jobs=2))
    assert len(rows) == 2
    for data_id in SIMULATION.data_ids():
        one, two = (
            butler.get("preliminary_visit_image.image", data_id, collections=run)
            for run in ("input", "parallel")
        )
        np.testing.assert_array_equal(one.array, two.array)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": -1}, "seed"),
        ({"sky": "blue"}, "blue"),
        ({"snr": (30.0, 3.0)}, "brightness"),
        ({"visits": 0}, "visits"),
        ({"visits": 801}, "visits"),
        ({"detectors": 190}, "detectors"),
        ({"band": "v"}, "'v'"),
        ({"reference_image": "/nowhere.fits"}, "nowhere"),
    ],
)
def test_bad_arguments(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SIMULATION, **change)  # type: ignore[arg-type]


WIDE = dataclasses.replace(
    SIMULATION, shape=(300, 320), sky="wide", trails=12.0, snr=(3.0, 3000.0), snr_index=-1.0, template=True,
    difference=True,
)  # fmt: skip


def test_wide_sky() -> None:
    """Seeing, noise and full well vary from visit to visit, far beyond the narrow sky."""
    images = [WIDE.image(index, 0) for index in range(4)]
    fwhm = [image.summary(1, 0)["fwhm"] for image in images]
    noise = [image.image.summary_stats.skyNoise for image in images]
    assert max(fwhm) / min(fwhm) > 1.5
    assert max(noise) / min(noise) > 1.5
    wells = [
        {value for key, value in image.image.metadata.items() if "SATURATION LEVEL" in key}
        for image in images
    ]
    assert all(len(well) == 1 and 40e3 <= min(well) <= 200e3 for well in wells)
    assert len(set.union(*wells)) == 4
    snr = np.concatenate([i.truth["snr_optimal"][i.truth["source_type"] == "Trail"] for i in images])
    assert np.mean(snr > 100.0) > 0.2
    assert {"Trail", "Star"} <= set(np.concatenate([i.truth["source_type"] for i in images]))
    for image in images:
        assert image.template is not None
        assert image.difference is not None
        assert image.summary(1, 0)["satellites"] == np.count_nonzero(
            image.truth["source_type"] == "Satellite"
        )
    plain = dataclasses.replace(WIDE, template=False, difference=False).image(0, 0)
    np.testing.assert_array_equal(plain.image.image.array, images[0].image.image.array)


def test_wide_sky_of_a_repeated_field() -> None:
    simulation = dataclasses.replace(WIDE, template=False, difference=False, repeat=2, cadence=3.0)
    first, second = (simulation.image(index, 0) for index in range(2))
    assert first.truth["designation"].dtype.kind == "U"
    # The same stars in other seeing and noise: 90 000 pixels correlate by 0.003 by chance.
    good = np.isfinite(first.image.image.array) & np.isfinite(second.image.image.array)
    a, b = (np.arcsinh(i.image.image.array[good] / i.image.summary_stats.skyNoise) for i in (first, second))
    assert np.corrcoef(a, b)[0, 1] > 0.05
