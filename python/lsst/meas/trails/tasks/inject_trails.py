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

"""InjectTrailsTask: injection of trails of a catalog or of random trails into an image."""

from __future__ import annotations

__all__ = ("InjectTrailsConfig", "InjectTrailsConnections", "InjectTrailsTask")

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import astropy.table
import numpy as np
import numpy.typing as npt

from lsst.pipe.base import InvalidQuantumError, QuantumContext, Struct, UpstreamFailureNoWorkFound

from ..core.geometry import Trails
from ..core.injection.catalog import CatalogError, CatalogSelection, ImageFootprint, select_trails
from ..core.injection.distractors import Distractors, draw_distractors
from ..core.injection.gain import GainMap, fit_gains
from ..core.injection.inject import add_light, inject_trails
from ..core.injection.population import draw_trails
from ..core.injection.saturation import saturate_light
from ..core.injection.truth import add_distractors, truth_table
from ..core.planes import ImagePlanes
from ..core.render import truth_mask
from ._amplifiers import amplifiers_of, full_wells, known_gains
from ._ids import INJECTION, pack_data_id
from ._injected_image import check_writable, make_injected_image
from ._injection_config import InjectTrailsConfig, InjectTrailsConnections
from ._input_image import InputImage, read_input_image
from ._quantum_task import Arguments, QuantumTask
from ._source_injection import inject_with_stack
from ._trail_images import make_trail_mask

if TYPE_CHECKING:
    from lsst.daf.butler import DatasetType, DeferredDatasetHandle

_Array = npt.NDArray[np.float64]

_PLACEHOLDERS: dict[str, bool | float | int] = {
    "stack_detection": False,
    "stack_mag": float("nan"),
    "stack_mag_err": float("nan"),
    "stack_snr": float("nan"),
    "image_id": -1,
}
"""Columns of Asteroid_detection_CNN, with the values that stand for unknown.

TileToHdf5Task fills them in from catalogs of the stack, and the export of images numbers the images.
"""


class InjectTrailsTask(QuantumTask):
    """Inject the trails of catalogs or random trails into an image."""

    ConfigClass: ClassVar[type[InjectTrailsConfig]] = InjectTrailsConfig
    _DefaultName: ClassVar[str] = "injectTrails"

    config: InjectTrailsConfig

    def run_arguments(self, inputs: Arguments, context: QuantumContext) -> Arguments:
        _, _, packed, visit, detector = pack_data_id(self.config, context)
        output = self._output_type(inputs["image"])
        return inputs | {"packed": packed, "visit": visit, "detector": detector, "output_type": output}

    def _output_type(self, image: DeferredDatasetHandle) -> DatasetType | None:
        """Return the dataset type of the injected image in its repository, `None` if unknown."""
        connections = self.config.connections
        name = connections.injected_image.format(**connections.toDict())
        # A Butler of quanta knows its dataset types, but has no public method that returns them.
        for method in ("get_dataset_type", "_retrieve_dataset_type"):
            if hasattr(image.butler, method):
                found: DatasetType | None = getattr(image.butler, method)(name)
                return found
        return None

    def run(
        self,
        *,
        image: object,
        injection_catalogs: Sequence[astropy.table.Table | DeferredDatasetHandle] = (),
        packed: int = 0,
        visit: int = 0,
        detector: int = 0,
        output_type: DatasetType | None = None,
    ) -> Struct:
        """Inject trails into a copy of an image.

        Parameters
        ----------
        image
            The image: a `lsst.images.VisitImage` or `~lsst.images.DifferenceImage`, a deferred handle of one,
            or in the full stack a `lsst.afw.image.ExposureF`.
        injection_catalogs
            Tables of trails or their deferred handles; see `~lsst.meas.trails.core.injection.catalog`.
            Without any, trails are random.
        packed
            Packed data ID of the image, its seed.
        visit, detector
            Columns of the truth table. Rows of a catalog for another ``visit`` are ignored.
        output_type
            Dataset type of the injected image in its repository; `None` if it is not written.

        Returns
        -------
        struct : `lsst.pipe.base.Struct`
            ``injected_image``
                `lsst.images.VisitImage` with the trails; see `make_injected_image`.
            ``injected_catalog``
                `astropy.table.Table` with the columns of
                `~lsst.meas.trails.core.injection.truth.TRUTH_COLUMNS` and ``visit``, ``detector``,
                ``physical_filter``, ``band``, ``seed``, ``seed_offset`` and `_PLACEHOLDERS`.
            ``injected_mask``
                `lsst.images.Mask` with the plane ``TRAIL``.

        Raises
        ------
        lsst.pipe.base.UpstreamFailureNoWorkFound
            Raised if the image has no PSF, WCS or good pixel.
        lsst.pipe.base.InvalidQuantumError
            Raised if a catalog lacks a column, trails of the configured rates are too long, the engine is not
            installed, or ``output_type`` cannot hold the PSF of the image.
        """
        input_image = read_input_image(image, psf_spacing=self.config.psfSpacing)
        if output_type is not None:
            check_writable(input_image.visit_image.psf, output_type)
        planes = input_image.planes
        rng = self.config.random_generator(packed, INJECTION)
        # A separate generator: distractors do not change the trails.
        distractors = draw_distractors(self.config.distractors(), planes, rng.spawn(1)[0])
        if injection_catalogs or not self.config.drawPopulation:
            trails, injection_id = self._from_catalogs(injection_catalogs, input_image, visit)
        else:
            trails, injection_id = self._draw(input_image, rng), None
            self.log.info("Drew %d random trails.", len(trails))
        catalog = truth_table(
            planes,
            trails,
            flux_per_njy=_scale_at(input_image, trails),
            origin=input_image.origin,
            pixel_to_sky=input_image.pixel_to_sky,
            injection_id=injection_id,
        )
        gains = self._gains(input_image)
        noise_rng = rng if self.config.addNoise else None
        engine_planes = None
        if self.config.engine == "source_injection":
            injected, done, engine_planes = inject_with_stack(
                image,
                input_image,
                catalog,
                rng=rng,
                add_noise=self.config.addNoise,
                calib_flux_radius=self.config.calibFluxRadius,
            )
            if not np.all(done):
                lost = np.asarray(catalog["injection_id"])[~done]
                self.log.warning("source_injection skipped %d trails: injection_id %s.", len(lost), lost)
            trails, catalog = trails[done], catalog[done]
        else:
            injected = inject_trails(planes, trails, noise_rng, gains)
        if len(distractors):
            injected = add_light(injected, distractors.signal, noise_rng, gains)
        if self.config.saturate:
            injected = self._saturate(input_image, injected, gains, rng)
        output = make_injected_image(
            input_image.visit_image, injected, (trails, distractors.trails), engine_planes
        )
        mask = truth_mask(planes.psf, trails, planes.shape, self.config.truthFraction)
        counts = {"nInjected": len(trails), "nDistractors": len(distractors), "gain": gains.typical}
        for name, count in counts.items():
            self.metadata[name] = count
        text = "Injected %d trails and %d distractors; gain %.3g electrons per %s."
        self.log.info(text, *counts.values(), output.unit)
        catalog = self._complete(catalog, distractors, input_image)
        names = ("visit", "detector", "seed", "seed_offset")
        for name, value in zip(names, (visit, detector, packed, self.config.seedOffset), strict=True):
            catalog[name] = np.full(len(catalog), value, dtype=np.int64)
        return Struct(
            injected_image=output, injected_catalog=catalog, injected_mask=make_trail_mask(mask, input_image)
        )

    def _draw(self, image: InputImage, rng: np.random.Generator) -> Trails:
        """Draw random trails."""
        if self.config.lengthFrom == "rate" and not image.exposure_time > 0.0:
            raise UpstreamFailureNoWorkFound(
                "The exposure time of the image is unknown: rates cannot be converted to lengths."
            )
        try:
            population = self.config.population(image.exposure_time, image.pixel_scale)
        except ValueError as error:
            raise InvalidQuantumError(
                f"minRate and maxRate do not fit an exposure of {image.exposure_time:g} s: {error}"
            ) from error

        def scale(x: float, y: float) -> float:
            return float(image.flux_per_njy_at(*_on_image(image, np.array(x), np.array(y))))

        return draw_trails(population, image.planes, rng, scale)

    def _from_catalogs(
        self, catalogs: Sequence[astropy.table.Table | DeferredDatasetHandle], image: InputImage, visit: int
    ) -> tuple[Trails, npt.NDArray[np.int64]]:
        """Return the trails of catalogs for an image, and their identifiers."""
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
        """Log and count the ignored rows of the catalogs."""
        for text in chosen.excluded:
            self.log.warning("Ignored %s", text)
        self.metadata["nCatalogs"] = count
        self.metadata["nExcluded"] = len(chosen.excluded)
        for key, number, rows in (
            ("nOtherTypes", chosen.other_types, "rows of another source_type than 'Trail'"),
            ("nOtherVisits", chosen.other_visits, "trails for other visits"),
            ("nOffImage", chosen.off_image, "trails off the image"),
            ("nRepeated", chosen.repeated, "repeated rows"),
        ):
            self.metadata[key] = number
            if number:
                self.log.info("Ignored %d %s.", number, rows)
        if chosen.renumbered:
            self.log.warning(
                "Changed the injection_id of %d trails: the catalogs use it for different trails.",
                chosen.renumbered,
            )

    def _complete(
        self, catalog: astropy.table.Table, distractors: Distractors, image: InputImage
    ) -> astropy.table.Table:
        """Return a truth table with the distractors and the common columns."""
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
        for name, value in _PLACEHOLDERS.items():
            catalog[name] = np.full(len(catalog), value)
        return catalog

    def _saturate(
        self, image: InputImage, injected: ImagePlanes, gains: GainMap, rng: np.random.Generator
    ) -> ImagePlanes:
        """Return an image whose bright pixels are saturated."""
        levels = full_wells(image, gains, self.config.fullWell)
        if levels is None:
            self.log.info("No trail saturates: gain or full well are unknown. Configure gain and fullWell.")
            return injected
        variance_gain = gains if self.config.addNoise else GainMap.uniform(np.inf)
        saturated = saturate_light(image.planes, injected, levels, rng, variance_gain)
        self.metadata["nSaturated"] = int(np.count_nonzero(saturated.mask != image.planes.mask))
        return saturated

    def _gains(self, image: InputImage) -> GainMap:
        """Return the configured gain, or the known or fitted gains."""
        if self.config.gain is not None:
            return GainMap.uniform(float(self.config.gain))
        gains = known_gains(image)
        if gains is None:
            gains = fit_gains(image.planes, [box for box, _ in amplifiers_of(image)])
        if self.config.addNoise and not gains.finite:
            self.log.warning(
                "The variance plane does not increase with the signal: injecting trails without Poisson "
                "noise. Configure gain to add it."
            )
        return gains


def _footprint(image: InputImage) -> ImageFootprint:
    """Return the footprint of an image, in array coordinates."""
    x0, y0 = image.origin

    def sky_to_pixel(ra: _Array, dec: _Array) -> tuple[_Array, _Array]:
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


def _on_image(image: InputImage, x: _Array, y: _Array) -> tuple[_Array, _Array]:
    """Convert array coordinates to image coordinates."""
    return x + image.origin[0], y + image.origin[1]


def _scale_at(image: InputImage, trails: Trails) -> _Array:
    """Return the image units per nJy at the midpoints of trails."""
    return image.flux_per_njy_at(*_on_image(image, trails.x, trails.y))
