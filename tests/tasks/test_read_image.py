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

import builtins
import collections
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsst.daf.butler import Butler, DatasetType, DeferredDatasetHandle
from lsst.daf.butler.datastores.fileDatastore import FileDatastore
from lsst.images import MaskedImage, VisitImage
from lsst.images.serialization import ArchiveReadError
from lsst.meas.trails.repository.butler import open_or_create
from lsst.meas.trails.sim.simulation import Simulation
from lsst.meas.trails.tasks import TrailCandidateTask, TrailSegmentationTask
from lsst.meas.trails.tasks._afw import UnreadableImageError
from lsst.meas.trails.tasks._input_image import read_input_image, read_template
from lsst.meas.trails.tasks._read_image import _defer_import, read_handle, read_visit_image

AREA = 4.0 * np.pi * (4.0 / 2.3548) ** 2
"""Effective area of the PSF of the test image, a Gaussian with a FWHM of 4 pixels."""


@pytest.fixture
def image(make_image: Callable[..., Any]) -> VisitImage:
    result: VisitImage = make_image([(80.0, 60.0, 60.0, 25.0, 60.0)], shape=(128, 160)).image
    result.mask.set("SATURATED", np.arange(160) % 7 == np.arange(128)[:, None] % 5)
    result.metadata["note"] = "kept"
    return result


@pytest.fixture
def stored(image: VisitImage, tmp_path: Path) -> Callable[..., DeferredDatasetHandle]:
    """Return a function that puts an image into a new Butler and returns its handle."""
    simulation = Simulation(seed=3, visits=1, detectors=1, shape=(128, 160))
    simulation.register(open_or_create(tmp_path / "repo"), "input")
    butler = Butler.from_config(tmp_path / "repo", run="test", writeable=True)

    def put(image: Any, name: str = "preliminary_visit_image", area: float = AREA) -> DeferredDatasetHandle:
        if isinstance(image, VisitImage):
            image.summary_stats.psfArea = area
        dimensions = butler.dimensions.conform(["instrument", "visit", "detector"])
        storage_class = "VisitImage" if isinstance(image, VisitImage) else "MaskedImageV2"
        butler.registry.registerDatasetType(DatasetType(name, dimensions, storage_class))
        return butler.getDeferred(butler.put(image, name, simulation.data_ids()[0]))

    return put


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> collections.Counter[str]:
    """Return the number of reads of each dataset and component."""
    counter: collections.Counter[str] = collections.Counter()
    get = FileDatastore.get

    def count(self: Any, ref: Any, *args: Any, **kwargs: Any) -> Any:
        counter[ref.datasetType.name] += 1
        return get(self, ref, *args, **kwargs)

    monkeypatch.setattr(FileDatastore, "get", count)
    return counter


def test_without_psf(image: VisitImage, stored: Callable[..., DeferredDatasetHandle]) -> None:
    handle = stored(image)
    part, whole = read_visit_image(handle, with_psf=False), read_visit_image(handle)
    with pytest.raises(ArchiveReadError):
        _ = part.psf
    for name in ("image", "variance", "mask"):
        np.testing.assert_array_equal(getattr(part, name).array, getattr(whole, name).array)
    assert part.mask.schema == whole.mask.schema
    for name in ("bbox", "band", "unit", "obs_info", "summary_stats", "photometric_scaling"):
        assert getattr(part, name) == getattr(whole, name)
    assert part.metadata["note"] == "kept"
    x, y = np.array([10.0, 140.0]), np.array([20.0, 100.0])
    mine, theirs = (i.sky_projection.pixel_to_sky(x=x, y=y) for i in (part, whole))
    assert np.all(mine.separation(theirs).arcsec == 0.0)


def test_gaussian_of_the_summary(image: VisitImage, stored: Callable[..., DeferredDatasetHandle]) -> None:
    handle = stored(image, area=1.5 * AREA)
    part, whole = read_input_image(handle, with_psf=False), read_input_image(handle)
    assert part.planes.psf.fwhm(80.0, 64.0) == pytest.approx(4.0 * np.sqrt(1.5), rel=1e-3)
    assert whole.planes.psf.fwhm(80.0, 64.0) == pytest.approx(4.0, rel=0.01)
    np.testing.assert_array_equal(part.planes.mask, whole.planes.mask)


@pytest.mark.parametrize("area", [np.nan, 0.0, -1.0])
def test_summary_without_area(
    image: VisitImage,
    stored: Callable[..., DeferredDatasetHandle],
    reads: collections.Counter[str],
    area: float,
) -> None:
    read = read_input_image(stored(image, area=area), with_psf=False)
    assert read.planes.psf.fwhm(80.0, 64.0) == pytest.approx(4.0, rel=0.01)
    assert reads == {"preliminary_visit_image.summary_stats": 1, "preliminary_visit_image": 1}


def test_other_storage_class(image: VisitImage, stored: Callable[..., DeferredDatasetHandle]) -> None:
    template = stored(MaskedImage(image.image, mask=image.mask, variance=image.variance), "template_detector")
    assert type(read_handle(template, with_psf=False)) is MaskedImage
    assert read_template(template, read_input_image(image)).shape == (128, 160)


@pytest.mark.parametrize("with_psf", [True, False])
def test_damaged_file(
    image: VisitImage, stored: Callable[..., DeferredDatasetHandle], tmp_path: Path, with_psf: bool
) -> None:
    handle = stored(image)
    (path,) = tmp_path.glob("repo/test/**/*.fits")
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(UnreadableImageError, match="preliminary_visit_image"):
        read_visit_image(handle, with_psf=with_psf)


def test_each_image_is_read_once(
    image: VisitImage, stored: Callable[..., DeferredDatasetHandle], reads: collections.Counter[str]
) -> None:
    handle, template = stored(image), stored(image.copy(), "template_detector")
    config = TrailSegmentationTask.ConfigClass()
    segmented = TrailSegmentationTask(config=config).run(image=handle, template=template)
    # The summary statistics are a few numbers.
    assert reads == {
        "preliminary_visit_image.summary_stats": 1,
        "preliminary_visit_image.components": 1,
        "template_detector.components": 1,
    }
    reads.clear()
    TrailCandidateTask(config=TrailCandidateTask.ConfigClass()).run(
        image=handle, trail_probability=segmented.trail_probability, template=template
    )
    # The second stage looks at the template too.
    assert reads == {"preliminary_visit_image": 1, "template_detector.components": 1}


_READ = """
import sys
from lsst.daf.butler import Butler
from lsst.meas.trails.tasks._read_image import read_visit_image

butler = Butler.from_config(sys.argv[1], collections="input")
ref = butler.query_datasets("preliminary_visit_image")[0]
image = read_visit_image(butler.getDeferred(ref))
kernel = image.psf.compute_kernel_image(x=50.0, y=60.0).array
print(kernel.sum(), "piff" in sys.modules, "sklearn" in sys.modules)

import treegp
from treegp.kernels import AnisotropicRBF

print(treegp.GPInterpolation.__name__, AnisotropicRBF.__name__, "sklearn" in sys.modules)
print(sys.modules["treegp"].__file__ is not None)
"""


@pytest.mark.process
def test_psf_is_read_without_packages_that_it_does_not_use(tmp_path: Path) -> None:
    """Scikit-learn takes longer to import than the fits of an image; who needs it, gets it."""
    simulation = Simulation(seed=3, visits=1, detectors=1, shape=(128, 160))
    butler = open_or_create(tmp_path / "repo")
    simulation.register(butler, "input")
    simulation.put(butler, "input", 0, 0)
    done = subprocess.run(
        [sys.executable, "-c", _READ, str(tmp_path / "repo")], capture_output=True, text=True, check=True
    )
    first, second, third = done.stdout.splitlines()
    assert float(first.split()[0]) == pytest.approx(1.0, abs=0.01)
    assert first.split()[1:] == ["True", "False"]
    assert second == "GPInterpolation AnisotropicRBF True"
    assert third == "True"


def test_deferred_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_package.py").write_text(
        "import builtins\nbuiltins.slow_package_runs = True\nvalue = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delattr(builtins, "slow_package_runs", raising=False)
    for _ in range(2):
        _defer_import("slow_package")
    import slow_package

    assert not hasattr(builtins, "slow_package_runs")
    with pytest.raises(AttributeError, match="nothing"):
        _ = slow_package.nothing
    assert slow_package.value == 3
    assert builtins.slow_package_runs
    assert sys.modules.pop("slow_package").value == 3
    _defer_import("no_such_package")
    assert "no_such_package" not in sys.modules
