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

"""Time to inject trails into the image of a whole detector.

    python benchmarks/injection.py [--trails 60] [--shape 4000 4072] [--repeat 3]

Timed is `InjectTrailsTask.run` on one core: PSF, gains by amplifier, drawing,
rendering, noise, truth catalog and truth mask; simulating and reading the
image are not timed.  On a shared machine use the CPU time.
"""

from __future__ import annotations

import cProfile
import pstats
import time

import astropy.table
import click
import numpy as np
from rich.console import Console
from rich.table import Table

from lsst.images import VisitImage
from lsst.meas.trails.sim.simulation import Simulation
from lsst.meas.trails.tasks import InjectTrailsTask


def make_catalog(image: VisitImage, count: int) -> astropy.table.Table:
    """Return an injection catalog of trails at random positions in an image."""
    rng = np.random.default_rng(1)
    box = image.bbox
    sky = image.sky_projection.pixel_to_sky(
        x=rng.uniform(box.x.start, box.x.stop, count), y=rng.uniform(box.y.start, box.y.stop, count)
    )
    return astropy.table.Table(
        {
            "injection_id": np.arange(count),
            "ra": sky.ra.deg,
            "dec": sky.dec.deg,
            "source_type": ["Trail"] * count,
            "mag": rng.uniform(24.0, 27.0, count),
            "trail_length": rng.uniform(6.0, 150.0, count),
            "beta": rng.uniform(0.0, 180.0, count),
        }
    )


@click.command()
@click.option("--trails", default=60, show_default=True, help="Trails to inject.")
@click.option("--shape", nargs=2, default=(4000, 4072), show_default=True, help="Rows and columns, pixels.")
@click.option("--repeat", default=3, show_default=True, help="Times to measure; the best counts.")
@click.option("--profile", is_flag=True, help="Print where the time of one more run goes.")
def main(trails: int, shape: tuple[int, int], repeat: int, profile: bool) -> None:
    """Measure the time for injection."""
    console = Console(width=120)
    image = Simulation(seed=20_000, shape=shape, trails=0.0).image(0, 0).image
    catalog = make_catalog(image, trails)

    def task(**settings: object) -> InjectTrailsTask:
        config = InjectTrailsTask.ConfigClass()
        for name, value in {"number": float(trails), **settings}.items():
            setattr(config, name, value)
        return InjectTrailsTask(config=config)

    table = Table(title=f"{trails} trails into {shape[0]} x {shape[1]} pixels", title_justify="left")
    for name in ("what", "trails", "seconds", "of a core"):
        table.add_column(name, justify="left" if name == "what" else "right")
    cases = (
        ("population", task(), ()),
        ("population, crossing", task(allowCrossing=True), ()),
        ("catalog", task(), (catalog,)),
        ("with distractors", task(satellites=1.0, cosmicRays=10.0, pointSources=10.0), ()),
    )
    for name, runner, catalogs in cases:
        times = []
        for _ in range(repeat):
            start = time.perf_counter(), time.process_time()
            result = runner.run(image=image, injection_catalogs=catalogs)
            times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
        count = int(np.count_nonzero(result.injected_catalog["source_type"] == "Trail"))
        table.add_row(name, str(count), *(f"{min(part):.2f}" for part in zip(*times)))
    console.print(table)
    if profile:
        profiler = cProfile.Profile()
        profiler.runcall(task().run, image=image)
        pstats.Stats(profiler).sort_stats("cumulative").print_stats(30)


if __name__ == "__main__":
    main()
