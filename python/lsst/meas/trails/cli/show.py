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

"""``meas-trails show``: one detector with its candidates, as a picture."""

from __future__ import annotations

__all__ = ("show",)

from pathlib import Path

import click


@click.command()
@click.argument("repo")
@click.argument("collection")
@click.option("--visit", type=int, help="Visit; by default the first.")
@click.option("--detector", type=int, help="Detector; by default the first.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("trails.png"),
    show_default=True,
    help="File to write; its ending (.png, .pdf, .svg) decides the format.",
)
@click.option(
    "--image",
    "image_type",
    help="Dataset type of the image.  [default: that of the image that the candidates were found in]",
)
@click.option(
    "--min-score",
    type=click.FloatRange(0.0, 1.0),
    help="Least score drawn. By default the one at which the model had 10 false candidates per detector on "
    "its validation scenes.",
)
def show(
    repo: str,
    collection: str,
    visit: int | None,
    detector: int | None,
    output: Path,
    image_type: str | None,
    min_score: float | None,
) -> None:
    """Draw one detector of COLLECTION in REPO.

    Three panels: the image, the probability that a pixel belongs to a trail,
    and the candidates, over the truth where there is one.
    """
    from ..evaluation.figures import detector_figure
    from ._collections import default_min_score, detector_results

    result = next(detector_results(repo, collection, visit=visit, detector=detector))
    image_type = image_type or result.image_type
    try:
        image = result.butler.get(f"{image_type}.image", result.data_id)
    except LookupError as error:
        raise click.ClickException(
            f"{collection!r} holds no {image_type} of {result.label}. Name the dataset type of the image "
            "with --image."
        ) from error
    try:
        probability = result.butler.get("trail_probability", result.data_id)
    except LookupError as error:
        raise click.ClickException(
            f"{collection!r} holds no trail_probability of {result.label}: it was not written, or removed."
        ) from error
    figure = detector_figure(
        image.array,
        probability.array,
        result.candidates,
        result.truth,
        origin=(int(image.bbox.x.start), int(image.bbox.y.start)),
        title=f"{result.data_id['instrument']}, {result.label}",
        min_score=default_min_score(result) if min_score is None else min_score,
    )
    try:
        figure.savefig(output, dpi=110)
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{output} cannot be written: {error}") from error
    click.echo(str(output))
