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
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import astropy.table
import click.testing
import numpy as np
import pytest

from lsst.ctrl.mpexec.cli.pipetask import cli as pipetask_cli
from lsst.daf.butler import Butler
from lsst.daf.butler.cli.utils import LogCliRunner
from lsst.images import Box, VisitImage
from lsst.images.psfs import GaussianPointSpreadFunction
from lsst.meas.trails.core.geometry import Trail, Trails
from lsst.meas.trails.core.injection.inject import inject_trails
from lsst.meas.trails.core.injection.truth import truth_table
from lsst.meas.trails.core.planes import ImagePlanes, plane_bits
from lsst.meas.trails.core.psf import FWHM_PER_SIGMA, PsfGrid
from lsst.meas.trails.core.render import optimal_snr, render_trail
from lsst.meas.trails.repository.butler import Dataset, open_or_create, put_datasets
from lsst.meas.trails.repository.visit_image import make_visit_image
from lsst.meas.trails.sim.detector import make_detector
from lsst.meas.trails.sim.image import image_truth
from lsst.meas.trails.sim.instrument import TrailSimCam
from lsst.meas.trails.sim.observation import make_obs_info, make_sky_projection, plan_visit
from lsst.meas.trails.sim.simulation import Simulation
from lsst.pipe.base import Pipeline
from lsst.pipe.base.simple_pipeline_executor import SimplePipelineExecutor

from support import afw

pytest_plugins = ["pytester", "support.process_guard"]

FWHM = 4.0
"""Width of the PSF of `make_image`, pixels: the median of LSSTCam."""

NOISE = 20.0
"""Noise of the sky of `make_image`, nJy."""

SHAPE = (256, 320)
"""Shape of the images of `chain`."""

BRIGHT = ((90.0, 180.0, 60.0, 25.0, 60.0), (220.0, 80.0, 60.0, 110.0, 60.0))
"""Trails that every model finds: x, y, length, angle, SNR."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest tests first, so that parallel workers finish together."""
    first = ("test_bps.py", "test_middleware.py")
    items.sort(key=lambda item: (item.path.name not in first, item.get_closest_marker("process") is None))


def make_simulation() -> Simulation:
    """Return the plan of the visit of `make_image` and `chain`."""
    return Simulation(seed=3, visits=1, detectors=3, shape=SHAPE, trails=6)


@dataclasses.dataclass(frozen=True, eq=False)
class KnownImage:
    """An image and the table of its trails."""

    image: VisitImage
    truth: astropy.table.Table


def known_image(
    trails: Sequence[tuple[float, float, float, float, float]] = (),
    *,
    shape: tuple[int, int] = SHAPE,
    start: tuple[int, int] = (0, 0),
    seed: int = 1,
    detector: int = 0,
    stars: int = 0,
    masked: Sequence[tuple[str, tuple[slice, slice]]] = (),
) -> KnownImage:
    """Make an image of Gaussian noise, a flat background and trails.

    Parameters
    ----------
    trails
        x, y, length, angle and optimal SNR of each, in array coordinates.
    shape
        Shape (ny, nx) of the image.
    start
        Coordinates (x, y) of the first pixel on the detector.
    seed
        Seed of the noise.
    detector
        Number of the detector.
    stars
        Number of bright stars; their Poisson noise corresponds to a gain of 2.
    masked
        Names of mask planes and the pixels to set.
    """
    rng = np.random.default_rng(seed)
    planes = ImagePlanes(
        image=np.zeros(shape, dtype=np.float32),
        variance=np.full(shape, NOISE**2, dtype=np.float32),
        mask=np.zeros(shape, dtype=np.uint32),
        psf=PsfGrid.gaussian(FWHM),
    )
    points = Trails(
        x=rng.uniform(0.0, shape[1], stars),
        y=rng.uniform(0.0, shape[0], stars),
        length=np.zeros(stars),
        angle=np.zeros(stars),
        flux=rng.uniform(2e4, 1e5, stars),
    )
    planes = inject_trails(planes, points, None)
    planes.variance[...] += planes.image / 2.0
    for name, part in masked:
        planes.mask[part] |= np.uint32(plane_bits([name]))
    rows = []
    for x, y, length, angle, snr in trails:
        stamp = render_trail(planes.psf, Trail(x, y, length, angle))
        rows.append((x, y, length, angle, snr / optimal_snr(stamp, planes.variance, 1.0)))
    injected = Trails(*np.array(rows, dtype=np.float64).reshape(-1, 5).T)
    truth = truth_table(planes, injected)
    planes = inject_trails(planes, injected, None)
    planes.image[...] += np.sqrt(planes.variance) * rng.standard_normal(shape, dtype=np.float32)
    plan = plan_visit(make_simulation().seed, 0, "r")
    full = (max(SHAPE[0], start[1] + shape[0]), max(SHAPE[1], start[0] + shape[1]))
    bbox = Box.factory[start[1] : start[1] + shape[0], start[0] : start[0] + shape[1]]
    sky_projection = make_sky_projection(plan, detector, full)
    image = make_visit_image(
        planes,
        psf=GaussianPointSpreadFunction(FWHM / FWHM_PER_SIGMA, Box.from_shape(full), stamp_size=25),
        sky_projection=sky_projection,
        obs_info=make_obs_info(plan, detector),
        detector=make_detector(plan.visit, detector, full),
        band=plan.band,
        bbox=bbox,
    )
    truth = image_truth(truth, bbox, sky_projection)
    truth["source_type"] = np.full(len(truth), "Trail", dtype="U9")
    return KnownImage(image=image, truth=truth)


@pytest.fixture(scope="session")
def make_image() -> Callable[..., KnownImage]:
    """Return `known_image`."""
    return known_image


@pytest.fixture
def make_exposure(monkeypatch: pytest.MonkeyPatch) -> Callable[..., afw.ExposureF]:
    """Return `support.afw.exposure_of`, with the substitute for afw installed."""
    afw.install(monkeypatch)
    return afw.exposure_of


@pytest.fixture(scope="session")
def bright_trails() -> tuple[tuple[float, float, float, float, float], ...]:
    """Return the trails that every model finds: x, y, length, angle, SNR."""
    return BRIGHT


def run_command(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command of the environment of the tests."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    command = shutil.which(name, path=path)
    assert command is not None, f"{name} is not installed"
    return subprocess.run(
        [command, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        # Several test processes share the cores.
        env={**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"},
    )


@pytest.fixture(scope="session")
def run_program() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs a command and captures its output."""
    return run_command


def run_pipetask(*arguments: object) -> click.testing.Result:
    """Run ``pipetask run`` in this process, with its threads unchanged."""
    return LogCliRunner().invoke(pipetask_cli, ["run", "--enable-implicit-threading", *map(str, arguments)])


@pytest.fixture(scope="session")
def pipetask_run() -> Callable[..., click.testing.Result]:
    """Return a function that runs ``pipetask run`` in this process."""
    return run_pipetask


@dataclasses.dataclass(frozen=True)
class Chain:
    """A repository in which the pipelines have run.

    Detector 0 is a simulated image, 1 is a clean sky with bright trails, and
    all pixels of 2 are NaN.

    Parameters
    ----------
    repo
        Repository with the images in the collection ``input``.
    detected
        Collection of DetectTrails.
    training
        Collection of MakeTrainingSet.
    injected
        Collection of DetectTrails, without catalogs of visits, for detector 1
        of ``training``.
    """

    repo: Path
    detected: str = "trails/detected"
    training: str = "trails/training"
    injected: str = "trails/injected"

    @property
    def visit(self) -> int:
        return make_simulation().plan(0).visit

    def butler(self, collection: str) -> Butler:
        return Butler.from_config(self.repo, collections=collection)

    def data_id(self, detector: int) -> dict[str, Any]:
        return {"instrument": TrailSimCam.getName(), "visit": self.visit, "detector": detector}


def put_images(repo: Path) -> None:
    """Create the repository of `Chain`, with images only."""
    butler = open_or_create(repo)
    simulation = make_simulation()
    simulation.register(butler, "input")
    simulation.put(butler, "input", 0, 0)
    bright = known_image(BRIGHT, detector=1, stars=40)
    nothing = known_image(detector=2)
    nothing.image.image.array[...] = np.nan
    for detector, known in ((1, bright), (2, nothing)):
        put_datasets(
            butler,
            "input",
            {**Chain(repo).data_id(detector)},
            [
                Dataset("preliminary_visit_image", "VisitImage", known.image),
                Dataset("simulated_trail_catalog", "ArrowAstropy", known.truth),
            ],
        )


def made_once(base: Path, name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder, filled by the first test process that needs it."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder, done = base / name, base / f"{name}.done"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def image_repo(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Return a repository with the images of `Chain`; tests must not write to it."""
    return Chain(made_once(tmp_path_factory.getbasetemp(), "image_repo", put_images))


@pytest.fixture
def fresh_repo(image_repo: Chain, tmp_path: Path) -> Chain:
    """Return a copy of `image_repo` for one test."""
    shutil.copytree(image_repo.repo, tmp_path / "repo")
    return Chain(tmp_path / "repo")


@pytest.fixture(scope="session")
def chain(image_repo: Chain, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Return a repository in which ``pipetask run`` has run both pipelines.

    Tests may add runs to it, and must not change the others.
    """
    pipelines = Path(__file__).parents[1] / "pipelines"

    def make(folder: Path) -> None:
        shutil.copytree(image_repo.repo, folder)
        made = Chain(folder)
        for pipeline, output in (
            (pipelines / "DetectTrails.yaml", made.detected),
            (pipelines / "MakeTrainingSet.yaml", made.training),
        ):
            done = run_pipetask(
                "-b", folder, "-p", pipeline, "-i", "input", "-o", output, "--register-dataset-types"
            )
            assert done.exit_code == 0, done.output
        pipeline = Pipeline.from_uri(f"{pipelines / 'DetectTrails.yaml'}#perDetector")
        pipeline.addConfigOverride("parameters", "input_image", "injected_preliminary_visit_image")
        SimplePipelineExecutor.from_pipeline(
            pipeline,
            butler=SimplePipelineExecutor.prep_butler(str(folder), [made.training], made.injected),
            where="instrument = 'TrailSimCam' AND detector = 1",
        ).run()

    return Chain(made_once(tmp_path_factory.getbasetemp(), "chain", make))
