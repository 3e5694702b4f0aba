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

import logging
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
from astropy.io import fits

from lsst.meas.trails.ingest.layout import FitsIngestError, read_layout
from lsst.meas.trails.ingest.observation import FitsOptions
from lsst.meas.trails.ingest.pixels import read_pixels
from lsst.meas.trails.ingest.variance import make_variance

from support.fits_files import tan_header

SHAPE = (150, 160)
SIGMA = 10.0


def noise(seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(500.0, SIGMA, SHAPE)


def variance(
    path: Path, image: np.ndarray, plane: tuple[str, float] | None, option: str = "check", **cards: object
) -> tuple[float, str]:
    """Return the median of the variance, and its source, of an image with a constant plane."""
    hdus = [fits.PrimaryHDU(image.astype(np.float32), tan_header(**cards))]
    if plane is not None:
        hdus.append(fits.ImageHDU(np.full(SHAPE, plane[1], dtype=np.float32), name=plane[0]))
    fits.HDUList(hdus).writeto(path, overwrite=True)
    layout = read_layout(path)
    pixels = read_pixels(layout)
    found, source = make_variance(pixels, pixels.mask != 0, layout, FitsOptions(noise=option))
    return float(np.median(found)), source


@pytest.mark.parametrize(
    "plane", [("VAR", 100.0), ("ERR", 10.0), ("IVAR", 0.01), ("VAR", 75.0), ("VAR", 140.0), ("IVM", 0.008)]
)
def test_agreement(tmp_path: Path, plane: tuple[str, float]) -> None:
    found, source = variance(tmp_path / "image.fits", noise(), plane)
    expected = {"VAR": plane[1], "ERR": plane[1] ** 2}.get(plane[0], 1.0 / plane[1])
    assert (found, source) == (pytest.approx(expected), "file")


@pytest.mark.parametrize(
    ("plane", "words"),
    [
        # A variance that is called an error, and so on.
        (("ERR", 100.0), "noise of 100, .*scatter by (9.9|10|10.1):.*as variance .*VAR"),
        (("VAR", 10.0), "noise of 3.16, .*as standard deviation .*ERR"),
        (("VAR", 0.01), "as inverse variance .*IVAR"),
        (("IVAR", 100.0), "as variance .*VAR"),
        # Electrons squared, for pixels in other units.
        (("VAR", 225.0), "noise of 15, .*factor of 2.[1-4]"),
        (("VAR", 40.0), "factor of 2.[3-7]"),
    ],
)
def test_contradiction(tmp_path: Path, plane: tuple[str, float], words: str) -> None:
    path = tmp_path / "image.fits"
    with pytest.raises(FitsIngestError, match=f"image.fits: by HDU 1.*{words}.*--noise"):
        variance(path, noise(), plane)
    assert variance(path, noise(), plane, "file")[1] == "file"
    found, source = variance(path, noise(), plane, "sky", GAIN=5.0)
    assert found == pytest.approx(SIGMA**2, rel=0.05)
    assert source == "measured sky noise and gain 5 (GAIN = 5)"


def test_correlated_noise(tmp_path: Path) -> None:
    """The noise of a resampled image is correlated: neighbors differ less than they scatter."""
    image = 500.0 + scipy.ndimage.gaussian_filter(noise() - 500.0, 0.7)
    scatter = float(np.var(image))
    assert scatter < 0.5 * SIGMA**2
    assert variance(tmp_path / "image.fits", image, ("VAR", scatter))[1] == "file"


def test_crowded_stars(tmp_path: Path) -> None:
    """Stars scatter the blocks of the sky, but not adjacent pixels."""
    rng = np.random.default_rng(6)
    stars = np.zeros(SHAPE)
    stars[rng.integers(0, SHAPE[0], 1500), rng.integers(0, SHAPE[1], 1500)] = rng.exponential(1500.0, 1500)
    image = noise() + scipy.ndimage.gaussian_filter(stars, 2.5)
    assert np.std(image) > 1.5 * SIGMA
    assert variance(tmp_path / "image.fits", image, ("VAR", SIGMA**2))[1] == "file"


def test_weights_are_relative(tmp_path: Path) -> None:
    found, source = variance(tmp_path / "image.fits", noise(), ("WHT", 1234.0))
    assert found == pytest.approx(SIGMA**2, rel=0.05)
    assert source == "weight map and measured sky noise"


def test_gain_of_the_header(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A gain that the noise contradicts is replaced with a warning."""
    path = tmp_path / "image.fits"
    assert variance(path, noise(), None, GAIN=5.0)[1].endswith("gain 5 (GAIN = 5)")
    assert not caplog.text
    with caplog.at_level(logging.WARNING):
        source = variance(path, noise(), None, GAIN=500.0)[1]
    assert "GAIN = 500" in caplog.text
    assert "--gain" in caplog.text
    # The level over the variance of the sky.
    assert "gain 5" in source
