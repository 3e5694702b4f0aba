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

"""``meas-trails model ingest``, ``list`` and ``export``: models in a Butler."""

from __future__ import annotations

__all__ = ("export", "ingest", "list_models")

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lsst.daf.butler import Butler, DatasetRef


@click.command()
@click.argument("name")
@click.argument("repo", type=click.Path())
@click.option(
    "--run",
    metavar="RUN",
    help="RUN collection for the model; a run holds one model.  [default: models/NAME/VERSION]",
)
def ingest(name: str, repo: str, run: str | None) -> None:
    """Put a model into a Butler repository, as trail_model.

    NAME is a model's file (.json or .safetensors), or the name of a model in the package.
    TrailSegmentationTask uses it if its run is among the input collections.
    """
    from ..nn.model_file import find_model, load_model
    from ..tasks._models import put_model

    path = find_model(name)
    specification = load_model(path).specification
    run = run or f"models/{specification.name}/{specification.version}"
    put_model(repo, path, run)
    click.echo(
        f"Put {specification.name}, version {specification.version}, into run {run!r} of {repo}; add it to "
        "the input collections (-i) of a pipeline to use it."
    )


@click.command("list")
@click.argument("repo", type=click.Path(), required=False)
def list_models(repo: str | None) -> None:
    """List the models in the package, or in REPO."""
    from rich.console import Console
    from rich.table import Table

    from ..nn.model_file import TrailModel, load_model, shipped_model_path
    from ..nn.model_table import model_from_table
    from ..repository.opening import open_butler

    table = Table("run" if repo else "name", "model", "channels", "SNR50 at 10 false", "written", "checksum")

    def add(place: str, model: TrailModel) -> None:
        specification = model.specification
        snr50 = specification.metrics.get("snr50_at_10")
        table.add_row(
            place,
            f"{specification.name} {specification.version}",
            ", ".join(specification.channels),
            "-" if snr50 is None else f"{snr50:.1f}",
            specification.created[:10],
            model.checksum[:12],
        )

    if repo is None:
        for path in sorted(shipped_model_path().parent.glob("*.json")):
            add(path.stem, load_model(path))
    else:
        butler = open_butler(repo)
        for ref in _model_refs(butler):
            add(ref.run, model_from_table(butler.get(ref), f"{ref.datasetType.name} in {ref.run}"))
        if not table.rows:
            raise click.ClickException(f"{repo} has no models; add one with 'meas-trails model ingest'.")
    Console(width=118).print(table)


@click.command()
@click.argument("repo", type=click.Path())
@click.argument("collection")
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="NAME.json",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Specification to write; its weights go to the same folder.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing model.")
def export(repo: str, collection: str, output: Path, overwrite: bool) -> None:
    """Write the model of a COLLECTION in REPO as its original files."""
    from ..nn.model_table import write_table
    from ..repository.opening import open_butler

    if output.suffix != ".json":
        raise click.BadParameter(f"{output} does not end in .json.", param_hint="--output")
    if output.exists() and not overwrite:
        raise click.ClickException(f"{output} exists; pass --overwrite to replace it.")
    butler = open_butler(repo)
    refs = _model_refs(butler, collection)
    if not refs:
        raise click.ClickException(f"There is no model in {collection!r} of {repo}.")
    write_table(butler.get(refs[0]), output, f"{refs[0].datasetType.name} in {refs[0].run}")
    click.echo(str(output))


def _model_refs(butler: Butler, collections: str | None = None) -> list[DatasetRef]:
    """Return the models in some collections, by default in all, by run."""
    from lsst.daf.butler import MissingDatasetTypeError

    from ..repository.opening import find_collections
    from ..tasks._models import MODEL_DATASET_TYPE

    names = None if collections is None else find_collections(butler, collections)
    try:
        refs = butler.query_datasets(
            MODEL_DATASET_TYPE, collections=names or "*", find_first=names is not None, explain=False
        )
    except MissingDatasetTypeError:
        return []
    return sorted(refs, key=lambda ref: ref.run)
