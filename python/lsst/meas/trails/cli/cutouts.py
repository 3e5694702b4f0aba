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

"""``meas-trails cutouts``: FITS cutouts and a contact sheet of candidates."""

from __future__ import annotations

__all__ = ("cutouts",)

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ._selection import option_errors, selection_options

if TYPE_CHECKING:
    from ..core.catalog.selection import CandidateSelection

_EXAMPLES = """\b
Examples:
  meas-trails cutouts REPO u/me/trails -o cutouts --min-score 0.9
  meas-trails cutouts REPO u/me/trails -o fast --where "trailRate > 10" --side 201
"""


@click.command(epilog=_EXAMPLES)
@click.argument("repo")
@click.argument("collection")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder to create; earlier cutouts in it are replaced.",
)
@selection_options(None)
@click.option(
    "--side",
    type=click.IntRange(min=1, max=1001),
    default=101,
    show_default=True,
    help="Smallest side of a cutout, pixels; an even number is increased by one.",
)
@click.option(
    "--margin",
    type=click.IntRange(min=0, max=400),
    default=25,
    show_default=True,
    help="Margin beyond the ends of a trail, pixels. Trails that need more than 1001 pixels are cropped.",
)
def cutouts(
    repo: str,
    collection: str,
    output: Path,
    visit: int | None,
    detector: int | None,
    selection: CandidateSelection,
    side: int,
    margin: int,
) -> None:
    """Cut images around the candidates of COLLECTION in REPO.

    Each candidate has a FITS file with the searched image, its mask, variance and PSF, in the layout of the
    cutouts in Rubin's alert packets, and, as far as the collection has them, template, difference and
    probability. A table has the candidates and their files, and a contact sheet (PNG) shows the first 300.
    Pixels are in nJy. The folder appears under its name only when it is complete.
    """
    from ..core.catalog.export import CatalogFormatError
    from ..core.catalog.row_filter import FilterError
    from ..core.progress import make_progress, track
    from ..repository.candidates import detector_results
    from ..tasks._cutout_files import SHEET_NAME, write_cutouts
    from ..tasks._input_image import UnreadableImageError

    results = list(detector_results(repo, collection, visit=visit, detector=detector, with_truth=False))
    try:
        with (
            option_errors("--where", FilterError),
            option_errors("--sort", CatalogFormatError),
            make_progress() as progress,
        ):
            done = write_cutouts(
                results,
                selection,
                output,
                side=side,
                margin=margin,
                track=lambda numbers: track(progress, numbers, "Cutting"),
            )
    except (OSError, UnreadableImageError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    left = f" of {done.total}" if done.cutouts < done.total else ""
    click.echo(f"{done.cutouts}{left} candidates cut into {output}")
    if done.on_sheet < done.cutouts:
        click.echo(f"{output / SHEET_NAME} shows the first {done.on_sheet}.")
