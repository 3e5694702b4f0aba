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

"""OpenVINO, imported without its telemetry.

``import openvino`` sends a message to a web service from a process that it forks, unless its package
``openvino_telemetry`` is missing. A pipeline must do neither: all modules import OpenVINO from here.
"""

from __future__ import annotations

__all__ = ("openvino", "ops")

import sys

# Marks the package as missing, unless the user's own code has imported it.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino  # noqa: E402
from openvino import opset13 as ops  # noqa: E402
