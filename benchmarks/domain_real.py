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

"""Real data of the domains: PSFs, a calexp, and LSSTCam cutouts.

The folder of the data is an option of ``benchmarks/domains.py``; its files are described in their README.
"""

from __future__ import annotations

__all__ = ("CALEXP", "Alert", "RealJob", "RealPsfs", "read_alerts", "read_calexp")

import dataclasses
import functools
from pathlib import Path

import astropy.table
import numpy as np
import numpy.typing as npt

from lsst.images import Box
from lsst.meas.trails.core.background import BackgroundMesh, SkySubtracted, fit_background
from lsst.meas.trails.core.geometry import Trail, Trails, segment_distance
from lsst.meas.trails.core.injection.gain import fit_gains
from lsst.meas.trails.core.injection.inject import inject_trails
from lsst.meas.trails.core.matching import match_trails
from lsst.meas.trails.core.planes import ImagePlanes
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.core.render import optimal_snr, render_trail
from lsst.meas.trails.ingest.image import make_fits_image
from lsst.meas.trails.ingest.observation import inspect_fits
from lsst.meas.trails.repository.visit_image import sample_psf
from lsst.meas.trails.sim.reference_image import ReferenceImage
from lsst.meas.trails.tasks._input_image import read_input_image

from domain_optics import Optics, draw_core
from domain_scenes import DOMAINS, place_trails
from model_search import model_catalog, named_model, own_thresholds

type _Floats = npt.NDArray[np.float64]

DP1, CALEXP = "visit_image-1.0.0-dp1.json", "calexp-0941420_23-cutout.fits"

_GAIN = 1.2
"""Electrons per nJy of the cutouts, typical of LSSTCam in 30 s."""

_CLOSE = 6.0
"""Largest distance of a candidate from the source of a cutout, pixels."""

SHORTEST = 6.0
"""Shortest candidate that counts as a trail, pixels."""

REAL_SNRS = (15.0, 20.0, 30.0, 60.0, 100.0, np.inf)
"""SNRs to which the real trail is dimmed; infinity leaves it as it is."""

POINT_SNRS = (8.0, 12.0, 20.0, 50.0, np.inf)
"""SNRs to which real point-like asteroids are dimmed."""


@dataclasses.dataclass(frozen=True, eq=False)
class RealPsfs:
    """Optics with real PSFs."""

    folder: Path

    def optics(self, source: str, seed: int, index: int, shape: tuple[int, int]) -> Optics:
        """Draw the optics of a scene.

        Parameters
        ----------
        source
            ``dp1``, part of a visit image whose PSF changes, or ``lsstcam``, the PSFs of an alert.
        seed, index
            Seed and number of the scene.
        shape
            Shape (ny, nx) of the scene.
        """
        rng = np.random.default_rng([seed, index, 1])
        domain = DOMAINS["typical"]
        wide = {"wide_fraction": rng.uniform(0.01, 0.05), "spike_fraction": rng.uniform(*domain.spikes)}
        if source == "lsstcam":
            alerts = read_alerts(self.folder)
            alert = alerts[int(rng.integers(len(alerts)))]
            return Optics(alert.psf.kernels, alert.template_psf, template_noise=alert.template_noise, **wide)
        reference = _reference(self.folder / DP1)
        whole = reference.bbox()
        start = [
            int(rng.integers(side.start, side.stop - size + 1))
            for side, size in zip((whole.y, whole.x), shape, strict=True)
        ]
        psf = sample_psf(reference.psf, Box.from_shape(shape, start=start), spacing=max(shape))
        ratio = rng.uniform(*domain.template_width)
        template = draw_core(rng, ratio * psf.fwhm(0.5 * shape[1], 0.5 * shape[0]))
        return Optics(psf.kernels, template, template_noise=rng.uniform(*domain.template_noise), **wide)


@functools.cache
def _reference(path: Path) -> ReferenceImage:
    return ReferenceImage.read(path)


@functools.cache
def read_calexp(folder: Path) -> ImagePlanes:
    """Return the real calexp of the data folder."""
    image, _ = make_fits_image(inspect_fits(folder / CALEXP))
    return read_input_image(image).planes


@dataclasses.dataclass(frozen=True, eq=False)
class Alert:
    """Cutouts of an alert, in nJy."""

    kind: str
    """Class judged by eye: ``real_trail``, ``known_asteroid_pointlike``, ..."""

    x: float
    y: float
    """Position of the source, array coordinates."""

    length: float
    angle: float
    """Length (pixels) and angle (degrees) of the trail by the ephemeris; NaN if unknown."""

    arrays: dict[str, npt.NDArray[np.float32]]
    """``science``, ``template`` and ``difference``, and ``science_variance`` etc."""

    psf: PsfGrid
    """PSF of the science image."""

    template_psf: _Floats
    """PSF kernel of the template."""

    template_noise: float
    """Noise of a pixel of the template, in units of the science image's."""

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (ny, nx) of the cutouts."""
        ny, nx = self.arrays["science"].shape
        return ny, nx

    @functools.cached_property
    def snr(self) -> float:
        """SNR of a matched filter on the source in the difference."""
        length = self.length if self.kind == "real_trail" else 0.0
        angle = self.angle if self.kind == "real_trail" else 0.0
        slices, part = render_trail(self.psf, Trail(self.x, self.y, length, angle)).clipped(self.shape)
        weight = part / self.arrays["difference_variance"][slices]
        return float(np.sum(weight * self.arrays["difference"][slices]) / np.sqrt(np.sum(weight * part)))

    def planes(self, mode: str, factor: float = 1.0, rng: np.random.Generator | None = None) -> ImagePlanes:
        """Return the image that a model searches, its source dimmed.

        Parameters
        ----------
        mode
            ``direct``, ``template`` or ``difference``.
        factor
            Factor of the source's flux. The science image is a mean of itself and of the matched template
            (science minus difference), with noise added that keeps its level.
        rng
            Random numbers of that noise.
        """
        name = "difference" if mode == "difference" else "science"
        image, variance = self.arrays[name], self.arrays[f"{name}_variance"]
        if factor < 1.0 and rng is not None:
            sky = np.float32(np.median(variance))
            image = image - (1.0 - factor) * self.arrays["difference"]
            image += np.sqrt(sky * (1.0 - factor**2)) * rng.standard_normal(self.shape)
            variance = sky + factor * (variance - sky)
        return ImagePlanes(
            image=image.astype(np.float32),
            variance=variance.astype(np.float32),
            mask=np.zeros(self.shape, dtype=np.uint32),
            psf=self.psf,
            template=self.arrays["template"] if mode == "template" else None,
        )


@functools.cache
def read_alerts(folder: Path) -> tuple[Alert, ...]:
    """Return the real LSSTCam cutouts of the data folder."""
    table = astropy.table.Table.read(folder / "lsst_alerts.csv")
    alerts = []
    with np.load(folder / "lsst_alerts.npz") as data:
        flat = {
            f"{name}{suffix}": data[f"{name}{suffix}"]
            for name in ("science", "template", "difference")
            for suffix in ("", "_variance")
        }
        offset, psf, template_psf = data["offset"], data["psf"], data["template_psf"]
    for i, row in enumerate(table):
        side = int(row["size"])
        arrays = {name: v[offset[i] : offset[i + 1]].reshape(side, side) for name, v in flat.items()}
        length, angle = (
            np.nan if np.ma.is_masked(row[name]) else float(row[name])
            for name in ("eph_length_px", "eph_angle_px")
        )
        alerts.append(
            Alert(
                kind=str(row["kind"]),
                x=float(row["x"]),
                y=float(row["y"]),
                length=length,
                angle=angle,
                arrays=arrays,
                psf=PsfGrid.constant(psf[row["psf_index"]].astype(np.float64)),
                template_psf=template_psf[row["psf_index"]].astype(np.float64),
                template_noise=float(row["template_sigma_njy"] / row["science_sigma_njy"]),
            )
        )
    return tuple(alerts)


@dataclasses.dataclass(frozen=True)
class RealJob:
    """Search of real images with a model.

    Parameters
    ----------
    name, mode
        The model and the images that it searches.
    folder
        Folder of the data.
    repeat
        Number of times that trails are injected into each image.
    seed
        Seed of injected trails and added noise.
    """

    name: str
    mode: str
    folder: Path
    repeat: int
    seed: int

    def run(self) -> list[dict[str, object]]:
        """Return one row for each source that was looked for.

        ``test`` is ``alert``, ``point``, ``trail``, ``cutout`` or ``calexp``, or ``calexp false`` with the
        number of candidates; a source is ``found`` if its score is at least that for 10 false candidates per
        detector on the model's own calibration scenes.
        """
        rng = np.random.default_rng(self.seed)
        rows: list[dict[str, object]] = []
        for alert in read_alerts(self.folder):
            real = alert.kind == "real_trail"
            if not real:
                rows.append(self._look(alert, "alert", 1.0, None))
            if real or alert.kind == "known_asteroid_pointlike":
                for snr in REAL_SNRS if real else POINT_SNRS:
                    factor = min(snr / alert.snr, 1.0)
                    if factor == 1.0 and np.isfinite(snr):
                        continue
                    for _ in range(4 * self.repeat if real and factor < 1.0 else 1):
                        row = self._look(alert, "trail" if real else "point", factor, rng)
                        rows.append(row | {"snr": min(snr, alert.snr), "asked": snr})
            for _ in range(self.repeat):
                rows += self._inject(alert, rng)
        if self.mode == "direct":
            rows += self._calexp(rng)
        return rows

    def _candidates(self, planes: ImagePlanes, background: BackgroundMesh) -> Trails:
        """Return the candidates above the model's own threshold for 10 false per detector."""
        model = named_model(self.name)
        table = model_catalog(model, SkySubtracted.from_planes(planes, background), background)
        least = own_thresholds(model)["10"]
        table = table[np.asarray(table["score"]) >= least]
        return Trails.from_table(table, length="trailLengthPix", angle="trailAnglePix", flux="trailFlux")

    def _on_alert(self, planes: ImagePlanes) -> Trails:
        # The sky is subtracted, and a cutout is too small to fit it.
        return self._candidates(planes, BackgroundMesh(np.zeros((1, 1), dtype=np.float32), planes.shape))

    def _look(
        self, alert: Alert, test: str, factor: float, rng: np.random.Generator | None
    ) -> dict[str, object]:
        found = self._on_alert(alert.planes(self.mode, factor, rng))
        near = (segment_distance(alert.x, alert.y, *found.ends) <= _CLOSE) & (found.length >= SHORTEST)
        length = float(np.max(found.length[near])) if np.any(near) else np.nan
        return {
            "test": test,
            "kind": alert.kind,
            "snr": alert.snr,
            "length": alert.length,
            "fitted": length,
            "found": bool(np.any(near)),
        }

    def _inject(self, alert: Alert, rng: np.random.Generator) -> list[dict[str, object]]:
        """Add a trail that fits into the cutout away from its source."""
        planes, side = alert.planes(self.mode), min(alert.shape)
        for _ in range(100):
            length = float(np.exp(rng.uniform(np.log(6.0), np.log(0.7 * side))))
            x, y = rng.uniform(2.0, side - 3.0, 2)
            trail = Trail(x, y, length, rng.uniform(0.0, 180.0), 1.0)
            ends = np.array(trail.ends)
            apart = float(segment_distance(alert.x, alert.y, *trail.ends)) > 8.0
            if apart and ends.min() > 2.0 and ends.max() < side - 3.0:
                snr = float(np.exp(rng.uniform(np.log(3.0), np.log(1000.0))))
                unit = optimal_snr(render_trail(planes.psf, trail), planes.variance, 1.0)
                return self._search(
                    planes, [dataclasses.replace(trail, flux=snr / unit)], "cutout", rng, _GAIN
                )
        return []

    def _calexp(self, rng: np.random.Generator) -> list[dict[str, object]]:
        planes = read_calexp(self.folder)
        gain = fit_gains(planes).typical
        noise = float(np.sqrt(np.median(planes.variance[~planes.bad()])))
        clean = self._candidates(planes, fit_background(planes.image, planes.bad()))
        rows: list[dict[str, object]] = [{"test": "calexp false", "found": len(clean), "kind": "calexp"}]
        for _ in range(10 * self.repeat):
            trails, _points = place_trails(rng, planes.shape, planes.psf, density=(48.0, 24.0, 0.0))
            bright = [dataclasses.replace(trail, flux=trail.flux * noise) for trail in trails]
            rows += self._search(planes, bright, "calexp", rng, gain)
        return rows

    def _search(
        self, planes: ImagePlanes, trails: list[Trail], test: str, rng: np.random.Generator, gain: float
    ) -> list[dict[str, object]]:
        truth = Trails.from_trails(trails)
        bad = planes.bad()
        snr = [optimal_snr(render_trail(planes.psf, t), planes.variance, t.flux, bad) for t in trails]
        lit = inject_trails(planes, truth, rng, gain)
        found = (
            self._candidates(lit, fit_background(lit.image, bad)) if test == "calexp" else self._on_alert(lit)
        )
        matches = match_trails(found, truth)
        return [
            {
                "test": test,
                "kind": "injected",
                "snr": s,
                "length": trail.length,
                "fitted": float(found.length[i]) if i >= 0 else np.nan,
                "found": i >= 0,
            }
            for s, trail, i in zip(snr, trails, matches.candidate_of, strict=True)
        ]
