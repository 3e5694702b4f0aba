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

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest

from lsst.meas.trails.core.hdf5 import (
    Hdf5Output,
    explain_open_error,
    has_hard_links,
    is_stored,
    read_attribute,
    unsafe_storage,
)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Limit the size of files: writing fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def fill(output: Hdf5Output, check: bool) -> None:
    """Write about a megabyte of all kinds of content of tile files."""
    rng = np.random.default_rng(1)
    for name in ("a", "b"):
        output.file.create_dataset(
            name,
            shape=(0, 128, 128),
            maxshape=(None, 128, 128),
            chunks=(1, 32, 32),
            dtype="f4",
            compression="lzf",
            fletcher32=True,
        )
    for i in range(8):
        for name in ("a", "b"):
            output.file[name].resize(i + 1, 0)
            output.file[name][i] = rng.random((128, 128))
        if check:
            output.check()
    for i in range(10):
        group = output.file.create_group(f"groups/{i}")
        group.attrs["text"] = "x" * 1000
        group.create_dataset("kernel", data=np.zeros((25, 25)))


@pytest.mark.parametrize("compatible", [False, True])
def test_whole_files(tmp_path: Path, compatible: bool) -> None:
    path = tmp_path / "new.h5"
    with Hdf5Output(path, compatible=compatible) as output:
        fill(output, check=True)
        # The file appears when it is complete.
        assert not path.exists()
    assert os.listdir(tmp_path) == ["new.h5"]
    with h5py.File(path) as file:
        assert file["b"].shape == (8, 128, 128)
        assert len(file["groups"]) == 10


@pytest.mark.parametrize("compatible", [False, True])
@pytest.mark.parametrize("check", [False, True])
def test_full_disks(tmp_path: Path, compatible: bool, check: bool) -> None:
    """HDF5 itself would crash on a disk that is full at some of these bytes."""
    path = tmp_path / "new.h5"
    with Hdf5Output(path, compatible=compatible) as output:
        fill(output, check)
    size = path.stat().st_size
    path.write_bytes(b"before")
    limits = [0, 100, *range(1000, size, 40_000), *range(size - 30_000, size, 2999), size - 1]
    for limit in limits:
        with largest_file(limit), pytest.raises(OSError, match="File too large: .*new.h5'"):
            with Hdf5Output(path, compatible=compatible) as output:
                fill(output, check)
        assert os.listdir(tmp_path) == ["new.h5"]
        assert path.read_bytes() == b"before"


def test_checking_stops_early(tmp_path: Path) -> None:
    steps = []

    def write() -> None:
        with Hdf5Output(tmp_path / "new.h5") as output:
            for size in (1000, 100_000, 1000):
                output.file.create_dataset(str(len(steps)), data=np.zeros(size))
                steps.append(size)
                output.check()

    with largest_file(100_000), pytest.raises(OSError, match="File too large"):
        write()
    assert steps == [1000, 100_000]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_errors_of_the_writer(tmp_path: Path, error: type[BaseException]) -> None:
    def write() -> None:
        with Hdf5Output(tmp_path / "new.h5") as output:
            fill(output, check=False)
            raise error

    with pytest.raises(error):
        write()
    assert os.listdir(tmp_path) == []


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Hdf5Output(tmp_path / "none" / "new.h5")


@pytest.fixture
def linked(tmp_path: Path) -> Iterator[h5py.File]:
    """Return a file with datasets of many kinds of storage."""
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["values"] = np.zeros(3)
    with h5py.File(tmp_path / "linked.h5", "w") as file:
        file["group/values"] = np.zeros((4, 3))
        file["external"] = h5py.ExternalLink("other.h5", "values")
        file["soft"] = h5py.SoftLink("/group")
        file["text"] = "of variable length"
        file.create_dataset("raw", shape=(3,), dtype="f8", external=[("raw.bin", 0, 24)])
        file.create_dataset("missing", shape=(4, 3), chunks=(1, 3), dtype="f8")
        file.create_dataset("huge", shape=(2**20, 2**20), chunks=(2**16, 2**16), dtype="u1")
        layout = h5py.VirtualLayout((3,), "f8")
        layout[:] = h5py.VirtualSource("other.h5", "values", shape=(3,))
        file.create_virtual_dataset("virtual", layout)
        file.attrs.update({"number": 3, "fixed": np.bytes_(b"text"), "variable": "text"})
        yield file


def test_links_out_of_a_file(linked: h5py.File) -> None:
    assert has_hard_links(linked, "group/values")
    for name in ("external", "soft", "soft/values", "none", "group/none"):
        assert not has_hard_links(linked, name)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("group/values", None),
        ("external", "another file"),
        ("soft/values", "another file"),
        ("none", "does not exist"),
        ("group", "not an array"),
        ("raw", "other files"),
        ("virtual", "other files"),
        ("text", "variable length"),
        ("huge", "65536"),
    ],
)
def test_unsafe_storage(linked: h5py.File, name: str, problem: str | None) -> None:
    found = unsafe_storage(linked, name)
    assert found is None if problem is None else problem in str(found)


def test_virtual_datasets_can_be_allowed(linked: h5py.File) -> None:
    assert unsafe_storage(linked, "virtual", virtual=True) is None


def test_attributes(linked: h5py.File) -> None:
    assert read_attribute(linked, "number") == 3
    assert read_attribute(linked, "fixed") == b"text"
    assert read_attribute(linked, "none", "default") == "default"
    with pytest.raises(ValueError, match="variable"):
        read_attribute(linked, "variable")


def test_values_that_are_not_stored(linked: h5py.File) -> None:
    assert is_stored(linked["group/values"])
    assert not is_stored(linked["missing"])
    linked["missing"][:3] = 1.0
    assert not is_stored(linked["missing"])
    linked["missing"][3] = 1.0
    assert is_stored(linked["missing"])


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOLCK, "HDF5_USE_FILE_LOCKING=FALSE"), (errno.EAGAIN, "another process"), (None, "damaged")],
)
def test_errors_of_opening(number: int | None, remedy: str) -> None:
    text = "damaged" if number is None else f"unable to lock file, errno = {number}"
    error = OSError(text) if number is None else OSError(number, text)
    assert remedy in explain_open_error(error)
