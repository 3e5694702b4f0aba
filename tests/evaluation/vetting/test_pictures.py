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

import io
from typing import Any

import astropy.table
import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest

from lsst.meas.trails.core.catalog.columns import CANDIDATE_COLUMNS, table_of
from lsst.meas.trails.core.cutouts import cut_candidates
from lsst.meas.trails.evaluation.vetting.pictures import PANELS, VetCandidate, vet_candidate


def make_table(x0: float, y0: float, x1: float, y1: float) -> astropy.table.Table:
    """Return a catalog of one candidate."""
    columns: dict[str, Any] = {
        name: ["r"] if dtype is np.str_ else [0.0] for name, (dtype, _, _) in CANDIDATE_COLUMNS.items()
    }
    columns |= {"x": [(x0 + x1) / 2], "y": [(y0 + y1) / 2], "x0": [x0], "y0": [y0], "x1": [x1], "y1": [y1]}
    columns |= {"trailCandidateId": [2**62 + 1], "score": [0.75], "streakFlag": [True]}
    return table_of(columns, CANDIDATE_COLUMNS)


def make(arrays: dict[str, npt.NDArray[np.float32]], ends: tuple[float, float, float, float]) -> VetCandidate:
    table = make_table(*ends)
    (cutout,) = cut_candidates(arrays, table)
    return vet_candidate(table[0], cutout)


def panels(candidate: VetCandidate) -> dict[str, npt.NDArray[np.uint8]]:
    """Return the pictures of a strip by name."""
    strip = np.asarray(PIL.Image.open(io.BytesIO(candidate.strip)).convert("RGB"))
    assert strip.shape[1] == len(PANELS) * strip.shape[0]
    return dict(zip(PANELS, np.split(strip, len(PANELS), axis=1), strict=True))


def test_pictures_and_line_agree() -> None:
    """Bright pixels at the ends of a trail are at the ends of the line."""
    rng = np.random.default_rng(1)
    image = rng.normal(0.0, 1.0, (300, 300)).astype(np.float32)
    image[118:123, 98:103] = image[158:163, 188:193] = 100.0
    candidate = make({"science": image, "probability": np.abs(image) / 1e3}, (100.0, 120.0, 190.0, 160.0))
    found = panels(candidate)
    side = found["science"].shape[0]
    assert candidate.side == side == 141
    x0, y0, x1, y1 = (value * side - 0.5 for value in candidate.line)
    # The first row is at the bottom.
    assert y1 < y0
    for x, y in ((x0, y0), (x1, y1)):
        assert found["science"][round(y) - 1 : round(y) + 2, round(x) - 1 : round(x) + 2].min() > 200
    assert np.median(found["science"]) < 120
    assert candidate.missing == ("template", "difference")
    # Compression changes colors a little.
    assert np.all(np.abs(found["template"][:, 8:-8].astype(int) - 40) < 4)
    # Magma at 0 is black, and at 0.1 is violet.
    assert np.median(found["probability"]) < 8
    assert found["probability"][round(y0), round(x0), 2] > 50


def test_long_trails_are_binned() -> None:
    image = np.zeros((900, 900), dtype=np.float32)
    image[100:110, 100:110] = image[790:800, 790:800] = 50.0
    image += np.random.default_rng(1).normal(0.0, 1.0, image.shape).astype(np.float32)
    candidate = make({"science": image}, (104.5, 104.5, 794.5, 794.5))
    picture = panels(candidate)["science"]
    assert candidate.side == 741
    assert picture.shape[0] == 247
    x0, y0, x1, y1 = (round(value * 247 - 0.5) for value in candidate.line)
    assert min(picture[y0, x0].min(), picture[y1, x1].min()) > 200


def test_pixels_beyond_the_image_are_gray() -> None:
    image = np.random.default_rng(1).normal(0.0, 1.0, (200, 200)).astype(np.float32)
    candidate = make({"science": image}, (0.0, 100.0, 10.0, 100.0))
    picture = panels(candidate)["science"].astype(int)
    # Compression changes colors a little.
    assert np.all(np.abs(picture[:, :40] - 40) < 8)
    assert picture[:, 60:].std() > 20.0


def test_properties() -> None:
    candidate = make({"science": np.zeros((64, 64), dtype=np.float32)}, (20.0, 20.0, 40.0, 20.0))
    assert candidate.identifier == 2**62 + 1
    facts = dict(candidate.facts)
    assert facts["score"] == "0.750"
    assert facts["flags"] == "streakFlag"
    assert facts["identifier"] == str(2**62 + 1)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_any_pixels_have_a_picture(value: float) -> None:
    image = np.full((64, 64), value, dtype=np.float32)
    candidate = make({"science": image}, (20.0, 20.0, 40.0, 20.0))
    assert panels(candidate)["science"].shape == (101, 101, 3)
