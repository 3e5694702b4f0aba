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
import warnings
from collections.abc import Iterator
from typing import Any

import astropy.table
import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from lsst.meas.trails.core.catalog.columns import empty_catalog
from lsst.meas.trails.evaluation.figures.detector import DetectorView, detector_figure, mosaic_figure

ORIGIN = (100, 50)


@pytest.fixture(autouse=True)
def warnings_are_errors() -> Iterator[None]:
    """Turn warnings into errors, because ``meas-trails show`` would print them."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Garbage of other tests is collected at any time.
        warnings.simplefilter("ignore", ResourceWarning)
        warnings.simplefilter("ignore", pytest.PytestUnraisableExceptionWarning)
        yield


@pytest.fixture
def image() -> np.ndarray:
    rng = np.random.default_rng(1)
    image = rng.normal(5.0, 2.0, (80, 120)).astype(np.float32)
    image[:10] = np.nan
    image[40, 60] = 1e5
    return image


def segments(*scores: float, **columns: Any) -> astropy.table.Table:
    """Return trails of 40 pixels along x, 10 pixels apart."""
    count = len(scores)
    y = 60.0 + 10.0 * np.arange(count)
    table = astropy.table.Table({"x0": np.full(count, 120.0), "x1": np.full(count, 160.0), "y0": y, "y1": y})
    table["score"] = np.asarray(scores)
    for name, value in columns.items():
        table[name] = value
    return table


def draw(image: np.ndarray, candidates: Any, truth: Any = None, **keywords: Any) -> Figure:
    probability = np.zeros(image.shape, dtype=np.float32)
    probability[30, 20:60] = 1.0
    figure = detector_figure(DetectorView(image, probability, candidates, truth, origin=ORIGIN, **keywords))
    # The color bar is an axis, too.
    assert [axis.get_title() for axis in figure.axes[:2]] == ["Image", "Trail probability"]
    assert len(figure.axes) == 4
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=40)
    buffer.seek(0)
    assert matplotlib.image.imread(buffer).std() > 0.05
    return figure


def labels(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_candidates_over_truth(image: np.ndarray) -> None:
    truth = segments(0.0, 0.0, source_type=["Trail", "Satellite"])
    figure = draw(image, segments(0.9, 0.2, 0.7), truth, min_score=0.5, title="visit 1")
    panel = figure.axes[2]
    assert panel.get_title() == "Candidates with their scores, over the truth"
    assert labels(figure) == ["true trail", "satellite", "candidate, score ≥ 0.50"]
    assert [text.get_text() for text in panel.texts] == ["0.90", "0.70"]
    # In the coordinates of the image, gaps between the segments.
    candidates = panel.lines[-1].get_xydata()
    np.testing.assert_allclose(candidates[:2], [[120.0, 60.0], [160.0, 60.0]])
    np.testing.assert_allclose(candidates[3:5], [[120.0, 80.0], [160.0, 80.0]])
    assert np.all(np.isnan(candidates[2]))
    assert figure.get_suptitle() == "visit 1"


def test_without_truth(image: np.ndarray) -> None:
    figure = draw(image, segments(0.9))
    assert figure.axes[2].get_title() == "Candidates with their scores"
    assert labels(figure) == ["candidate"]


def test_without_candidates(image: np.ndarray) -> None:
    assert labels(draw(image, empty_catalog())) == []
    assert labels(draw(image, empty_catalog(), segments(0.0, source_type=["Trail"]))) == ["true trail"]


@pytest.mark.parametrize("value", [np.nan, 0.0, 7.0])
def test_image_without_contrast(image: np.ndarray, value: float) -> None:
    draw(np.full_like(image, value), segments(0.9))


def test_axes_are_the_pixels(image: np.ndarray) -> None:
    figure = draw(image, empty_catalog())
    for axis in figure.axes[:3]:
        assert axis.get_xlim() == (99.5, 219.5)
        assert axis.get_ylim() == (49.5, 129.5)
        assert axis.images[0].get_extent() == [99.5, 219.5, 49.5, 129.5]


def test_large_images_are_binned() -> None:
    """Pixels keep their coordinates; incomplete bins are not drawn."""
    image = np.zeros((50, 2801), dtype=np.float32)
    figure = detector_figure(DetectorView(image, image, empty_catalog()))
    picture = figure.axes[0].images[0]
    assert picture.get_array().shape == (16, 933)
    assert picture.get_extent() == [-0.5, 2798.5, -0.5, 47.5]
    assert figure.axes[0].get_xlim() == (-0.5, 2800.5)


def catalog(*scores: float) -> astropy.table.Table:
    """Return candidates of 40 pixels along x, with the columns of cutout labels."""
    return segments(*scores, snr=9.0, trailLengthPix=40.0)


def draw_mosaic(
    image: np.ndarray, candidates: Any, truth: Any = None, cutouts: int = 12, **keywords: Any
) -> Figure:
    probability = np.zeros(image.shape, dtype=np.float32)
    view = DetectorView(image, probability, candidates, truth, origin=ORIGIN, title="visit 1", **keywords)
    figure = mosaic_figure(view, cutouts)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=30)
    buffer.seek(0)
    assert matplotlib.image.imread(buffer).std() > 0.05
    return figure


def shown(figure: Figure) -> list[str]:
    """Return the headings of the cutouts."""
    return [axis.get_title(loc="left") for axis in figure.axes if axis.get_title(loc="left")]


def test_mosaic_shows_the_best_first(image: np.ndarray) -> None:
    truth = segments(0.0, source_type=["Trail"])
    figure = draw_mosaic(image, catalog(0.2, 0.9, 0.7), truth, cutouts=2)
    assert shown(figure) == ["1:  score 0.90, SNR 9.0, 40 pixels", "2:  score 0.70, SNR 9.0, 40 pixels"]
    overview = figure.axes[0]
    assert overview.get_title() == "visit 1: 3 candidates"
    # The number of each is next to it: the best is at y = 70.
    assert [(text.get_text(), text.xy) for text in overview.texts] == [
        ("1", (160.0, 70.0)),
        ("2", (160.0, 80.0)),
    ]
    # Pixels of the cutout are those around the candidate, in its coordinates.
    pair = next(axis for axis in figure.axes if axis.get_title(loc="left").startswith("1:"))
    x0, x1, y0, y1 = pair.images[0].get_extent()
    assert x0 <= 120.0 < 160.0 <= x1
    assert y0 <= 70.0 <= y1
    assert pair.images[0].get_array().shape == (y1 - y0, x1 - x0)


def test_mosaic_keeps_what_is_above_the_threshold(image: np.ndarray) -> None:
    figure = draw_mosaic(image, catalog(0.2, 0.9, 0.7), min_score=0.8)
    assert len(shown(figure)) == 1
    assert figure.axes[0].get_title() == "visit 1: 1 candidate with a score ≥ 0.80"


def test_mosaic_of_nothing(image: np.ndarray) -> None:
    figure = draw_mosaic(image, catalog(), segments(0.0, source_type=["Satellite"]))
    assert shown(figure) == []
    assert figure.axes[0].get_title() == "visit 1: 0 candidates"


@pytest.mark.parametrize("number", [1, 5, 12])
def test_mosaic_has_a_place_for_each(image: np.ndarray, number: int) -> None:
    assert len(shown(draw_mosaic(image, catalog(*np.linspace(0.5, 1.0, number))))) == number
