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

"""Architectures of networks.

To add a network, add a module with its plan that uses `~lsst.meas.trails.nn.networks.registry.register`, and
import it below.
"""

from . import trail_unet_plan, unet_res_se_plan  # noqa: F401
