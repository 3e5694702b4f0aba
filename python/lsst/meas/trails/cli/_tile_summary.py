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

"""What is in a tile file, for people and for programs."""

from __future__ import annotations

__all__ = ("summarize", "summary_table")

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

_SHOWN_IMAGES = 5


def summarize(path: Path) -> dict[str, Any]:
    """Return what is in a tile file, as JSON can hold it.

    Raises
    ------
    TileFileError
        Raised if it is none.
    """
    import numpy as np

    from ..core.injection.truth import is_trail
    from ..core.psf import kernel_fwhm
    from ..core.tiles.layout import SPLITS, TILE_CLASSES
    from ..core.tiles.writer import TileReader

    with TileReader(path) as reader:
        table = reader.table
        images = []
        for number in range(reader.source_count):
            source, catalog = reader.source(number), reader.catalog(number)
            images.append(
                {
                    "data_id": source.data_id,
                    "shape": list(source.shape),
                    "unit": source.unit,
                    "psf_fwhm": round(kernel_fwhm(source.psf_kernel), 3),
                    "tiles": int(np.count_nonzero(table["source"] == number)),
                    "trails": int(np.count_nonzero(is_trail(catalog))),
                    "distractors": int(np.count_nonzero(~is_trail(catalog))),
                    "wcs": bool(source.wcs),
                    "real_sources": source.real_sources,
                    "config": source.config,
                }
            )
        manifest = reader.manifest()
        return {
            "file": str(path),
            "bytes": path.stat().st_size,
            "format_version": reader.format_version,
            "package_version": reader.package_version,
            "virtual": reader.is_virtual,
            "planes": list(reader.datasets),
            "tile_size": reader.tile_size,
            "tiles": len(reader),
            "classes": {
                name: int(np.count_nonzero(table["tile_class"] == value))
                for name, value in TILE_CLASSES.items()
            },
            "splits": {
                name: int(np.count_nonzero(table["split"] == value))
                for name, value in SPLITS.items()
                if np.any(table["split"] == value)
            },
            "max_snr": _range(table["max_snr"][table["max_snr"] > 0.0]),
            "noise": _range(table["noise"]),
            "ra": _range(table["ra"]),
            "dec": _range(table["dec"]),
            "images": images,
            "joined_by": None if manifest is None else manifest.get("method"),
        }


def _range(values: Any) -> list[float] | None:
    """Return least, middle and greatest value; `None` of nothing known."""
    import numpy as np

    known = values[np.isfinite(values)]
    return [float(f(known)) for f in (np.min, np.median, np.max)] if len(known) else None


def summary_table(summary: dict[str, Any]) -> Table:
    """Return a summary to be read."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_header=False, box=None, title=summary["file"], title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, value in _rows(summary):
        table.add_row(key, escape(value))
    return table


def _rows(summary: dict[str, Any]) -> list[tuple[str, str]]:
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
        # That of the first stands for all: they are made by one command.
        rows += [(f"config {key}", str(value)) for key, value in images[0]["config"].items()]
    rows.append(
        (
            "written",
            f"by meas_trails {summary['package_version']}, version {summary['format_version']} of tiles",
        )
    )
    return rows


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _span(values: list[float] | None, form: str) -> str:
    if values is None:
        return "not known"
    low, middle, high = (form.format(value) for value in values)
    return f"{low} to {high}, median {middle}"
