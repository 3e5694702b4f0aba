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

"""Command ``meas-trails simulate``: put simulated visits into a Butler repository."""

from __future__ import annotations

__all__ = ("simulate",)

import click

_MIN_SIZE, _MAX_SIZE = 64, 20_000


@click.command()
@click.argument("repo", type=click.Path(file_okay=False))
@click.option(
    "--visits",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Number of visits, or of fields with --repeat.",
)
@click.option(
    "--detectors",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Number of detectors of each visit, counted from 0.",
)
@click.option(
    "--repeat",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Number of visits of each field, with the same pointing, stars and galaxies; the asteroids move on, "
    "also to other detectors.",
)
@click.option(
    "--cadence",
    type=click.FloatRange(min=0.0, min_open=True),
    default=30.0,
    show_default=True,
    help="Time from one visit of a field to the next, minutes; used with --repeat.",
)
@click.option(
    "--size",
    type=click.IntRange(_MIN_SIZE, _MAX_SIZE),
    nargs=2,
    metavar="NY NX",
    help="Rows and columns of each image.  [default: a full detector, 4000 4072]",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Seed of the random numbers; it also selects the night and the visit numbers.",
)
@click.option(
    "--trails",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="Asteroid trails per image, of 6 to 150 pixels.",
)
@click.option(
    "--snr",
    type=click.FloatRange(min=0.0, min_open=True),
    nargs=2,
    default=(3.0, 30.0),
    show_default=True,
    metavar="LOW HIGH",
    help="Range of their optimal SNR.",
)
@click.option(
    "--snr-index",
    type=float,
    help="Exponent of a power law of SNRs: -1 is uniform in the logarithm, -1.35 has half of 3 to 3000 "
    "below 17.  [default: uniform]",
)
@click.option(
    "--sky",
    type=click.Choice(["narrow", "wide"]),
    default="narrow",
    show_default=True,
    help="Distributions of stars, galaxies, seeing, noise and templates: LSSTComCam in Data Preview 1 with "
    "modest variations, or everything as wide as in the training scenes, with new point sources and "
    "satellites that flare, tumble and blink.",
)
@click.option(
    "--template/--no-template",
    default=False,
    show_default=True,
    help="Add a template_detector of the same sky to each image, with different seeing, less noise, "
    "registration errors up to 0.3 pixels, variable stars, gaps, and residuals of earlier trails.",
)
@click.option(
    "--difference/--no-difference",
    default=False,
    show_default=True,
    help="Add a difference_image to each image: the image minus a template after matching the PSF "
    "widths, with residuals of registration errors and variable stars. The template itself is put only with "
    "--template.",
)
@click.option(
    "--reference-image",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="Visit image, in any format that lsst.images reads, to take PSF, WCS, detector, noise and "
    "observation information from. A smaller --size selects the middle of the detector.",
)
@click.option(
    "--band",
    type=click.Choice(["u", "g", "r", "i", "z", "y"]),
    help="Band of the filter.  [default: r, or the band of --reference-image]",
)
@click.option("--run", default="input", show_default=True, help="RUN collection for the images.")
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Number of processes; each needs about 1 GB for full detectors.",
)
def simulate(
    repo: str,
    visits: int,
    detectors: int,
    repeat: int,
    cadence: float,
    size: tuple[int, int] | None,
    seed: int,
    trails: int,
    snr: tuple[float, float],
    snr_index: float | None,
    sky: str,
    template: bool,
    difference: bool,
    reference_image: str | None,
    band: str | None,
    run: str,
    jobs: int,
) -> None:
    """Put simulated visits into the Butler repository REPO.

    The repository is created if it does not exist. The images contain stars, galaxies, cosmic rays, defects,
    some satellites, and asteroid trails; the simulated_trail_catalog of each image lists the true trails.
    The same options give the same pixels, and the same command resumes an interrupted run.
    """
    from rich.console import Console
    from rich.table import Table

    from ..core.progress import make_progress, track
    from ..repository.butler import (
        DIFFERENCE_DATASET_TYPE,
        IMAGE_DATASET_TYPE,
        TEMPLATE_DATASET_TYPE,
        TRUTH_DATASET_TYPE,
    )
    from ..sim.simulation import Simulation
    from ._pipelines import open_for_pipelines

    try:
        simulation = Simulation(
            seed=seed,
            visits=visits,
            detectors=detectors,
            repeat=repeat,
            cadence=cadence,
            shape=size,
            trails=trails,
            snr=snr,
            snr_index=snr_index,
            sky=sky,
            band=band,
            reference_image=reference_image,
            template=template,
            difference=difference,
        )
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    images = simulation.run(open_for_pipelines(repo), run, jobs)
    with make_progress() as progress:
        simulated = track(progress, images, "Simulating", visits * detectors)
        rows = sorted(simulated, key=lambda row: (row["visit"], row["detector"]))

    table = Table("visit", "detector", "trails", "satellites", 'FWHM (")', "limiting mag")
    for row in rows:
        counts = (row["visit"], row["detector"], row["trails"], row["satellites"])
        table.add_row(*map(str, counts), f"{row['fwhm']:.2f}", f"{row['mag_lim']:.2f}")
    console = Console()
    console.print(table)
    kinds = [IMAGE_DATASET_TYPE, TRUTH_DATASET_TYPE]
    kinds += [TEMPLATE_DATASET_TYPE] if template else []
    kinds += [DIFFERENCE_DATASET_TYPE] if difference else []
    console.print(f"Put {len(rows)} each of {', '.join(kinds)} into run {run!r} of {repo}.", soft_wrap=True)
    if present := visits * repeat * detectors - len(rows):
        console.print(f"{present} images existed already.")
