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

"""Throughput of a training.

    python benchmarks/training.py [--config NAME] [--scenes N] [--steps N] [--threads N] [--device DEVICE]

A recipe is trained for some steps on a few of its scenes.  Megapixels per second
count the processor time on a CPU, divided by the threads, and the wall time on a GPU; on both
they include the drawing and composition of the tiles.  The part of the tiles is
measured separately.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import click
import torch
from rich.console import Console

from lsst.meas.trails.nn.hardware import choose_device, keep_memory, thread_count
from lsst.meas.trails.training import log, run
from lsst.meas.trails.training.recipe import Recipe, find_recipe, load_recipe
from lsst.meas.trails.training.schedule import epoch_batches, load_batches, plan_epochs

WARM_UP = 5


def shortened(recipe: Recipe, scenes: int, threads: int) -> Recipe:
    """Return a recipe with a few scenes."""
    simulate = recipe.data.simulate
    if simulate is None:
        raise click.UsageError("Choose a recipe that simulates its scenes.")
    few = {
        "train": simulate.train | {"count": scenes},
        "validation": simulate.validation | {"count": 1},
        "calibration": None,
    }
    data = recipe.data.replace(simulate=simulate.replace(**few))
    return recipe.replace(data=data, threads=threads)


@click.command()
@click.option("--config", default="sky", show_default=True, help="Recipe that simulates its scenes.")
@click.option("--scenes", default=8, show_default=True, help="Scenes to train on.")
@click.option("--steps", default=20, show_default=True, help="Measured steps.")
@click.option("--threads", default=1, show_default=True, help="CPU threads.")
@click.option("--device", default="auto", show_default=True, help="Torch device.")
def main(config: str, scenes: int, steps: int, threads: int, device: str) -> None:
    """Measure the throughput of a training."""
    recipe = shortened(load_recipe(find_recipe(config)), scenes, threads)
    chosen = torch.device(choose_device(device))
    clock = time.process_time if chosen.type == "cpu" else time.monotonic
    times: list[float] = []
    pixels: list[int] = []
    plain = log.TrainingReport.step

    def step(self: log.TrainingReport, *args: object, **values: object) -> None:
        times.append(clock())
        pixels.append(int(values["pixels"]))  # type: ignore[call-overload]
        plain(self, *args, **values)  # type: ignore[arg-type]

    log.TrainingReport.step = step  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        tile_folder = Path(folder, "tiles")
        run.train_model(
            recipe,
            Path(folder, "run"),
            tiles=tile_folder,
            device=device,
            stop_after=WARM_UP + steps,
            progress=False,
        )
        each = (times[-1] - times[WARM_UP - 1]) / steps
        mpix = pixels[0] / 1e6
        cost = each / mpix
        data = run._training_data(
            run._simulate_tiles(recipe, config, tile_folder, Console(quiet=True)), chosen
        )
        epoch = next(plan_epochs(recipe, data))
        tiles = [clock()]
        with thread_count(threads), keep_memory():
            for batch, _ in zip(load_batches(data, epoch_batches(recipe, data, epoch), chosen), range(steps)):
                if chosen.type == "cuda":
                    torch.cuda.synchronize()
                tiles.append(clock())
    share = statistics.median(b - a for a, b in zip(tiles[1:], tiles[2:])) / mpix
    unit = "s of processor time" if chosen.type == "cpu" else "s"
    click.echo(
        f"{config} on {chosen}, {threads} threads: {cost:.3f} {unit} per Mpix, of these tiles {share:.3f}"
    )
    click.echo(f"{(threads if chosen.type == 'cpu' else 1) / cost:.2f} Mpix/s")


if __name__ == "__main__":
    main()
