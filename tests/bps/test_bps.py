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

"""Batch submission: the configurations of the sites, and a run with Parsl."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lsst.ctrl.bps import BPS_DEFAULTS, BpsConfig
from lsst.daf.butler import Butler
from lsst.meas.trails.repository.butler import open_or_create
from lsst.meas.trails.sim.simulation import Simulation
from lsst.pipe.base import Pipeline
from lsst.utils import doImportType

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[2]
SITES = sorted(
    path.stem.removeprefix("detect_trails_") for path in (ROOT / "bps").glob("detect_trails_*.yaml")
)

SERVICE = "lsst.ctrl.bps.parsl.ParslService"
HTCONDOR = "lsst.ctrl.bps.htcondor.HTCondorService"


@pytest.fixture(autouse=True)
def bps_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the variables that bps needs outside a stack."""
    for name in ("CTRL_MPEXEC_DIR", "DAF_BUTLER_DIR"):
        monkeypatch.setenv(name, sys.prefix)
    monkeypatch.setenv("MEAS_TRAILS_DIR", str(ROOT))
    monkeypatch.setenv("REPO", "/repo")
    # The workers of Parsl search PATH for its commands.
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))


def test_each_kind_of_site_has_a_configuration() -> None:
    assert SITES == ["htcondor", "parsl", "slurm"]


@pytest.mark.parametrize("site", SITES)
def test_configuration(site: str) -> None:
    # The plugin's own defaults are not of interest.
    config = BpsConfig(str(ROOT / "bps" / f"detect_trails_{site}.yaml"), defaults=BPS_DEFAULTS)
    labels = set(Pipeline.from_uri(config["pipelineYaml"]).to_graph().tasks)
    assert set(config["pipetask"]) - {"pipetaskInit"} == labels
    for label in labels:
        found, memory = config.search("requestMemory", opt={"curvals": {"curr_pipetask": label}})
        assert found
        # doc/scale.md has the memory of each task.
        assert 1024 <= memory <= 4096
    cluster = config["cluster"]["detectTrails"]
    assert {name.strip() for name in cluster["pipetasks"].split(",")} < labels
    if site != "parsl":
        # The site's settings override the shared ones.
        assert cluster["dimensions"] == "visit"
        assert (cluster["partitionDimensions"], cluster["partitionMaxSize"]) == ("detector", 8)
    # A job needs as much memory as its largest task.
    tasks = [config["pipetask"][name.strip()]["requestMemory"] for name in cluster["pipetasks"].split(",")]
    assert cluster["requestMemory"] >= max(tasks)
    assert config["finalJob"]["requestCpus"] == 1
    assert "environment" not in config["site"][config["computeSite"]]
    assert config["wmsServiceClass"] == (HTCONDOR if site == "htcondor" else SERVICE)
    if site != "htcondor":
        config["operator"], config["uniqProcName"] = "someone", "trails"
        kind: Any = doImportType(config["site"][config["computeSite"]]["class"])
        assert kind(config).get_executors()


def run_bps(folder: Path, *arguments: object) -> str:
    """Run `bps` in a folder, and return its output."""
    command = shutil.which("bps")
    assert command is not None
    done = subprocess.run(
        [command, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        # The configuration refers to the folder as $PWD.
        env={**os.environ, "OMP_NUM_THREADS": "1", "PWD": str(folder)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def number_of_jobs(messages: str, state: str) -> int:
    """Return the number of jobs in a final state, from the summary that Parsl writes."""
    found = re.findall(rf"Tasks in state States.{state}: (\d+)", messages)
    assert len(found) == 1
    return int(found[0])


def count(repo: Path, collection: str) -> dict[str, int]:
    """Return the number of readable datasets of each output type."""
    butler = Butler.from_config(repo, collections=collection)
    found = {}
    for name in ("trail_mask", "trail_probability", "trail_candidate_detector", "trail_candidate"):
        refs = butler.query_datasets(name, explain=False)
        assert all(butler.get(ref) is not None for ref in refs)
        found[name] = len(refs)
    return found


def submit_commands(path: Path) -> dict[str, str]:
    """Return the commands of an HTCondor submit file."""
    lines = [line.split("=", 1) for line in path.read_text().splitlines() if "=" in line]
    return {name.strip(): value.strip() for name, value in lines}


def test_htcondor_submit_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine detectors make two jobs, which are repeated with more memory and see the user's environment."""
    repo, submitted = tmp_path / "repo", tmp_path / "submit" / "trails" / "bps"
    simulation = Simulation(seed=3, visits=1, detectors=9, shape=(64, 64), trails=0)
    butler = open_or_create(repo)
    simulation.register(butler, "input")
    for detector in range(9):
        simulation.put(butler, "input", 0, detector)
    monkeypatch.setenv("REPO", str(repo))
    # The plugin writes a file of the provisioning script below it.
    monkeypatch.setenv("HOME", str(tmp_path))
    run_bps(tmp_path, "prepare", ROOT / "bps" / "detect_trails_htcondor.yaml", "--output-run", "trails/bps")

    (dag,) = submitted.glob("*.dag")
    lines = dag.read_text().splitlines()
    jobs = {line.split()[1]: line.split('"')[1] for line in lines if line.startswith("JOB ")}
    detect = [name for name in jobs if name.startswith("detectTrails_")]
    consolidate = [name for name in jobs if "consolidate" in name]
    assert (len(detect), len(consolidate)) == (2, 2)
    for name in detect:
        assert f"PARENT pipetaskInit CHILD {name}" in lines
        for child in consolidate:
            assert f"PARENT {name} CHILD {child}" in lines
    assert any(line.startswith("FINAL finalJob ") for line in lines)
    assert any(line.startswith("SERVICE provisioningJob ") for line in lines)

    memory = {"detectTrails": 3072, "consolidateTrailCandidates": 1024, "finalJob": 4096}
    for label, request in memory.items():
        paths = list((submitted / "jobs" / label).rglob("*.sub"))
        assert paths
        for path in paths:
            commands = submit_commands(path)
            # A job that was held for its memory asks for twice as much each time.
            assert f"min({{int({request} * pow(2, NumJobStarts)), 491520}})" in commands["request_memory"]
            assert f"max({{{request}, MemoryUsage ?: 0}})" in commands["request_memory"]
            assert commands["max_retries"] == "3"
            assert commands["request_cpus"] == "1"
            assert commands["getenv"] == "True"
            assert commands["+Walltime"] == "7200"
    quanta = [
        submit_commands(path)["+bps_job_quanta"] for path in submitted.glob("jobs/detectTrails/**/*.sub")
    ]
    assert sorted(quanta) == [
        '"trailSegmentation:1;trailCandidate:1;associateTrails:1"',
        '"trailSegmentation:8;trailCandidate:8;associateTrails:8"',
    ]
    final = submit_commands(submitted / "jobs" / "finalJob" / "finalJob.sub")
    assert str(repo) in final["arguments"]


def run_step(folder: Path, srun: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run slurm_step.sh with a stand-in of srun, whose script knows the memory and the command of a step."""
    programs = {
        "srun": 'for word in "$@"; do case $word in --mem=*M) memory=${word//[^0-9]/};; esac; done\n'
        'printf "%s\\n" "$*"\nwhile [[ $1 == -* ]]; do shift; done\n' + srun,
        "squeue": "echo RUNNING",
    }
    for name, text in programs.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("SLURM")},
        "PATH": os.pathsep.join([str(folder), os.environ["PATH"]]),
        **variables,
    }
    return subprocess.run(
        [ROOT / "bps" / "slurm_step.sh", *arguments],
        env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_killed_slurm_step_is_repeated_with_more_memory(tmp_path: Path) -> None:
    job = {"SLURM_JOB_ID": "7", "SLURM_MEM_PER_NODE": "8000"}
    srun = '[ "$memory" -ge 3000 ] || exit 137\nexec "$@"'
    done = run_step(tmp_path, srun, "1000", "2", "1", "true", **job)
    assert re.findall(r"--mem=(\d+)M", done.stdout) == ["1000", "2000", "4000"]
    assert done.returncode == 0
    # The memory of the job on the node is the limit.
    done = run_step(tmp_path, srun, "1000", "2", "1", "true", **job | {"SLURM_MEM_PER_NODE": "2500"})
    assert re.findall(r"--mem=(\d+)M", done.stdout) == ["1000", "2000", "2500"]
    assert done.returncode == 137
    assert "2500 MiB" in done.stderr
    done = run_step(tmp_path, srun, "1000", "2", "1", "true", **job | {"SLURM_MEM_PER_NODE": "500"})
    assert (done.returncode, done.stdout) == (1, "")
    assert "mem_per_node" in done.stderr


def test_slurm_step_keeps_the_exit_code_of_its_command(tmp_path: Path) -> None:
    job = {"SLURM_JOB_ID": "7", "SLURM_MEM_PER_NODE": "8000"}
    step = ("1000", "2", "1", "bash", "-c", 'echo "got $1"; exit $2', "name", "two words")
    for code in (0, 3):
        done = run_step(tmp_path, 'exec "$@"', *step, str(code), **job)
        assert done.returncode == code
        assert "got two words\n" in done.stdout
    # srun ends with 0 after the failure of a node, without the command having ended.
    assert run_step(tmp_path, "exit 0", *step, "0", **job).returncode == 1


def test_slurm_step_shares_the_resources_of_an_outer_step(tmp_path: Path) -> None:
    job = {"SLURM_JOB_ID": "7", "SLURM_MEM_PER_NODE": "8000", "SLURMD_NODENAME": "n2"}
    step = ("1000", "2", "4", "true")
    alone = run_step(tmp_path, 'exec "$@"', *step, **job).stdout.split(" bash ")[0].split()
    inside = (
        run_step(tmp_path, 'exec "$@"', *step, **job, SLURM_STEP_ID="0").stdout.split(" bash ")[0].split()
    )
    assert set(inside) - set(alone) == {"--overlap"}
    assert {"--nodelist=n2", "--cpus-per-task=4", "--nodes=1"} < set(alone)
    done = run_step(tmp_path, "exit 0", *step)
    assert done.returncode == 2
    assert "SLURM" in done.stderr


def test_failed_parsl_run_is_restarted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_program: Callable[..., Any]
) -> None:
    """The run keeps the outputs of intact files, and resumes once the damaged file is repaired."""
    repo, submitted = tmp_path / "repo", tmp_path / "submit" / "trails" / "bps"
    simulation = Simulation(seed=3, visits=1, detectors=2, shape=(200, 256), trails=2)
    butler = open_or_create(repo)
    simulation.register(butler, "input")
    for detector in range(2):
        simulation.put(butler, "input", 0, detector)
    uri = butler.getURI("preliminary_visit_image", simulation.data_ids()[0], collections="input")
    damaged = Path(uri.ospath)
    content = damaged.read_bytes()
    damaged.write_bytes(content[:20_000])

    # The shipped configuration, without retries of failed jobs.
    configuration = tmp_path / "once.yaml"
    configuration.write_text(
        'includeConfigs: ["${MEAS_TRAILS_DIR}/bps/detect_trails_parsl.yaml"]\nsite: {local: {retries: 0}}\n'
    )
    monkeypatch.setenv("REPO", str(repo))
    messages = run_bps(tmp_path, "submit", configuration, "--output-run", "trails/bps")
    # One job for each detector, and two for the visit.
    assert [number_of_jobs(messages, state) for state in ("exec_done", "failed", "dep_fail")] == [1, 1, 2]
    logs = [path for path in submitted.glob("logs/detectTrails/**/*.stderr") if "Error" in path.read_text()]
    assert len(logs) == 1
    assert "UnreadableImageError" in logs[0].read_text()
    assert count(repo, "trails/bps") == {
        "trail_mask": 1,
        "trail_probability": 1,
        "trail_candidate_detector": 1,
        "trail_candidate": 0,
    }
    (kept,) = Butler.from_config(repo, collections="trails/bps").query_datasets("trail_mask")
    assert kept.dataId["detector"] == 1
    (graph,) = submitted.glob("*.qg")
    report = run_program("pipetask", "report", repo, graph).stdout
    assert re.search(r"trailSegmentation +\[\{'instrument': 'TrailSimCam', 'detector': 0.* 0 +1 +2\n", report)
    assert re.search(r"trailCandidate +\[\] +1 +1 +2\n", report)

    damaged.write_bytes(content)
    messages = run_bps(tmp_path, "restart", "--wms-service-class", SERVICE, "--id", submitted)
    # Completed jobs are not repeated.
    assert [number_of_jobs(messages, state) for state in ("memo_done", "exec_done", "failed")] == [1, 3, 0]
    assert count(repo, "trails/bps") == {
        "trail_mask": 2,
        "trail_probability": 2,
        "trail_candidate_detector": 2,
        "trail_candidate": 1,
    }
    butler = Butler.from_config(repo, collections="trails/bps")
    assert kept.id in {ref.id for ref in butler.query_datasets("trail_mask")}
    (visit,) = butler.query_datasets("trail_candidate")
    assert set(butler.get(visit)["detector"]) == {0, 1}
