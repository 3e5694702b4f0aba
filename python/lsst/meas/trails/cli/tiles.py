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

"""``meas-trails tiles``: summarize, join, import and export tile files."""

from __future__ import annotations

__all__ = ("tiles",)

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from lsst.resources import ResourcePath

_HINT = "run pipelines/MakeTrainingSet.yaml first"


@click.group()
def tiles() -> None:
    """Summarize, join, import and export files of tiles."""


@tiles.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, one object per file.")
def describe(files: tuple[Path, ...], as_json: bool) -> None:
    """Summarize the content of tile files."""
    import json

    from ..core.tiles.summary import summarize_tiles
    from ._console import make_console
    from ._tile_summary import summary_table

    for path in files:
        summary = summarize_tiles(path)
        if as_json:
            click.echo(json.dumps(summary))
        else:
            make_console().print(summary_table(summary))


@tiles.command()
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--repo", help="Butler repository of the tile files, instead of FILES.")
@click.option("--collection", help="Collection of the tile files.")
@click.option("--where", default="", help='Condition on data IDs, as in a Butler query: "visit IN (...)".')
@click.option(
    "--fractions",
    type=click.FloatRange(min=0.0),
    nargs=3,
    default=(0.8, 0.1, 0.1),
    show_default=True,
    metavar="TRAIN VALIDATION TEST",
    help="Fractions of the tiles in the splits.",
)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Seed of the split.")
@click.option(
    "--drop-overlaps",
    is_flag=True,
    help="Split by visit, and omit images that share sky with another split; needed if overlaps connect all "
    "images.",
)
@click.option(
    "--virtual",
    is_flag=True,
    help="Refer to the files, which must be below the folder of OUTPUT, instead of copying tiles.",
)
@click.option("--overwrite", is_flag=True, help="Overwrite an existing file.")
def consolidate(
    output: Path,
    files: tuple[Path, ...],
    repo: str | None,
    collection: str | None,
    where: str,
    fractions: tuple[float, float, float],
    seed: int,
    drop_overlaps: bool,
    virtual: bool,
    overwrite: bool,
) -> None:
    """Join tile files into one, OUTPUT, with training, validation and test splits.

    The splits share neither visits nor sky. A recipe names them OUTPUT#train, OUTPUT#validation and
    OUTPUT#test. The file and a manifest next to it, named like OUTPUT with .manifest.json, list the split of
    every image.
    """
    from rich.table import Table

    from ..core.progress import make_progress, track
    from ..core.tiles.join import list_images, split_images, write_tile_set
    from ..core.tiles.layout import SPLITS
    from ..core.tiles.splits import SplitError
    from ..repository.query import query_collection
    from ._console import make_console

    if (repo is None) != (collection is None) or (repo is None) == (not files):
        raise click.UsageError("Pass either FILES, or --repo and --collection.")
    if not sum(fractions) > 0.0:
        raise click.BadParameter("one fraction must be positive.", param_hint="--fractions")
    _refuse_existing(output, overwrite)
    paths = list(files)
    if repo is not None and collection is not None:
        butler, refs = query_collection(repo, collection, "trail_tiles", where=where, hint=_HINT)
        paths = [_local_path(butler.getURI(ref)) for ref in refs]
    named = dict(zip(SPLITS, fractions, strict=True))
    about = {
        "method": "visits, without overlaps" if drop_overlaps else "groups that share visit or sky",
        "fractions": named,
        "seed": seed,
    }
    try:
        with make_progress() as progress:
            listed = list_images(track(progress, paths, "Looking"))
            images = split_images(list(listed), named, seed=seed, drop=drop_overlaps)
            task = progress.add_task("Joining", total=len({i.path for i in images if i.split and i.tiles}))
            manifest = write_tile_set(
                images, output, virtual=virtual, about=about, advance=lambda: progress.advance(task)
            )
    except SplitError as error:
        hint = "" if drop_overlaps else " Or pass --drop-overlaps to omit the images that connect others."
        raise click.ClickException(f"{error}{hint}") from error
    console = make_console()
    table = Table("split", "images", "visits", "tiles", "trails")
    for name, row in manifest["splits"].items():
        table.add_row(name, *(str(row[key]) for key in ("images", "visits", "tiles", "trails")))
    console.print(table)
    if manifest["left_out"]:
        console.print(f"{manifest['left_out']} images were omitted: they share sky with another split.")
    if manifest["without_sky"]:
        console.print(f"{manifest['without_sky']} images without sky coordinates were split by visit only.")


def _local_path(uri: ResourcePath) -> Path:
    """Return the path of a local file."""
    if not uri.isLocal:
        raise click.ClickException(f"{uri} is not a local file; copy it to this machine first.")
    return Path(uri.ospath)


def _refuse_existing(path: Path, overwrite: bool) -> None:
    """Refuse to overwrite a file without permission."""
    if path.exists() and not overwrite:
        raise click.ClickException(f"{path} exists; pass --overwrite.")


@tiles.command("import-adcnn")
@click.argument("hdf5", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("csv", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("output", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--first", type=click.IntRange(min=0), default=0, show_default=True, help="First image to import, from 0."
)
@click.option("--count", type=click.IntRange(min=1), help="Number of images.  [default: all]")
@click.option("--resume", is_flag=True, help="Skip images whose tile file exists in OUTPUT.")
@click.option(
    "--tile-size",
    type=click.IntRange(32, 4096),
    default=256,
    show_default=True,
    help="Side of tiles, pixels.",
)
@click.option(
    "--overlap", type=click.IntRange(min=0), default=0, show_default=True, help="Overlap of tiles, pixels."
)
@click.option(
    "--empty-fraction",
    type=click.FloatRange(0.0, 1.0),
    default=0.5,
    show_default=True,
    help="Fraction to keep of the tiles without a trail.",
)
@click.option(
    "--ignore-below-snr",
    type=click.FloatRange(min=0.0),
    default=3.0,
    show_default=True,
    help="The loss ignores trails with a lower optimal SNR.",
)
@click.option(
    "--redraw-masks",
    is_flag=True,
    help="Replace the masks of the file, bands of 20 pixels, by masks as wide as the trails.",
)
@click.option(
    "--fwhm",
    type=click.FloatRange(1.0, 40.0),
    help="FWHM of the PSF, pixels.  [default: measured on the stars of each image]",
)
@click.option(
    "--zeropoint",
    type=float,
    default=31.4,
    show_default=True,
    help="AB magnitude of one image unit; the default is for nJy.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the selection of tiles."
)
def import_adcnn(
    hdf5: Path,
    csv: Path,
    output: Path,
    first: int,
    count: int | None,
    resume: bool,
    empty_fraction: float,
    **values: Any,
) -> None:
    """Convert a train.h5 and train.csv of Asteroid_detection_CNN to tile files.

    HDF5 has whole images and masks, CSV a row for each trail. Each image becomes a tile file in the folder
    OUTPUT. Variance, mask, PSF and WCS, which these files lack, are estimated; the tile files record this.
    Images of failed detectors, all zero and without trails, are skipped.
    """
    from rich.console import Console

    from ..adcnn.files import AdcnnReader
    from ..adcnn.import_images import import_images
    from ..adcnn.tiles import ImportOptions
    from ..core.progress import make_progress, track

    options = ImportOptions(empty_fraction=empty_fraction, source_fraction=empty_fraction, **values)
    if options.overlap >= options.tile_size:
        raise click.BadParameter(f"{options.overlap} is not below the tile size.", param_hint="--overlap")
    with AdcnnReader(hdf5, csv) as reader, make_progress() as progress:
        stop = len(reader) if count is None else min(first + count, len(reader))
        numbers = track(progress, range(first, stop), "Importing")
        counts = import_images(reader, output, options, numbers, resume=resume)
    text = f"{counts.images} images with {counts.trails} trails converted to tile files in {output}."
    if counts.failed:
        text += f" {counts.failed} failed detectors were skipped."
    if counts.present:
        text += f" {counts.present} tile files existed."
    Console().print(text, soft_wrap=True)


@tiles.command("export-adcnn")
@click.argument("repo")
@click.argument("collection")
@click.argument("hdf5", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("csv", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--where", default="", help='Condition on data IDs, as in a Butler query: "visit IN (...)".')
@click.option(
    "--input-image",
    default="preliminary_visit_image",
    show_default=True,
    help="Dataset type of the images before the injection.",
)
@click.option(
    "--real-labels/--no-real-labels",
    default=True,
    show_default=True,
    help="Write the footprints of real sources, from the mask plane DETECTED (injection does not change it).",
)
@click.option("--gzip", is_flag=True, help="Compress the HDF5 file; this is slow and saves little.")
@click.option("--overwrite", is_flag=True, help="Overwrite existing files.")
def export_adcnn(
    repo: str,
    collection: str,
    hdf5: Path,
    csv: Path,
    where: str,
    input_image: str,
    real_labels: bool,
    gzip: bool,
    overwrite: bool,
) -> None:
    """Write injected images as train.h5 and train.csv of Asteroid_detection_CNN.

    HDF5 gets whole detectors with their masks, CSV a row for each trail, of the injected images of COLLECTION
    in REPO, which must have the same shape. Images that cannot be used are skipped, with a warning.
    """
    from rich.console import Console

    from ..adcnn.files import AdcnnWriter
    from ..core.progress import make_progress, track
    from ..repository.query import query_collection
    from ..tasks.adcnn_export import export_images

    for path in (hdf5, csv):
        _refuse_existing(path, overwrite)
    butler, refs = query_collection(repo, collection, f"injected_{input_image}", where=where, hint=_HINT)
    with AdcnnWriter(hdf5, csv, real_labels=real_labels, gzip=gzip) as writer, make_progress() as progress:
        tracked = track(progress, refs, "Exporting")
        counts = export_images(butler, tracked, writer, real_labels=real_labels)
    text = f"{counts.images} images with {counts.trails} trails written to {hdf5} and {csv}."
    if counts.failed:
        text += f" {counts.failed} unusable images were skipped."
    Console().print(text, soft_wrap=True)
