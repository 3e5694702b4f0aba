# This file is part of meas_trails.
#
# Developed for the LSST Data Management System.
# This product includes software developed by the LSST Project
# (https://www.lsst.org).
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# This program is free software: you can redistribute it and/or modify
# it under the terms of the GNU General Public License as published by
# the Free Software Foundation, either version 3 of the License, or
# (at your option) any later version.
#
# This program is distributed in the hope that it will be useful,
# but WITHOUT ANY WARRANTY; without even the implied warranty of
# MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
# GNU General Public License for more details.
#
# You should have received a copy of the GNU General Public License
# along with this program.  If not, see <https://www.gnu.org/licenses/>.

"""Runs the fuzz targets for minutes, one after the other.

``python tests/fuzz/run.py --minutes 5 [TARGET ...]``
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

_EXAMPLES = 200
"""Of one round; each has a seed of its own."""


def main() -> None:
    """Run the targets and print how long each ran."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="for each target")
    parser.add_argument("targets", nargs="*", help="names of test functions; by default all")
    options = parser.parse_args()
    os.environ["TRAILS_FUZZ_EXAMPLES"] = str(_EXAMPLES)
    import pytest

    folder = Path(__file__).parent
    source = (folder / "test_readers.py").read_text()
    names = options.targets or [
        line[4 : line.index("(")] for line in source.splitlines() if line.startswith("def test_fuzz_")
    ]
    for name in names:
        started, rounds, failed = time.monotonic(), 0, 0
        while time.monotonic() - started < 60.0 * options.minutes:
            seed = f"--hypothesis-seed={int(time.time())}"
            code = pytest.main(
                ["-q", seed, "-p", "no:cacheprovider", f"{folder / 'test_readers.py'}::{name}"]
            )
            rounds, failed = rounds + 1, failed + (code != 0)
            if failed:
                break
        minutes = (time.monotonic() - started) / 60.0
        print(
            f"{name}: {minutes:.1f} minutes, {rounds * _EXAMPLES} examples, {failed} failed rounds",
            flush=True,
        )


if __name__ == "__main__":
    main()
