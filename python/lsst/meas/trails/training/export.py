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

"""Export of a trained network as a model file."""

from __future__ import annotations

__all__ = ("export_trained",)

import math
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from ..core.pixel_histogram import PixelHistogram
from ..core.psf import kernel_fwhm
from ..core.tiles.reader import TileReader
from ..nn.model_file import ModelSpecification, rounded, save_model
from ..nn.networks.network import TrailNetwork, count_parameters
from .recipe import Recipe
from .recipe_data import FILE_ROLES

_STORED = "float16"
_SEED_PRECISION = 0.6
_GROW_PRECISION = 0.3


def export_trained(
    output_dir: Path,
    network: TrailNetwork,
    recipe: Recipe,
    *,
    files: Sequence[str],
    sources: tuple[tuple[float, float], float] | None = None,
    training: Mapping[str, object],
    measure: Callable[[TrailNetwork], tuple[dict[str, float], PixelHistogram | None]],
) -> tuple[Path, dict[str, float]]:
    """Write a trained network as a model file.

    Parameters
    ----------
    output_dir
        Folder to write to; the file has the model's name.
    network
        The network, on the CPU.
    recipe
        Recipe of the training, for the specification.
    files
        The tile files, for the range of PSF widths.
    sources
        Range of PSF widths and pixel scale, instead of those of the tile files.
    training
        Further facts about the training, for the specification.
    measure
        Function of the network as stored; returns its metrics and, if there are validation tiles, the
        histogram of its logits.

    Returns
    -------
    path
        Path of the specification.
    metrics
        Metrics of the network as stored.

    Notes
    -----
    The thresholds are the probabilities above which 0.6 (``seed``) and 0.3 (``grow``) of the pixels of the
    validation tiles belong to trails.
    """
    metrics, histogram = measure(rounded(network, _STORED))
    thresholds = {"seed": 0.5, "grow": 0.2}
    if histogram is not None:
        for key, precision in (("seed", _SEED_PRECISION), ("grow", _GROW_PRECISION)):
            thresholds[key] = float(np.clip(histogram.threshold_at_precision(precision), 0.01, 0.99))
    fwhm_range, pixel_scale = sources or _describe_sources(files)
    facts = {
        "recipe": _without_paths(recipe),
        **training,
        "files": len(files),
        "parameters": count_parameters(network),
        "torch": torch.__version__,
        "machine": platform.machine(),
    }
    specification = ModelSpecification(
        **dict(recipe.model),
        fwhm_range=fwhm_range,
        pixel_scale=pixel_scale,
        thresholds=thresholds,
        training=facts,
        metrics={key: value if math.isfinite(value) else None for key, value in metrics.items()},
    )
    stem = output_dir / recipe.model.name
    save_model(stem, network, specification, dtype=_STORED)
    return stem.with_name(stem.name + ".json"), metrics


def _describe_sources(files: Sequence[str]) -> tuple[tuple[float, float] | None, float | None]:
    """Return the range of PSF widths and the pixel scale of tile files."""
    from astropy.io.fits import Header
    from astropy.wcs import WCS
    from astropy.wcs.utils import proj_plane_pixel_scales

    widths: list[float] = []
    scales: list[float] = []
    for name in files:
        with TileReader(name) as reader:
            for number in sorted({int(row) for row in reader.table["source"]}):
                source = reader.source(number)
                widths.append(kernel_fwhm(source.psf_kernel))
                if source.wcs:
                    wcs = WCS(Header.fromstring(source.wcs, sep="\n" if "\n" in source.wcs else ""))
                    scales.append(3600.0 * float(np.mean(proj_plane_pixel_scales(wcs))))
    fwhm_range = (round(min(widths), 3), round(max(widths), 3)) if widths else None
    same = bool(scales) and max(scales) <= 1.05 * min(scales)
    return fwhm_range, round(float(np.median(scales)), 4) if same else None


def _without_paths(recipe: Recipe) -> dict[str, object]:
    """Return a recipe as plain data, without folders of this machine."""
    data = recipe.data
    files = {key: tuple(Path(name).name for name in getattr(data, key)) for key in FILE_ROLES}
    return recipe.model_copy(update={"data": data.model_copy(update=files)}).to_mapping()
