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

"""Command ``meas-trails link``: link the candidates of any collection to tracklets."""

from __future__ import annotations

__all__ = ("link",)

from pathlib import Path

import click

_SHOWN = ("nMembers", "ra", "dec", "rate", "positionAngle", "mag", "chi2", "chanceProbability", "designation")

_FORMATS = ("ecsv", "csv", "parquet", "votable")


@click.command()
@click.argument("repo")
@click.argument("collection")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for the tracklets, of the format that its ending selects: .ecsv, .csv, .parquet or .vot.",
)
@click.option(
    "--members",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for the candidates of the tracklets; formats as for --output.",
)
@click.option(
    "--min-score",
    type=click.FloatRange(0.0, 1.0),
    help="Lowest score of a candidate.  [default: score at which the model had 10 false candidates per "
    "detector in its calibration]",
)
@click.option(
    "--max-gap",
    type=click.FloatRange(min=0.0, min_open=True),
    default=90.0,
    show_default=True,
    help="Longest time between two linked visits, minutes.",
)
@click.option(
    "--max-chance",
    type=click.FloatRange(0.0, 1.0),
    default=0.5,
    show_default=True,
    help="Largest probability that a tracklet is chance.",
)
@click.option(
    "--digest2/--no-digest2",
    default=False,
    show_default=True,
    help="Compute scores as near-Earth objects, 0 to 100; needs pip install 'lsst-meas-trails[digest2]'.",
)
@click.option("--station", default="X05", show_default=True, help="Observatory code, for --digest2.")
def link(
    repo: str,
    collection: str,
    output: Path | None,
    members: Path | None,
    min_score: float | None,
    max_gap: float,
    max_chance: float,
    digest2: bool,
    station: str,
) -> None:
    """Link the candidates of COLLECTION in REPO to tracklets.

    A tracklet is a pair or chain of candidates in different visits that agree with one moving object. All
    visits of the collection are linked, whatever their night; pipelines/LinkTrails.yaml does the same for
    each night and puts the tables into the Butler.
    """
    from ..core.catalog.export import CatalogFormatError, format_of_path, write_catalog
    from ..core.linking.link import link_candidates
    from ..core.linking.neo_score import add_neo_scores
    from ..core.linking.options import LinkOptions
    from ..repository.candidates import linkable_catalogs
    from ._console import make_console
    from ._selection import option_errors

    formats = {}
    for option, path in (("--output", output), ("--members", members)):
        if path is not None:
            with option_errors(option, CatalogFormatError):
                formats[path] = format_of_path(path)
            if formats[path] not in _FORMATS:
                raise click.BadParameter(f"{path}: choose .ecsv, .csv, .parquet or .vot.", param_hint=option)
    catalogs = linkable_catalogs(repo, collection, min_score=min_score)
    try:
        result = link_candidates(catalogs, LinkOptions(max_gap=max_gap, max_chance=max_chance))
        tables = {output: result.tracklets, members: result.members}
        if digest2:
            add_neo_scores(result.tracklets, result.members, result.positions, station)
        for path, file_format in formats.items():
            write_catalog(tables[path], path, file_format, tables[path].colnames)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    console = make_console()
    if output is None:
        shown = result.tracklets[result.tracklets["chanceProbability"].argsort()]
        columns = [*_SHOWN, "digest2Neo"] if digest2 else _SHOWN
        console.print("\n".join(shown[list(columns)].pformat(max_lines=60, max_width=-1)), highlight=False)
    console.print(
        f"{len(result.tracklets)} tracklets of {result.detections} candidates in {result.visits} visits; "
        f"{result.expected_false:.1f} are expected to be chance.",
        soft_wrap=True,
    )
    for path in formats:
        console.print(f"{len(tables[path])} rows written to {path}", soft_wrap=True)
