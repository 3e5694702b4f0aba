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

"""Runs of training and calibration: from a recipe to a model file."""

from __future__ import annotations

__all__ = ("calibrate_model", "train_model")

import glob
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from rich.console import Console

from ..core.processes import run_all
from ..core.progress import make_progress, track
from ..core.tiles.layout import parse_split
from ..nn.hardware import available_cores, precision_name
from ..nn.model_file import find_model, load_model, write_specification
from ..nn.model_specification import ModelSpecification
from . import scenes as training_scenes
from .calibration import fit_calibration, loaded_model, search_scene
from .candidate_sample import SearchedScene
from .crops import InjectedCrops
from .dataset import TrailTileDataset
from .distributed import joined_ranks
from .initial_weights import InitialWeights
from .log import logged
from .rank import rank_candidates, second_stage_scenes
from .recipe import Recipe, RecipeError, find_recipe, load_recipe
from .scenes import TrainingScenes
from .seeds import refuse_calibration_seed, refuse_seeds_of_start
from .trainer import TrainingResult, train
from .validation import ObjectValidation


def train_model(
    recipe: Recipe | str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    start: str | os.PathLike[str] | None = None,
    start_stage: str | None = None,
    tiles: str | os.PathLike[str] | None = None,
    resume: bool = True,
    threads: int | None = None,
    device: str = "auto",
    stop_after: int | None = None,
    minutes: float | None = None,
    progress: bool = True,
) -> TrainingResult:
    """Train a model from a recipe, and calibrate it if the recipe asks for it.

    Parameters
    ----------
    recipe
        The recipe, its YAML file, or the name of a recipe in the package.
    output
        Folder for the model (NAME.json and NAME.safetensors), a checkpoint, the metrics (metrics.jsonl), a
        log (train.log) and the curves (curves.png).
    start
        Model whose weights to start from: a file, or name of a model in the package. Input channels that it
        does not have start without effect.
    start_stage
        Stage of the recipe to start with, if ``start`` is given; by default the first.
    tiles
        Folder of simulated tiles, which several runs may share; by default ``tiles`` in the output folder.
        Existing tiles are used again.
    resume
        Resume a run that was stopped.
    threads
        CPU threads, and processes that simulate; by default the recipe's.
    device
        Torch device, or ``auto``.
    stop_after
        Total number of steps after which to stop, with a checkpoint.
    minutes
        Longest time of the training, without simulation and calibration. The stages share it by their
        numbers of tiles; each ends at the end of its steps or of its time, whichever is first, and its
        learning rate falls accordingly. By default every stage does all of its steps.
    progress
        Show progress on a terminal.

    Returns
    -------
    result
        Path of the model, number of steps, and metrics.

    Raises
    ------
    ValueError
        Raised if the recipe (`RecipeError`), the initial model (`ModelError`, `InitialWeightsError`), the
        tiles (`TileDatasetError`) or the checkpoint (`CheckpointError`) cannot be used.
    TrainingError
        Raised if training cannot continue.

    Notes
    -----
    Under ``torchrun``, all processes share the tiles of every batch; only rank zero writes files.
    """
    source = "recipe"
    if not isinstance(recipe, Recipe):
        source = str(find_recipe(recipe))
        recipe = load_recipe(source)
    original, output = recipe, Path(output)
    console = Console(stderr=True, quiet=not progress)
    if threads is not None:
        original = original.replace(threads=threads)
    simulate = original.data.simulate
    objects = _object_validation(original, source)
    if original.second_stage is not None:
        # Check before the training, which takes hours.
        second_stage_scenes(original.second_stage, source)
    initial_weights = None
    if start is not None:
        # Check before simulating scenes, which takes minutes.
        initial_weights = InitialWeights(load_model(find_model(start)), start_stage)
        initial_weights.check(original)
        refuse_seeds_of_start(original, initial_weights.model.specification, source)
    with joined_ranks(device) as ranks:
        with ranks.rank_zero_first():
            recipe = _simulate_tiles(original, source, Path(tiles or output / "tiles"), console)
        train_dataset = _training_data(recipe, ranks.device(device))
        validation_dataset = None
        if recipe.data.validation:
            validation_dataset = TrailTileDataset(
                recipe.data.validation, recipe.model.channels, stride=recipe.model.output_stride
            )
            _refuse_shared_files(train_dataset.files, validation_dataset.files)
        result = train(
            recipe,
            train_dataset,
            validation_dataset,
            output,
            resume=resume,
            progress=progress,
            device=device,
            stop_after=stop_after,
            minutes=minutes,
            original=original,
            start=initial_weights,
            objects=objects,
            ranks=ranks,
        )
    if ranks.is_rank_zero and result.model_path and original.second_stage is not None:
        folder = Path(tiles or output / "tiles")
        rank_candidates(
            result.model_path,
            original,
            source,
            folder=folder,
            threads=original.threads,
            device=device,
            console=console,
        )
    if ranks.is_rank_zero and result.model_path and simulate:
        _calibrate_all(result.model_path, original, source, console)
    return result


def _calibrate_all(model_path: Path, recipe: Recipe, source: str, console: Console) -> None:
    """Calibrate a model, and write those that the recipe makes of its weights."""
    assert recipe.data.simulate is not None
    paths = [model_path] if recipe.data.simulate.calibration else []
    specification = load_model(model_path).specification
    for name in recipe.data.simulate.calibrations:
        path = model_path.with_name(f"{name}.json")
        write_specification(path, specification.replace(name=name))
        paths.append(path)
    for path in paths:
        calibrate_model(path, recipe, source, threads=recipe.threads, console=console)


def _training_data(recipe: Recipe, device: torch.device) -> TrailTileDataset | InjectedCrops:
    """Return the tiles of a recipe, or crops of its backgrounds with fresh trails."""
    data, channels, stride = recipe.data, recipe.model.channels, recipe.model.output_stride
    if data.inject is None:
        return TrailTileDataset(
            data.train,
            channels,
            seed=recipe.seed,
            augmentation=recipe.augmentation,
            balance=data.balance,
            stride=stride,
        )
    return InjectedCrops(
        (*data.train, *_expand(data.backgrounds)),
        channels,
        size=data.tile_size,
        seed=recipe.seed,
        injection=data.inject,
        augmentation=recipe.augmentation,
        balance=data.balance,
        stride=stride,
        simulated=len(data.train),
        simulated_fraction=data.simulated_fraction,
        device=device,
    )


def _expand(names: Sequence[str]) -> list[str]:
    """Return the files of names and glob patterns, each once."""
    found: dict[str, None] = {}
    for name in names:
        files = [name] if os.path.exists(name) else sorted(glob.glob(name))
        if not files:
            raise RecipeError(f"data.backgrounds: there is no file {name}; correct its name.")
        found |= dict.fromkeys(files)
    return list(found)


def calibrate_model(
    model_path: Path,
    recipe: Recipe,
    source: str,
    *,
    threads: int | None = None,
    console: Console | None = None,
) -> ModelSpecification:
    """Choose a model's thresholds and calibrate its score on simulated scenes.

    Parameters
    ----------
    model_path
        The model's JSON file, which is rewritten; the weights do not change.
    recipe
        Recipe with a section ``data.simulate.calibration``, or one in ``data.simulate.calibrations`` with the
        name of the model.
    source
        Name of the recipe's file, for messages.
    threads
        Processes that simulate and search scenes; by default one per core.
    console
        Console that shows progress; by default none.

    Returns
    -------
    specification
        The specification as written.

    Raises
    ------
    ModelError
        Raised if the model cannot be used.
    RecipeError
        Raised if the section is missing or not valid, or the model may have seen its scenes.
    ValueError
        Raised if the scenes have no trails or false candidates to fit a score.
    """
    before = load_model(model_path).specification
    simulate = recipe.data.simulate
    section, key = (None, "calibration") if simulate is None else simulate.calibration_of(before.name)
    if section is None:
        raise RecipeError(
            f"{source}: data.simulate.calibration is missing; add this section, with 'seed' and 'count'."
        )
    scenes = TrainingScenes.from_mapping(section, source, f"data.simulate.{key}")
    refuse_calibration_seed(before, scenes.seed, source, key)
    count, weights = scenes.count, before.weights_sha256
    tasks = [(_search_simulated, (model_path, weights, scenes, index)) for index in range(count)]
    found = run_all(tasks, threads or available_cores())
    with make_progress(console or Console(stderr=True, quiet=True)) as progress:
        shown = track(progress, found, "Calibrating the score", count)
        calibration = fit_calibration(logged(shown, count, "Searched"))
    specification = before.replace(
        thresholds=calibration.thresholds,
        score=calibration.score,
        training={
            **before.training,
            "calibration_precision": precision_name("auto", "cpu"),
            "calibration_scenes": dict(section),
        },
        metrics={**before.metrics, **calibration.metrics},
    )
    write_specification(model_path, specification)
    return specification


def _object_validation(recipe: Recipe, source: str) -> ObjectValidation | None:
    """Return the scenes for ``validation.objects_every``, if the recipe simulates."""
    if recipe.data.simulate is None or recipe.validation.objects_every is None:
        return None
    scenes = TrainingScenes.from_mapping(recipe.data.simulate.validation, source, "data.simulate.validation")
    count = recipe.validation.object_scenes
    if count > scenes.count:
        raise RecipeError(
            f"{source}: validation.object_scenes is {count}, and data.simulate.validation.count is only "
            f"{scenes.count}; raise the count or reduce object_scenes."
        )
    return ObjectValidation(scenes.validation_scene, count)


def _simulate_tiles(recipe: Recipe, source: str, tiles: Path, console: Console) -> Recipe:
    """Simulate the scenes of a recipe into a folder.

    Existing files are kept: the configuration of a scene and the version of the simulator, which determine
    it, are part of the folder's name.

    Returns
    -------
    recipe
        The recipe with the tile files instead of the simulation.
    """
    simulate = recipe.data.simulate
    if simulate is None:
        return recipe
    files: dict[str, tuple[str, ...]] = {}
    pending: list[tuple[Callable[..., object], tuple[object, ...]]] = []
    for role in ("train", "validation"):
        scenes = TrainingScenes.from_mapping(getattr(simulate, role), source, f"data.simulate.{role}")
        function: Callable[..., object] = training_scenes.simulate_tile_file
        sizes: tuple[int, ...] = (simulate.tile_size,)
        kind, suffix = role, "h5"
        if role == "train" and recipe.data.inject is not None:
            function, sizes = training_scenes.simulate_background_file, ()
            # Backgrounds have neither trails nor tiles.
            scenes = scenes.without_trails()
            kind, suffix = "background", "safetensors"
        # The first scenes are the same whatever the count.
        fixed = repr((training_scenes.SCENE_VERSION, scenes.replace(count=1), *sizes))
        folder = tiles / f"{kind}-{hashlib.sha256(fixed.encode()).hexdigest()[:10]}"
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{index:05d}.{suffix}" for index in range(scenes.count)]
        files[role] = tuple(map(str, paths))
        pending += [
            (function, (scenes, index, path, *sizes)) for index, path in enumerate(paths) if not path.exists()
        ]
    if pending:
        done = run_all(pending, recipe.threads or available_cores())
        with make_progress(console) as progress:
            shown = track(progress, done, "Simulating scenes", len(pending))
            for _ in logged(shown, len(pending), "Simulated"):
                pass
    return recipe.model_copy(update={"data": recipe.data.model_copy(update=files)})


def _search_simulated(model_path: Path, weights: str, scenes: TrainingScenes, index: int) -> SearchedScene:
    """Simulate a scene and search it with one thread."""
    model = loaded_model(model_path, weights)
    return search_scene(model, scenes.validation_scene(index), threads=1, device="cpu")


def _refuse_shared_files(train_files: Sequence[str], validation_files: Sequence[str]) -> None:
    """Raise an error if training and validation share tiles of a file."""
    used: dict[Path, set[str | None]] = {}
    for name in train_files:
        path, split = parse_split(name)
        used.setdefault(path.resolve(), set()).add(split)
    for name in validation_files:
        path, split = parse_split(name)
        splits = used.get(path.resolve(), set())
        # Different splits of a file share no tiles.
        if splits and (split is None or splits & {None, split}):
            raise RecipeError(f"{name} is among the training and the validation files; remove it from one.")
