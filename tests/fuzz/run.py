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

"""Program that runs each fuzz target for some minutes.

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
"""Number of examples in a round; each round has its own seed."""

_MEMORY = 2 << 30
"""Memory that a reader may allocate, bytes."""


def limit_memory() -> None:
    """Limit the memory, so that a reader fails if it trusts the sizes in a file."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + _MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def main() -> None:
    """Run the targets, print the result of each, and exit with status 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="CPU time for each target")
    parser.add_argument("targets", nargs="*", help="names of test functions; by default all")
    options = parser.parse_args()
    os.environ["TRAILS_FUZZ_EXAMPLES"] = str(_EXAMPLES)
    import pytest

    folder = Path(__file__).parent
    source = (folder / "test_readers.py").read_text()
    names = options.targets or [
        line[4 : line.index("(")] for line in source.splitlines() if line.startswith("def test_fuzz_")
    ]
    # Imports map memory too, and must precede the limit.
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
        results[-1] += "failed" if failed else "passed"
        print(results[-1], flush=True)
    print("\n".join(["", *results]))
    raise SystemExit(any(line.endswith("failed") for line in results))


if __name__ == "__main__":
    main()
