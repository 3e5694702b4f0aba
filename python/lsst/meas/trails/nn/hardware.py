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

"""Hardware and what runs on it: cores, memory, devices and their precisions.

Torch is imported only where a GPU may be used or torch's threads are set.
"""

from __future__ import annotations

__all__ = (
    "available_cores",
    "choose_device",
    "cpu_has_bfloat16",
    "has_openvino",
    "has_torch",
    "keep_memory",
    "precision_name",
    "thread_count",
    "use_bfloat16",
)

import contextlib
import ctypes
import functools
import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path


def available_cores() -> int:
    """Return the number of cores available to this process."""
    try:
        return max(1, len(os.sched_getaffinity(0)))
    except AttributeError:
        # Not supported on every operating system.
        return os.cpu_count() or 1


@contextlib.contextmanager
def thread_count(threads: int | None) -> Iterator[None]:
    """Set the number of torch's threads within a block.

    Parameters
    ----------
    threads
        Number of threads, or `None` to keep it.

    Raises
    ------
    ValueError
        Raised if the number is not positive.
    """
    if threads is None:
        yield
        return
    import torch

    if threads < 1:
        raise ValueError(f"The number of threads must be at least 1, not {threads}.")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# Parameters of mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_NEVER = 2**31 - 1
# Threshold that glibc itself would reach in a process with blocks of many sizes.
_ADAPTED = 32 * 2**20


@contextlib.contextmanager
def keep_memory() -> Iterator[None]:
    """Keep memory that is freed within a block for reuse in the block.

    The GNU C library returns freed memory above 32 MiB to the system at once, and the system clears every
    page when it is allocated again, which takes a third of the time for the layers of a network on a large
    window. With other libraries this does nothing.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(_M_MMAP_THRESHOLD, _NEVER)
    libc.mallopt(_M_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        libc.mallopt(_M_MMAP_THRESHOLD, _ADAPTED)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _ADAPTED)
        libc.malloc_trim(0)


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    """Return the C library if it is GNU's."""
    try:
        library = ctypes.CDLL(None)
        return library if hasattr(library, "gnu_get_libc_version") else None
    except (OSError, TypeError):
        return None


def has_openvino() -> bool:
    """Return whether OpenVINO is installed; it is not imported."""
    return importlib.util.find_spec("openvino") is not None


def has_torch() -> bool:
    """Return whether torch is installed; it is not imported."""
    return importlib.util.find_spec("torch") is not None


def choose_device(device: str = "auto", engine: str = "auto") -> str:
    """Return the name of a torch device.

    Parameters
    ----------
    device
        ``auto`` is a GPU if there is one, else the CPU; otherwise a name for torch, such as ``cpu`` or
        ``cuda:1``.
    engine
        Library of the computation: with ``openvino``, ``auto`` is the CPU.

    Raises
    ------
    ValueError
        Raised if the device does not exist, or torch is needed for it and is not installed.
    """
    may_have_gpu = engine != "openvino" and _may_have_gpu() and has_torch()
    if device == "cpu" or (device == "auto" and not may_have_gpu):
        return "cpu"
    if not has_torch():
        raise ValueError(
            f"The device {device!r} needs torch, which is not installed; pip install "
            "'lsst-meas-trails[train]', or use 'auto' or 'cpu'."
        )
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"{device!r} is not a device of torch; use 'auto', 'cpu' or 'cuda'.") from error
    if chosen.type == "cuda" and (
        not torch.cuda.is_available() or (chosen.index or 0) >= torch.cuda.device_count()
    ):
        raise ValueError(f"The device {device!r} does not exist on this machine; use 'auto' or 'cpu'.")
    return str(chosen)


def _may_have_gpu() -> bool:
    """Return whether the system may have a GPU that torch calls cuda.

    On Linux its driver has a file, of NVIDIA, of NVIDIA under WSL, or of AMD. Importing torch would take
    seconds.
    """
    drivers = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd", "/dev/nvhost-gpu")
    return os.name != "posix" or any(map(os.path.exists, drivers))


@functools.cache
def cpu_has_bfloat16() -> bool:
    """Return whether the CPU has instructions for bfloat16.

    Otherwise bfloat16 is emulated, and slower than float32.
    """
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    # 64-bit ARM has other names for the line and the flag.
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return flags is not None and not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags[1].split())


def use_bfloat16(dtype: str, device: str) -> bool:
    """Return whether to compute in bfloat16.

    Parameters
    ----------
    dtype
        ``auto`` (bfloat16 if the hardware supports it), ``float32`` or ``bfloat16``.
    device
        Name of the device of the computation, as `choose_device` returns it.

    Raises
    ------
    ValueError
        Raised if ``dtype`` is another value.
    """
    if dtype not in ("auto", "float32", "bfloat16"):
        raise ValueError(f"The precision must be 'auto', 'float32' or 'bfloat16', not {dtype!r}.")
    if dtype != "auto":
        return dtype == "bfloat16"
    if device.startswith("cuda"):
        import torch

        return torch.cuda.is_bf16_supported()
    return device == "cpu" and cpu_has_bfloat16()


def precision_name(dtype: str, device: str) -> str:
    """Return the precision of a computation, ``bfloat16`` or ``float32``.

    Parameters
    ----------
    dtype, device
        As for `lsst.meas.trails.nn.predict.predict_probability`.
    """
    return "bfloat16" if use_bfloat16(dtype, choose_device(device)) else "float32"
