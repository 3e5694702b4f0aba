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

"""``meas-trails compare``: candidates beside the truth."""

from __future__ import annotations

__all__ = ("compare",)

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..evaluation.comparison import DetectorComparison
    from ..repository.candidates import DetectorResult


@click.command()
@click.argument("repo")
@click.argument("collection")
@click.option("--visit", type=int, help="Only this visit.")
@click.option("--detector", type=int, help="Only this detector.")
@click.option(
    "--min-score",
    type=click.FloatRange(0.0, 1.0),
    help="Least score of a candidate. By default the one at which the model had 10 false candidates per "
    "detector on its validation scenes.",
)
@click.option("--brief", is_flag=True, help="Only the counts.")
def compare(
    repo: str, collection: str, visit: int | None, detector: int | None, min_score: float | None, brief: bool
) -> None:
    """Print the candidates of COLLECTION in REPO beside the truth.

    The truth is that of `meas-trails simulate` or of InjectTrailsTask.
    Detectors without truth are left out.
    """
    from ..evaluation.comparison import compare_detector, tally
    from ..repository.candidates import detector_results
    from ._console import make_console

    console = make_console()
    comparisons = []
    without_truth = 0
    threshold = min_score
    for result in detector_results(repo, collection, visit=visit, detector=detector):
        if result.truth is None:
            without_truth += 1
            continue
        if threshold is None:
            threshold = result.default_min_score
        comparison = compare_detector(result.candidates, result.truth, result.n_pixels, min_score=threshold)
        comparisons.append(comparison)
        if not brief:
            console.print(_table(result, comparison))
    if not comparisons:
        raise click.ClickException(
            f"No detector in {collection!r} has a truth table, of simulated or of injected trails: there is "
            "nothing to compare with."
        )
    everything = tally(comparisons)
    bright = tally(comparisons, min_snr=15.0, min_length=20.0)
    megapixels = sum(comparison.n_pixels for comparison in comparisons) / 1e6
    console.print(
        f"Candidates with a score of at least {threshold:.3f}, in {everything.detectors} detectors "
        f"({megapixels:.1f} Mpix):"
    )
    console.print(f"  found {everything.found} of {everything.trails} trails")
    console.print(
        f"  found {bright.found} of {bright.trails} trails with SNR > 15 and length > 20 pixels"
        + (f" ({100.0 * bright.completeness:.0f}%)" if bright.trails else "")
    )
    console.print(
        f"  {everything.false} false candidates: {everything.false_per_detector:.1f} per detector of "
        "16.4 Mpix"
    )
    if without_truth:
        console.print(f"  {without_truth} detectors without truth were left out")


def _table(result: DetectorResult, comparison: DetectorComparison) -> Any:
    """Return a table of trails with their candidates, and of the rest."""
    import numpy as np
    from rich.table import Table

    table = Table(title=result.label[0].upper() + result.label[1:], title_justify="left", header_style="bold")
    for name, justify in (("", "left"), ("true SNR", "right"), ("length", "right"), ("angle", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for name in ("score", "SNR", "length", "angle", "mag", "offset"):
        table.add_column(name, justify="right", style="cyan")
    candidates, truth, matches = comparison.candidates, comparison.truth, comparison.matches
    for index in np.argsort(-np.asarray(truth["snr_optimal"])):
        row = truth[index]
        number = int(matches.candidate_of[index])
        measured = [""] * 6
        if number >= 0:
            candidate = candidates[number]
            offset = np.hypot(candidate["x"] - row["x"], candidate["y"] - row["y"])
            measured = [*_describe(candidate), f"{offset:.1f}"]
        table.add_row(
            "[green]found" if number >= 0 else "[dim]missed",
            f"{row['snr_optimal']:.1f}",
            f"{row['trail_length']:.1f}",
            f"{row['beta']:.1f}",
            *measured,
        )
    for index, candidate in enumerate(candidates):
        if comparison.false[index]:
            table.add_row("[red]false", "", "", "", *_describe(candidate), "")
        elif comparison.on_satellite[index]:
            table.add_row("[magenta]satellite", "", "", "", *_describe(candidate), "")
        elif matches.is_duplicate[index]:
            table.add_row("[yellow]duplicate", "", "", "", *_describe(candidate), "")
    table.caption = (
        "lengths and offsets in pixels, angles in degrees from +x; left the truth, right the candidate"
    )
    return table


def _describe(candidate: Any) -> list[str]:
    return [
        f"{candidate['score']:.2f}",
        f"{candidate['snr']:.1f}",
        f"{candidate['trailLengthPix']:.1f}",
        f"{candidate['trailAnglePix']:.1f}",
        f"{candidate['trailMag']:.2f}",
    ]
