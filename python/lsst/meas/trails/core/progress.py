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

"""Progress bars on standard error."""

from __future__ import annotations

__all__ = ("make_progress", "track")

from collections.abc import Iterable, Iterator, Sized
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


def make_progress(console: Console | None = None) -> Progress:
    """Return a progress bar that disappears at its end.

    Parameters
    ----------
    console
        Console of the bar; by default standard error.
    """
    import rich.console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console or rich.console.Console(stderr=True), transient=True)


def track[T](
    progress: Progress, items: Iterable[T], description: str, total: int | None = None
) -> Iterator[T]:
    """Yield items and show their progress.

    Unlike `rich.progress.track`, no thread waits for the end of the iteration: after an error such a thread
    would keep the process from ending.

    Parameters
    ----------
    progress
        The progress bar, which the caller starts and stops.
    items
        The items.
    description
        Text next to the bar.
    total
        Number of items; by default the length of ``items``, if it has one.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    task = progress.add_task(description, total=total)
    for item in items:
        yield item
        progress.advance(task)
    progress.remove_task(task)
