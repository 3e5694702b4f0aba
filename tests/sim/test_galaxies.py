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

import dataclasses

import numpy as np
import pytest
import scipy.special

from lsst.meas.trails.sim.galaxies import Galaxies, add_galaxies, sersic_scale


def one_galaxy(**changes: float) -> Galaxies:
    values = {
        "x": 100.3,
        "y": 90.6,
        "flux": 1e4,
        "radius": 8.0,
        "axis_ratio": 1.0,
        "angle": 30.0,
        "index": 1.0,
    }
    return Galaxies(**{name: np.array([value]) for name, value in (values | changes).items()})


def painted(galaxies: Galaxies, faintest: float = 1e-4) -> np.ndarray:
    canvas = np.zeros((200, 220), dtype=np.float32)
    add_galaxies(canvas, galaxies, faintest)
    return canvas.astype(np.float64)


@pytest.mark.parametrize("index", [0.35, 0.5, 1.0, 2.0, 4.0])
def test_sersic_scale_halves_the_light(index: float) -> None:
    # The light within radius 1 is the incomplete gamma function of 2 n and b.
    assert scipy.special.gammainc(2.0 * index, sersic_scale(index)) == pytest.approx(0.5, abs=0.005)


@pytest.mark.parametrize("index", [0.4, 1.0, 2.5])
def test_half_of_the_light_is_within_the_radius(index: float) -> None:
    image = painted(one_galaxy(index=index))
    y, x = np.indices(image.shape)
    r = np.hypot(x - 100.3, y - 90.6)
    assert image.sum() == pytest.approx(1e4, rel=1e-4)
    assert image[r < 8.0].sum() == pytest.approx(5e3, rel=0.03)


def test_thin_galaxies_are_lines_along_their_angle() -> None:
    image = painted(one_galaxy(axis_ratio=0.02, angle=30.0))
    y, x = np.indices(image.shape)
    x, y = x - 100.3, y - 90.6
    c, s = np.cos(np.deg2rad(30.0)), np.sin(np.deg2rad(30.0))
    along, across = (image * (x * c + y * s) ** 2).sum() / 1e4, (image * (y * c - x * s) ** 2).sum() / 1e4
    # The second moment of an exponential disk along an axis: 3 scale lengths squared; the profile ends at 8
    # half-light radii. Across, pixels have a variance of 1/12 and the profile its minimum.
    assert along == pytest.approx(3.0 * (8.0 / 1.678) ** 2, rel=0.05)
    assert across < 0.3


def test_profiles_end_at_the_noise_without_a_square() -> None:
    image = painted(one_galaxy(index=4.0, flux=1e5), faintest=0.5)
    edge = image[image > 0.0].min()
    assert 0.2 < edge < 1.0
    # The outline is round: pixels along the diagonal reach no farther than along x.
    rows, columns = np.nonzero(image)
    r = np.hypot(columns - 100.3, rows - 90.6)
    assert r.max() < 1.03 * (columns.max() - 100.3) + 1.0


def test_clumps_share_the_flux() -> None:
    many = [one_galaxy(axis_ratio=0.3)] * 200
    galaxies = Galaxies(
        *(np.concatenate([getattr(g, f.name) for g in many]) for f in dataclasses.fields(Galaxies)[:7])
    )
    clumpy = galaxies.with_clumps(0.5, np.random.default_rng(1))
    chosen = clumpy.flux < 1e4
    assert np.mean(chosen) == pytest.approx(0.5, abs=0.15)
    assert np.all(clumpy.flux[chosen] >= 5e3)
    assert clumpy.flux.sum() + clumpy.clumps[:, 2].sum() == pytest.approx(galaxies.flux.sum())
    # Positions spread along the major axis, at 30 degrees.
    u, v = clumpy.clumps[:, 0] - 100.3, clumpy.clumps[:, 1] - 90.6
    assert np.rad2deg(0.5 * np.arctan2(2.0 * np.mean(u * v), np.mean(u * u - v * v))) == pytest.approx(
        30.0, abs=5.0
    )


def test_galaxies_beyond_the_edge_are_cut() -> None:
    for x, y in ((-3.0, 100.0), (219.0, 199.0), (-500.0, 50.0), (100.0, 700.0)):
        assert painted(one_galaxy(x=x, y=y)).sum() < 7e3
