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

"""InjectTrailsTask: trails of a catalog, or a random population, into an image."""

from __future__ import annotations

__all__ = ("InjectTrailsConfig", "InjectTrailsConnections", "InjectTrailsTask")

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import astropy.table
import numpy as np

from lsst.pipe.base import (
    InputQuantizedConnection,
    InvalidQuantumError,
    OutputQuantizedConnection,
    PipelineTask,
    QuantumContext,
    Struct,
    UpstreamFailureNoWorkFound,
)

from ..core.geometry import Trails
from ..core.injection.catalog import CatalogError, CatalogSelection, ImageFootprint, select_trails
from ..core.injection.distractors import Distractors, draw_distractors
from ..core.injection.gain import GainMap, fit_gains
from ..core.injection.inject import add_light, inject_trails
from ..core.injection.population import draw_trails
from ..core.injection.truth import add_distractors, truth_table
from ..core.render import truth_mask
from ._amplifiers import amplifiers_of, known_gains
from ._ids import INJECTION, pack_data_id, quantum_seed
from ._injection_config import InjectTrailsConfig, InjectTrailsConnections
from ._input_image import InputImage, make_trail_mask, open_image
from ._source_injection import inject_with_stack

_NOT_YET_KNOWN: dict[str, bool | float | int] = {
    "stack_detection": False,
    "stack_mag": float("nan"),
    "stack_mag_err": float("nan"),
    "stack_snr": float("nan"),
    "image_id": -1,
}
"""Columns of Asteroid_detection_CNN that others fill in: TileToHdf5Task where
it gets the stack's sources, and an export of images to a file.
"""


class InjectTrailsTask(PipelineTask):
    """Inject the trails of catalogs, or a random population, into an image."""

    ConfigClass: ClassVar[type[InjectTrailsConfig]] = InjectTrailsConfig
    _DefaultName: ClassVar[str] = "injectTrails"

    config: InjectTrailsConfig

    def runQuantum(
        self,
        butlerQC: QuantumContext,
        inputRefs: InputQuantizedConnection,
        outputRefs: OutputQuantizedConnection,
    ) -> None:
        inputs = butlerQC.get(inputRefs)
        image_id = pack_data_id(self.config.packer, butlerQC)
        outputs = self.run(
            image=inputs["image"],
            injection_catalogs=inputs.get("injection_catalogs", ()),
            packed=image_id.packed,
            visit=image_id.visit,
            detector=image_id.detector,
        )
        butlerQC.put(outputs, outputRefs)

    def run(
        self,
        *,
        image: Any,
        injection_catalogs: Sequence[Any] = (),
        packed: int = 0,
        visit: int = 0,
        detector: int = 0,
    ) -> Struct:
        """Inject trails into an image, which is not changed itself.

        Parameters
        ----------
        image
            The image: a `lsst.images.VisitImage` or
            `~lsst.images.DifferenceImage`, a deferred handle of one, or in
            the full stack a `lsst.afw.image.ExposureF`.
        injection_catalogs
            Tables of trails, or deferred handles of them; see
            `~lsst.meas.trails.core.injection.catalog`.  A random population
            is drawn where there are none.
        packed
            Packed data ID of the image, its seed.
        visit, detector
            Written to the catalog; a catalog with a column ``visit`` is
            searched for trails of this one.

        Returns
        -------
        struct : `lsst.pipe.base.Struct`
            ``injected_image``
                `lsst.images.VisitImage` with the trails.
            ``injected_catalog``
                `astropy.table.Table` with the columns of
                `~lsst.meas.trails.core.injection.truth.TRUTH_COLUMNS` and ``visit``,
                ``detector``, ``physical_filter``, ``band``, ``seed``,
                ``seed_offset`` and `_NOT_YET_KNOWN`.
            ``injected_mask``
                `lsst.images.Mask` with the plane ``TRAIL``.

        Raises
        ------
        lsst.pipe.base.UpstreamFailureNoWorkFound
            Raised if the image cannot be used: no PSF, no WCS, no good pixels.
        lsst.pipe.base.InvalidQuantumError
            Raised if a catalog lacks a column, trails of the rates that are
            configured are too long, or the engine is not there.
        """
        opened = open_image(image, psf_spacing=self.config.psfSpacing)
        planes = opened.planes
        rng = np.random.default_rng(quantum_seed(packed, self.config.seedOffset, INJECTION))
        # Numbers of their own: without them, the trails are the same.
        distractors = draw_distractors(self.config.distractors(), planes, rng.spawn(1)[0])
        if injection_catalogs or not self.config.drawPopulation:
            trails, injection_id = self._from_catalogs(injection_catalogs, opened, visit)
        else:
            trails, injection_id = self._draw(opened, rng), None
            self.log.info("There is room for %d trails of the population.", len(trails))
        catalog = truth_table(
            planes,
            trails,
            flux_per_njy=_scale_at(opened, trails),
            origin=opened.origin,
            pixel_to_sky=opened.pixel_to_sky,
            injection_id=injection_id,
        )
        gains = self._gains(opened)
        noise_rng = rng if self.config.addNoise else None
        if self.config.engine == "source_injection":
            injected, done = inject_with_stack(
                image,
                opened,
                catalog,
                rng=rng,
                add_noise=self.config.addNoise,
                calib_flux_radius=self.config.calibFluxRadius,
            )
            if not np.all(done):
                lost = np.asarray(catalog["injection_id"])[~done]
                self.log.warning("source_injection left out %d trails: injection_id %s.", len(lost), lost)
            trails, catalog = trails[done], catalog[done]
        else:
            injected = inject_trails(planes, trails, noise_rng, gains)
        if len(distractors):
            injected = add_light(injected, distractors.signal, noise_rng, gains)
        output = opened.visit_image.copy()
        output.image.array[...] = injected.image
        output.variance.array[...] = injected.variance
        mask = truth_mask(planes.psf, trails, planes.shape, self.config.truthFraction)
        self.metadata["nInjected"] = len(trails)
        self.metadata["nDistractors"] = len(distractors)
        self.metadata["gain"] = gains.typical
        self.log.info(
            "Injected %d trails and %d distractors; gain %.3g electrons per %s.",
            len(trails),
            len(distractors),
            gains.typical,
            output.unit,
        )
        catalog = self._complete(catalog, distractors, opened)
        numbers = {
            "visit": visit,
            "detector": detector,
            "seed": packed,
            "seed_offset": self.config.seedOffset,
        }
        for name, value in numbers.items():
            catalog[name] = np.full(len(catalog), value, dtype=np.int64)
        return Struct(
            injected_image=output,
            injected_catalog=catalog,
            injected_mask=make_trail_mask(mask, opened),
        )

    def _draw(self, image: InputImage, rng: np.random.Generator) -> Trails:
        """Draw a random population."""
        if self.config.lengthFrom == "rate" and not image.exposure_time > 0.0:
            raise UpstreamFailureNoWorkFound(
                "The exposure time of the image is not known: rates tell no lengths."
            )
        try:
            population = self.config.population(image.exposure_time, image.pixel_scale)
        except ValueError as error:
            raise InvalidQuantumError(
                f"minRate and maxRate do not suit an exposure of {image.exposure_time:g} s: {error}"
            ) from error

        def scale(x: float, y: float) -> float:
            return float(image.flux_per_njy_at(*_on_image(image, np.array(x), np.array(y))))

        return draw_trails(population, image.planes, rng, scale)

    def _from_catalogs(
        self, catalogs: Sequence[Any], image: InputImage, visit: int
    ) -> tuple[Trails, np.ndarray[tuple[int, ...], np.dtype[np.int64]]]:
        """Return the trails of the catalogs that belong to the image."""
        tables, names = [], []
        for index, catalog in enumerate(catalogs):
            if isinstance(catalog, astropy.table.Table):
                tables.append(catalog)
                names.append(f"injection catalog {index}")
            else:
                tables.append(catalog.get())
                names.append(f"{catalog.ref.datasetType.name} of htm7={catalog.dataId['htm7']}")
        try:
            chosen = select_trails(tables, names, _footprint(image), visit)
        except CatalogError as error:
            raise InvalidQuantumError(str(error)) from error
        self._report(chosen, len(tables))
        trails = chosen.trails
        in_image_units = dataclasses.replace(trails, flux=trails.flux * _scale_at(image, trails))
        return in_image_units, chosen.injection_id

    def _report(self, chosen: CatalogSelection, count: int) -> None:
        """Say what has become of the rows of the catalogs."""
        for text in chosen.excluded:
            self.log.warning("Left out %s", text)
        for number, what in (
            (chosen.other_types, "rows that are no trails (source_type is not 'Trail')"),
            (chosen.other_visits, "trails for other visits"),
            (chosen.off_image, "trails that are off the image"),
            (chosen.repeated, "rows that repeat another"),
        ):
            if number:
                self.log.info("Left out %d %s.", number, what)
        if chosen.renumbered:
            self.log.warning(
                "%d trails got another injection_id: the catalogs use the same for different trails.",
                chosen.renumbered,
            )
        self.metadata["nCatalogs"] = count
        self.metadata["nExcluded"] = len(chosen.excluded)
        self.metadata["nOtherTypes"] = chosen.other_types
        self.metadata["nOtherVisits"] = chosen.other_visits
        self.metadata["nOffImage"] = chosen.off_image
        self.metadata["nRepeated"] = chosen.repeated

    def _complete(
        self, catalog: astropy.table.Table, distractors: Distractors, image: InputImage
    ) -> astropy.table.Table:
        """Return the truth with the distractors and what all rows share."""
        catalog = add_distractors(
            catalog,
            distractors.trails,
            distractors.source_type,
            image.planes.psf,
            flux_per_njy=_scale_at(image, distractors.trails),
            origin=image.origin,
            pixel_to_sky=image.pixel_to_sky,
        )
        catalog["physical_filter"] = np.full(len(catalog), image.visit_image.physical_filter, dtype="U64")
        catalog["band"] = np.full(len(catalog), image.visit_image.band, dtype="U8")
        for name, value in _NOT_YET_KNOWN.items():
            catalog[name] = np.full(len(catalog), value)
        return catalog

    def _gains(self, image: InputImage) -> GainMap:
        """Return the configured gain, or what is known or can be fitted."""
        if self.config.gain is not None:
            return GainMap.uniform(float(self.config.gain))
        gains = known_gains(image)
        if gains is None:
            gains = fit_gains(image.planes, [box for box, _ in amplifiers_of(image)])
        if self.config.addNoise and not gains.finite:
            self.log.warning(
                "The variance plane does not grow with the signal: trails are injected without noise of "
                "their own. Set 'gain' to add it."
            )
        return gains


def _footprint(image: InputImage) -> ImageFootprint:
    x0, y0 = image.origin

    def sky_to_pixel(ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y = image.sky_to_pixel(ra, dec)
        return x - x0, y - y0

    center = image.pixel_to_sky(np.array([image.bbox.x.center]), np.array([image.bbox.y.center]))
    return ImageFootprint(
        shape=image.planes.shape,
        ra=float(center[0][0]),
        dec=float(center[1][0]),
        pixel_scale=image.pixel_scale,
        sky_to_pixel=sky_to_pixel,
        margin=image.planes.psf.size // 2,
    )


def _on_image(image: InputImage, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return array coordinates as the image's own."""
    return x + image.origin[0], y + image.origin[1]


def _scale_at(image: InputImage, trails: Trails) -> np.ndarray:
    """Return the image units per nJy at midpoints."""
    return image.flux_per_njy_at(*_on_image(image, trails.x, trails.y))
