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

"""``meas-trails known``: tables of known objects."""

from __future__ import annotations

__all__ = ("known",)

from pathlib import Path

import click

_EPILOG = """\b
Columns (in any case, and under the names of Sorcha and JPL Horizons):
  designation              designation or name
  mjdTai | mjdUtc | jdUtc  time; or --mjd for all rows
  ra, dec                  position seen from the observatory, ICRS, degrees
  rateRa, rateDec          motion with cos(dec), degrees per day; optional;
                           RA_rate and DEC_rate only with a unit
  rate, positionAngle      the same as a rate and a direction East of North
  vmag                     V magnitude; optional
  positionErr              standard deviation of the position in each of two
                           directions, arcseconds; optional: by default the
                           defaultPositionErr of AssociateTrailsTask

\b
Examples:
  meas-trails known ingest REPO ephemerides.ecsv
  meas-trails known ingest REPO visit.csv --mjd 61234.56789 --run known/visit
"""


@click.group()
def known() -> None:
    """Put ephemerides of known objects into a repository, and list them.

    AssociateTrailsTask in pipelines/DetectTrails.yaml recognizes these objects among the candidates.
    """


@known.command(epilog=_EPILOG)
@click.argument("repo", type=click.Path())
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--mjd",
    type=float,
    help="Time of all positions, MJD, TAI, for a table without a column of times.",
)
@click.option(
    "--run", metavar="RUN", help="RUN collection for the table; a run holds one table.  [default: known/NAME]"
)
def ingest(repo: str, file: Path, mjd: float | None, run: str | None) -> None:
    """Put the table FILE of known objects into REPO, as known_objects.

    FILE is .ecsv, .csv, .parquet, .vot or .xml (VOTable). A row is the position of an object at a time.
    Units in the table are converted; a column without a unit is in the unit below. Without a motion, an
    object needs two rows: it moves from one position to the other. A table with a missing or impossible value
    is refused with its row and column.
    """
    from ..core.association.known_objects import read_known_objects
    from ..repository.known_objects import put_known_objects

    table = read_known_objects(file, mjd_tai=mjd)
    done = put_known_objects(repo, table, run or f"known/{file.stem}")
    click.echo(
        f"Put {done.rows} positions of {done.objects} known objects, MJD {done.first:.5f} to "
        f"{done.last:.5f}, into run {done.run!r} of {repo}; add it to the input collections (-i) of a "
        "pipeline to use it."
    )


@known.command("list")
@click.argument("repo", type=click.Path())
def list_tables(repo: str) -> None:
    """List the tables of known objects in REPO."""
    from rich.table import Table

    from ..repository.known_objects import list_known_objects
    from ._console import make_console

    tables = list_known_objects(repo)
    if not tables:
        raise click.ClickException(f"{repo} has no known_objects; add them with 'meas-trails known ingest'.")
    shown = Table("run", "objects", "positions", "first (MJD TAI)", "last (MJD TAI)")
    for row in tables:
        shown.add_row(row.run, str(row.objects), str(row.rows), f"{row.first:.5f}", f"{row.last:.5f}")
    make_console().print(shown)
