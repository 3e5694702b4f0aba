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

"""``meas-trails train``: train a model from a recipe."""

from __future__ import annotations

__all__ = ("train",)

from pathlib import Path

import click


@click.command()
@click.argument("output", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--config", required=True, metavar="FILE", help="Recipe: a YAML file, or the name of one in the package."
)
@click.option(
    "--start",
    metavar="MODEL",
    help="Start from the weights of a model: its .json file, or the name of one in the package. Input "
    "channels that the model does not have start without effect.",
)
@click.option(
    "--from-stage",
    metavar="NAME",
    help="Stage of the recipe to start with, if --start is given; by default the first.",
)
@click.option(
    "--tiles",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of simulated tiles, which several runs may share; by default OUTPUT/tiles.",
)
@click.option("--resume/--no-resume", default=True, show_default=True, help="Resume a run that was stopped.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads, and processes that simulate.")
@click.option(
    "--device", default="auto", show_default=True, help="Torch device: auto, cpu, cuda, cuda:1, ..."
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0.0, min_open=True),
    help="Longest time of the training, without simulation and calibration. The learning rate falls "
    "accordingly.",
)
@click.option("--stop-after", type=click.IntRange(min=1), metavar="STEPS", help="Stop after this many steps.")
def train(
    output: Path,
    config: str,
    start: str | None,
    from_stage: str | None,
    tiles: Path | None,
    resume: bool,
    threads: int | None,
    device: str,
    minutes: float | None,
    stop_after: int | None,
) -> None:
    """Train a network from a recipe.

    The folder OUTPUT gets the model (NAME.json and NAME.safetensors), a checkpoint, the metrics
    (metrics.jsonl), a log (train.log) and the curves (curves.png); simulated tiles go to OUTPUT/tiles. The
    same command resumes a run that was stopped.

    Every stage of a recipe is like a separate run that starts with the final weights of the previous stage.
    Start with a later stage from the weights of a model with --start MODEL --from-stage NAME.

    On several GPUs or machines, torchrun starts the command in several processes, which share the tiles of
    every batch: torchrun --nproc-per-node 4 --no-python meas-trails train ...
    """
    import logging
    import os

    from ..training.nonfinite import TrainingError
    from ..training.run import train_model

    if from_stage is not None and start is None:
        raise click.UsageError("--from-stage needs --start, the model to start from.")
    # Report progress without --verbose: a run takes hours.
    logging.getLogger("lsst.meas.trails.training").setLevel(logging.INFO)
    try:
        result = train_model(
            config,
            output,
            start=start,
            start_stage=from_stage,
            tiles=tiles,
            resume=resume,
            threads=threads,
            device=device,
            stop_after=stop_after,
            minutes=minutes,
        )
    except (ValueError, TrainingError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or output}: {error.strerror or error}") from error
    if os.environ.get("RANK", "0") != "0":
        # One process of torchrun reports the result.
        return
    if result.model_path is None:
        click.echo(f"Stopped after {result.steps} steps; run the same command to resume.")
    else:
        click.echo(str(result.model_path))
