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

"""Creation of Butler repositories."""

from __future__ import annotations

__all__ = ("create_repository",)

import tempfile
from collections.abc import Callable
from pathlib import Path

from lsst.daf.butler import Butler, Config
from lsst.resources import ResourcePath

from .visit_record import RepositoryError


def create_repository(root: ResourcePath, prepare: Callable[[Butler], None]) -> None:
    """Create a repository atomically.

    Parameters
    ----------
    root
        Folder of the repository.
    prepare
        Called with the new repository.

    Raises
    ------
    RepositoryError
        Raised if the location is remote, or holds other files.
    """
    _check_vacant(root)
    path = Path(root.ospath).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=path.parent, prefix=f".{path.name}.", ignore_cleanup_errors=True
    ) as folder:
        # The Butler takes a folder with a dot in its name for a file.
        made = Path(folder) / "repo"
        Butler.makeRepo(made, config=_default_config())
        with Butler.from_config(made, writeable=True) as butler:
            prepare(butler)
        try:
            # This replaces an empty folder.
            made.rename(path)
        except OSError:
            # Another process may have created it at the same time.
            if not (path / "butler.yaml").exists():
                raise


def _check_vacant(root: ResourcePath) -> None:
    """Raise if a new repository cannot be created at a location."""
    if not root.isLocal:
        raise RepositoryError(
            f"{root} is not a Butler repository; create a local repository or choose another."
        )
    path = Path(root.ospath)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RepositoryError(
            f"{path} exists but is not a Butler repository (it has no butler.yaml); choose another folder."
        )


def _default_config() -> Config:
    """Return the default configuration with the storage classes of this package."""
    config = Config()
    for part in ("storageClasses.yaml", "datastores/fileDatastore.yaml"):
        config.update(Config(ResourcePath(f"resource://lsst.meas.trails/resources/butler/{part}")))
    return config
