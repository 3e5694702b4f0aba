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

"""Find faint asteroid trails in single-visit images with a neural network.

The names of `__all__` are imported from their modules on first use, so that importing this package imports
neither torch nor the stack.
"""

from __future__ import annotations

__all__ = (
    "CandidateOptions",
    "ImagePlanes",
    "SkySubtracted",
    "Trail",
    "TrailTiles",
    "Trails",
    "__version__",
    "find_candidates",
    "fit_background",
    "load_model",
    "predict_probability",
    "train_model",
)

import importlib.metadata
from typing import TYPE_CHECKING

from .core.lazy_names import lazy_names

try:
    # Written by the build, with pip as with scons, and not kept in git.
    from .version import __version__
except ModuleNotFoundError:
    try:
        __version__ = importlib.metadata.version("lsst-meas-trails")
    except importlib.metadata.PackageNotFoundError:
        __version__ = "0+unknown"

if TYPE_CHECKING:
    from .core.background import SkySubtracted, fit_background
    from .core.candidates.find import CandidateOptions, find_candidates
    from .core.geometry import Trail, Trails
    from .core.planes import ImagePlanes
    from .core.tiles.writer import TrailTiles
    from .nn.model_file import load_model
    from .nn.predict import predict_probability
    from .training.run import train_model

_HOMES = {
    "CandidateOptions": "lsst.meas.trails.core.candidates.find",
    "ImagePlanes": "lsst.meas.trails.core.planes",
    "SkySubtracted": "lsst.meas.trails.core.background",
    "Trail": "lsst.meas.trails.core.geometry",
    "TrailTiles": "lsst.meas.trails.core.tiles.writer",
    "Trails": "lsst.meas.trails.core.geometry",
    "fit_background": "lsst.meas.trails.core.background",
    "find_candidates": "lsst.meas.trails.core.candidates.find",
    "load_model": "lsst.meas.trails.nn.model_file",
    "predict_probability": "lsst.meas.trails.nn.predict",
    "train_model": "lsst.meas.trails.training.run",
}
"""Modules that the public names come from."""

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
