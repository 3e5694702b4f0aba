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

"""Fraction of candidates of known objects that get the right designation.

    python benchmarks/known_objects.py catalog [--fields 200]
    python benchmarks/known_objects.py images [--detectors 4] [--size 2048 2048]

``catalog`` associates simulated candidates, with the errors of fits, outliers, fragments and false
candidates.  ``images`` injects trails into simulated images, finds candidates with the shipped model, and
associates them with ephemerides of each kind.  In both, 60 known objects move at 0.1 to 30 degrees per day,
20 of them are not visible, 20 more trails are unknown, and predicted positions are off by the stated
uncertainty.
"""

from __future__ import annotations

import collections
from typing import NamedTuple

import click
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from lsst.meas.trails.core.association.expected import detection_probability
from lsst.meas.trails.core.association.likelihood import CandidateTrails, ExpectedTrails
from lsst.meas.trails.core.association.match import associate
from lsst.meas.trails.core.geometry import Trails, wrap_angle
from lsst.meas.trails.core.psf import FWHM_PER_SIGMA

UNCERTAINTIES = (0.3, 5.0)
"""Uncertainties of the ephemerides, arcseconds."""

SCALE, EXPOSURE, FWHM = 0.2, 30.0, 4.0
"""Arcseconds per pixel, seconds, and FWHM of the PSF in pixels of simulated catalogs."""

SNR50 = 9.0
"""SNR at which half of the trails of simulated catalogs are found."""

UNKNOWN, FALSE = -2, -1
"""Labels of unknown trails and of false candidates."""

type _Floats = npt.NDArray[np.float64]


class Field(NamedTuple):
    """A simulated catalog of candidates, and the predicted trails of its known objects."""

    candidates: CandidateTrails
    expected: ExpectedTrails
    labels: npt.NDArray[np.int64]
    """Number of the known object of each candidate, or `UNKNOWN` or `FALSE`."""


def simulate_catalog(
    seed: int,
    uncertainty: float,
    *,
    known: int = 60,
    hidden: int = 20,
    unknown: int = 20,
    false: int = 60,
    size: int = 4096,
) -> Field:
    """Simulate a catalog of candidates.

    Parameters
    ----------
    seed
        Seed of the random numbers.
    uncertainty
        Uncertainty of the ephemerides in each of two directions, arcseconds.
    known, hidden
        Number of known objects, and of those that are too faint.
    unknown, false
        Number of unknown trails and of false candidates.
    size
        Side of the field, pixels.
    """
    random = np.random.default_rng(seed)
    length = _lengths(random, known, 0.1)
    x, y, angle = random.uniform(0.0, size, known), random.uniform(0.0, size, known), _angles(random, known)
    snr = np.exp(random.uniform(np.log(6.0), np.log(100.0), known))
    snr[:hidden] = np.exp(random.uniform(np.log(0.5), np.log(4.0), hidden))
    mag = _mags(snr, length)
    predicted_mag = mag + random.normal(0.0, 0.3, known)
    error = uncertainty / SCALE
    predicted = Trails(
        x + random.normal(0.0, error, known),
        y + random.normal(0.0, error, known),
        length * (1.0 + random.normal(0.0, 0.01, known)),
        wrap_angle(angle + random.normal(0.0, 0.3, known)),
        np.zeros(known),
    )
    chance = detection_probability(snr * np.power(10.0, -0.4 * (predicted_mag - mag)), SNR50)
    expected = ExpectedTrails(
        trails=predicted,
        visible=predicted,
        near_edge=np.zeros(known, dtype=bool),
        position_err=np.full(known, error),
        mag=predicted_mag,
        detection=chance,
    )
    seen = np.flatnonzero(
        (np.arange(known) >= hidden) & (random.random(known) < detection_probability(snr, SNR50))
    )
    rows = [_measure(random, x[seen], y[seen], length[seen], angle[seen], snr[seen])]
    labels = [seen]
    rows[0], labels[0] = _break_up(random, rows[0], seen)
    for count, label, lengths in (
        (unknown, UNKNOWN, _lengths(random, unknown, 0.5)),
        (false, FALSE, np.exp(random.normal(np.log(12.0), 0.6, false))),
    ):
        place = random.uniform(0.0, size, (2, count))
        brightness = np.exp(random.uniform(np.log(4.0), np.log(100.0), count))
        rows.append(_measure(random, *place, lengths, _angles(random, count), brightness))
        labels.append(np.full(count, label))
    table = np.concatenate(rows, axis=1)
    trails = Trails(*table[:4], np.zeros(table.shape[1]))
    score = np.full(len(trails), np.nan)
    return Field(CandidateTrails(trails, *table[4:], score), expected, np.concatenate(labels))


def _lengths(random: np.random.Generator, count: int, least: float) -> _Floats:
    """Draw lengths of rates up to 30 degrees per day, pixels."""
    rate = np.exp(random.uniform(np.log(least), np.log(30.0), count))
    return rate / 86400.0 * EXPOSURE * 3600.0 / SCALE


def _angles(random: np.random.Generator, count: int) -> _Floats:
    return random.uniform(0.0, 180.0, count)


def _mags(snr: _Floats, length: _Floats) -> _Floats:
    """Return magnitudes of trails of an optimal SNR, with an arbitrary zero point."""
    sigma = FWHM / FWHM_PER_SIGMA
    area = 4.0 * np.pi * sigma**2 + 2.0 * np.sqrt(np.pi) * sigma * length
    return 27.0 - 2.5 * np.log10(snr * np.sqrt(area))


def _measure(
    random: np.random.Generator, x: _Floats, y: _Floats, length: _Floats, angle: _Floats, snr: _Floats
) -> _Floats:
    """Return measured positions, lengths, angles, their errors, and magnitudes, shape (10, n).

    One in 20 fits is an outlier: its length is wrong by up to a factor of 2.5.
    """
    count = len(x)
    across = np.maximum(6.0 / snr, 0.1)
    length_err = np.hypot(1.5 * across, 0.03 * length)
    angle_err = np.rad2deg(np.arctan2(2.5 * across, np.maximum(length, 1.0)))
    along = random.normal(0.0, 0.5 * length_err)
    measured = length + random.normal(0.0, length_err)
    wrong = random.random(count) < 0.05
    measured = np.where(wrong, length * random.uniform(0.4, 1.3, count), measured)
    shift = random.uniform(-0.5, 0.5, count) * np.abs(length - measured)
    along, offset = np.where(wrong, along + shift, along), random.normal(0.0, across)
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    position_err = np.hypot(across, 0.35 * length_err)
    turn = np.clip(random.normal(0.0, angle_err), -90.0, 90.0)
    mag_err = 1.09 / snr
    return np.stack(
        [
            x + along * cos - offset * sin,
            y + along * sin + offset * cos,
            np.abs(measured),
            wrap_angle(angle + turn),
            position_err,
            position_err,
            length_err,
            np.minimum(angle_err, 60.0),
            _mags(snr, length) + random.normal(0.0, mag_err),
            mag_err,
        ]
    )


def _break_up(
    random: np.random.Generator, rows: _Floats, labels: npt.NDArray[np.int64]
) -> tuple[_Floats, npt.NDArray[np.int64]]:
    """Break up 15% of the long trails into two fragments each."""
    broken = (rows[2] > 40.0) & (random.random(rows.shape[1]) < 0.15)
    parts, numbers = [rows[:, ~broken]], [labels[~broken]]
    for row, label in zip(rows[:, broken].T, labels[broken], strict=True):
        first = random.uniform(0.3, 0.6)
        for share, side in ((first, -0.5 * (1.0 - first)), (0.9 - first, 0.5 * (0.1 + first))):
            piece = row.copy()
            piece[0] += side * row[2] * np.cos(np.deg2rad(row[3]))
            piece[1] += side * row[2] * np.sin(np.deg2rad(row[3]))
            piece[2] *= share
            piece[8] -= 2.5 * np.log10(share)
            parts.append(piece[:, None])
            numbers.append(np.array([label]))
    return np.concatenate(parts, axis=1), np.concatenate(numbers)


def count_labels(labels: npt.NDArray[np.int64], found: npt.NDArray[np.int64]) -> collections.Counter[str]:
    """Count right and wrong labels.

    Parameters
    ----------
    labels
        Number of the known object of each candidate, or `UNKNOWN` or `FALSE`.
    found
        Number of the object that each candidate is associated with, or -1.
    """
    known = labels >= 0
    masks = {
        "known": known,
        "right": known & (found == labels),
        "wrong": known & (found >= 0) & (found != labels),
        "unknown": labels == UNKNOWN,
        "unknown labeled": (labels == UNKNOWN) & (found >= 0),
        "false": labels == FALSE,
        "false labeled": (labels == FALSE) & (found >= 0),
    }
    return collections.Counter({name: int(np.sum(mask)) for name, mask in masks.items()})


def show(console: Console, title: str, rows: dict[str, collections.Counter[str]]) -> None:
    """Print counts."""
    table = Table(title=title, title_justify="left")
    for name in ("ephemeris", "candidates of known", "right", "wrong", "unknown labeled", "false labeled"):
        table.add_column(name, justify="left" if name == "ephemeris" else "right")
    for name, count in rows.items():
        table.add_row(
            name,
            str(count["known"]),
            f"{count['right']} ({100.0 * count['right'] / max(count['known'], 1):.2f}%)",
            str(count["wrong"]),
            f"{count['unknown labeled']} of {count['unknown']}",
            f"{count['false labeled']} of {count['false']}",
        )
    console.print(table)


@click.group()
def main() -> None:
    """Measure the association with known objects."""


@main.command()
@click.option("--fields", default=200, show_default=True, help="Number of simulated fields.")
def catalog(fields: int) -> None:
    """Associate simulated candidates."""
    rows = {}
    for uncertainty in UNCERTAINTIES:
        total: collections.Counter[str] = collections.Counter()
        for seed in range(fields):
            field = simulate_catalog(seed, uncertainty)
            found = associate(field.candidates, field.expected, 4096.0**2)
            total += count_labels(field.labels, found.object_of)
        rows[f"{uncertainty:g} arcsec"] = total
    show(Console(width=120), f"{fields} simulated catalogs", rows)


@main.command()
@click.option("--detectors", default=4, show_default=True, help="Number of images.")
@click.option("--size", nargs=2, default=(2048, 2048), show_default=True, help="Rows and columns.")
@click.option("--seed", default=1, show_default=True, help="Seed of images and objects.")
@click.option("--model", default="direct", show_default=True, help="Name or file of the model.")
def images(detectors: int, size: tuple[int, int], seed: int, model: str) -> None:
    """Inject trails into simulated images, find them, and associate them."""
    from known_objects_images import measure_images

    console = Console(width=120)
    rows, same, missed = measure_images(detectors, size, seed, model, console.print)
    show(console, f"{detectors} images of {size[0]} x {size[1]} pixels", rows)
    console.print(
        f"The labels of all ephemerides of one uncertainty are the same: {'yes' if same else 'no'}."
    )
    console.print(f"Known objects without a candidate, by reason: {dict(missed)}.")


if __name__ == "__main__":
    main()
