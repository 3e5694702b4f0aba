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

"""Command ``meas-trails adapt``: adapt a model to a survey."""

from __future__ import annotations

__all__ = ("adapt",)

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ._selection import image_options

if TYPE_CHECKING:
    import astropy.table

_EPILOG = """\b
Examples:
  meas-trails adapt /repo/main LSSTCam/runs/DRP --run u/me/trails/model \\
      --dataset-type visit_image
  meas-trails adapt repo input --run models/mine --minutes 3 --device cuda
  meas-trails adapt --fits night1/*.fits --run models/mine --output mine
"""


@click.command(epilog=_EPILOG)
@click.argument("places", metavar="REPO COLLECTION | FILE...", nargs=-1, required=True)
@click.option("--run", required=True, metavar="RUN", help="RUN collection for the adapted model.")
@click.option("--fits", is_flag=True, help="The arguments are FITS files, as for ingest-fits.")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for everything that is made.  [default: RUN, below the current folder]",
)
@click.option(
    "--model",
    "start",
    metavar="MODEL",
    help="Model to start from: its .json file, or the name of one in the package.  [default: template where "
    "there are templates, difference for difference_image, else direct]",
)
@image_options
@click.option(
    "--max-detectors",
    type=click.IntRange(min=4),
    default=40,
    show_default=True,
    help="Most images to use, of as many visits as possible: 60% to train on, 20% to calibrate with, 20% to "
    "measure on.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0.0, min_open=True),
    default=30.0,
    show_default=True,
    help="Longest time of the training itself; 3 are enough for a GPU.",
)
@click.option(
    "--device", default="auto", show_default=True, help="Torch device of the training: auto, cpu, cuda, ..."
)
@click.option(
    "-j", "--threads", type=click.IntRange(min=1), help="Processes and threads.  [default: all cores]"
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Seed of the choice of images, their roles, and the trails.",
)
@click.option(
    "--config",
    "recipe",
    default="adapt",
    show_default=True,
    metavar="FILE",
    help="Recipe of the training, to which the images are added.",
)
@click.option(
    "--trails",
    type=click.FloatRange(min=0.0, min_open=True),
    default=10.0,
    show_default=True,
    help="Trails per megapixel that are injected to calibrate and measure.",
)
def adapt(
    places: tuple[str, ...],
    run: str,
    fits: bool,
    output: Path | None,
    start: str | None,
    dataset_type: str,
    where: str,
    template: str,
    template_type: str,
    max_detectors: int,
    minutes: float,
    device: str,
    threads: int | None,
    seed: int,
    recipe: str,
    trails: float,
) -> None:
    """Adapt a model to the images of a survey.

    Fresh trails are injected into images of COLLECTION in REPO, and a model of the package learns to find
    them. Other visits calibrate its thresholds and score, and others again measure the result. The adapted
    model goes into RUN as trail_model: add RUN to the input collections of a pipeline to use it.

    With --fits, the images are FITS files; they go into a repository in the output folder. Use ingest-fits
    instead for files that need its options.

    Candidates that people labeled (meas-trails vet) count as what they were labeled. The same command resumes
    an adaptation that was stopped.
    """
    import logging

    from ..survey.adapt import AdaptOptions, adapt_model
    from ..survey.page import before_and_after, write_page
    from ..tasks._models import check_model_run, put_model
    from ..training.nonfinite import TrainingError

    folder = output or Path(run)
    if fits:
        repo, collection = _ingest(places, folder / "repo")
    elif len(places) == 2:
        repo, collection = places
    else:
        raise click.UsageError("Pass REPO and COLLECTION, or --fits and files.")
    # Report progress without --verbose: a run takes half an hour.
    for room in ("training", "survey"):
        logging.getLogger(f"lsst.meas.trails.{room}").setLevel(logging.INFO)
    check_model_run(repo, run)
    options = AdaptOptions(
        start=start,
        dataset_type=dataset_type,
        template_type=template_type if template == "auto" else None,
        where=where,
        max_detectors=max_detectors,
        minutes=minutes,
        device=device,
        threads=threads,
        seed=seed,
        recipe=recipe,
        trails_per_megapixel=trails,
    )
    try:
        result = adapt_model(repo, collection, _model_name(run), folder, options)
        page = write_page(result, folder / "report")
    except (ValueError, TrainingError) as error:
        raise click.ClickException(str(error)) from error
    _print(before_and_after(result))
    put_model(repo, result.model_path, run)
    click.echo(f"Report: {page}")
    click.echo(f"Model: {result.model_path}, and in run {run!r} of {repo}.")


def _model_name(run: str) -> str:
    """Return the name of the model: the last part of its run, for a file name."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", run.rstrip("/").rpartition("/")[2]).lstrip(".") or "adapted"


def _ingest(files: tuple[str, ...], repo: Path) -> tuple[str, str]:
    """Put FITS files into a repository; those that are in it stay."""
    from ..core.progress import make_progress, track
    from ..ingest.ingest import ingest_fits
    from ..ingest.observation import FitsOptions, inspect_all
    from ..ingest.pairing import pair_files
    from ..repository.butler import IMAGE_DATASET_TYPE, find_existing
    from ._pipelines import open_for_pipelines

    paths = [Path(name) for name in files]
    for path in paths:
        if not path.is_file():
            raise click.UsageError(f"There is no file {path}.")
    options = FitsOptions()
    observations = inspect_all(pair_files(paths), options)
    butler = open_for_pipelines(str(repo))
    existing = find_existing(butler, "input", [IMAGE_DATASET_TYPE], [o.data_id for o in observations])
    if len(existing) < len(observations):
        with make_progress() as progress:
            for _ in track(
                progress, ingest_fits(butler, "input", observations, options), "Ingesting", len(observations)
            ):
                pass
    return str(repo), "input"


def _print(table: astropy.table.Table) -> None:
    """Print the table before and after."""
    import numpy as np
    from rich.table import Table

    from ..survey.page import COLUMNS
    from ._console import make_console

    shown = Table(title="On visits that were left out", title_justify="left", header_style="bold")
    for name, label in COLUMNS.items():
        shown.add_column(label, justify="left" if name == "model" else "right")
    styles = {"wanted": ".0f", "completeness": ".1%"}
    for row in table:
        values = [
            format(float(row[name]), styles.get(name, ".1f")) if np.isfinite(row[name]) else "-"
            for name in table.colnames[1:]
        ]
        shown.add_row(str(row["model"]), *values)
    make_console().print(shown)
