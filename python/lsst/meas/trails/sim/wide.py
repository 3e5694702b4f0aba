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

"""Scenes as wide as the sky: every distribution is random, so that a network can rely on none."""

from __future__ import annotations

__all__ = ("Range", "WideSky")

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from ..core.injection.distractors import DistractorPopulation
from ..core.injection.population import draw_log_uniform
from ..core.psf import PsfGrid
from .difference import Subtraction
from .flaws import Flaws
from .profile_psf import PsfShape, make_profile_psf
from .scene import SceneConfig
from .sky import SkyConfig
from .stars import StarLook
from .template import TemplateConfig


class Range(NamedTuple):
    """Range of a distribution, uniform in the value or in its logarithm."""

    low: float
    """Lowest value."""

    high: float
    """Highest value."""

    log: bool = False
    """Whether the logarithm is uniform."""

    def draw(self, rng: np.random.Generator) -> float:
        """Return a random value."""
        if self.log:
            return draw_log_uniform(self.low, self.high, rng)
        return float(rng.uniform(self.low, self.high))

    @property
    def span(self) -> tuple[float, float]:
        """Both limits, for values that vary within a scene."""
        return (self.low, self.high)


def _range(low: float, high: float, meaning: str, source: str, *, log: bool = False) -> Any:
    """Return a field with a range as its default, its meaning and the source of the numbers."""
    return dataclasses.field(default=Range(low, high, log), metadata={"meaning": meaning, "source": source})


_POINT_INDEX = -1.3
"""Exponent of the power law of the SNRs of points."""

_CORRELATED = 0.2
"""Fraction of images with correlated noise."""

_WARPED = 0.8
"""Fraction of templates whose noise has the negative lobes of warping; the others are smoothed."""

_STATES_IMAGE_PSF = 0.7
"""Fraction of differences that state the image's PSF."""

_ALERTS = "LSSTCam alerts"
_FIELDS = "other simulator"
_GOALS = "goals"
_CHOICE = "wider than the former"


@dataclasses.dataclass(frozen=True)
class WideSky:
    """Ranges of everything in a scene.

    Each value is drawn once per scene, except those that the table calls "in a scene". Sources are: "LSSTCam
    alerts", cutouts of 171 alerts of 26 visits; "other simulator", what made networks better on scenes of
    another simulator; "physics", limits of optics or detectors; "goals", what models must cope
    with; "wider than the former", a range around the
    values of `~lsst.meas.trails.sim.scene.SceneConfig.varied`.
    """

    psf_fwhm: Range = _range(3.3, 12.5, "FWHM of the PSF by effective area, pixels", _ALERTS, log=True)
    psf_axis_ratio: Range = _range(0.7, 1.0, "axis ratio of the PSF", _ALERTS)
    psf_beta: Range = _range(2.2, 8.0, "exponent of its Moffat profile", "physics", log=True)
    psf_coma: Range = _range(0.0, 0.12, "its lopsidedness", _CHOICE)
    psf_trefoil: Range = _range(0.0, 0.05, "its triangularity", _CHOICE)
    wing_slope: Range = _range(2.0, 3.5, "exponent of its wings, up to 600 pixels", "physics")
    halo_flux: Range = _range(0.001, 0.05, "fraction of a star's flux in its aureole", "physics", log=True)
    halo_core: Range = _range(4.0, 40.0, "radius of the aureole's flat core, pixels", _CHOICE, log=True)
    halo_slope: Range = _range(2.2, 3.5, "exponent of the aureole", "physics")
    spike_arms: Range = _range(0, 8, "arms of diffraction spikes, whole numbers", _FIELDS)
    spike_strength: Range = _range(
        0.2, 6.0, "flux of spikes, in units of 0.6% of the star's", _FIELDS, log=True
    )

    sky_noise: Range = _range(9.0, 110.0, "noise of a pixel of sky, nJy", _ALERTS, log=True)
    sky_electrons: Range = _range(200.0, 6000.0, "sky level, electrons", _CHOICE, log=True)
    full_well: Range = _range(40e3, 200e3, "saturation level, electrons", _FIELDS, log=True)
    background: Range = _range(0.05, 1.0, "residual background, in units of the noise", _CHOICE, log=True)

    variance_factor: Range = _range(0.85, 1.15, "stated over true variance", _GOALS)
    noise_correlation: Range = _range(
        0.0, 0.4, "weight of a neighbor in the noise of a fifth of scenes", _GOALS
    )
    amplifier_steps: Range = _range(
        0.01, 0.3, "levels of amplifiers, in units of the noise", _GOALS, log=True
    )
    crosstalk: Range = _range(-1e-3, 1e-3, "crosstalk of bright pixels", "physics")
    ghosts: Range = _range(0.0, 1.0, "ghosts per megapixel, of .03-3 times the noise", _GOALS)
    edges: Range = _range(0.0, 0.3, "probability of an edge with mask planes", _GOALS)
    cosmic_rays: Range = _range(2.0, 40.0, "cosmic rays per megapixel", _CHOICE, log=True)
    masked_rays: Range = _range(0.0, 1.0, "fraction of masked cosmic rays", _GOALS)
    ray_scatter: Range = _range(0.02, 0.5, "their wandering, in a scene", "physics", log=True)
    bad_columns: Range = _range(0.0, 4.0, "bad columns per thousand", _CHOICE)

    star_density: Range = _range(1.5, 60.0, "stars brighter than 24 per square arcminute", _CHOICE, log=True)
    star_slope: Range = _range(0.15, 0.35, "growth of star counts, dex per magnitude", _FIELDS)
    star_pairs: Range = _range(0.0, 0.2, "fraction of stars with a companion within 15 pixels", _FIELDS)
    galaxy_density: Range = _range(
        15.0, 90.0, "galaxies brighter than 25 per square arcminute", _FIELDS, log=True
    )
    galaxy_slope: Range = _range(0.3, 0.42, "growth of galaxy counts, dex per magnitude", _FIELDS)
    galaxy_size: Range = _range(0.65, 1.35, "sizes of galaxies, in units of deep HST fields", _FIELDS)
    disk_fraction: Range = _range(0.5, 0.95, "fraction of disks", _CHOICE)
    disk_index: Range = _range(0.35, 1.7, "Sersic index of disks, in a scene", _FIELDS)
    spheroid_index: Range = _range(1.7, 4.0, "Sersic index of spheroids, in a scene", _FIELDS)
    disk_thickness: Range = _range(0.02, 0.3, "axis ratio of edge-on disks, in a scene", _FIELDS)
    clumps: Range = _range(0.0, 0.6, "fraction of galaxies with 1 to 12 clumps", _FIELDS)

    new_points: Range = _range(
        1.0, 60.0, "new point sources per megapixel, absent from the template", _GOALS, log=True
    )
    old_points: Range = _range(0.3, 20.0, "point sources that only the template has", _GOALS, log=True)
    point_snr: Range = _range(3.0, 1e4, "their SNR in a scene, a power law of index -1.3", _GOALS)
    point_motion: Range = _range(0.0, 2.0, "trails of a third of the new ones, in a scene, pixels", _GOALS)
    satellites: Range = _range(0.0, 0.5, "mean number of satellites", _CHOICE)
    satellite_brightness: Range = _range(
        0.5, 1e4, "their flux per pixel of length, in a scene", _GOALS, log=True
    )
    satellite_patterns: Range = _range(0.2, 0.8, "fraction with flares, tumbling or dashes", _GOALS)
    satellite_ends: Range = _range(0.1, 0.6, "fraction of streaks that end in the image", _GOALS)

    template_width: Range = _range(0.5, 1.6, "FWHM of the template's PSF over the image's", _ALERTS, log=True)
    template_noise: Range = _range(0.05, 0.7, "noise of the template over the image's", _ALERTS, log=True)
    template_band: Range = _range(0.8, 1.1, "band limit of its noise, in units of Nyquist's", _ALERTS)
    template_shift: Range = _range(0.02, 0.4, "largest registration error, pixels", _ALERTS, log=True)
    template_scale: Range = _range(0.002, 0.03, "error of the flux scale", _CHOICE, log=True)
    variable_stars: Range = _range(0.01, 0.1, "fraction of stars that vary", _CHOICE, log=True)
    moved_stars: Range = _range(0.005, 0.05, "fraction of stars that moved", _CHOICE, log=True)
    absent_stars: Range = _range(0.003, 0.03, "fraction of stars that the template lacks", _CHOICE, log=True)
    template_holes: Range = _range(0.05, 2.0, "holes without data per megapixel", _CHOICE, log=True)
    kernel_fit: Range = _range(0.1, 1.0, "kernel between a Gaussian and a match of the PSFs", _ALERTS)
    kernel_width: Range = _range(-0.1, 0.1, "error of the kernel's width", _ALERTS)

    stated_psf: Range = _range(0.0, 0.3, "excess width of a difference over its stated PSF", _ALERTS)

    def psf(self, shape: tuple[int, int], rng: np.random.Generator) -> PsfGrid:
        """Draw the PSF of a scene of shape (ny, nx)."""
        return make_profile_psf(self.psf_shape(rng), shape, rng)

    def psf_shape(self, rng: np.random.Generator) -> PsfShape:
        """Draw the PSF in the middle of a scene."""
        return PsfShape(
            fwhm=self.psf_fwhm.draw(rng),
            beta=self.psf_beta.draw(rng),
            axis_ratio=self.psf_axis_ratio.draw(rng),
            angle=float(rng.uniform(0.0, 180.0)),
            coma=self.psf_coma.draw(rng),
            trefoil=self.psf_trefoil.draw(rng),
            aberration_angle=float(rng.uniform(0.0, 360.0)),
        )

    def scene_config(
        self, shape: tuple[int, int], rng: np.random.Generator, *, template: bool = False, **changes: Any
    ) -> SceneConfig:
        """Draw the configuration of a scene.

        Parameters
        ----------
        shape
            Shape (ny, nx), pixels.
        rng
            Random number generator.
        template
            Whether the scene has a template.
        **changes
            Fields of the configuration to replace.
        """
        sky_noise = self.sky_noise.draw(rng)
        config = SceneConfig(
            shape=shape,
            sky_noise=sky_noise,
            # The noise is the square root of the number of sky electrons.
            gain=float(np.sqrt(self.sky_electrons.draw(rng)) / sky_noise),
            full_well=self.full_well.draw(rng),
            background=self.background.draw(rng),
            sky=self._sky(rng),
            cosmic_rays=self.cosmic_rays.draw(rng),
            flagged_cosmic_rays=self.masked_rays.draw(rng),
            bad_column_rate=self.bad_columns.draw(rng),
            flaws=self._flaws(rng),
            satellite_chance=0.0,
            distractors=DistractorPopulation(
                satellites=self.satellites.draw(rng),
                satellite_brightness=self.satellite_brightness.span,
                satellite_patterns=self.satellite_patterns.draw(rng),
                satellite_ends=self.satellite_ends.draw(rng),
                point_sources=self.new_points.draw(rng),
                point_source_snr=self.point_snr.span,
                point_source_index=_POINT_INDEX,
                point_source_motion=self.point_motion.high,
            ),
            template=self._template(rng) if template else None,
            subtraction=Subtraction(
                kernel_fit=self.kernel_fit.draw(rng),
                width_error=self.kernel_width.draw(rng),
                states_image_psf=bool(rng.random() < _STATES_IMAGE_PSF),
                excess_width=self.stated_psf.draw(rng),
            ),
        )
        return dataclasses.replace(config, **changes)

    def _flaws(self, rng: np.random.Generator) -> Flaws:
        return Flaws(
            variance_factor=self.variance_factor.draw(rng),
            correlation=self.noise_correlation.draw(rng) if rng.random() < _CORRELATED else 0.0,
            amplifier_steps=self.amplifier_steps.draw(rng),
            crosstalk=self.crosstalk.draw(rng),
            ghosts=self.ghosts.draw(rng),
            edge_chance=self.edges.draw(rng),
            scatter=self.ray_scatter.span,
        )

    def _template(self, rng: np.random.Generator) -> TemplateConfig:
        width, noise = self.template_width.draw(rng), self.template_noise.draw(rng)
        return TemplateConfig(
            width=(width, width),
            noise=(noise, noise),
            band_limit=self.template_band.draw(rng) if rng.random() < _WARPED else None,
            psf=self.psf_shape(rng),
            shift=self.template_shift.draw(rng),
            scale=self.template_scale.draw(rng),
            variable=self.variable_stars.draw(rng),
            moved=self.moved_stars.draw(rng),
            absent=self.absent_stars.draw(rng),
            transients=self.old_points.draw(rng),
            holes=self.template_holes.draw(rng),
        )

    def _sky(self, rng: np.random.Generator) -> SkyConfig:
        look = StarLook(
            spike_angle=float(rng.uniform(0.0, 90.0)),
            spike_arms=int(rng.integers(int(self.spike_arms.low), int(self.spike_arms.high), endpoint=True)),
            spike_strength=self.spike_strength.draw(rng),
            wing_slope=self.wing_slope.draw(rng),
            halo_flux=self.halo_flux.draw(rng),
            halo_core=self.halo_core.draw(rng),
            halo_slope=self.halo_slope.draw(rng),
        )
        return SkyConfig(
            star_density=self.star_density.draw(rng),
            star_slope=self.star_slope.draw(rng),
            pairs=self.star_pairs.draw(rng),
            galaxy_density=self.galaxy_density.draw(rng),
            galaxy_slope=self.galaxy_slope.draw(rng),
            galaxy_size=self.galaxy_size.draw(rng),
            disk_fraction=self.disk_fraction.draw(rng),
            disk_index=self.disk_index.span,
            spheroid_index=self.spheroid_index.span,
            disk_thickness=self.disk_thickness.span,
            clumps=self.clumps.draw(rng),
            look=look,
        )
