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

import numpy as np
import numpy.typing as npt
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

from lsst.meas.trails.core.geometry import Trail, Trails, segment_distance
from lsst.meas.trails.core.psf import FWHM_PER_SIGMA, PsfGrid
from lsst.meas.trails.core.render import (
    FourierTrail,
    TrailStamp,
    add_trail,
    optimal_snr,
    render_trail,
    trail_kernels,
    truth_mask,
)

FWHM = 4.0
SIGMA = FWHM / FWHM_PER_SIGMA
PSF = PsfGrid.gaussian(FWHM)

type Floats = npt.NDArray[np.float64]


def gaussian_line(
    x: Floats, y: Floats, x0: float, y0: float, x1: float, y1: float, sigma: float = SIGMA
) -> Floats:
    """Return a line of unit flux, an erf along it times a Gaussian across."""
    length = np.hypot(x1 - x0, y1 - y0)
    c, s = (x1 - x0) / length, (y1 - y0) / length
    u = (x - 0.5 * (x0 + x1)) * c + (y - 0.5 * (y0 + y1)) * s
    v = (y - 0.5 * (y0 + y1)) * c - (x - 0.5 * (x0 + x1)) * s
    root = np.sqrt(2.0) * sigma
    along = scipy.special.erf((u + 0.5 * length) / root) - scipy.special.erf((u - 0.5 * length) / root)
    across = np.exp(-0.5 * np.square(v / sigma)) / (np.sqrt(2.0 * np.pi) * sigma)
    return np.asarray(0.5 / length * along * across)


def coordinates(stamp: TrailStamp) -> tuple[Floats, Floats]:
    rows, columns = np.mgrid[: stamp.array.shape[0], : stamp.array.shape[1]]
    return columns + float(stamp.x0), rows + float(stamp.y0)


@pytest.mark.parametrize("length", [0.3, 6.0, 30.0, 150.0, 300.0])
@pytest.mark.parametrize("angle", [0.0, 17.0, 45.0, 90.0, 133.3, 179.9])
def test_gaussian_psf_against_the_analytic_formula(length: float, angle: float) -> None:
    x, y = 40.37, -12.81
    stamp = render_trail(PSF, Trail(x, y, length, angle))
    dx, dy = 0.5 * length * np.cos(np.deg2rad(angle)), 0.5 * length * np.sin(np.deg2rad(angle))
    expected = gaussian_line(*coordinates(stamp), x - dx, y - dy, x + dx, y + dy)
    # exp(-(pi sigma)^2 / 2) = 7e-7 of a Gaussian of 4 pixels is beyond the
    # band limit of the pixels.
    np.testing.assert_allclose(stamp.array, expected, atol=3e-6 * expected.max())


@pytest.mark.parametrize("length", [0.0, 1.0, 10.0, 77.7, 300.0])
def test_flux_is_kept_at_all_angles(length: float) -> None:
    for angle in np.arange(0.0, 180.0, 11.25):
        x, y = 100.0 + angle / 100.0, 50.5
        stamp = render_trail(PSF, Trail(x, y, length, float(angle)))
        assert stamp.array.sum() == pytest.approx(1.0, abs=1e-12)
        # The stamp is scaled to that; the drawing itself has to be right.
        height, width = stamp.array.shape
        radians = np.deg2rad(angle)
        drawn = FourierTrail(PSF.kernels[0], (height, width)).image(
            x - stamp.x0, y - stamp.y0, length * np.cos(radians), length * np.sin(radians)
        )
        assert drawn.sum() == pytest.approx(1.0, abs=1e-5)


def test_no_length_is_a_point_source() -> None:
    stamp = render_trail(PSF, Trail(30.0, 20.0, 0.0, 45.0))
    row, column = 20 - stamp.y0, 30 - stamp.x0
    part = stamp.array[row - 12 : row + 13, column - 12 : column + 13]
    np.testing.assert_allclose(part, PSF.kernel(30.0, 20.0), atol=1e-9)


@pytest.mark.parametrize(("length", "angle"), [(12.0, 30.0), (60.0, 75.0), (150.0, 160.0)])
def test_moments(length: float, angle: float) -> None:
    """The second moment along a trail is L^2/12 plus sigma^2 of the PSF."""
    stamp = render_trail(PSF, Trail(10.25, 20.75, length, angle))
    px, py = coordinates(stamp)
    x, y = np.sum(stamp.array * px), np.sum(stamp.array * py)
    # The moments of the cut kernel are exact to 1e-6.
    assert (x, y) == pytest.approx((10.25, 20.75), abs=1e-4)
    xx, yy, xy = (
        np.sum(stamp.array * a * b) for a, b in ((px - x, px - x), (py - y, py - y), (px - x, py - y))
    )
    assert np.rad2deg(0.5 * np.arctan2(2.0 * xy, xx - yy)) % 180.0 == pytest.approx(angle, abs=1e-3)
    small, large = np.linalg.eigvalsh(np.array([[xx, xy], [xy, yy]]))
    assert large == pytest.approx(length**2 / 12.0 + SIGMA**2, rel=1e-4)
    assert small == pytest.approx(SIGMA**2, rel=1e-3)


def test_angle_and_opposite_angle_are_one_trail() -> None:
    a, b = (render_trail(PSF, Trail(5.3, 6.1, 25.0, angle)) for angle in (30.0, 210.0))
    np.testing.assert_allclose(a.array, b.array, atol=1e-12)
    assert (a.x0, a.y0) == (b.x0, b.y0)


def test_whole_pixel_shifts_do_nothing() -> None:
    a = render_trail(PSF, Trail(5.3, 6.1, 25.0, 30.0))
    b = render_trail(PSF, Trail(1005.3, -993.9, 25.0, 30.0))
    np.testing.assert_allclose(a.array, b.array, atol=1e-12)
    assert (b.x0 - a.x0, b.y0 - a.y0) == (1000, -1000)


@pytest.mark.parametrize(("x", "y"), [(3.0, 30.0), (57.0, 58.0), (-20.0, 30.0), (30.0, 75.0)])
def test_the_part_on_the_image_is_that_of_the_full_stamp(x: float, y: float) -> None:
    shape, margin = (50, 60), 100
    image = np.zeros(shape)
    add_trail(image, PSF, Trail(x, y, 60.0, 35.0, 1000.0))
    large = np.zeros((shape[0] + 2 * margin, shape[1] + 2 * margin))
    add_trail(large, PSF, Trail(x + margin, y + margin, 60.0, 35.0, 1000.0))
    assert large.sum() == pytest.approx(1000.0)
    np.testing.assert_allclose(image, large[margin:-margin, margin:-margin], atol=1e-9)


@pytest.mark.parametrize(("x", "y"), [(-500.0, 20.0), (500.0, 20.0), (20.0, -500.0), (20.0, 500.0)])
def test_a_trail_off_the_image_adds_nothing(x: float, y: float) -> None:
    image = np.zeros((40, 50), dtype=np.float32)
    slices, part = add_trail(image, PSF, Trail(x, y, 60.0, 35.0, 1e6)).clipped((40, 50))
    assert part.size == 0
    assert image[slices].size == 0
    assert not np.any(image)


@given(
    x0=st.integers(-40, 40),
    y0=st.integers(-40, 40),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    shape=st.tuples(st.integers(1, 20), st.integers(1, 20)),
)
def test_clipping_keeps_every_pixel_in_its_place(
    x0: int, y0: int, size: tuple[int, int], shape: tuple[int, int]
) -> None:
    stamp = TrailStamp(np.arange(1.0, 1.0 + size[0] * size[1]).reshape(size), x0, y0)
    image = np.zeros(shape)
    slices, part = stamp.clipped(shape)
    image[slices] += part
    for row in range(shape[0]):
        for column in range(shape[1]):
            j, i = row - y0, column - x0
            inside = 0 <= j < size[0] and 0 <= i < size[1]
            assert image[row, column] == (stamp.array[j, i] if inside else 0.0)


def test_the_psf_is_followed_along_the_trail() -> None:
    """Compare with a brute-force sum of the PSFs of 2000 points."""
    narrow, wide = (PsfGrid.gaussian(fwhm).kernels[0, 0] for fwhm in (3.0, 6.0))
    psf = PsfGrid(x=np.array([0.0, 512.0]), y=np.zeros(1), kernels=np.array([[narrow, wide]]))
    stamp = render_trail(psf, Trail(256.0, 40.0, 300.0, 10.0))
    px, py = coordinates(stamp)
    expected = np.zeros_like(stamp.array)
    c, s = np.cos(np.deg2rad(10.0)), np.sin(np.deg2rad(10.0))
    # The mixture of the two kernels changes linearly along the trail; it is
    # summed in short lines, whose image is known.
    count = 200
    for t in (np.arange(count) + 0.5) / count:
        x, y = 256.0 + 300.0 * (t - 0.5) * c, 40.0 + 300.0 * (t - 0.5) * s
        half = 150.0 / count
        ends = x - half * c, y - half * s, x + half * c, y + half * s
        weight = x / 512.0
        expected += (1.0 - weight) * gaussian_line(px, py, *ends, 3.0 / FWHM_PER_SIGMA) / count
        expected += weight * gaussian_line(px, py, *ends, 6.0 / FWHM_PER_SIGMA) / count
    # Each piece of at most 64 pixels has the PSF at its middle: at its ends
    # the mixture is off by 30/512, of profiles that differ by as much as the
    # narrower one is high.
    np.testing.assert_allclose(stamp.array, expected, atol=0.06 * expected.max())
    # The errors at the two ends of a piece cancel in the flux.
    half = stamp.array.shape[1] // 2
    for part in (np.s_[:, :half], np.s_[:, half:]):
        assert stamp.array[part].sum() == pytest.approx(expected[part].sum(), rel=1e-3)
    # With the PSF of its midpoint alone, the trail would be far off.
    constant = render_trail(PsfGrid.constant(psf.kernel(256.0, 40.0)), Trail(256.0, 40.0, 300.0, 10.0))
    assert np.abs(constant.array - expected).max() > 3.0 * np.abs(stamp.array - expected).max()


def test_pieces_of_one_psf_are_one_trail() -> None:
    """The pieces of the line are not visible."""
    whole = FourierTrail(PSF.kernels[0], (60, 200))
    pieces = FourierTrail(np.repeat(PSF.kernels[0], 5, axis=0), (60, 200))
    trail = (100.2, 30.7, 120.0, 20.0)
    np.testing.assert_allclose(pieces.image(*trail), whole.image(*trail), atol=1e-12)


def test_kernels_along_a_trail() -> None:
    kernels = np.array([[PsfGrid.gaussian(fwhm).kernels[0, 0] for fwhm in (3.0, 6.0)]])
    psf = PsfGrid(x=np.array([0.0, 512.0]), y=np.zeros(1), kernels=kernels)
    assert len(trail_kernels(psf, 0.0, 0.0, 64.0, 0.0)) == 1
    assert len(trail_kernels(psf, 0.0, 0.0, 65.0, 0.0)) == 2
    np.testing.assert_allclose(trail_kernels(psf, 100.0, 3.0, 100.0, 3.0), [psf.kernel(100.0, 3.0)])
    along = trail_kernels(psf, 0.0, 0.0, 256.0, 0.0)
    np.testing.assert_allclose(along, [psf.kernel(x, 0.0) for x in (32.0, 96.0, 160.0, 224.0)])
    assert len(trail_kernels(PSF, 0.0, 0.0, 500.0, 0.0)) == 1


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("extent", [(20.0, 7.0), (0.5, -0.2), (-3.0, 40.0), (0.0, 0.0)])
def test_derivatives_against_finite_differences(count: int, extent: tuple[float, float]) -> None:
    kernels = np.concatenate([PsfGrid.gaussian(3.5 + 0.5 * i).kernels[0] for i in range(count)])
    renderer = FourierTrail(kernels, (64, 60))
    parameters = np.array([30.3, 31.6, *extent])
    image, jacobian = renderer.image_and_jacobian(*parameters)
    np.testing.assert_allclose(image, renderer.image(*parameters), atol=1e-14)
    step = 1e-4
    for i in range(4):
        offset = np.zeros(4)
        offset[i] = step
        difference = renderer.image(*(parameters + offset)) - renderer.image(*(parameters - offset))
        # Central differences are good to step^2 times the third derivative,
        # and to rounding, 1e-16 / step.
        np.testing.assert_allclose(jacobian[i], difference / (2.0 * step), atol=1e-9)


def test_a_box_smaller_than_the_kernel() -> None:
    """Such boxes occur in fits in the corner of an image."""
    psf = PsfGrid.gaussian(4.0, size=51)
    box = FourierTrail(psf.kernels[0], (5, 7)).image(3.0, 2.0, 10.0, 4.0)
    large = FourierTrail(psf.kernels[0], (105, 107)).image(53.0, 52.0, 10.0, 4.0)
    # The difference is the ringing beyond the band limit.
    np.testing.assert_allclose(box, large[50:55, 50:57], atol=1e-8)


def test_what_leaves_the_box_does_not_come_back() -> None:
    """Only the part of a trail inside the box is drawn."""
    box = FourierTrail(PSF.kernels[0], (40, 50)).image(47.0, 3.0, 12.0, -8.0)
    large = FourierTrail(PSF.kernels[0], (140, 150)).image(97.0, 53.0, 12.0, -8.0)
    np.testing.assert_allclose(box, large[50:90, 50:100], atol=1e-8)


def test_chosen_pixels() -> None:
    """A renderer of some pixels returns their values in the order of the box."""
    where = np.random.default_rng(1).random((40, 50)) < 0.3
    shape = (25.0, 21.0, 12.0, -8.0)
    whole, chosen = FourierTrail(PSF.kernels[0], (40, 50)), FourierTrail(PSF.kernels[0], (40, 50), where)
    np.testing.assert_array_equal(chosen.image(*shape), whole.image(*shape)[where])
    pairs = zip(chosen.image_and_jacobian(*shape), whole.image_and_jacobian(*shape), strict=True)
    for values, images in pairs:
        np.testing.assert_array_equal(values, images[..., where])


def test_blur_is_a_wider_psf() -> None:
    wide = PsfGrid.gaussian(float(np.hypot(4.0, 3.0)), size=41)
    box = (60, 70)
    blurred = FourierTrail(PSF.kernels[0], box).image(35.0, 31.0, 12.0, -8.0, blur=3.0 / FWHM_PER_SIGMA)
    expected = FourierTrail(wide.kernels[0], box).image(35.0, 31.0, 12.0, -8.0)
    np.testing.assert_allclose(blurred, expected, atol=1e-5 * expected.max())


def test_add_trail_keeps_the_type_and_adds() -> None:
    image = np.full((50, 50), 3.0, dtype=np.float32)
    stamp = add_trail(image, PSF, Trail(25.0, 25.0, 10.0, 40.0, 500.0))
    assert image.dtype == np.float32
    # Single precision, 2500 pixels of 3.
    assert image.sum() == pytest.approx(7500.0 + 500.0, rel=1e-5)
    assert stamp.array.sum() == pytest.approx(1.0)


@pytest.mark.parametrize(
    "trail",
    [
        (np.nan, 0.0, 1.0, 0.0),
        (0.0, np.inf, 1.0, 0.0),
        (0.0, 0.0, -1.0, 0.0),
        (0.0, 0.0, np.nan, 0.0),
        (0.0, 0.0, 1.0, np.nan),
    ],
)
def test_impossible_trails_are_refused(trail: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="length, angle = "):
        render_trail(PSF, Trail(*trail))


@settings(max_examples=30)
@given(st.floats(-100.0, 100.0), st.floats(-100.0, 100.0), st.floats(0.0, 80.0), st.floats(-360.0, 360.0))
def test_any_trail_is_positive_and_whole(x: float, y: float, length: float, angle: float) -> None:
    stamp = render_trail(PSF, Trail(x, y, length, angle))
    assert stamp.array.sum() == pytest.approx(1.0)
    # Ringing is of the order of the power beyond the band limit.
    assert stamp.array.min() > -1e-5 * stamp.array.max()
    # All of it lies around the segment: at 12 pixels, 7 sigma, nothing is left.
    px, py = coordinates(stamp)
    radians = np.deg2rad(angle)
    dx, dy = 0.5 * length * np.cos(radians), 0.5 * length * np.sin(radians)
    far = segment_distance(px, py, x - dx, y - dy, x + dx, y + dy) > 13.0
    assert np.abs(stamp.array[far]).max(initial=0.0) < 1e-5 * stamp.array.max()


def one_trail(x: float, y: float, length: float, angle: float) -> Trails:
    return Trails(*np.array([[x, y, length, angle, 1.0]]).T)


@pytest.mark.parametrize("fwhm", [3.0, 6.0])
def test_truth_follows_the_seeing(fwhm: float) -> None:
    mask = truth_mask(
        PsfGrid.gaussian(fwhm, 35), one_trail(100.0, 30.0, 120.0, 0.0), (60, 200), fraction=0.25
    )
    # Across the ridge a Gaussian falls to a quarter at sigma sqrt(2 ln 4).
    half_width = fwhm / FWHM_PER_SIGMA * np.sqrt(2.0 * np.log(4.0))
    rows = np.flatnonzero(mask[:, 100]).tolist()
    assert rows == list(range(30 - int(half_width), 31 + int(half_width)))
    # The brightness is half the ridge's at the ends, at 40 and 160, and falls
    # to a quarter 0.674 sigma beyond.
    reach = 0.674 * fwhm / FWHM_PER_SIGMA
    columns = np.flatnonzero(mask[30]).tolist()
    assert columns == list(range(int(np.ceil(40.0 - reach)), 1 + int(np.floor(160.0 + reach))))


def test_truth_of_crossing_trails_is_their_union() -> None:
    both = Trails(*np.array([[50.0, 50.0, 60.0, 20.0, 1.0], [50.0, 50.0, 40.0, 110.0, 9.0]]).T)
    masks = [truth_mask(PSF, both[i : i + 1], (100, 100)) for i in (0, 1)]
    np.testing.assert_array_equal(truth_mask(PSF, both, (100, 100)), masks[0] | masks[1])
    assert not np.any(truth_mask(PSF, Trails.empty(), (10, 10)))


def test_truth_at_the_edge() -> None:
    """Light beyond the edge does not change the mask on the image."""
    mask = truth_mask(PSF, one_trail(0.0, 20.0, 60.0, 30.0), (50, 50))
    large = truth_mask(PSF, one_trail(100.0, 120.0, 60.0, 30.0), (250, 250))
    np.testing.assert_array_equal(mask, large[100:150, 100:150])
    assert np.any(mask)
    # Only the faint end of this trail reaches the image.
    assert not np.any(truth_mask(PSF, one_trail(-33.0, 20.0, 60.0, 0.0), (50, 50)))


def test_crossing_trails_add() -> None:
    both, first, second = (np.zeros((80, 80)) for _ in range(3))
    for image in (both, first):
        add_trail(image, PSF, Trail(40.0, 40.0, 50.0, 10.0, 300.0))
    for image in (both, second):
        add_trail(image, PSF, Trail(42.0, 38.0, 30.0, 100.0, 700.0))
    np.testing.assert_allclose(both, first + second)


def test_snr_of_a_point_source() -> None:
    """The SNR in white noise is F / sqrt(V 4 pi sigma^2) (King 1983)."""
    stamp = render_trail(PSF, Trail(30.2, 30.9, 0.0, 0.0))
    snr = optimal_snr(stamp, np.full((60, 60), 9.0), 200.0)
    assert snr == pytest.approx(200.0 / np.sqrt(9.0 * 4.0 * np.pi * SIGMA**2), rel=1e-4)


def test_snr_of_a_long_trail() -> None:
    """The SNR for L >> sigma is F / sqrt(V L 2 sqrt(pi) sigma)."""
    stamp = render_trail(PSF, Trail(250.0, 50.0, 400.0, 5.0))
    snr = optimal_snr(stamp, np.full((100, 500), 4.0), 1e4)
    # The ends take a part of order sigma / L = 0.4%.
    assert snr == pytest.approx(1e4 / np.sqrt(4.0 * 400.0 * 2.0 * np.sqrt(np.pi) * SIGMA), rel=5e-3)


def test_snr_scales() -> None:
    stamp = render_trail(PSF, Trail(30.0, 30.0, 20.0, 45.0))
    variance = np.full((60, 60), 1.0)
    snr = optimal_snr(stamp, variance, 100.0)
    assert optimal_snr(stamp, variance, 300.0) == pytest.approx(3.0 * snr)
    assert optimal_snr(stamp, 4.0 * variance, 100.0) == pytest.approx(0.5 * snr)
    assert optimal_snr(stamp, variance, -100.0) == pytest.approx(snr)


def test_snr_counts_good_pixels_only() -> None:
    stamp = render_trail(PSF, Trail(30.5, 30.0, 40.0, 0.0))
    variance = np.full((60, 62), 1.0)
    snr = optimal_snr(stamp, variance, 100.0)
    left = np.zeros(variance.shape, dtype=bool)
    left[:, :31] = True
    assert optimal_snr(stamp, variance, 100.0, left) == pytest.approx(snr / np.sqrt(2.0))
    # An invalid variance has the same effect as the mask.
    for value in (np.nan, np.inf, 0.0, -1.0):
        assert optimal_snr(stamp, np.where(left, value, variance), 100.0) == pytest.approx(snr / np.sqrt(2.0))
    assert optimal_snr(stamp, variance, 100.0, np.ones_like(left)) == 0.0
    assert optimal_snr(render_trail(PSF, Trail(-300.0, 0.0, 5.0, 0.0)), variance, 100.0) == 0.0
