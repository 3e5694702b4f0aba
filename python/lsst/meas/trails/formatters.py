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

"""Butler formatter of the storage class of tiles."""

from __future__ import annotations

__all__ = ("TrailTilesFormatter",)

from typing import Any, ClassVar

from lsst.daf.butler import FormatterV2
from lsst.resources import ResourcePath

from .core.tiles.writer import TrailTiles


class TrailTilesFormatter(FormatterV2):
    """Formatter of `~lsst.meas.trails.core.tiles.writer.TrailTiles` in HDF5."""

    default_extension: ClassVar[str] = ".h5"
    can_read_from_local_file: ClassVar[bool] = True

    def read_from_local_file(self, path: str, component: str | None = None, expected_size: int = -1) -> Any:
        # Docstring inherited.
        return TrailTiles.read(path)

    def write_local_file(self, in_memory_dataset: Any, uri: ResourcePath) -> None:
        # Docstring inherited.
        in_memory_dataset.write(uri.ospath)
