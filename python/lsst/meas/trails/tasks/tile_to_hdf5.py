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

"""TileToHdf5Task: tiles for training from an injected image."""

from __future__ import annotations

__all__ = ("TileToHdf5Config", "TileToHdf5Connections", "TileToHdf5Task")

import dataclasses
from typing import ClassVar

import astropy.table
import numpy as np
import numpy.typing as npt

import lsst.pipe.base.connectionTypes as cT
from lsst.images import Mask
from lsst.pex.config import Field, RangeField
from lsst.pipe.base import InvalidQuantumError, PipelineTaskConfig, QuantumContext, Struct

from ..core.background import fit_background
from ..core.catalog.labels import empty_labels
from ..core.injection.truth import check_trail_table, is_trail, streak_mask
from ..core.render import truth_mask
from ..core.tiles.cut import cut_tiles, ignore_trail
from ..core.tiles.labels import LabeledTruth, append_trails
from ..core.tiles.layout import IGNORED, TileSource
from ._connections import DETECTOR, TemplateConnections, image_input, mask_input, table_input
from ._ids import TILES, SeededConfig, pack_data_id
from ._input_image import InputImage, InputImageConfig, check_covers, read_input_image, read_template
from ._quantum_task import Arguments, QuantumTask
from ._stack_sources import found_trails, read_sources
from ._trail_images import TRAIL_PLANE

_REAL_SOURCES = "plane DETECTED of the image, from before the injection"


class TileToHdf5Connections(
    TemplateConnections,
    dimensions=DETECTOR,
    defaultTemplates={"injected_prefix": "injected_", "sources": "single_visit_star_unstandardized"},
):
    """Inputs and outputs of TileToHdf5Task."""

    image = image_input(doc="Image with trails injected.", name="{injected_prefix}{input_image}")
    injected_catalog = table_input(
        doc="Truth table of the injected trails.", name="{injected_prefix}{input_image}_catalog"
    )
    injected_mask = mask_input(
        doc="Mask of the pixels of the injected trails, with the plane TRAIL.",
        name="{injected_prefix}trail_mask",
    )
    source_catalog = table_input(
        doc="Sources that the stack detected in the image before the injection.", name="{sources}"
    )
    injected_source_catalog = table_input(
        doc="Sources that the stack detected in the image with the trails.", name="{injected_prefix}{sources}"
    )
    labels = table_input(
        doc="Labels of candidates in the image before the injection, from meas-trails vet.",
        name="trail_label",
        minimum=0,
    )
    trail_tiles = cT.Output(
        doc="Tiles for training.", name="trail_tiles", storageClass="TrailTiles", dimensions=DETECTOR
    )

    def __init__(self, *, config: TileToHdf5Config) -> None:
        super().__init__(config=config)
        if not config.useTemplate:
            del self.template
        if not config.useSourceCatalog:
            del self.source_catalog
        if not config.useInjectedSourceCatalog:
            del self.injected_source_catalog


class TileToHdf5Config(
    SeededConfig, InputImageConfig, PipelineTaskConfig, pipelineConnections=TileToHdf5Connections
):
    """Configuration of TileToHdf5Task."""

    tileSize = RangeField(
        dtype=int, doc="Side of the tiles, pixels.", default=256, min=32, max=4096, inclusiveMax=True
    )
    overlap = RangeField(dtype=int, doc="Overlap of neighboring tiles, pixels.", default=0, min=0)
    emptyFraction = RangeField(
        dtype=float,
        doc="Fraction of the tiles with neither a trail nor a real source that are kept.",
        default=0.5,
        min=0.0,
        max=1.0,
        inclusiveMax=True,
    )
    sourceFraction = RangeField(
        dtype=float,
        doc="Fraction of the tiles with a real source and no trail that are kept.",
        default=0.5,
        min=0.0,
        max=1.0,
        inclusiveMax=True,
    )
    useTemplate = Field[bool](
        doc="Add the template of each image to its tiles, if it has one.",
        default=False,
    )
    useSourceCatalog = Field[bool](
        doc="Read the stack's sources of the image before the injection. Tiles with a source become class "
        "source, and these sources never count as detections of a trail.",
        default=False,
    )
    useInjectedSourceCatalog = Field[bool](
        doc="Read the stack's sources of the image with the trails. A trail with a new source counts as "
        "found. If disabled, all trails count as missed.",
        default=False,
    )
    foundDistance = RangeField(
        dtype=float,
        doc="Largest distance of a source of the stack from the line of its trail, pixels.",
        default=4.0,
        min=0.0,
    )
    ignoreBelowSnr = RangeField(
        dtype=float,
        doc="Trails with a lower optimal SNR, which are invisible, do not count in the loss.",
        default=3.0,
        min=0.0,
    )

    def tile_options(self) -> dict[str, object]:
        """Return the fields that determine the tiles."""
        others = {*PipelineTaskConfig._fields, "connections", "packer"}
        return {name: value for name, value in self.toDict().items() if name not in others}

    def validate(self) -> None:
        super().validate()
        if self.overlap >= self.tileSize:
            raise ValueError(f"overlap ({self.overlap}) must be smaller than tileSize ({self.tileSize}).")


class TileToHdf5Task(QuantumTask):
    """Cut an injected image into tiles and select the tiles for training."""

    ConfigClass: ClassVar[type[TileToHdf5Config]] = TileToHdf5Config
    _DefaultName: ClassVar[str] = "tileToHdf5"

    config: TileToHdf5Config

    def run_arguments(self, inputs: Arguments, context: QuantumContext) -> Arguments:
        data_id, _, packed, _, _ = pack_data_id(self.config, context)
        return inputs | {"packed": packed, "data_id": dict(data_id.required)}

    def run(
        self,
        *,
        image: object,
        injected_catalog: astropy.table.Table,
        injected_mask: Mask,
        template: object = None,
        source_catalog: astropy.table.Table | None = None,
        injected_source_catalog: astropy.table.Table | None = None,
        labels: astropy.table.Table | None = None,
        packed: int = 0,
        data_id: dict[str, int | str] | None = None,
    ) -> Struct:
        """Cut an image into tiles.

        Parameters
        ----------
        image
            The image with trails; see `InjectTrailsTask.run`.
        injected_catalog
            Truth table of the trails, in image coordinates.
        injected_mask
            Mask with the plane ``TRAIL``.
        template
            Template of the same sky, if any; see `read_template`.
        source_catalog, injected_source_catalog
            Sources of the stack in the image before and after the injection.
        labels
            Labels of candidates in the image before the injection; see
            `~lsst.meas.trails.core.catalog.labels.LABEL_COLUMNS`. The fits of trails are their truth, tiles
            with artifacts get the class ``artifact``, and the loss ignores unsure candidates.
        packed
            Packed data ID, the seed of the selection of tiles.
        data_id
            Data ID of the image, recorded in the file.

        Returns
        -------
        struct : `lsst.pipe.base.Struct`
            ``trail_tiles``
                `~lsst.meas.trails.core.tiles.writer.TrailTiles`.

        Raises
        ------
        lsst.pipe.base.UpstreamFailureNoWorkFound
            Raised if the image has no PSF, WCS or good pixel.
        lsst.pipe.base.InvalidQuantumError
            Raised if the mask belongs to another image, or a catalog lacks columns or has an invalid row.
        """
        input_image = read_input_image(image, psf_spacing=self.config.psfSpacing)
        check_covers(injected_mask, input_image, "mask of the injected trails")
        planes = input_image.planes
        if template is not None:
            planes = dataclasses.replace(planes, template=read_template(template, input_image))
        try:
            catalog = input_image.to_array_coordinates(injected_catalog)
            found = None
            sources = None if source_catalog is None else read_sources(source_catalog, input_image)
            if injected_source_catalog is not None:
                injected_sources = read_sources(injected_source_catalog, input_image)
                found, catalog = found_trails(catalog, injected_sources, sources, self.config.foundDistance)
            labeled = LabeledTruth.from_labels(
                empty_labels() if labels is None else labels, input_image.origin
            )
            catalog, truth, count = self._add_labeled(input_image, catalog, injected_mask, labeled)
            if found is not None:
                found = np.concatenate([found, np.zeros(count, dtype=bool)])
            tiles = cut_tiles(
                planes,
                fit_background(planes.image, planes.bad()),
                truth,
                catalog,
                TileSource(
                    data_id=data_id or {},
                    shape=planes.shape,
                    psf_kernel=planes.psf.mean_kernel,
                    unit=str(input_image.visit_image.unit),
                    wcs=_wcs_header(input_image),
                    config=self.config.tile_options(),
                    # Injection does not change the mask.
                    real_sources=_REAL_SOURCES if np.any(planes.has("DETECTED")) else "",
                ),
                size=self.config.tileSize,
                overlap=self.config.overlap,
                flux_per_njy=_flux_per_njy(input_image, np.asarray(catalog["x"]), np.asarray(catalog["y"])),
                empty_fraction=self.config.emptyFraction,
                source_fraction=self.config.sourceFraction,
                found=found,
                sources=None if sources is None else sources.positions,
                artifacts=labeled.artifacts,
                pixel_to_sky=input_image.array_to_sky,
                rng=self.config.random_generator(packed, TILES),
            )
        except ValueError as error:
            raise InvalidQuantumError(f"Cannot tile {data_id or 'the image'}: {error}") from error
        self.metadata["nTiles"] = len(tiles)
        self.metadata["nLabeledTrails"] = count
        self.metadata["nLabeledArtifacts"] = len(labeled.artifacts)
        self.log.info("%d tiles of %d pixels.", len(tiles), self.config.tileSize)
        return Struct(trail_tiles=tiles)

    def _add_labeled(
        self, image: InputImage, catalog: astropy.table.Table, mask: Mask, labeled: LabeledTruth
    ) -> tuple[astropy.table.Table, npt.NDArray[np.uint8], int]:
        """Return catalog and truth pixels with the labeled trails, and the number of these.

        A labeled trail on an injected one is the injected one.
        """
        planes = image.planes
        truth = self._truth(image, catalog, mask)
        row, column = (
            np.clip(np.rint(values).astype(int), 0, size - 1)
            for values, size in zip((labeled.trails.y, labeled.trails.x), planes.shape, strict=True)
        )
        real = labeled.trails[truth[row, column] != 1]
        flux_per_njy = _flux_per_njy(image, real.x, real.y)
        extended = append_trails(catalog, real, planes, flux_per_njy, image.array_to_sky)
        truth[truth_mask(planes.psf, real, planes.shape) & (truth == 0)] = 1
        self._ignore_faint(truth, extended[len(catalog) :])
        truth[truth_mask(planes.psf, labeled.unknown, planes.shape) & (truth == 0)] = IGNORED
        return extended, truth, len(real)

    def _truth(self, image: InputImage, catalog: astropy.table.Table, mask: Mask) -> npt.NDArray[np.uint8]:
        """Return the truth pixels: 1 on trails, 2 if ignored by the loss, 0 elsewhere.

        Invisible trails and satellite streaks are ignored.
        """
        check_trail_table(catalog)
        if missing := [
            name for name in ("snr_optimal", "fwhm", "source_type") if name not in catalog.colnames
        ]:
            raise ValueError(f"The catalog of trails has no column {', '.join(missing)}.")
        if TRAIL_PLANE.name not in mask.schema.names:
            raise ValueError(f"The mask of the injected trails has no plane {TRAIL_PLANE.name}.")
        planes = image.planes
        truth = mask.get(TRAIL_PLANE.name).astype(np.uint8)
        truth[planes.has("STREAK")] = IGNORED
        truth[streak_mask(catalog, planes.shape) & (truth == 0)] = IGNORED
        self._ignore_faint(truth, catalog[is_trail(catalog)])
        return truth

    def _ignore_faint(self, truth: npt.NDArray[np.uint8], trails: astropy.table.Table) -> None:
        """Exclude invisible trails from the loss, in place."""
        for row in trails:
            if row["snr_optimal"] < self.config.ignoreBelowSnr:
                ignore_trail(truth, row, 1.5 * float(row["fwhm"]))


def _flux_per_njy(
    image: InputImage, x: npt.NDArray[np.floating], y: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """Return the image units per nJy at array coordinates."""
    left, bottom = image.origin
    return image.flux_per_njy_at(
        np.asarray(x, dtype=np.float64) + left, np.asarray(y, dtype=np.float64) + bottom
    )


def _wcs_header(image: InputImage) -> str:
    """Return the FITS approximation of the WCS as header text, empty without one."""
    wcs = image.sky_projection.as_fits_wcs(image.bbox)
    return "" if wcs is None else str(wcs.to_header(relax=True).tostring(sep="\n"))
