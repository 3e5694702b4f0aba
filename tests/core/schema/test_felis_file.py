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

import re
from pathlib import Path

import astropy.table
import astropy.units as u
import felis.datamodel
import felis.metadata
import numpy as np
import pytest
import sqlalchemy

import lsst.sdm.schemas
from lsst.meas.trails.core.catalog.columns import CANDIDATE_COLUMNS, TRAIL_ALGORITHM, empty_catalog
from lsst.meas.trails.core.schema.felis_file import SCHEMA_FILE, TABLES, schema_text

MEANINGS: dict[str, str] = {
    "visit": "visit",
    "detector": "detector",
    "band": "band",
    "midpointMjdTai": "mid.*(TAI|International Atomic Time)",
    "exposureTime": "exposure time",
    "ra": "right ascension.*(center|midpoint)",
    "dec": "declination.*(center|midpoint)",
    "raErr": r"error.*ra.*cos\(dec\)",
    "decErr": "error.*dec",
    "ra_dec_Cov": r"covariance.*cos\(dec\).*dec",
    **dict.fromkeys("xy", "centroid|midpoint"),
    "xErr": r"\bx\b",
    "yErr": r"\by\b",
    "snr": "signal-to-noise|flux over.*err",
    "trailRa": "right ascension.*(centroid for trail|fitted midpoint)",
    "trailDec": "declination.*(centroid for trail|fitted midpoint)",
    "trailRaErr": r"error of trailRa.*cos\(dec\)",
    "trailDecErr": "error of trailDec",
    "trailLength": "length",
    "trailLengthErr": "of trailLength",
    "trailAngle": "meridian.*bearing|position angle, East of North",
    "trailAngleErr": "of trailAngle",
    "trailFlux": "flux",
    "trailFluxErr": "of trailFlux",
    "trailChi2": "chi.*(fit|fitted trail)",
    "trailNdata": "number of.*pixels",
    "trailAlgorithm": "algorithm",
    "trail_flag": "fit.*failed",
    "trail_flag_edge": "trail.*edge",
    "reliability": "probability.*(that the diaSource is astrophysical|that the candidate is a trail)",
    "reliabilityVersion": "version of the.*model",
    "pixelFlags_bad": "bad pixel.*footprint",
    "pixelFlags_cr": "cosmic ray.*footprint",
    "pixelFlags_crCenter": "cosmic ray.*3x3",
    "pixelFlags_edge": "outside.*usable.*masked EDGE",
    "pixelFlags_interpolated": "interpolated.*footprint",
    "pixelFlags_interpolatedCenter": "interpolated.*3x3",
    "pixelFlags_nodata": "NO_DATA.*footprint",
    "pixelFlags_nodataCenter": "NO_DATA.*3x3",
    "pixelFlags_saturated": "saturated.*footprint",
    "pixelFlags_saturatedCenter": "saturated.*3x3",
    "pixelFlags_streak": "streak.*footprint",
    "pixelFlags_streakCenter": "streak.*3x3",
    "pixelFlags_suspect": "footprint.*suspect|suspect.*footprint",
    "pixelFlags_suspectCenter": "suspect.*3x3|3x3.*suspect",
}
"""Pattern of both descriptions of a column that DiaSource has too."""

LONGER = {
    "band": "images of other cameras have bands with longer names than one letter",
    "reliabilityVersion": "a model has a name, a version and a checksum, more than 7 characters",
}
"""Columns whose text may be longer than in DiaSource, with the reason."""

FILE_REMEDY = "run `python -m lsst.meas.trails.core.schema.felis_file` after a change of a layout"


SDM = Path(next(iter(lsst.sdm.schemas.__path__)))
"""Folder of the schemas of the stack."""


def schema_of(path: Path, **context: bool) -> felis.datamodel.Schema:
    return felis.datamodel.Schema.from_uri(str(path), context={"id_generation": True, **context})


@pytest.fixture(scope="module")
def ours() -> felis.datamodel.Schema:
    return schema_of(SCHEMA_FILE, check_description=True)


def columns_of(schema: felis.datamodel.Schema, table: str) -> dict[str, felis.datamodel.Column]:
    (found,) = (item for item in schema.tables if item.name == table)
    return {column.name: column for column in found.columns}


@pytest.fixture(scope="module", params=["apdb", "dp2"])
def dia_source(request: pytest.FixtureRequest) -> tuple[str, dict[str, felis.datamodel.Column]]:
    """Return the name of a schema of the stack and the columns of its DiaSource."""
    schema = schema_of(SDM / f"{request.param}.yaml")
    return request.param, columns_of(schema, "DiaSource")


def test_the_file_has_the_layouts_of_the_code() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(), FILE_REMEDY


def test_felis_accepts_the_file(ours: felis.datamodel.Schema) -> None:
    assert [table.name for table in ours.tables] == list(TABLES)
    for name, table in TABLES.items():
        assert list(columns_of(ours, name)) == list(table.columns)
        assert set(table.key) <= set(table.columns)


@pytest.mark.parametrize("table", TABLES)
def test_shared_columns_are_those_of_dia_source(
    table: str, ours: felis.datamodel.Schema, dia_source: tuple[str, dict[str, felis.datamodel.Column]]
) -> None:
    """Compare name, type, unit and meaning.

    DP2 has double precision for some columns that are single in the APDB, which decides.
    """
    schema, theirs = dia_source
    own = columns_of(ours, table)
    for name in own.keys() & theirs.keys():
        mine, other = own[name], theirs[name]
        assert u.Unit(mine.fits_tunit or "") == u.Unit(other.fits_tunit or other.ivoa_unit or ""), name
        kinds = {"char": "string", "double": "float"} if schema == "dp2" else {"char": "string"}
        types = [kinds.get(column.datatype, column.datatype) for column in (mine, other)]
        assert types[0] == types[1], name
        if types[0] == "string" and name not in LONGER:
            assert mine.length == other.length, name
        if schema == "apdb":
            assert mine.ivoa_ucd == other.ivoa_ucd, name
        if table == "trail_candidate":
            for column in (mine, other):
                # The symbol for a derivative in DP2.
                text = str(column.description).replace("∂", "")
                assert re.search(MEANINGS[name], text, re.IGNORECASE), (name, text)


def test_every_shared_meaning_is_compared(ours: felis.datamodel.Schema) -> None:
    apdb = columns_of(schema_of(SDM / "apdb.yaml"), "DiaSource")
    assert MEANINGS.keys() == columns_of(ours, "trail_candidate").keys() & apdb.keys()


def test_our_algorithm_is_none_of_the_stack() -> None:
    """The stack numbers its algorithms from 1, and leaves room for more."""
    apdb = columns_of(schema_of(SDM / "apdb.yaml"), "DiaSource")
    theirs = [int(number) for number in re.findall(r"(\d+)=", str(apdb["trailAlgorithm"].description))]
    assert len(theirs) >= 2
    assert TRAIL_ALGORITHM > 10 * max(theirs)
    assert str(TRAIL_ALGORITHM) in CANDIDATE_COLUMNS["trailAlgorithm"][2]


def test_a_database_takes_a_catalog(ours: felis.datamodel.Schema) -> None:
    """Create the tables with Felis, and insert a catalog with a NaN."""
    metadata = felis.metadata.create_metadata(ours, engine_url="sqlite://", ignore_constraints=False)
    engine = sqlalchemy.create_engine("sqlite://")
    metadata.create_all(engine)
    catalog = empty_catalog()
    blank = {name: np.zeros(1, dtype=catalog[name].dtype)[0] for name in catalog.colnames}
    catalog = astropy.table.Table(
        rows=[blank | {"trailCandidateId": 2**60 + 1, "raErr": 1.5e-5, "trailRa": np.nan, "trail_flag": True}]
    )
    rows = [
        {
            name: None if value != value else value.item()
            for name, value in zip(row.colnames, row, strict=True)
        }
        for row in catalog
    ]
    table = metadata.tables["trail_candidate"]
    with engine.connect() as connection:
        connection.execute(table.insert(), rows)
        (read,) = connection.execute(sqlalchemy.select(table)).mappings()
    assert read["trailCandidateId"] == 2**60 + 1
    assert read["raErr"] == pytest.approx(1.5e-5)
    assert read["trailRa"] is None
    assert read["trail_flag"]
