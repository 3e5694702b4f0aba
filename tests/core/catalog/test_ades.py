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

from collections.abc import Callable
from pathlib import Path
from typing import Any

import astropy.table
import numpy as np
import pytest

from lsst.meas.trails.core.catalog.ades import AdesContext, ades_psv, end_errors
from lsst.meas.trails.core.catalog.columns import CANDIDATE_COLUMNS, empty_catalog

MIDPOINT_TAI = 60955.0 + 37.0 / 86400.0
"""Midnight UTC of 7 October 2025: TAI is 37 s ahead."""


def make_candidates(number: int = 1, **values: Any) -> astropy.table.Table:
    """Return a catalog of trails at the equator with given values."""
    table = empty_catalog()
    columns: dict[str, Any] = {
        name: np.full(number, "r") if kind is np.str_ else np.zeros(number, dtype=kind)
        for name, (kind, _, _) in CANDIDATE_COLUMNS.items()
    }
    known = {
        "trailCandidateId": 2**61 + np.arange(number),
        "midpointMjdTai": MIDPOINT_TAI,
        "exposureTime": 30.0,
        "ra0": 10.0,
        "dec0": -1.0,
        "ra1": 10.002,
        "dec1": -1.001,
        "raErr": 1e-5,
        "decErr": 2e-5,
        "trailLength": 8.0,
        "trailLengthErr": 0.4,
        "trailAngle": 60.0,
        "trailAngleErr": 2.0,
        "trailMag": 21.5,
        "snr": 10.0,
        "score": 0.875,
    }
    for name, value in {**known, **values}.items():
        columns[name] = np.broadcast_to(value, number)
    return astropy.table.Table({name: columns[name] for name in table.colnames})


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
    first, second = read_psv(ades_psv(make_candidates(), AdesContext()))
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
        assert row["astCat"] == row["photCat"] == "UNK"
        assert "may be exchanged" in row["remarks"]
        assert "Score 0.875." in row["remarks"]


def test_the_file_says_that_the_direction_is_unknown() -> None:
    header = [line for line in ades_psv(make_candidates(), AdesContext()).splitlines() if line[0] in "#!"]
    assert header[0] == "# version=2022"
    assert any("the times may be exchanged" in line for line in header)


def test_errors_of_the_ends() -> None:
    """Agree with ends drawn from the errors of midpoint, length and angle."""
    rng = np.random.default_rng(1)
    table = make_candidates(1, dec=-60.0, raErr=2e-5, ra_dec_Cov=3e-10)
    row = table[0]
    n = 200_000
    angle = np.deg2rad(rng.normal(row["trailAngle"], row["trailAngleErr"], n))
    half = rng.normal(row["trailLength"], row["trailLengthErr"], n) / 2.0
    covariance = [[row["raErr"] ** 2, row["ra_dec_Cov"]], [row["ra_dec_Cov"], row["decErr"] ** 2]]
    middle = rng.multivariate_normal([0.0, 0.0], covariance, n) * 3600.0
    east, north = middle[:, 0] + half * np.sin(angle), middle[:, 1] + half * np.cos(angle)
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
    for row in read_psv(ades_psv(table, AdesContext())):
        assert not {"mag", "rmsMag", "band", "photCat", "logSNR", "rmsRA", "rmsDec", "rmsCorr"} & set(row)
        assert "the fit failed" in row["remarks"]
        assert "reaches the edge" in row["remarks"]


@pytest.mark.parametrize("name", ["midpointMjdTai", "exposureTime", "ra1"])
def test_no_observation_without_time_and_place(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is NaN.*Leave it out"):
        ades_psv(make_candidates(2, **{name: [1.0, np.nan]}), AdesContext())


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
        ("aperture", float("nan")),
        ("aperture", -1.0),
    ],
)
def test_invalid_context_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} "):
        AdesContext(**{name: value})


@pytest.mark.process
@pytest.mark.parametrize("station", ["X05", "W84"])
def test_the_official_validator_accepts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_program: Callable[..., Any], station: str
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
    text = ades_psv(table, AdesContext(station=station, submitter="É. Tester", star_catalog="Gaia3"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report.psv").write_text(text, encoding="utf-8")
    converted = run_program("psvtoxml.py", "report.psv", "report.xml")
    assert converted.returncode == 0, converted.stderr
    checked = run_program("valsubmit.py", "report.xml")
    assert (tmp_path / "valsubmit.file").read_text() == "submit is OK\n", checked.stdout
    assert (tmp_path / "report.xml").read_text(encoding="utf-8").count("<optical>") == 12


@pytest.mark.process
def test_the_official_validator_can_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_program: Callable[..., Any]
) -> None:
    text = ades_psv(make_candidates(), AdesContext()).replace("|X05|", "|X0 |")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report.psv").write_text(text, encoding="utf-8")
    run_program("psvtoxml.py", "report.psv", "report.xml")
    run_program("valsubmit.py", "report.xml")
    assert "has failed" in (tmp_path / "valsubmit.file").read_text()


def test_many_candidates_have_distinct_names() -> None:
    rows = read_psv(ades_psv(make_candidates(30), AdesContext()))
    assert len({row["trkSub"] for row in rows}) == 30
    assert len({row["obsSubID"] for row in rows}) == 60


def test_no_candidates() -> None:
    """The standard requires at least one observation."""
    with pytest.raises(ValueError, match="no candidates"):
        ades_psv(empty_catalog(), AdesContext())
