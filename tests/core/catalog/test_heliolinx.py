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

from __future__ import annotations

import csv
import io

import astropy.table
import heliolinx.heliolinx as linx
import numpy as np
import numpy.typing as npt
import pytest

from lsst.meas.trails.core.catalog.heliolinx import (
    COLUMN_FORMAT,
    heliolinx_detections,
    heliolinx_images,
)

from support.observations import MIDPOINT_TAI, make_candidates

FIELDS = {
    "IDCOL": "idstring",
    "MJDCOL": "MJD",
    "RACOL": "RA",
    "DECCOL": "Dec",
    "MAGCOL": "mag",
    "BANDCOL": "band",
    "OBSCODECOL": "obscode",
    "TRAILLENCOL": "trail_len",
    "TRAILPACOL": "trail_PA",
    "SIGMAGCOL": "sigmag",
    "SIGACROSSCOL": "sig_across",
    "SIGALONGCOL": "sig_along",
    "KNOWNOBJCOL": "known_obj",
    "DETQUALCOL": "det_qual",
}
"""Fields of the detections of heliolinx by the keyword of their column."""


def read_detections(text: str) -> npt.NDArray[np.void]:
    """Return detections for heliolinx, by its column-format file; columns count from 1."""
    words = COLUMN_FORMAT.split()
    columns = {FIELDS[key]: int(number) - 1 for key, number in zip(words[::2], words[1::2], strict=True)}
    rows = list(csv.reader(io.StringIO(text)))[1:]
    result = np.zeros(len(rows), dtype=linx.create_hldet(1).dtype)
    for name, column in columns.items():
        result[name] = [row[column] for row in rows]
    return result


def read_images(text: str) -> npt.NDArray[np.void]:
    rows = [line.split(" ") for line in text.splitlines()]
    result = np.zeros(len(rows), dtype=linx.create_hlimage(1).dtype)
    for column, name in enumerate(("MJD", "RA", "Dec", "obscode")):
        result[name] = [row[column] for row in rows]
    return result


def test_values() -> None:
    table = make_candidates(
        2,
        ra=[359.99999999, 20.0],
        dec=-30.0,
        trailAngle=[60.0, 120.0],
        trailMag=[21.5, np.nan],
        snr=[10.0, -1.0],
        midpointMjdTai=MIDPOINT_TAI + np.array([0.5, 0.0]),
    )
    table["designation"] = ["433", ""]
    later_in_table, first = read_detections(heliolinx_detections(table, "X05"))[::-1]
    assert later_in_table["idstring"].decode() == str(2**61)
    assert len(later_in_table["idstring"]) <= 19
    # UTC, 37 s behind TAI; 8 digits are 1 ms.
    assert first["MJD"] == pytest.approx(60955.0, abs=1e-8)
    assert later_in_table["MJD"] == pytest.approx(60955.5, abs=1e-8)
    assert (later_in_table["RA"], later_in_table["Dec"]) == (pytest.approx(360.0, abs=1e-7), -30.0)
    assert later_in_table["mag"] == pytest.approx(21.5)
    assert later_in_table["sigmag"] == pytest.approx(0.109)
    # An unknown magnitude has the error that heliolinx takes for unknown.
    assert (first["mag"], first["sigmag"]) == (99.0, pytest.approx(9.999))
    assert (later_in_table["trail_PA"], first["trail_PA"]) == (240.0, 120.0)
    assert first["trail_len"] == 8.0
    assert (later_in_table["known_obj"], first["known_obj"]) == (999, 0)
    assert first["det_qual"] == 874
    assert (first["obscode"], first["band"]) == (b"X05", b"r")


@pytest.mark.parametrize(
    ("band", "written"), [("unknown", "unkn"), ("a, b\n", "ab"), ("", "-"), ("H-a", "H-a")]
)
def test_names_of_bands(band: str, written: str) -> None:
    (row,) = read_detections(heliolinx_detections(make_candidates(band=band), "X05"))
    assert row["band"].decode() == written


def test_errors_along_and_across() -> None:
    """The axes of an error ellipse along the trail are exported."""
    angle, along, across = np.deg2rad(30.0), 3e-5, 1e-5
    unit = np.array([np.sin(angle), np.cos(angle)])
    normal = np.array([np.cos(angle), -np.sin(angle)])
    covariance = along**2 * np.outer(unit, unit) + across**2 * np.outer(normal, normal)
    table = make_candidates(
        1,
        trailAngle=30.0,
        raErr=np.sqrt(covariance[0, 0]),
        decErr=np.sqrt(covariance[1, 1]),
        ra_dec_Cov=covariance[0, 1],
    )
    (row,) = read_detections(heliolinx_detections(table, "X05"))
    # Four digits of an arcsecond.
    assert row["sig_along"] == pytest.approx(along * 3600.0, abs=1e-4)
    assert row["sig_across"] == pytest.approx(across * 3600.0, abs=1e-4)
    (row,) = read_detections(heliolinx_detections(make_candidates(raErr=np.nan), "X05"))
    assert (row["sig_along"], row["sig_across"]) == (1.0, 1.0)


def test_heliolinx_finds_a_tracklet() -> None:
    """Run heliolinx on the files of two visits with one moving object and one false candidate."""
    moved = 0.4 / 24.0
    table = make_candidates(
        3,
        midpointMjdTai=MIDPOINT_TAI + np.array([0.0, 1.0, 1.0]) / 24.0,
        # 0.4 degrees a day to the East, and a candidate too far away.
        ra=[10.0, 10.0 + moved, 12.0],
        dec=0.0,
        trailAngle=90.0,
    )
    images = astropy.table.Table(
        {"midpointMjdTai": MIDPOINT_TAI + np.array([1.0, 0.0]) / 24.0, "ra": [10.5] * 2, "dec": [0.0] * 2}
    )
    detections = read_detections(heliolinx_detections(table, "X05"))
    visits = read_images(heliolinx_images(images, "X05"))
    np.testing.assert_array_equal(np.diff(visits["MJD"]) > 0.0, True)
    config = linx.MakeTrackletsConfig()
    config.mintrkpts = 2
    config.maxtime = 1.5 / 24.0
    pairs, tracklets, members = linx.makeTracklets(config, detections, visits)
    assert len(tracklets) == 1
    found = [pairs["idstring"][i].decode() for i in members["i2"]]
    assert sorted(found) == [str(2**61), str(2**61 + 1)]


def test_assumed_times_are_refused() -> None:
    with pytest.raises(ValueError, match="assumedTimeFlag"):
        heliolinx_detections(make_candidates(assumedTimeFlag=True), "X05")
