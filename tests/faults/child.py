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
"""What a process does in which something goes wrong.

The fixture `faulty` runs this file, with a mapping ``REQUEST`` defined, in a
process of its own that has everything imported already.
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
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: root may read and write what
permissions forbid.
"""


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def obey_permissions() -> None:
    """Let the permissions of files hold for root too."""
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, data = _Header(_CAPABILITY_VERSION, 0), (_Data * 2)()
    done = libc.capget(ctypes.byref(header), data) == 0
    for field in ("effective", "permitted", "inheritable"):
        setattr(data[0], field, getattr(data[0], field) & ~_OVERRIDES)
    if not done or libc.capset(ctypes.byref(header), data) != 0:
        raise OSError(ctypes.get_errno(), "the capabilities of root cannot be given up")


def die(cut: Sequence[str]) -> None:
    """End this process as ``kill -9`` does, and leave a file half written.

    Parameters
    ----------
    cut
        The first of these that is a file loses its second half.
    """
    for name in [name for name in cut if os.path.isfile(name)][:1]:
        os.truncate(name, os.path.getsize(name) // 2)
    os.kill(os.getpid(), signal.SIGKILL)


def find(target: str) -> tuple[Any, str]:
    """Return the owner of a function, and the name that it has there.

    Parameters
    ----------
    target
        The function, as ``module:name.of.attribute``.
    """
    module, _, path = target.partition(":")
    *parents, name = path.split(".")
    return functools.reduce(getattr, parents, importlib.import_module(module)), name


def kill_in(target: str, when: str, count: int, cut: bool) -> None:
    """Have this process killed when it calls a function.

    Parameters
    ----------
    target
        The function; see `find`.
    when
        Only calls count whose arguments, as text, have this in them.
    count
        The number of the call that is the last.
    cut
        Whether the first file among the arguments loses its second half.
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
    """Wait until a file is there, so that several processes begin at once."""
    deadline = time.monotonic() + 60.0
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} does not appear")
        time.sleep(0.002)


def limit(limits: Mapping[str, int]) -> None:
    """Limit resources of this process from now on.

    Parameters
    ----------
    limits
        By their names in `resource`; that of the address space counts from
        what there is.
    """
    for name, value in limits.items():
        if name == "AS":
            # Each thread would take some of it.
            importlib.import_module("torch").set_num_threads(1)
            # Only Linux tells.
            value += int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        kind = getattr(resource, f"RLIMIT_{name}")
        resource.setrlimit(kind, (value, resource.getrlimit(kind)[1]))


def limit_in(target: str, limits: Mapping[str, int]) -> None:
    """Limit resources of this process when it first calls a function.

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
    """Run a command under the circumstances that are asked for."""
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
    # It takes a second to list what is installed, of which nothing here depends.
    importlib.import_module("lsst.utils.packages").getPythonPackages = dict
    sys.argv = [program, *arguments]
    command(arguments, prog_name=program)


main(REQUEST)  # type: ignore[name-defined]  # noqa: F821
