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

from typing import Any

import numpy as np
import pytest

from lsst.daf.butler import Butler
from lsst.meas.trails.cli._pipelines import open_for_pipelines
from lsst.meas.trails.core.catalog.columns import table_of
from lsst.meas.trails.core.catalog.labels import LABEL_COLUMNS
from lsst.meas.trails.repository.butler import TRUTH_DATASET_TYPE, Dataset, put_datasets
from lsst.meas.trails.repository.labels import LABEL_TYPE
from lsst.meas.trails.sim.simulation import Simulation

VISITS = 5


@pytest.fixture(scope="session")
def survey(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a repository with five visits of small images and templates, in the collection ``input``."""
    repo = str(tmp_path_factory.mktemp("survey") / "repo")
    # Each image has false candidates, as a calibration needs them in every visit.
    simulation = Simulation(
        seed=42, visits=VISITS, detectors=1, shape=(448, 512), trails=3, sky="wide", template=True, band="r"
    )
    assert len(list(simulation.run(open_for_pipelines(repo), "input", 1))) == VISITS
    return repo


@pytest.fixture(scope="session")
def labeled(survey: str) -> str:
    """Return the collections of the survey with labels of all its trails."""
    with Butler.from_config(survey, collections="input", writeable=True) as butler:
        for ref in butler.query_datasets(TRUTH_DATASET_TYPE):
            truth = butler.get(ref)
            columns: dict[str, Any] = {
                name: np.full(len(truth), "", dtype=dtype) if dtype is np.str_ else np.zeros(len(truth))
                for name, (dtype, _, _) in LABEL_COLUMNS.items()
            }
            columns |= {name: np.full(len(truth), ref.dataId[name]) for name in ("visit", "detector")}
            columns |= {
                "label": np.full(len(truth), "trail"),
                "x": truth["x"],
                "y": truth["y"],
                "trailLengthPix": truth["trail_length"],
                "trailAnglePix": truth["beta"],
                "trailFlux": truth["flux"],
            }
            labels = table_of(columns, LABEL_COLUMNS)
            put_datasets(
                butler, "labels", dict(ref.dataId.required), [Dataset(LABEL_TYPE, "ArrowAstropy", labels)]
            )
    return "labels,input"
