# This file is part of meas_trails.
#
# Developed for the LSST Data Management System.
# This product includes software developed by the LSST Project
# (https://www.lsst.org).
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# This program is free software: you can redistribute it and/or modify
# it under the terms of the GNU General Public License as published by
# the Free Software Foundation, either version 3 of the License, or
# (at your option) any later version.
#
# This program is distributed in the hope that it will be useful,
# but WITHOUT ANY WARRANTY; without even the implied warranty of
# MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
# GNU General Public License for more details.
#
# You should have received a copy of the GNU General Public License
# along with this program.  If not, see <https://www.gnu.org/licenses/>.

"""Configurations of batch submission at facilities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lsst.ctrl.bps import BPS_DEFAULTS, BpsConfig
from lsst.pipe.base import Pipeline
from lsst.utils import doImportType

ROOT = Path(__file__).resolve().parents[2]
SITES = ("htcondor", "slurm")


def configuration(site: str) -> BpsConfig:
    # Not its plugin's own defaults, which ask for the plugin.
    return BpsConfig(str(ROOT / "bps" / f"detect_trails_{site}.yaml"), defaults=BPS_DEFAULTS)


@pytest.mark.parametrize("site", SITES)
def test_configuration(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEAS_TRAILS_DIR", str(ROOT))
    monkeypatch.setenv("REPO", "/repo")
    if site == "htcondor":
        # The plugin is not on PyPI: its defaults are left out.
        monkeypatch.setattr("lsst.ctrl.bps.bps_config.doImport", lambda name: type("Service", (), {
            "__init__": lambda self, config: None, "defaults": None, "defaults_uri": None,
        }))  # fmt: skip
    config = configuration(site)
    labels = set(Pipeline.from_uri(config["pipelineYaml"]).to_graph().tasks)
    assert set(config["pipetask"]) - {"pipetaskInit"} == labels
    for label in labels:
        found, memory = config.search("requestMemory", opt={"curvals": {"curr_pipetask": label}})
        assert found
        assert 2048 <= memory <= 4096
    cluster = config["cluster"]["detectTrails"]
    assert {name.strip() for name in cluster["pipetasks"].split(",")} < labels
    # What a site says goes before what the sites share.
    assert cluster["dimensions"] == "visit"
    assert (cluster["partitionDimensions"], cluster["partitionMaxSize"]) == ("detector", 8)
    # A job needs what the greediest of its tasks does.
    tasks = [config["pipetask"][name.strip()]["requestMemory"] for name in cluster["pipetasks"].split(",")]
    assert cluster["requestMemory"] >= max(tasks)
    assert config["finalJob"]["requestCpus"] == 1
    assert "environment" not in config["site"][config["computeSite"]]
    if site == "slurm":
        assert doImportType(config["wmsServiceClass"]).__name__ == "ParslService"
        config["operator"], config["uniqProcName"] = "someone", "trails"
        kind: Any = doImportType(config["site"][config["computeSite"]]["class"])
        assert kind(config).get_executors()
