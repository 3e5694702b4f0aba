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

"""Time to cut a detector into tiles, and rate of reading tiles.

    python benchmarks/tiles.py [--shape 4000 4072] [--trails 60] [--workers 2]

Timed on one core are `TileToHdf5Task.run`, which also samples the PSF and fits
the background, and writing its file with all tiles; simulating, injecting and
reading the image are not timed.  Then the data loader of a training reads
tiles of 128 pixels in random order from several files, normalized and
augmented.  On a shared machine use the CPU time, not the seconds.
"""

from __future__ import annotations

import cProfile
import pstats
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader

from lsst.meas.trails.sim.simulation import Simulation
from lsst.meas.trails.tasks import InjectTrailsTask, TileToHdf5Task
from lsst.meas.trails.training.dataset import TrailTileDataset
from lsst.meas.trails.training.recipe import AugmentationRecipe


def timed(function: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return the result of a function, its seconds and its CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = function()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def reading_rate(files: list[Path], workers: int, count: int, varied: bool) -> float:
    """Return the tiles per second of a data loader; per CPU second without workers."""
    torch.set_num_threads(1)
    augmentation = AugmentationRecipe(symmetries=varied, noise=0.3 * varied, gradient=0.3 * varied)
    dataset = TrailTileDataset(files, ("science", "bad"), augmentation=augmentation)
    keys = dataset.draw(count, epoch=0)
    loader = DataLoader(
        dataset, batch_size=16, sampler=keys, num_workers=workers, prefetch_factor=4 if workers else None
    )
    batches = iter(loader)
    # Starting workers and opening files is not measured.
    for _ in range(min(8, len(loader) // 2)):
        next(batches)
    clock = time.perf_counter if workers else time.process_time
    start, done = clock(), 0
    for inputs, _, _ in batches:
        done += len(inputs)
    return done / (clock() - start)


@click.command()
@click.option("--shape", nargs=2, default=(4000, 4072), show_default=True, help="Rows and columns, pixels.")
@click.option("--trails", default=60, show_default=True, help="Trails in the image.")
@click.option("--files", default=8, show_default=True, help="Files to read from.")
@click.option("--workers", default=2, show_default=True, help="Processes that read.")
@click.option("--count", default=4096, show_default=True, help="Tiles to read.")
@click.option("--repeat", default=3, show_default=True, help="Times to measure; the best counts.")
@click.option("--profile", is_flag=True, help="Print where the time of one more run goes.")
def main(
    shape: tuple[int, int], trails: int, files: int, workers: int, count: int, repeat: int, profile: bool
) -> None:
    """Measure the time for cutting, writing and reading tiles."""
    console = Console(width=120)
    image = Simulation(seed=20_000, shape=shape, trails=0.0).image(0, 0).image
    injection = InjectTrailsTask.ConfigClass()
    injection.number = float(trails)
    injected = InjectTrailsTask(config=injection).run(image=image)

    def cut(size: int) -> Any:
        config = TileToHdf5Task.ConfigClass()
        config.tileSize, config.emptyFraction, config.sourceFraction = size, 1.0, 1.0
        task = TileToHdf5Task(config=config)
        return task.run(
            image=injected.injected_image,
            injected_catalog=injected.injected_catalog,
            injected_mask=injected.injected_mask,
        ).trail_tiles

    with tempfile.TemporaryDirectory() as folder:
        table = Table(title=f"{shape[0]} x {shape[1]} pixels, {trails} trails", title_justify="left")
        for name in ("what", "tiles", "MB", "seconds", "CPU seconds"):
            table.add_column(name, justify="left" if name == "what" else "right")
        for size in (256, 128):
            path = Path(folder) / f"tiles{size}.h5"
            runs = []
            for _ in range(repeat):
                tiles, *cutting = timed(lambda: cut(size))
                _, *writing = timed(lambda: tiles.write(path))
                runs.append((cutting[0] + writing[0], cutting[1] + writing[1], *cutting, *writing))
            best = min(runs, key=lambda run: run[1])
            megabytes = f"{path.stat().st_size / 1e6:.0f}"
            for label, place in (("cut and write", 0), ("  cut", 2), ("  write", 4)):
                table.add_row(
                    f"{label}, {size} pixels",
                    str(len(tiles)),
                    megabytes,
                    f"{best[place]:.2f}",
                    f"{best[place + 1]:.2f}",
                )
        console.print(table)
        paths = [Path(folder) / f"copy{i}.h5" for i in range(files)]
        for path in paths:
            path.hardlink_to(Path(folder) / "tiles128.h5")
        table = Table(title=f"{count} tiles of 128 pixels from {files} files", title_justify="left")
        for name in ("what", "workers", "tiles a second"):
            table.add_column(name, justify="left" if name == "what" else "right")
        for label, varied in (("normalized", False), ("and varied", True)):
            for number in (workers, 0):
                rate = max(reading_rate(paths, number, count, varied) for _ in range(repeat))
                table.add_row(label, str(number) if number else "none: a CPU second", f"{rate:.0f}")
        console.print(table)
        if profile:
            profiler = cProfile.Profile()
            profiler.runcall(lambda: cut(256).write(Path(folder) / "profile.h5"))
            profiler.runcall(reading_rate, paths, 0, 512, True)
            pstats.Stats(profiler).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()
