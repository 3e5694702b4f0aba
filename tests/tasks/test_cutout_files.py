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

from pathlib import Path
from typing import Any

import astropy.table
import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from PIL import Image

from lsst.daf.butler import Butler, DatasetProvenance, DatasetType
from lsst.meas.trails.core.catalog.columns import CANDIDATE_COLUMNS, table_of
from lsst.meas.trails.core.catalog.selection import CandidateSelection
from lsst.meas.trails.repository.butler import open_or_create
from lsst.meas.trails.repository.candidates import CATALOG_TYPE, DetectorResult, detector_results
from lsst.meas.trails.repository.visit_record import RepositoryError
from lsst.meas.trails.sim.simulation import Simulation
from lsst.meas.trails.tasks._candidate_images import read_candidate_images
from lsst.meas.trails.tasks._cutout_files import SHEET_LIMIT, write_cutouts


def make_catalog(visit: int, x: list[float], y: list[float]) -> astropy.table.Table:
    """Return candidates with trails of 20 pixels along +x."""
    number = len(x)
    columns: dict[str, Any] = {
        name: np.full(number, "r") if kind is np.str_ else np.zeros(number, dtype=kind)
        for name, (kind, _, _) in CANDIDATE_COLUMNS.items()
    }
    places = {"x": np.array(x), "y": np.array(y)}
    columns |= {**places, "y0": places["y"], "y1": places["y"]}
    columns |= {"x0": places["x"] - 10.0, "x1": places["x"] + 10.0, "visit": np.full(number, visit)}
    columns |= {"trailCandidateId": 100 + np.arange(number), "score": np.linspace(0.1, 0.9, number)}
    catalog = table_of(columns, CANDIDATE_COLUMNS)
    catalog.meta["imageShape"] = [300, 320]
    return catalog


@pytest.fixture(scope="module")
def differenced(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a repository with an image, its template and its difference image."""
    repo = tmp_path_factory.mktemp("differenced") / "repo"
    simulation = Simulation(shape=(300, 320), seed=3, trails=2, template=True, difference=True)
    butler = open_or_create(repo)
    simulation.register(butler, "input")
    simulation.put(butler, "input", 0, 0)
    (ref,) = Butler.from_config(repo, collections="input").query_datasets("preliminary_visit_image")
    dimensions = ref.dimensions.names
    butler.registry.registerDatasetType(
        DatasetType(CATALOG_TYPE, dimensions, "ArrowAstropy", universe=butler.dimensions)
    )
    for run, searched in (("science", "preliminary_visit_image"), ("difference", "difference_image")):
        butler.collections.register(run)
        catalog = make_catalog(int(ref.dataId["visit"]), [100.2, 318.0], [50.4, 299.0])
        image = butler.find_dataset(searched, ref.dataId, collections="input")
        provenance = DatasetProvenance()
        provenance.add_input(image)
        butler.put(catalog, CATALOG_TYPE, ref.dataId, run=run, provenance=provenance)
    return str(repo)


def results_of(repo: str, run: str) -> list[DetectorResult]:
    """Return the catalogs of a run, with a Butler of the run and the images."""
    (result,) = detector_results(repo, run, with_truth=False)
    butler = Butler.from_config(repo, collections=[run, "input"])
    return [
        DetectorResult(
            butler, result.data_id, result.candidates, result.image_type, None, result.physical_filter
        )
    ]


@pytest.mark.parametrize(("run", "other"), [("science", "difference"), ("difference", "science")])
def test_images(differenced: str, tmp_path: Path, run: str, other: str) -> None:
    """The pixels of the files are those of the datasets."""
    (result,) = results_of(differenced, run)
    images = read_candidate_images(result)
    assert images.searched == run
    types = {
        "science": "preliminary_visit_image",
        "difference": "difference_image",
        "template": "template_detector",
    }
    assert images.dataset_types == types
    done = write_cutouts([result], CandidateSelection(), tmp_path / "cutouts")
    assert (done.cutouts, done.on_sheet, done.total) == (2, 2, 2)
    table = astropy.table.Table.read(tmp_path / "cutouts" / "candidates.ecsv")
    # The best candidate is first.
    assert table["trailCandidateId"].tolist() == [101, 100]
    path = tmp_path / "cutouts" / table["cutout"][1]
    with fits.open(path) as hdus:
        names = [hdu.name for hdu in hdus]
        extra = ["TEMPLATE", other.upper()]
        assert names[:5] == ["PRIMARY", "MASK", "UNCERT", "PSFIMAGE", "FLAGS"]
        assert sorted(names[5:]) == sorted(extra)
        assert hdus[0].header["IMTYPE"] == types[run]
        column, line = hdus[0].header["CUTMINX"] + 1, hdus[0].header["CUTMINY"] + 1
        assert (column, line) == (50, 0)
        for name, hdu in ((run, hdus[0]), (other, hdus[other.upper()])):
            image = result.butler.get(types[name], result.data_id)
            part = image.image.array[line : line + 101, column : column + 101]
            # Whole cutouts lie on the image, in nJy.
            np.testing.assert_array_equal(hdu.data, part.astype(np.float32))
        variance = (
            image.variance.array
            if name == run
            else result.butler.get(types[run], result.data_id).variance.array
        )
        np.testing.assert_array_equal(
            hdus["UNCERT"].data, variance[line : line + 101, column : column + 101].astype(np.float32)
        )
        ends = [hdus[0].header[key] for key in ("TRX0", "TRY0", "TRX1", "TRY1")]
        np.testing.assert_allclose(ends, [90.2 - 50 + 1, 50.4 + 1, 110.2 - 50 + 1, 50.4 + 1], atol=1e-4)


def test_wcs_of_a_cutout(differenced: str, tmp_path: Path) -> None:
    (result,) = results_of(differenced, "science")
    write_cutouts([result], CandidateSelection(limit=1, sort="score"), tmp_path / "cutouts")
    (path,) = (tmp_path / "cutouts").rglob("*.fits")
    data = CCDData.read(path)
    projection = result.butler.get("preliminary_visit_image", result.data_id).sky_projection
    true = projection.pixel_to_sky(x=np.array([50.0, 150.0]), y=np.array([0.0, 100.0]))
    found = data.wcs.pixel_to_world([0.0, 100.0], [0.0, 100.0])
    # The WCS of the cutout is linear: a milliarcsecond at its corners.
    assert found.separation(true).arcsec.max() < 1e-3


def test_edge_of_the_image(differenced: str, tmp_path: Path) -> None:
    (result,) = results_of(differenced, "science")
    write_cutouts([result], CandidateSelection(where="trailCandidateId == 101"), tmp_path / "cutouts")
    (path,) = (tmp_path / "cutouts").rglob("101.fits")
    data = CCDData.read(path)
    assert data.data.shape == (101, 101)
    # Columns from 268 to 319 and rows from 249 to 299 exist.
    assert np.isfinite(data.data[:51, :52]).all()
    assert data.mask[51:].all()
    assert data.mask[:, 52:].all()


def test_selection_and_sheet(differenced: str, tmp_path: Path) -> None:
    (result,) = results_of(differenced, "science")
    done = write_cutouts([result], CandidateSelection(limit=1), tmp_path / "cutouts", side=31, margin=2)
    assert (done.cutouts, done.total) == (1, 2)
    (path,) = (tmp_path / "cutouts").rglob("*.fits")
    assert fits.getdata(path).shape == (31, 31)
    with Image.open(tmp_path / "cutouts" / "contact_sheet.png") as sheet:
        # Panels of science, template, difference and the marked trail.
        assert sheet.width > 4 * 112
    with pytest.raises(ValueError, match="No candidate"):
        write_cutouts([result], CandidateSelection(min_score=1.0), tmp_path / "none")
    assert not (tmp_path / "none").exists()
    assert SHEET_LIMIT > 100


def test_failures_leave_no_folder(differenced: str, tmp_path: Path) -> None:
    (result,) = detector_results(differenced, "science", with_truth=False)
    # The run of the candidates alone has no image.
    with pytest.raises(RepositoryError, match=r"preliminary_visit_image of visit \d+, detector 0"):
        write_cutouts([result], CandidateSelection(), tmp_path / "cutouts")
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="mine"):
        write_cutouts(results_of(differenced, "science"), CandidateSelection(), tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
