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

"""InjectTrailsTask with injection catalogs of a Butler, as source_injection stores them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import astropy.table
import numpy as np
import pytest

from lsst.daf.butler import Butler, DatasetType
from lsst.meas.trails.repository.butler import open_or_create
from lsst.meas.trails.sim.instrument import TrailSimCam
from lsst.meas.trails.sim.observation import VisitPlan
from lsst.meas.trails.sim.simulation import Simulation
from lsst.pipe.base import Pipeline
from lsst.pipe.base.simple_pipeline_executor import SimplePipelineExecutor
from lsst.sphgeom import HtmPixelization, LonLat, UnitVector3d

PIPELINE = Path(__file__).parents[2] / "pipelines" / "MakeTrainingSet.yaml"

HTM = HtmPixelization(7)
VERTEX = LonLat(HTM.triangle(HTM.index(UnitVector3d(LonLat.fromDegrees(150.0, 2.0)))).getVertices()[0])
"""A point where six trixels meet."""

SHAPE = (200, 240)


@dataclasses.dataclass(frozen=True)
class AtVertex(Simulation):
    """A simulation whose detector 0 has a vertex of trixels in its middle."""

    def plan(self, index: int) -> VisitPlan:
        plan = super().plan(index)
        target = (VERTEX.getLon().asDegrees(), VERTEX.getLat().asDegrees())
        ra, dec = target
        for _ in range(3):
            plan = dataclasses.replace(plan, ra=ra, dec=dec)
            sky = self._sky_projection(plan, 0).pixel_to_sky(x=SHAPE[1] / 2, y=SHAPE[0] / 2)
            ra, dec = ra + target[0] - sky.ra.deg, dec + target[1] - sky.dec.deg
        return plan


def trixels(table: astropy.table.Table) -> np.ndarray:
    """Return the trixel of each row, as in ingest_injection_catalog."""
    return np.array([HTM.index(UnitVector3d(LonLat.fromDegrees(row["ra"], row["dec"]))) for row in table])


@dataclasses.dataclass(frozen=True)
class Field:
    """Repository with one image and catalogs of trails all over it."""

    repo: Path
    simulation: AtVertex

    @property
    def data_id(self) -> dict[str, Any]:
        return self.simulation.data_ids()[0]

    def butler(self, collection: str) -> Butler:
        return Butler.from_config(self.repo, collections=collection)

    def table(self) -> astropy.table.Table:
        """Return a catalog of nine trails on a grid, one off the image, and a galaxy."""
        image = self.butler("input").get("preliminary_visit_image", self.data_id)
        x, y = (grid.ravel() for grid in np.meshgrid([50.0, 120.0, 190.0], [40.0, 100.0, 160.0]))
        x, y = np.append(x, [400.0, 100.0]), np.append(y, [100.0, 50.0])
        sky = image.sky_projection.pixel_to_sky(x=x, y=y)
        return astropy.table.Table(
            {
                "injection_id": 100 + np.arange(11),
                "ra": sky.ra.deg,
                "dec": sky.dec.deg,
                "source_type": ["Trail"] * 10 + ["Sersic"],
                "mag": np.full(11, 24.0),
                "trail_length": np.full(11, 20.0),
                "beta": np.linspace(0.0, 170.0, 11),
            }
        )

    def put(self, run: str, tables: dict[int, astropy.table.Table]) -> None:
        butler = Butler.from_config(self.repo, run=run, writeable=True)
        dataset_type = DatasetType(
            "injection_catalog", butler.dimensions.conform(["htm7", "band"]), "ArrowAstropy"
        )
        butler.registry.registerDatasetType(dataset_type)
        for trixel, table in tables.items():
            butler.put(table, "injection_catalog", {"htm7": int(trixel), "band": "r"})

    def run(self, output: str, *inputs: str) -> Butler:
        pipeline = Pipeline.from_uri(f"{PIPELINE}#injectTrails")
        pipeline.addConfigOverride("injectTrails", "number", 2.0)
        butler = SimplePipelineExecutor.prep_butler(str(self.repo), inputs=["input", *inputs], output=output)
        SimplePipelineExecutor.from_pipeline(pipeline, butler=butler).run(register_dataset_types=True)
        return self.butler(output)


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Field:
    repo = tmp_path_factory.mktemp("catalogs") / "repo"
    simulation = AtVertex(seed=5, shape=SHAPE, trails=0.0)
    butler = open_or_create(repo)
    simulation.register(butler, "input")
    simulation.put(butler, "input", 0, 0)
    return Field(repo, simulation)


def test_each_trail_of_several_catalogs_is_injected_once(field: Field) -> None:
    table = field.table()
    where = trixels(table)
    assert len(set(where[:9])) >= 4
    # Split by trixel as in ingest_injection_catalog, and the whole catalog in each trixel.
    field.put("split", {trixel: table[where == trixel] for trixel in set(where)})
    field.put("whole", dict.fromkeys(set(where), table))
    results = {}
    for name in ("split", "whole"):
        butler = field.run(f"injected/{name}", name)
        catalog = butler.get("injected_preliminary_visit_image_catalog", field.data_id)
        assert sorted(catalog["injection_id"]) == list(range(100, 109))
        given = table[np.asarray(catalog["injection_id"]) - 100]
        for column, tolerance in (("ra", 1e-9), ("dec", 1e-9), ("mag", 1e-9), ("trail_length", 1e-9)):
            np.testing.assert_allclose(catalog[column], given[column], rtol=0.0, atol=tolerance)
        np.testing.assert_allclose(catalog["beta"], given["beta"] % 180.0)
        before = butler.get("preliminary_visit_image", field.data_id).image.array
        after = butler.get("injected_preliminary_visit_image", field.data_id).image.array
        added = np.nansum(after.astype(float) - before)
        # Trails of 17 000 electrons each, and the noise of all nine.
        assert added == pytest.approx(np.sum(catalog["flux"]), rel=0.02)
        metadata = butler.get("injectTrails_metadata", field.data_id)["injectTrails"]
        assert (metadata["nInjected"], metadata["nOffImage"]) == (9, 1)
        assert metadata["nCatalogs"] >= 4
        results[name] = metadata["nRepeated"], catalog, after
    assert results["split"][0] == 0
    assert results["whole"][0] >= 30
    # The order in which the Butler lists trixels does not matter.
    for name in ("split", "whole"):
        results[name][1].sort("injection_id")
    np.testing.assert_array_equal(results["split"][1]["x"], results["whole"][1]["x"])


def test_a_population_is_drawn_where_no_catalog_is(field: Field) -> None:
    """Catalogs of another band or of other positions are not used."""
    table = field.table()
    butler = Butler.from_config(field.repo, run="elsewhere", writeable=True)
    field.put("elsewhere", {HTM.index(UnitVector3d(LonLat.fromDegrees(10.0, -40.0))): table})
    butler.put(table, "injection_catalog", {"htm7": int(trixels(table)[0]), "band": "g"})
    catalog = field.run("injected/population", "elsewhere").get(
        "injected_preliminary_visit_image_catalog", field.data_id
    )
    assert list(catalog["injection_id"]) == [0, 1]
    assert TrailSimCam.getName() == field.data_id["instrument"]


def test_a_catalog_that_cannot_be_used_stops_the_quantum(field: Field) -> None:
    table = field.table()
    table.remove_column("beta")
    trixel = int(trixels(table)[0])
    field.put("broken", {trixel: table})
    with pytest.raises(Exception, match=rf"injection_catalog of htm7={trixel} .*beta"):
        field.run("injected/broken", "broken")
    assert not field.butler("injected/broken").query_datasets(
        "injected_preliminary_visit_image", explain=False
    )
