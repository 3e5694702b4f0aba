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

"""``meas-trails show``: one detector with its candidates, as a picture."""

from __future__ import annotations

__all__ = ("show",)

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..repository.candidates import DetectorResult

_CUTOUTS = 12


@click.command()
@click.argument("repo")
@click.argument("collection")
@click.option("--visit", type=int, help="Visit.  [default: first]")
@click.option("--detector", type=int, help="Detector.  [default: first]")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("trails.png"),
    show_default=True,
    help="Output file; its ending (.png, .pdf, .svg) selects the format.",
)
@click.option(
    "--image",
    "image_type",
    help="Dataset type of the image.  [default: the image in which the candidates were found]",
)
@click.option(
    "--min-score",
    type=click.FloatRange(0.0, 1.0),
    help="Lowest score drawn.  [default: score at which the model had 10 false candidates per detector in "
    "its calibration]",
)
@click.option(
    "--cutouts",
    type=click.IntRange(min=0),
    help="Number of best candidates to show at full resolution next to the image.  [default: 12 for "
    "images with a side longer than 1400 pixels, otherwise 0]",
)
def show(
    repo: str,
    collection: str,
    visit: int | None,
    detector: int | None,
    output: Path,
    image_type: str | None,
    min_score: float | None,
    cutouts: int | None,
) -> None:
    """Draw one detector of COLLECTION in REPO.

    A small image is drawn in three panels: the image, the probability that each pixel belongs to a trail, and
    the candidates, over the truth if there is one. A large image is drawn with numbered candidates, best
    first, next to the best candidates at full resolution.
    """
    from ..core.atomic import atomic_path
    from ..evaluation.figures.detector import LARGE, DetectorView, detector_figure, mosaic_figure
    from ..repository.candidates import detector_results
    from ..repository.pixels import read_pixels

    result = next(detector_results(repo, collection, visit=visit, detector=detector))
    image_type = image_type or result.image_type
    try:
        pixels, box = read_pixels(result.butler, f"{image_type}.image", result.data_id)
    except LookupError as error:
        raise click.ClickException(
            f"{collection!r} has no {image_type} of {result.label}; pass the dataset type of the image with "
            "--image."
        ) from error
    try:
        probability = result.butler.get("trail_probability", result.data_id)
    except LookupError as error:
        raise click.ClickException(
            f"{collection!r} has no trail_probability of {result.label}; run TrailSegmentationTask with "
            "writeProbability."
        ) from error
    threshold = result.default_min_score if min_score is None else min_score
    if cutouts is None:
        cutouts = _CUTOUTS if max(pixels.shape) > LARGE else 0
    view = DetectorView(
        pixels,
        probability.array,
        result.candidates,
        result.truth,
        origin=(int(box.x.start), int(box.y.start)),
        title=f"{result.data_id['instrument']}, {result.label}",
        min_score=threshold,
    )
    figure = mosaic_figure(view, cutouts) if cutouts else detector_figure(view)
    try:
        with atomic_path(output, keep_suffix=True) as partial:
            figure.savefig(partial, dpi=110)
    except ValueError as error:
        raise click.ClickException(f"{output} cannot be written: {error}") from error
    click.echo(str(output))
    _explain(result, threshold)


def _explain(result: DetectorResult, threshold: float) -> None:
    """Print the reason if the picture has no candidates."""
    import numpy as np

    scores = np.asarray(result.candidates["score"], dtype=np.float64)
    if len(scores) == 0:
        click.echo(f"There are no candidates on {result.label}.", err=True)
    elif not np.any(scores >= threshold):
        click.echo(
            f"None of the {len(scores)} candidates on {result.label} has a score of at least "
            f"{threshold:.3f}; the highest is {scores.max():.3f}: lower --min-score to see them.",
            err=True,
        )
