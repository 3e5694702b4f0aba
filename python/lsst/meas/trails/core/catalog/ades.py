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
import logging
import re
from collections.abc import Iterator
from typing import Any

import astropy.table
import numpy as np
import numpy.typing as npt
from astropy.time import Time

from .mpc_codes import MPC_BANDS, designation_fields, mpc_band, observation_notes
from .observations import check_observations, without_fragments

type _Floats = npt.NDArray[np.float64]

_LOG = logging.getLogger(__name__)

RUBIN = "X05"
"""Code of the Simonyi Survey Telescope of the Rubin Observatory."""

RUBIN_RMS_TIME = 0.01
"""Random error of the times of the Rubin Observatory, seconds: the requirement TACABS of the LSST Science
Requirements (LPM-17).
"""

DIRECTION = "Direction of motion unknown: the times of the two ends may be exchanged."

_COMMENT = (
    "Each trail has two observations, its ends, at the start and the end of the exposure.",
    "With the note 'a' it is not known which end is the first: the times may be exchanged.",
    "Candidates of an automatic search, not checked by anyone.",
)
_MAX_REMARK = 300
"""Largest number of characters of a remark."""

_FIELDS = (
    "permID",
    "provID",
    "trkSub",
    "obsSubID",
    "mode",
    "stn",
    "obsTime",
    "rmsTime",
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
    "seeing",
    "exp",
    "uncTime",
    "notes",
    "remarks",
)


@dataclasses.dataclass(frozen=True)
class AdesContext:
    """Observer, telescope and calibration of the observations.

    Raises
    ------
    ValueError
        Raised if the standard does not allow a value.
    """

    station: str
    """Observatory code of the Minor Planet Center, 3 or 4 characters."""

    design: str
    """Design of the telescope."""

    aperture: float
    """Aperture of the telescope, meters."""

    detector: str
    """Type of the detector."""

    telescope: str = ""
    """Name of the telescope, if it has one."""

    submitter: str = "Unnamed"
    """Name of the submitter and measurer, initials first."""

    star_catalog: str = "UNK"
    """Minor Planet Center's code of the star catalog that calibrated positions and magnitudes."""

    band: str = ""
    """Minor Planet Center's code of the band of all magnitudes; by default from the filter of each image."""

    rms_time: float = np.nan
    """Random error of the times, seconds, NaN if unknown."""

    software: str = "meas_trails"
    """Name and version of the software that found the candidates."""

    @classmethod
    def rubin(cls, **values: Any) -> AdesContext:
        """Return the context of the Simonyi Survey Telescope.

        Parameters
        ----------
        **values
            Other fields, or other values.
        """
        known = {
            "station": RUBIN,
            "design": "reflector",
            "aperture": 8.4,
            "detector": "CCD",
            "telescope": "Simonyi Survey Telescope",
            "rms_time": RUBIN_RMS_TIME,
        }
        return cls(**{**known, **values})

    def __post_init__(self) -> None:
        line = r"[^|\x00-\x1f\x7f]"
        allowed = {
            "station": (r"[A-Za-z0-9]{3,4}", "3 or 4 letters or digits, as X05"),
            "star_catalog": (r"[.A-Za-z0-9_]{1,8}", "at most 8 letters, digits, '.' or '_', as Gaia3"),
            "submitter": (rf"{line}{{1,100}}", "at most 100 characters without '|'"),
            "software": (rf"{line}{{1,100}}", "at most 100 characters without '|'"),
            "design": (rf"{line}{{1,25}}", "at most 25 characters without '|'"),
            "detector": (rf"{line}{{1,25}}", "at most 25 characters without '|'"),
            "telescope": (rf"({line}{{1,100}})?", "at most 100 characters without '|'"),
            "band": (f"({'|'.join(sorted(MPC_BANDS))})?", f"one of {', '.join(sorted(MPC_BANDS))}"),
        }
        for name, (pattern, rule) in allowed.items():
            value = getattr(self, name)
            if not re.fullmatch(pattern, value) or (value and not value.strip()):
                raise ValueError(f"{name} {value!r} is not allowed in ADES: {rule}.")
        if not 0.01 <= self.aperture < 1000.0:
            raise ValueError(f"aperture {self.aperture} is not a diameter in meters.")


def ades_psv(candidates: astropy.table.Table, context: AdesContext) -> str:
    """Return the two ends of every candidate as two optical observations.

    Parameters
    ----------
    candidates
        Output of `~lsst.meas.trails.core.catalog.observations.observation_table`.
    context
        Observer, telescope and calibration.

    Returns
    -------
    text
        Content of the file. A tracklet, or a candidate that belongs to none, has its own ``trkSub``, counted
        from 1, and its observations in order of time; ``obsSubID`` is the ``trailCandidateId`` with the
        number of the end. Both ends have the magnitude and exposure time of the whole trail. Known objects
        have their designation as ``permID`` or ``provID``, too. Magnitudes whose band the standard does not
        know, or whose zero point was assumed, are omitted with a warning, and so are fragments of a trail.

    Raises
    ------
    ValueError
        Raised if there are no candidates or more than ``trkSub`` can count, or if one lacks time, exposure
        time or position, or has an assumed time.

    Notes
    -----
    One image does not determine the direction of motion. Unless a tracklet does, the first and second end of
    the catalog get the times of the start and end of the exposure, the note ``a``, and a remark that they may
    be exchanged.
    """
    candidates = without_fragments(candidates)
    check_observations(candidates)
    if len(candidates) > 9_999_999:
        raise ValueError(f"{len(candidates)} candidates do not fit in one file; write at most 9999999.")
    return "\n".join([*_header(context), *_aligned(list(_observations(candidates, context)))]) + "\n"


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
    east = np.sqrt(np.square(column("raErr") * 3600.0) + along * sine**2 + across * cosine**2)
    north = np.sqrt(np.square(column("decErr") * 3600.0) + along * cosine**2 + across * sine**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        covariance = column("ra_dec_Cov") * 3600.0**2 + (along - across) * sine * cosine
        correlation = covariance / (east * north)
    return east, north, correlation


def _observations(candidates: astropy.table.Table, context: AdesContext) -> Iterator[dict[str, str]]:
    """Yield the fields of the observations, by tracklet and time."""
    columns = {name: candidates[name].tolist() for name in candidates.colnames}
    errors = [values.tolist() for values in end_errors(candidates)]
    half = np.asarray(candidates["exposureTime"], dtype=np.float64) / 2.0
    middle = np.asarray(candidates["midpointMjdTai"], dtype=np.float64)
    times = [
        Time(middle, sign * half / 86400.0, format="mjd", scale="tai").utc.isot.tolist()
        for sign in (-1.0, 1.0)
    ]
    groups: dict[tuple[str, int], list[int]] = {}
    for index, tracklet in enumerate(columns["trackletId"]):
        key = ("tracklet", tracklet) if tracklet else ("candidate", index)
        groups.setdefault(key, []).append(index)
    without_band: set[str] = set()
    for number, members in enumerate(groups.values(), start=1):
        name = f"T{number:07d}" if len(groups) > 99_999 else f"T{number:05d}"
        for index in sorted(members, key=lambda index: middle[index]):
            row = {column: values[index] for column, values in columns.items()}
            shared = _shared(row, context)
            if np.isfinite(row["trailMag"]) and not row["assumedMagnitude"] and not _band(row, context):
                without_band.add(f"{row['band']} ({row['physical_filter'] or 'unknown'})")
            first = max(row["firstEnd"], 0)
            for end, time in zip((first, 1 - first), times, strict=True):
                yield {
                    **shared,
                    "trkSub": name,
                    "obsSubID": f"{row['trailCandidateId']}-{end}",
                    "obsTime": f"{time[index]}Z",
                    "ra": f"{_round_ra(row[f'ra{end}']):.7f}",
                    "dec": f"{row[f'dec{end}']:+.7f}",
                    **_rms(*(values[index] for values in errors)),
                }
    assumed = np.count_nonzero(candidates["assumedMagnitude"])
    if assumed:
        _LOG.warning(
            "Magnitudes of %d candidates are omitted: the zero point of their images was assumed; ingest the "
            "images again with --zeropoint to write them.",
            assumed,
        )
    if without_band:
        _LOG.warning(
            "Magnitudes in the bands (filters) %s are omitted: the Minor Planet Center has no code for them; "
            "pass the code with --band to write them.",
            ", ".join(sorted(without_band)),
        )


def _shared(row: dict[str, object], context: AdesContext) -> dict[str, str]:
    """Return the fields that both ends share."""
    magnitude, snr = float(row["trailMag"]), float(row["snr"])  # type: ignore[arg-type]
    seeing = float(row["psfFwhm"])  # type: ignore[arg-type]
    known = int(row["firstEnd"]) >= 0  # type: ignore[call-overload]
    fields = {
        **designation_fields(str(row["designation"])),
        "mode": "CCD",
        "stn": context.station,
        "astCat": context.star_catalog,
        "exp": f"{float(row['exposureTime']):.4g}",  # type: ignore[arg-type]
        "uncTime": _positive(float(row["timeUncertainty"])),  # type: ignore[arg-type]
        "notes": observation_notes(row, direction_known=known),
        "remarks": " ".join([*([] if known else [DIRECTION]), *_remarks(row)])[:_MAX_REMARK],
    }
    if np.isfinite(context.rms_time):
        fields["rmsTime"] = _positive(context.rms_time)
    if np.isfinite(seeing) and seeing > 0.0:
        fields["seeing"] = _positive(seeing)
    if np.isfinite(snr) and snr > 0.0:
        fields["logSNR"] = f"{np.log10(snr):.2f}"
    band = "" if row["assumedMagnitude"] else _band(row, context)
    if band and np.isfinite(magnitude) and -5.0 <= magnitude <= 35.0:
        fields |= {"mag": f"{magnitude:.2f}", "band": band, "photCat": context.star_catalog}
        if "logSNR" in fields:
            fields["rmsMag"] = _positive(2.5 / np.log(10.0) / snr)
    return fields


def _band(row: dict[str, object], context: AdesContext) -> str:
    """Return the code of the band of a row, empty if it has none."""
    return context.band or mpc_band(*(str(row[name]) for name in ("band", "physical_filter", "instrument")))


def _remarks(row: dict[str, object]) -> list[str]:
    remarks = [f"Score {float(row['score']):.3f}."]  # type: ignore[arg-type]
    designation = str(row["designation"])
    if designation and not designation_fields(designation):
        name = re.sub(r"[|\x00-\x1f\x7f]", " ", designation)[:100]
        remarks.append(f"Near the predicted trail of {name}.")
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
    telescope = [f"! name {context.telescope}"] if context.telescope else []
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
    used = [name for name in _FIELDS if any(name in row for row in rows)]
    lines = ["|".join(f"{name:<{widths[name]}}" for name in used).rstrip()]
    lines += ["|".join(f"{row.get(name, ''):<{widths[name]}}" for name in used).rstrip() for row in rows]
    return lines
