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

"""Scenes of domains that no training shows, by a simulator of their own.

Nothing here comes from `lsst.meas.trails.sim`, which makes the training scenes: a model that only knows
that simulator fails here. The sky is painted as light on a grid: stars and knots by Lanczos interpolation,
trails as rows of such points, galaxies as soft Sersic profiles. It is convolved with the whole PSF, its
halo and spikes included, so that trails have them too. All fluxes are in units of the sky noise of a pixel.
"""

from __future__ import annotations

__all__ = ("DOMAINS", "SHAPE", "Domain", "DomainScene", "make_scene", "place_trails", "trail_points")

import dataclasses

import astropy.table
import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.ndimage

from lsst.meas.trails.core.geometry import Trail, Trails, segment_distance
from lsst.meas.trails.core.injection.truth import truth_table
from lsst.meas.trails.core.planes import ImagePlanes, plane_bits
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.core.template import cut_template

from domain_optics import (
    Optics,
    convolve,
    draw_core,
    draw_template_noise,
    resample_noise,
    subtract,
    wide_transform,
)
from domain_sky import Sky, SkyRanges, draw_cosmic_rays, galaxy_rows, mask_pixels, paint_points, paint_sky

type _Floats = npt.NDArray[np.float64]

SHAPE = (1024, 1024)
"""Shape (ny, nx) of a scene, pixels."""

PAD = 128
"""Sky beyond each edge that shines into the image, pixels."""

_STEP = 0.25
"""Distance of the points of a trail, pixels."""

DENSITY = (32.0, 14.0, 10.0)
"""Faint trails, bright trails and new points per million pixels."""

_GAP = 30.0
"""Least distance between two trails, or a trail and a new point, pixels."""


@dataclasses.dataclass(frozen=True)
class Domain(SkyRanges):
    """Ranges from which each scene of a domain draws."""

    title: str = ""
    """Name in tables."""

    seeing: tuple[float, float] = (3.8, 7.2)
    """FWHM of the PSF, pixels."""

    spikes: tuple[float, float] = (0.001, 0.008)
    """Fraction of a star's light in its diffraction spikes."""

    template_noise: tuple[float, float] = (0.12, 0.5)
    """Noise of a pixel of the template, in units of the image's."""

    template_width: tuple[float, float] = (0.7, 1.3)
    """FWHM of the template, in units of the image's."""

    registration: float = 0.06
    """Errors of the template's position, pixels."""

    kernel_error: float = 0.015
    """Relative errors of the PSF widths from which the matching kernel is made."""

    resampled: bool = False
    """Whether the pixels were interpolated, which correlates their noise."""

    empty: bool = False
    """Whether there are only noise and trails."""

    psf: str = ""
    """Source of real PSFs: ``dp1`` or ``lsstcam``; simulated if empty."""

    only: str = ""
    """The only mode that the domain differs from ``typical`` in, if there is one."""


DOMAINS: dict[str, Domain] = {
    "typical": Domain(title="another simulator"),
    "dp1": Domain(title="PSF of a DP1 visit", psf="dp1"),
    "lsstcam": Domain(title="PSFs and noise of LSSTCam alerts", psf="lsstcam"),
    "galaxies": Domain(title="thin galaxies, twice the density", galaxies=60.0, axis_ratio=(0.03, 0.35)),
    "spikes": Domain(title="strong spikes", spikes=(0.01, 0.03), bright_stars=4),
    "seeing": Domain(title="seeing of 10 pixels", seeing=(9.5, 10.5)),
    "deep": Domain(title="deep sharp templates", template_noise=(0.05, 0.12), template_width=(0.52, 0.72)),
    "resampled": Domain(title="resampled images", resampled=True),
    "blank": Domain(title="blank sky", empty=True),
    "kernel": Domain(
        title="differences with bad kernels",
        registration=0.25,
        kernel_error=0.06,
        only="difference",
        template_width=(1.0, 1.5),
    ),
}
"""Domains by name."""


@dataclasses.dataclass(frozen=True, eq=False)
class DomainScene:
    """A scene with its known content."""

    planes: ImagePlanes
    """The image that a model searches."""

    truth: astropy.table.Table
    """Truth table of the trails."""

    points: _Floats
    """New point sources, columns x, y and SNR."""

    galaxies: _Floats
    """Galaxies of the sky, columns of `domain_sky.galaxy_rows`, with their SNR in the image; a difference
    has their residuals only.
    """

    arms: _Floats
    """Visible arms of the spikes of stars in the image, columns x0, y0, x1 and y1."""


def make_scene(
    domain: Domain,
    seed: int,
    index: int,
    mode: str,
    optics: Optics | None = None,
    shape: tuple[int, int] = SHAPE,
    density: tuple[float, float, float] = DENSITY,
) -> DomainScene:
    """Simulate a scene.

    Parameters
    ----------
    domain
        Ranges of the scene.
    seed, index
        Seed of the domain and number of the scene; modes of the same scene share sky and noise.
    mode
        ``direct`` for the image alone, ``template`` with a template, ``difference`` for their difference.
    optics
        Real PSFs; drawn from the domain's ranges by default.
    shape
        Shape (ny, nx), pixels.
    density
        As in `place_trails`.
    """
    rng = np.random.default_rng([seed, index])
    optics = optics or _draw_optics(domain, rng)
    grid = (shape[0] + 2 * PAD, shape[1] + 2 * PAD)
    cut = (slice(PAD, PAD + shape[0]), slice(PAD, PAD + shape[1]))
    trails, points = place_trails(rng, shape, optics.psf(shape), density=density)
    sky = Sky.dark(grid) if domain.empty else paint_sky(domain, rng, grid)
    moving = np.zeros(grid)
    for trail in trails:
        # Part of the light is in the halo, beyond the PSF that defines the flux.
        paint_points(moving, *trail_points(trail), offset=PAD, scale=1.0 / (1.0 - optics.wide_fraction))
    x, y, _, flux = points.T
    paint_points(moving, x, y, flux / (1.0 - optics.wide_fraction), offset=PAD)
    wide, spikes = wide_transform(rng, grid, optics.wide_fraction, optics.spike_fraction)
    template_wide, _ = wide_transform(rng, grid, optics.wide_fraction, 0.3 * optics.spike_fraction)
    signal = convolve(sky.now + moving, optics.cores, wide)
    electrons = rng.uniform(25.0, 70.0)
    variance = 1.0 + np.clip(signal, 0.0, None) / electrons
    noise = rng.standard_normal(grid)
    stated = np.ones(())
    if domain.resampled:
        noise, stated = resample_noise(noise, rng)
    image = signal + np.sqrt(variance) * noise
    shift = rng.normal(0.0, domain.registration, 2)
    template = convolve(sky.earlier, optics.template_core[None, None], template_wide, shift)
    template += (
        optics.template_noise
        * np.sqrt(1.0 + np.clip(template, 0.0, None) / electrons)
        * (draw_template_noise(rng, grid))
    )
    errors = 1.0 + domain.kernel_error * rng.standard_normal(2)
    full_well = rng.uniform(2000.0, 5000.0)
    mask = mask_pixels(signal[cut], full_well, rng, empty=domain.empty)
    if domain.resampled:
        # Interpolation spreads bad pixels.
        mask = scipy.ndimage.grey_dilation(mask, 3)
    hits, flagged = np.zeros(shape), np.zeros(shape, dtype=bool)
    if not domain.empty:
        hits, flagged = draw_cosmic_rays(rng, shape)
    mask[flagged] |= plane_bits(["COSMIC_RAY"])
    missing = np.zeros(shape, dtype=bool)
    if not domain.empty and rng.uniform() < 0.15:
        missing[:, : int(rng.uniform(20.0, 150.0))] = True
    wrong = rng.uniform(0.93, 1.07)
    # What the pixels are searched with, and what the truth is measured with.
    psf, true_psf, true_variance = optics.psf(shape), optics.psf(shape), variance[cut]
    if mode == "difference":
        image, kernel = subtract(image, template, optics, errors)
        true_psf = PsfGrid.constant(kernel)
        true_variance = true_variance + optics.template_noise**2
        mask[missing] |= plane_bits(["NO_DATA"])
    pixels = image[cut] + hits
    if mode != "difference":
        pixels = np.minimum(pixels, full_well)
    known = ImagePlanes(
        image=pixels.astype(np.float32),
        variance=true_variance.astype(np.float32),
        mask=mask,
        psf=true_psf,
    )
    planes = dataclasses.replace(
        known,
        variance=(true_variance * stated * wrong).astype(np.float32),
        psf=psf,
        template=cut_template(template[cut], missing) if mode == "template" else None,
    )
    return DomainScene(
        planes,
        truth_table(known, trails),
        points[:, :3],
        galaxies=galaxy_rows(sky.galaxies, variance, psf, PAD, shape),
        arms=spikes.segments(sky.stars, PAD, shape, psf.fwhm(0.5 * shape[1], 0.5 * shape[0])),
    )


def _draw_optics(domain: Domain, rng: np.random.Generator) -> Optics:
    fwhm = rng.uniform(*domain.seeing)
    ratio = np.exp(rng.uniform(*np.log(domain.template_width)))
    return Optics(
        cores=draw_core(rng, fwhm)[None, None],
        template_core=draw_core(rng, fwhm * ratio),
        template_noise=float(np.exp(rng.uniform(*np.log(domain.template_noise)))),
        wide_fraction=float(rng.uniform(0.01, 0.05)),
        spike_fraction=float(rng.uniform(*domain.spikes)),
    )


def place_trails(
    rng: np.random.Generator,
    shape: tuple[int, int],
    psf: PsfGrid,
    *,
    density: tuple[float, float, float] = DENSITY,
) -> tuple[Trails, _Floats]:
    """Draw trails and new points that do not touch each other.

    Parameters
    ----------
    rng
        Random numbers.
    shape
        Shape (ny, nx) of the image.
    psf
        Point-spread function, for the fluxes.
    density
        Faint trails of SNR 3 to 30, bright trails of SNR 30 to 3000, and points of SNR 5 to 100, per million
        pixels.

    Returns
    -------
    trails
        Trails of 6 to 150 pixels, fluxes in units of the sky noise.
    points
        Columns x, y, SNR and flux.
    """
    area = shape[0] * shape[1] / 2.0**20
    rows: list[Trail] = []
    snrs = [
        np.exp(rng.uniform(np.log(low), np.log(high), round(count * area)))
        for count, (low, high) in zip(density, ((3.0, 30.0), (30.0, 3000.0), (5.0, 100.0)), strict=True)
    ]
    number = len(snrs[0]) + len(snrs[1])
    for i, snr in enumerate(np.concatenate(snrs)):
        longest = np.log(min(150.0, 0.7 * min(shape)))
        for _ in range(200):
            length = float(np.exp(rng.uniform(np.log(6.0), longest))) if i < number else 0.0
            x, y = rng.uniform(0.0, shape[1] - 1.0), rng.uniform(0.0, shape[0] - 1.0)
            trail = Trail(x, y, length, rng.uniform(0.0, 180.0), float(snr))
            x0, y0, x1, y1 = trail.ends
            inside = min(x0, x1, y0, y1) > 0.0 and max(x0, x1) < shape[1] and max(y0, y1) < shape[0]
            if inside and all(_apart(trail, other) for other in rows):
                rows.append(trail)
                break
    fluxes = [trail.flux * _unit_noise(psf, trail) for trail in rows]
    drawn = Trails.from_trails(dataclasses.replace(t, flux=f) for t, f in zip(rows, fluxes, strict=True))
    is_trail = drawn.length > 0.0
    snr = np.array([trail.flux for trail in rows])
    points = np.stack([drawn.x, drawn.y, snr, drawn.flux], axis=1)[~is_trail]
    return drawn[is_trail], points


def _apart(one: Trail, two: Trail) -> bool:
    """Return whether two trails are at least `_GAP` apart."""
    reach = 0.5 * (one.length + two.length) + _GAP
    if abs(one.x - two.x) > reach or abs(one.y - two.y) > reach:
        return True
    t = np.linspace(0.0, 1.0, 31)
    x0, y0, x1, y1 = one.ends
    distance = segment_distance(x0 + t * (x1 - x0), y0 + t * (y1 - y0), *two.ends)
    return bool(np.min(distance) > _GAP)


def _unit_noise(psf: PsfGrid, trail: Trail) -> float:
    """Return the flux of a trail of SNR 1 on clean sky.

    It is the root of the effective area of the kernel, smeared along the trail.
    """
    kernel = psf.kernel(trail.x, trail.y)
    side = kernel.shape[0] + 2 * (int(0.5 * trail.length) + 3)
    stamp = np.zeros((side, side))
    middle = side // 2
    centered = dataclasses.replace(trail, x=float(middle), y=float(middle), flux=1.0)
    paint_points(stamp, *trail_points(centered))
    power = np.square(np.abs(scipy.fft.fft2(stamp)) * np.abs(scipy.fft.fft2(kernel, s=stamp.shape)))
    return float(1.0 / np.sqrt(power.mean()))


def trail_points(trail: Trail) -> tuple[_Floats, _Floats, _Floats]:
    """Return x, y and fluxes of points along a trail."""
    count = max(1, int(np.ceil(trail.length / _STEP)))
    t = (np.arange(count) + 0.5) / count - 0.5
    dx, dy = trail.direction
    along = trail.length * t
    return trail.x + along * dx, trail.y + along * dy, np.full(count, trail.flux / count)
