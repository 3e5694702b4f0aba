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

import pytest

from lsst.meas.trails.cli._pipelines import open_for_pipelines
from lsst.meas.trails.sim.simulation import Simulation

VISITS = 5


@pytest.fixture(scope="session")
def survey(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a repository with five visits of small images and templates, in the collection ``input``."""
    repo = str(tmp_path_factory.mktemp("survey") / "repo")
    # Nobody has labeled its trails: they count as false candidates.
    simulation = Simulation(
        seed=41, visits=VISITS, detectors=1, shape=(448, 512), trails=3, template=True, band="r"
    )
    assert len(list(simulation.run(open_for_pipelines(repo), "input", 1))) == VISITS
    return repo
