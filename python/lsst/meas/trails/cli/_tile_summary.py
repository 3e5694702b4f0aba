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

"""Table of the summary of a tile file."""

from __future__ import annotations

__all__ = ("summary_table",)

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

    from ..core.tiles.summary import TileSummary

_SHOWN_IMAGES = 5


def summary_table(summary: TileSummary) -> Table:
    """Return a summary as a table."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_header=False, box=None, title=summary["file"], title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, value in _rows(summary):
        table.add_row(key, escape(value))
    return table


def _rows(summary: TileSummary) -> list[tuple[str, str]]:
    """Return the names and values of the table."""
    side, images = summary["tile_size"], summary["images"]
    rows = [
        (
            "tiles",
            f"{summary['tiles']} of {side} x {side} pixels, {summary['bytes'] / 1e6:.1f} MB"
            + (", in other files" if summary["virtual"] else ""),
        ),
        ("classes", _counts(summary["classes"])),
        ("planes", ", ".join(summary["planes"])),
        ("trail SNR", _span(summary["max_snr"], "{:.1f}")),
        ("noise", _span(summary["noise"], "{:.3g}")),
        ("ra, dec", f"{_span(summary['ra'], '{:.4f}')}; {_span(summary['dec'], '{:+.4f}')}"),
    ]
    if summary["splits"]:
        rows.append(("splits", f"{_counts(summary['splits'])} (by {summary['joined_by']})"))
    rows.append(("images", f"{len(images)} with {sum(image['trails'] for image in images)} trails"))
    for image in images[:_SHOWN_IMAGES]:
        name = ", ".join(f"{key} {value}" for key, value in image["data_id"].items()) or "no data ID"
        ny, nx = image["shape"]
        sources = f"real sources from {image['real_sources']}" if image["real_sources"] else "no real sources"
        rows.append(
            (
                "",
                f"{name}: {image['tiles']} tiles, {image['trails']} trails, "
                + (f"{image['distractors']} distractors, " if image["distractors"] else "")
                + f"{nx} x {ny} pixels, "
                f"{image['unit'] or 'unknown unit'}, FWHM {image['psf_fwhm']:.2f} pixels, "
                f"{'a WCS' if image['wcs'] else 'no WCS'}, {sources}",
            )
        )
    if len(images) > _SHOWN_IMAGES:
        rows.append(("", f"... and {len(images) - _SHOWN_IMAGES} more"))
    if images:
        # All images were made by one command with the same configuration.
        rows += [(f"config {key}", str(value)) for key, value in images[0]["config"].items()]
    rows.append(
        (
            "written",
            f"by meas_trails {summary['package_version']}, version {summary['format_version']} of tiles",
        )
    )
    return rows


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _span(values: list[float] | None, form: str) -> str:
    if values is None:
        return "unknown"
    low, middle, high = (form.format(value) for value in values)
    return f"{low} to {high}, median {middle}"
