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
from typing import TYPE_CHECKING, Any

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
@selection_options(None)
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
    ".psv (ADES), .obs80 (80 columns of the Minor Planet Center), .hldet (heliolinx; with a column-format "
    "file .colformat and a file of images .imgs next to it), .reg (regions for DS9).",
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["ecsv", "csv", "parquet", "votable", "ades", "mpc80", "heliolinx", "ds9"]),
    help="Format of the file, whatever its ending; without --output, the catalog is printed in this format.",
)
@click.option(
    "--tracklets",
    metavar="COLLECTION",
    help="ADES, 80 columns: collection of the tracklets, whose members share a trkSub.  [default: "
    "COLLECTION, if it has tracklets]",
)
@click.option(
    "--station",
    help="ADES, 80 columns, heliolinx: observatory code of the Minor Planet Center, such as W84.  [default: "
    "X05 for images of LSSTCam; required for others]",
)
@click.option(
    "--telescope",
    type=(str, float, str),
    metavar="DESIGN APERTURE DETECTOR",
    help="ADES, 80 columns: design, aperture in meters and detector of the telescope.  [default for station "
    "X05: 'reflector 8.4 CCD'; required for others]",
)
@click.option("--telescope-name", default="", metavar="NAME", help="ADES, 80 columns: name of the telescope.")
@click.option(
    "--submitter",
    default="Unnamed",
    show_default=True,
    help="ADES, 80 columns: name of the submitter and measurer.",
)
@click.option(
    "--star-catalog",
    default="UNK",
    show_default=True,
    help="ADES, 80 columns: code of the catalog of reference stars at the Minor Planet Center, such as "
    "Gaia3.",
)
@click.option(
    "--band",
    default="",
    metavar="CODE",
    help="ADES, 80 columns: code of the band of all magnitudes at the Minor Planet Center, such as Sr.  "
    "[default: from the filter; without a code, magnitudes are omitted]",
)
@click.option(
    "--rms-time",
    type=click.FloatRange(min=0.0, min_open=True),
    metavar="SECONDS",
    help="ADES: random error of the times.  [default: 0.01 for station X05, otherwise omitted]",
)
def candidates(
    repo: str,
    collection: str,
    columns: str | None,
    output: Path | None,
    file_format: str | None,
    tracklets: str | None,
    station: str | None,
    telescope: tuple[str, float, str] | None,
    telescope_name: str,
    submitter: str,
    star_catalog: str,
    band: str,
    rms_time: float | None,
    visit: int | None,
    detector: int | None,
    selection: CandidateSelection,
) -> None:
    """Print the trail candidates of COLLECTION in REPO, best first, or export them.

    ADES, the format of the Minor Planet Center, has two observations per candidate: the ends of the trail, at
    the start and the end of the exposure (UTC). One image does not show which end comes first: without a
    tracklet, the note 'a' and a remark say that the two times may be exchanged. Choose a --min-score for
    ADES. Candidates whose time or exposure time was assumed when their image was ingested are refused.
    """
    from ..core.catalog.export import (
        REPORT_FORMATS,
        CatalogFormatError,
        Report,
        choose_columns,
        format_catalog,
        format_of_path,
        write_catalog,
    )
    from ..core.catalog.row_filter import FilterError
    from ..repository.candidates import detector_results
    from ..repository.observations import read_observations

    with option_errors("--output", CatalogFormatError):
        written = format_of_path(output) if output is not None and file_format is None else file_format
    if written in (*REPORT_FORMATS, "ds9") and columns is not None:
        raise click.UsageError(f"--columns does not apply to {written}, whose fields are fixed; omit it.")
    if written == "parquet" and output is None:
        raise click.UsageError("Parquet cannot be printed; name a file with -o.")
    report = None
    if written in REPORT_FORMATS:
        with option_errors("--where", FilterError), option_errors("--sort", CatalogFormatError):
            found = read_observations(
                repo, collection, selection, visit=visit, detector=detector, tracklets=tracklets
            )
        station = _station(found.instruments, station)
        context = None
        if written != "heliolinx":
            given = {"submitter": submitter, "star_catalog": star_catalog, "band": band}
            context = _ades_context(station, telescope, telescope_name, rms_time, given)
        report = Report(station, context, found.images)
        table, total = found.table, len(found.table)
    else:
        results = detector_results(repo, collection, visit=visit, detector=detector, with_truth=False)
        table, total = selected_candidates(list(results), selection)
    with option_errors("--columns", CatalogFormatError):
        chosen = choose_columns(table, columns or (",".join(_SHOWN) if written is None else "all"))
    if written is None:
        _print(table[chosen], total)
        return
    try:
        if output is None:
            click.echo(format_catalog(table, written, chosen, report), nl=False)
        else:
            paths = write_catalog(table, output, written, chosen, report)
            click.echo(f"{len(table)} candidates written to {', '.join(map(str, paths))}")
    except ValueError as error:
        raise click.ClickException(str(error)) from error


def _station(instruments: tuple[str, ...], station: str | None) -> str:
    """Return the observatory code, or ask for it if the images are not of the Rubin Observatory."""
    from ..core.catalog.ades import RUBIN
    from ..core.catalog.mpc_codes import RUBIN_INSTRUMENTS

    others = [instrument for instrument in instruments if instrument not in RUBIN_INSTRUMENTS]
    if station is None and others:
        raise click.UsageError(
            f"The station of the instrument {', '.join(others)} is unknown; pass its observatory code with "
            "--station, and for reports to the Minor Planet Center --telescope DESIGN APERTURE DETECTOR."
        )
    return station or RUBIN


def _ades_context(
    station: str,
    telescope: tuple[str, float, str] | None,
    name: str,
    rms_time: float | None,
    values: dict[str, str],
) -> AdesContext:
    """Return the context of observations, or ask for what is unknown of their telescope."""
    from lsst.meas.trails import __version__

    from ..core.catalog.ades import RUBIN, AdesContext

    given: dict[str, Any] = {**values, "software": f"meas_trails {__version__}"[:100]}
    if name:
        given["telescope"] = name
    if rms_time is not None:
        given["rms_time"] = rms_time
    if telescope is not None:
        given |= dict(zip(("design", "aperture", "detector"), telescope, strict=True))
    elif station != RUBIN:
        raise click.UsageError(
            f"The telescope of station {station} is unknown; pass --telescope DESIGN APERTURE DETECTOR, for "
            "example --telescope reflector 4.0 CCD."
        )
    try:
        return AdesContext.rubin(**given) if station == RUBIN else AdesContext(station=station, **given)
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
