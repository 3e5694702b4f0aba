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

"""Rate of ``meas-trails cutouts``.

    python benchmarks/cutouts.py [--size 2048] [--candidates 200]

A simulated image with candidates at random places is put into a Butler
repository.  The processor time of reading it once is compared with that of all
cutouts: reading, cutting, FITS files, table and contact sheet.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import astropy.table
import click
import numpy as np

from lsst.daf.butler import Butler, DatasetType
from lsst.meas.trails.core.catalog.columns import CANDIDATE_COLUMNS, table_of
from lsst.meas.trails.core.catalog.selection import CandidateSelection
from lsst.meas.trails.repository.butler import open_or_create
from lsst.meas.trails.repository.candidates import CATALOG_TYPE, DetectorResult, detector_results
from lsst.meas.trails.sim.simulation import Simulation
from lsst.meas.trails.tasks._candidate_images import read_candidate_images
from lsst.meas.trails.tasks._cutout_files import write_cutouts


def make_repository(folder: Path, size: int, candidates: int) -> DetectorResult:
    """Return a simulated image and random candidates on it."""
    butler = open_or_create(folder)
    simulation = Simulation(shape=(size, size), seed=1)
    simulation.register(butler, "input")
    simulation.put(butler, "input", 0, 0)
    (ref,) = Butler.from_config(folder, collections="input").query_datasets("preliminary_visit_image")
    catalog = random_candidates(candidates, size)
    catalog["visit"] = ref.dataId["visit"]
    catalog.meta["imageShape"] = [size, size]
    butler.registry.registerDatasetType(
        DatasetType(CATALOG_TYPE, ref.dimensions.names, "ArrowAstropy", universe=butler.dimensions)
    )
    butler.put(catalog, CATALOG_TYPE, ref.dataId, run="input")
    (result,) = detector_results(str(folder), "input", with_truth=False)
    return result


def random_candidates(number: int, size: int, seed: int = 2) -> astropy.table.Table:
    """Return trails of 10 to 100 pixels at random places of an image."""
    rng = np.random.default_rng(seed)
    columns = {
        name: np.full(number, "r") if kind is np.str_ else np.zeros(number, dtype=kind)
        for name, (kind, _, _) in CANDIDATE_COLUMNS.items()
    }
    x, y = rng.uniform(0.0, size, (2, number))
    half, angle = rng.uniform(5.0, 50.0, number), rng.uniform(0.0, np.pi, number)
    dx, dy = half * np.cos(angle), half * np.sin(angle)
    columns |= {"x": x, "y": y, "x0": x - dx, "y0": y - dy, "x1": x + dx, "y1": y + dy}
    columns |= {"trailCandidateId": np.arange(1, number + 1), "score": rng.uniform(0.0, 1.0, number)}
    return table_of(columns, CANDIDATE_COLUMNS)


def measure(result: DetectorResult, folder: Path) -> tuple[float, float]:
    """Return the processor time of reading the image and of all cutouts, seconds."""
    start = time.process_time()
    read_candidate_images(result)
    read = time.process_time()
    write_cutouts([result], CandidateSelection(), folder)
    return read - start, time.process_time() - read


@click.command()
@click.option("--size", type=int, default=2048, show_default=True, help="Side of the image, pixels.")
@click.option("--candidates", type=int, default=200, show_default=True, help="Number of candidates.")
def main(size: int, candidates: int) -> None:
    """Print the rate of cutouts."""
    with tempfile.TemporaryDirectory() as folder:
        result = make_repository(Path(folder) / "repo", size, candidates)
        # The first run loads libraries.
        measure(result, Path(folder) / "warm")
        read, everything = measure(result, Path(folder) / "cutouts")
    print(
        f"{candidates} candidates on {size} x {size} pixels: {everything:.2f} s of processor time, "
        f"{60.0 * candidates / everything:.0f} cutouts a minute; {everything / read:.1f} times as long as "
        f"reading the image ({read:.2f} s). Load of the machine: {os.getloadavg()[0]:.1f}."
    )


if __name__ == "__main__":
    main()
