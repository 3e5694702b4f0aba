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

"""A SLURM cluster of one machine, in a folder of its own."""

from __future__ import annotations

__all__ = ("MISSING", "SlurmCluster", "missing_programs")

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

# Debian has the daemons in /usr/sbin, which is not on every PATH.
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")

MISSING = "SLURM is not installed ({}): apt-get install slurm-wlm munge, as root."


def missing_programs() -> list[str]:
    """Return the programs of SLURM that are not installed."""
    return [name for name in _PROGRAMS if shutil.which(name, path=_PATH) is None]


class SlurmCluster:
    """A context manager that starts munged, slurmctld and one slurmd per node, and stops them.

    Parameters
    ----------
    folder
        Folder for configuration, state and logs; created if it does not exist.
    nodes
        Number of nodes, named trails1, trails2, ...
    cores, memory
        Cores and memory, MiB, that each node offers, whatever the machine has.

    Notes
    -----
    Accounting needs a database, so that ``sacct`` does not work; the states of ended jobs are in
    `ended_jobs`. SLURM itself measures the memory of steps once a second and kills those that exceed their
    limit, as control groups are not available in every container.
    """

    def __init__(self, folder: Path, *, nodes: int, cores: int, memory: int) -> None:
        self.folder = folder
        self.nodes = [f"trails{number + 1}" for number in range(nodes)]
        self.configuration = folder / "slurm.conf"
        self._cores, self._memory = cores, memory
        self._daemons: list[subprocess.Popen[bytes]] = []

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables that SLURM's commands need."""
        return {"SLURM_CONF": str(self.configuration), "PATH": _PATH}

    def __enter__(self) -> SlurmCluster:
        for name in ("state", "spool"):
            (self.folder / name).mkdir(parents=True)
        # munged refuses sockets in folders that others cannot enter.
        self.folder.chmod(0o711)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        self.configuration.write_text(self._settings())
        try:
            self._start(
                "munged",
                "--foreground",
                "--force",
                f"--key-file={key}",
                f"--pid-file={self.folder / 'munged.pid'}",
                f"--seed-file={self.folder / 'munged.seed'}",
                f"--socket={self._socket}",
            )
            self._wait(self._socket.exists, "munged")
            self._start("slurmctld", "-D", "-f", self.configuration)
            for node in self.nodes:
                self._start("slurmd", "-D", "-f", self.configuration, "-N", node)
            self._wait(lambda: self._idle() == len(self.nodes), "the nodes")
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.run("scancel", "--user", "root")
            end = time.monotonic() + 20.0
            while self.run("squeue", "--noheader") and time.monotonic() < end:
                time.sleep(0.5)
        finally:
            self._stop()

    def run(self, *command: str | Path) -> str:
        """Run a command of SLURM, and return its output."""
        done = subprocess.run(
            [str(word) for word in command],
            capture_output=True,
            text=True,
            check=True,
            env=self._all_variables(),
            timeout=60,
        )
        return done.stdout

    def ended_jobs(self) -> dict[int, list[str]]:
        """Return the states of the ended jobs in order; a job that was queued again has several."""
        states: dict[int, list[str]] = {}
        path = self.folder / "jobs.txt"
        for line in path.read_text().splitlines() if path.exists() else []:
            fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
            states.setdefault(int(fields["JobId"]), []).append(fields["JobState"])
        return states

    def set_node(self, node: str, state: str) -> None:
        """Set a node ``down``, or ``resume`` it."""
        self.run("scontrol", "update", f"nodename={node}", f"state={state}", "reason=test")

    @property
    def _socket(self) -> Path:
        return self.folder / "munge.socket"

    def _all_variables(self) -> dict[str, str]:
        return {**os.environ, **self.environment}

    def _idle(self) -> int:
        try:
            return self.run("sinfo", "--noheader", "--Node", "--states=idle").count("\n")
        except subprocess.CalledProcessError:
            return 0

    def _settings(self) -> str:
        ports = {}
        for name in ("slurmctld", *self.nodes):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                ports[name] = probe.getsockname()[1]
        settings = {
            "ClusterName": "trails",
            "SlurmctldHost": "localhost",
            "SlurmctldPort": ports["slurmctld"],
            "SlurmUser": "root",
            "SlurmdUser": "root",
            "AuthType": "auth/munge",
            "AuthInfo": f"socket={self._socket}",
            "CredType": "cred/munge",
            "SlurmctldPidFile": self.folder / "slurmctld.pid",
            "SlurmdPidFile": self.folder / "slurmd-%n.pid",
            "SlurmctldLogFile": self.folder / "slurmctld.log",
            "SlurmdLogFile": self.folder / "slurmd-%n.log",
            "StateSaveLocation": self.folder / "state",
            "SlurmdSpoolDir": self.folder / "spool" / "%n",
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "MpiDefault": "none",
            "SwitchType": "switch/none",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_Core_Memory",
            "JobAcctGatherType": "jobacct_gather/linux",
            "JobAcctGatherFrequency": "task=1",
            "JobAcctGatherParams": "OverMemoryKill",
            "AccountingStorageType": "accounting_storage/none",
            "JobCompType": "jobcomp/filetxt",
            "JobCompLoc": self.folder / "jobs.txt",
            "SlurmdParameters": "config_overrides",
            "ReturnToService": 1,
            "KillWait": 5,
        }
        lines = [f"{name}={value}" for name, value in settings.items()]
        lines += [
            f"NodeName={node} NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[node]} "
            f"CPUs={self._cores} RealMemory={self._memory} State=UNKNOWN"
            for node in self.nodes
        ]
        lines.append(
            f"PartitionName=milano Nodes={','.join(self.nodes)} Default=YES MaxTime=INFINITE State=UP"
        )
        return "\n".join(lines) + "\n"

    def _start(self, name: str, *arguments: str | Path) -> None:
        program = shutil.which(name, path=_PATH)
        assert program is not None, MISSING.format(name)
        with (self.folder / f"{name}.out").open("ab") as output:
            self._daemons.append(
                subprocess.Popen(
                    [program, *map(str, arguments)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=self._all_variables(),
                )
            )

    def _wait(self, condition: object, name: str) -> None:
        assert callable(condition)
        end = time.monotonic() + 60.0
        while not condition():
            if time.monotonic() > end or any(daemon.poll() is not None for daemon in self._daemons):
                logs = "\n".join(
                    f"{path.name}: {path.read_text(errors='replace')[-500:]}"
                    for path in sorted(self.folder.glob("*.out")) + sorted(self.folder.glob("*.log"))
                )
                raise RuntimeError(f"The SLURM cluster did not start ({name}).\n{logs}")
            time.sleep(0.5)

    def _stop(self) -> None:
        # The nodes first: they report the end of their jobs to the controller.
        for daemon in reversed(self._daemons):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons.clear()
