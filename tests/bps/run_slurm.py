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

"""Program that runs the batch configurations on a SLURM cluster of this machine.

``python tests/bps/run_slurm.py`` starts a cluster of two nodes in a temporary
folder and does what a user does: ``bps submit`` of detect_trails_slurm.yaml
over twelve detectors, of which one file is damaged, with jobs that exceed their
memory limit and a node that is set down during the run; ``bps restart`` after
the repair of the file; and train_slurm.sbatch on both nodes, cut by its time
limit and submitted again until the training is complete. Each outcome is
checked. It takes some minutes and needs Debian's packages slurm-wlm and munge.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import yaml
from slurm_cluster import MISSING, SlurmCluster, missing_programs

from lsst.daf.butler import Butler

_ROOT = Path(__file__).resolve().parents[2]
_VISITS, _DETECTORS = 2, 6
_SERVICE = "lsst.ctrl.bps.parsl.ParslService"
# A user's configuration: the shipped one, adapted to the cluster. The limit of
# memory is far too low, so that steps are killed and repeated with more.
_SITE = {
    "includeConfigs": ["${MEAS_TRAILS_DIR}/bps/detect_trails_slurm.yaml"],
    "site": {"s3df": {"cores_per_node": 2, "mem_per_node": 6, "walltime": "00:30:00", "account": "trails"}},
    "cluster": {"detectTrails": {"partitionMaxSize": 3, "requestMemory": 300}},
}
_RECIPE = {
    "model": {
        "name": "tiny",
        "hyperparameters": {"widths": [4, 8], "blocks": [1, 0], "decoder_blocks": [0], "dilations": [1]},
    },
    "data": {"train": ["tiles.h5#train"], "validation": ["tiles.h5#validation"]},
    "stages": [{"name": "all", "epochs": 400, "batch_size": 4, "loss": {"bce": 1.0, "dice": 1.0}}],
    "precision": "float32",
    "threads": 1,
}
_MOST_SUBMISSIONS = 6


class CheckError(Exception):
    """Raised if an outcome differs from what is expected."""


def main() -> int:
    """Run the program, and return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--install", action="store_true", help="as root, install SLURM with apt-get if it is missing"
    )
    parser.add_argument("--skip-missing", action="store_true", help="exit with 0 if SLURM is not installed")
    parser.add_argument("--only", choices=["detect", "train"], help="run one of the two parts")
    parser.add_argument("--keep", type=Path, help="folder to keep, in place of a temporary one")
    options = parser.parse_args()
    if missing_programs() and options.install:
        install()
    if missing := missing_programs():
        print(MISSING.format(", ".join(missing)), file=sys.stderr)
        if options.skip_missing:
            print("Nothing was run on SLURM.")
        return 0 if options.skip_missing else 2
    with contextlib.ExitStack() as stack:
        if options.keep is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trails-slurm-")))
        else:
            folder = options.keep.absolute()
            folder.mkdir(parents=True)
        with SlurmCluster(folder / "cluster", nodes=2, cores=2, memory=7000) as cluster:
            try:
                if options.only != "train":
                    detect(folder, cluster)
                if options.only != "detect":
                    train(folder, cluster)
            except (CheckError, subprocess.SubprocessError) as error:
                print(f"FAILED: {error}", file=sys.stderr)
                return 1
    say("All outcomes are as expected.")
    return 0


def install() -> None:
    """Install SLURM as root with apt-get; without success, `missing_programs` still names it."""
    if os.geteuid() == 0:
        say("Installing slurm-wlm and munge")
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        for words in (["update"], ["install", "-y", "--no-install-recommends", "slurm-wlm", "munge"]):
            # Daemons of the packages must not start: the cluster has its own.
            subprocess.run(
                ["apt-get", "-qq", *words],
                check=False,
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"},
                **quiet,
            )


def detect(folder: Path, cluster: SlurmCluster) -> None:
    """Submit a detection in which a file, steps and a node fail; repair the file and restart."""
    repo, submitted = folder / "repo", folder / "submit" / "trails" / "slurm"
    say(f"Simulating {_VISITS} visits of {_DETECTORS} detectors")
    run(
        folder, cluster, "meas-trails", "simulate", repo, "--visits", _VISITS, "--detectors", _DETECTORS,
        "--size", "256", "256", "--trails", "2", "--seed", "5",
    )  # fmt: skip
    butler = Butler.from_config(repo, collections="input")
    images = sorted(butler.query_datasets("preliminary_visit_image"), key=lambda ref: ref.dataId["detector"])
    damaged = Path(butler.getURI(images[-1]).ospath)
    content = damaged.read_bytes()
    damaged.write_bytes(content[:20_000])
    site = folder / "site.yaml"
    site.write_text(yaml.safe_dump(_SITE))

    say("bps submit: 4 jobs of 3 detectors, one with a damaged file")
    ended, down = threading.Event(), threading.Event()
    failure = threading.Thread(target=set_down, args=(cluster, submitted, ended, down))
    failure.start()
    try:
        messages = run(folder, cluster, "bps", "submit", site, "--output-run", "trails/slurm", REPO=str(repo))
    finally:
        ended.set()
        failure.join()
    check(down.is_set(), "No job completed, so that no node was set down during the run.")
    states = cluster.ended_jobs()
    check(
        any("NODE_FAIL" in history for history in states.values()),
        f"SLURM did not count the failure of a node: {states}",
    )
    counts = number_of_jobs(messages)
    check(
        counts == {"exec_done": 5, "failed": 1, "dep_fail": 2},
        f"Expected 5 completed jobs, 1 failed and 2 dependent on it: {counts}",
    )
    errors = "\n".join(path.read_text() for path in submitted.glob("logs/detectTrails/**/*.stderr"))
    repeated = re.findall(r"Killed with (\d+) MiB: trying again with (\d+) MiB", errors)
    check(("300", "600") in repeated, f"No step was killed for its memory and repeated: {errors[-2000:]}")
    check("UnreadableImageError" in errors, "The messages of the failed job do not name the damaged file.")
    expected = _VISITS * _DETECTORS - 1
    check_outputs(repo, {"trail_mask": expected, "trail_candidate_detector": expected, "trail_candidate": 1})
    say(f"  as expected: {counts}; {len(repeated)} steps repeated with more memory; node failed and replaced")

    say("bps report: Parsl has none; pipetask report names the quanta that failed")
    (graph,) = submitted.glob("*.qg")
    report = run(folder, cluster, "pipetask", "report", repo, graph)
    check(
        bool(re.search(rf"trailSegmentation +\[{{.*}}\] +0 +{expected} +{expected + 1}\n", report)),
        f"The report does not count one failed quantum:\n{report}",
    )

    say("bps restart after the repair of the file")
    damaged.write_bytes(content)
    messages = run(
        folder, cluster, "bps", "restart", "--wms-service-class", _SERVICE, "--id", submitted, REPO=str(repo)
    )
    counts = number_of_jobs(messages)
    check(counts == {"memo_done": 5, "exec_done": 3}, f"Expected 5 kept jobs and 3 completed ones: {counts}")
    check_outputs(
        repo, {"trail_mask": expected + 1, "trail_candidate_detector": expected + 1, "trail_candidate": 2}
    )
    say(f"  as expected: {counts}")


def set_down(cluster: SlurmCluster, submitted: Path, ended: threading.Event, down: threading.Event) -> None:
    """Set the node of the allocation down once a job has completed; resume it after a minute."""
    while not ended.wait(1.0):
        logs = submitted.glob("logs/detectTrails/**/*.stderr")
        done = sum("Executed" in path.read_text(errors="replace") for path in logs)
        nodes = cluster.run("squeue", "--noheader", "--states=running", "--format=%N").split()
        if done and nodes:
            say(f"  {done} jobs have completed; setting node {nodes[0]} down")
            cluster.set_node(nodes[0], "down")
            down.set()
            ended.wait(60.0)
            cluster.set_node(nodes[0], "resume")
            return


def train(folder: Path, cluster: SlurmCluster) -> None:
    """Train on two nodes with a limit of one minute, and submit again until the training is complete."""
    say("Simulating tiles")
    tiles = folder / "tiles"
    tiles.mkdir()
    repo, joined = tiles / "repo", tiles / "tiles.h5"
    run(
        tiles, cluster, "meas-trails", "simulate", repo, "--visits", "4", "--detectors", "1",
        "--size", "512", "512", "--trails", "0", "--seed", "1",
    )  # fmt: skip
    run(
        tiles, cluster, "pipetask", "run", "-b", repo, "-i", "input", "-o", "tiles",
        "-p", _ROOT / "pipelines" / "MakeTrainingSet.yaml",
    )  # fmt: skip
    run(
        tiles, cluster, "meas-trails", "tiles", "consolidate", joined,
        "--repo", repo, "--collection", "tiles", "--fractions", "0.5", "0.25", "0.25",
    )  # fmt: skip
    recipe = tiles / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(_RECIPE))
    # A user's copy, adapted to nodes without GPUs as its comments say.
    script = tiles / "train.sbatch"
    shipped = (_ROOT / "bps" / "train_slurm.sbatch").read_text()
    script.write_text("".join(x for x in shipped.splitlines(True) if "--gpus-per-node=4" not in x))
    states = []
    for number in range(1, _MOST_SUBMISSIONS + 1):
        # On a busy machine a minute may end before the first checkpoint.
        begun = (tiles / "run" / "checkpoint.safetensors").exists()
        minutes = 30 if begun else 1
        say(f"sbatch with a limit of {minutes} min, submission {number}")
        submission = subprocess.run(
            [
                "sbatch", "--wait", "--parsable", f"--time={minutes}", "--cpus-per-task=1", "--mem=3000",
                script, recipe, tiles / "run",
            ],
            cwd=tiles, env=environment(cluster, PROCESSES="1"), capture_output=True, text=True, check=False,
        )  # fmt: skip
        job = int(submission.stdout.split()[0])
        states.append(cluster.ended_jobs()[job][-1])
        log = (tiles / f"meas-trails-train-{job}.log").read_text()
        steps = re.findall(r"step \d+, epoch \d+", log)
        say(f"  {states[-1]}; {steps[0]} to {steps[-1]}" if steps else f"  {states[-1]}; no epoch ended")
        check(states[-1] == ("COMPLETED" if begun else "TIMEOUT"), f"It ended as {states}:\n{log[-3000:]}")
        if begun:
            break
    check(states[-1] == "COMPLETED", f"No submission reached a checkpoint: {states}")
    check(steps[0] != "step 2, epoch 0", f"The last submission did not resume: {steps[0]}")
    check((tiles / "run" / "tiny.safetensors").exists(), "The training left no model.")


def environment(cluster: SlurmCluster, **variables: str) -> dict[str, str]:
    """Return the variables of a user who followed doc/bps.md."""
    prefix = sys.prefix
    path = os.pathsep.join([str(Path(sys.executable).parent), cluster.environment["PATH"]])
    fixed = {"MEAS_TRAILS_DIR": str(_ROOT), "CTRL_MPEXEC_DIR": prefix, "DAF_BUTLER_DIR": prefix}
    return {**os.environ, **cluster.environment, **fixed, "PATH": path, "OMP_NUM_THREADS": "1", **variables}


def run(folder: Path, cluster: SlurmCluster, *command: object, **variables: str) -> str:
    """Run a command in a folder, and return its output."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        # The configuration of bps refers to the folder as $PWD.
        env=environment(cluster, PWD=str(folder), **variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )
    output = done.stdout + done.stderr
    check(
        done.returncode == 0, f"{' '.join(map(str, command))}: exit code {done.returncode}\n{output[-3000:]}"
    )
    return output


def number_of_jobs(messages: str) -> dict[str, int]:
    """Return the number of jobs in each final state, from the summary that Parsl writes."""
    found = {name: int(count) for name, count in re.findall(r"Tasks in state States\.(\w+): (\d+)", messages)}
    return {name: count for name, count in found.items() if count}


def check_outputs(repo: Path, expected: dict[str, int]) -> None:
    """Check the number of readable datasets of each type in the repository: the final job merged them."""
    butler = Butler.from_config(repo, collections="trails/slurm")
    for name, count in expected.items():
        refs = butler.query_datasets(name, explain=False)
        check(len(refs) == count, f"{len(refs)} {name} are in the repository in place of {count}.")
        for ref in refs:
            butler.get(ref)


def check(condition: bool, message: str) -> None:
    """Raise an error with a message unless a condition holds."""
    if not condition:
        raise CheckError(message)


def say(message: str, started: Sequence[float] = (time.monotonic(),)) -> None:
    """Print a line with the seconds since the start."""
    print(f"==> [{time.monotonic() - started[0]:4.0f} s] {message}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
