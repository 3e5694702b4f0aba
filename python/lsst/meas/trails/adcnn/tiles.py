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

"""Conversion of images of Asteroid_detection_CNN to tiles.

Its files have only pixels and trails. Variance, mask, PSF and WCS are estimated; the ``estimated`` entry of
the tiles' configuration says how.
"""

from __future__ import annotations

__all__ = ("ImportOptions", "adcnn_tiles")

import dataclasses
import warnings
from typing import Any

import astropy.coordinates
import astropy.table
import astropy.units as u
import astropy.wcs
import numpy as np
import numpy.typing as npt
import scipy.ndimage
from astropy.wcs.utils import fit_wcs_from_points

from ..core.background import fit_background
from ..core.geometry import PixelToSky, Trails
from ..core.injection.truth import truth_table
from ..core.photometry import AB_ZEROPOINT_NJY, mag_to_flux
from ..core.planes import ImagePlanes, plane_bits
from ..core.psf import PsfGrid
from ..core.render import truth_mask
from ..core.tiles.cut import cut_tiles, ignore_trail
from ..core.tiles.layout import TileSource
from ..core.tiles.writer import TrailTiles
from ..ingest.noise import estimate_variance
from ..ingest.star_psf import TooFewStarsError, measure_psf
from .files import AdcnnImage

_DEAD_AREA = 64
"""Smallest number of connected pixels of exactly zero that count as missing data."""

_MASK_HALF_WIDTH = 12.0
"""Half of the width of the masks, pixels: bands of 20 pixels around truncated midpoints."""

_MIN_WCS_TRAILS = 6
_MAX_WCS_RESIDUAL = 1.5
"""Largest median residual, pixels: truncated positions scatter by 0.4."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """Options of the conversion of an image to tiles."""

    tile_size: int = 256
    """Side of the tiles, pixels."""

    overlap: int = 0
    """Overlap of neighboring tiles, pixels."""

    empty_fraction: float = 0.5
    """Fraction of the tiles without trail and source to keep."""

    source_fraction: float = 0.5
    """Fraction of the tiles with a source and no trail to keep."""

    ignore_below_snr: float = 3.0
    """Optimal SNR below which trails are excluded from the loss."""

    redraw_masks: bool = False
    """Whether to draw masks as wide as the PSF instead of the original bands of 20 pixels."""

    fwhm: float | None = None
    """FWHM of the PSF, pixels; `None` measures it on the stars."""

    zeropoint: float = AB_ZEROPOINT_NJY
    """AB magnitude of one image unit."""

    seed: int = 0
    """Seed of the choice of tiles."""


def adcnn_tiles(adcnn: AdcnnImage, name: str, options: ImportOptions) -> TrailTiles:
    """Cut an image of Asteroid_detection_CNN into tiles.

    Parameters
    ----------
    adcnn
        The image.
    name
        Name of its file, for the data ID.
    options
        Options of the conversion.

    Raises
    ------
    ValueError
        Raised if the image has no usable pixel, or too few stars to measure the PSF.
    """
    bits = _mask_bits(adcnn)
    bad = bits & np.uint32(plane_bits(["NO_DATA"])) != 0
    if np.all(bad):
        raise ValueError("it has no pixel that is finite and not zero")
    variance = estimate_variance(adcnn.image, bad)
    psf, how_psf = _psf(adcnn, variance, bad, options.fwhm)
    planes = ImagePlanes(image=adcnn.image, variance=variance, mask=bits, psf=psf)
    wcs = _fit_wcs(adcnn.trails)
    catalog = _catalog(adcnn, planes, options)
    # A whole image without a source has not been searched.
    has_labels = adcnn.real_labels is not None and bool(np.any(adcnn.real_labels))
    source = TileSource(
        data_id=_data_id(adcnn, name),
        shape=planes.shape,
        psf_kernel=psf.mean_kernel,
        unit="nJy" if options.zeropoint == AB_ZEROPOINT_NJY else "",
        wcs="" if wcs is None else str(wcs.to_header(relax=True).tostring(sep="\n")),
        config={
            **dataclasses.asdict(options),
            "estimated": {
                "variance": "clipped scatter in blocks of the image, without the noise of sources",
                "mask": "pixels that are not finite, or zero at the border or over an area",
                "psf": how_psf,
                "wcs": "not known" if wcs is None else f"fitted to {len(catalog)} trails",
                "midpoints": "centers of the pixels that they were cut to",
            },
        },
        real_sources="real_labels" if has_labels else "",
    )
    return cut_tiles(
        planes,
        fit_background(planes.image, planes.bad()),
        _truth(adcnn, planes, catalog, options),
        catalog,
        source,
        size=options.tile_size,
        overlap=options.overlap,
        flux_per_njy=_units_per_njy(options),
        empty_fraction=options.empty_fraction,
        source_fraction=options.source_fraction,
        found=np.asarray(catalog["stack_detection"]) if "stack_detection" in catalog.colnames else None,
        pixel_to_sky=None if wcs is None else _sky_function(wcs),
        rng=np.random.default_rng([options.seed, adcnn.number]),
    )


def _mask_bits(adcnn: AdcnnImage) -> npt.NDArray[np.uint32]:
    """Return mask bits for pixels without data and for real sources."""
    finite = np.isfinite(adcnn.image)
    bits = np.where(finite, 0, plane_bits(["NO_DATA", "UNMASKED_NAN"])).astype(np.uint32)
    nothing = ~finite | (adcnn.image == 0.0)
    if np.any(nothing):
        labels, count = scipy.ndimage.label(nothing)
        dead = np.bincount(labels.ravel(), minlength=count + 1) >= _DEAD_AREA
        for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
            dead[edge] = True
        dead[0] = False
        bits[dead[labels]] |= np.uint32(plane_bits(["NO_DATA"]))
    if adcnn.real_labels is not None:
        bits[adcnn.real_labels != 0] |= np.uint32(plane_bits(["DETECTED"]))
    return bits


def _psf(
    adcnn: AdcnnImage, variance: npt.NDArray[np.float32], bad: npt.NDArray[np.bool_], fwhm: float | None
) -> tuple[PsfGrid, str]:
    """Return the PSF and a description of its origin."""
    if fwhm is not None:
        size = max(25, 2 * int(np.ceil(2.7 * fwhm)) + 1)
        return PsfGrid.gaussian(fwhm, size), f"Gaussian of a given FWHM of {fwhm:g} pixels"
    try:
        measured = measure_psf(adcnn.image, variance, bad | ~(variance > 0.0))
    except TooFewStarsError as error:
        raise ValueError(f"its PSF cannot be measured, as {error}; pass its FWHM") from error
    grid = PsfGrid.from_model(measured.psf, (0, 0), adcnn.image.shape)
    return grid, f"{measured.kind}, on {measured.n_stars} stars"


def _units_per_njy(options: ImportOptions) -> float:
    return float(10.0 ** (0.4 * (options.zeropoint - AB_ZEROPOINT_NJY)))


def _catalog(adcnn: AdcnnImage, planes: ImagePlanes, options: ImportOptions) -> astropy.table.Table:
    """Return the truth table of an image, with the columns of the CSV file."""
    rows = adcnn.trails
    length = np.asarray(rows["trail_length"], dtype=np.float64)
    mag = np.asarray(rows["mag"], dtype=np.float64)
    trails = Trails(
        # Truncated positions are half a pixel too small on average.
        x=np.asarray(rows["x"]) + 0.5,
        y=np.asarray(rows["y"]) + 0.5,
        length=length,
        angle=np.asarray(rows["beta"], dtype=np.float64),
        flux=mag_to_flux(mag, options.zeropoint) * length,
    )
    table = truth_table(planes, trails, flux_per_njy=_units_per_njy(options))
    for name in rows.colnames:
        # Magnitudes and SNRs of the file refer to its own noise.
        if name not in ("x", "y"):
            table[name] = rows[name]
    return table


def _truth(
    adcnn: AdcnnImage, planes: ImagePlanes, catalog: astropy.table.Table, options: ImportOptions
) -> npt.NDArray[np.uint8]:
    """Return the truth plane: the mask, without trails below the SNR limit."""
    if options.redraw_masks:
        mask = truth_mask(planes.psf, Trails.from_table(catalog), planes.shape)
    else:
        mask = adcnn.mask
    truth = mask.astype(np.uint8)
    for row in catalog[np.asarray(catalog["snr_optimal"]) < options.ignore_below_snr]:
        ignore_trail(truth, row, max(1.5 * float(row["fwhm"]), _MASK_HALF_WIDTH))
    return truth


def _data_id(adcnn: AdcnnImage, name: str) -> dict[str, object]:
    """Return the data ID of an image: file, row, and visit and detector if known."""
    data_id: dict[str, object] = {"file": name, "row": adcnn.number}
    for key in ("visit", "detector"):
        if key in adcnn.trails.colnames:
            values = np.unique(np.asarray(adcnn.trails[key]))
            if len(values) == 1 and np.isfinite(values[0]):
                data_id[key] = int(values[0])
    return data_id


def _fit_wcs(trails: astropy.table.Table) -> astropy.wcs.WCS | None:
    """Fit a tangential projection to the trails' positions.

    Returns `None` if there are too few trails or the residuals are too large.
    """
    if not {"ra", "dec"} <= set(trails.colnames):
        return None
    ra, dec = (np.asarray(trails[name], dtype=np.float64) for name in ("ra", "dec"))
    known = np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90.0)
    if np.count_nonzero(known) < _MIN_WCS_TRAILS:
        return None
    x, y = np.asarray(trails["x"])[known] + 0.5, np.asarray(trails["y"])[known] + 0.5
    sky = astropy.coordinates.SkyCoord(ra[known] * u.deg, dec[known] * u.deg)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wcs = fit_wcs_from_points((x, y), sky, projection="TAN")
            fitted_x, fitted_y = wcs.world_to_pixel(sky)
    except Exception:
        # A fit that does not converge raises many types.
        return None
    residual = np.hypot(fitted_x - x, fitted_y - y)
    return wcs if np.median(residual) <= _MAX_WCS_RESIDUAL else None


def _sky_function(wcs: astropy.wcs.WCS) -> PixelToSky:
    def pixel_to_sky(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> tuple[Any, Any]:
        ra, dec = wcs.all_pix2world(x, y, 0)
        return ra, dec

    return pixel_to_sky
