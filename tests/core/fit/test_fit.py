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
import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lsst.meas.trails.core.background import SkySubtracted
from lsst.meas.trails.core.fit.fit import fit_trail, start_as_fit
from lsst.meas.trails.core.fit.pixels import MAX_FITTED_LENGTH, TrailFit
from lsst.meas.trails.core.geometry import Trail, angle_difference, signed_angle_difference
from lsst.meas.trails.core.planes import ImagePlanes, plane_bits
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.core.render import add_trail, optimal_snr, render_trail

type MakePlanes = Callable[..., ImagePlanes]
type Mask = npt.NDArray[np.bool_]

PSF = PsfGrid.gaussian(4.0)


def sky_of(
    planes: ImagePlanes, level: float = 0.0, bad: npt.NDArray[np.bool_] | None = None
) -> SkySubtracted:
    return SkySubtracted(planes, np.full(planes.shape, level), planes.bad() if bad is None else bad)


@dataclasses.dataclass(frozen=True)
class Case:
    """A trail in an image of its own, and the start of its fit."""

    planes: ImagePlanes
    trail: Trail
    start: Trail

    def fit(self, start: Trail | None = None) -> TrailFit:
        return fit_trail(sky_of(self.planes), start or self.start)

    def pulls(self, fit: TrailFit) -> npt.NDArray[np.float64]:
        """Return deviations of the five parameters over their stated errors."""
        true = self.trail
        turned = signed_angle_difference(fit.angle, true.angle)
        return np.array(
            [
                (fit.x - true.x) / fit.x_err,
                (fit.y - true.y) / fit.y_err,
                (fit.length - true.length) / fit.length_err,
                turned / fit.angle_err,
                (fit.flux - true.flux) / fit.flux_err,
            ]
        )


def make_case(
    length: float, snr: float, seed: int, *, angle: float | None = None, psf: PsfGrid = PSF
) -> Case:
    """Return a trail on white noise, and a start as from a component.

    The start is off by up to 2 pixels, at the ends too, and 20% in length.
    """
    rng = np.random.default_rng([seed, int(length)])
    size = int(length) + 80
    image = rng.standard_normal((size, size), dtype=np.float32)
    planes = ImagePlanes(
        image=image,
        variance=np.ones_like(image),
        mask=np.zeros(image.shape, dtype=np.uint32),
        psf=psf,
    )
    x, y = (float(size / 2 + rng.uniform(-1.0, 1.0)) for _ in range(2))
    angle = float(rng.uniform(0.0, 180.0)) if angle is None else angle
    flux = snr / optimal_snr(render_trail(psf, Trail(x, y, length, angle)), planes.variance, 1.0)
    trail = Trail(x, y, length, angle, flux)
    add_trail(image, psf, trail)
    start = Trail(
        x=x + rng.uniform(-2.0, 2.0),
        y=y + rng.uniform(-2.0, 2.0),
        length=max(length, 1.0) * rng.uniform(0.8, 1.1),
        angle=angle + rng.uniform(-1.0, 1.0) * np.rad2deg(2.0 / max(length, 10.0)),
    )
    return Case(planes, trail, start)


def check_pulls(pulls: list[npt.NDArray[np.float64]]) -> None:
    """Check the errors of a few dozen fits: no bias, and 68% within one."""
    table = np.array(pulls)
    assert np.all(np.isfinite(table))
    # The median of n normal numbers has an error of 1.25 / sqrt(n): allow
    # three of them, and 0.1 for the non-linearity.
    assert np.abs(np.median(table, axis=0)).max() < 1.25 * 3.0 / np.sqrt(len(table)) + 0.1
    # The fraction of 0.68 has an error of 0.04 to 0.074 in 40 fits of five
    # correlated parameters; stated errors may be wrong by a quarter.
    within = np.mean(np.abs(table) < 1.0)
    assert 0.55 < within < 0.80
    # Hardly one of 200 values is beyond four.
    assert np.mean(np.abs(table) > 4.0) < 0.03


@pytest.mark.parametrize("length", [10.0, 30.0, 60.0])
def test_no_bias_and_honest_errors(length: float) -> None:
    cases = [make_case(length, 15.0, seed) for seed in range(40)]
    fits = [case.fit() for case in cases]
    assert not any(fit.failed for fit in fits)
    check_pulls([case.pulls(fit) for case, fit in zip(cases, fits, strict=True)])
    # Some 700 pixels a fit: chi-square per pixel is good to 5%, its mean to 1%.
    assert np.mean([fit.chi2 / fit.n_data for fit in fits]) == pytest.approx(1.0, abs=0.04)
    # The trail improves chi-square by the square of its SNR.
    gain = np.mean([fit.chi2_null - fit.chi2 for fit in fits])
    assert np.sqrt(gain) == pytest.approx(15.0, rel=0.1)


@pytest.mark.parametrize(("length", "snr"), [(120.0, 9.0), (60.0, 12.0)])
def test_errors_allow_for_hidden_ends(length: float, snr: float) -> None:
    """The curvature of the likelihood alone underestimates the errors."""
    cases = [make_case(length, snr, seed) for seed in range(40)]
    pulls = np.array([case.pulls(case.fit()) for case in cases])
    # The root of the mean of 40 squares has an error of 0.11, and twice as
    # much if a few of them dominate it, as for ends.
    assert np.all(np.sqrt(np.mean(np.square(pulls[:, :3]), axis=0)) < 1.65)


def check_shifts(cases: list[Case], add_neighbor: Callable[[Case], object]) -> None:
    """Check that a neighbor changes the fits by less than the noise."""
    shifts = []
    for case in cases:
        alone = case.fit()
        add_neighbor(case)
        fit = case.fit()
        assert not fit.failed
        shifts.append(case.pulls(fit) - case.pulls(alone))
    # Pixels that are not fitted change the noise.
    assert np.mean(np.abs(shifts)) < 0.7
    assert np.mean(np.abs(shifts) > 3.0) < 0.1


@pytest.mark.parametrize("length", [10.0, 30.0, 60.0])
@pytest.mark.parametrize("brightness", [3.0, 20.0, 300.0])
def test_a_star_next_to_the_trail(length: float, brightness: float) -> None:
    """The star is 9 pixels off the line and up to 300 times as bright."""

    def add(case: Case) -> None:
        c, s = case.trail.direction
        x, y = case.trail.x + 0.2 * length * c - 9.0 * s, case.trail.y + 0.2 * length * s + 9.0 * c
        add_trail(case.planes.image, PSF, Trail(x, y, 0.0, 0.0, brightness * case.trail.flux))

    check_shifts([make_case(length, 15.0, seed) for seed in range(12)], add)


@pytest.mark.parametrize("brightness", [1.0, 100.0])
def test_a_star_on_the_trail(brightness: float) -> None:
    def add(case: Case) -> None:
        c, s = case.trail.direction
        flux = brightness * case.trail.flux
        add_trail(
            case.planes.image, PSF, Trail(case.trail.x + 15.0 * c, case.trail.y + 15.0 * s, 0.0, 0.0, flux)
        )

    check_shifts([make_case(60.0, 15.0, seed) for seed in range(12)], add)


def test_a_bright_trail_across() -> None:
    def add(case: Case) -> None:
        add_trail(
            case.planes.image,
            PSF,
            Trail(case.trail.x + 3.0, case.trail.y, 50.0, case.trail.angle + 60.0, 20.0 * case.trail.flux),
        )

    check_shifts([make_case(60.0, 15.0, seed) for seed in range(12)], add)


@pytest.mark.parametrize("length", [30.0, 60.0])
def test_masked_columns_across(length: float) -> None:
    cases = [make_case(length, 15.0, seed, angle=30.0 + seed) for seed in range(40)]
    pulls = []
    for case in cases:
        bar = np.s_[:, int(case.trail.x) - 8 : int(case.trail.x) - 1]
        case.planes.mask[bar] = plane_bits(["BAD"])
        case.planes.image[bar] = 1e5
        pulls.append(case.pulls(case.fit()))
    check_pulls(pulls)


def test_a_cosmic_ray_on_the_trail() -> None:
    pulls = []
    for seed in range(15):
        case = make_case(30.0, 15.0, seed)
        case.planes.image[round(case.trail.y) + 1, round(case.trail.x) - 2] += 300.0
        pulls.append(case.pulls(case.fit()))
    # A Huber loss at 4 sigma pulls as a pixel of 4 sigma would.
    assert np.mean(np.abs(pulls) < 3.0) > 0.9


@pytest.mark.parametrize("length", [5.0, 30.0])
@pytest.mark.parametrize("snr", [300.0, 5000.0])
def test_bright_trails_are_fitted_to_the_end(length: float, snr: float) -> None:
    """Errors of a thousandth of a pixel need as many digits of convergence."""
    for seed in range(5):
        case = make_case(length, snr, seed)
        fit = case.fit()
        assert not fit.failed
        assert np.abs(case.pulls(fit)).max() < 4.5
        assert fit.chi2 / fit.n_data == pytest.approx(1.0, abs=0.25)


def test_without_noise_the_truth_is_found(make_planes: MakePlanes) -> None:
    planes = make_planes((120, 120))
    add_trail(planes.image, PSF, Trail(60.3, 58.6, 40.0, 140.0, 2000.0))
    planes.image[:] += 3.0
    fit = fit_trail(sky_of(planes, level=1.0), Trail(x=61.0, y=58.0, length=34.0, angle=143.0))
    assert not fit.failed
    # Single precision, and the tolerance of the solver.
    assert (fit.x, fit.y, fit.length, fit.angle) == pytest.approx((60.3, 58.6, 40.0, 140.0), abs=2e-3)
    assert fit.flux == pytest.approx(2000.0, rel=1e-4)
    assert fit.background == pytest.approx(2.0, abs=1e-3)
    assert fit.chi2 < 1.0
    # The errors are for the variance plane, although there is no noise.
    stamp = render_trail(PSF, Trail(60.3, 58.6, 40.0, 140.0))
    assert fit.flux / fit.flux_err == pytest.approx(optimal_snr(stamp, planes.variance, 2000.0), rel=0.2)


def test_units_do_not_matter() -> None:
    case = make_case(30.0, 20.0, 1)
    fit = case.fit()
    scale = 2.0**-20
    planes = dataclasses.replace(
        case.planes,
        image=(case.planes.image * scale).astype(np.float32),
        variance=(case.planes.variance * scale**2).astype(np.float32),
    )
    small = dataclasses.replace(case, planes=planes).fit()
    for name in ("x", "y", "length", "angle", "x_err", "length_err", "angle_err", "chi2"):
        assert getattr(small, name) == pytest.approx(getattr(fit, name), rel=1e-6)
    for name in ("flux", "flux_err", "background"):
        assert getattr(small, name) == pytest.approx(getattr(fit, name) * scale, rel=1e-5)


def test_a_point_source_has_no_length(make_planes: MakePlanes) -> None:
    for seed in range(10):
        planes = make_planes((60, 60), seed=seed)
        add_trail(planes.image, PSF, Trail(30.3, 29.6, 0.0, 0.0, 1000.0))
        fit = fit_trail(sky_of(planes), Trail(x=31.0, y=29.0, length=3.0, angle=50.0))
        assert not fit.failed
        assert (fit.x, fit.y) == pytest.approx((30.3, 29.6), abs=5.0 * fit.x_err)
        # Length enters squared, L^2/12 against 2 x 1.7^2 / SNR: noise alone
        # makes about a pixel at an SNR of 130.
        assert fit.length < 2.0
        assert fit.flux == pytest.approx(1000.0, abs=5.0 * fit.flux_err)


def test_the_psf_of_the_place_is_used() -> None:
    kernels = np.array([[PsfGrid.gaussian(fwhm).kernels[0, 0] for fwhm in (3.0, 6.0)]])
    psf = PsfGrid(x=np.array([0.0, 200.0]), y=np.zeros(1), kernels=kernels)
    cases = [make_case(80.0, 40.0, seed, angle=15.0, psf=psf) for seed in range(20)]
    fits = [case.fit() for case in cases]
    check_pulls([case.pulls(fit) for case, fit in zip(cases, fits, strict=True)])
    # With one PSF everywhere, the wide end looks longer than the narrow one.
    constant = PsfGrid.constant(psf.mean_kernel)
    wrong = [
        dataclasses.replace(case, planes=dataclasses.replace(case.planes, psf=constant)).fit()
        for case in cases
    ]
    assert np.mean([fit.chi2 for fit in fits]) < np.mean([fit.chi2 for fit in wrong])


def test_a_fragment_grows_to_the_whole() -> None:
    """The start covers 20 of 60 pixels, off the middle."""
    case = make_case(60.0, 30.0, 5)
    c, s = case.trail.direction
    x, y = case.trail.x + 15.0 * c, case.trail.y + 15.0 * s
    fit = case.fit(dataclasses.replace(case.start, x=x, y=y, length=20.0))
    assert not fit.failed
    assert np.abs(case.pulls(fit)).max() < 5.0


def test_at_the_edge_the_line_is_right(make_planes: MakePlanes) -> None:
    """Half of a trail of 100 pixels lies on the image."""
    planes = make_planes((100, 120), seed=4)
    add_trail(planes.image, PSF, Trail(0.0, 50.0, 100.0, 20.0, 1500.0))
    c, s = np.cos(np.deg2rad(20.0)), np.sin(np.deg2rad(20.0))
    fit = fit_trail(sky_of(planes), Trail(x=25.0 * c, y=50.0 + 25.0 * s, length=45.0, angle=22.0))
    assert not fit.failed
    assert angle_difference(fit.angle, 20.0) < 5.0 * fit.angle_err
    # The visible end is at 50 pixels from the midpoint.
    radians = np.deg2rad(fit.angle)
    end = fit.x + 0.5 * fit.length * np.cos(radians), fit.y + 0.5 * fit.length * np.sin(radians)
    assert end == pytest.approx((50.0 * c, 50.0 + 50.0 * s), abs=3.0)
    # The brightness per pixel does not depend on the part beyond the edge.
    assert fit.flux / fit.length == pytest.approx(15.0, rel=0.1)


def test_a_hidden_end_does_not_hide_the_angle(make_planes: MakePlanes) -> None:
    """Half of a trail of 20 pixels lies on the image, which determines its angle."""
    hidden = 0
    for seed in range(8):
        planes = make_planes((100, 100), seed=seed)
        add_trail(planes.image, PSF, Trail(50.0, 0.0, 20.0, 70.0, 200.0))
        fit = fit_trail(sky_of(planes), Trail(50.0, 1.0, 20.0, 75.0))
        assert not fit.failed
        hidden += fit.length_err > 100.0
        assert fit.angle_err < 30.0
        assert angle_difference(fit.angle, 70.0) < 5.0 * fit.angle_err
    assert hidden > 4


@pytest.mark.parametrize(("x", "y"), [(2.0, 3.0), (58.0, 2.0), (0.0, 59.0), (59.0, 59.0)])
def test_in_a_corner_with_a_large_kernel(make_planes: MakePlanes, x: float, y: float) -> None:
    psf = PsfGrid.gaussian(4.0, size=51)
    planes = make_planes((60, 60), psf=psf, seed=1)
    add_trail(planes.image, psf, Trail(x, y, 8.0, 30.0, 1000.0))
    fit = fit_trail(sky_of(planes), Trail(x, y, 8.0, 35.0))
    assert not fit.failed
    assert np.hypot(fit.x - x, fit.y - y) < 5.0 * np.hypot(fit.x_err, fit.y_err)


def test_flux_at_the_start() -> None:
    case = make_case(40.0, 20.0, 3)
    true = case.trail
    fit = start_as_fit(sky_of(case.planes), true)
    assert fit.failed
    assert (fit.x, fit.y, fit.length, fit.angle) == pytest.approx((true.x, true.y, true.length, true.angle))
    assert fit.flux == pytest.approx(case.trail.flux, abs=4.0 * fit.flux_err)
    assert case.trail.flux / fit.flux_err == pytest.approx(20.0, rel=0.05)
    assert np.isnan([fit.x_err, fit.y_err, fit.length_err, fit.angle_err]).all()


# Failures.

START = Trail(x=30.0, y=28.0, length=12.0, angle=200.0)


def check_failure(fit: TrailFit) -> None:
    assert fit.failed
    assert (fit.x, fit.y, fit.length, fit.angle) == (30.0, 28.0, 12.0, 20.0)
    assert np.isnan([fit.x_err, fit.y_err, fit.length_err, fit.angle_err]).all()


def test_all_bad(make_planes: MakePlanes) -> None:
    planes = make_planes(seed=1)
    fit = fit_trail(sky_of(planes, bad=np.ones(planes.shape, dtype=bool)), START)
    check_failure(fit)
    assert np.isnan([fit.flux, fit.flux_err, fit.chi2, fit.background]).all()
    assert fit.n_data == 0


@pytest.mark.parametrize("value", [0.0, 1e6, -1e6, np.nan, np.inf])
def test_constant_data(make_planes: MakePlanes, value: float) -> None:
    """The value may be NaN without being marked as bad."""
    planes = make_planes()
    planes.image[:] = value
    check_failure(fit_trail(sky_of(planes, bad=np.zeros(planes.shape, dtype=bool)), START))


@pytest.mark.parametrize("variance", [0.0, -1.0, np.nan, np.inf])
def test_invalid_variances(make_planes: MakePlanes, variance: float) -> None:
    planes = make_planes(seed=1)
    planes.variance[:] = variance
    check_failure(fit_trail(sky_of(planes, bad=np.zeros(planes.shape, dtype=bool)), START))


def test_a_hole_is_not_a_trail(make_planes: MakePlanes) -> None:
    planes = make_planes(seed=1)
    add_trail(planes.image, PSF, Trail(30.0, 28.0, 12.0, 20.0, -500.0))
    fit = fit_trail(sky_of(planes), START)
    check_failure(fit)
    assert fit.flux < 0.0


@pytest.mark.parametrize(
    "change",
    [{"x": -500.0}, {"y": 1e9}, {"x": np.nan}, {"length": np.inf}, {"length": -5.0}, {"angle": np.nan}],
)
def test_impossible_starts(make_planes: MakePlanes, change: dict[str, float]) -> None:
    planes = make_planes(seed=1)
    start = dataclasses.replace(START, **change)
    assert fit_trail(sky_of(planes), start).failed
    assert start_as_fit(sky_of(planes), start).failed


def test_a_long_start_is_not_fitted(make_planes: MakePlanes) -> None:
    """The streak of a satellite over a detector would take gigabytes."""
    planes = make_planes((500, 500), seed=1)
    start = dataclasses.replace(START, length=1e6)
    assert fit_trail(sky_of(planes), start).failed
    assert start_as_fit(sky_of(planes), start).failed
    add_trail(planes.image, PSF, Trail(250.0, 250.0, 480.0, 45.0, 1e5))
    fit = fit_trail(sky_of(planes), Trail(x=250.0, y=250.0, length=MAX_FITTED_LENGTH, angle=45.0))
    assert fit.failed


@settings(max_examples=60)
@given(
    image=hnp.arrays(
        np.float32, (24, 24), elements=st.floats(width=32), fill=st.sampled_from([0.0, 1.0, np.nan])
    ),
    variance=hnp.arrays(
        np.float32, (24, 24), elements=st.floats(width=32), fill=st.sampled_from([1.0, 1e-30, np.nan])
    ),
    bad=hnp.arrays(np.bool_, (24, 24), fill=st.booleans()),
    x=st.floats(-30.0, 50.0),
    y=st.floats(-30.0, 50.0),
    length=st.floats(0.0, 50.0),
    angle=st.floats(-360.0, 360.0),
)
def test_nothing_raises(
    image: npt.NDArray[np.float32],
    variance: npt.NDArray[np.float32],
    bad: npt.NDArray[np.bool_],
    x: float,
    y: float,
    length: float,
    angle: float,
) -> None:
    planes = ImagePlanes(image=image, variance=variance, mask=np.zeros(image.shape, dtype=np.uint32), psf=PSF)
    with warnings.catch_warnings():
        # Squares of the greatest floats are infinite.
        warnings.simplefilter("ignore", RuntimeWarning)
        fit = fit_trail(sky_of(planes, bad=bad), Trail(x, y, length, angle))
    assert np.all(np.isfinite([fit.x, fit.y, fit.length]))
    assert 0.0 <= fit.angle < 180.0
    if not fit.failed:
        assert fit.flux > 0.0
        assert min(fit.x_err, fit.y_err, fit.length_err, fit.angle_err, fit.flux_err) >= 0.0


def test_a_lumpy_trail_has_larger_errors() -> None:
    """The variance does not include faint stars along a trail."""
    ratios = []
    for seed in range(16):
        case = make_case(80.0, 25.0, seed)
        alone = case.fit()
        rng = np.random.default_rng(seed)
        c, s = case.trail.direction
        for along, aside in zip(rng.uniform(-45.0, 45.0, 10), rng.uniform(-6.0, 6.0, 10), strict=True):
            x, y = case.trail.x + along * c - aside * s, case.trail.y + along * s + aside * c
            add_trail(case.planes.image, PSF, Trail(x, y, 0.0, 0.0, 0.06 * case.trail.flux))
        fit = case.fit()
        assert not fit.failed
        relative = fit.flux_err / fit.flux, alone.flux_err / alone.flux
        ratios.append([fit.angle_err / alone.angle_err, relative[0] / relative[1]])
    # The trail with stars is brighter: from the noise alone, its errors would
    # be smaller by a fifth.
    assert np.all(np.median(ratios, axis=0) > 1.1)
