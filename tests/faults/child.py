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
"""Program of a process in which a fault is injected.

The fixture `faulty` runs this file, with the mapping ``REQUEST`` defined, in a
forked process with all imports done.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

_CAPABILITY_VERSION = 0x20080522
_OVERRIDES = 0b110
"""Bits of CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, which let root ignore permissions."""


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def obey_permissions() -> None:
    """Apply the permissions of files to root too."""
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, data = _Header(_CAPABILITY_VERSION, 0), (_Data * 2)()
    done = libc.capget(ctypes.byref(header), data) == 0
    for field in ("effective", "permitted", "inheritable"):
        setattr(data[0], field, getattr(data[0], field) & ~_OVERRIDES)
    if not done or libc.capset(ctypes.byref(header), data) != 0:
        raise OSError(ctypes.get_errno(), "the capabilities of root cannot be dropped")


def die(cut: Sequence[str]) -> None:
    """Kill this process with SIGKILL, and leave a file half written.

    Parameters
    ----------
    cut
        Paths; the first existing file among them loses its second half.
    """
    for name in [name for name in cut if os.path.isfile(name)][:1]:
        os.truncate(name, os.path.getsize(name) // 2)
    os.kill(os.getpid(), signal.SIGKILL)


def find(target: str) -> tuple[Any, str]:
    """Return the owner of a function, and the name of its attribute.

    Parameters
    ----------
    target
        The function, as ``module:name.of.attribute``.
    """
    module, _, path = target.partition(":")
    *parents, name = path.split(".")
    return functools.reduce(getattr, parents, importlib.import_module(module)), name


def kill_in(target: str, when: str, count: int, cut: bool) -> None:
    """Kill this process when it calls a function.

    Parameters
    ----------
    target
        The function; see `find`.
    when
        Text that the arguments must contain for the call to be counted.
    count
        Number of the call in which the process is killed.
    cut
        Remove the second half of the first file among the arguments.
    """
    owner, name = find(target)
    original: Callable[..., Any] = getattr(owner, name)
    calls = 0

    @functools.wraps(original)
    def last(*arguments: Any, **keywords: Any) -> Any:
        nonlocal calls
        texts = [getattr(a, "ospath", None) or str(a) for a in (*arguments, *keywords.values())]
        calls += any(when in text for text in texts)
        if calls == count:
            die(texts if cut else ())
        return original(*arguments, **keywords)

    setattr(owner, name, last)


def wait_for(path: Path) -> None:
    """Wait until a file exists, so that several processes start together."""
    deadline = time.monotonic() + 60.0
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} does not appear")
        time.sleep(0.002)


def limit(limits: Mapping[str, int]) -> None:
    """Limit resources of this process.

    Parameters
    ----------
    limits
        Limits by name in `resource`, without ``RLIMIT_``; ``AS`` is added to
        the present size of the address space.
    """
    for name, value in limits.items():
        if name == "AS":
            # Each thread would use some of the address space.
            importlib.import_module("torch").set_num_threads(1)
            # /proc exists on Linux only.
            value += int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        kind = getattr(resource, f"RLIMIT_{name}")
        resource.setrlimit(kind, (value, resource.getrlimit(kind)[1]))


def limit_in(target: str, limits: Mapping[str, int]) -> None:
    """Limit resources of this process at its first call of a function.

    Parameters
    ----------
    target
        The function; see `find`.
    limits
        See `limit`.
    """
    owner, name = find(target)
    original: Callable[..., Any] = getattr(owner, name)

    @functools.wraps(original)
    def first(*arguments: Any, **keywords: Any) -> Any:
        setattr(owner, name, original)
        limit(limits)
        return original(*arguments, **keywords)

    setattr(owner, name, first)


def main(request: Mapping[str, Any]) -> None:
    """Run a command with the requested fault."""
    with open(request["log"], "wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.environ["COLUMNS"] = "200"
    if request["killed_in"]:
        kill_in(**request["killed_in"])
    if request["unprivileged"]:
        obey_permissions()
    if request["limited_in"]:
        limit_in(request["limited_in"], request["limits"])
    else:
        limit(request["limits"])
    if request["start"]:
        wait_for(Path(request["start"]))
    program, *arguments = request["command"]
    if program == "pipetask":
        from lsst.ctrl.mpexec.cli.pipetask import cli as command
    else:
        from lsst.meas.trails.cli import main as command
    # Listing installed packages takes a second and has no effect here.
    importlib.import_module("lsst.utils.packages").getPythonPackages = dict
    sys.argv = [program, *arguments]
    command(arguments, prog_name=program)


main(REQUEST)  # type: ignore[name-defined]  # noqa: F821
