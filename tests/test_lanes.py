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


"""Tests of the two lanes of the tests: without and with processes of their own."""

from __future__ import annotations

import pytest

STARTS = {
    "subprocess": "import subprocess\n    subprocess.run(['true'], check=True)",
    "system": "import os\n    os.system('true')",
    "posix_spawn": "import os\n    os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)",
    "fork": "import os\n    pid = os.fork()\n    pid or os._exit(0)\n    os.waitpid(pid, 0)",
    "multiprocessing": (
        "import multiprocessing\n    fork = multiprocessing.get_context('fork')\n"
        "    process = fork.Process(target=len, args=('',))\n    process.start()\n    process.join()"
    ),
    "swallowed": (
        "import subprocess\n    try:\n        subprocess.run(['/no/such/command'])\n    except OSError:\n"
        "        pass"
    ),
}
"""Statements that start a process."""


@pytest.fixture
def watched(pytester: pytest.Pytester) -> pytest.Pytester:
    """Return a folder whose tests are watched as the tests of the package are."""
    pytester.makeconftest('pytest_plugins = ["support.process_guard"]')
    pytester.makeini("[pytest]\nmarkers = process\n")
    return pytester


@pytest.mark.process
@pytest.mark.parametrize("name", STARTS)
def test_unmarked_test_that_starts_a_process_fails(name: str, watched: pytest.Pytester) -> None:
    body = f"def test_it():\n    {STARTS[name]}\n"
    watched.makepyfile(test_unmarked=body, test_marked=f"import pytest\n\n\n@pytest.mark.process\n{body}")
    result = watched.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*was started: mark the test with pytest.mark.process"])


@pytest.mark.process
def test_fixture_that_starts_a_process_fails(watched: pytest.Pytester) -> None:
    watched.makepyfile(
        "import subprocess\n\nimport pytest\n\n\n@pytest.fixture(scope='session')\ndef started():\n"
        "    subprocess.run(['true'], check=True)\n\n\ndef test_it(started):\n    pass\n"
    )
    watched.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(errors=1)


def test_failure_of_a_test_is_not_hidden(watched: pytest.Pytester) -> None:
    watched.makepyfile("def test_it():\n    assert 1 == 2\n\n\ndef test_other():\n    pass\n")
    result = watched.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*assert 1 == 2*"])
