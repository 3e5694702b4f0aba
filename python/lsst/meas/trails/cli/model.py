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

"""``meas-trails model``: describe, rank and calibrate models, convert checkpoints."""

from __future__ import annotations

__all__ = ("model",)

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ._model_repository import export, ingest, list_models

if TYPE_CHECKING:
    from ..nn.model_file import ModelSpecification, TrailModel

_CALIBRATION_METRICS = ("completeness_", "snr50_", "score_", "calibration_")
"""Prefixes of the metrics of a calibration."""


_MODEL = click.argument(
    "model_path", metavar="MODEL", type=click.Path(exists=True, dir_okay=False, writable=True, path_type=Path)
)
"""The .json file of a model that a command rewrites."""


@contextlib.contextmanager
def _rewriting(model_path: Path) -> Iterator[None]:
    """Check that a model can be rewritten, before long work, and report the errors of that work."""
    if model_path.suffix != ".json":
        raise click.BadParameter(f"{model_path} is not the .json file of a model.", param_hint="MODEL")
    if not os.access(model_path.parent, os.W_OK):
        raise click.BadParameter(f"{model_path.parent} is not writable.", param_hint="MODEL")
    try:
        yield
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or model_path}: {error.strerror or error}") from error


@click.group()
def model() -> None:
    """Describe, train to rank, calibrate and convert models, and store them in a Butler repository."""


for _command in (ingest, list_models, export):
    model.add_command(_command)


@model.command()
@click.argument("name", default="direct")
@click.option("--json", "as_json", is_flag=True, help="Print the specification as JSON.")
def describe(name: str, as_json: bool) -> None:
    """Check a model and describe it.

    NAME is a model's file (.json or .safetensors), or the name of a model in the package.
    """
    from ..nn.model_file import find_model, load_model

    loaded = load_model(find_model(name))
    if as_json:
        click.echo(loaded.specification.to_json())
        return
    _print_rows(_rows(loaded))


@model.command()
@_MODEL
@click.option(
    "--config",
    "config",
    required=True,
    metavar="RECIPE",
    help="Recipe with calibration scenes: a YAML file, or the name of one in the package.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Threads for the network.")
def calibrate(model_path: Path, config: str, threads: int | None) -> None:
    """Choose a model's thresholds and calibrate its score.

    MODEL is the .json file of a model. It is rewritten with the results on the scenes in the recipe's section
    data.simulate.calibration; the weights do not change.
    """
    from rich.console import Console

    from ..training.recipe import find_recipe, load_recipe
    from ..training.run import calibrate_model

    with _rewriting(model_path):
        path = find_recipe(config)
        recipe = load_recipe(path)
        specification = calibrate_model(
            model_path, recipe, str(path), threads=threads or recipe.threads, console=Console(stderr=True)
        )
    metrics = {
        key: value for key, value in specification.metrics.items() if key.startswith(_CALIBRATION_METRICS)
    }
    _print_rows([("thresholds", _thresholds(specification)), *_metric_rows(metrics)])


@model.command()
@_MODEL
@click.option(
    "--config",
    "config",
    required=True,
    metavar="RECIPE",
    help="Recipe with a second stage: a YAML file, or the name of one in the package.",
)
@click.option(
    "--tiles",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the candidates of each scene; by default tiles in the folder of the model.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Processes that search, threads of the training.")
@click.option("--device", default="auto", show_default=True, help="Torch device of the training.")
def rank(model_path: Path, config: str, tiles: Path | None, threads: int | None, device: str) -> None:
    """Train a model's second stage, which ranks its candidates.

    MODEL is the .json file of a model. Both of its files are rewritten; its score needs a calibration
    afterwards, with 'meas-trails model calibrate'.
    """
    from rich.console import Console

    from ..training.rank import rank_candidates
    from ..training.recipe import find_recipe, load_recipe

    with _rewriting(model_path):
        path = find_recipe(config)
        recipe = load_recipe(path)
        rank_candidates(
            model_path,
            recipe,
            str(path),
            folder=tiles or model_path.parent / "tiles",
            threads=threads or recipe.threads,
            device=device,
            console=Console(stderr=True),
        )
    click.echo(str(model_path))


@model.command()
@click.argument(
    "checkpoint", metavar="CHECKPOINT", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="NAME.json",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Model to write; its weights go to NAME.safetensors in the same folder.",
)
@click.option("--ema", is_flag=True, help="Use the moving average of the parameters.")
@click.option(
    "--concatenation",
    type=click.Choice(["up-skip", "skip-up"]),
    default="up-skip",
    show_default=True,
    help="Order of channels where a skip connection joins; checkpoints do not record it.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing model.")
def convert(checkpoint: Path, output: Path, ema: bool, concatenation: str, overwrite: bool) -> None:
    """Convert a checkpoint of Asteroid_detection_CNN to a model.

    CHECKPOINT is ckpt_best.pt or ckpt_last.pt of a UNetResSEASPP or UNetResSE of any width. The model keeps
    its normalization, its tiles of 128 pixels and its thresholds of 0.2; its score is not calibrated.
    """
    from ..adcnn.checkpoints import convert_checkpoint

    if output.suffix != ".json":
        raise click.BadParameter(f"{output} does not end in .json.", param_hint="--output")
    if not overwrite:
        for path in (output, output.with_suffix(".safetensors")):
            if path.exists():
                raise click.ClickException(f"{path} exists; pass --overwrite to replace it.")
    specification = convert_checkpoint(checkpoint, output, ema=ema, concatenation=concatenation)
    click.echo(
        f"{output}: {specification.architecture} of width {specification.hyperparameters['width']}, "
        f"{specification.weights_bytes / 1.0e6:.1f} MB"
    )


def _print_rows(rows: Iterable[tuple[str, str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _metric_rows(metrics: Mapping[str, float | None]) -> list[tuple[str, str]]:
    return [(key, _or_unknown(value, "{:.4f}")) for key, value in metrics.items()]


def _rows(loaded: TrailModel) -> list[tuple[str, str]]:
    """Return names and texts that describe a model."""
    specification, plan = loaded.specification, loaded.plan
    parameters = sum(array.size for name, array in loaded.weights.items() if ".running_" not in name)
    hyperparameters = ", ".join(f"{key} {value}" for key, value in specification.hyperparameters.items())
    rows = [
        ("name", f"{specification.name}, version {specification.version}"),
        ("architecture", specification.architecture + (f" ({hyperparameters})" if hyperparameters else "")),
        ("parameters", f"{parameters} in {specification.weights_bytes / 1.0e6:.2f} MB"),
        ("channels", ", ".join(specification.channels)),
        ("normalization", specification.normalization),
        (
            "receptive field",
            f"{2 * plan.receptive_radius + plan.output_stride} pixels across"
            if plan.tile_size is None
            else f"tiles of {plan.tile_size} pixels only",
        ),
        ("pixel scale", _or_unknown(specification.pixel_scale, "{:.3f} arcsec")),
        (
            "PSF FWHM",
            "not recorded"
            if specification.fwhm_range is None
            else "{:.2f} to {:.2f} pixels".format(*specification.fwhm_range),
        ),
        ("thresholds", _thresholds(specification)),
        ("score", "calibrated" if specification.score else "not calibrated"),
    ]
    rows += [
        (f"training {key}", _short(value))
        for key, value in specification.training.items()
        if not isinstance(value, dict)
    ]
    rows += [
        *_metric_rows(specification.metrics),
        ("written", f"{specification.created} by meas_trails {specification.package_version}"),
        ("checksum", loaded.checksum),
    ]
    return rows


def _thresholds(specification: ModelSpecification) -> str:
    return ", ".join(f"{key} {value:.3f}" for key, value in specification.thresholds.items())


def _or_unknown(value: float | None, form: str) -> str:
    return "not recorded" if value is None else form.format(value)


def _short(value: object) -> str:
    if isinstance(value, list) and len(value) > 3:
        return f"{value[0]}, {value[1]}, ... ({len(value)})"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
