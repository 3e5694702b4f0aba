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

"""Options that select candidates of a collection, and images to read."""

from __future__ import annotations

__all__ = ("fits_option", "image_options", "option_errors", "selected_candidates", "selection_options")

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import astropy.table

    from ..core.catalog.selection import CandidateSelection
    from ..repository.candidates import DetectorResult

_OPTIONS = (
    click.option("--visit", type=int, help="Only this visit."),
    click.option("--detector", type=int, help="Only this detector."),
    click.option(
        "--min-score",
        type=click.FloatRange(0.0, 1.0),
        default=0.0,
        show_default=True,
        help="Lowest score of a candidate.",
    ),
    click.option(
        "--streaks/--no-streaks",
        default=False,
        show_default=True,
        help="Include candidates on satellite streaks.",
    ),
    click.option(
        "--where",
        metavar="CONDITION",
        help="Condition on the columns of a candidate, such as "
        "\"snr > 8 and trailLengthPix > 20\" or \"band in ('r', 'i') and not trail_flag_edge\": comparisons, "
        "and, or, not, parentheses; in the units of the columns (doc/catalog.md).",
    ),
    click.option(
        "--sample",
        type=click.IntRange(min=1),
        help="Number of candidates of a random sample.  [default: all]",
    ),
    click.option(
        "--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Seed of the random sample."
    ),
    click.option(
        "--sort",
        default="-score",
        show_default=True,
        metavar="COLUMN",
        help="Column to sort by; a leading '-' sorts in descending order.",
    ),
)


_IMAGE_OPTIONS = (
    click.option(
        "--dataset-type",
        default="preliminary_visit_image",
        show_default=True,
        help="Dataset type of the images.",
    ),
    click.option("--where", default="", metavar="CONDITION", help="Condition of a Butler query."),
    click.option(
        "--template",
        type=click.Choice(["auto", "none"]),
        default="auto",
        show_default=True,
        help="Use the templates of the images where there are any, or none.",
    ),
    click.option(
        "--template-type",
        default="template_detector",
        show_default=True,
        help="Dataset type of the templates.",
    ),
)


_FITS_OPTIONS: dict[str, dict[str, Any]] = {
    "--hdu": {"metavar": "HDU"},
    "--fwhm": {"type": click.FloatRange(min=0.0, min_open=True), "metavar": "ARCSEC"},
    "--noise": {
        "type": click.Choice(["check", "file", "sky"]),
        "default": "check",
        "show_default": True,
    },
    "--ignore-mask": {"is_flag": True},
}
"""Options of commands that read FITS files."""


def fits_option(name: str, text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return an option of commands that read FITS files.

    Parameters
    ----------
    name
        Its name: ``--hdu``, ``--fwhm``, ``--noise`` or ``--ignore-mask``.
    text
        Help text of the command.
    """
    return click.option(name, help=text, **_FITS_OPTIONS[name])


def image_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that select images and templates of a repository to a command."""
    for option in reversed(_IMAGE_OPTIONS):
        command = option(command)
    return command


def selection_options(limit: int | None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that adds the options of a selection.

    The command gets them as its arguments ``visit``, ``detector`` and ``selection``, a
    `~lsst.meas.trails.core.catalog.selection.CandidateSelection`.

    Parameters
    ----------
    limit
        Default of the largest number of candidates.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def command(*args: Any, **kwargs: Any) -> None:
            from ..core.catalog.selection import CandidateSelection

            names = ("min_score", "streaks", "where", "sample", "seed", "sort", "limit")
            selection = CandidateSelection(**{name: kwargs.pop(name) for name in names})
            function(*args, selection=selection, **kwargs)

        at_most = click.option(
            "--limit",
            type=click.IntRange(min=1),
            default=limit,
            show_default=limit is not None,
            help="Largest number of candidates.",
        )
        decorated: Callable[..., None] = command
        for option in (at_most, *reversed(_OPTIONS)):
            decorated = option(decorated)
        return decorated

    return decorate


def selected_candidates(
    results: list[DetectorResult], selection: CandidateSelection
) -> tuple[astropy.table.Table, int]:
    """Return the selected candidates of detectors, and their number without the limit.

    Parameters
    ----------
    results
        Catalogs of the detectors.
    selection
        The selection.

    Raises
    ------
    click.BadParameter
        Raised if an option is invalid.
    """
    import astropy.table

    from ..core.catalog.export import CatalogFormatError
    from ..core.catalog.row_filter import FilterError

    with option_errors("--where", FilterError):
        tables = [selection.matching(result.candidates) for result in results]
    joined = astropy.table.vstack(tables, metadata_conflicts="silent")
    with option_errors("--sort", CatalogFormatError):
        joined = selection.ordered(joined)
    return joined[: selection.limit], len(joined)


@contextlib.contextmanager
def option_errors(option: str, *errors: type[Exception]) -> Iterator[None]:
    """Convert errors of some types to usage errors of an option."""
    try:
        yield
    except errors as error:
        raise click.BadParameter(str(error), param_hint=option) from error
