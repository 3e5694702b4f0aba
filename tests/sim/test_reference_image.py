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

import astropy.units as u
import numpy as np
import pytest

from lsst.daf.butler import Butler
from lsst.images import Box, Image, VisitImage
from lsst.images.serialization import write_archive
from lsst.meas.trails.repository.butler import open_or_create
from lsst.meas.trails.sim.reference_image import ReferenceImage, ReferenceImageError
from lsst.meas.trails.sim.simulation import Simulation

DP1 = Path(__file__).resolve().parents[3] / "shared" / "data" / "visit_image-1.0.0-dp1.json"

needs_dp1 = pytest.mark.skipif(not DP1.exists(), reason="the real visit image is not here")


@pytest.fixture(scope="module")
def original() -> VisitImage:
    return Simulation(seed=5, shape=(300, 256), trails=0, band="g").image(0, 0).image


@pytest.fixture(scope="module")
def reference_file(original: VisitImage, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("reference") / "reference.fits"
    write_archive(original, str(path))
    return str(path)


def test_properties_of_the_reference_image(original: VisitImage, reference_file: str) -> None:
    image = Simulation(seed=77, reference_image=reference_file).image(0, 0).image
    assert image.bbox == original.bbox
    assert image.band == "g"
    np.testing.assert_array_equal(
        image.psf.compute_kernel_image(x=30.0, y=200.0).array,
        original.psf.compute_kernel_image(x=30.0, y=200.0).array,
    )
    x, y = np.array([0.0, 255.0, 17.0]), np.array([0.0, 299.0, 80.0])
    here, there = (i.sky_projection.pixel_to_sky(x=x, y=y) for i in (image, original))
    assert np.all(here.separation(there) < 1e-6 * u.arcsec)
    # Stars raise the median slightly.
    assert image.summary_stats.skyNoise == pytest.approx(original.summary_stats.skyNoise, rel=0.02)
    assert image.detector.serial == original.detector.serial
    # Observation and pixels differ.
    assert image.obs_info.visit_id != original.obs_info.visit_id
    assert image.obs_info.datetime_begin != original.obs_info.datetime_begin
    assert image.obs_info.tracking_radec is not None
    assert image.obs_info.tracking_radec.separation(original.obs_info.tracking_radec) < 1e-6 * u.arcsec
    assert not np.array_equal(image.image.array, original.image.array)


def test_smaller_image_is_the_middle(original: VisitImage, reference_file: str) -> None:
    simulated = Simulation(seed=77, reference_image=reference_file, shape=(100, 120), trails=4).image(0, 0)
    assert simulated.image.bbox == Box.factory[100:200, 68:188]
    assert simulated.image.detector.bbox == original.detector.bbox
    truth = simulated.truth
    assert len(truth) >= 4
    # Midpoints are on the image, in its own coordinates.
    assert np.all((truth["x"] >= 67.5) & (truth["x"] <= 187.5))
    assert np.all((truth["y"] >= 99.5) & (truth["y"] <= 199.5))
    sky = original.sky_projection.pixel_to_sky(x=np.array(truth["x"]), y=np.array(truth["y"]))
    np.testing.assert_allclose(sky.ra.deg, truth["ra"], atol=1e-9)


def test_other_detectors_are_neighbors(original: VisitImage) -> None:
    """A pixel off the edge of a detector is a pixel of its neighbor."""
    reference_image = ReferenceImage.from_image(original)
    plan = reference_image.plan(1, 0)
    first = reference_image.make_sky_projection(plan, 0)
    for detector, step in ((1, (256 * 42.25 / 40.72, 0.0)), (3, (0.0, 300 * 42.25 / 40.72))):
        moved = reference_image.make_sky_projection(plan, detector)
        assert moved.pixel_frame.detector == detector
        here = first.pixel_to_sky(x=128.0 + step[0], y=150.0 + step[1])
        there = moved.pixel_to_sky(x=128.0, y=150.0)
        # 50 arcsec from the center of a 5 arcmin wide TAN projection.
        assert here.separation(there) < 0.01 * u.arcsec
        np.testing.assert_allclose(moved.sky_to_pixel(there), (128.0, 150.0), atol=1e-6)
        diagonals = [
            p.pixel_to_sky(x=np.array([0.0, 255.0]), y=np.array([0.0, 299.0])) for p in (first, moved)
        ]
        sizes = [d[0].separation(d[1]).arcsec for d in diagonals]
        assert sizes[1] == pytest.approx(sizes[0], rel=1e-9)


def test_noise_without_statistics(original: VisitImage) -> None:
    """The variance plane replaces missing statistics."""
    bare = VisitImage(
        original.image,
        mask=original.mask,
        variance=Image(np.full((300, 256), 144.0, dtype=np.float32), unit=u.nJy**2),
        obs_info=original.obs_info,
        psf=original.psf,
        detector=original.detector,
        band="g",
    )
    assert ReferenceImage.from_image(bare).sky_noise == pytest.approx(12.0)
    bare.variance.array[:] = np.nan
    with pytest.raises(ReferenceImageError, match="skyNoise"):
        ReferenceImage.from_image(bare)


def test_units_are_converted(original: VisitImage) -> None:
    micro = VisitImage(
        Image(original.image.array * np.float32(1e-3), unit=u.uJy, sky_projection=original.sky_projection),
        mask=original.mask,
        variance=Image(np.full((300, 256), 144.0e-6, dtype=np.float32), unit=u.uJy**2),
        obs_info=original.obs_info,
        psf=original.psf,
        detector=original.detector,
        band="g",
    )
    assert ReferenceImage.from_image(micro).sky_noise == pytest.approx(12.0)
    counts = VisitImage(
        Image(original.image.array, unit=u.electron, sky_projection=original.sky_projection),
        mask=original.mask,
        obs_info=original.obs_info,
        psf=original.psf,
        detector=original.detector,
        band="g",
    )
    with pytest.raises(ReferenceImageError, match="electron"):
        ReferenceImage.from_image(counts)


def test_bad_files(reference_file: str, tmp_path: Path) -> None:
    with pytest.raises(ReferenceImageError, match="test_reference_image.py"):
        ReferenceImage.read(__file__)
    cut_short = tmp_path / "short.fits"
    cut_short.write_bytes(Path(reference_file).read_bytes()[:40_000])
    with pytest.raises(ReferenceImageError, match="short.fits"):
        ReferenceImage.read(cut_short)
    plain = tmp_path / "plain.fits"
    write_archive(Image(np.zeros((20, 20))), str(plain))
    with pytest.raises(ReferenceImageError, match="plain.fits.* Image"):
        ReferenceImage.read(plain)
    with pytest.raises(ReferenceImageError, match="400 x 100"):
        Simulation(seed=1, reference_image=reference_file, shape=(400, 100))
    with pytest.raises(ReferenceImageError, match="g, not r"):
        Simulation(seed=1, reference_image=reference_file, band="r")


@needs_dp1
def test_real_visit() -> None:
    reference_image = ReferenceImage.read(DP1)
    # 32.9 counts at a zero point of 32.07 magnitudes.
    assert reference_image.sky_noise == pytest.approx(17.74, abs=0.02)
    # Counts per nJy at that zero point.
    assert reference_image.gain == pytest.approx(1.856, abs=0.002)
    assert reference_image.exposure_time == 30.0
    # The file is a cut of 16 x 16 pixels with the PSF of the whole detector.
    assert reference_image.bbox() == Box.factory[0:4000, 0:4072]
    plan = reference_image.plan(1, 0)
    assert (plan.ra, plan.dec) == pytest.approx((53.3274, -28.0723), abs=1e-3)


@needs_dp1
def test_real_visit_into_a_repository(tmp_path: Path) -> None:
    simulation = Simulation(
        seed=9, visits=1, detectors=2, shape=(96, 128), trails=3, reference_image=str(DP1)
    )
    butler = open_or_create(tmp_path / "repo")
    list(simulation.run(butler, "input"))
    real = ReferenceImage.read(DP1)
    images = [
        butler.get("preliminary_visit_image", data_id, collections="input")
        for data_id in simulation.data_ids()
    ]
    assert images[0].bbox == images[1].bbox == Box.factory[1952:2048, 1972:2100]
    for detector, image in enumerate(images):
        np.testing.assert_array_equal(
            image.psf.compute_kernel_image(x=2000.0, y=2000.0).array,
            real.psf.compute_kernel_image(x=2000.0, y=2000.0).array,
        )
        assert image.summary_stats.skyNoise == pytest.approx(32.9, rel=0.05)
        assert image.summary_stats.zeroPoint == real.zeropoint
        assert image.detector.id == detector
        assert image.detector.amplifiers == real.detector.amplifiers
        assert image.obs_info.instrument == "TrailSimCam"
        assert image.obs_info.exposure_time.to_value(u.s) == 30.0
    there = real.sky_projection.pixel_to_sky(x=2000.0, y=2000.0)
    assert images[0].sky_projection.pixel_to_sky(x=2000.0, y=2000.0).separation(there) < 1e-6 * u.arcsec
    reopened = Butler.from_config(tmp_path / "repo")
    first, second = reopened.query_dimension_records("visit_detector_region", instrument="TrailSimCam")
    assert first.region.isDisjointFrom(second.region)
