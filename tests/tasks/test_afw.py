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

"""Exposures of afw and every other kind of input image give the same candidates."""

from __future__ import annotations

import importlib.util
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import astropy.table
import astropy.units as u
import numpy as np
import pytest

from lsst.daf.butler import Butler, Config, DatasetType
from lsst.images import DifferenceImage, Image, Mask, MaskPlane, MaskSchema, VisitImage
from lsst.images.fields import ChebyshevField
from lsst.meas.trails.repository.butler import open_or_create
from lsst.meas.trails.sim.simulation import Simulation
from lsst.meas.trails.tasks import InjectTrailsTask, TrailCandidateTask, TrailSegmentationTask
from lsst.meas.trails.tasks._input_image import read_input_image
from lsst.pipe.base import Pipeline, UpstreamFailureNoWorkFound
from lsst.pipe.base.simple_pipeline_executor import SimplePipelineExecutor

PIPELINES = Path(__file__).resolve().parents[2] / "pipelines"
SHAPE = (160, 200)
OTHERS = ("STREAK", "INJECTED", "DETECTED_NEGATIVE", "HIGH_VARIANCE", "SITE_PLANE")
"""Planes that the default conversion of exposures fails on or does not know."""

NJY = 4.0
"""Scale of an instrumental unit, nJy: a power of two, which loses no digit."""


def image_of(kind: type[VisitImage], original: VisitImage, unit: u.UnitBase) -> VisitImage:
    """Return an image as another class, in a unit and with other planes."""
    schema = MaskSchema(
        [*(plane for plane in original.mask.schema if plane is not None and plane.name not in OTHERS),
         *(MaskPlane(name, "Another plane.") for name in OTHERS)]
    )  # fmt: skip
    mask = Mask(0, schema=schema, bbox=original.bbox)
    for name in original.mask.schema.names:
        mask.set(name, original.mask.get(name))
    for row, name in enumerate(OTHERS):
        pixels = np.zeros(original.bbox.shape, dtype=bool)
        pixels[2 + row, 4:20] = True
        mask.set(name, pixels)
    scale = np.float32(1.0 if unit == u.nJy else NJY)
    scaling = ChebyshevField(original.bbox, np.array([[NJY]]), unit=u.nJy / u.electron)
    more: dict[str, Any] = {"kernel": None, "templates": None} if kind is DifferenceImage else {}
    return kind(
        Image(original.image.array / scale, bbox=original.bbox, unit=unit),
        mask=mask,
        variance=Image(original.variance.array / scale**2, bbox=original.bbox, unit=unit**2),
        obs_info=original.obs_info,
        psf=original.psf,
        detector=original.detector,
        band=original.band,
        sky_projection=original.sky_projection,
        photometric_scaling=None if unit == u.nJy else scaling,
        **more,
    )


def find(image: Any) -> astropy.table.Table:
    """Return the candidates of an image."""
    segmented = TrailSegmentationTask(config=TrailSegmentationTask.ConfigClass()).run(image=image)
    task = TrailCandidateTask(config=TrailCandidateTask.ConfigClass())
    catalog: astropy.table.Table = task.run(
        image=image, trail_probability=segmented.trail_probability, visit=7
    ).trail_candidate_detector
    return catalog


@pytest.fixture(scope="module")
def known(make_image: Callable[..., Any]) -> Any:
    """Return an image with two bright trails."""
    return make_image(
        [(70.0, 110.0, 60.0, 25.0, 60.0), (140.0, 50.0, 40.0, 110.0, 50.0)], shape=SHAPE, start=(32, 16)
    )


@pytest.fixture(scope="module")
def expected(known: Any) -> astropy.table.Table:
    catalog = find(image_of(VisitImage, known.image, u.nJy))
    for row in known.truth:
        nearest = catalog[np.argmin(np.hypot(catalog["x"] - row["x"], catalog["y"] - row["y"]))]
        assert np.hypot(nearest["x"] - row["x"], nearest["y"] - row["y"]) < 2.0
        assert nearest["trailFlux"] == pytest.approx(row["flux"], rel=0.1)
    return catalog


def deferred(image: Any) -> Any:
    """Return a deferred handle of an image."""
    return types.SimpleNamespace(ref=None, butler=None, get=lambda: image)


@pytest.mark.parametrize("unit", [u.nJy, u.electron], ids=str)
@pytest.mark.parametrize("handed", [lambda image: image, deferred], ids=["image", "handle"])
@pytest.mark.parametrize(
    "kind", [VisitImage, DifferenceImage, "ExposureF"], ids=lambda kind: str(kind)[-20:-2]
)
def test_same_candidates_in_every_kind(
    known: Any,
    expected: astropy.table.Table,
    make_exposure: Callable[..., Any],
    kind: Any,
    handed: Callable[[Any], Any],
    unit: u.UnitBase,
) -> None:
    if kind == "ExposureF":
        image = image_of(VisitImage, known.image, unit)
        image = make_exposure(image, unit=str(unit), calibration=1.0 if unit == u.nJy else NJY)
        assert image.mask.array[6, 10] == image.mask.getPlaneBitMask("SITE_PLANE")
    else:
        image = image_of(kind, known.image, unit)
    catalog = find(handed(image))
    assert len(catalog) == len(expected) >= 2
    assert catalog.meta == expected.meta
    for name in expected.colnames:
        if expected[name].dtype.kind == "f":
            np.testing.assert_allclose(catalog[name], expected[name], rtol=1e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(catalog[name], expected[name], err_msg=name)
    # Microseconds: a day has 8.6e10.
    np.testing.assert_allclose(catalog["midpointMjdTai"], expected["midpointMjdTai"], rtol=0.0, atol=1e-10)


@pytest.mark.parametrize(("calibration", "expected_unit"), [(1.0, u.nJy), (NJY, u.electron)])
def test_exposure_that_does_not_say_its_unit(
    known: Any, make_exposure: Callable[..., Any], calibration: float, expected_unit: u.UnitBase
) -> None:
    converted = read_input_image(make_exposure(known.image, unit=None, calibration=calibration))
    assert converted.visit_image.unit == expected_unit
    assert converted.flux_per_njy == pytest.approx(1.0 / calibration)
    with pytest.raises(UpstreamFailureNoWorkFound, match="VisitImage"):
        read_input_image(make_exposure(known.image, unit=None, PhotoCalib=None))


@pytest.mark.parametrize("part", ["Wcs", "Psf", "Detector", "VisitInfo"])
def test_exposure_that_lacks_something(known: Any, make_exposure: Callable[..., Any], part: str) -> None:
    with pytest.raises(UpstreamFailureNoWorkFound, match=f"no(t have a)? (Sky)?{part}|no {part.upper()}"):
        read_input_image(make_exposure(known.image, **{part: None}))


def test_exposure_without_a_date(known: Any, make_exposure: Callable[..., Any]) -> None:
    exposure = make_exposure(known.image)
    exposure.info.parts["VisitInfo"]._date._nsecs = None
    converted = read_input_image(exposure)
    assert np.isnan(converted.midpoint_mjd_tai)
    assert converted.exposure_time == 30.0


@pytest.fixture
def exposure_butler(known: Any, make_exposure: Callable[..., Any], tmp_path: Path) -> Butler:
    """Return a Butler that stores the image as an ExposureF in memory."""
    datastore = "lsst.daf.butler.datastores.inMemoryDatastore.InMemoryDatastore"
    Butler.makeRepo(tmp_path / "repo", config=Config({"datastore": {"cls": datastore}}))
    butler = Butler.from_config(tmp_path / "repo", run="input", writeable=True)
    simulation = Simulation(seed=3, visits=1, detectors=1, shape=SHAPE)
    simulation.register(butler, "input")
    butler.registry.registerDatasetType(
        DatasetType(
            "preliminary_visit_image",
            butler.dimensions.conform(("instrument", "visit", "detector")),
            "ExposureF",
        )
    )
    image = image_of(VisitImage, known.image, u.nJy)
    butler.put(make_exposure(image), "preliminary_visit_image", simulation.data_ids()[0])
    return butler


def test_exposure_of_a_butler(
    exposure_butler: Butler, expected: astropy.table.Table, make_exposure: Callable[..., Any]
) -> None:
    """The conversion of the Butler fails for lack of an exposure record or on mask planes."""
    (ref,) = exposure_butler.query_datasets("preliminary_visit_image")
    handle = exposure_butler.getDeferred(ref, storageClass="VisitImage")
    with pytest.raises(Exception, match="exposure_record|STREAK"):
        handle.get()
    converted = read_input_image(handle)
    (record,) = exposure_butler.query_dimension_records("exposure")
    assert converted.visit_image.obs_info.observation_id == record.obs_id
    catalog = find(handle)
    assert len(catalog) == len(expected)
    np.testing.assert_allclose(catalog["trailFlux"], expected["trailFlux"], rtol=1e-5)
    np.testing.assert_allclose(catalog["midpointMjdTai"], record.timespan.begin.tai.mjd + 15.0 / 86400.0)


def test_outputs_go_back(known: Any, make_exposure: Callable[..., Any]) -> None:
    """Outputs can be converted to afw images for tasks of the stack."""
    exposure = make_exposure(image_of(VisitImage, known.image, u.nJy))
    segmented = TrailSegmentationTask(config=TrailSegmentationTask.ConfigClass()).run(image=exposure)
    mask, probability = segmented.trail_mask.to_legacy(), segmented.trail_probability.to_legacy()
    trail = (mask.array & mask.getPlaneBitMask("TRAIL")) != 0
    np.testing.assert_array_equal(trail, segmented.trail_mask.get("TRAIL"))
    assert trail.any()
    np.testing.assert_array_equal(probability.array, segmented.trail_probability.array)
    for plane in (mask, probability):
        assert (plane.getX0(), plane.getY0()) == (32, 16)

    before = exposure.image.array.copy()
    task = InjectTrailsTask(config=InjectTrailsTask.ConfigClass())
    injected = task.run(image=exposure).injected_image
    np.testing.assert_array_equal(exposure.image.array, before)
    exposure = super(VisitImage, injected).to_legacy()
    np.testing.assert_array_equal(exposure.image.array, injected.image.array)
    np.testing.assert_array_equal(exposure.variance.array, injected.variance.array)
    for name in OTHERS:
        seen = (exposure.mask.array & exposure.mask.getPlaneBitMask(name)) != 0
        # Injection only adds to INJECTED.
        assert np.all(seen[(exposure.mask.array & exposure.mask.getPlaneBitMask(name)) != 0]), name


@pytest.mark.parametrize("storage_class", ["DifferenceImage", "VisitImage"])
def test_difference_images_of_a_butler(
    known: Any, expected: astropy.table.Table, tmp_path: Path, storage_class: str
) -> None:
    """Both storage classes of difference images give the same candidates."""
    butler = open_or_create(tmp_path / "repo")
    simulation = Simulation(seed=3, visits=1, detectors=1, shape=SHAPE)
    simulation.register(butler, "input")
    dimensions = butler.dimensions.conform(("instrument", "visit", "detector"))
    butler.collections.register("input")
    butler.registry.registerDatasetType(DatasetType("difference_image", dimensions, storage_class))
    kind = DifferenceImage if storage_class == "DifferenceImage" else VisitImage
    (data_id,) = simulation.data_ids()
    butler.put(image_of(kind, known.image, u.electron), "difference_image", data_id, run="input")
    pipeline = Pipeline.from_uri(f"{PIPELINES / 'DetectTrailsInDifference.yaml'}#perDetector")
    # As for `expected`: the pipeline's own model breaks trails as bright as these into pieces that depend on
    # the machine's rounding.
    pipeline.addConfigOverride("trailSegmentation", "model", "direct")
    pipeline.addConfigOverride("trailSegmentation", "precision", "float32")
    SimplePipelineExecutor.from_pipeline(
        pipeline,
        butler=SimplePipelineExecutor.prep_butler(str(tmp_path / "repo"), ["input"], "trails"),
    ).run(register_dataset_types=True)
    catalog = Butler.from_config(tmp_path / "repo", collections="trails").get(
        "trail_candidate_detector", data_id
    )
    assert len(catalog) == len(expected)
    # The compression of the file changes pixels by a fraction of the noise.
    np.testing.assert_allclose(np.sort(catalog["trailFlux"]), np.sort(expected["trailFlux"]), rtol=0.05)


@pytest.mark.skipif(importlib.util.find_spec("lsst.afw") is None, reason="needs lsst.afw, which PyPI lacks")
def test_real_exposure(known: Any) -> None:
    """Images survive a round trip through `lsst.afw`."""
    original = image_of(VisitImage, known.image, u.nJy)
    exposure = original.to_legacy(copy=True)
    back = read_input_image(exposure).visit_image
    np.testing.assert_array_equal(back.image.array, original.image.array)
    for name in OTHERS:
        np.testing.assert_array_equal(back.mask.get(name), original.mask.get(name), err_msg=name)
    candidates = find(exposure)
    expected = find(original)
    assert len(candidates) == len(expected)
    np.testing.assert_allclose(candidates["midpointMjdTai"], expected["midpointMjdTai"], atol=1e-9)
    outputs = TrailSegmentationTask(config=TrailSegmentationTask.ConfigClass()).run(image=exposure)
    mask = outputs.trail_mask.to_legacy()
    trail = (mask.array & mask.getPlaneBitMask("TRAIL")) != 0
    np.testing.assert_array_equal(trail, outputs.trail_mask.get("TRAIL"))
    injected = InjectTrailsTask(config=InjectTrailsTask.ConfigClass()).run(image=exposure).injected_image
    np.testing.assert_array_equal(injected.to_legacy().image.array, injected.image.array)
