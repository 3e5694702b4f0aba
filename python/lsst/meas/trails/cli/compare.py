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

"""``meas-trails compare``: candidates compared with the truth."""

from __future__ import annotations

__all__ = ("compare",)

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import astropy.table
    from rich.table import Table

_COLORS = {"found": "green", "missed": "dim", "false": "red", "satellite": "magenta", "duplicate": "yellow"}


@click.command()
@click.argument("repo")
@click.argument("collection")
@click.option("--visit", type=int, help="Only this visit.")
@click.option("--detector", type=int, help="Only this detector.")
@click.option(
    "--min-score",
    type=click.FloatRange(0.0, 1.0),
    help="Lowest score of a candidate.  [default: score at which the model had 10 false candidates per "
    "detector in its calibration]",
)
@click.option("--brief", is_flag=True, help="Print only the counts.")
def compare(
    repo: str, collection: str, visit: int | None, detector: int | None, min_score: float | None, brief: bool
) -> None:
    """Compare the candidates of COLLECTION in REPO with the truth.

    The truth comes from `meas-trails simulate` or InjectTrailsTask. Detectors without truth are skipped.
    """
    import numpy as np

    from ..evaluation.comparison import tally
    from ..evaluation.match_table import ImageContext, match_table
    from ..repository.candidates import detector_results
    from ._console import make_console

    console = make_console()
    tables = []
    without_truth = n_pixels = 0
    threshold = min_score
    for result in detector_results(repo, collection, visit=visit, detector=detector):
        if result.truth is None:
            without_truth += 1
            continue
        if threshold is None:
            threshold = result.default_min_score
        candidates = result.candidates[np.asarray(result.candidates["score"]) >= threshold]
        ny, nx = result.candidates.meta["imageShape"]
        matches = match_table(candidates, result.truth, ImageContext(shape=(int(ny), int(nx))))
        tables.append(matches)
        n_pixels += result.n_pixels
        if not brief:
            console.print(_table(result.label, matches))
    if not tables:
        raise click.ClickException(
            f"No detector in {collection!r} has a truth table of simulated or injected trails to compare "
            "with: run meas-trails simulate, or InjectTrailsTask, first."
        )
    counts = tally(tables, n_pixels)
    bright = tally(tables, n_pixels, min_snr=15.0, min_length=20.0)
    console.print(
        f"Candidates with a score of at least {threshold:.3f}, in {len(tables)} detectors "
        f"({n_pixels / 1e6:.1f} Mpix):"
    )
    console.print(f"  found {counts.found} of {counts.trails} trails")
    console.print(
        f"  found {bright.found} of {bright.trails} trails with SNR > 15 and length > 20 pixels"
        + (f" ({100.0 * bright.completeness:.0f}%)" if bright.trails else "")
    )
    console.print(
        f"  {counts.false} false candidates: {counts.false_per_detector:.1f} per detector of 16.4 Mpix"
    )
    if without_truth:
        console.print(f"  skipped {without_truth} detectors without truth")


def _table(label: str, matches: astropy.table.Table) -> Table:
    """Return a table of the trails with their candidates, then of all other candidates."""
    import numpy as np
    from rich.table import Table

    table = Table(title=label[0].upper() + label[1:], title_justify="left", header_style="bold")
    table.add_column("")
    for name in ("true SNR", "length", "angle"):
        table.add_column(name, justify="right")
    for name in ("score", "SNR", "length", "angle", "mag", "offset"):
        table.add_column(name, justify="right", style="cyan")
    is_trail = np.asarray(matches["isTrail"])
    trails = matches[is_trail]
    for row in trails[np.argsort(-np.asarray(trails["snrOptimal"]))]:
        table.add_row(
            _colored("found" if row["isCandidate"] else "missed"),
            *(f"{row[name]:.1f}" for name in ("snrOptimal", "trueLength", "trueAngle")),
            *([*_describe(row), f"{row['dMidpoint']:.1f}"] if row["isCandidate"] else [""] * 6),
        )
    for row in matches[~is_trail & np.asarray(matches["isCandidate"])]:
        table.add_row(_colored(str(row["category"])), "", "", "", *_describe(row), "")
    table.caption = (
        "lengths and offsets in pixels, angles in degrees from +x; truth on the left, candidate on the right"
    )
    return table


def _colored(category: str) -> str:
    return f"[{_COLORS[category]}]{category}"


def _describe(row: astropy.table.Row) -> list[str]:
    return [
        f"{row['score']:.2f}",
        f"{row['snr']:.1f}",
        f"{row['trailLengthPix']:.1f}",
        f"{row['trailAnglePix']:.1f}",
        f"{row['trailMag']:.2f}",
    ]
