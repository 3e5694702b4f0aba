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
from __future__ import annotations

import astropy.table
import numpy as np
import pytest

from lsst.meas.trails.core.catalog.columns import CANDIDATE_COLUMNS
from lsst.meas.trails.core.geometry import Trail, Trails
from lsst.meas.trails.core.injection.truth import TRUTH_COLUMNS
from lsst.meas.trails.core.photometry import flux_to_mag
from lsst.meas.trails.core.pixel_histogram import BINS
from lsst.meas.trails.core.planes import ImagePlanes
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.core.render import add_trail, optimal_snr, render_trail
from lsst.meas.trails.evaluation.collection_sample import CollectionSample
from lsst.meas.trails.evaluation.match_table import ImageContext, match_table, search_table
from lsst.meas.trails.evaluation.metrics_table import select
from lsst.meas.trails.evaluation.summary import SummaryOptions, summarize

Detectors = list[tuple[astropy.table.Table, astropy.table.Table]]

SIDE = 2000
"""Side of the detectors of `make_detector`, pixels; 4.1 of them have 16.4 Mpix."""


def make_truth(
    rows: list[tuple[float, float, float, float]] | np.ndarray,
    *,
    snr: float | np.ndarray = 20.0,
    visible: float | np.ndarray = 1.0,
    source_type: str = "Trail",
) -> astropy.table.Table:
    """Return a truth table of trails of given x, y, length and angle."""
    values = np.array(rows, dtype=np.float64).reshape(-1, 4)
    count = len(values)
    columns = {name: np.full(count, np.nan) for name in TRUTH_COLUMNS}
    columns |= dict(zip(("x", "y", "trail_length", "beta"), values.T, strict=True))
    columns |= dict(zip(("x0", "y0", "x1", "y1"), Trails(*values.T, np.ones(len(values))).ends, strict=True))
    flux = 40.0 * np.broadcast_to(np.asarray(snr, dtype=np.float64), (count,))
    columns |= {
        "injection_id": np.arange(count),
        "source_type": np.full(count, source_type, dtype="U9"),
        "flux": flux,
        "integrated_mag": flux_to_mag(flux),
        "PSF_mag": flux_to_mag(flux) + 0.5,
        "snr_optimal": flux / 40.0,
        "SNR": flux / 60.0,
        "visible_fraction": np.broadcast_to(visible, (count,)),
        "fwhm": np.full(count, 4.0),
        "ra": columns["x"] / 18000.0,
        "dec": columns["y"] / 18000.0,
    }
    return astropy.table.Table(columns)


def make_candidates(
    rows: list[tuple[float, float, float, float]] | np.ndarray,
    *,
    score: float | np.ndarray = 0.9,
    flux: float | np.ndarray = 800.0,
    streak: bool = False,
) -> astropy.table.Table:
    """Return a catalog of candidates of given x, y, length and angle."""
    values = np.array(rows, dtype=np.float64).reshape(-1, 4)
    count = len(values)
    table = astropy.table.Table()
    for name, (dtype, _, _) in CANDIDATE_COLUMNS.items():
        table[name] = np.zeros(count, dtype="U8" if dtype is np.str_ else dtype)
    for name, column in zip(("x", "y", "trailLengthPix", "trailAnglePix"), values.T, strict=True):
        table[name] = column
    for name, column in zip(
        ("x0", "y0", "x1", "y1"), Trails(*values.T, np.ones(len(values))).ends, strict=True
    ):
        table[name] = column
    table["trailCandidateId"] = np.arange(count)
    table["trailLength"] = 0.2 * table["trailLengthPix"]
    table["trailRate"] = table["trailLength"] / 3600.0 / (30.0 / 86400.0)
    table["trailFlux"] = np.broadcast_to(flux, (count,))
    table["trailMag"] = flux_to_mag(np.asarray(table["trailFlux"]))
    table["snr"] = table["trailFlux"] / 40.0
    table["score"] = np.broadcast_to(score, (count,))
    table["streakFlag"] = np.full(count, streak)
    for name, error in (
        ("xErr", 0.5),
        ("yErr", 0.5),
        ("trailLengthErr", 0.1),
        ("trailAngleErr", 1.0),
        ("trailFluxErr", 40.0),
    ):
        table[name] = np.full(count, error)
    return table


def leak(truth: astropy.table.Table, score: float | np.ndarray = 0.9) -> astropy.table.Table:
    """Return candidates that are copied from the truth."""
    rows = np.stack([truth[name] for name in ("x", "y", "trail_length", "beta")], axis=1)
    return make_candidates(rows, score=score, flux=np.asarray(truth["flux"]))


def random_trails(rng: np.random.Generator, count: int, side: int = SIDE) -> np.ndarray:
    """Return x, y, length and angle of trails anywhere."""
    return np.stack(
        [
            rng.uniform(0.0, side, count),
            rng.uniform(0.0, side, count),
            rng.uniform(6.0, 150.0, count),
            rng.uniform(0.0, 180.0, count),
        ],
        axis=1,
    )


def make_search(
    matches: astropy.table.Table,
    *,
    side: int = SIDE,
    true: np.ndarray | None = None,
    false: np.ndarray | None = None,
    components: np.ndarray | None = None,
    model_threshold: float = np.nan,
) -> astropy.table.Table:
    """Return the search table of a detector."""
    measured: dict[str, object] = {f"modelThreshold{rate}": model_threshold for rate in (1, 10, 100)}
    if true is not None:
        measured |= {"hasPixels": True, "growThreshold": 0.3, "pixelTrue": true, "pixelFalse": false}
    if components is not None:
        measured["adcnnComponents"] = components
    return search_table(matches, ImageContext(shape=(side, side), band="r"), measured=measured)


def make_detector(
    seed: int, *, trails: int = 40, false: int = 60, sources: int = 300, found: bool = True
) -> tuple[astropy.table.Table, astropy.table.Table]:
    """Return the match and search tables of a detector.

    Half of the trails are found at an SNR of 7 by the network, and of 9 to 13
    by the baselines; false candidates have low scores.
    """
    rng = np.random.default_rng(seed)
    snr = np.exp(rng.uniform(np.log(3.0), np.log(30.0), trails))
    truth = make_truth(random_trails(rng, trails), snr=snr)
    chance = 1.0 / (1.0 + (7.0 / snr) ** 8)
    seen = rng.uniform(size=trails) < (chance if found else 0.0)
    some = truth[seen]
    rows = np.stack([some[name] for name in ("x", "y", "trail_length", "beta")], axis=1)
    # Errors as large as their estimates in the catalog.
    rows[:, :2] += 0.5 * rng.standard_normal((len(some), 2))
    rows[:, 2] += 0.5 * rng.standard_normal(len(some))
    rows[:, 3] = np.mod(rows[:, 3] + rng.standard_normal(len(some)), 180.0)
    flux = np.asarray(some["flux"]) + 40.0 * rng.standard_normal(len(some))
    scores = np.concatenate([rng.beta(4.0, 1.0, len(some)), rng.beta(1.0, 4.0, false)])
    candidates = make_candidates(
        np.concatenate([rows, random_trails(rng, false)]),
        score=scores,
        flux=np.concatenate([flux, np.full(false, 250.0)]),
    )
    baselines = {
        name: (rng.uniform(size=trails) < 1.0 / (1.0 + (middle / snr) ** 8)).astype(int)
        for name, middle in (("foundBySep3", 9.0), ("foundBySep4", 11.0), ("foundBySep5", 13.0))
    }
    matches = match_table(
        candidates,
        truth,
        ImageContext(shape=(SIDE, SIDE), sources=rng.uniform(0.0, SIDE, (sources, 2))),
        extra={**baselines, "adcnnScore": np.where(seen, 0.97, 0.0)},
        snr_psf=np.asarray(candidates["snr"]) / 1.5,
    )
    center = np.arange(BINS)
    true = rng.poisson(40.0 * np.exp(-0.5 * ((center - 420) / 60.0) ** 2))
    wrong = rng.poisson(9000.0 * np.exp(-0.5 * ((center - 150) / 60.0) ** 2))
    components = np.zeros(101)
    components[97], components[30] = seen.sum(), 7
    search = make_search(matches, true=true, false=wrong, components=components, model_threshold=0.6)
    for key in ("Sep3", "Sep4", "Sep5"):
        search[f"n{key}"] = 400
        search[f"chance{key}"] = 0.01
    search["nStack"] = -1
    return matches, search


@pytest.fixture(scope="session")
def collection() -> Detectors:
    """Return the matches and searches of six detectors."""
    return [make_detector(seed) for seed in range(6)]


PSF = PsfGrid.gaussian(4.0)
"""PSF of `make_image`."""


def make_image(*trails: tuple[float, float, float, float, float], seed: int = 1) -> ImagePlanes:
    """Return white noise with trails of x, y, length, angle and SNR."""
    shape = (256, 300)
    image = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    planes = ImagePlanes(image, np.ones(shape, np.float32), np.zeros(shape, np.uint32), PSF)
    for x, y, length, angle, snr in trails:
        stamp = render_trail(PSF, Trail(x, y, length, angle))
        add_trail(image, PSF, Trail(x, y, length, angle, snr / optimal_snr(stamp, planes.variance, 1.0)))
    return planes


QUICK = SummaryOptions(resamples=50)
"""Options for tests in which intervals do not matter."""


def summary(detectors: Detectors, options: SummaryOptions = QUICK) -> astropy.table.Table:
    """Return the summary of detectors."""
    sample = CollectionSample((matches for matches, _ in detectors), (search for _, search in detectors))
    return summarize(sample, options)


def number(metrics: astropy.table.Table, **which: object) -> float:
    """Return the value of the single matching row."""
    (row,) = select(metrics, **which)
    return float(row["value"])


@pytest.fixture(scope="session")
def metrics(collection: Detectors) -> astropy.table.Table:
    """Return the summary of the six detectors."""
    return summary(collection, SummaryOptions())
