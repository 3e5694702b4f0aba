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

import os
import platform
import subprocess
import sys

import pytest
import torch

from lsst.meas.trails.nn import hardware
from lsst.meas.trails.nn.hardware import (
    available_cores,
    choose_device,
    cpu_has_bfloat16,
    keep_memory,
    thread_count,
    use_bfloat16,
)


def test_cores() -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)


def test_threads_are_restored_after_an_error() -> None:
    before = torch.get_num_threads()
    with thread_count(before + 1):
        assert torch.get_num_threads() == before + 1
    with pytest.raises(RuntimeError), thread_count(before + 1):
        raise RuntimeError
    assert torch.get_num_threads() == before
    with thread_count(None):
        assert torch.get_num_threads() == before


def test_precision() -> None:
    assert use_bfloat16("bfloat16", "cpu")
    assert not use_bfloat16("float32", "cpu")
    assert use_bfloat16("auto", "cpu") == cpu_has_bfloat16()


def test_device() -> None:
    assert choose_device("cpu") == "cpu"
    assert choose_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")


def test_openvino_runs_on_the_cpu_beside_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "_may_have_gpu", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == "cuda"
    assert choose_device("auto", "openvino") == "cpu"


_KEPT = """
import re
from pathlib import Path

import torch

from lsst.meas.trails.nn.hardware import keep_memory

size = 2**28


def resident():
    # The counters of statm and status may lag by some pages per core; smaps does not.
    found = re.findall(r"^Rss: +([0-9]+) kB", Path("/proc/self/smaps").read_text(), re.MULTILINE)
    return 1024 * sum(map(int, found))


def use():
    torch.empty(size, dtype=torch.uint8).fill_(1)


# Load the libraries.
use()
before = resident()
with keep_memory():
    use()
    kept = resident() - before
left = resident() - before
assert kept > 0.9 * size, f"{kept} of {size} bytes were kept"
assert left < 0.5 * size, f"{left} of {size} bytes are left"
"""


@pytest.mark.process
def test_keep_memory() -> None:
    """The GNU C library returns the memory at the end of the block."""
    if platform.libc_ver()[0] != "glibc":
        with keep_memory():
            return
    # A separate process, without free memory of other tests.
    done = subprocess.run([sys.executable, "-c", _KEPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
