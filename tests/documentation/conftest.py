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

"""Fixtures of the tests of the documentation."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

# The extensions of Sphinx that the documentation brings with it.
sys.path.insert(0, str(ROOT / "doc" / "_ext"))
