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

"""Single functions that benchmarks call in a process of their own.

    python benchmarks/single_calls.py FUNCTION ARGUMENTS

calls a function of `CALLS` with keyword arguments in JSON, and prints its result
in JSON.  Each function gets the number of threads of its process.  They call
only interfaces of the package that earlier versions have, too, so that versions
can be compared.
"""

from __future__ import annotations

import importlib.util
import json
import resource
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lsst.meas.trails.core.planes import ImagePlanes

ADCNN = "UNetResSEASPP"


def quanta(threads: int, graph: str) -> dict[str, list[str]]:
    """Return the identifiers of the quanta of a graph by task."""
    from lsst.pipe.base.quantum_graph import PredictedQuantumGraph

    tasks = PredictedQuantumGraph.read_execution_quanta(graph).quanta_by_task
    return {label: [str(identifier) for identifier in tasks[label].values()] for label in tasks}


def engines(threads: int) -> list[dict[str, str]]:
    """Return the variants of `network` on this machine: installed engines and fast precisions.

    Versions with a single engine have no name for it.
    """
    from lsst.meas.trails.nn.hardware import precision_name

    precisions = sorted({"float32", precision_name("auto", "cpu")}, reverse=True)
    try:
        from lsst.meas.trails.nn.engines import ENGINES
    except ModuleNotFoundError:
        return [{"dtype": dtype} for dtype in precisions]
    # Engines have the names of their libraries.
    installed = [name for name in ENGINES if importlib.util.find_spec(name) is not None]
    return [{"engine": name, "dtype": dtype} for name in installed for dtype in precisions]


def network(threads: int, repo: str, model: str, **variant: str) -> dict[str, Any]:
    """Measure the network of a model on the image, the second time that it runs."""
    from lsst.meas.trails.core.background import fit_background
    from lsst.meas.trails.nn.model_file import load_model, shipped_model_path
    from lsst.meas.trails.nn.predict import predict_probability

    planes = image_planes(repo)
    loaded = load_model(model if model.endswith(".json") else shipped_model_path(model))
    background = fit_background(planes.image, planes.bad())
    return measure(
        lambda: predict_probability(
            loaded, planes, background=background, threads=threads, device="cpu", **variant
        )
    )


def adcnn(threads: int, side: int) -> dict[str, Any]:
    """Measure the network of Asteroid_detection_CNN on noise, in float32.

    It has random weights, which do not change its time.

    Parameters
    ----------
    threads
        Number of threads.
    side
        Side of the square of noise, pixels.  The time grows with the number of tiles.
    """
    import numpy as np

    from lsst.meas.trails.core.normalize import ADCNN_CHANNELS, ADCNN_NORMALIZATION
    from lsst.meas.trails.core.planes import ImagePlanes
    from lsst.meas.trails.core.psf import PsfGrid
    from lsst.meas.trails.nn.model_file import ModelSpecification, TrailModel
    from lsst.meas.trails.nn.predict import predict_probability

    specification = ModelSpecification(
        name=ADCNN,
        version="0",
        architecture=ADCNN,
        channels=ADCNN_CHANNELS,
        normalization=ADCNN_NORMALIZATION,
    )
    built = specification.create_network().eval()
    model = TrailModel.from_network(specification, built)
    tile = built.tile_size
    assert tile is not None
    image = np.random.default_rng(1).standard_normal((side, side), dtype=np.float32)
    mask = np.zeros_like(image, dtype=np.uint32)
    planes = ImagePlanes(image=image, variance=np.ones_like(image), mask=mask, psf=PsfGrid.gaussian(4.0))
    warm_up = planes.cut(slice(0, tile), slice(0, tile))
    options: dict[str, Any] = {"threads": threads, "dtype": "float32"}
    predict_probability(model, warm_up, **options)
    measured = measure(lambda: predict_probability(model, planes, **options), warm=False)
    return measured | {"tile": tile}


def sep_extraction(threads: int, repo: str) -> dict[str, Any]:
    """Measure the convolution with the PSF and the extraction with sep."""
    from lsst.meas.trails.core.background import SkySubtracted
    from lsst.meas.trails.evaluation.baselines import sep_sources

    sky = SkySubtracted.from_planes(image_planes(repo))
    return measure(lambda: sep_sources(sky))


CALLS: dict[str, Callable[..., Any]] = {
    "quanta": quanta,
    "engines": engines,
    "network": network,
    "adcnn": adcnn,
    "sep": sep_extraction,
}
"""Functions by name."""


def image_planes(repo: str) -> ImagePlanes:
    """Read the image of a repository."""
    from lsst.daf.butler import Butler
    from lsst.meas.trails.tasks._input_image import read_input_image

    butler = Butler.from_config(repo, collections="input")
    ref = butler.query_datasets("preliminary_visit_image")[0]
    return read_input_image(butler.get(ref, storageClass="VisitImage")).planes


def measure(run: Callable[[], object], *, warm: bool = True) -> dict[str, Any]:
    """Return processor and wall time of a call, and the peak memory of the process."""
    if warm:
        run()
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    unit = 1 if sys.platform == "darwin" else 1024
    return {"cpu": cpu, "wall": wall, "peak": unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}


if __name__ == "__main__":
    print(json.dumps(CALLS[sys.argv[1]](**json.loads(sys.argv[2]))))
