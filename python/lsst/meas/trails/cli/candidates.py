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

"""``meas-trails candidates``: print or export the candidate catalog."""

from __future__ import annotations

__all__ = ("candidates",)

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ._selection import option_errors, selected_candidates, selection_options

if TYPE_CHECKING:
    import astropy.table

    from ..core.catalog.ades import AdesContext
    from ..core.catalog.selection import CandidateSelection

_SHOWN = (
    "visit",
    "detector",
    "ra",
    "dec",
    "trailLength",
    "trailAngle",
    "trailRate",
    "trailMag",
    "snr",
    "score",
)
_RUBIN_TELESCOPE = ("reflector", 8.4, "CCD")
_EXAMPLES = """\b
Examples:
  meas-trails candidates REPO u/me/trails --min-score 0.5
  meas-trails candidates REPO u/me/trails --where "trailRate > 2 and snr > 8" -o fast.ecsv
  meas-trails candidates REPO u/me/trails --min-score 0.9 --submitter "A. Observer" \\
      --star-catalog Gaia3 -o report.psv
"""


@click.command(epilog=_EXAMPLES)
@click.argument("repo")
@click.argument("collection")
@selection_options(limit=None)
@click.option(
    "--columns",
    metavar="NAMES",
    help="Columns to print or write, separated by commas, or 'all'. "
    "[default: a selection on the screen, all in a file]",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write; its ending selects the format: .ecsv, .csv, .parquet, .vot or .xml (VOTable), "
    ".psv (ADES).",
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["ecsv", "csv", "parquet", "votable", "ades"]),
    help="Format of the file, whatever its ending; without --output, the catalog is printed in this format.",
)
@click.option("--station", default="X05", show_default=True, help="ADES: observatory code.")
@click.option(
    "--submitter", default="Unnamed", show_default=True, help="ADES: name of the submitter and measurer."
)
@click.option(
    "--star-catalog",
    default="UNK",
    show_default=True,
    help="ADES: code of the catalog of reference stars at the Minor Planet Center, such as Gaia3.",
)
@click.option(
    "--telescope",
    type=(str, float, str),
    metavar="DESIGN APERTURE DETECTOR",
    help="ADES: design, aperture in meters and detector of the telescope.  [default for station X05: "
    "'reflector 8.4 CCD']",
)
def candidates(
    repo: str,
    collection: str,
    visit: int | None,
    detector: int | None,
    selection: CandidateSelection,
    columns: str | None,
    output: Path | None,
    file_format: str | None,
    station: str,
    submitter: str,
    star_catalog: str,
    telescope: tuple[str, float, str] | None,
) -> None:
    """Print the trail candidates of COLLECTION in REPO, best first, or export them.

    ADES, the format of the Minor Planet Center, has two observations per candidate: the ends of the trail, at
    the start and the end of the exposure (UTC). One image does not show which end comes first: the comment of
    the file and every remark say that the two times may be exchanged. Choose a --min-score for ADES.
    """
    from ..core.catalog.export import (
        CatalogFormatError,
        choose_columns,
        format_catalog,
        format_of_path,
        write_catalog,
    )
    from ..repository.candidates import detector_results

    with option_errors("--output", CatalogFormatError):
        written = format_of_path(output) if output is not None and file_format is None else file_format
    context = _ades_context(station, submitter, star_catalog, telescope) if written == "ades" else None
    if context is not None and columns is not None:
        raise click.UsageError("--columns does not apply to ADES, whose fields are fixed; omit it.")
    if written == "parquet" and output is None:
        raise click.UsageError("Parquet cannot be printed; name a file with -o.")

    results = detector_results(repo, collection, visit=visit, detector=detector, with_truth=False)
    joined, total = selected_candidates(list(results), selection)
    with option_errors("--columns", CatalogFormatError):
        chosen = choose_columns(joined, columns or (",".join(_SHOWN) if written is None else "all"))
    if written is None:
        _print(joined[chosen], total)
        return
    try:
        if output is None:
            click.echo(format_catalog(joined, written, chosen, context), nl=False)
        else:
            write_catalog(joined, output, written, chosen, context)
            click.echo(f"{len(joined)} candidates written to {output}")
    except ValueError as error:
        raise click.ClickException(str(error)) from error


def _ades_context(
    station: str, submitter: str, star_catalog: str, telescope: tuple[str, float, str] | None
) -> AdesContext:
    from lsst.meas.trails import __version__

    from ..core.catalog.ades import RUBIN, AdesContext

    if telescope is None and station != RUBIN:
        raise click.UsageError(
            f"The telescope of station {station} is unknown; pass --telescope DESIGN APERTURE DETECTOR, for "
            "example --telescope reflector 4.0 CCD."
        )
    design, aperture, detector = telescope or _RUBIN_TELESCOPE
    try:
        return AdesContext(
            station=station,
            submitter=submitter,
            star_catalog=star_catalog,
            design=design,
            aperture=aperture,
            detector=detector,
            software=f"meas_trails {__version__}"[:100],
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _print(table: astropy.table.Table, total: int) -> None:
    from rich.table import Table
    from rich.text import Text

    from ._console import make_console

    console = make_console()
    shown = Table(header_style="bold")
    for name in table.colnames:
        unit = table[name].unit
        header = Text.assemble(name, ("" if unit is None else f"\n{unit}", "dim"))
        shown.add_column(header, justify="right")
    for row in table:
        shown.add_row(*(Text(_written(name, row[name])) for name in table.colnames))
    console.print(shown)
    left = f"; the first {len(table)} are shown" if len(table) < total else ""
    console.print(f"{total} candidates{left}")


def _written(name: str, value: object) -> str:
    """Return a value with its significant digits."""
    import numpy as np

    digits = {"score": 3, "snr": 1, "raErr": 7, "decErr": 7, "midpointMjdTai": 6}
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (float, np.floating)):
        sky = name.rstrip("01") in ("ra", "dec")
        return f"{value:.{5 if sky else digits.get(name, 2)}f}"
    return str(value)
