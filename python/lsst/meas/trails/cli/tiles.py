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

"""``meas-trails tiles``: look into tile files, join them, exchange them."""

from __future__ import annotations

__all__ = ("tiles",)

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.progress import Progress


@click.group()
def tiles() -> None:
    """Look into files of tiles, join them, exchange them with others."""


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


@tiles.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON, one object a file.")
def describe(files: tuple[Path, ...], as_json: bool) -> None:
    """Say what is in tile files."""
    import json

    from ..core.tiles.writer import TileFileError
    from ._collections import make_console
    from ._tile_summary import summarize, summary_table

    for path in files:
        try:
            summary = summarize(path)
        except TileFileError as error:
            raise click.ClickException(str(error)) from error
        if as_json:
            click.echo(json.dumps(summary))
        else:
            make_console().print(summary_table(summary))


@tiles.command()
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--repo", help="Butler repository to take the tile files from, in place of FILES.")
@click.option("--collection", help="Its collection.")
@click.option("--where", default="", help='Which data IDs of it, as in a query: "visit IN (...)".')
@click.option(
    "--fractions",
    type=click.FloatRange(min=0.0),
    nargs=3,
    default=(0.8, 0.1, 0.1),
    show_default=True,
    metavar="TRAIN VALIDATION TEST",
    help="Parts of the tiles.",
)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Seed of the choice.")
@click.option(
    "--drop-overlaps",
    is_flag=True,
    help="Split by visit, and leave out images that share sky with those of another split: where all images "
    "are connected.",
)
@click.option(
    "--virtual",
    is_flag=True,
    help="Point to the files, which must be below the folder of OUTPUT, instead of copying tiles.",
)
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
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
    """Join tile files into one, OUTPUT, to train, validate and test on.

    The splits share neither visits nor sky.  A recipe names them as
    OUTPUT#train, OUTPUT#validation and OUTPUT#test.  What went where is
    written to the file and beside it, to OUTPUT's name with .manifest.json.
    """
    from rich.table import Table

    from ..core.tiles.join import list_images, split_images, write_tile_set
    from ..core.tiles.layout import SPLITS
    from ..core.tiles.splits import SplitError
    from ..core.tiles.writer import TileFileError
    from ._collections import make_console

    if (repo is None) != (collection is None) or (repo is None) == (not files):
        raise click.UsageError("Give either FILES, or --repo and --collection.")
    if not sum(fractions) > 0.0:
        raise click.BadParameter("one of them must be positive.", param_hint="--fractions")
    if output.exists() and not overwrite:
        raise click.ClickException(f"{output} is there already; --overwrite replaces it.")
    paths = list(files)
    if repo is not None and collection is not None:
        from ._injected import tile_files

        paths = tile_files(repo, collection, where)
    named = dict(zip(SPLITS, fractions, strict=True))
    about = {
        "method": "visits, without overlaps" if drop_overlaps else "groups that share visit or sky",
        "fractions": named,
        "seed": seed,
    }
    try:
        with _progress() as progress:
            listed = list_images(progress.track(paths, description="Looking"))
            images = split_images(list(listed), named, seed=seed, drop=drop_overlaps)
            task = progress.add_task("Joining", total=len({i.path for i in images if i.split and i.tiles}))
            manifest = write_tile_set(
                images, output, virtual=virtual, about=about, advance=lambda: progress.advance(task)
            )
    except SplitError as error:
        hint = "" if drop_overlaps else "  Or leave images out that connect others: --drop-overlaps."
        raise click.ClickException(f"{error}{hint}") from error
    except TileFileError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or output}: {error.strerror or error}") from error
    console = make_console()
    table = Table("split", "images", "visits", "tiles", "trails")
    for name, row in manifest["splits"].items():
        table.add_row(name, *(str(row[key]) for key in ("images", "visits", "tiles", "trails")))
    console.print(table)
    if manifest["left_out"]:
        console.print(f"{manifest['left_out']} images were left out: they share sky with another split.")
    if manifest["without_sky"]:
        console.print(f"Of {manifest['without_sky']} images the sky is not known: the visit alone counted.")


@tiles.command("import-adcnn")
@click.argument("hdf5", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("csv", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("output", type=click.Path(file_okay=False, path_type=Path))
@click.option("--first", type=click.IntRange(min=0), default=0, help="First image to import, from 0.")
@click.option("--count", type=click.IntRange(min=1), help="Number of images.  [default: all]")
@click.option("--resume", is_flag=True, help="Leave out images whose tiles are in OUTPUT already.")
@click.option("--tile-size", type=click.IntRange(32, 4096), default=256, show_default=True)
@click.option(
    "--overlap", type=click.IntRange(min=0), default=0, help="What neighboring tiles share, pixels."
)
@click.option(
    "--empty-fraction",
    type=click.FloatRange(0.0, 1.0),
    default=0.5,
    show_default=True,
    help="Fraction of the tiles without a trail that are kept.",
)
@click.option(
    "--ignore-below-snr",
    type=click.FloatRange(min=0.0),
    default=3.0,
    show_default=True,
    help="Trails of a lower optimal SNR are kept out of the loss.",
)
@click.option(
    "--redraw-masks",
    is_flag=True,
    help="Draw the masks anew, as wide as the seeing makes the trails; those of the file are bands of 20 "
    "pixels.",
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
    help="AB magnitude of one image unit; the default is that of nJy.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Seed of the choice of tiles.")
def import_adcnn(
    hdf5: Path,
    csv: Path,
    output: Path,
    first: int,
    count: int | None,
    resume: bool,
    tile_size: int,
    overlap: int,
    empty_fraction: float,
    ignore_below_snr: float,
    redraw_masks: bool,
    fwhm: float | None,
    zeropoint: float,
    seed: int,
) -> None:
    """Make tile files of a train.h5 and train.csv of Asteroid_detection_CNN.

    HDF5 holds whole images and masks, CSV a row for each trail.  Each image
    becomes a tile file in the folder OUTPUT.  Variance, mask, PSF and WCS,
    which these files lack, are estimated, and the tile files say so.  Images
    that are all zero and without trails, failed detectors, are left out.
    """
    from rich.console import Console

    from ..adcnn.files import AdcnnFileError, AdcnnReader
    from ..adcnn.tiles import ImportOptions, adcnn_tiles

    if overlap >= tile_size:
        raise click.BadParameter(f"{overlap} must be smaller than the tiles.", param_hint="--overlap")
    options = ImportOptions(
        tile_size=tile_size,
        overlap=overlap,
        empty_fraction=empty_fraction,
        source_fraction=empty_fraction,
        ignore_below_snr=ignore_below_snr,
        redraw_masks=redraw_masks,
        fwhm=fwhm,
        zeropoint=zeropoint,
        seed=seed,
    )
    written = trails = failed = present = number = 0
    try:
        output.mkdir(parents=True, exist_ok=True)
        with AdcnnReader(hdf5, csv) as reader, _progress() as progress:
            stop = len(reader) if count is None else min(first + count, len(reader))
            for number in progress.track(range(first, stop), description="Importing"):
                path = output / f"{hdf5.stem}_{number:06d}.h5"
                if path.exists():
                    if not resume:
                        raise click.ClickException(
                            f"{path} is there already; remove it, choose another OUTPUT, or --resume."
                        )
                    present += 1
                    continue
                image = reader.read(number)
                if image is None:
                    failed += 1
                    continue
                adcnn_tiles(image, hdf5.name, options).write(path)
                written, trails = written + 1, trails + len(image.trails)
    except AdcnnFileError as error:
        raise click.ClickException(str(error)) from error
    except ValueError as error:
        raise click.ClickException(f"{hdf5}, row {number}: {error}.") from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or output}: {error.strerror or error}") from error
    told = f"{written} images with {trails} trails made into tile files in {output}."
    if failed:
        told += f"  {failed} failed detectors were left out."
    if present:
        told += f"  {present} were there already."
    Console().print(told, soft_wrap=True)


@tiles.command("export-adcnn")
@click.argument("repo")
@click.argument("collection")
@click.argument("hdf5", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("csv", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--where", default="", help='Which data IDs, as in a query: "visit IN (...)".')
@click.option(
    "--input-image",
    default="preliminary_visit_image",
    show_default=True,
    help="Dataset type of the images that trails were injected into.",
)
@click.option(
    "--real-labels/--no-real-labels",
    default=True,
    show_default=True,
    help="Write the footprints of real sources: plane DETECTED, from before the injection.",
)
@click.option("--gzip", is_flag=True, help="Compress; that takes longer than it saves.")
@click.option("--overwrite", is_flag=True, help="Replace files that are there.")
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

    Whole detectors with their masks, and a CSV file with a row for each
    trail, of the injected images of COLLECTION in REPO, all of one shape.
    Images that cannot be used are left out, with a warning.
    """
    from rich.console import Console

    from ..adcnn.files import AdcnnWriter
    from ._injected import injected_images

    for path in (hdf5, csv):
        if path.exists() and not overwrite:
            raise click.ClickException(f"{path} is there already; --overwrite replaces it.")
    images = injected_images(repo, collection, where, input_image)
    trails = failed = 0
    label = ""
    try:
        with AdcnnWriter(hdf5, csv, real_labels=real_labels, gzip=gzip) as writer, _progress() as progress:
            for image in progress.track(images, description="Exporting"):
                label = image.label
                content = image.read()
                if content is None:
                    failed += 1
                    continue
                writer.append(
                    content.image, content.mask, content.trails, content.real_labels if real_labels else None
                )
                trails += len(content.trails)
            if len(writer) == 0:
                raise click.ClickException(f"Not one of the {len(images)} images can be used.")
            written = len(writer)
    except ValueError as error:
        raise click.ClickException(f"{label}: {error}  Choose images with --where.") from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or hdf5}: {error.strerror or error}") from error
    told = f"{written} images with {trails} trails written to {hdf5} and {csv}."
    if failed:
        told += f"  {failed} images that cannot be used were left out."
    Console().print(told, soft_wrap=True)
