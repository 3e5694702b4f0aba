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

"""``meas-trails candidates``: the candidate catalog, printed or exported."""

from __future__ import annotations

__all__ = ("candidates",)

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import astropy.table

    from ..core.catalog.ades import AdesContext

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
_ASTROPY_FORMATS = {"ecsv": "ascii.ecsv", "csv": "ascii.csv", "parquet": "parquet", "votable": "votable"}
_ENDINGS = {
    ".ecsv": "ecsv",
    ".csv": "csv",
    ".parquet": "parquet",
    ".parq": "parquet",
    ".vot": "votable",
    ".xml": "votable",
    ".psv": "ades",
}
_RUBIN_TELESCOPE = ("reflector", 8.4, "CCD")


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
    "--where",
    metavar="CONDITION",
    help="Only the candidates that fulfill a condition on their columns, such as "
    "\"snr > 8 and trailLengthPix > 20\" or \"band in ('r', 'i') and not edgeFlag\". Comparisons, and, or, "
    "not, parentheses; in the columns' own units (doc/catalog.md).",
)
@click.option(
    "--sort",
    default="-score",
    show_default=True,
    metavar="COLUMN",
    help="Column to sort by; '-' before it puts the largest first.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Only so many, the first ones.")
@click.option(
    "--columns",
    metavar="NAMES",
    help="Columns to print or write, with commas between them, or 'all'. "
    "[default: a choice on the screen, all in a file]",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write; its ending decides the format: .ecsv, .csv, .parquet, .vot or .xml (VOTable), "
    ".psv (ADES).",
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["ecsv", "csv", "parquet", "votable", "ades"]),
    help="Format, whatever the file's ending. Without a file the catalog goes to the screen in this format.",
)
@click.option("--station", default="X05", show_default=True, help="ADES: observatory code.")
@click.option(
    "--submitter", default="Unnamed", show_default=True, help="ADES: name of who submits and measures."
)
@click.option(
    "--star-catalog",
    default="UNK",
    show_default=True,
    help="ADES: the Minor Planet Center's code of the catalog of reference stars, such as Gaia3.",
)
@click.option(
    "--telescope",
    type=(str, float, str),
    metavar="DESIGN APERTURE DETECTOR",
    help="ADES: the telescope, its aperture in meters.  [default: that of station X05, 'reflector 8.4 CCD']",
)
def candidates(
    repo: str,
    collection: str,
    visit: int | None,
    detector: int | None,
    min_score: float,
    streaks: bool,
    where: str | None,
    sort: str,
    limit: int | None,
    columns: str | None,
    output: Path | None,
    file_format: str | None,
    station: str,
    submitter: str,
    star_catalog: str,
    telescope: tuple[str, float, str] | None,
) -> None:
    r"""Print the trail candidates of COLLECTION in REPO, best first, or export them.

    ADES, the format of the Minor Planet Center, gets two observations for
    every candidate: the ends of the trail, at the start and the end of the
    exposure (UTC). Which end comes first cannot be told from one image: the
    file's comment and every remark say that the times of the two may be
    exchanged. A score for what goes into it (--min-score) is for you to choose.

    \b
    Examples:
      meas-trails candidates REPO u/me/trails --min-score 0.5
      meas-trails candidates REPO u/me/trails --where "trailRate > 2 and snr > 8" -o fast.ecsv
      meas-trails candidates REPO u/me/trails --min-score 0.9 --submitter "A. Observer" \
          --star-catalog Gaia3 -o report.psv
    """
    import astropy.table
    import numpy as np

    from ..core.catalog.row_filter import FilterError, select_rows
    from ._collections import detector_results

    written = _file_format(output, file_format)
    context = _ades_context(station, submitter, star_catalog, telescope) if written == "ades" else None
    if context is not None and columns is not None:
        raise click.UsageError("--columns: the fields of ADES cannot be chosen; leave it out.")
    if written == "parquet" and output is None:
        raise click.UsageError("Parquet is not for the screen: name a file with -o.")

    def select(table: astropy.table.Table) -> astropy.table.Table:
        keep = np.asarray(table["score"]) >= min_score
        if not streaks:
            keep &= ~np.asarray(table["streakFlag"])
        if where is not None:
            try:
                keep &= select_rows(table, where)
            except FilterError as error:
                raise click.BadParameter(str(error), param_hint="--where") from error
        return table[keep]

    results = detector_results(repo, collection, visit=visit, detector=detector, with_truth=False)
    joined = astropy.table.vstack(
        [select(result.candidates) for result in results], metadata_conflicts="silent"
    )
    joined = _sorted(joined, sort)
    total = len(joined)
    joined = joined[:limit]
    if written is None:
        _print(joined[_chosen(joined, columns or ",".join(_SHOWN))], total)
        return
    text = _Export(written, context, _chosen(joined, columns or "all"))
    if output is None:
        click.echo(text.as_text(joined), nl=False)
        return
    text.write(joined, output)
    click.echo(f"{len(joined)} candidates written to {output}")


def _file_format(output: Path | None, file_format: str | None) -> str | None:
    """Return the format to write, none for a table on the screen."""
    if file_format is not None or output is None:
        return file_format
    if output.suffix not in _ENDINGS:
        raise click.BadParameter(
            f"{output}: choose one of the endings {', '.join(_ENDINGS)}, or a format with --format.",
            param_hint="--output",
        )
    return _ENDINGS[output.suffix]


def _ades_context(
    station: str, submitter: str, star_catalog: str, telescope: tuple[str, float, str] | None
) -> AdesContext:
    from lsst.meas.trails import __version__

    from ..core.catalog.ades import RUBIN, AdesContext

    if telescope is None and station != RUBIN:
        raise click.UsageError(
            f"Of station {station} the telescope is not known: --telescope DESIGN APERTURE DETECTOR, for "
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


def _sorted(table: astropy.table.Table, sort: str) -> astropy.table.Table:
    """Return the rows in order, those without a value last."""
    import numpy as np

    name, descending = sort.removeprefix("-"), sort.startswith("-")
    (name,) = _chosen(table, name, "--sort")
    values = np.asarray(table[name])
    if descending:
        # A stable sort of texts backwards: sort the reversed, and reverse.
        order = len(values) - 1 - np.argsort(values[::-1], kind="stable")[::-1]
    else:
        order = np.argsort(values, kind="stable")
    if values.dtype.kind == "f":
        unknown = np.isnan(values[order])
        order = np.concatenate([order[~unknown], order[unknown]])
    return table[order]


def _chosen(table: astropy.table.Table, names: str, option: str = "--columns") -> list[str]:
    """Return the columns that are named in an option."""
    if names == "all":
        return list(table.colnames)
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    for name in chosen:
        if name not in table.colnames:
            close = difflib.get_close_matches(name, table.colnames, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(table.colnames)}."
            raise click.BadParameter(f"There is no column {name!r}; {hint}", param_hint=option)
    if not chosen:
        raise click.BadParameter("Name at least one column.", param_hint=option)
    return list(dict.fromkeys(chosen))


class _Export:
    """A catalog in one of the formats.

    Parameters
    ----------
    file_format
        Its name.
    context
        What ADES needs to know.
    columns
        The columns, for the other formats.
    """

    def __init__(self, file_format: str, context: AdesContext | None, columns: list[str]) -> None:
        self._format = file_format
        self._context = context
        self._columns = columns

    def as_text(self, table: astropy.table.Table) -> str:
        """Return what the file would hold."""
        import io

        if self._context is not None:
            return self._ades(table, self._context)
        if self._format == "votable":
            binary = io.BytesIO()
            self._prepared(table).write(binary, format="votable")
            return binary.getvalue().decode()
        text = io.StringIO()
        self._prepared(table).write(text, format=_ASTROPY_FORMATS[self._format])
        return text.getvalue()

    def write(self, table: astropy.table.Table, output: Path) -> None:
        """Write a file."""
        from ._output import write_whole

        if self._context is not None:
            text = self._ades(table, self._context)
            write_whole(output, lambda path: path.write_text(text, encoding="utf-8"))
            return
        prepared = self._prepared(table)
        write_whole(output, lambda path: prepared.write(str(path), format=_ASTROPY_FORMATS[self._format]))

    def _ades(self, table: astropy.table.Table, context: AdesContext) -> str:
        from ..core.catalog.ades import ades_psv

        try:
            return ades_psv(table, context)
        except ValueError as error:
            raise click.ClickException(str(error)) from error

    def _prepared(self, table: astropy.table.Table) -> astropy.table.Table:
        prepared = table[self._columns]
        if self._format == "votable" and "trailMag" in self._columns:
            # VOTables have no unit for AB magnitudes.
            prepared["trailMag"].unit = "mag"
        return prepared


def _print(table: astropy.table.Table, total: int) -> None:
    from rich.table import Table
    from rich.text import Text

    from ._collections import make_console

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
    """Return a value with as many digits as it deserves."""
    import numpy as np

    digits = {"score": 3, "snr": 1, "raErr": 7, "decErr": 7, "midpointMjdTai": 6}
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (float, np.floating)):
        sky = name.rstrip("01") in ("ra", "dec")
        return f"{value:.{5 if sky else digits.get(name, 2)}f}"
    return str(value)
