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

import pickle
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lsst.daf.butler import Butler
from lsst.meas.trails.cli import main
from lsst.meas.trails.core.catalog.labels import empty_labels
from lsst.meas.trails.core.injection.truth import is_trail
from lsst.meas.trails.ingest.observation import FitsOptions
from lsst.meas.trails.ingest.pairing import FitsFiles
from lsst.meas.trails.repository.butler import Dataset, put_datasets
from lsst.meas.trails.repository.labels import LABEL_TYPE
from lsst.meas.trails.repository.visit_record import RepositoryError
from lsst.meas.trails.tasks._survey_sources import find_butler_images, find_fits_images, sample_images
from lsst.meas.trails.training.survey_images import SurveyError

from support.fits_files import write_noise

IMAGE = "preliminary_visit_image"


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a repository of two visits of two detectors, with templates."""
    path = tmp_path_factory.mktemp("survey") / "repo"
    options = "--visits 2 --detectors 2 --size 160 200 --trails 2 --template --seed 3".split()
    done = CliRunner().invoke(main, ["simulate", str(path), *options])
    assert done.exit_code == 0, done.output
    return str(path)


def test_images_of_a_collection(repo: str) -> None:
    images = find_butler_images(repo, "input", IMAGE, template_type="template_detector")
    assert len(images) == 4
    assert len({image.visit for image in images}) == 2
    assert {image.shape for image in images} == {(160, 200)}
    # Other processes read them.
    image = pickle.loads(pickle.dumps(images[1]))
    read = image.read()
    assert read.planes.shape == (160, 200)
    assert read.planes.template is not None
    assert read.gains.finite
    truth = Butler.from_config(repo, collections="input").get("simulated_trail_catalog", image.data_id)
    assert is_trail(truth).sum() == 2
    np.testing.assert_allclose(read.known.x, truth["x"])
    assert str(image.visit) in image.label
    without = find_butler_images(repo, "input", IMAGE)[1]
    assert without.read().planes.template is None


def test_a_query_and_a_sample(repo: str) -> None:
    images = find_butler_images(repo, "input", IMAGE, where="detector = 1")
    assert [image.detector for image in images] == [1, 1]
    images = find_butler_images(repo, "input", IMAGE, most=2)
    assert len({image.visit for image in images}) == 2


def test_labeled_trails_are_known(repo: str) -> None:
    image = find_butler_images(repo, "input", IMAGE)[0]
    before = image.read().known
    labels = empty_labels()
    for label, x in (("trail", 50.0), ("artifact", 80.0), ("trail", np.nan)):
        labels.add_row(
            dict.fromkeys(("trailCandidateId", "snr", "score", "ra", "dec", "trailFlux"), 0)
            | {"visit": image.visit, "detector": image.detector, "label": label, "kind": "", "labeler": ""}
            | {"time": "", "x": x, "y": 60.0, "x0": x, "y0": 60.0, "x1": x, "y1": 60.0}
            | {"trailLengthPix": 20.0, "trailAnglePix": 30.0}
        )
    with Butler.from_config(repo, writeable=True) as butler:
        put_datasets(butler, "labels", image.data_id, [Dataset(LABEL_TYPE, "ArrowAstropy", labels)])
    known = find_butler_images(repo, "labels,input", IMAGE)[0].read().known
    assert len(known) == len(before) + 1
    assert (known.x[-1], known.length[-1]) == (50.0, 20.0)


def test_collections_without_images(repo: str) -> None:
    with pytest.raises(RepositoryError, match="--dataset-type"):
        find_butler_images(repo, "input", "visit_image")
    with pytest.raises(RepositoryError, match="detector = 7"):
        find_butler_images(repo, "input", IMAGE, where="detector = 7")
    with pytest.raises(RepositoryError, match="'nothing'"):
        find_butler_images(repo, "nothing", IMAGE)


def test_fits_files(tmp_path: Path) -> None:
    files = [FitsFiles(write_noise(tmp_path / f"{n}.fits", EXPNUM=n)) for n in (11, 12)]
    images = find_fits_images(files, FitsOptions(fwhm=2.0))
    assert [image.visit for image in images] == [11, 12]
    read = pickle.loads(pickle.dumps(images[1])).read()
    assert read.planes.shape == images[1].shape
    assert "12.fits" in images[1].label
    # There are no stars in noise.
    (image,) = find_fits_images(files[:1], FitsOptions())
    with pytest.raises(SurveyError, match="the PSF"):
        image.read()


def test_bad_pixels_only(tmp_path: Path) -> None:
    from astropy.io import fits

    path = write_noise(tmp_path / "a.fits", EXPNUM=11)
    with fits.open(path, mode="update") as hdus:
        hdus.append(fits.ImageHDU(np.ones(hdus[0].data.shape, dtype=np.uint8), name="MASK"))
    (image,) = find_fits_images([FitsFiles(path)], FitsOptions(fwhm=2.0))
    with pytest.raises(SurveyError, match="a.fits|good pixel"):
        image.read()


def test_a_sample_has_as_many_visits_as_possible() -> None:
    visits = [1] * 50 + [2] * 3 + [3]
    images = list(range(len(visits)))
    for seed in range(20):
        chosen = sample_images(images, visits, 5, seed)
        assert chosen == sorted(chosen)
        assert {visits[i] for i in chosen} == {1, 2, 3}
        assert len(set(chosen)) == 5
    assert sample_images(images, visits, 5, 1) != sample_images(images, visits, 5, 2)
    assert sample_images(images, visits, None, 1) == images
