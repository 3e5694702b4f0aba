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

"""Models for tasks: shipped models, and models of a Butler, a file or a URI.

A task object exists for one quantum, a loaded model for the whole process.
"""

from __future__ import annotations

__all__ = (
    "MODEL_DATASET_TYPE",
    "MODEL_STORAGE_CLASS",
    "butler_model",
    "check_model_run",
    "named_model",
    "put_model",
)

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lsst.daf.butler import Butler, CollectionType, DatasetType, MissingCollectionError
from lsst.daf.butler.registry import ConflictingDefinitionError
from lsst.pipe.base import InvalidQuantumError
from lsst.resources import ResourcePath

from ..repository.opening import check_run_name, open_butler
from ..repository.visit_record import RepositoryError

if TYPE_CHECKING:
    from lsst.daf.butler import DeferredDatasetHandle

    from ..nn.model_file import TrailModel

MODEL_DATASET_TYPE = "trail_model"
"""Dataset type of models in a Butler; it has no dimensions."""

MODEL_STORAGE_CLASS = "ArrowTable"
"""Storage class of models, which every Butler has."""

_MAX_LOADED = 4
_LOADED: dict[str, TrailModel] = {}
"""Models that this process loaded last."""


def named_model(name: str) -> TrailModel:
    """Return the model of a name in a configuration.

    Parameters
    ----------
    name
        Name of a shipped model; or path or URI, in any scheme of `lsst.resources`, of the ``.json`` file of a
        model, with its weights in the same folder.

    Raises
    ------
    lsst.pipe.base.InvalidQuantumError
        Raised if the model cannot be used.
    """
    from ..nn.model_file import ModelError, load_model, shipped_model_path

    try:
        if not name.endswith(".json"):
            path = shipped_model_path(name)
        elif not (uri := ResourcePath(name)).isLocal:
            return _load_once(name, lambda: _remote_model(uri))
        else:
            path = Path(uri.ospath)
        # Load a file again if it was replaced.
        return _load_once(f"{path} {os.stat(path).st_mtime_ns}", lambda: load_model(path))
    except (ModelError, OSError, ValueError) as error:
        raise InvalidQuantumError(f"The model {name!r} cannot be used: {error}") from error


def butler_model(handle: DeferredDatasetHandle) -> TrailModel:
    """Return a model of a Butler.

    Parameters
    ----------
    handle
        Deferred handle of the model.

    Raises
    ------
    lsst.pipe.base.InvalidQuantumError
        Raised if the model cannot be read or used.
    """
    from ..nn.model_file import ModelError
    from ..nn.model_table import model_from_table

    name = f"{handle.ref.datasetType.name} in {handle.ref.run}"
    try:
        # The content of a dataset ID never changes.
        return _load_once(str(handle.ref.id), lambda: model_from_table(handle.get(), name))
    except (ModelError, OSError) as error:
        raise InvalidQuantumError(f"The model cannot be used: {error}") from error


def check_model_run(repo: str, run: str) -> None:
    """Check that a run can get a model.

    Parameters
    ----------
    repo
        Folder, URI or label of the repository.
    run
        Name of the run, which may not exist.

    Raises
    ------
    RepositoryError
        Raised if the repository does not exist, the name is that of another kind of collection, or the run
        has a model.
    """
    check_run_name(run)
    butler = open_butler(repo)
    try:
        kind = butler.collections.get_info(run).type
    except MissingCollectionError:
        return
    if kind is not CollectionType.RUN:
        raise RepositoryError(f"{run!r} is not a RUN collection; choose another --run.")
    for dataset_type in butler.registry.queryDatasetTypes([MODEL_DATASET_TYPE], missing=[]):
        if butler.query_datasets(dataset_type, collections=run, explain=False):
            raise RepositoryError(_holds_model(repo, run))


def put_model(repo: str, path: Path, run: str) -> None:
    """Put a model into a repository, as `MODEL_DATASET_TYPE`.

    Parameters
    ----------
    repo, run
        As for `check_model_run`; the run is created if missing.
    path
        Specification of the model.

    Raises
    ------
    ModelError
        Raised if the model cannot be used.
    RepositoryError
        Raised as by `check_model_run`.
    """
    from ..nn.model_table import model_to_table

    table = model_to_table(path)
    check_model_run(repo, run)
    butler: Butler = open_butler(repo, writeable=True)
    butler.collections.register(run)
    butler.registry.registerDatasetType(
        DatasetType(MODEL_DATASET_TYPE, butler.dimensions.conform([]), MODEL_STORAGE_CLASS)
    )
    try:
        butler.put(table, MODEL_DATASET_TYPE, {}, run=run)
    except ConflictingDefinitionError as error:
        # Another process put one since the check.
        raise RepositoryError(_holds_model(repo, run)) from error


def _holds_model(repo: str, run: str) -> str:
    return f"Run {run!r} of {repo} already holds a {MODEL_DATASET_TYPE}; choose another --run."


def _load_once(key: str, load: Callable[[], TrailModel]) -> TrailModel:
    """Return a loaded model, or load it."""
    if key not in _LOADED:
        model = load()
        if len(_LOADED) >= _MAX_LOADED:
            _LOADED.pop(next(iter(_LOADED)))
        _LOADED[key] = model
    return _LOADED[key]


def _remote_model(uri: ResourcePath) -> TrailModel:
    """Load a model from a remote URI."""
    from ..nn.model_file import model_from_bytes
    from ..nn.model_specification import MAX_WEIGHTS_BYTES, ModelError, ModelSpecification

    text = uri.read()
    weights = uri.updatedFile(ModelSpecification.from_json(text).weights_file)
    if weights.size() > MAX_WEIGHTS_BYTES:
        raise ModelError(f"{weights} has {weights.size()} bytes; the limit is {MAX_WEIGHTS_BYTES}.")
    return model_from_bytes(text, weights.read(), source=str(uri))
