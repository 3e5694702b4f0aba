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

import datetime
import os

import hypothesis

EXAMPLES = int(os.environ.get("TRAILS_FUZZ_EXAMPLES", "15"))
"""Number of examples of each target; ``run.py`` sets a larger number."""

hypothesis.settings.register_profile(
    "fuzz",
    max_examples=EXAMPLES,
    deadline=datetime.timedelta(minutes=1),
    database=None,
    derandomize="TRAILS_FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=list(hypothesis.HealthCheck),
)
