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

"""Command ``meas-trails ingest-fits``: put FITS images into a Butler repository."""

from __future__ import annotations

__all__ = ("ingest_fits",)

import logging
from pathlib import Path
from typing import Any

import click

from ._selection import fits_option

_LOG = logging.getLogger(__name__)

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

_EPILOG = """\b
Examples:
  meas-trails ingest-fits repo calexp.fits
  meas-trails ingest-fits repo image.fits --fwhm 1.1 --zeropoint 30.2
  meas-trails ingest-fits repo n1_ccd*.fits.fz --run night1 --band r
  meas-trails ingest-fits repo mosaic.fits --hdu CCD7 --detector 7
  meas-trails ingest-fits repo c4d_ooi.fits.fz c4d_ood.fits.fz c4d_oow.fits.fz
  meas-trails ingest-fits repo a.fits --mask bad_pixels.fits --weight exposure.fits

\b
Then find trails with:
  pipetask run -b repo -p pipelines/DetectTrails.yaml \\
      -i input -o trails/mine
"""


@click.command("ingest-fits", epilog=_EPILOG)
@click.argument("repo", type=click.Path(file_okay=False))
@click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=_FILE,
)
@click.option("--run", default="input", show_default=True, help="RUN collection for the images.")
@fits_option(
    "--hdu", "Number, counted from 0, or EXTNAME of the HDU with the image.  [default: the first image]"
)
@click.option(
    "--mask",
    type=_FILE,
    metavar="FILE",
    help="File with the mask of the image, if it is not in the image's file.  [default: paired by name]",
)
@click.option(
    "--weight", type=_FILE, metavar="FILE", help="File with weights, proportional to the inverse variance."
)
@click.option("--variance", type=_FILE, metavar="FILE", help="File with the variance of the pixels.")
@click.option("--error", type=_FILE, metavar="FILE", help="File with the standard deviation of the pixels.")
@click.option("--no-pairs", is_flag=True, help="Take every FILE for an image, whatever its name.")
@fits_option("--ignore-mask", "Ignore the masks of the files.")
@fits_option("--fwhm", "FWHM of a Gaussian PSF in arcseconds.  [default: a profile fitted to the stars]")
@click.option(
    "--zeropoint",
    type=click.FloatRange(min=-50.0, max=60.0),
    metavar="MAG",
    help="AB magnitude of one unit of the pixels.  [default: from the header, or 27 with a warning]",
)
@click.option(
    "--gain",
    type=click.FloatRange(min=0.0, min_open=True),
    metavar="GAIN",
    help="Electrons per unit of the pixels, for the Poisson noise of sources if a file has no variance "
    "plane.  [default: from the header]",
)
@fits_option(
    "--noise",
    "Origin of the variance: the variance, error or weight of the file, the scatter of the sky, "
    "or the file's after a check: an error if variances differ by more than a factor of 1.5.",
)
@click.option(
    "--exposure-time",
    type=click.FloatRange(min=0.0, min_open=True),
    metavar="SECONDS",
    help="Exposure time.  [default: from the header]",
)
@click.option(
    "--date",
    metavar="UTC",
    help="Start of the exposure, such as 2024-11-09T05:12:13 or an MJD.  [default: from the header]",
)
@click.option("--band", metavar="BAND", help="Band of the filter, such as r.  [default: from the header]")
@click.option(
    "--visit",
    type=click.IntRange(min=1),
    help="Visit number.  [default: VISIT or EXPNUM of the header, or from the date]",
)
@click.option(
    "--detector",
    type=click.IntRange(min=0),
    help="Detector number.  [default: CCDNUM or similar of the header, or 0]",
)
def ingest_fits(
    repo: str,
    files: tuple[Path, ...],
    run: str,
    ignore_mask: bool,
    mask: Path | None,
    weight: Path | None,
    variance: Path | None,
    error: Path | None,
    no_pairs: bool,
    **header_values: Any,
) -> None:
    """Put calibrated images FILE... of any telescope into the Butler repository REPO.

    The repository is created if it does not exist. Each image becomes a preliminary_visit_image of the
    instrument FitsCam, in nJy. A file must have a WCS. It may have a mask and a variance plane (HDUs named
    MASK and VARIANCE, or DQ, ERR, IVAR, WEIGHT and similar), as in a calexp of the Rubin pipelines; otherwise
    the variance is measured on the sky. These planes may also be in files whose names differ from the image's
    in one word: name them, too (a.fits a.weight.fits a_mask.fits, or ooi, ood and oow of DECam). The options
    apply to all files and replace header values. The same command resumes an interrupted run.
    """
    from rich.console import Console
    from rich.table import Table

    from ..core.printable import printable
    from ..core.progress import make_progress, track
    from ..ingest import ingest as fits_ingest
    from ..ingest.image import IngestSummary
    from ..ingest.layout import FitsIngestError
    from ..ingest.observation import FitsOptions, inspect_all
    from ..ingest.pairing import FitsFiles, find_unused, pair_files
    from ..repository.butler import IMAGE_DATASET_TYPE, RepositoryError
    from ._pipelines import open_for_pipelines

    named = {"mask": mask, "weight": weight, "variance": variance, "error": error}
    companions = {role: path for role, path in named.items() if path is not None}
    if companions and len(files) != 1:
        raise click.UsageError(f"--{next(iter(companions))} belongs to one image, not to {len(files)} files.")
    options = FitsOptions(use_mask=not ignore_mask, **header_values)
    images: list[FitsFiles] = []
    done: list[IngestSummary] = []
    try:
        # Inspect the files before the repository is created.
        if companions:
            images = [FitsFiles(files[0], companions)]
        else:
            images = [FitsFiles(path) for path in files] if no_pairs else pair_files(files)
        observations = inspect_all(images, options)
        if not companions and not no_pairs:
            for path in find_unused(images):
                _LOG.warning("%s is named like a part of an image; name it, too, to use it.", printable(path))
        butler = open_for_pipelines(repo)
        summaries = fits_ingest.ingest_fits(butler, run, observations, options)
        with make_progress() as progress:
            for summary in track(progress, summaries, "Ingesting", len(observations)):
                done.append(summary)
    except (FitsIngestError, RepositoryError) as error:
        before = f" ({len(done)} of {len(images)} images were ingested before the error.)" if done else ""
        raise click.ClickException(f"{error}{before}") from error

    table = Table("file", "visit", "detector", "band", 'FWHM (")', "5 sigma (mag)")
    for summary in done:
        table.add_row(
            summary.path.name,
            str(summary.visit),
            str(summary.detector),
            summary.band,
            f"{summary.fwhm:.2f}",
            f"{summary.magnitude_limit:.2f}",
        )
    console = Console()
    console.print(table)
    console.print(f"Put {len(done)} {IMAGE_DATASET_TYPE} into run {run!r} of {repo}.", soft_wrap=True)
    for image in images:
        if image.companions:
            console.print(f"Used {image}.", soft_wrap=True)
    if present := len(images) - len(done):
        console.print(f"{present} images existed already.")
