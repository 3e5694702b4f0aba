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

"""Accuracy of fitted positions, lengths, angles and fluxes, and their errors.

    python benchmarks/fit_accuracy.py [--trails 100] [-o DIR]

Trails of given length and SNR are added to white noise and to simulated
fields of stars and galaxies.  The components are imperfect like the ones of a
network: a part of the trail, up to two pixels off, with gaps and ragged ends.
The trails that `find_candidates` fits are compared with the truth:

bias
    Median of the residuals.
scatter
    1.4826 times their median absolute deviation.
pull
    The scatter of residual over stated error, with its median and its root
    mean square: 1, 0 and 1 if the errors are correct.
bound
    The Cramer-Rao bound of the trail on its pixels, the least scatter of an
    unbiased fit unless noise hides the ends of the trail.

``along`` and ``across`` are the components of the midpoint in the direction of
the trail, ``end`` is the distance along it of an end, which has no error in
the catalog.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import astropy.table
import click
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from lsst.images import Box
from lsst.meas.trails.core.background import SkySubtracted
from lsst.meas.trails.core.candidates.find import CandidateOptions, find_candidates
from lsst.meas.trails.core.geometry import (
    Trail,
    Trails,
    near_segment,
    segment_distance,
    signed_angle_difference,
)
from lsst.meas.trails.core.injection.inject import inject_trails
from lsst.meas.trails.core.injection.population import TrailPopulation, draw_trails
from lsst.meas.trails.core.planes import ImagePlanes
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.core.render import FourierTrail, trail_kernels
from lsst.meas.trails.evaluation.figures.style import STYLES
from lsst.meas.trails.repository.visit_image import sample_psf
from lsst.meas.trails.sim.psf import draw_seeing, make_psf
from lsst.meas.trails.sim.scene import SceneConfig, simulate_scene

LENGTHS = (10.0, 20.0, 40.0, 80.0, 120.0)
SNRS = (6.0, 8.0, 10.0, 15.0, 25.0)
SHAPE = (768, 768)
PER_SCENE = 8
"""Number of trails in a scene."""

COLUMNS = ("x", "y", "along", "across", "length", "angle", "flux", "end")
WITH_ERRORS = COLUMNS[:-1]
UNITS = dict.fromkeys(COLUMNS, "px") | {"angle": "deg", "flux": "%"}
SETTINGS = {"noise": "White noise", "field": "Field"}
GOOD_PULL = (0.8, 1.3)


@dataclasses.dataclass(frozen=True)
class Job:
    """A scene of trails with one length and SNR."""

    setting: str
    length: float
    snr: float
    seed: int
    index: int

    def run(self) -> list[dict[str, float]]:
        """Return residuals, errors and bounds of each trail, or ``failed``."""
        try:
            return self._run()
        except Exception as error:
            raise RuntimeError(f"{self} failed: {error!r}") from error

    def _run(self) -> list[dict[str, float]]:
        key = [self.seed, int(self.length), int(self.snr), self.index]
        rng = np.random.default_rng(key)
        before = self._image(rng)
        population = TrailPopulation(
            number=PER_SCENE,
            length=(self.length, self.length),
            brightness=(self.snr, self.snr),
            separation=40.0,
        )
        trails = draw_trails(population, before, rng)
        # The truth of a trail in part beyond the image is not defined.
        inside = np.all([(end > 30.0) & (end < SHAPE[0] - 31.0) for end in trails.ends], axis=0)
        bad = before.bad()
        seen = [not _near(trail, bad) for trail in trails]
        trails = trails[inside & np.array(seen, dtype=bool)]
        # The image already has its noise: the trails are noiseless.
        planes = inject_trails(before, trails, None)
        probability = components(planes, trails, rng)
        sky = SkySubtracted.from_planes(planes)
        table = find_candidates(probability, sky, options=CandidateOptions(grow=0.3, seed=0.5))
        return [_compare(trail, table, before, bad) for trail in trails]

    def _image(self, rng: np.random.Generator) -> ImagePlanes:
        if self.setting == "field":
            box = Box.from_shape(SHAPE)
            config = SceneConfig.varied(SHAPE, rng, trails=None, satellite_chance=0.0)
            return simulate_scene(config, sample_psf(make_psf(draw_seeing(rng), rng, box), box), rng).planes
        return ImagePlanes(
            image=rng.standard_normal(SHAPE, dtype=np.float32),
            variance=np.ones(SHAPE, dtype=np.float32),
            mask=np.zeros(SHAPE, dtype=np.uint32),
            psf=PsfGrid.gaussian(4.0),
        )


def _near(trail: Trail, where: npt.NDArray[np.bool_], margin: float = 4.0) -> bool:
    """Return whether a trail comes near any of the given pixels."""
    pixels = near_segment(*trail.ends, margin, where.shape)
    return bool(np.any(where[pixels.rows[pixels.use], pixels.columns[pixels.use]]))


def components(planes: ImagePlanes, trails: Trails, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return a probability map like the one of an imperfect network."""
    probability = np.zeros(planes.shape, dtype=np.float32)
    rows, columns = np.mgrid[: planes.shape[0], : planes.shape[1]]
    for trail in trails:
        length = trail.length
        fwhm = planes.psf.fwhm(trail.x, trail.y)
        # Between 70 and 105% of the trail, anywhere on it.
        part = length * rng.uniform(0.7, 1.05)
        shift = rng.uniform(-0.5, 0.5) * abs(length - part)
        c, s = trail.direction
        angle = trail.angle + rng.uniform(-1.0, 1.0) * np.rad2deg(1.5 / max(length, 10.0))
        x = trail.x + shift * c + rng.uniform(-1.5, 1.5)
        y = trail.y + shift * s + rng.uniform(-1.5, 1.5)
        distance = segment_distance(columns, rows, *Trail(x, y, part, angle).ends)
        ragged = distance < rng.uniform(0.3, 0.7, planes.shape) * fwhm
        probability[ragged] = 0.9
    return probability


def cramer_rao(trail: Trail, planes: ImagePlanes, bad: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Return the Cramer-Rao bounds of a trail on a constant background."""
    x0, y0, x1, y1 = trail.ends
    reach = 4.0 * planes.psf.fwhm(trail.x, trail.y)
    left, bottom, rows, columns, _, use = near_segment(x0, y0, x1, y1, reach, planes.shape)
    use[use] = ~bad[rows[use], columns[use]]
    draw = FourierTrail(trail_kernels(planes.psf, x0, y0, x1, y1), use.shape)
    image, slopes = draw.image_and_jacobian(trail.x - left, trail.y - bottom, x1 - x0, y1 - y0)
    sigma = np.sqrt(planes.variance[rows[use], columns[use]].astype(np.float64))
    columns_of = [trail.flux * slope[use] for slope in slopes] + [
        trail.flux * image[use],
        np.full(len(sigma), sigma[0]),
    ]
    jacobian = np.stack(columns_of, axis=1) / sigma[:, None]
    covariance = np.linalg.inv(jacobian.T @ jacobian)
    c, s = (x1 - x0) / trail.length, (y1 - y0) / trail.length
    directions = {
        "x": (1, 0, 0, 0, 0, 0),
        "y": (0, 1, 0, 0, 0, 0),
        "along": (c, s, 0, 0, 0, 0),
        "across": (-s, c, 0, 0, 0, 0),
        "length": (0, 0, c, s, 0, 0),
        "angle": (0, 0, -s, c, 0, 0),
        "flux": (0, 0, 0, 0, 100.0, 0),
        "end": (c, s, 0.5 * c, 0.5 * s, 0, 0),
    }
    bounds = {name: float(np.sqrt(np.dot(d, covariance @ d))) for name, d in directions.items()}
    bounds["angle"] = float(np.rad2deg(bounds["angle"] / trail.length))
    return bounds


def _compare(
    trail: Trail, table: astropy.table.Table, planes: ImagePlanes, bad: npt.NDArray[np.bool_]
) -> dict[str, float]:
    """Return residuals, errors and bounds of one trail."""
    distance = segment_distance(np.asarray(table["x"]), np.asarray(table["y"]), *trail.ends)
    if len(table) == 0 or np.min(distance) > 8.0:
        return {"failed": 1.0}
    row = table[int(np.argmin(distance))]
    if row["trail_flag"]:
        return {"failed": 1.0}
    c, s = trail.direction
    dx, dy = float(row["x"]) - trail.x, float(row["y"]) - trail.y
    turned = float(signed_angle_difference(row["trailAnglePix"], trail.angle))
    long = float(row["trailLengthPix"]) - trail.length
    xx, yy, xy = float(row["xErr"]) ** 2, float(row["yErr"]) ** 2, float(row["xyCovariance"])
    residual = {
        "x": dx,
        "y": dy,
        "along": dx * c + dy * s,
        "across": dy * c - dx * s,
        "length": long,
        "angle": turned,
        "flux": 100.0 * (float(row["flux"]) / trail.flux - 1.0),
        "end": dx * c + dy * s + 0.5 * long,
    }
    stated = {
        "x": np.sqrt(xx),
        "y": np.sqrt(yy),
        "along": np.sqrt(max(xx * c * c + yy * s * s + 2.0 * xy * c * s, 1e-12)),
        "across": np.sqrt(max(xx * s * s + yy * c * c - 2.0 * xy * c * s, 1e-12)),
        "length": float(row["trailLengthPixErr"]),
        "angle": float(row["trailAnglePixErr"]),
        "flux": 100.0 * float(row["fluxErr"]) / trail.flux,
    }
    result = {"failed": 0.0}
    result |= {f"{name}_residual": value for name, value in residual.items()}
    result |= {f"{name}_error": float(value) for name, value in stated.items()}
    result |= {f"{name}_bound": value for name, value in cramer_rao(trail, planes, bad).items()}
    return result


def summarize(job: Job, rows: Sequence[Mapping[str, float]]) -> list[dict[str, object]]:
    """Return the statistics of each column over the trails of a cell."""
    fitted = [row for row in rows if not row["failed"]]
    summary = []
    for name in COLUMNS:
        row: dict[str, object] = {
            "setting": job.setting,
            "length": job.length,
            "snr": job.snr,
            "column": name,
            "unit": UNITS[name],
            "trails": len(rows),
            "failed": len(rows) - len(fitted),
        }
        residual = np.array([r[f"{name}_residual"] for r in fitted])
        numbers = dict.fromkeys(("bias", "scatter", "bound", "pull_bias", "pull_mad", "pull_rms"), np.nan)
        if len(fitted) >= 5:
            numbers["bias"], numbers["scatter"] = _robust(residual)
            numbers["bound"] = float(np.median([r[f"{name}_bound"] for r in fitted]))
            if name in WITH_ERRORS:
                pull = residual / np.array([r[f"{name}_error"] for r in fitted])
                numbers["pull_bias"], numbers["pull_mad"] = _robust(pull)
                numbers["pull_rms"] = float(np.sqrt(np.mean(np.square(pull))))
        summary.append(row | numbers)
    return summary


def _robust(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return median and 1.4826 times the median absolute deviation."""
    median = float(np.median(values))
    return median, float(1.4826 * np.median(np.abs(values - median)))


def print_tables(console: Console, table: astropy.table.Table) -> None:
    """Print a table per setting and column: lengths down, SNR across."""
    for setting in dict.fromkeys(table["setting"]):
        for name in COLUMNS:
            part = table[(table["setting"] == setting) & (table["column"] == name)]
            lines = Table(title=f"{SETTINGS[setting]}: {name} ({UNITS[name]})", title_justify="left")
            lines.add_column("length, px", justify="right")
            for snr in dict.fromkeys(part["snr"]):
                lines.add_column(f"SNR {snr:g}", justify="right")
            for length in dict.fromkeys(part["length"]):
                lines.add_row(f"{length:g}", *(_cell(row) for row in part[part["length"] == length]))
            console.print(lines)
    console.print("bias ± scatter [Cramer-Rao bound]; pull: scatter, rms.  Marked where outside 0.8-1.3.")


def _cell(row: astropy.table.Row) -> str:
    if not np.isfinite(row["scatter"]):
        return f"{row['failed']} of {row['trails']} failed"
    text = f"{row['bias']:+.2f} ± {row['scatter']:.2f} \\[{row['bound']:.2f}]"
    if np.isfinite(row["pull_mad"]):
        pulls = f"{row['pull_mad']:.2f}, {row['pull_rms']:.2f}"
        good = GOOD_PULL[0] <= row["pull_mad"] <= GOOD_PULL[1]
        text += f"\npull {pulls}" if good else f"\n[bold]pull {pulls} <<[/bold]"
    return text


def pull_figure(table: astropy.table.Table) -> Figure:
    """Return a figure of the scatter of pulls against SNR, by column."""
    settings = list(dict.fromkeys(table["setting"]))
    names = ("along", "across", "length", "angle", "flux")
    figure = Figure(figsize=(3.4 * len(names) + 0.6, 3.2 * len(settings) + 1.2), layout="constrained")
    panels = figure.subplots(len(settings), len(names), sharex=True, sharey=True, squeeze=False)
    for line, setting in zip(panels, settings, strict=True):
        for axis, name in zip(line, names, strict=True):
            part = table[(table["setting"] == setting) & (table["column"] == name)]
            axis.axhspan(*GOOD_PULL, color="0.9")
            axis.axhline(1.0, color="0.6", linewidth=0.8)
            for i, length in enumerate(dict.fromkeys(part["length"])):
                cells = part[part["length"] == length]
                color, marker, style = STYLES[i % len(STYLES)]
                axis.plot(
                    cells["snr"], cells["pull_mad"], color=color, marker=marker, linestyle=style,
                    label=f"{length:g} pixels",
                )  # fmt: skip
            axis.set_xscale("log")
            axis.set_xticks(SNRS, [f"{snr:g}" for snr in SNRS])
            axis.minorticks_off()
            axis.set_title(f"{SETTINGS[setting]}: {name}", fontsize=10)
            axis.grid(alpha=0.25)
        line[0].set_ylabel("scatter of the pulls")
    for axis in panels[-1]:
        axis.set_xlabel("optimal SNR")
    figure.suptitle("Scatter of residual over stated error: 1 is correct, gray is 0.8 to 1.3")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


@click.command()
@click.option(
    "--trails", default=100, show_default=True, help="Approximate number of trails of each length and SNR."
)
@click.option(
    "--setting", "chosen", multiple=True, type=click.Choice(list(SETTINGS)), help="Only this setting."
)
@click.option("--length", "lengths", multiple=True, type=float, help="Only these lengths.")
@click.option("--snr", "snrs", multiple=True, type=float, help="Only these SNR.")
@click.option("--seed", default=780_000, show_default=True, help="Seed.")
@click.option("--jobs", default=None, type=int, help="Processes.  [default: all cores]")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the figure (PNG) and the numbers (ECSV).",
)
def main(
    trails: int,
    chosen: tuple[str, ...],
    lengths: tuple[float, ...],
    snrs: tuple[float, ...],
    seed: int,
    jobs: int | None,
    output: Path | None,
) -> None:
    """Measure bias, scatter and pull of the trail fit."""
    console = Console(width=180)
    cells = [
        [
            Job(setting, length, snr, seed + number, index)
            for index in range(max(1, round(trails / (0.75 * PER_SCENE))))
        ]
        for number, setting in enumerate(SETTINGS)
        if not chosen or setting in chosen
        for length in lengths or LENGTHS
        for snr in snrs or SNRS
    ]
    work = [job for cell in cells for job in cell]
    found: dict[Job, list[dict[str, float]]] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    context = multiprocessing.get_context("spawn")
    processes = jobs or len(os.sched_getaffinity(0))
    with (
        Progress(*columns, console=Console(stderr=True)) as progress,
        concurrent.futures.ProcessPoolExecutor(processes, mp_context=context) as executor,
    ):
        task = progress.add_task("scenes", total=len(work))
        futures = {executor.submit(job.run): job for job in work}
        try:
            for future in concurrent.futures.as_completed(futures):
                found[futures[future]] = future.result()
                progress.advance(task)
        except RuntimeError as error:
            executor.shutdown(wait=False, cancel_futures=True)
            raise click.ClickException(str(error)) from error
    rows = [row for cell in cells for row in summarize(cell[0], [r for job in cell for r in found[job]])]
    table = astropy.table.Table(rows)
    print_tables(console, table)
    counts = table[table["column"] == "x"]
    console.print(f"{sum(counts['failed'])} of {sum(counts['trails'])} fits failed.")
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        table.write(output / "fit_accuracy.ecsv", format="ascii.ecsv", overwrite=True)
        pull_figure(table).savefig(output / "fit_pulls.png", dpi=150)
        console.print(f"Figure and numbers are in {output}.")


if __name__ == "__main__":
    main()
