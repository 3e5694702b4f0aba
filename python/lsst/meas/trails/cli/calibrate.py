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
"""``meas-trails calibrate``: thresholds and score of a model for the images of a survey."""

from __future__ import annotations

__all__ = ("calibrate",)

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._selection import fits_option, image_options

if TYPE_CHECKING:
    from rich.table import Table

    from ..tasks._survey_sources import ButlerImage, FitsImage
    from ..training.survey import SurveyCalibration
    from ..training.survey_rates import ScoreMeasurement

_EXAMPLES = """\b
Examples:
  meas-trails calibrate REPO LSSTCam/runs/DRP --run models/mine \\
      --where "instrument = 'LSSTCam' AND band = 'r'"
  meas-trails calibrate REPO input --dataset-type difference_image \\
      --run models/mine
  meas-trails calibrate --fits night1/*.fits -o mine.json

\b
Then find trails with:
  pipetask run -b REPO -p pipelines/DetectTrails.yaml \\
      -i models/mine,input -o trails/mine
"""


@click.command(epilog=_EXAMPLES)
@click.argument("inputs", nargs=-1, required=True, metavar="(REPO COLLECTION | --fits FILE...)")
@click.option("--fits", is_flag=True, help="Use FITS files, as ingest-fits reads them, without a repository.")
@click.option(
    "--model",
    "model_name",
    metavar="MODEL",
    help="The .json file of a model, or the name of one in the package.  [default: template where there are "
    "templates, difference for difference_image, else direct]",
)
@click.option(
    "--run", metavar="RUN", help="RUN collection of REPO for the calibrated model; a run holds one model."
)
@click.option(
    "-o",
    "--output",
    metavar="NAME.json",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for the calibrated model; its weights go to NAME.safetensors in the same folder.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@image_options
@click.option(
    "--max-detectors",
    type=click.IntRange(min=2),
    default=20,
    show_default=True,
    help="Most images to use, a random sample of as many visits as possible.",
)
@click.option(
    "--precision",
    type=click.FloatRange(0.01, 1.0),
    default=0.15,
    show_default=True,
    help="Largest relative error of the number of false candidates at the score for 10 per detector; 0.15 "
    "needs the area of 5 detectors, 0.1 that of 10.",
)
@click.option(
    "--trails",
    type=click.FloatRange(min=1.0),
    default=164.0,
    show_default=True,
    help="Trails to inject per detector of 16.4 megapixels, for completeness.",
)
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    help="Processes, of one thread each; 1.5 GB of memory each for a detector of LSSTCam.  "
    "[default: one per core]",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Seed of sample and trails."
)
@fits_option("--hdu", "With --fits: HDU of the image, as in ingest-fits.")
@fits_option("--fwhm", "With --fits: FWHM of a Gaussian PSF.  [default: a profile fitted to the stars]")
@fits_option("--noise", "With --fits: origin of the variance, as in ingest-fits.")
@fits_option("--ignore-mask", "With --fits: ignore the masks of the files.")
def calibrate(inputs: tuple[str, ...], fits: bool, **options: Any) -> None:
    """Calibrate a model on the images of COLLECTION in REPO, or on FITS files.

    Thresholds and score are chosen for these images; the weights stay as they are. As almost every candidate
    in a real image is false, the images as they are tell how many false candidates each score has. Trails are
    injected into the same images to measure completeness. It takes half a minute of one core per detector.

    Candidates on labeled trails, on known objects that AssociateTrailsTask recognized and on satellite
    streaks across an image do not count as false.
    """
    from rich.console import Console

    from ..nn.model_file import find_model, load_model, read_model_bytes
    from ..tasks._survey_sources import shipped_model_name
    from ..training.survey import calibrate_survey
    from ..training.survey_images import InjectionOptions
    from ._console import make_console

    repo = _check(inputs, fits, options)
    images = _fits_images(inputs, options) if fits else _butler_images(inputs, options)
    has_template = any(getattr(image, "template_type", None) is not None for image in images)
    name = options["model_name"] or shipped_model_name(has_template, options["dataset_type"])
    source = find_model(name)
    load_model(source)
    console = make_console()
    visits = len({image.visit for image in images})
    console.print(f"Calibrating {name} on {len(images)} images of {visits} visits.", highlight=False)
    calibration = calibrate_survey(
        source,
        images,
        injection=InjectionOptions(number=options["trails"], seed=options["seed"]),
        precision=options["precision"],
        processes=options["processes"],
        console=Console(stderr=True),
        provenance={"repository": inputs[0], "collection": inputs[1]} if not fits else None,
    )
    for text in calibration.left_out:
        console.print(f"Left out: {text}", highlight=False, markup=False)
    console.print(_comparison(calibration))
    console.print(_score_table(calibration.after))
    _, weights, _ = read_model_bytes(source)
    _write(calibration, weights, options["output"], repo, options["run"])


def _check(inputs: tuple[str, ...], fits: bool, options: dict[str, Any]) -> str | None:
    """Check arguments before the work, and return the repository to write to."""
    from ..tasks._models import check_model_run

    run, output = options["run"], options["output"]
    if not fits and len(inputs) != 2:
        raise click.UsageError("Pass REPO and COLLECTION, or --fits and files.")
    if fits and run is not None:
        raise click.UsageError("--run needs a repository; pass --output, and use 'meas-trails model ingest'.")
    if output is not None and output.suffix != ".json":
        raise click.BadParameter(f"{output} does not end in .json.", param_hint="--output")
    if output is not None and not options["overwrite"]:
        for path in (output, output.with_suffix(".safetensors")):
            if path.exists():
                raise click.ClickException(f"{path} exists; pass --overwrite to replace it.")
    if run is None:
        return None
    check_model_run(inputs[0], run)
    return inputs[0]


def _butler_images(inputs: tuple[str, ...], options: dict[str, Any]) -> list[ButlerImage]:
    from ..tasks._survey_sources import find_butler_images

    repo, collection = inputs
    return find_butler_images(
        repo,
        collection,
        options["dataset_type"],
        where=options["where"],
        template_type=options["template_type"] if options["template"] == "auto" else None,
        most=options["max_detectors"],
        seed=options["seed"],
    )


def _fits_images(inputs: tuple[str, ...], options: dict[str, Any]) -> list[FitsImage]:
    from ..ingest.layout import FitsIngestError
    from ..ingest.observation import FitsOptions
    from ..ingest.pairing import pair_files
    from ..tasks._survey_sources import find_fits_images

    names = ("hdu", "fwhm", "noise")
    fits_options = FitsOptions(use_mask=not options["ignore_mask"], **{name: options[name] for name in names})
    paths = [Path(name) for name in inputs]
    for path in paths:
        if not path.is_file():
            raise click.BadParameter(f"There is no file {path}.", param_hint="FILE")
    try:
        return find_fits_images(
            pair_files(paths), fits_options, most=options["max_detectors"], seed=options["seed"]
        )
    except FitsIngestError as error:
        raise click.ClickException(str(error)) from error


def _comparison(calibration: SurveyCalibration) -> Table:
    """Return the table of the model before and after."""
    from rich.table import Table

    after = calibration.after
    table = Table(
        title=f"{after.n_pixels / 1e6:.0f} megapixels, {after.n_false} false candidates, {after.n_trails} "
        "injected trails",
        title_justify="left",
        header_style="bold",
    )
    table.add_column("")
    measured = [("before", calibration.before), ("after", after)]
    columns = [_column(found) for _, found in measured if found is not None]
    for name, found in measured:
        if found is not None:
            table.add_column(name, justify="right")
    for label in columns[0]:
        table.add_row(label, *(column[label] for column in columns))
    return table


def _column(found: ScoreMeasurement) -> dict[str, str]:
    """Return the texts of one column by label."""
    grow, seed = found.thresholds
    rows = {"grow, seed threshold": f"{grow:.3f}, {seed:.3f}"}
    for rate, score in found.at_false.items():
        rows[f"score for {rate} false per detector"] = f"{score:.3f}"
        rows["  false per detector there" + " " * len(rate)] = "{:.1f} ± {:.1f}".format(*found.rates[rate])
    for rate in found.at_false:
        rows[f"found of SNR 3-30 at the score for {rate}"] = f"{100.0 * found.found[rate]:.0f}%"
    for name, label in (("snr50", "SNR50"), ("snr50_long", "SNR50 of 20-150 pixels")):
        for rate in ("1", "10", "100"):
            value = found.metrics.get(f"{name}_at_{rate}")
            rows[f"{label} at {rate} false per detector"] = "-" if value is None else f"{value:.1f}"
    error = found.metrics["score_calibration_error"]
    rows["calibration error of the score"] = "-" if error is None else f"{error:.3f}"
    return rows


def _score_table(found: ScoreMeasurement) -> Table:
    """Return the expected number of false candidates by score."""
    from rich.table import Table

    table = Table("score of at least", "false per detector", title="After", title_justify="left")
    for score, rate in found.false_at_score.items():
        table.add_row(score, f"{rate:.1f}")
    return table


def _write(
    calibration: SurveyCalibration, weights: bytes, output: Path | None, repo: str | None, run: str | None
) -> None:
    """Write the calibrated model to a file and to a repository."""
    from ..nn.model_file import write_model_bytes
    from ..tasks._models import put_model

    specification = calibration.specification
    with tempfile.TemporaryDirectory() as folder:
        path = output or Path(folder) / f"{specification.name}.json"
        specification = specification.replace(weights_file=path.with_suffix(".safetensors").name)
        write_model_bytes(path, specification.to_json().encode() + b"\n", weights)
        if output is not None:
            click.echo(f"Wrote {output}.")
        if repo is not None and run is not None:
            put_model(repo, path, run)
            click.echo(
                f"Put {specification.name}, version {specification.version}, into run {run!r} of {repo}; add "
                "it to the input collections (-i) of a pipeline to use it."
            )
    if output is None and repo is None:
        click.echo("Nothing was written; pass --run or --output.")
