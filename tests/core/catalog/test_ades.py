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

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import astropy.table
import numpy as np
import pytest

from lsst.meas.trails.core.catalog.ades import RUBIN_RMS_TIME, AdesContext, ades_psv, end_errors
from lsst.meas.trails.core.catalog.columns import empty_catalog
from lsst.meas.trails.core.catalog.heliolinx import heliolinx_detections
from lsst.meas.trails.core.catalog.observations import observation_table

from support.observations import make_candidates, make_pair

RUBIN = AdesContext.rubin()

OTHER = AdesContext(station="W84", design="reflector", aperture=4.0, detector="CCD")


def read_psv(text: str) -> list[dict[str, str]]:
    """Return the observations of a file without empty fields."""
    lines = [line for line in text.splitlines() if line[0] not in "#!"]
    names = [name.strip() for name in lines[0].split("|")]
    rows = []
    for line in lines[1:]:
        fields = [field.strip() for field in line.split("|")]
        rows.append({name: field for name, field in zip(names, fields, strict=True) if field})
    return rows


def test_two_ends() -> None:
    first, second = read_psv(ades_psv(make_candidates(), RUBIN))
    assert first["trkSub"] == second["trkSub"] == "T00001"
    assert (first["obsSubID"], second["obsSubID"]) == (f"{2**61}-0", f"{2**61}-1")
    # The exposure began 15 s before its midpoint and ended 15 s after, UTC.
    assert first["obsTime"] == "2025-10-06T23:59:45.000Z"
    assert second["obsTime"] == "2025-10-07T00:00:15.000Z"
    assert (first["ra"], first["dec"]) == ("10.0000000", "-1.0000000")
    assert (second["ra"], second["dec"]) == ("10.0020000", "-1.0010000")
    for row in (first, second):
        assert row["mode"] == "CCD"
        assert row["stn"] == "X05"
        assert row["mag"] == "21.50"
        assert row["rmsMag"] == "0.109"
        assert row["band"] == "Lr"
        assert row["logSNR"] == "1.00"
        assert row["exp"] == "30"
        assert row["seeing"] == "0.830"
        assert row["notes"] == "at"
        assert row["uncTime"] == "0.500"
        assert float(row["rmsTime"]) == RUBIN_RMS_TIME
        assert row["astCat"] == row["photCat"] == "UNK"
        assert "may be exchanged" in row["remarks"]
        assert "Score 0.875." in row["remarks"]


def test_the_file_says_that_the_direction_is_unknown() -> None:
    header = [line for line in ades_psv(make_candidates(), RUBIN).splitlines() if line[0] in "#!"]
    assert header[0] == "# version=2022"
    assert any("the times may be exchanged" in line for line in header)


def test_errors_of_the_ends() -> None:
    """Agree with ends drawn from the errors of midpoint, length and angle."""
    rng = np.random.default_rng(1)
    table = make_candidates(1, dec=-60.0, raErr=4e-5, ra_dec_Cov=-5e-10)
    row = table[0]
    n = 200_000
    angle = np.deg2rad(rng.normal(row["trailAngle"], row["trailAngleErr"], n))
    covariance = [[row["raErr"] ** 2, row["ra_dec_Cov"]], [row["ra_dec_Cov"], row["decErr"] ** 2]]
    middle = rng.multivariate_normal([0.0, 0.0], covariance, n).T * 3600.0
    half = rng.normal(row["trailLength"], row["trailLengthErr"], n) / 2.0
    east = middle[0] + half * np.sin(angle)
    north = middle[1] + half * np.cos(angle)
    (east_error,), (north_error,), (correlation,) = end_errors(table)
    # The formula is of first order in the angle; 200 000 draws give a
    # standard deviation within 0.2%.
    np.testing.assert_allclose([east_error, north_error], [east.std(), north.std()], rtol=0.01)
    np.testing.assert_allclose(correlation, np.corrcoef(east, north)[0, 1], atol=0.01)


def test_a_trail_along_right_ascension() -> None:
    """Length errors move the ends East and West, angle errors North and South."""
    (east,), (north,), (correlation,) = end_errors(
        make_candidates(raErr=0.0, decErr=0.0, trailAngle=90.0, trailLength=20.0)
    )
    assert east == pytest.approx(0.2)
    assert north == pytest.approx(10.0 * np.deg2rad(2.0))
    assert correlation == pytest.approx(0.0, abs=1e-12)


def test_unknown_values_are_left_out() -> None:
    table = make_candidates(trailMag=np.nan, snr=-2.0, raErr=np.nan, trail_flag=True, trail_flag_edge=True)
    for row in read_psv(ades_psv(table, RUBIN)):
        assert not {"mag", "rmsMag", "band", "photCat", "logSNR", "rmsRA", "rmsDec", "rmsCorr"} & set(row)
        assert "the fit failed" in row["remarks"]
        assert "reaches the edge" in row["remarks"]


@pytest.mark.parametrize("name", ["midpointMjdTai", "exposureTime", "ra1"])
def test_no_observation_without_time_and_place(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is NaN.*Leave it out"):
        ades_psv(make_candidates(2, **{name: [1.0, np.nan]}), RUBIN)


@pytest.mark.parametrize(
    ("name", "option"), [("assumedTimeFlag", "--date"), ("assumedExposureTimeFlag", "--exposure-time")]
)
def test_assumed_times_are_refused(name: str, option: str) -> None:
    table = make_candidates(3, **{name: [False, True, True]})
    with pytest.raises(ValueError, match=rf"{2**61 + 1}.*{name}; 2 .*{option}.*not {name}"):
        ades_psv(table, RUBIN)
    assert len(read_psv(ades_psv(table[:1], RUBIN))) == 2


def test_tracklet() -> None:
    """All four ends of a pair are one tracklet in order of time, and the direction is known."""
    rows = read_psv(ades_psv(make_pair(), RUBIN))
    assert [row["trkSub"] for row in rows] == ["T00001"] * 4 + ["T00002"] * 2
    first = 2**61
    assert [row["obsSubID"] for row in rows[:4]] == [
        f"{first + 1}-1",
        f"{first + 1}-0",
        f"{first}-0",
        f"{first}-1",
    ]
    times = [row["obsTime"] for row in rows[:4]]
    assert times == sorted(times)
    assert times[0] == "2025-10-06T23:59:45.000Z"
    assert times[3] == "2025-10-07T00:30:15.000Z"
    assert [row["ra"] for row in rows[:4]] == ["10.0020000", "10.0000000", "10.1000000", "10.0020000"]
    for row in rows[:4]:
        assert row["notes"] == "t"
        assert "exchanged" not in row["remarks"]
    for row in rows[4:]:
        assert row["notes"] == "at"
        assert "exchanged" in row["remarks"]


def test_known_objects() -> None:
    table = make_candidates(4)
    table["designation"] = ["(433) Eros", "2024 AB12", "S1003|\nXyza", ""]
    rows = read_psv(ades_psv(table, RUBIN))[::2]
    assert [row.get("permID") for row in rows] == ["433", None, None, None]
    assert [row.get("provID") for row in rows] == [None, "2024 AB12", None, None]
    assert [row["trkSub"] for row in rows] == ["T00001", "T00002", "T00003", "T00004"]
    assert "S1003  Xyza" in rows[2]["remarks"]


def test_bands(caplog: pytest.LogCaptureFixture) -> None:
    """A magnitude is written only with a band of the Minor Planet Center's list."""
    row = read_psv(ades_psv(make_candidates(instrument="FitsCam", physical_filter="SDSS r"), OTHER))[0]
    assert row["band"] == "Sr"
    assert "rmsTime" not in row
    assert not caplog.records
    unknown = make_candidates(instrument="FitsCam", physical_filter="red", band="unknown")
    row = read_psv(ades_psv(unknown, OTHER))[0]
    assert not {"mag", "rmsMag", "band", "photCat"} & set(row)
    assert "unknown (red)" in caplog.text
    assert "--band" in caplog.text
    row = read_psv(ades_psv(unknown, dataclasses.replace(OTHER, band="C")))[0]
    assert (row["mag"], row["band"]) == ("21.50", "C")


def test_magnitudes_of_an_assumed_zero_point_are_omitted(caplog: pytest.LogCaptureFixture) -> None:
    table = make_candidates(2)
    table["assumedMagnitude"] = [True, False]
    rows = read_psv(ades_psv(table, RUBIN))
    assert ["mag" in row for row in rows] == [False, False, True, True]
    assert "1 candidates" in caplog.text
    assert "--zeropoint" in caplog.text
    lines = heliolinx_detections(table, "X05").splitlines()
    assert [line.split(",")[4] for line in lines[1:]] == ["99.000", "21.500"]


def test_fragments_are_omitted() -> None:
    table = make_candidates(3)
    table["isFragment"] = [False, True, True]
    assert len(read_psv(ades_psv(table, RUBIN))) == 2
    assert len(heliolinx_detections(table, "X05").splitlines()) == 2
    with pytest.raises(ValueError, match="no candidates"):
        ades_psv(table[1:], RUBIN)


def test_unknown_seeing() -> None:
    table = make_candidates()
    table["psfFwhm"] = np.nan
    assert all("seeing" not in row for row in read_psv(ades_psv(table, RUBIN)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("station", "X0"),
        ("station", "X05|a"),
        ("submitter", "A|B"),
        ("submitter", "A\n# version=1"),
        ("submitter", " "),
        ("star_catalog", "Gaia DR3"),
        ("design", "x" * 26),
        ("telescope", "A|B"),
        ("band", "q"),
        ("aperture", float("nan")),
        ("aperture", -1.0),
    ],
)
def test_invalid_context_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} "):
        dataclasses.replace(OTHER, **{name: value})


def validate(text: str, folder: Path, run_program: Callable[..., Any]) -> str:
    """Return the report of the validator of the IAU on a file, after its conversion to XML."""
    (folder / "report.psv").write_text(text, encoding="utf-8")
    converted = run_program("psvtoxml.py", "report.psv", "report.xml")
    assert converted.returncode == 0, converted.stderr
    run_program("valsubmit.py", "report.xml")
    return (folder / "valsubmit.file").read_text()


@pytest.mark.process
@pytest.mark.parametrize("context", [RUBIN, OTHER])
def test_the_official_validator_accepts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_program: Callable[..., Any], context: AdesContext
) -> None:
    """Run the validator of the IAU, iau-ades on PyPI."""
    table = make_candidates(
        6,
        ra0=[0.0, 359.99999999, 1e-9, 10.0, 20.0, 99.999999],
        dec0=[0.0, -89.9999999, 90.0, -1e-9, 5.0, -5.0],
        raErr=[1e-5, 1e-12, np.nan, 0.1, 3.0, 40.0],
        trailMag=[20.0, np.nan, 31.0, -4.0, 99.0, -99.0],
        snr=[7.0, 0.0, np.nan, 1e6, -1.0, 1e-9],
        exposureTime=[30.0, 29.999, 0.05, 300.0, 1.0, 15.0],
        trailLengthErr=[0.4, 1e5, 1e-9, 0.0, 0.4, np.inf],
        trail_flag=True,
        trail_flag_edge=True,
        streakFlag=True,
        pixelFlags_saturated=True,
    )
    table["designation"] = ["433", "C/2023 A3", "2P", "K24A12B", "S1003Xyza|", "2040 P-L"]
    table = astropy.table.vstack([table, make_pair(trailCandidateId=[1, 2, 3])])
    text = ades_psv(table, dataclasses.replace(context, submitter="É. Tester", star_catalog="Gaia3"))
    monkeypatch.chdir(tmp_path)
    assert validate(text, tmp_path, run_program) == "submit is OK\n"
    assert (tmp_path / "report.xml").read_text(encoding="utf-8").count("<optical>") == 18


@pytest.mark.process
def test_the_official_validator_can_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_program: Callable[..., Any]
) -> None:
    text = ades_psv(make_candidates(), RUBIN).replace("|X05|", "|X0 |")
    monkeypatch.chdir(tmp_path)
    assert "has failed" in validate(text, tmp_path, run_program)


def test_many_candidates_have_distinct_names() -> None:
    rows = read_psv(ades_psv(make_candidates(30), RUBIN))
    assert len({row["trkSub"] for row in rows}) == 30
    assert len({row["obsSubID"] for row in rows}) == 60


def test_no_candidates() -> None:
    """The standard requires at least one observation."""
    with pytest.raises(ValueError, match="no candidates"):
        ades_psv(observation_table(empty_catalog()), RUBIN)
