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

"""``meas-trails vet``: a page to label candidates, and the way of the labels into the Butler."""

from __future__ import annotations

__all__ = ("vet",)

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ._selection import selected_candidates, selection_options

if TYPE_CHECKING:
    from ..core.catalog.selection import CandidateSelection

_EXAMPLES = """\b
Examples:
  meas-trails vet REPO u/me/trails -o vet --min-score 0.1
  meas-trails vet REPO u/me/trails -o vet.html --sample 200 --limit 200
  meas-trails vet REPO u/me/trails --collect labels.csv --run u/me/labels
"""


@click.command(epilog=_EXAMPLES)
@click.argument("repo")
@click.argument("collection")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder for the page, vet.html, and its pictures; an earlier page is replaced. A name that ends in "
    ".html is a single file, to send to a phone.",
)
@selection_options(limit=1000)
@click.option(
    "--collect",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV or ECSV file of labels that was downloaded from the page; may be repeated. Its labels are put "
    "into --run.",
)
@click.option("--run", help="RUN collection for the labels.")
@click.option("--overwrite", is_flag=True, help="Replace the labels of the same detectors in --run.")
def vet(
    repo: str,
    collection: str,
    output: Path | None,
    visit: int | None,
    detector: int | None,
    selection: CandidateSelection,
    collect: tuple[Path, ...],
    run: str | None,
    overwrite: bool,
) -> None:
    """Write a page to label the candidates of COLLECTION in REPO, or collect the labels.

    The page needs no server and no network. It shows image, template, difference image, probability and
    fitted trail of each candidate, best first. Keys or taps say whether it is a trail, an artifact or unsure.
    The labels stay in the browser until they are downloaded.

    --collect checks the downloaded files against the candidates of COLLECTION and puts their labels into the
    Butler as trail_label, one per detector: training and evaluation read them.
    """
    if (output is None) == (not collect):
        raise click.UsageError("Pass either -o for a page, or --collect for labels.")
    if collect:
        if run is None:
            raise click.UsageError("--collect needs the name of a RUN collection; pass --run.")
        _collect(repo, collection, collect, run, overwrite)
        return
    if run is not None or overwrite:
        raise click.UsageError("--run and --overwrite apply to labels; pass --collect FILE, too.")
    assert output is not None
    _write(repo, collection, output, visit, detector, selection)


def _write(
    repo: str,
    collection: str,
    output: Path,
    visit: int | None,
    detector: int | None,
    selection: CandidateSelection,
) -> None:
    from lsst.meas.trails import __version__

    from ..evaluation.vetting.page import VetPage, write_vet_page
    from ..repository.candidates import detector_results
    from ._vetting import vet_candidates

    results = list(detector_results(repo, collection, visit=visit, detector=detector, with_truth=False))
    table, total = selected_candidates(results, selection)
    page = VetPage(
        title=f"Trail candidates of {collection}",
        subtitle=f"Repository {Path(repo).name or repo}, collection {collection}; {len(table)} of {total} "
        f"selected candidates, sorted by {selection.sort}. Written by meas-trails vet, meas_trails "
        f"{__version__}.",
        collection=collection,
        generator=f"meas_trails {__version__}",
    )
    path = write_vet_page(page, vet_candidates(results, table), output)
    left = f" of {total}; pass --limit {total} for all" if len(table) < total else ""
    click.echo(f"{path}: {len(table)} candidates{left}")


def _collect(repo: str, collection: str, files: tuple[Path, ...], run: str, overwrite: bool) -> None:
    from ..evaluation.labels import label_metrics
    from ..evaluation.metrics_table import select
    from ..repository.labels import collect_labels

    labels = collect_labels(repo, collection, files, run, overwrite=overwrite)
    detectors = len({(int(row["visit"]), int(row["detector"])) for row in labels})
    click.echo(f"{len(labels)} labels put into run {run!r} of {repo}; detectors: {detectors}.")
    purity = select(label_metrics(labels), section="label", metric="purity")
    for row in purity:
        scores = f"scores {row['low']:.1f} to {row['high']:.1f}" if row["by"] else "all scores"
        click.echo(
            f"  {scores}: {row['value']:.0%} of {row['count']} labeled candidates are trails "
            f"({row['valueLow']:.0%} to {row['valueHigh']:.0%})"
        )
