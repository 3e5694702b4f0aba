# This file is part of meas_trails.
#
# Developed for the LSST Data Management System.
# This product includes software developed by the LSST Project
# (https://www.lsst.org).
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# This program is free software: you can redistribute it and/or modify
# it under the terms of the GNU General Public License as published by
# the Free Software Foundation, either version 3 of the License, or
# (at your option) any later version.
#
# This program is distributed in the hope that it will be useful,
# but WITHOUT ANY WARRANTY; without even the implied warranty of
# MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
# GNU General Public License for more details.
#
# You should have received a copy of the GNU General Public License
# along with this program.  If not, see <https://www.gnu.org/licenses/>.

"""``meas-trails candidates``: the candidate catalog, printed or exported."""

from __future__ import annotations

__all__ = ("candidates",)

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import astropy.table

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
_FORMATS = {
    ".ecsv": "ascii.ecsv",
    ".csv": "ascii.csv",
    ".parquet": "parquet",
    ".vot": "votable",
    ".xml": "votable",
}


@click.command()
@click.argument("repo")
@click.argument("collection")
@click.option("--visit", type=int, help="Only this visit.")
@click.option("--detector", type=int, help="Only this detector.")
@click.option(
    "--min-score",
    type=click.FloatRange(0.0, 1.0),
    default=0.0,
    show_default=True,
    help="Least score of a candidate.",
)
@click.option("--streaks/--no-streaks", default=False, help="Also those that cross the detector.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write all columns to: .ecsv, .csv, .parquet or .vot.",
)
def candidates(
    repo: str,
    collection: str,
    visit: int | None,
    detector: int | None,
    min_score: float,
    streaks: bool,
    output: Path | None,
) -> None:
    """Print the trail candidates of COLLECTION in REPO, best first."""
    import astropy.table
    import numpy as np

    from ._collections import detector_results

    if output is not None and output.suffix not in _FORMATS:
        raise click.BadParameter(f"{output}: choose one of the endings {', '.join(_FORMATS)}.")
    tables = [
        result.candidates for result in detector_results(repo, collection, visit=visit, detector=detector)
    ]
    joined = astropy.table.vstack(tables, metadata_conflicts="silent")
    keep = np.asarray(joined["score"]) >= min_score
    if not streaks:
        keep &= ~np.asarray(joined["streakFlag"])
    joined = joined[keep]
    joined = joined[np.argsort(-np.asarray(joined["score"]), kind="stable")]
    if output is not None:
        _write(joined, output)
        click.echo(f"{len(joined)} candidates written to {output}")
        return
    _print(joined)


def _write(table: astropy.table.Table, output: Path) -> None:
    if _FORMATS[output.suffix] == "votable":
        # VOTables have no unit for AB magnitudes.
        table["trailMag"].unit = "mag"
    try:
        table.write(str(output), format=_FORMATS[output.suffix], overwrite=True)
    except OSError as error:
        raise click.ClickException(f"{output} cannot be written: {error}") from error


def _print(table: astropy.table.Table) -> None:
    from rich.table import Table

    from ._collections import make_console

    console = make_console()
    shown = Table(header_style="bold")
    for name in _SHOWN:
        unit = table[name].unit
        shown.add_column(f"{name}\n[dim]{unit}" if unit is not None else name, justify="right")
    digits = {"ra": 5, "dec": 5, "score": 3, "trailMag": 2, "snr": 1}
    for row in table:
        shown.add_row(
            *(
                str(row[name]) if name in ("visit", "detector") else f"{row[name]:.{digits.get(name, 2)}f}"
                for name in _SHOWN
            )
        )
    console.print(shown)
    console.print(f"{len(table)} candidates")
