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

"""Run the commands of pages in order.

    source bin/_environment.sh
    python doc/follow.py doc/getting-started.md ...

The commands of each page run in one shell, in a new empty folder, up to the
first that fails.  Blocks after a comment ``% not followed: REASON`` are
skipped and listed.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "_ext"))

from trails_examples import find_blocks


def follow(page: Path) -> bool:
    """Run the commands of a page, and return whether all succeeded."""
    script = ["set -euo pipefail"]
    for block in find_blocks(page):
        if block.reason:
            print(f"    line {block.line}: not followed: {block.reason}", flush=True)
        elif block.fenced:
            script += [f"echo '--- {page.name}, line {block.line}'", block.text]
    with tempfile.TemporaryDirectory() as folder:
        started, used = time.monotonic(), _processor_time()
        done = subprocess.run(["bash", "-c", "\n".join(script)], cwd=folder, check=False)
        took, used = time.monotonic() - started, _processor_time() - used
    result = "followed" if done.returncode == 0 else f"failed ({done.returncode})"
    print(f"=== {page}: {result} in {took:.0f} s, {used:.0f} s of processor time", flush=True)
    return done.returncode == 0


def _processor_time() -> float:
    """Return the processor time of all commands so far, seconds."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> int:
    """Follow the pages named on the command line."""
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    done = [follow(Path(name)) for name in sys.argv[1:]]
    return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(main())
