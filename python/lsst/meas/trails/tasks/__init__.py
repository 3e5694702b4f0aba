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

"""The pipeline tasks, one module each.

The modules are imported on first use of their names, so that a quantum imports its own task only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.lazy_names import lazy_names

if TYPE_CHECKING:
    from .associate_trails import *
    from .consolidate_trail_candidates import *
    from .inject_trails import *
    from .link_trails import *
    from .match_trails import *
    from .summarize_trails import *
    from .tile_to_hdf5 import *
    from .trail_candidate import *
    from .trail_segmentation import *

_MODULES = {
    "AssociateTrails": ".associate_trails",
    "ConsolidateTrailCandidates": ".consolidate_trail_candidates",
    "InjectTrails": ".inject_trails",
    "LinkTrails": ".link_trails",
    "MatchTrails": ".match_trails",
    "SummarizeTrails": ".summarize_trails",
    "TileToHdf5": ".tile_to_hdf5",
    "TrailCandidate": ".trail_candidate",
    "TrailSegmentation": ".trail_segmentation",
}
"""Modules of the tasks, by the beginning of their names."""

_HOMES = {f"{task}{kind}": m for task, m in _MODULES.items() for kind in ("Config", "Connections", "Task")}

__all__ = list(_HOMES)

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
