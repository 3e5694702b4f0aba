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
import re
from pathlib import Path

import pytest
from astropy.table import Table

import lsst.daf.butler
from lsst.daf.butler import Butler, CollectionType, DatasetType
from lsst.meas.trails.core.tiles.writer import TrailTiles
from lsst.meas.trails.repository.butler import (
    MIN_UNIVERSE,
    Dataset,
    RepositoryError,
    check_dataset_types,
    find_existing,
    open_or_create,
    put_datasets,
    register_instrument,
    register_visit,
)
from lsst.meas.trails.repository.visit_record import VisitRecord, image_region
from lsst.meas.trails.sim.instrument import TrailSimCam
from lsst.meas.trails.sim.observation import make_obs_info, make_sky_projection, plan_visit
from lsst.sphgeom import ConvexPolygon

SHAPE = (128, 160)
NAMES = ("a_catalog", "another_catalog")


def record(detectors: tuple[int, ...] = (0,), seed: int = 1) -> VisitRecord:
    plan = plan_visit(seed, 0, "r")
    projections = {detector: make_sky_projection(plan, detector, SHAPE) for detector in detectors}
    regions = {
        detector: image_region(projection, projection.pixel_frame.bbox)
        for detector, projection in projections.items()
    }
    return VisitRecord.from_obs_info(make_obs_info(plan, 0), band="r", regions=regions)


@pytest.fixture
def butler(tmp_path: Path) -> Butler:
    butler = open_or_create(tmp_path / "repo")
    register_instrument(butler, TrailSimCam())
    return butler


def data_id(detector: int = 0) -> dict[str, object]:
    return {"instrument": "TrailSimCam", "visit": record().visit, "detector": detector}


def test_created_once(tmp_path: Path) -> None:
    first = open_or_create(tmp_path / "deep" / "repo")
    register_instrument(first, TrailSimCam())
    second = open_or_create(str(tmp_path / "deep" / "repo"))
    assert [r.name for r in second.query_dimension_records("instrument")] == ["TrailSimCam"]


def test_tile_storage_class_without_environment(tmp_path: Path) -> None:
    """The storage class is part of the repository's own configuration."""
    open_or_create(tmp_path / "repo")
    butler = Butler.from_config(tmp_path / "repo")
    assert butler.storageClasses.getStorageClass("TrailTiles").pytype is TrailTiles


def test_folder_with_other_files(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RepositoryError, match=r"butler\.yaml"):
        open_or_create(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_broken_repository(tmp_path: Path) -> None:
    (tmp_path / "butler.yaml").write_text("datastore: 3")
    with pytest.raises(RepositoryError, match=re.escape(str(tmp_path))):
        open_or_create(tmp_path)


def test_visit_is_fully_registered(butler: Butler) -> None:
    visit = record((0, 1))
    register_visit(butler, visit)
    register_visit(butler, visit)
    (found,) = butler.query_dimension_records("visit", instrument="TrailSimCam")
    assert found.id == visit.visit
    assert found.day_obs == visit.day_obs
    assert found.exposure_time == 30.0
    assert found.timespan.begin == visit.begin
    (exposure,) = butler.query_dimension_records("exposure", instrument="TrailSimCam")
    assert exposure.id == visit.visit
    assert exposure.tracking_ra == pytest.approx(visit.tracking_ra)
    assert exposure.has_simulated
    regions = butler.query_dimension_records("visit_detector_region", instrument="TrailSimCam")
    assert {r.detector for r in regions} == {0, 1}
    for region in regions:
        assert found.region.contains(region.region)
    assert len(butler.query_dimension_records("visit_definition", instrument="TrailSimCam")) == 1


def test_found_by_position(butler: Butler) -> None:
    register_visit(butler, record((0, 1)))
    sky = make_sky_projection(plan_visit(1, 0, "r"), 1, SHAPE).pixel_to_sky(x=80.0, y=60.0)
    point = f"visit_detector_region.region OVERLAPS POINT({sky.ra.deg}, {sky.dec.deg})"
    with butler.query() as query:
        rows = list(query.where(point).data_ids(["visit", "detector"]))
    assert [row["detector"] for row in rows] == [1]


def test_detectors_may_come_later(butler: Butler) -> None:
    register_visit(butler, record((0,)))
    register_visit(butler, record((5,)))
    both = ConvexPolygon.convexHull(
        [vertex for region in record((0, 5)).regions.values() for vertex in region.getVertices()]
    )
    (found,) = butler.query_dimension_records("visit", instrument="TrailSimCam")
    assert found.region == both
    assert len(butler.query_dimension_records("visit_detector_region", instrument="TrailSimCam")) == 2


def test_another_visit_of_the_same_number(butler: Butler) -> None:
    register_visit(butler, record())
    other = dataclasses.replace(record(), exposure_time=15.0)
    with pytest.raises(RepositoryError, match=str(other.visit)):
        register_visit(butler, other)


def test_unknown_filter_or_detector(butler: Butler) -> None:
    with pytest.raises(RepositoryError, match="r_03"):
        register_visit(butler, dataclasses.replace(record(), physical_filter="r_03"))
    region = record().regions[0]
    with pytest.raises(RepositoryError, match="400"):
        register_visit(butler, dataclasses.replace(record(), regions={400: region}))
    assert not butler.query_dimension_records("visit", instrument="TrailSimCam", explain=False)
    with pytest.raises(RepositoryError, match="detector"):
        register_visit(butler, dataclasses.replace(record(), regions={}))


def test_put_is_atomic(butler: Butler, tmp_path: Path) -> None:
    register_visit(butler, record())
    good = Dataset(NAMES[0], "ArrowAstropy", Table({"x": [1.0, 2.0]}))
    bad = Dataset(NAMES[1], "ArrowAstropy", "no table")
    with pytest.raises(RepositoryError, match="detector 0 .*'input'"):
        put_datasets(butler, "input", data_id(), [good, bad])
    assert not find_existing(butler, "input", NAMES, [data_id()])
    assert not list((tmp_path / "repo").rglob("*.parq"))

    (ref,) = put_datasets(butler, "input", data_id(), [good])
    assert list(find_existing(butler, "input", NAMES, [data_id()]).values()) == [ref]
    assert not find_existing(butler, "input", NAMES, [data_id(1)])
    assert not find_existing(butler, "elsewhere", NAMES, [data_id()])
    assert list(butler.get(ref)["x"]) == [1.0, 2.0]


def test_put_twice(butler: Butler) -> None:
    register_visit(butler, record())
    dataset = Dataset(NAMES[0], "ArrowAstropy", Table({"x": [1.0]}))
    put_datasets(butler, "input", data_id(), [dataset])
    with pytest.raises(RepositoryError, match="detector 0 .*--run"):
        put_datasets(butler, "input", data_id(), [dataset])
    put_datasets(butler, "second", data_id(), [dataset])


def test_run_must_be_a_run(butler: Butler) -> None:
    register_visit(butler, record())
    butler.collections.register("tagged", CollectionType.TAGGED)
    dataset = Dataset(NAMES[0], "ArrowAstropy", Table({"x": [1.0]}))
    with pytest.raises(RepositoryError, match="tagged"):
        put_datasets(butler, "tagged", data_id(), [dataset])
    with pytest.raises(RepositoryError, match="TAGGED"):
        find_existing(butler, "tagged", NAMES, [data_id()])


def make_universe(path: Path, number: int) -> Path:
    """Create an empty repository of an older dimension universe."""
    folder = Path(lsst.daf.butler.__file__).parent / "configs" / "old_dimensions"
    Butler.makeRepo(path, dimensionConfig=folder / f"daf_butler_universe{number}.yaml")
    return path


@pytest.mark.parametrize("number", range(MIN_UNIVERSE))
def test_universes_that_are_too_old(tmp_path: Path, number: int) -> None:
    with pytest.raises(RepositoryError, match=f"universe {number}; at least {MIN_UNIVERSE}"):
        open_or_create(make_universe(tmp_path / "repo", number))


@pytest.mark.parametrize("number", [MIN_UNIVERSE, MIN_UNIVERSE + 1])
def test_older_universes(tmp_path: Path, number: int) -> None:
    butler = open_or_create(make_universe(tmp_path / "repo", number))
    instrument = TrailSimCam()
    register_instrument(butler, instrument)
    register_visit(butler, record())
    (visit,) = butler.query_dimension_records("visit", instrument="TrailSimCam")
    assert visit.id == record().visit
    (exposure,) = butler.query_dimension_records("exposure", instrument="TrailSimCam")
    assert exposure.observation_type == "science"
    table = Table({"a": [1.0]})
    put_datasets(butler, "run", data_id(), [Dataset(NAMES[0], "ArrowAstropy", table)])
    assert butler.get(NAMES[0], data_id(), collections="run")["a"][0] == 1.0


@pytest.mark.parametrize(
    ("dimensions", "storage_class", "words"),
    [
        (("instrument", "visit", "detector"), "ExposureF", "as ExposureF"),
        (("instrument", "visit", "detector"), "MaskedImageF", "as MaskedImageF"),
        (("instrument", "visit", "detector"), "ArrowAstropy", "as ArrowAstropy"),
        (("instrument", "exposure", "detector"), "VisitImage", "by instrument, detector, exposure"),
    ],
)
def test_dataset_types_of_others(
    butler: Butler, dimensions: tuple[str, ...], storage_class: str, words: str
) -> None:
    """The storage classes of the full stack cannot be written without it."""
    kind = DatasetType("visit_image", dimensions, storage_class, universe=butler.dimensions)
    butler.registry.registerDatasetType(kind)
    check_dataset_types(butler, {"preliminary_visit_image": "VisitImage"})
    with pytest.raises(RepositoryError, match=words) as caught:
        check_dataset_types(butler, {"visit_image": "VisitImage"})
    assert "visit_image" in str(caught.value)
    assert "a repository of its own" in str(caught.value)
