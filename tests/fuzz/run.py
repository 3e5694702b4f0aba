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

"""Runs the fuzz targets for minutes, one after the other.

``python tests/fuzz/run.py --minutes 5 [TARGET ...]``
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

_EXAMPLES = 200
"""Of one round; each has a seed of its own."""

_MEMORY = 2 << 30
"""That a reader may take beyond what the targets have at their start, bytes."""


def limit_memory() -> None:
    """Have a reader fail that believes what a file claims about its size."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + _MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def main() -> None:
    """Run the targets, and print how long each ran and whether it found
    anything; the exit status is 1 if one did.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="for each target, of a processor")
    parser.add_argument("targets", nargs="*", help="names of test functions; by default all")
    options = parser.parse_args()
    os.environ["TRAILS_FUZZ_EXAMPLES"] = str(_EXAMPLES)
    import pytest

    folder = Path(__file__).parent
    source = (folder / "test_readers.py").read_text()
    names = options.targets or [
        line[4 : line.index("(")] for line in source.splitlines() if line.startswith("def test_fuzz_")
    ]
    # What the targets import maps memory too, which is not the readers'.
    code = pytest.main(["-q", "-p", "no:cacheprovider", "--collect-only", str(folder / "test_readers.py")])
    if code != 0:
        raise SystemExit(int(code))
    limit_memory()
    results = []
    for name in names:
        started, rounds, failed = time.process_time(), 0, 0
        while time.process_time() - started < 60.0 * options.minutes and not failed:
            with tempfile.TemporaryDirectory() as temporary:
                code = pytest.main(
                    [
                        "-q", f"--hypothesis-seed={int(time.time())}", "-p", "no:cacheprovider",
                        f"--basetemp={temporary}/files", f"{folder / 'test_readers.py'}::{name}",
                    ]
                )  # fmt: skip
            rounds, failed = rounds + 1, int(code)
        minutes = (time.process_time() - started) / 60.0
        results.append(f"{name}: {minutes:.1f} minutes, {rounds * _EXAMPLES} examples, ")
        results[-1] += "failed" if failed else "nothing found"
        print(results[-1], flush=True)
    print("\n".join(["", *results]))
    raise SystemExit(any(line.endswith("failed") for line in results))


if __name__ == "__main__":
    main()
