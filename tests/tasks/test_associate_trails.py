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
from typing import Any

import astropy.table
import astropy.units as u
import numpy as np
import pytest

from lsst.meas.trails.core.association.columns import ASSOCIATION_COLUMNS, KNOWN_TRAIL_COLUMNS
from lsst.meas.trails.core.association.designation import ss_object_id
from lsst.meas.trails.core.association.known_objects import KNOWN_OBJECT_COLUMNS
from lsst.meas.trails.core.catalog.columns import CANDIDATE_COLUMNS, empty_catalog, table_of
from lsst.meas.trails.core.motion import motion, move, sky_vectors
from lsst.meas.trails.tasks import (
    AssociateTrailsTask,
    ConsolidateTrailCandidatesTask,
    TrailCandidateTask,
    TrailSegmentationTask,
)
from lsst.meas.trails.tasks._exposure_midpoints import ExposureMidpoints
from lsst.meas.trails.tasks._input_image import read_input_image
from lsst.pipe.base import InvalidQuantumError, Struct

TRAILS = (
    # x, y, length, angle, SNR
    (90.0, 180.0, 60.0, 25.0, 60.0),
    (220.0, 80.0, 60.0, 110.0, 60.0),
    (80.0, 60.0, 40.0, 160.0, 50.0),
)
KNOWN = ("2026 AA", "2026 AB1")
"""Designations of the first two trails; the third is unknown."""

FAINT = "2026 AC2"
"""An object that is too faint."""


class Field:
    """An image with its candidates and the motions of its objects."""

    def __init__(self, make_image: Callable[..., Any]) -> None:
        made = make_image(TRAILS)
        self.image = made.image
        probability = TrailSegmentationTask(config=TrailSegmentationTask.ConfigClass()).run(image=self.image)
        self.candidates = (
            TrailCandidateTask(config=TrailCandidateTask.ConfigClass())
            .run(image=self.image, trail_probability=probability.trail_probability)
            .trail_candidate_detector
        )
        read = read_input_image(self.image)
        self.middle, self.days = read.midpoint_mjd_tai, read.exposure_time / 86400.0
        truth = made.truth
        ra, dec = list(truth["ra"][:2]), list(truth["dec"][:2])
        rate, angle = motion(*(truth[name][:2] for name in ("ra0", "dec0", "ra1", "dec1")), self.days)
        faint = read.array_to_sky(np.array([250.0]), np.array([200.0]))
        self.ra, self.dec = np.append(ra, faint[0]), np.append(dec, faint[1])
        self.rate, self.angle = np.append(rate, 2.0), np.append(angle, 75.0)
        # V magnitudes of the trails, as the color of r-band images is -0.2.
        self.mag = np.append(truth["integrated_mag"][:2] + 0.2, 27.0)

    @property
    def names(self) -> list[str]:
        return [*KNOWN, FAINT]

    def rate_table(self) -> astropy.table.Table:
        """Return the objects as Data Release Production does."""
        return astropy.table.Table(
            {
                "ObjID": ["K26A00A", "K26A01B", "K26A02C"],
                "fieldMJD_TAI": np.full(3, self.middle),
                "RATrue_deg": self.ra,
                "DecTrue_deg": self.dec,
                "RARateCosDec_deg_day": self.rate * np.sin(np.deg2rad(self.angle)),
                "DecRate_deg_day": self.rate * np.cos(np.deg2rad(self.angle)),
                "trailedSourceMagTrue": self.mag,
            }
        )

    def polynomial_table(self) -> astropy.table.Table:
        """Return the objects as Alert Production does."""
        columns: dict[str, Any] = {
            "ObjID": self.names,
            "tmin": np.full(3, self.middle - 0.3),
            "tmax": np.full(3, self.middle + 0.7),
            "trailedSourceMagTrue": self.mag,
            "Err(arcsec)": np.full(3, 2.0),
            "ssObjectId": [ss_object_id(name) for name in self.names],
            "RARateCosDec_deg_day": np.zeros(3),
        }
        direction = sky_vectors(*move(self.ra, self.dec, 90.0, self.angle, 1.0))
        velocity = 1.3 * np.deg2rad(self.rate)[:, None] * direction
        start = 1.3 * sky_vectors(self.ra, self.dec) - 0.3 * velocity
        for i, axis in enumerate("xyz"):
            observer = np.tile([0.5 + i, 0.01, 1e-4], (3, 1))
            columns[f"obs_{axis}_poly"] = observer
            columns[f"obj_{axis}_poly"] = observer + np.stack(
                [start[:, i], velocity[:, i], np.zeros(3)], axis=-1
            )
        return astropy.table.Table(columns)

    def known_table(self) -> astropy.table.Table:
        """Return the objects as `meas-trails known ingest` does."""
        return table_of(
            {
                "designation": self.names,
                "ssObjectId": [ss_object_id(name) for name in self.names],
                "mjdTai": np.full(3, self.middle),
                "ra": self.ra,
                "dec": self.dec,
                "rateRa": self.rate * np.sin(np.deg2rad(self.angle)),
                "rateDec": self.rate * np.cos(np.deg2rad(self.angle)),
                "vmag": self.mag,
                "positionErr": np.full(3, 0.3),
            },
            KNOWN_OBJECT_COLUMNS,
        )

    def associate(self, **ephemerides: astropy.table.Table) -> Struct:
        task = AssociateTrailsTask(config=AssociateTrailsTask.ConfigClass())
        result = task.run(image=self.image, candidates=self.candidates, visit=7, detector=3, **ephemerides)
        assert result.trail_candidate_associated_detector.colnames == [
            *CANDIDATE_COLUMNS,
            *ASSOCIATION_COLUMNS,
        ]
        assert result.trail_known_object_detector.colnames == list(KNOWN_TRAIL_COLUMNS)
        return result


@pytest.fixture(scope="module")
def field(make_image: Callable[..., Any]) -> Field:
    return Field(make_image)


def labels(field: Field, result: Struct) -> list[str]:
    """Return the designation of the best candidate of each trail of the image."""
    table = result.trail_candidate_associated_detector
    found = []
    for x, y, *_ in TRAILS:
        near = np.hypot(np.asarray(table["x"]) - x, np.asarray(table["y"]) - y) < 4.0
        found.append(str(table["designation"][near][np.argmax(table["score"][near])]))
    return found


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("preloaded_ss_object", Field.polynomial_table),
        ("preloaded_ss_object_visit", Field.rate_table),
        ("known_objects", Field.known_table),
    ],
)
def test_each_ephemeris_gives_the_same_labels(
    name: str, make: Callable[[Field], astropy.table.Table], field: Field
) -> None:
    result = field.associate(**{name: make(field)})
    assert labels(field, result) == [*KNOWN, ""]
    known = result.trail_known_object_detector
    assert list(known["designation"]) == field.names
    assert list(known["isFound"]) == [True, True, False]
    assert list(known["missedReason"]) == ["", "", "faint"]
    assert np.all(known["visit"] == 7)
    assert np.all(known["ephemeris"] == name)
    assert known["assumedPositionErrFlag"][0] == (name == "preloaded_ss_object_visit")
    table = result.trail_candidate_associated_detector
    for i, designation in enumerate(KNOWN):
        (row,) = table[(table["designation"] == designation) & table["isPrimary"]]
        assert row["ssObjectId"] > 0
        assert row["matchProbability"] > 0.99
        # The fit is good to a pixel at this SNR.
        assert abs(row["ephOffsetCrossTrack"]) < 0.2
        assert row["ephOffset"] == pytest.approx(np.hypot(row["ephOffsetRa"], row["ephOffsetDec"]), rel=1e-4)
        assert abs(row["ephRateResidual"]) < 0.1 * row["ephRate"]
        assert abs(row["ephAngleResidual"]) < 3.0
        assert row["motionAngle"] == pytest.approx(field.angle[i], abs=0.01)
        assert known["trailCandidateId"][i] == row["trailCandidateId"]
        # Optimal SNR from the predicted magnitude.
        assert known["expectedSnr"][i] == pytest.approx(60.0, rel=0.05)
        assert known["expectedLengthPix"][i] == pytest.approx(60.0, abs=0.2)


def test_positions_are_predicted_for_the_middle_of_the_exposure_there(
    field: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shutter exposes one side of the focal plane later than the other."""
    late = 60.0 / 86400.0

    def find_midpoints(image: Any, x: Any, y: Any) -> ExposureMidpoints:
        ny, nx = image.planes.shape
        assert (*x, *y) == (image.origin[0] + 0.5 * (nx - 1), image.origin[1] + 0.5 * (ny - 1))
        return ExposureMidpoints(np.full(len(x), field.middle + late))

    monkeypatch.setattr("lsst.meas.trails.tasks.associate_trails.find_midpoints", find_midpoints)
    known = field.associate(known_objects=field.known_table()).trail_known_object_detector
    assert known["midpointMjdTai"] == pytest.approx(field.middle + late, abs=1e-9)
    number = [field.names.index(name) for name in known["designation"]]
    ra, dec = move(field.ra, field.dec, field.rate, field.angle, late)
    assert list(known["ephRa"]) == pytest.approx(list(ra[number]), abs=1e-6)
    assert list(known["ephDec"]) == pytest.approx(list(dec[number]), abs=1e-6)


def test_ephemerides_together_have_each_object_once(field: Field) -> None:
    result = field.associate(
        preloaded_ss_object=field.polynomial_table(),
        preloaded_ss_object_visit=field.rate_table(),
        known_objects=field.known_table(),
    )
    assert labels(field, result) == [*KNOWN, ""]
    known = result.trail_known_object_detector
    assert sorted(known["designation"]) == sorted(field.names)
    # The one with the smallest uncertainty.
    assert set(known["ephemeris"]) == {"known_objects"}


def test_another_name_does_not_make_an_object_uncertain(field: Field) -> None:
    """An observer's table has numbers, and that of the stack provisional designations."""
    numbered = field.known_table()
    numbered["designation"], numbered["ssObjectId"] = ["433", "719", "99942"], 0
    # As uncertain as the other table: both names would be as probable.
    numbered["positionErr"] = 2.0
    result = field.associate(preloaded_ss_object=field.polynomial_table(), known_objects=numbered)
    assert labels(field, result) == ["433", "719", ""]
    assert len(result.trail_known_object_detector) == 3


@pytest.mark.parametrize("ephemerides", [{}, {"preloaded_ss_object_visit": astropy.table.Table()}])
def test_without_ephemerides_the_image_is_not_read(
    ephemerides: dict[str, astropy.table.Table], field: Field
) -> None:
    task = AssociateTrailsTask(config=AssociateTrailsTask.ConfigClass())
    result = task.run(image=None, candidates=field.candidates, **ephemerides)
    table = result.trail_candidate_associated_detector
    assert table.colnames == [*CANDIDATE_COLUMNS, *ASSOCIATION_COLUMNS]
    assert len(table) == len(field.candidates)
    assert np.all(table["ssObjectId"] == 0)
    assert np.all(table["designation"] == "")
    assert np.all(np.isnan(table["matchProbability"]))
    assert len(result.trail_known_object_detector) == 0
    assert table.meta["trailModel"] == field.candidates.meta["trailModel"]
    assert "designation" not in field.candidates.colnames


def test_no_candidates(field: Field) -> None:
    task = AssociateTrailsTask(config=AssociateTrailsTask.ConfigClass())
    result = task.run(image=field.image, candidates=empty_catalog(), known_objects=field.known_table())
    assert list(result.trail_known_object_detector["isFound"]) == [False, False, False]
    assert "unexplained" in result.trail_known_object_detector["missedReason"]
    assert len(result.trail_candidate_associated_detector) == 0


def test_objects_elsewhere_are_not_listed(field: Field) -> None:
    away = field.known_table()
    away["dec"] += 1.0
    result = field.associate(known_objects=away)
    assert len(result.trail_known_object_detector) == 0
    assert np.all(result.trail_candidate_associated_detector["designation"] == "")


def test_another_magnitude_is_not_the_object(field: Field) -> None:
    bright = field.known_table()
    bright["vmag"] -= 5.0
    assert labels(field, field.associate(known_objects=bright)) == ["", "", ""]


def test_model_states_its_limit(field: Field) -> None:
    assert 5.0 < field.candidates.meta["snr50"]["all"] < 20.0
    task = AssociateTrailsTask(config=AssociateTrailsTask.ConfigClass(snr50=500.0))
    result = task.run(image=field.image, candidates=field.candidates[:0], known_objects=field.known_table())
    assert set(result.trail_known_object_detector["missedReason"]) == {"faint"}


def test_a_table_without_a_column_is_an_error(field: Field) -> None:
    table = field.rate_table()
    table.remove_column("DecRate_deg_day")
    with pytest.raises(InvalidQuantumError, match="DecRate_deg_day"):
        field.associate(preloaded_ss_object_visit=table)


def test_associated_catalogs_of_a_visit_are_joined(field: Field) -> None:
    task = ConsolidateTrailCandidatesTask(config=ConsolidateTrailCandidatesTask.ConfigClass())
    one = field.associate(known_objects=field.known_table()).trail_candidate_associated_detector
    joined = task.run(catalogs=[one, one[:0]]).trail_candidate
    assert joined.colnames == one.colnames
    assert list(joined["designation"]) == list(one["designation"])
    assert joined["ephOffset"].unit == u.arcsec
    assert task.run(catalogs=[one[:0]]).trail_candidate.colnames == one.colnames
