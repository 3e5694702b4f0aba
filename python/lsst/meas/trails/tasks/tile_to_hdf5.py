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

"""TileToHdf5Task: from an injected image to tiles for training."""

from __future__ import annotations

__all__ = ("TileToHdf5Config", "TileToHdf5Connections", "TileToHdf5Task")

import dataclasses
from typing import Any, ClassVar

import astropy.table
import numpy as np

import lsst.pipe.base.connectionTypes as cT
from lsst.images import Mask
from lsst.pex.config import Field, RangeField
from lsst.pipe.base import (
    InputQuantizedConnection,
    Instrument,
    InvalidQuantumError,
    OutputQuantizedConnection,
    PipelineTask,
    PipelineTaskConfig,
    PipelineTaskConnections,
    QuantumContext,
    Struct,
)

from ..core.background import fit_background
from ..core.geometry import line_band
from ..core.injection.truth import check_trail_table, is_trail
from ..core.tiles.cut import IGNORED, cut_tiles, ignore_trail
from ..core.tiles.writer import TileSource
from ._ids import TILES, pack_data_id, quantum_seed
from ._input_image import TRAIL_PLANE, InputImage, check_covers, open_image, open_template
from ._stack_sources import found_trails, read_sources

_STREAK_WIDTH = 4.0
"""Half of the width of what a satellite leaves, in FWHM."""

_REAL_SOURCES = "plane DETECTED of the image, from before the injection"


class TileToHdf5Connections(
    PipelineTaskConnections,
    dimensions=("instrument", "visit", "detector"),
    defaultTemplates={
        "input_image": "preliminary_visit_image",
        "injected_prefix": "injected_",
        "sources": "single_visit_star_unstandardized",
        "template_image": "template_detector",
    },
):
    """Inputs and outputs of TileToHdf5Task."""

    image = cT.Input(
        doc="Image with trails injected.",
        name="{injected_prefix}{input_image}",
        storageClass="VisitImage",
        dimensions=("instrument", "visit", "detector"),
        deferLoad=True,
    )
    injected_catalog = cT.Input(
        doc="The trails that were injected.",
        name="{injected_prefix}{input_image}_catalog",
        storageClass="ArrowAstropy",
        dimensions=("instrument", "visit", "detector"),
    )
    injected_mask = cT.Input(
        doc="Mask whose plane TRAIL holds the pixels of the injected trails.",
        name="{injected_prefix}trail_mask",
        storageClass="MaskV2",
        dimensions=("instrument", "visit", "detector"),
    )
    template = cT.Input(
        doc="Template of the same sky on the pixels of the image, such as a warped coadd.",
        name="{template_image}",
        storageClass="VisitImage",
        dimensions=("instrument", "visit", "detector"),
        deferLoad=True,
        minimum=0,
    )
    source_catalog = cT.Input(
        doc="The stack's sources in the image before the injection.",
        name="{sources}",
        storageClass="ArrowAstropy",
        dimensions=("instrument", "visit", "detector"),
    )
    injected_source_catalog = cT.Input(
        doc="The stack's sources in the image with the trails.",
        name="{injected_prefix}{sources}",
        storageClass="ArrowAstropy",
        dimensions=("instrument", "visit", "detector"),
    )
    trail_tiles = cT.Output(
        doc="Tiles for training.",
        name="trail_tiles",
        storageClass="TrailTiles",
        dimensions=("instrument", "visit", "detector"),
    )

    def __init__(self, *, config: TileToHdf5Config) -> None:
        super().__init__(config=config)
        if not config.useTemplate:
            del self.template
        if not config.useSourceCatalog:
            del self.source_catalog
        if not config.useInjectedSourceCatalog:
            del self.injected_source_catalog


class TileToHdf5Config(PipelineTaskConfig, pipelineConnections=TileToHdf5Connections):
    """Configuration of TileToHdf5Task."""

    packer = Instrument.make_dimension_packer_config_field()
    tileSize = RangeField(
        dtype=int, doc="Side of the tiles, pixels.", default=256, min=32, max=4096, inclusiveMax=True
    )
    overlap = RangeField(dtype=int, doc="What neighboring tiles share, pixels.", default=0, min=0)
    emptyFraction = RangeField(
        dtype=float,
        doc="Fraction of the tiles without a trail that are kept.",
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
        doc="Write the template of each image beside it? Tiles of an image without one have none.",
        default=False,
    )
    useSourceCatalog = Field[bool](
        doc="Read the stack's sources of the image before the injection? Tiles with one are of class "
        "source, and none of them can be what the stack made of a trail.",
        default=False,
    )
    useInjectedSourceCatalog = Field[bool](
        doc="Read the stack's sources of the image with the trails? Trails on which there is one, that "
        "was not there before, are found ones. Without, all are missed.",
        default=False,
    )
    foundDistance = RangeField(
        dtype=float,
        doc="Farthest that a source of the stack may be from the line of a trail that it is on, pixels.",
        default=4.0,
        min=0.0,
    )
    ignoreBelowSnr = RangeField(
        dtype=float,
        doc="Trails of a lower optimal SNR are kept out of the loss: nobody can say that they are there.",
        default=3.0,
        min=0.0,
    )
    seedOffset = RangeField(dtype=int, doc="Added to the seed of the choice of tiles.", default=0, min=0)
    psfSpacing = RangeField(
        dtype=float, doc="Distance at which the PSF model is sampled, pixels.", default=512.0, min=16.0
    )

    def setDefaults(self) -> None:
        super().setDefaults()
        self.packer.name = "observation"

    def validate(self) -> None:
        super().validate()
        if self.overlap >= self.tileSize:
            raise ValueError(f"overlap ({self.overlap}) must be smaller than tileSize ({self.tileSize}).")


class TileToHdf5Task(PipelineTask):
    """Cut an injected image into tiles and keep those worth learning from."""

    ConfigClass: ClassVar[type[TileToHdf5Config]] = TileToHdf5Config
    _DefaultName: ClassVar[str] = "tileToHdf5"

    config: TileToHdf5Config

    def runQuantum(
        self,
        butlerQC: QuantumContext,
        inputRefs: InputQuantizedConnection,
        outputRefs: OutputQuantizedConnection,
    ) -> None:
        inputs = butlerQC.get(inputRefs)
        image_id = pack_data_id(self.config.packer, butlerQC)
        outputs = self.run(
            **inputs,
            packed=image_id.packed,
            data_id=dict(image_id.data_id.required),
        )
        butlerQC.put(outputs, outputRefs)

    def run(
        self,
        *,
        image: Any,
        injected_catalog: astropy.table.Table,
        injected_mask: Mask,
        template: Any = None,
        source_catalog: astropy.table.Table | None = None,
        injected_source_catalog: astropy.table.Table | None = None,
        packed: int = 0,
        data_id: dict[str, Any] | None = None,
    ) -> Struct:
        """Cut an image into tiles.

        Parameters
        ----------
        image
            The image with trails; see `InjectTrailsTask.run`.
        injected_catalog
            The trails, in the image's own coordinates.
        injected_mask
            Mask with the plane ``TRAIL``.
        template
            Template of the same sky, if there is one; see `open_template`.
        source_catalog, injected_source_catalog
            The stack's sources of the image before and after the injection,
            if there are any.
        packed
            Packed data ID, the seed of the choice of tiles.
        data_id
            Data ID of the image, written to the file.

        Returns
        -------
        struct : `lsst.pipe.base.Struct`
            ``trail_tiles``
                `~lsst.meas.trails.core.tiles.writer.TrailTiles`.

        Raises
        ------
        lsst.pipe.base.UpstreamFailureNoWorkFound
            Raised if the image cannot be used: no PSF, no WCS, no good pixels.
        lsst.pipe.base.InvalidQuantumError
            Raised if the mask is of another image, or a catalog lacks
            columns or has a row that is no trail.
        """
        opened = open_image(image, psf_spacing=self.config.psfSpacing)
        check_covers(injected_mask, opened, "mask of the injected trails")
        planes = opened.planes
        if template is not None:
            planes = dataclasses.replace(planes, template=open_template(template, opened))
        try:
            catalog = _in_array_coordinates(injected_catalog, opened)
            sources = read_sources(source_catalog, opened)
            injected_sources = read_sources(injected_source_catalog, opened)
            found, catalog = found_trails(catalog, injected_sources, sources, self.config.foundDistance)
            tiles = cut_tiles(
                planes,
                fit_background(planes.image, planes.bad()),
                self._truth(opened, catalog, injected_mask),
                catalog,
                TileSource(
                    data_id=data_id or {},
                    shape=planes.shape,
                    psf_kernel=planes.psf.mean_kernel,
                    unit=str(opened.visit_image.unit),
                    wcs=_wcs_header(opened),
                    config=_plain(self.config),
                    # Injection leaves the mask as it was.
                    real_sources=_REAL_SOURCES if np.any(planes.has("DETECTED")) else "",
                ),
                size=self.config.tileSize,
                overlap=self.config.overlap,
                flux_per_njy=opened.flux_per_njy,
                empty_fraction=self.config.emptyFraction,
                source_fraction=self.config.sourceFraction,
                found=found,
                sources=None if sources is None else sources.positions,
                pixel_to_sky=opened.array_to_sky,
                rng=np.random.default_rng(quantum_seed(packed, self.config.seedOffset, TILES)),
            )
        except ValueError as error:
            raise InvalidQuantumError(f"No tiles of {data_id or 'the image'}: {error}") from error
        self.metadata["nTiles"] = len(tiles)
        self.log.info("%d tiles of %d pixels.", len(tiles), self.config.tileSize)
        return Struct(trail_tiles=tiles)

    def _truth(
        self, image: InputImage, catalog: astropy.table.Table, mask: Mask
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        """Return 1 on trails, 0 elsewhere, 2 where the loss should not look:
        on trails too faint to be seen, and on satellite streaks.
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
        satellite = np.asarray(catalog["source_type"]).astype(str) == "Satellite"
        for row in catalog[satellite]:
            x, y, angle, fwhm = (float(row[name]) for name in ("x", "y", "beta", "fwhm"))
            band = line_band(planes.shape, x, y, angle, _STREAK_WIDTH * fwhm)
            truth[band & (truth == 0)] = IGNORED
        for row in catalog[is_trail(catalog)]:
            if row["snr_optimal"] < self.config.ignoreBelowSnr:
                ignore_trail(truth, row, 1.5 * float(row["fwhm"]))
        return truth


def _in_array_coordinates(catalog: astropy.table.Table, image: InputImage) -> astropy.table.Table:
    """Return a copy of a truth table in the coordinates of the arrays."""
    result = catalog.copy()
    x, y = image.origin
    for suffix in ("", "0", "1"):
        for name, shift in ((f"x{suffix}", x), (f"y{suffix}", y)):
            if name not in result.colnames:
                raise ValueError(f"The catalog of trails has no column {name}.")
            result[name] = np.asarray(result[name]) - shift
    return result


def _wcs_header(image: InputImage) -> str:
    """Return the FITS approximation of the WCS as header text, if any."""
    wcs = image.sky_projection.as_fits_wcs(image.bbox)
    return "" if wcs is None else str(wcs.to_header(relax=True).tostring(sep="\n"))


def _plain(config: TileToHdf5Config) -> dict[str, Any]:
    """Return the fields that decide the tiles as plain values."""
    names = (
        "tileSize",
        "overlap",
        "emptyFraction",
        "sourceFraction",
        "useTemplate",
        "useSourceCatalog",
        "useInjectedSourceCatalog",
        "foundDistance",
        "ignoreBelowSnr",
        "seedOffset",
        "psfSpacing",
    )
    return {name: getattr(config, name) for name in names}
