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

"""Pixels of the network and SNR of candidates, compared with the truth."""

from __future__ import annotations

__all__ = ("candidate_snr", "compare_pixels")

import astropy.table
import numpy as np
import numpy.typing as npt

from lsst.images import Image, Mask

from ..adcnn.metrics import adcnn_detections, adcnn_match
from ..core.geometry import Trails
from ..core.injection.truth import streak_mask
from ..core.photometry import detection_magnitude_loss, point_source_flux_limit, typical_variance
from ..core.pixel_histogram import PixelHistogram
from ..core.render import truth_mask
from ._input_image import InputImage, check_covers
from ._trail_images import TRAIL_PLANE, model_summary


def candidate_snr(image: InputImage, candidates: astropy.table.Table) -> npt.NDArray[np.float64]:
    """Return the SNR of candidates in point-source detection.

    This is the scale of ``SNR`` in truth tables.

    Parameters
    ----------
    image
        The image.
    candidates
        A `trail_candidate_detector`.
    """
    x, y, length, flux = (
        np.asarray(candidates[name], dtype=np.float64) for name in ("x", "y", "trailLengthPix", "trailFlux")
    )
    planes = image.planes
    flux = flux * image.flux_per_njy_at(x, y)
    places = zip(x - image.origin[0], y - image.origin[1], strict=True)
    fwhm = np.array([planes.psf.fwhm(float(px), float(py)) for px, py in places])
    limit = point_source_flux_limit(planes.psf.mean_kernel, typical_variance(planes, planes.bad()))
    loss = detection_magnitude_loss(length, fwhm) if len(fwhm) else np.zeros(0)
    return np.asarray(5.0 * flux * np.power(10.0, -0.4 * loss) / limit)


def compare_pixels(
    image: InputImage,
    truth: astropy.table.Table,
    trail_probability: Image | None,
    truth_pixels: Mask | None,
    *,
    masked_source: str,
    truth_fraction: float,
    adcnn: bool,
) -> tuple[dict[str, object], dict[str, npt.NDArray[np.float64]]]:
    """Compare the pixels of the network, and components of them, with the truth.

    Parameters
    ----------
    image
        The image.
    truth
        Truth table with the column ``truthSource``, in array coordinates.
    trail_probability
        Output of `TrailSegmentationTask`; without it nothing is compared.
    truth_pixels
        Mask with the plane ``TRAIL`` of the trails of ``masked_source``.
    masked_source
        Value of ``truthSource`` of the trails in the mask; the pixels of other trails are drawn.
    truth_fraction
        Fraction of a trail's ridge above which drawn pixels belong to it.
    adcnn
        Whether to match components as Asteroid_detection_CNN does.

    Returns
    -------
    measured
        Columns of the search table.
    columns
        Columns of the match table, one value per row of the truth.
    """
    if trail_probability is None:
        return {}, {}
    check_covers(trail_probability, image, "probability image")
    planes, probability = image.planes, trail_probability.array
    kind = np.asarray(truth["source_type"]).astype(str)
    drawn = kind == "Trail"
    true = np.zeros(planes.shape, dtype=bool)
    if truth_pixels is not None:
        check_covers(truth_pixels, image, "mask of the trails")
        true |= truth_pixels.get(TRAIL_PLANE.name)
        drawn &= np.asarray(truth["truthSource"]).astype(str) != masked_source
    true |= truth_mask(planes.psf, Trails.from_table(truth[drawn]), planes.shape, truth_fraction)
    bad, streak = planes.bad(), planes.has("STREAK") | streak_mask(truth, planes.shape)
    # Trail pixels count even where the trail crosses a satellite.
    streak &= ~true & ~bad
    histogram = PixelHistogram.from_pixels(probability, true, bad | streak)
    measured: dict[str, object] = {
        "hasPixels": True,
        "growThreshold": float(model_summary(trail_probability)["thresholds"].get("grow", np.nan)),
        "nIgnoredBad": int(np.count_nonzero(bad)),
        "nIgnoredSatellite": int(np.count_nonzero(streak)),
        "pixelTrue": histogram.true,
        "pixelFalse": histogram.false,
    }
    if not adcnn:
        return measured, {}
    detections = adcnn_detections(probability)
    score = np.full(len(truth), np.nan)
    score[kind == "Trail"] = adcnn_match(detections, Trails.from_table(truth[kind == "Trail"]))
    bins = np.clip((detections.score * 100.0).astype(np.int64), 0, 100)
    measured["adcnnComponents"] = np.bincount(bins, minlength=101)
    return measured, {"adcnnScore": score}
