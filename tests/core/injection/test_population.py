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
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lsst.meas.trails.core.geometry import Trail, Trails, segment_distance
from lsst.meas.trails.core.injection.population import (
    BRIGHTNESS_MODES,
    TrailPopulation,
    draw_trails,
    rate_to_length,
)
from lsst.meas.trails.core.injection.truth import truth_table
from lsst.meas.trails.core.planes import ImagePlanes, plane_bits
from lsst.meas.trails.core.render import optimal_snr, render_trail

type MakePlanes = Callable[..., ImagePlanes]


def draw(population: TrailPopulation, planes: Any, seed: int = 1, **options: float) -> Trails:
    return draw_trails(population, planes, np.random.default_rng(seed), **options)


def test_number_ranges_and_places(make_planes: MakePlanes) -> None:
    trails = draw(
        TrailPopulation(number=300, length=(6.0, 150.0), allow_crossing=True), make_planes((300, 500))
    )
    assert len(trails) == 300
    assert trails.length.min() >= 6.0
    assert trails.length.max() <= 150.0
    # Midpoints are in the image.
    assert trails.x.min() >= -0.5
    assert trails.x.max() <= 499.5
    assert trails.y.min() >= -0.5
    assert trails.y.max() <= 299.5
    # Means of 300 uniform numbers are accurate to 1/sqrt(12 * 300) = 1.7% of
    # the range: four sigma.
    assert trails.x.mean() == pytest.approx(249.5, abs=0.07 * 500)
    assert trails.y.mean() == pytest.approx(149.5, abs=0.07 * 300)
    assert trails.angle.mean() == pytest.approx(90.0, abs=0.07 * 180)
    assert 0.0 <= trails.angle.min()
    assert trails.angle.max() < 180.0
    assert np.all(trails.flux > 0.0)


@pytest.mark.parametrize(("distribution", "median"), [("log-uniform", 30.0), ("uniform", 78.0)])
def test_lengths(make_planes: MakePlanes, distribution: str, median: float) -> None:
    population = TrailPopulation(
        number=400, length=(6.0, 150.0), length_distribution=distribution, allow_crossing=True
    )
    shorter = np.mean(draw(population, make_planes((200, 200))).length < median)
    # Half of 400, within 2.5%: four sigma.
    assert shorter == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("index", "same"), [(-1.0, "log-uniform"), (0.0, "uniform"), (-2.0, None), (3.0, None), (-60.0, None)]
)
def test_power_laws_of_lengths(index: float, same: str | None) -> None:
    population = TrailPopulation(length=(6.0, 150.0), length_distribution="power-law", length_index=index)
    rng = np.random.default_rng(1)
    lengths = np.array([population.draw_length(rng) for _ in range(4000)])
    assert 6.0 <= lengths.min()
    assert lengths.max() <= 150.0
    if same is not None:
        known = dataclasses.replace(population, length_distribution=same)
        expected = np.median([known.draw_length(rng) for _ in range(4000)])
    else:
        # Half of the integral of L^index from 6 to 150.
        power = index + 1.0
        expected = 6.0 * (0.5 * (1.0 + (150.0 / 6.0) ** power)) ** (1.0 / power)
    # The median of 4000, within 2.5% of the range of probabilities: three sigma.
    assert np.mean(lengths < expected) == pytest.approx(0.5, abs=0.035)


@pytest.mark.parametrize("angle", [(30.0, 50.0), (-20.0, 10.0), (90.0, 90.0)])
def test_angles(make_planes: MakePlanes, angle: tuple[float, float]) -> None:
    planes = make_planes((200, 200))
    population = TrailPopulation(number=100, length=(6.0, 20.0), angle=angle, allow_crossing=True)
    trails = draw(population, planes)
    assert np.all((trails.angle >= 0.0) & (trails.angle < 180.0))
    low, high = angle
    above = (trails.angle - low) % 180.0
    assert above.max() <= high - low + 1e-9
    # The probability of none of 100 in a tenth of the range is 3e-5.
    assert above.min() <= 0.1 * (high - low)
    assert above.max() >= 0.9 * (high - low)
    # Other properties do not depend on the angles.
    anyhow = draw(dataclasses.replace(population, angle=(0.0, 180.0)), planes)
    np.testing.assert_array_equal(trails.x, anyhow.x)
    np.testing.assert_array_equal(trails.length, anyhow.length)


def test_rates() -> None:
    """30 s with 0.2 arcsec pixels: 1 deg/day is 6.25 pixels."""
    assert rate_to_length(1.0, 30.0, 0.2) == pytest.approx(6.25)
    assert rate_to_length(10.0, 15.0, 0.4) == pytest.approx(15.625)


def test_brightness_follows_the_local_scale(make_planes: MakePlanes) -> None:
    """The flux of a magnitude depends on the scaling at the position."""
    population = TrailPopulation(
        number=20, brightness_mode="integrated_mag", brightness=(20.0, 20.0), allow_crossing=True
    )
    planes = make_planes((200, 200))
    trails = draw_trails(population, planes, np.random.default_rng(1), lambda x, y: 2.0 + 0.01 * x)
    plain = draw_trails(population, planes, np.random.default_rng(1), 1.0)
    np.testing.assert_allclose(trails.flux, plain.flux * (2.0 + 0.01 * plain.x))


def test_the_same_seed_draws_the_same(make_planes: MakePlanes) -> None:
    planes = make_planes((200, 200))
    first, again, other = (draw(TrailPopulation(number=5), planes, seed) for seed in (1, 1, 2))
    for field in dataclasses.fields(Trails):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(again, field.name))
    assert not np.any(first.x == other.x)


def test_a_fractional_number_is_a_mean(make_planes: MakePlanes) -> None:
    planes = make_planes((100, 100))
    population = TrailPopulation(number=1.3, length=(6.0, 10.0), separation=0.0)
    counts = [len(draw(population, planes, seed)) for seed in range(200)]
    assert set(counts) == {1, 2}
    # 30% of 200, within 3.2%: three sigma.
    assert np.mean(counts) == pytest.approx(1.3, abs=0.1)


def test_a_density(make_planes: MakePlanes) -> None:
    population = TrailPopulation(number=20.0, density_area=1e6, allow_crossing=True)
    assert len(draw(population, make_planes((500, 400)))) == 4


def test_blank_images(make_planes: MakePlanes) -> None:
    planes = make_planes((100, 100))
    population = TrailPopulation(number=1.0, blank_fraction=0.4)
    blank = [len(draw(population, planes, seed)) == 0 for seed in range(200)]
    # Within 3.5%: three sigma.
    assert np.mean(blank) == pytest.approx(0.4, abs=0.105)
    assert len(draw(TrailPopulation(number=0.0), planes)) == 0


def test_midpoints_avoid_masked_pixels(make_planes: MakePlanes) -> None:
    planes = make_planes((200, 200))
    planes.mask[:, :150] = plane_bits(["NO_DATA"])
    trails = draw(TrailPopulation(number=100, allow_crossing=True), planes)
    # Some of 200 tries in a quarter of the image succeed.
    assert len(trails) == 100
    assert trails.x.min() >= 149.5
    # Otherwise anywhere, with the brightness for clean sky.
    anywhere = draw(TrailPopulation(number=100, allow_crossing=True, avoid=()), planes)
    assert anywhere.x.min() < 149.5


def test_trails_keep_their_distance(make_planes: MakePlanes) -> None:
    trails = draw(TrailPopulation(number=30, length=(20.0, 60.0), separation=20.0), make_planes((400, 400)))
    assert len(trails) > 10
    x0, y0, x1, y1 = trails.ends
    t = np.linspace(0.0, 1.0, 200)
    for i in range(len(trails)):
        px, py = x0[i] + t * (x1[i] - x0[i]), y0[i] + t * (y1[i] - y0[i])
        for j in range(i):
            # Placing samples every five pixels: the least distance between
            # two samples can be less by 20 - sqrt(20^2 - 2.5^2) = 0.2.
            assert segment_distance(px, py, x0[j], y0[j], x1[j], y1[j]).min() > 19.5


def test_trails_without_room_are_left_out(make_planes: MakePlanes) -> None:
    trails = draw(TrailPopulation(number=50, length=(50.0, 60.0), separation=40.0), make_planes((80, 80)))
    assert 1 <= len(trails) < 10


def test_no_trails_where_there_is_no_data(make_planes: MakePlanes) -> None:
    planes = make_planes((50, 50))
    planes.image[:] = np.nan
    assert len(draw(TrailPopulation(), planes)) == 0


def test_optimal_snr(make_planes: MakePlanes) -> None:
    planes = make_planes((300, 300), sigma=3.0)
    population = TrailPopulation(number=10, brightness=(12.0, 12.0), length=(10.0, 60.0), allow_crossing=True)
    trails = draw(population, planes)
    for x, y, length, angle, flux in zip(
        trails.x, trails.y, trails.length, trails.angle, trails.flux, strict=True
    ):
        # A trail across the edge is as bright as on sky: at the center it
        # has the requested SNR.
        stamp = render_trail(planes.psf, Trail(150.0 + x % 1.0, 150.0 + y % 1.0, length, angle))
        assert optimal_snr(stamp, planes.variance, flux) == pytest.approx(12.0, rel=1e-4)


def test_optimal_snr_on_a_bright_place(make_planes: MakePlanes) -> None:
    """The same SNR needs more flux in greater noise."""
    planes = make_planes((200, 200))
    planes.variance[:, :100] = 16.0
    population = TrailPopulation(number=60, brightness=(10.0, 10.0), length=(6.0, 6.0), allow_crossing=True)
    trails = draw(population, planes)
    inside = (trails.y > 15.0) & (trails.y < 184.0)
    noisy, quiet = (
        inside & (trails.x > 15.0) & (trails.x < 85.0),
        inside & (trails.x > 115.0) & (trails.x < 185.0),
    )
    assert np.median(trails.flux[noisy]) == pytest.approx(4.0 * np.median(trails.flux[quiet]), rel=0.01)


@pytest.mark.parametrize(
    ("mode", "brightness", "column"),
    [
        ("snr_optimal", 12.0, "snr_optimal"),
        ("snr_detection", 7.0, "SNR"),
        ("psf_mag", 23.5, "PSF_mag"),
        ("integrated_mag", 21.0, "integrated_mag"),
        ("surface_brightness", 26.0, "mag"),
    ],
)
def test_truth_tables_have_the_requested_brightness(
    make_planes: MakePlanes, mode: str, brightness: float, column: str
) -> None:
    assert mode in BRIGHTNESS_MODES
    planes = make_planes((300, 300), sigma=40.0)
    population = TrailPopulation(
        number=20, brightness_mode=mode, brightness=(brightness, brightness), length=(6.0, 40.0)
    )
    trails = draw(population, planes, flux_per_njy=2.0)
    table = truth_table(planes, trails, flux_per_njy=2.0)
    whole = table[table["visible_fraction"] > 0.9999]
    assert len(whole) > 5
    np.testing.assert_allclose(whole[column], brightness, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"brightness_mode": "loud"}, "'loud'"),
        ({"length_distribution": "gaussian"}, "'gaussian'"),
        ({"length": (0.0, 10.0)}, "length"),
        ({"length": (20.0, 10.0)}, "length"),
        ({"length": (20.0, np.inf)}, "length"),
        ({"length": (20.0, 10_000.0)}, "length.*1000"),
        ({"length_index": np.nan}, "length_index"),
        ({"length": (np.nan, 10.0)}, "length"),
        ({"angle": (50.0, 30.0)}, "angle"),
        ({"angle": (-90.0, 100.0)}, "angle"),
        ({"angle": (0.0, np.nan)}, "angle"),
        ({"brightness": (5.0, 3.0)}, "brightness"),
        ({"brightness": (5.0, np.nan)}, "brightness"),
        ({"brightness": (0.0, 0.0)}, "brightness"),
        ({"brightness": (-1.0, 5.0)}, "brightness"),
        ({"brightness": (3.0, 1e12)}, "brightness"),
        ({"brightness_mode": "psf_mag", "brightness": (-50.0, 20.0)}, "brightness"),
        ({"brightness_mode": "integrated_mag", "brightness": (20.0, 1e4)}, "brightness"),
        ({"number": -1.0}, "number"),
        ({"blank_fraction": 1.5}, "blank"),
    ],
)
def test_impossible_populations_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrailPopulation(**change)


def test_brightness_is_a_power_law(make_planes: MakePlanes) -> None:
    population = TrailPopulation(brightness=(3.0, 1e5), brightness_index=-1.35)
    rng = np.random.default_rng(1)
    snr = np.array([population.draw_brightness(rng) for _ in range(4000)])
    assert 3.0 <= snr.min()
    assert snr.max() <= 1e5
    # The integral of s^-1.35; four sigma of 4000 draws are 3%.
    share = (3.0**-0.35 - 20.0**-0.35) / (3.0**-0.35 - 1e5**-0.35)
    assert np.mean(snr < 20.0) == pytest.approx(share, abs=0.032)
    with pytest.raises(ValueError, match="brightness_index"):
        TrailPopulation(brightness_mode="psf_mag", brightness=(18.0, 22.0), brightness_index=-1.0)
