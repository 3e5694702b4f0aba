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

"""Points and short trails that the flag of points tells apart.

    python benchmarks/points.py [--sources 80] [--psf-error 0.03]

Points and trails of given length, SNR and seeing are added to white noise.
The PSF is a Moffat profile with an axis ratio of 0.8 to 1.  The components
are imperfect like the ones of a network, see ``fit_accuracy.py``: up to a
FWHM too long, off by up to 0.3 FWHM, for short trails at another angle.  The
table gives the percentage of fits with `trail_flag_point`, by length and SNR
and by length and seeing.  For points it also gives the percentage without the
flag and with a fitted length of at least 6 pixels.
"""

from __future__ import annotations

import astropy.table
import click
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from lsst.meas.trails.core.background import SkySubtracted
from lsst.meas.trails.core.candidates.find import CandidateOptions, find_candidates
from lsst.meas.trails.core.geometry import Trail, near_segment
from lsst.meas.trails.core.planes import ImagePlanes
from lsst.meas.trails.core.progress import make_progress, track
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.core.render import add_trail, optimal_snr, render_trail
from lsst.meas.trails.sim.profile_psf import PsfShape, make_profile_psf

LENGTHS = (0.0, 3.0, 6.0, 8.0, 10.0, 20.0)
SNRS = (5.0, 8.0, 12.0, 20.0, 35.0, 60.0, 100.0)
SEEING = (3.3, 5.0, 8.0, 12.5)
STEP, SIDE = 144, 4
"""Distance of the sources of an image, pixels, and their number along each side."""

SHAPE = (STEP * SIDE, STEP * SIDE)
SKY_SIGMA = 32.0
"""Noise of the sky, photons, which is 1 in units of the image."""

BOUND = 6.0
"""Shortest trail that networks search for, pixels."""


def simulate(
    length: float, snr: float, seeing: float, psf_error: float, rng: np.random.Generator
) -> list[dict[str, float]]:
    """Fit the sources of an image; return their fitted length and flag."""
    shape = {"axis_ratio": rng.uniform(0.8, 1.0), "angle": rng.uniform(0.0, 180.0)}
    stated, true = (
        PsfGrid.constant(make_profile_psf(PsfShape(seeing * widening, **shape), (1, 1), rng).mean_kernel)
        for widening in (1.0, 1.0 + psf_error)
    )
    light = np.zeros(SHAPE, dtype=np.float32)
    probability = np.zeros(SHAPE, dtype=np.float32)
    places = []
    for cell in range(SIDE * SIDE):
        x, y = (STEP * (index + 0.5) + rng.uniform(-2.0, 2.0) for index in (cell % SIDE, cell // SIDE))
        trail = Trail(x, y, length, rng.uniform(0.0, 180.0))
        flux = snr / optimal_snr(render_trail(true, trail), np.ones(SHAPE), 1.0)
        add_trail(light, true, Trail(x, y, length, trail.angle, flux))
        add_component(probability, trail, seeing, rng)
        places.append((x, y))
    variance = 1.0 + light / SKY_SIGMA
    image = light + np.sqrt(variance) * rng.standard_normal(SHAPE, dtype=np.float32)
    planes = ImagePlanes(image=image, variance=variance, mask=np.zeros(SHAPE, dtype=np.uint32), psf=stated)
    sky = SkySubtracted(planes, np.zeros(SHAPE, dtype=np.float32), planes.bad())
    table = find_candidates(probability, sky, options=CandidateOptions(grow=0.3, seed=0.5))
    return [
        {
            "length": length,
            "snr": snr,
            "seeing": seeing,
            "fitted": float(row["trailLengthPix"]),
            "flagged": bool(row["trail_flag_point"]),
        }
        for row in table
        if not row["trail_flag"]
        and min(np.hypot(row["x"] - x, row["y"] - y) for x, y in places) < max(1.5 * seeing, 6.0)
    ]


def add_component(
    probability: npt.NDArray[np.float32], trail: Trail, seeing: float, rng: np.random.Generator
) -> None:
    """Add the component of an imperfect network to a probability map."""
    part = trail.length * rng.uniform(0.7, 1.05) + seeing * rng.uniform()
    angle = trail.angle + 40.0 * rng.normal() * min(1.0, 0.5 * seeing / max(trail.length, 1.0))
    x, y = (value + rng.uniform(-0.3, 0.3) * seeing for value in (trail.x, trail.y))
    near = near_segment(*Trail(x, y, part, angle).ends, seeing + 2.0, probability.shape)
    ragged = near.distance < np.maximum(rng.uniform(0.3, 0.7, near.distance.shape) * seeing, 1.5)
    probability[near.rows[near.use & ragged], near.columns[near.use & ragged]] = 0.9


def print_table(console: Console, table: astropy.table.Table, name: str) -> None:
    """Print percentages by length and another column."""
    lines = Table(title=f"With trail_flag_point, %, by length and {name}", title_justify="left")
    values = list(dict.fromkeys(table[name]))
    for head in ("length, px", *(f"{value:g}" for value in values), "all"):
        lines.add_column(head, justify="right")
    for length in dict.fromkeys(table["length"]):
        row = table[table["length"] == length]
        parts = [row[row[name] == value] for value in values]
        lines.add_row(f"{length:g}", *(f"{100.0 * np.mean(part['flagged']):.1f}" for part in [*parts, row]))
    points = table[table["length"] == 0.0]
    parts = [points[points[name] == value] for value in values]
    long = [np.mean(~part["flagged"] & (part["fitted"] >= BOUND)) for part in [*parts, points]]
    lines.add_row(f"0, as {BOUND:g}+", *(f"{100.0 * value:.1f}" for value in long))
    console.print(lines)


@click.command()
@click.option("--sources", default=80, show_default=True, help="Sources for each length, SNR and seeing.")
@click.option(
    "--psf-error", default=0.0, show_default=True, help="Excess of the true over the stated FWHM, relative."
)
@click.option("--seed", default=790_000, show_default=True, help="Seed.")
def main(sources: int, psf_error: float, seed: int) -> None:
    """Measure how often points and trails get the flag of points."""
    rng = np.random.default_rng(seed)
    images = max(1, round(sources / SIDE**2))
    cells = [(length, snr, seeing) for length in LENGTHS for snr in SNRS for seeing in SEEING] * images
    rows = []
    with make_progress(Console(stderr=True)) as progress:
        for cell in track(progress, cells, "Fitting sources", len(cells)):
            rows += simulate(*cell, psf_error, rng)
    table = astropy.table.Table(rows)
    console = Console(width=110)
    print_table(console, table, "snr")
    print_table(console, table, "seeing")
    console.print(f"{len(table)} fits of {len(cells) * SIDE**2} sources.")


if __name__ == "__main__":
    main()
