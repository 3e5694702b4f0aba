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

"""Captions of the figures of a summary, without the libraries that draw them."""

from __future__ import annotations

__all__ = ("CAPTIONS",)

CAPTIONS: dict[str, str] = {
    "trail_completeness_plot": "Fraction of the true trails that are found, in bins of their properties, for "
    "score thresholds that leave 1, 10 and 100 false candidates per detector. Gray columns: trails in each "
    "bin. Bars: 95% binomial intervals.",
    "trail_purity_plot": "Fraction of the candidates that are true trails, in bins of their measured "
    "properties. Gray columns: candidates in each bin. Bars: 95% binomial intervals.",
    "trail_snr_length_plot": "Completeness against optimal SNR, from the limit to saturation, by length: "
    "curves with 95% binomial intervals, and the percentage found above the number of trails.",
    "trail_froc_plot": "Completeness against the rate of false candidates. Band: 95% bootstrap interval "
    "over detectors.",
    "trail_pixel_plot": "Receiver operating characteristic, and precision against recall, of single pixels. "
    "Masked pixels and pixels near satellites are ignored.",
    "trail_calibration_plot": "Fraction of trails among the candidates near each score. On the dotted line "
    "the score is a probability.",
    "trail_residual_plot": "Measured minus true values against optimal SNR: medians, and central 68% ranges.",
    "trail_pull_plot": "Errors of fitted values divided by their estimates, for trails with an optimal SNR "
    "above 10, compared with a normal distribution. The outermost columns include all larger errors.",
    "trail_stack_plot": "Trails found by the network and another method, by one alone, or by neither. The "
    "network has 10 false candidates per detector; the other method all its detections.",
    "trail_rescue_plot": "Fraction of the trails missed by another method that the network finds, against "
    "the rate of added false candidates. Bands: 95% binomial intervals.",
    "trail_adcnn_plot": "Completeness and false components as Asteroid_detection_CNN measures them; its "
    "matching is more lenient than in the other figures.",
    "trail_label_plot": "Fraction of trails among the candidates near each score that people labeled, with "
    "95% binomial intervals and numbers of candidates; and kinds of the artifacts.",
    "trail_known_plot": "Known objects: fraction found against expected SNR and predicted length, with 95% "
    "binomial intervals and, above, the numbers of objects; measured against predicted length and magnitude, "
    "medians with central 68% ranges.",
}
"""Captions of the figures, by the names of their datasets."""
