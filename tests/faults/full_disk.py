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

"""Program that runs pipelines in a repository on a full disk.

``python tests/faults/full_disk.py`` mounts a small tmpfs in a private Linux
namespace, creates a repository on it, and fills the disk except for some free
space. The pipeline must fail with a message that names the reason; with free
space the same command must succeed.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

_PIPELINES = Path(__file__).resolve().parents[2] / "pipelines"
_SIZE = 48 << 20
_OUTPUTS = {
    "DetectTrails.yaml": ("trail_probability", "trail_mask", "trail_candidate_detector", "trail_candidate"),
    "MakeTrainingSet.yaml": (
        "injected_preliminary_visit_image",
        "injected_preliminary_visit_image_catalog",
        "injected_trail_mask",
        "trail_tiles",
    ),
}


def command(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command of this environment."""
    path = Path(sys.executable).parent / name
    return subprocess.run([path, *map(str, arguments)], capture_output=True, text=True, check=False)


def read(repo: Path, names: tuple[str, ...], collection: str) -> Counter[str]:
    """Count the registered datasets of each type, after reading them."""
    from lsst.daf.butler import Butler

    found: Counter[str] = Counter()
    butler = Butler.from_config(repo)
    runs = butler.collections.query(f"{collection}/*")
    for name in names:
        for ref in butler.query_datasets(name, runs, find_first=False, explain=False):
            butler.get(ref)
            found[name] += 1
    return found


def fill(disk: Path, room: int) -> None:
    """Fill a disk except for some bytes."""
    state = os.statvfs(disk)
    with (disk / "filler").open("wb") as file:
        file.write(bytes(max(0, state.f_bavail * state.f_frsize - room)))


def run(disk: Path, rooms: list[int]) -> None:
    """Run the pipelines on a small disk."""
    repo = disk / "repo"
    done = command("meas-trails", "simulate", repo, "--size", 512, 512, "--detectors", 1)
    assert done.returncode == 0, done.stderr
    for pipeline, names in _OUTPUTS.items():
        for room in rooms:
            collection = f"{pipeline.removesuffix('.yaml')}/{room}"
            arguments = ("run", "-b", repo, "-p", _PIPELINES / pipeline, "-i", "input", "-o", collection)
            fill(disk, room << 10)
            full = command("pipetask", *arguments)
            there = read(repo, names, collection)
            (disk / "filler").unlink()
            says = re.findall(r"[^\n]*(?:No space left|disk is full|database or disk)[^\n]*", full.stderr)
            count = f"status {full.returncode}, {sum(there.values())} datasets, all readable"
            print(f"{pipeline}, {room} KiB free: {count}")
            print(f"    {says[-1].strip()[:300] if says else 'no message'}", flush=True)
            assert (full.returncode == 0) == (len(there) == len(names))
            assert full.returncode == 0 or says, full.stderr[-3000:]
            again = command("pipetask", *arguments)
            assert again.returncode == 0, again.stderr[-3000:]
            last = read(repo, names, collection)
            assert all(last[name] == there[name] + 1 for name in names), (there, last)
            print("    with free space: complete", flush=True)


def main() -> None:
    """Mount the disk in a private namespace, and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--disk", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--room", type=int, nargs="+", default=[64, 512, 1024], help="free space, KiB")
    options = parser.parse_args()
    if options.disk:
        run(options.disk, options.room)
        return
    with tempfile.TemporaryDirectory() as folder:
        script = f'mount -t tmpfs -o size={_SIZE} tmpfs "$1" && exec "$0" "$2" --disk "$1" --room $3'
        rooms = " ".join(map(str, options.room))
        arguments = [sys.executable, folder, str(Path(__file__).resolve()), rooms]
        raise SystemExit(subprocess.run(["unshare", "-rm", "sh", "-c", script, *arguments]).returncode)


if __name__ == "__main__":
    main()
