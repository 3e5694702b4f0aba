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

"""Export of candidates as detections for heliolinx (https://github.com/heliolinx/heliolinx)."""

from __future__ import annotations

__all__ = ("COLUMN_FORMAT", "heliolinx_detections", "heliolinx_images")

import re

import astropy.table
import numpy as np
import numpy.typing as npt
from astropy.time import Time

from .observations import check_observations, without_fragments

type _Floats = npt.NDArray[np.float64]

_COLUMNS = {
    "id": "IDCOL",
    "mjd": "MJDCOL",
    "ra": "RACOL",
    "dec": "DECCOL",
    "mag": "MAGCOL",
    "band": "BANDCOL",
    "obscode": "OBSCODECOL",
    "trail_len": "TRAILLENCOL",
    "trail_PA": "TRAILPACOL",
    "sigmag": "SIGMAGCOL",
    "sig_across": "SIGACROSSCOL",
    "sig_along": "SIGALONGCOL",
    "known_obj": "KNOWNOBJCOL",
    "det_qual": "DETQUALCOL",
}
"""Columns of the detections, and their keywords in a column-format file."""

COLUMN_FORMAT = "".join(f"{keyword} {number}\n" for number, keyword in enumerate(_COLUMNS.values(), start=1))
"""Content of the column-format file of the detections."""

_NO_MAG = 99.0
_UNKNOWN_SIGMA = {"sigmag": 9.999, "sig_across": 1.0, "sig_along": 1.0}
"""Values that heliolinx takes for errors that a file does not have."""


def heliolinx_detections(observations: astropy.table.Table, station: str) -> str:
    """Return the midpoints of candidates as a file of detections.

    Parameters
    ----------
    observations
        Output of `~lsst.meas.trails.core.catalog.observations.observation_table`.
    station
        Observatory code of the Minor Planet Center.

    Returns
    -------
    text
        Comma-separated values in the columns of `COLUMN_FORMAT`, by time: ``trailCandidateId``, MJD (UTC),
        position in degrees, magnitude (99 if unknown, or of an assumed zero point), band, station, length in
        arcseconds, position angle in [90, 270) degrees, errors in magnitudes and arcseconds, 999 for a known
        object or 0, and the score times 999.

    Raises
    ------
    ValueError
        Raised if there are no candidates, or if one lacks time, exposure time or position, or has an assumed
        time.
    """
    observations = without_fragments(observations)
    check_observations(observations)

    def column(name: str) -> _Floats:
        return np.asarray(observations[name], dtype=np.float64)

    angle = column("trailAngle")
    across, along = _line_errors(observations)
    with np.errstate(divide="ignore", invalid="ignore"):
        sigma_mag = np.where(column("snr") > 0.0, 2.5 / np.log(10.0) / column("snr"), np.nan)
    mag = np.where(np.asarray(observations["assumedMagnitude"], dtype=np.bool_), np.nan, column("trailMag"))
    known = [999 if str(name) else 0 for name in observations["designation"]]
    values = {
        "mjd": (Time(column("midpointMjdTai"), format="mjd", scale="tai").utc.mjd, ".8f"),
        "ra": (column("ra") % 360.0, ".7f"),
        "dec": (column("dec"), ".7f"),
        "mag": (np.nan_to_num(mag, nan=_NO_MAG, posinf=_NO_MAG, neginf=_NO_MAG), ".3f"),
        "trail_len": (column("trailLength"), ".3f"),
        # heliolinx compares angles at 0 and 180 degrees, but not across 360.
        "trail_PA": (np.where(angle < 90.0, angle + 180.0, angle), ".2f"),
        "sigmag": (_known(sigma_mag, "sigmag"), ".3f"),
        "sig_across": (_known(across, "sig_across"), ".4f"),
        "sig_along": (_known(along, "sig_along"), ".4f"),
        "det_qual": (np.round(999.0 * np.clip(column("score"), 0.0, 1.0)), ".0f"),
    }
    texts = {name: [format(value, form) for value in numbers] for name, (numbers, form) in values.items()}
    texts |= {
        "id": [str(identifier) for identifier in observations["trailCandidateId"]],
        "band": [re.sub(r"[^!-+\-./-~]", "", str(band))[:4] or "-" for band in observations["band"]],
        "obscode": [station] * len(observations),
        "known_obj": [str(flag) for flag in known],
    }
    order = np.lexsort((np.asarray(observations["trailCandidateId"]), column("midpointMjdTai")))
    lines = [",".join(texts[name][row] for name in _COLUMNS) for row in order]
    return "\n".join([",".join(_COLUMNS), *lines]) + "\n"


def heliolinx_images(images: astropy.table.Table, station: str) -> str:
    """Return the file of images that belongs to detections.

    Parameters
    ----------
    images
        One row an exposure: ``midpointMjdTai`` (days) and the center of the image, ``ra`` and ``dec`` (deg).
    station
        Observatory code of the Minor Planet Center.

    Returns
    -------
    text
        MJD (UTC), right ascension, declination and station, separated by spaces, by time.
    """
    time = Time(np.asarray(images["midpointMjdTai"], dtype=np.float64), format="mjd", scale="tai").utc.mjd
    lines = [
        f"{time[row]:.8f} {float(images['ra'][row]) % 360.0:.7f} {float(images['dec'][row]):.7f} {station}\n"
        for row in np.argsort(time, kind="stable")
    ]
    return "".join(lines)


def _line_errors(observations: astropy.table.Table) -> tuple[_Floats, _Floats]:
    """Return the errors of midpoints across and along the trail, arcseconds."""
    angle = np.deg2rad(np.asarray(observations["trailAngle"], dtype=np.float64))
    ra_variance, dec_variance = (
        np.square(np.asarray(observations[name], dtype=np.float64)) for name in ("raErr", "decErr")
    )
    covariance = np.asarray(observations["ra_dec_Cov"], dtype=np.float64)
    sine, cosine = np.sin(angle), np.cos(angle)
    along = sine**2 * ra_variance + cosine**2 * dec_variance + 2.0 * sine * cosine * covariance
    across = cosine**2 * ra_variance + sine**2 * dec_variance - 2.0 * sine * cosine * covariance
    return np.sqrt(np.maximum(across, 0.0)) * 3600.0, np.sqrt(np.maximum(along, 0.0)) * 3600.0


def _known(errors: _Floats, name: str) -> _Floats:
    """Return errors with heliolinx's value where they are unknown."""
    return np.where(np.isfinite(errors), errors, _UNKNOWN_SIGMA[name])
