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

"""Linking of visits: time, memory, and objects linked against false tracklets.

    python benchmarks/linking.py night [--rows 100000]
    python benchmarks/linking.py catalogs [--seeds 200]
    python benchmarks/linking.py field [--fields 2] [--size 1024 1024]

``night`` links the catalogs of a night without images: 189 detectors with 10
false candidates each, and 3 moving objects per square degree, in fields that are
visited twice 30 minutes apart.  ``--rows`` sets the number of fields.

``catalogs`` links many pairs of visits of 4 detectors with 10 false candidates
each, without images.

``field`` simulates images of fields that are visited twice, with objects that move
on, searches them with DetectTrails.yaml, and links them with LinkTrails.yaml: with
the candidates as they are found, and with false candidates added until each
detector has 10, at random places and directions, with the lengths, magnitudes
and errors of candidates that were found.  On smaller images this is a higher
density than 10 per full detector.

A tracklet is false if its candidates are not of one object.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

ROWS_PER_FIELD = 2 * (189 * 10 + 30)
"""Candidates of a field in two visits: false candidates, and about 30 moving objects."""


@click.group()
def main() -> None:
    """Measure the linking of visits."""


def peak_mebibytes() -> float:
    """Return the peak memory of this process."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


@main.command()
@click.option("--rows", type=int, default=100_000, show_default=True, help="Number of candidates, about.")
@click.option("--seed", type=int, default=1, show_default=True)
def night(rows: int, seed: int) -> None:
    """Link a night of catalogs."""
    import astropy.table

    from lsst.meas.trails.core.linking.link import link_candidates
    from lsst.meas.trails.sim.night import NightConfig, link_truth, simulate_night

    config = NightConfig(seed=seed, fields=max(1, round(rows / ROWS_PER_FIELD)))
    kept = []
    simulated = 0.0

    def catalogs() -> Iterator[astropy.table.Table]:
        nonlocal simulated
        source = simulate_night(config)
        while True:
            start = time.process_time()
            table = next(source, None)
            simulated += time.process_time() - start
            if table is None:
                return
            kept.append(table[["trailCandidateId", "visit", "object"]])
            yield table

    start, cpu = time.perf_counter(), time.process_time()
    result = link_candidates(catalogs())
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu - simulated
    peak = peak_mebibytes()
    truth = link_truth(result.tracklets, result.members, kept)
    table = Table("quantity", "value")
    for name, value in {
        "candidates": f"{result.candidates}",
        "visits": f"{result.visits}",
        "processor time of linking, s": f"{cpu:.1f}",
        "wall time with the simulation, s": f"{wall:.1f}",
        "peak memory, MiB": f"{peak:.0f}",
        "pairs that agree": f"{result.pairs}",
        "pairs by chance, from decoys": f"{result.chance.decoys:.0f}",
        "tracklets": f"{len(result.tracklets)}",
        "objects found twice": f"{truth.twice}",
        "of these linked": f"{truth.linked} ({truth.linked / max(truth.twice, 1):.1%})",
        "false tracklets": f"{truth.false}",
        "false tracklets expected": f"{result.expected_false:.1f}",
    }.items():
        table.add_row(name, value)
    Console().print(table)


@main.command()
@click.option("--seeds", type=int, default=200, show_default=True, help="Number of pairs of visits.")
@click.option("--false", type=float, default=10.0, show_default=True, help="False candidates per detector.")
def catalogs(seeds: int, false: float) -> None:
    """Link many pairs of visits of four detectors, without images."""
    from lsst.meas.trails.core.linking.link import link_candidates
    from lsst.meas.trails.sim.night import NightConfig, link_truth, simulate_night

    table = Table(
        "false candidates", "minutes apart", "pairs of visits", "found twice", "linked", "false", "expected",
        "false per pair of visits",
    )  # fmt: skip
    for name, changes in {
        "uniform": {},
        "half of them around stars": {"clustered": 0.5},
        "half of them stationary": {"stationary": 0.5},
    }.items():
        for gap in (30.0, 15.0):
            twice = linked = wrong = 0
            expected = 0.0
            for seed in range(seeds):
                config = NightConfig(seed=seed, detectors=4, false=false, objects=150.0, gap=gap, **changes)  # type: ignore[arg-type]
                visits = list(simulate_night(config))
                result = link_candidates(visits)
                truth = link_truth(result.tracklets, result.members, visits)
                twice, linked, wrong = twice + truth.twice, linked + truth.linked, wrong + truth.false
                expected += result.expected_false
            table.add_row(
                name, f"{gap:g}", f"{seeds}", f"{twice}", f"{linked} ({linked / max(twice, 1):.1%})",
                f"{wrong}", f"{expected:.1f}", f"{wrong / seeds:.2f}",
            )  # fmt: skip
    Console(width=120).print(table)


@main.command()
@click.option("--fields", type=int, default=2, show_default=True, help="Number of fields.")
@click.option("--size", type=int, nargs=2, default=(1024, 1024), show_default=True, help="Rows and columns.")
@click.option("--trails", type=float, default=12.0, show_default=True, help="Objects per image.")
@click.option("--cadence", type=float, default=10.0, show_default=True, help="Minutes between the visits.")
@click.option("--seed", type=int, default=21, show_default=True)
def field(fields: int, size: tuple[int, int], trails: float, cadence: float, seed: int) -> None:
    """Simulate, search and link fields that are visited twice."""
    from lsst.meas.trails.repository.butler import open_or_create
    from lsst.meas.trails.sim.simulation import Simulation

    simulation = Simulation(
        seed=seed, visits=fields, detectors=4, shape=size, trails=trails, repeat=2, cadence=cadence
    )
    table = Table(
        "false candidates", "per detector", "found twice", "linked", "right direction", "false", "expected",
        "false per pair of visits",
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        repo = Path(folder) / "repo"
        list(simulation.run(open_or_create(repo), "input"))
        butler = detect(repo)
        found = [found_candidates(butler, data_id) for data_id in visit_ids(simulation)]
        images = 8.0 * fields
        for name, number in (("as found", None), ("added", 10)):
            catalogs = found
            if number is not None:
                catalogs = [add_false(butler, table, found, number, rng) for table in found]
            false = sum(np.count_nonzero(np.asarray(table["object"]) < 0) for table in catalogs)
            table.add_row(name, f"{false / images:.1f}", *link_row(catalogs, fields))
    Console(width=130).print(table)


def visit_ids(simulation: Any) -> list[dict[str, Any]]:
    """Return the data IDs of the visits."""
    return [
        {"instrument": "TrailSimCam", "visit": simulation.plan(index).visit} for index in simulation.indices
    ]


def detect(repo: Path) -> Any:
    """Run DetectTrails.yaml and return the Butler of its output."""
    from lsst.pipe.base import Pipeline
    from lsst.pipe.base.simple_pipeline_executor import SimplePipelineExecutor

    uri = "resource://lsst.meas.trails/resources/pipelines/DetectTrails.yaml"
    butler = SimplePipelineExecutor.prep_butler(str(repo), inputs=["input"], output="found")
    executor = SimplePipelineExecutor.from_pipeline(Pipeline.from_uri(uri), butler=butler)
    executor.run(register_dataset_types=True)
    return butler


def found_candidates(butler: Any, data_id: dict[str, Any]) -> Any:
    """Return the candidates of a visit above the score of 10 false ones per detector, with their objects.

    ``object`` is the number in the designation, and ``motion`` the true direction.
    """
    from lsst.meas.trails.core.geometry import Trails
    from lsst.meas.trails.core.matching import match_trails
    from lsst.meas.trails.repository.candidates import read_catalog, score_of_false_rate

    table = read_catalog(butler, "trail_candidate", data_id)
    table = table[np.asarray(table["score"]) >= score_of_false_rate(table)]
    table["object"], table["motion"] = np.full(len(table), -1), np.full(len(table), np.nan)
    for detector in np.unique(table["detector"]):
        truth = butler.get("simulated_trail_catalog", {**data_id, "detector": int(detector)})
        truth = truth[truth["source_type"] == "Trail"]
        rows = np.flatnonzero(table["detector"] == detector)
        candidates = Trails.from_table(
            table[rows], length="trailLengthPix", angle="trailAnglePix", flux="trailFlux"
        )
        rank = np.asarray(table["score"][rows])
        matched = match_trails(candidates, Trails.from_table(truth), rank=rank).truth_of
        for row, number in zip(rows, matched, strict=True):
            if number >= 0:
                field, name = truth["designation"][number].split("-")[1:]
                table["object"][row] = 1_000_000 * int(field) + int(name)
                table["motion"][row] = truth["position_angle"][number]
    return table


def add_false(butler: Any, table: Any, found: list[Any], number: int, rng: np.random.Generator) -> Any:
    """Return the candidates of a visit with false ones added until each detector has a number of them."""
    import astropy.table

    from lsst.meas.trails.core.motion import move

    everything = astropy.table.vstack(found, metadata_conflicts="silent")
    data_id = {"instrument": "TrailSimCam", "visit": int(table["visit"][0])}
    parts = [table]
    for detector in range(4):
        image = butler.get("preliminary_visit_image", {**data_id, "detector": detector})
        own = (np.asarray(table["detector"]) == detector) & (np.asarray(table["object"]) < 0)
        count = max(number - int(own.sum()), 0)
        new = everything[rng.integers(0, len(everything), count)]
        x = image.bbox.x.start + rng.uniform(0.0, image.bbox.x.size, count)
        y = image.bbox.y.start + rng.uniform(0.0, image.bbox.y.size, count)
        sky = image.sky_projection.pixel_to_sky(x=x, y=y)
        angle, half = rng.uniform(0.0, 180.0, count), 0.5 * np.asarray(new["trailLength"]) / 3600.0
        new["ra"], new["dec"], new["trailAngle"] = sky.ra.deg, sky.dec.deg, angle
        for end, sign in (("0", -1.0), ("1", 1.0)):
            new[f"ra{end}"], new[f"dec{end}"] = move(sky.ra.deg, sky.dec.deg, half, angle, sign)
        new["object"], new["motion"] = np.full(count, -1), np.full(count, np.nan)
        new["visit"], new["detector"] = np.full(count, data_id["visit"]), np.full(count, detector)
        new["midpointMjdTai"] = np.full(count, table["midpointMjdTai"][0])
        new["trailCandidateId"] = rng.integers(1, 2**62, count)
        parts.append(new)
    return astropy.table.vstack(parts, metadata_conflicts="silent")


def link_row(catalogs: list[Any], pairs: int) -> tuple[str, ...]:
    """Link the catalogs and return a row of the table."""
    import astropy.table

    from lsst.meas.trails.core.linking.link import link_candidates
    from lsst.meas.trails.sim.night import link_truth

    result = link_candidates(catalogs)
    truth = link_truth(result.tracklets, result.members, catalogs)
    everything = astropy.table.vstack(catalogs, metadata_conflicts="silent")
    motion = dict(zip(everything["trailCandidateId"].tolist(), everything["motion"].tolist(), strict=True))
    first = {row["trackletId"]: motion[row["trailCandidateId"]] for row in result.members}
    turn = np.array([row["positionAngle"] - first[row["trackletId"]] for row in result.tracklets])
    right = np.abs(np.mod(turn + 180.0, 360.0) - 180.0) < 90.0
    return (
        f"{truth.twice}",
        f"{truth.linked} ({truth.linked / max(truth.twice, 1):.1%})",
        f"{np.count_nonzero(right)} of {np.count_nonzero(np.isfinite(turn))}",
        f"{truth.false}",
        f"{result.expected_false:.2f}",
        f"{truth.false / pairs:.2f}",
    )


if __name__ == "__main__":
    main()
