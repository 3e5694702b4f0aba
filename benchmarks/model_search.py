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

"""Search of simulated images with models, and jobs in several processes."""

from __future__ import annotations

__all__ = ("Job", "model_catalog", "named_model", "own_thresholds", "run_jobs", "wants_template")

import concurrent.futures
import functools
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import astropy.table

from lsst.meas.trails.core.background import BackgroundMesh, SkySubtracted
from lsst.meas.trails.core.candidates.find import CandidateOptions, find_candidates
from lsst.meas.trails.core.catalog.columns import candidate_catalog
from lsst.meas.trails.core.normalize import TEMPLATE_CHANNELS
from lsst.meas.trails.nn.candidate_score import candidate_score
from lsst.meas.trails.nn.model_file import TrailModel, load_model, shipped_model_path
from lsst.meas.trails.nn.predict import predict_probability


class Job[R](Protocol):
    """Work that another process can do."""

    def run(self) -> R:
        """Return the result."""
        ...


@functools.cache
def named_model(name: str) -> TrailModel:
    """Return a shipped model, or that of a ``.json`` file; each is read once."""
    return load_model(name if name.endswith(".json") else shipped_model_path(name))


def wants_template(model: TrailModel) -> bool:
    """Return whether a model has a template channel."""
    return bool(TEMPLATE_CHANNELS & set(model.specification.channels))


def own_thresholds(model: TrailModel) -> Mapping[str, float]:
    """Return the scores at which a calibrated model has 1, 10 and 100 false candidates per detector."""
    values: Any = model.specification.score.get("at_false_per_detector", {})
    return {rate: float(value) for rate, value in values.items()}


def model_catalog(model: TrailModel, sky: SkySubtracted, background: BackgroundMesh) -> astropy.table.Table:
    """Return the candidates of a model, found as in the tasks."""
    probability = predict_probability(model, sky.planes, background=background, threads=1)
    thresholds = model.specification.thresholds
    table = find_candidates(
        probability,
        sky,
        candidate_score(model),
        CandidateOptions(grow=thresholds["grow"], seed=thresholds["seed"]),
    )
    return candidate_catalog(
        table,
        first_id=0,
        visit=0,
        detector=0,
        band="",
        midpoint_mjd_tai=0.0,
        exposure_time=30.0,
        pixel_to_sky=lambda x, y: (x / 18_000.0, y / 18_000.0),
    )


def run_jobs[J: Job[Any]](jobs: Sequence[J], processes: int) -> Iterator[tuple[J, Any]]:
    """Yield jobs and their results, as they are finished."""
    if processes == 1:
        for job in jobs:
            yield job, job.run()
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(processes, mp_context=context) as executor:
        futures = {executor.submit(job.run): job for job in jobs}
        try:
            for future in concurrent.futures.as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise
