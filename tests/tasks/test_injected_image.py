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
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsst.daf.butler import Butler, DatasetType
from lsst.images import VisitImage
from lsst.meas.trails.repository.visit_image import make_difference_image
from lsst.meas.trails.tasks import InjectTrailsConfig, InjectTrailsTask
from lsst.meas.trails.tasks._observation import with_changed_info
from lsst.pipe.base import InvalidQuantumError, Pipeline, Struct
from lsst.pipe.base.simple_pipeline_executor import SimplePipelineExecutor

from support.afw import KernelPsf, exposure_repository

PIPELINES = Path(__file__).resolve().parents[2] / "pipelines"
SHAPE = (160, 200)


def inject(image: VisitImage, **settings: Any) -> Struct:
    config = InjectTrailsConfig()
    config.number = 4.0
    for name, value in settings.items():
        setattr(config, name, value)
    return InjectTrailsTask(config=config).run(image=image, packed=7)


@pytest.fixture(scope="module")
def image(make_image: Callable[..., Any]) -> VisitImage:
    """Return an image that does not say that it is simulated."""
    made = make_image(shape=SHAPE, start=(30, 50), stars=20).image
    assert isinstance(made, VisitImage)
    return with_changed_info(made, has_simulated_content=False)


def test_planes_and_flag_of_injected_light(image: VisitImage) -> None:
    result = inject(image, pointSources=100.0)
    output, catalog = result.injected_image, result.injected_catalog
    assert output.obs_info.has_simulated_content is True
    assert not image.obs_info.has_simulated_content
    assert "INJECTED" not in image.mask.schema.names
    changed = output.image.array != image.image.array
    np.testing.assert_array_equal(output.mask.get("INJECTED"), changed)
    assert 0 < np.count_nonzero(changed) < changed.size
    expected = np.zeros(SHAPE, dtype=bool)
    for row in catalog:
        x, y = round(row["x"]) - 30, round(row["y"]) - 50
        expected[max(y - 1, 0) : max(y + 2, 0), max(x - 1, 0) : max(x + 2, 0)] = True
    np.testing.assert_array_equal(output.mask.get("INJECTED_CORE"), expected)
    assert set(catalog["source_type"]) == {"Trail", "Star"}
    for name in image.mask.schema.names:
        np.testing.assert_array_equal(output.mask.get(name), image.mask.get(name))


def test_nothing_injected(image: VisitImage) -> None:
    output = inject(image, number=0.0).injected_image
    assert not output.obs_info.has_simulated_content
    assert not output.mask.get("INJECTED").any()
    assert not output.mask.get("INJECTED_CORE").any()


def test_second_injection_keeps_the_first(image: VisitImage) -> None:
    first = inject(image).injected_image
    second = inject(first, seedOffset=1).injected_image
    both = first.mask.get("INJECTED") | (second.image.array != first.image.array)
    np.testing.assert_array_equal(second.mask.get("INJECTED"), both)


def test_pixels_that_are_not_a_number_are_not_injected(image: VisitImage) -> None:
    holed = image.copy()
    holed.image.array[40:60, 50:90] = np.nan
    assert not inject(holed).injected_image.mask.get("INJECTED")[40:60, 50:90].any()


def test_difference_images_stay_difference_images(image: VisitImage) -> None:
    kernel = np.zeros((5, 5))
    kernel[2, 2] = 1.0
    output = inject(make_difference_image(image, kernel)).injected_image
    assert output.kernel.compute_kernel_image(x=50, y=60).array[2, 2] == 1.0
    assert output.obs_info.has_simulated_content is True


def run_injection(folder: Path, output: str) -> Butler:
    pipeline = Pipeline.from_uri(f"{PIPELINES / 'MakeTrainingSet.yaml'}#inject")
    pipeline.addConfigOverride("injectTrails", "number", 3.0)
    SimplePipelineExecutor.from_pipeline(
        pipeline, butler=SimplePipelineExecutor.prep_butler(str(folder), ["input"], output)
    ).run(register_dataset_types=True)
    return Butler.from_config(folder, collections=output)


@pytest.fixture
def kernel_butler(image: VisitImage, make_exposure: Callable[..., Any], tmp_path: Path) -> Butler:
    """Return a repository of an image with a PSF that only afw can write."""
    return exposure_repository(tmp_path / "repo", make_exposure(image, Psf=KernelPsf(1.7)), SHAPE)


def test_psf_that_cannot_be_written_is_found_before_the_work(
    kernel_butler: Butler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the work has begun")

    monkeypatch.setattr("lsst.meas.trails.tasks.inject_trails.draw_trails", work)
    with pytest.raises(InvalidQuantumError, match="KernelPsf") as caught:
        run_injection(tmp_path / "repo", "tiles")
    command = "butler register-dataset-type REPO injected_preliminary_visit_image ExposureF"
    assert f"{command} instrument detector visit" in str(caught.value)
    assert "injected_prefix" in str(caught.value)


def test_psf_of_afw_is_written_as_an_exposure(kernel_butler: Butler, tmp_path: Path) -> None:
    """The dataset type is registered as the error recommends."""
    name = "injected_preliminary_visit_image"
    dimensions = kernel_butler.dimensions.conform(("instrument", "visit", "detector"))
    kernel_butler.registry.registerDatasetType(DatasetType(name, dimensions, "ExposureF"))
    butler = run_injection(tmp_path / "repo", "tiles")
    (ref,) = butler.query_datasets(name)
    exposure = butler.get(ref)
    assert isinstance(exposure.getPsf(), KernelPsf)
    assert exposure.visitInfo.hasSimulatedContent is True
    lit = (exposure.mask.array & exposure.mask.getPlaneBitMask("INJECTED")) != 0
    (original,) = kernel_butler.query_datasets("preliminary_visit_image")
    before = kernel_butler.get(original).image.array
    np.testing.assert_array_equal(lit, exposure.image.array != before)
    assert lit.any()
