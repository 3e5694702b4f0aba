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

import numpy as np
import pytest
from astropy.io import fits

from lsst.daf.butler import Butler
from lsst.meas.trails.ingest.image import make_fits_image
from lsst.meas.trails.ingest.ingest import ingest_fits
from lsst.meas.trails.ingest.instrument import FitsCam
from lsst.meas.trails.ingest.layout import FitsIngestError
from lsst.meas.trails.ingest.observation import FitsOptions, inspect_all
from lsst.meas.trails.repository.butler import RepositoryError, open_or_create
from lsst.pipe.base import Instrument

from support.fits_files import write_noise

NAME = "preliminary_visit_image"
OPTIONS = FitsOptions(fwhm=2.0)


FULL: dict[str, object] = {
    "EXPTIME": 60.0,
    "DATE-OBS": "2024-11-09T05:00:00",
    "FILTER": "r",
    "CCDNUM": 1,
    "MAGZPT": 28.9,
}


def write(path: Path, **cards: object) -> Path:
    return write_noise(path, **{**FULL, **cards})


@pytest.fixture
def butler(tmp_path: Path) -> Butler:
    return open_or_create(tmp_path / "repo")


def ingest(butler: Butler, *paths: Path, run: str = "input", options: FitsOptions = OPTIONS) -> int:
    return len(list(ingest_fits(butler, run, inspect_all(paths, options), options)))


def count(butler: Butler, run: str = "input") -> int:
    return len(butler.query_datasets(NAME, collections=run, explain=False))


def test_round_trip(butler: Butler, tmp_path: Path) -> None:
    """The repository returns the converted file and has its dimension records."""
    path = write(tmp_path / "image.fits")
    assert ingest(butler, path) == 1
    (ref,) = butler.query_datasets(NAME, collections="input")
    expected, _ = make_fits_image(inspect_all([path], OPTIONS)[0], OPTIONS)
    image = butler.get(ref)
    np.testing.assert_array_equal(image.image.array, expected.image.array)
    np.testing.assert_array_equal(image.variance.array, expected.variance.array)
    assert image.mask == expected.mask
    assert image.psf == expected.psf
    assert dict(image.metadata) == dict(expected.metadata)
    assert image.detector.bbox == expected.detector.bbox
    assert image.obs_info.visit_id == ref.dataId["visit"]
    there, here = (i.sky_projection.pixel_to_sky(x=10.0, y=20.0) for i in (image, expected))
    assert there.separation(here).arcsec < 1e-6

    (visit,) = butler.query_dimension_records("visit", instrument="FitsCam")
    assert visit.exposure_time == 60.0
    assert visit.timespan.begin.utc.mjd == pytest.approx(60623.0 + 5.0 / 24.0, abs=1e-9)
    assert visit.physical_filter == "r"
    (record,) = butler.query_dimension_records("detector", instrument="FitsCam")
    assert (record.id, record.full_name) == (1, "CCD001")
    assert isinstance(Instrument.fromName("FitsCam", butler.registry), FitsCam)
    # Packed data IDs are part of candidate numbers.
    packer = Instrument.make_default_dimension_packer(
        butler.registry.expandDataId(visit=visit.id, detector=1, instrument="FitsCam"), is_exposure=False
    )
    assert packer.maxBits <= 50
    packed = packer.pack(ref.dataId)
    assert isinstance(packed, int)
    assert packed >= 0


def test_detectors_of_a_visit(butler: Butler, tmp_path: Path) -> None:
    """Ingest two detectors successively: the visit's region covers both."""
    paths = [write(tmp_path / f"{n}.fits", CCDNUM=n, CRVAL1=150.0 + 0.02 * n) for n in (1, 2)]
    for path in paths:
        assert ingest(butler, path) == 1
    (visit,) = butler.query_dimension_records("visit", instrument="FitsCam")
    regions = butler.query_dimension_records("visit_detector_region", instrument="FitsCam")
    assert {r.detector for r in regions} == {1, 2}
    assert all(visit.region.contains(r.region) for r in regions)


def test_nothing_twice(butler: Butler, tmp_path: Path) -> None:
    path = write(tmp_path / "image.fits")
    ingest(butler, path)
    with pytest.raises(RepositoryError, match=r"image.fits.*'input'.*--run.*--visit"):
        ingest(butler, path)
    # The existing image has other options or another file.
    other = write(tmp_path / "other.fits", CCDNUM=2)
    with pytest.raises(RepositoryError, match=r"image.fits.*'input'"):
        ingest(butler, other, path, options=FitsOptions(fwhm=2.1, band="r"))
    changed = write(tmp_path / "changed.fits", OBJECT="another")
    with pytest.raises(RepositoryError, match=r"changed.fits.*'input'"):
        ingest(butler, other, changed)
    assert count(butler) == 1
    # One of two images exists: the other is ingested.
    assert ingest(butler, other, path) == 1
    assert count(butler) == 2
    assert ingest(butler, path, run="second") == 1


def test_another_exposure_of_the_same_number(butler: Butler, tmp_path: Path) -> None:
    ingest(butler, write(tmp_path / "a.fits", EXPNUM=5))
    later = write(tmp_path / "b.fits", EXPNUM=5, CCDNUM=2, **{"DATE-OBS": "2024-11-10T05:00:00"})
    with pytest.raises(RepositoryError, match="b.fits: .*visit 5 .*--visit"):
        ingest(butler, later)
    filtered = write(tmp_path / "c.fits", EXPNUM=6)
    with pytest.raises(RepositoryError, match="c.fits: .*filter 'r'.*--band"):
        ingest(butler, filtered, options=FitsOptions(fwhm=2.0, band="i"))
    assert count(butler) == 1


def test_bad_pixels_leave_nothing(butler: Butler, tmp_path: Path) -> None:
    """Previous images stay; the file with bad pixels leaves no records."""
    good = write(tmp_path / "good.fits")
    bad = write(tmp_path / "bad.fits", CCDNUM=2)
    with fits.open(bad, mode="update") as hdus:
        hdus[0].data[:] = np.nan
    with pytest.raises(FitsIngestError, match=r"bad.fits: .*HDU 0"):
        ingest(butler, good, bad)
    (ref,) = butler.query_datasets(NAME, collections="input")
    assert ref.dataId["detector"] == 1
    assert butler.get(ref).image.array.shape == (64, 80)
    assert len(butler.query_dimension_records("detector", instrument="FitsCam")) == 1
