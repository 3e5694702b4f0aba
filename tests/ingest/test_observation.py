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

from lsst.meas.trails.ingest.layout import FitsIngestError
from lsst.meas.trails.ingest.observation import FitsOptions, inspect_all, inspect_fits

from support.fits_files import tan_header, write_noise

PIXELS = np.ones((64, 80), dtype=np.float32)
FULL: dict[str, object] = {"EXPTIME": 60.0, "DATE-OBS": "2024-11-09T05:00:00", "FILTER": "r", "MAGZPT": 28.9}


def test_header_values(tmp_path: Path) -> None:
    observation = inspect_fits(write_noise(tmp_path / "image.fits", CCDNUM=7, **FULL))
    assert observation.data_id == {"instrument": "FitsCam", "visit": 2024110861237, "detector": 7}
    assert observation.zeropoint.magnitude == 28.9
    assert observation.filter.band == "r"
    assert observation.timing.exposure_time == 60.0
    sky = observation.sky_projection.pixel_to_sky(x=39.0, y=31.0)
    assert (sky.ra.deg, sky.dec.deg) == pytest.approx((150.0, 2.0), abs=1e-9)


def test_options_replace_header_values(tmp_path: Path) -> None:
    options = FitsOptions(zeropoint=30.0, exposure_time=15.0, band="i", visit=17, detector=3)
    observation = inspect_fits(write_noise(tmp_path / "image.fits", CCDNUM=7, **FULL), options)
    assert (observation.visit, observation.detector, observation.filter.band) == (17, 3, "i")
    assert observation.zeropoint.magnitude == 30.0
    assert observation.timing.exposure_time == 15.0


def test_several_images(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Ingest the first image of a mosaic with a warning, or the chosen image."""
    path = tmp_path / "mosaic.fits"
    cards = tan_header()
    hdus = [fits.ImageHDU(PIXELS, cards, name=f"CCD{n}") for n in (1, 2)]
    fits.HDUList([fits.PrimaryHDU(header=fits.Header(FULL)), *hdus]).writeto(path)
    assert inspect_fits(path).layout.hdu == 1
    assert "2 images, in HDU 1" in caplog.text
    caplog.clear()
    assert inspect_fits(path, FitsOptions(hdu="CCD2")).layout.hdu == 2
    assert not caplog.text


def test_raw_frame_of_a_color_camera_is_refused(tmp_path: Path) -> None:
    path = write_noise(tmp_path / "image.fits", BAYERPAT="RGGB", **FULL)
    with pytest.raises(FitsIngestError, match="image.fits: BAYERPAT = 'RGGB'.*debayer"):
        inspect_fits(path)


def test_assumptions_are_warnings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each assumed value has a warning with its option, the time also its reason."""
    path = write_noise(tmp_path / "image.fits", **{**FULL, "DATE-OBS": "2024-11-09", "FILTER": "L"})
    observation = inspect_fits(path)
    assert observation.timing.time_problem
    for words in ("2024-11-09", "no time of day", "--date", "'unknown'", "--band"):
        assert words in caplog.text
    assert "--exposure-time" not in caplog.text


def test_wcs_is_refused(tmp_path: Path) -> None:
    path = write_noise(tmp_path / "image.fits", CD1_1=0.2, CD2_2=0.2)
    with pytest.raises(FitsIngestError, match="image.fits: in HDU 0, .* 720 arcsec"):
        inspect_fits(path)


def test_detectors_of_a_visit(tmp_path: Path) -> None:
    """Detectors of an exposure share the visit; duplicate detectors are refused."""
    paths = [write_noise(tmp_path / f"{n}.fits", **FULL, CCDNUM=n) for n in (1, 2)]
    first, second = inspect_all(paths)
    assert first.visit == second.visit
    assert (first.detector, second.detector) == (1, 2)
    with pytest.raises(FitsIngestError, match=r"2.fits and .*1.fits.*detector 5.*--detector"):
        inspect_all(paths, FitsOptions(detector=5))


def test_file_that_is_named_twice(tmp_path: Path) -> None:
    path = write_noise(tmp_path / "image.fits", **FULL)
    with pytest.raises(FitsIngestError, match="image.fits is named twice"):
        inspect_all([path, tmp_path / "." / "image.fits"])
