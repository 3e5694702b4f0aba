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

"""``meas-trails evaluate``: summary and report of an evaluation."""

from __future__ import annotations

__all__ = ("evaluate",)

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import astropy.table
    from rich.table import Table

    from ..evaluation.report.headlines import Headline
    from ..evaluation.report.page import Report, Section
    from ..repository.evaluation_result import EvaluationResult


_EXAMPLES = """\b
Examples:
  meas-trails evaluate REPO u/me/evaluation
  meas-trails evaluate REPO u/me/evaluation -o report --against u/me/other
"""


@click.command(epilog=_EXAMPLES)
@click.argument("repo")
@click.argument("collection")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the report: report.html, figures as PNG and PDF, numbers as ECSV. An earlier report is "
    "replaced. By default only the summary is printed.",
)
@click.option(
    "--against",
    multiple=True,
    metavar="COLLECTION",
    help="Another evaluated collection of the repository to compare with, for example of another model; may "
    "be repeated.",
)
@click.option("--instrument", help="Instrument, if the collection has several.")
@click.option(
    "--cutouts",
    type=click.IntRange(min=0),
    default=12,
    show_default=True,
    help="Number of pictures of found trails, of missed trails and of false candidates.",
)
def evaluate(
    repo: str,
    collection: str,
    output: Path | None,
    against: tuple[str, ...],
    instrument: str | None,
    cutouts: int,
) -> None:
    """Print the evaluation of COLLECTION in REPO, and write a report.

    COLLECTION is the output of pipelines/EvaluateTrails.yaml. The report is a single HTML file that needs no
    network and is readable on a phone.

    The report includes the stack's own catalogs if they were given to EvaluateTrails.yaml (-c
    parameters:stack_sources=source_detector); otherwise detections with sep substitute for them.
    """
    from ..evaluation.report.headlines import headlines
    from ..evaluation.report.page import write_report
    from ..repository.evaluation_result import read_evaluation
    from ._console import make_console

    names = (collection, *against)
    if len(set(names)) < len(names):
        raise click.UsageError("--against: name each collection once, and not COLLECTION itself.")
    evaluations = [read_evaluation(repo, name, instrument) for name in names]
    console = make_console()
    console.print(_summary([(item.collection, headlines(item.metrics)) for item in evaluations]))
    if output is None:
        return
    report = _report(repo, evaluations, cutouts)
    click.echo(f"Report: {write_report(report, output)}")


def _summary(results: list[tuple[str, list[Headline]]]) -> Table:
    """Return the table to print, with a column for each collection."""
    from rich.table import Table
    from rich.text import Text

    table = Table(header_style="bold", title="Evaluation", title_justify="left")
    table.add_column("")
    for name, _ in results:
        table.add_column(Text(name), justify="right")
    values = [{(item.group, item.label): item.value for item in found} for _, found in results]
    keys = list(dict.fromkeys(key for found in values for key in found))
    group = None
    for key in keys:
        if key[0] != group:
            group = key[0]
            table.add_section()
            table.add_row(Text(group, style="bold"))
        table.add_row(Text(f"  {key[1]}"), *(Text(found.get(key, "")) for found in values))
    return table


def _report(repo: str, evaluations: list[EvaluationResult], cutouts: int) -> Report:
    from lsst.meas.trails import __version__

    from ..evaluation.figures.captions import CAPTIONS
    from ..evaluation.figures.metrics import metric_figures
    from ..evaluation.metrics_table import select
    from ..evaluation.report.headlines import headlines
    from ..evaluation.report.page import Report
    from ..evaluation.report.sections import (
        against_section,
        head_cards,
        metric_sections,
        operating_point,
        summary_section,
    )

    first = evaluations[0]
    metrics = first.metrics
    has_truth = len(select(metrics, section="detection")) > 0
    sections = [summary_section(metrics)] if has_truth else []
    sections += metric_sections(metrics, metric_figures(metrics), CAPTIONS)
    if len(evaluations) > 1:
        sections.append(against_section({item.collection: item.metrics for item in evaluations}))
    if len(select(metrics, section="known")):
        sections.append(_known_section(first, cutouts))
    if has_truth:
        sections.append(_gallery_section(first, cutouts))
    sections.append(_origin_section(repo, first))
    point = operating_point(metrics)
    return Report(
        title=f"Asteroid trails: evaluation of {first.collection}",
        subtitle=f"Instrument {first.instrument}, repository {Path(repo).name or repo}. Intervals are "
        f"95% confidence intervals. Results at a single score threshold are for {point}.",
        cards=head_cards(headlines(metrics), point),
        sections=sections,
        footer=f"Written by meas-trails evaluate, meas_trails {__version__}.",
        generator=f"meas_trails {__version__}",
    )


def _gallery_section(evaluation: EvaluationResult, number: int) -> Section:
    from ..evaluation.report.page import Paragraph, Part, Section
    from ..evaluation.report.sections import operating_point, threshold_of
    from ..repository.evaluation_result import MATCHES_TYPE
    from ._gallery import Gallery

    threshold = threshold_of(evaluation.metrics)
    gallery = Gallery(evaluation.butler, number)
    parts: list[Part] = [
        Paragraph(
            f"Candidates with a score of at least {threshold:.3f}: {operating_point(evaluation.metrics)}."
        ),
        *gallery.parts(evaluation.tables(MATCHES_TYPE), threshold),
    ]
    if gallery.missing:
        left = f" and {len(gallery.missing) - 3} more" if len(gallery.missing) > 3 else ""
        parts.append(Paragraph(f"Missing pictures: {'; '.join(gallery.missing[:3])}{left}.", warning=True))
    return Section("Gallery", parts)


def _known_section(evaluation: EvaluationResult, number: int) -> Section:
    """Return the missed known objects, with pictures."""
    import astropy.table

    from ..evaluation.known_objects import MISSED_COLUMNS, missed_objects
    from ..evaluation.report.page import Paragraph, Part, Section, TablePart
    from ..repository.evaluation_result import KNOWN_TYPE
    from ._gallery import Gallery

    tables = list(evaluation.tables(KNOWN_TYPE))
    missed = missed_objects(astropy.table.vstack(tables, metadata_conflicts="silent"))
    gallery = Gallery(evaluation.butler, number)
    parts: list[Part] = [
        TablePart(
            "missed_known_objects",
            missed,
            "Counted known objects that were not found, brightest first, with the probable reason.",
            shown=list(MISSED_COLUMNS),
            formats={"ephRa": ".5f", "ephDec": ".5f"},
            max_rows=50,
        ),
        gallery.missed_known_objects(missed),
    ]
    if gallery.missing:
        parts.append(Paragraph(f"Missing pictures: {'; '.join(gallery.missing[:3])}.", warning=True))
    return Section("Missed known objects", parts)


def _origin_section(repo: str, evaluation: EvaluationResult) -> Section:
    """Return the provenance of the evaluation."""
    import astropy.table

    from lsst.meas.trails import __version__

    from ..evaluation.report.page import Listing, Paragraph, Part, Section, TablePart

    versions = evaluation.versions()
    models = evaluation.models()
    parts: list[Part] = [
        Paragraph(
            f"Repository {repo}, collection {evaluation.collection}, instrument {evaluation.instrument}. "
            f"This page was written by meas_trails {__version__}."
        )
    ]
    if len(models) > 1:
        parts.append(Paragraph("The candidates belong to more than one model.", warning=True))
    parts += [
        TablePart("models", models, "Models that found the candidates."),
        TablePart("detectors", _detectors(evaluation), "Searched images.", max_rows=50),
        TablePart("trail_metrics", evaluation.metrics, "All metrics.", max_rows=0, shown=()),
    ]
    if versions:
        table = astropy.table.Table({"package": list(versions), "version": list(versions.values())})
        parts.append(TablePart("versions", table, "Versions of the packages that the tasks ran with."))
    parts += [
        Listing(f"Configuration of {label}", text) for label, text in evaluation.configurations().items()
    ]
    return Section("Provenance", parts)


def _detectors(evaluation: EvaluationResult) -> astropy.table.Table:
    """Return a row for each detector that was searched."""
    import astropy.table

    from ..repository.evaluation_result import SEARCH_TYPE

    shown = ("instrument", "visit", "detector", "band", "nTrails", "nCounted", "nCandidates", "nFalse")
    tables = [table[list(shown)] for table in evaluation.tables(SEARCH_TYPE)]
    if not tables:
        return astropy.table.Table(names=shown, dtype=(str, int, int, str, int, int, int, int))
    return astropy.table.vstack(tables, metadata_conflicts="silent")
