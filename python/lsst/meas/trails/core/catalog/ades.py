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

"""Export of candidates as observations for the Minor Planet Center.

The format is the Astrometry Data Exchange Standard of the IAU, version 2022, in pipe-separated values
(https://github.com/IAU-ADES/ADES-Master).
"""

from __future__ import annotations

__all__ = ("AdesContext", "ades_psv", "end_errors")

import dataclasses
import re

import astropy.table
import numpy as np
import numpy.typing as npt
from astropy.time import Time

type _Floats = npt.NDArray[np.float64]

RUBIN = "X05"
"""Code of the Simonyi Survey Telescope of the Rubin Observatory."""

DIRECTION = "Direction of motion unknown: the times of the two ends may be exchanged."

_COMMENT = (
    "Both observations of a trkSub are ends of one trail in one exposure.",
    "They have the times of the exposure's start and end.",
    "Which end is the first is not known from one image: the times may be exchanged.",
    "Candidates of an automatic search, not checked by anyone.",
)
_FIELDS = (
    "trkSub",
    "obsSubID",
    "mode",
    "stn",
    "obsTime",
    "ra",
    "dec",
    "rmsRA",
    "rmsDec",
    "rmsCorr",
    "astCat",
    "mag",
    "rmsMag",
    "band",
    "photCat",
    "logSNR",
    "exp",
    "remarks",
)
_LSST_BANDS = {band: f"L{band}" for band in "ugrizy"}


@dataclasses.dataclass(frozen=True)
class AdesContext:
    """Observer, telescope and calibration of the observations.

    Raises
    ------
    ValueError
        Raised if the standard does not allow a value.
    """

    station: str = RUBIN
    """Observatory code of the Minor Planet Center, 3 or 4 characters."""

    submitter: str = "Unnamed"
    """Name of the submitter and measurer, initials first."""

    star_catalog: str = "UNK"
    """Minor Planet Center's code of the star catalog that calibrated positions and magnitudes."""

    design: str = "reflector"
    """Design of the telescope."""

    aperture: float = 8.4
    """Aperture of the telescope, meters."""

    detector: str = "CCD"
    """Type of the detector."""

    software: str = "meas_trails"
    """Name and version of the software that found the candidates."""

    def __post_init__(self) -> None:
        allowed = {
            "station": (r"[A-Za-z0-9]{3,4}", "3 or 4 letters or digits, as X05"),
            "star_catalog": (r"[.A-Za-z0-9_]{1,8}", "at most 8 letters, digits, '.' or '_', as Gaia3"),
            "submitter": (r"[^|\x00-\x1f\x7f]{1,100}", "at most 100 characters without '|'"),
            "software": (r"[^|\x00-\x1f\x7f]{1,100}", "at most 100 characters without '|'"),
            "design": (r"[^|\x00-\x1f\x7f]{1,25}", "at most 25 characters without '|'"),
            "detector": (r"[^|\x00-\x1f\x7f]{1,25}", "at most 25 characters without '|'"),
        }
        for name, (pattern, rule) in allowed.items():
            value = getattr(self, name)
            if not re.fullmatch(pattern, value) or not value.strip():
                raise ValueError(f"{name} {value!r} is not allowed in ADES: {rule}.")
        if not 0.01 <= self.aperture < 1000.0:
            raise ValueError(f"aperture {self.aperture} is not a diameter in meters.")


def ades_psv(candidates: astropy.table.Table, context: AdesContext) -> str:
    """Return the two ends of every candidate as two optical observations.

    Parameters
    ----------
    candidates
        Rows of a `trail_candidate_detector` or `trail_candidate`.
    context
        Observer, telescope and calibration.

    Returns
    -------
    text
        Content of the file. Each candidate is a tracklet with its own ``trkSub``, counted from 1;
        ``obsSubID`` is its ``trailCandidateId`` with the number of the end. Both ends have the magnitude and
        exposure time of the whole trail. ``band`` has the Minor Planet Center's names of the LSST
        filters if the station is Rubin.

    Raises
    ------
    ValueError
        Raised if there are no candidates or more than ``trkSub`` can count, or if one lacks time, exposure
        time or position.

    Notes
    -----
    One image does not determine the direction of motion: the first and second end of the catalog get the
    times of the start and end of the exposure, and every remark says that they may be exchanged.
    """
    count = len(candidates)
    if count == 0:
        raise ValueError("There are no candidates; ADES files need at least one observation.")
    if count > 9_999_999:
        raise ValueError(f"{count} candidates do not fit in one file; write at most 9999999.")
    _check(candidates)
    half = np.asarray(candidates["exposureTime"], dtype=np.float64) / 2.0
    middle = Time(np.asarray(candidates["midpointMjdTai"], dtype=np.float64), format="mjd", scale="tai")
    rows = []
    columns = {name: np.asarray(candidates[name]) for name in candidates.colnames}
    errors = end_errors(candidates)
    times = [
        Time(middle.mjd, sign * half / 86400.0, format="mjd", scale="tai").utc.isot for sign in (-1.0, 1.0)
    ]
    for index in range(count):
        row = {name: values[index] for name, values in columns.items()}
        shared = _shared(row, context)
        for end in (0, 1):
            rows.append(
                {
                    **shared,
                    "trkSub": f"T{index + 1:07d}" if count > 99_999 else f"T{index + 1:05d}",
                    "obsSubID": f"{int(row['trailCandidateId'])}-{end}",
                    "obsTime": f"{times[end][index]}Z",
                    "ra": f"{_round_ra(float(row[f'ra{end}'])):.7f}",
                    "dec": f"{float(row[f'dec{end}']):+.7f}",
                    **_rms(*(float(values[index]) for values in errors)),
                }
            )
    return "\n".join([*_header(context), *_aligned(rows)]) + "\n"


def end_errors(candidates: astropy.table.Table) -> tuple[_Floats, _Floats, _Floats]:
    """Return the errors of the ends of trails.

    The covariance of an end is the sum of the covariance of the midpoint, a quarter of the variance of the
    length along the trail, and the squared product of half the length and the error of the angle across.

    Parameters
    ----------
    candidates
        Rows of a catalog of candidates.

    Returns
    -------
    east, north
        Errors on the sky, arcseconds, shape (n,); ``east`` includes the factor cos(dec).
    correlation
        Correlation of the two, shape (n,), the same for both ends.
    """

    def column(name: str) -> _Floats:
        return np.asarray(candidates[name], dtype=np.float64)

    angle = np.deg2rad(column("trailAngle"))
    along = np.square(column("trailLengthErr") / 2.0)
    across = np.square(column("trailLength") / 2.0 * np.deg2rad(column("trailAngleErr")))
    sine, cosine = np.sin(angle), np.cos(angle)
    arcsec = 3600.0
    east = np.sqrt(np.square(column("raErr") * arcsec) + along * sine**2 + across * cosine**2)
    north = np.sqrt(np.square(column("decErr") * arcsec) + along * cosine**2 + across * sine**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        covariance = column("ra_dec_Cov") * arcsec**2 + (along - across) * sine * cosine
        correlation = covariance / (east * north)
    return east, north, correlation


def _check(candidates: astropy.table.Table) -> None:
    needed = {
        "midpointMjdTai": "time of observation",
        "exposureTime": "exposure time",
        **dict.fromkeys(("ra0", "dec0", "ra1", "dec1"), "position on the sky"),
    }
    for name, what in needed.items():
        wrong = ~np.isfinite(np.asarray(candidates[name], dtype=np.float64))
        if np.any(wrong):
            row = candidates[int(np.flatnonzero(wrong)[0])]
            raise ValueError(
                f"Candidate {row['trailCandidateId']} of visit {row['visit']}, detector {row['detector']} "
                f"has no {what} ({name} is NaN). Leave it out with a condition such as '{name} > -1000', or "
                "pass the value when ingesting the image."
            )


def _shared(row: dict[str, object], context: AdesContext) -> dict[str, str]:
    """Return the fields that both ends share."""
    magnitude, snr = float(row["trailMag"]), float(row["snr"])  # type: ignore[arg-type]
    fields = {
        "mode": "CCD",
        "stn": context.station,
        "astCat": context.star_catalog,
        "exp": f"{float(row['exposureTime']):.4g}",  # type: ignore[arg-type]
        "remarks": " ".join([DIRECTION, *_remarks(row)]),
    }
    if np.isfinite(snr) and snr > 0.0:
        fields["logSNR"] = f"{np.log10(snr):.2f}"
    if np.isfinite(magnitude) and -5.0 <= magnitude <= 35.0:
        band = str(row["band"])
        fields["mag"] = f"{magnitude:.2f}"
        fields["band"] = _LSST_BANDS.get(band, band) if context.station == RUBIN else band
        fields["photCat"] = context.star_catalog
        if "logSNR" in fields:
            fields["rmsMag"] = _positive(2.5 / np.log(10.0) / snr)
    return fields


def _remarks(row: dict[str, object]) -> list[str]:
    remarks = [f"Score {float(row['score']):.3f}."]  # type: ignore[arg-type]
    for flag, words in (
        ("trail_flag_edge", "The trail reaches the edge of the image and may extend beyond it."),
        ("trail_flag", "Ends of the detected pixels; the fit failed."),
        ("streakFlag", "On a streak across the detector: probably a satellite."),
        ("pixelFlags_saturated", "Holds saturated pixels."),
    ):
        if bool(row[flag]):
            remarks.append(words)
    return remarks


def _rms(east: float, north: float, correlation: float) -> dict[str, str]:
    if not (np.isfinite(east) and np.isfinite(north)) or max(east, north) >= 1e5:
        return {}
    fields = {"rmsRA": _positive(east), "rmsDec": _positive(north)}
    if np.isfinite(correlation):
        # The standard excludes -1 and 1.
        fields["rmsCorr"] = f"{np.clip(correlation, -0.9999, 0.9999):.4f}"
    return fields


def _positive(value: float) -> str:
    """Return a positive number as text of at most 6 characters."""
    return f"{min(max(value, 0.001), 99999.0):.3f}"[:6].rstrip(".")


def _round_ra(ra: float) -> float:
    """Round to the digits of the text, within [0, 360)."""
    return round(ra % 360.0, 7) % 360.0


def _header(context: AdesContext) -> list[str]:
    telescope = ["! name Simonyi Survey Telescope"] if context.station == RUBIN else []
    return [
        "# version=2022",
        "# observatory",
        f"! mpcCode {context.station}",
        "# submitter",
        f"! name {context.submitter}",
        "# measurers",
        f"! name {context.submitter}",
        "# telescope",
        *telescope,
        f"! design {context.design}",
        f"! aperture {context.aperture:.4g}",
        f"! detector {context.detector}",
        "# software",
        f"! objectDetection {context.software}",
        "# comment",
        *(f"! line {line}" for line in _COMMENT),
    ]


def _aligned(rows: list[dict[str, str]]) -> list[str]:
    """Return the lines of keywords and data, in aligned columns."""
    widths = {name: max([len(name), *(len(row.get(name, "")) for row in rows)]) for name in _FIELDS}
    lines = ["|".join(f"{name:<{widths[name]}}" for name in _FIELDS).rstrip()]
    lines += ["|".join(f"{row.get(name, ''):<{widths[name]}}" for name in _FIELDS).rstrip() for row in rows]
    return lines
