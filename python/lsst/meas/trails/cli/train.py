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

"""``meas-trails train``: a recipe and tiles in, a model file out."""

from __future__ import annotations

__all__ = ("train",)

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._shipped import calibrate_model, find_model, find_recipe, refuse_scenes_of_start

if TYPE_CHECKING:
    from ..training.recipe import Recipe
    from ..training.validation import ObjectValidation


@click.command()
@click.argument("output", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--config",
    "config",
    required=True,
    metavar="FILE",
    help="Recipe: a YAML file, or the name of one that comes with the package.",
)
@click.option(
    "--start",
    metavar="MODEL",
    help="Begin with the weights of a model: its .json file, or the name of one that comes with the package. "
    "Input channels that the model does not have begin without effect.",
)
@click.option(
    "--from-stage",
    metavar="NAME",
    help="Begin with this stage of the recipe, with --start; by default with the first.",
)
@click.option(
    "--tiles",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of simulated tiles, which several runs may share; by default OUTPUT/tiles.",
)
@click.option("--resume/--no-resume", default=True, show_default=True, help="Go on where a run was stopped.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads, and processes that simulate.")
@click.option(
    "--device", default="auto", show_default=True, help="Torch device: auto, cpu, cuda, cuda:1, ..."
)
@click.option("--stop-after", type=click.IntRange(min=1), metavar="STEPS", help="Stop after this many steps.")
def train(
    output: Path,
    config: str,
    start: str | None,
    from_stage: str | None,
    tiles: Path | None,
    resume: bool,
    threads: int | None,
    device: str,
    stop_after: int | None,
) -> None:
    """Train a network by a recipe.

    The folder OUTPUT gets the model (NAME.json and NAME.safetensors), a
    checkpoint, the metrics (metrics.jsonl), a log (train.log) and the curves
    (curves.png); simulated tiles go to OUTPUT/tiles.  The same command goes
    on with a run that was stopped.

    Every stage of a recipe is a run of its own that starts with the weights
    that the one before ended with.  Begin with a later one from the weights
    of a model by --start MODEL --from-stage NAME.

    On several GPUs, or machines, torchrun starts the command in as many
    processes, which share the tiles of every batch:
    torchrun --nproc-per-node 4 --no-python meas-trails train ...
    """
    import dataclasses
    import logging

    from rich.console import Console

    from ..nn.hardware import available_cores
    from ..nn.model_file import load_model
    from ..training.dataset import TrailTileDataset
    from ..training.distributed import joined_ranks
    from ..training.initial_weights import InitialWeights
    from ..training.recipe import load_recipe
    from ..training.trainer import TrainingError
    from ..training.trainer import train as run_training

    if from_stage is not None and start is None:
        raise click.UsageError("--from-stage needs --start, the weights to begin that stage with.")
    console = Console(stderr=True)
    # A run that takes hours says what it does without being asked.
    logging.getLogger("lsst.meas.trails.training").setLevel(logging.INFO)
    try:
        path = find_recipe(config)
        recipe = load_recipe(path)
        if threads is not None:
            recipe = dataclasses.replace(recipe, threads=threads)
        original, simulation = recipe, recipe.data.simulate
        objects = None
        if simulation is not None and recipe.validation.objects_every is not None:
            objects = _object_validation(simulation.validation, recipe.validation.object_scenes, str(path))
        initial_weights = None
        if start is not None:
            initial_weights = InitialWeights(load_model(find_model(start)), from_stage)
            # Better said before scenes are simulated than after.
            initial_weights.check(recipe)
            refuse_scenes_of_start(recipe, initial_weights.model.specification, str(path))
        with joined_ranks(device) as ranks:
            with ranks.first_goes_ahead():
                recipe = _with_simulated_tiles(
                    recipe, str(path), tiles or output / "tiles", recipe.threads or available_cores(), console
                )
            channels, stride = recipe.model.channels, recipe.model.output_stride
            train_dataset = TrailTileDataset(
                recipe.data.train,
                channels,
                seed=recipe.seed,
                augmentation=recipe.augmentation,
                balance=recipe.data.balance,
                stride=stride,
            )
            validation_dataset = None
            if recipe.data.validation:
                validation_dataset = TrailTileDataset(recipe.data.validation, channels, stride=stride)
                _refuse_shared_files(train_dataset.files, validation_dataset.files)
            result = run_training(
                recipe,
                train_dataset,
                validation_dataset,
                output,
                resume=resume,
                device=device,
                stop_after=stop_after,
                original=original,
                start=initial_weights,
                objects=objects,
                ranks=ranks,
            )
        if not ranks.is_first:
            return
        if result.model_path is not None and simulation is not None and simulation.calibration is not None:
            calibrate_model(
                result.model_path, simulation.calibration, str(path), threads=recipe.threads, console=console
            )
    except (ValueError, TrainingError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or output}: {error.strerror or error}") from error
    if result.model_path is None:
        click.echo(f"Stopped after {result.steps} steps; the same command goes on.")
    else:
        click.echo(str(result.model_path))


def _with_simulated_tiles(recipe: Recipe, source: str, tiles: Path, jobs: int, console: Any) -> Recipe:
    """Simulate the scenes that a recipe asks for into a folder, and return
    the recipe with their tile files in place of the request.

    Files that are there from an earlier run are kept: a scene is decided by
    its configuration and the version of the simulator, which the folder's
    name is made of.
    """
    import dataclasses
    import hashlib

    from rich.progress import track

    from ..training.recipe import build_section

    simulate = recipe.data.simulate
    if simulate is None:
        return recipe
    from ..training.scenes import SCENE_VERSION, TrainingScenes, simulate_tile_file

    files: dict[str, tuple[str, ...]] = {}
    pending = []
    for role in ("train", "validation"):
        scenes = build_section(TrainingScenes, getattr(simulate, role), f"data.simulate.{role}", source)
        # The number of scenes does not change the first of them.
        fixed = repr((SCENE_VERSION, dataclasses.replace(scenes, count=1), simulate.tile_size))
        folder = tiles / f"{role}-{hashlib.sha256(fixed.encode()).hexdigest()[:10]}"
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{index:05d}.h5" for index in range(scenes.count)]
        files[role] = tuple(str(path) for path in paths)
        pending += [(scenes, index, path) for index, path in enumerate(paths) if not path.exists()]
    if pending:
        tasks = [(*task, simulate.tile_size) for task in pending]
        done = _run_all(simulate_tile_file, tasks, jobs)
        for _ in track(done, "Simulating scenes", total=len(tasks), console=console):
            pass
    data = dataclasses.replace(
        recipe.data, simulate=None, train=files["train"], validation=files["validation"]
    )
    return dataclasses.replace(recipe, data=data)


def _object_validation(section: Mapping[str, Any], count: int, source: str) -> ObjectValidation:
    """Return the first validation scenes, to look for trails in."""
    from ..training.recipe import RecipeError, build_section
    from ..training.scenes import TrainingScenes
    from ..training.validation import ObjectValidation

    scenes = build_section(TrainingScenes, section, "data.simulate.validation", source)
    if count > scenes.count:
        raise RecipeError(
            f"{source}: validation.object_scenes is {count}, and there are only {scenes.count} validation "
            "scenes; simulate more or count trails in fewer."
        )
    return ObjectValidation(scenes.validation_scene, count)


def _run_all(function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], jobs: int) -> Iterator[None]:
    """Call a function with each of some arguments, in several processes if
    there is more than one job; yield whenever a call is done.
    """
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed

    if jobs == 1 or len(tasks) == 1:
        for task in tasks:
            function(*task)
            yield
        return
    # Not forked: threads of libraries that are loaded already do not survive
    # that.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=min(jobs, len(tasks)), mp_context=context) as pool:
        for future in as_completed([pool.submit(function, *task) for task in tasks]):
            future.result()
            yield


def _refuse_shared_files(train_files: tuple[str, ...], validation_files: tuple[str, ...]) -> None:
    """Raise an error if a file is both trained on and validated on."""
    from ..core.tiles.layout import parse_split
    from ..training.recipe import RecipeError

    used: dict[Path, set[str | None]] = {}
    for name in train_files:
        path, split = parse_split(name)
        used.setdefault(path.resolve(), set()).add(split)
    for name in validation_files:
        path, split = parse_split(name)
        splits = used.get(path.resolve(), set())
        # Two splits of one file have nothing in common.
        if splits and (split is None or splits & {None, split}):
            raise RecipeError(f"{name} is among the training and the validation files; take it out of one.")
