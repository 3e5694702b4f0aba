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

import dataclasses
from collections.abc import Callable
from typing import Any

import astropy.io.fits
import astropy.table
import astropy.wcs
import numpy as np
import pytest

from lsst.meas.trails.adcnn.files import AdcnnImage
from lsst.meas.trails.adcnn.tiles import ImportOptions, adcnn_tiles
from lsst.meas.trails.core.planes import plane_bits
from lsst.meas.trails.core.psf import kernel_fwhm
from lsst.meas.trails.core.tiles.layout import IGNORED, TILE_CLASSES
from lsst.meas.trails.core.tiles.writer import TrailTiles

SHAPE = (400, 450)
BORDER = 12
NOISE, FWHM = 20.0, 4.0
TRAILS = tuple((60.3 + 48.0 * i, 60.6 + 30.2 * i, 30.0, 25.0 * i, 3.5 + 10.0 * i) for i in range(8))


@pytest.fixture(scope="module")
def adcnn(make_image: Callable[..., Any]) -> AdcnnImage:
    """Return a field of stars with eight trails, three of them found by the stack."""
    known = make_image(TRAILS, shape=SHAPE, stars=60, seed=4)
    image = known.image.image.array.copy()
    image[:BORDER] = 0.0
    image[100, 7] = np.nan
    image[200, 300] = 0.0
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    mask = np.zeros(SHAPE, dtype=bool)
    for row in known.truth:
        angle = np.deg2rad(row["beta"])
        along = (x - row["x"]) * np.cos(angle) + (y - row["y"]) * np.sin(angle)
        across = (y - row["y"]) * np.cos(angle) - (x - row["x"]) * np.sin(angle)
        mask |= (np.abs(along) < 0.5 * row["trail_length"] + 5.0) & (np.abs(across) < 10.0)
    trails = known.truth[["ra", "dec", "source_type", "trail_length", "mag", "beta", "integrated_mag"]]
    trails["x"], trails["y"] = np.trunc(known.truth["x"]).astype(int), np.trunc(known.truth["y"]).astype(int)
    trails["visit"], trails["detector"], trails["image_id"] = 2025120200123, 94, 5
    trails["stack_detection"] = np.arange(len(trails)) >= 5
    labels = np.zeros(SHAPE, dtype=np.uint16)
    labels[300:310, 20:30] = 9
    return AdcnnImage(number=5, image=image, mask=mask, real_labels=labels, trails=trails)


def convert(adcnn: AdcnnImage, **options: Any) -> TrailTiles:
    # Measuring the PSF takes the longest.
    chosen = {"tile_size": 64, "empty_fraction": 1.0, "source_fraction": 1.0, "fwhm": FWHM} | options
    return adcnn_tiles(adcnn, "train.h5", ImportOptions(**chosen))


def whole(tiles: TrailTiles, name: str) -> np.ndarray:
    """Return an image reassembled from its tiles."""
    pixels = tiles.pixels[name]
    result = np.zeros(SHAPE, dtype=pixels.dtype)
    for row, tile in zip(tiles.table, pixels, strict=True):
        result[row["y0"] : row["y0"] + 64, row["x0"] : row["x0"] + 64] = tile
    return result


def test_pixels_masks_and_rows(adcnn: AdcnnImage) -> None:
    tiles = convert(adcnn, ignore_below_snr=0.0)
    np.testing.assert_array_equal(whole(tiles, "image"), adcnn.image)
    np.testing.assert_array_equal(whole(tiles, "truth"), adcnn.mask.astype(np.uint8))
    assert len(tiles.catalog) == len(adcnn.trails)
    for row, expected in zip(tiles.catalog, adcnn.trails, strict=True):
        assert (int(row["x"]), int(row["y"])) == (expected["x"], expected["y"])
        for name in ("trail_length", "mag", "beta", "ra", "dec", "visit", "stack_detection", "image_id"):
            assert row[name] == expected[name]
    assert tiles.source.data_id == {"file": "train.h5", "row": 5, "visit": 2025120200123, "detector": 94}


def test_estimated_values(adcnn: AdcnnImage) -> None:
    tiles = convert(adcnn, fwhm=None)
    # Variance of the sky, without the noise of stars.
    assert np.median(whole(tiles, "variance")) == pytest.approx(NOISE**2, rel=0.07)
    assert kernel_fwhm(tiles.source.psf_kernel) == pytest.approx(FWHM, rel=0.06)
    mask = whole(tiles, "mask")
    no_data = mask & plane_bits(["NO_DATA"]) != 0
    expected = np.zeros(SHAPE, dtype=bool)
    expected[:BORDER] = True
    expected[100, 7] = True
    # A single pixel of exactly zero is valid.
    np.testing.assert_array_equal(no_data, expected)
    np.testing.assert_array_equal(mask & plane_bits(["DETECTED"]) != 0, adcnn.real_labels != 0)
    assert tiles.source.real_sources == "real_labels"
    estimated = tiles.source.config["estimated"]
    assert set(estimated) == {"variance", "mask", "psf", "wcs", "midpoints"}
    assert "stars" in estimated["psf"]
    # Within a pixel, 0.2 arcsec.
    wcs = astropy.wcs.WCS(astropy.io.fits.Header.fromstring(tiles.source.wcs, sep="\n"))
    ra, dec = wcs.all_pix2world(np.asarray(tiles.catalog["x"]), np.asarray(tiles.catalog["y"]), 0)
    np.testing.assert_allclose(dec, tiles.catalog["dec"], atol=1.0 * 0.2 / 3600)
    np.testing.assert_allclose(np.cos(np.deg2rad(dec)) * (ra - tiles.catalog["ra"]), 0.0, atol=0.2 / 3600)
    assert np.all(np.isfinite(tiles.table["ra"]))


def test_labels_without_any_source_are_unknown(adcnn: AdcnnImage) -> None:
    assert adcnn.real_labels is not None
    none = dataclasses.replace(adcnn, real_labels=np.zeros_like(adcnn.real_labels))
    assert convert(none).source.real_sources == ""


def test_snr_of_the_trails(adcnn: AdcnnImage) -> None:
    """Agree within the errors of noise, PSF and truncated midpoints."""
    catalog = convert(adcnn).catalog
    np.testing.assert_allclose(catalog["snr_optimal"], [trail[4] for trail in TRAILS], rtol=0.1)


def test_classes(adcnn: AdcnnImage) -> None:
    tiles = convert(adcnn)
    classes = tiles.table["tile_class"]
    # Artifacts are labeled by people, in images of a Butler.
    assert set(classes) == set(TILE_CLASSES.values()) - {TILE_CLASSES["artifact"]}
    for row in adcnn.trails:
        table = tiles.table
        inside = (table["x0"] <= row["x"]) & (row["x"] < table["x0"] + 64)
        inside &= (table["y0"] <= row["y"]) & (row["y"] < table["y0"] + 64)
        wanted = {TILE_CLASSES["missed"]} if not row["stack_detection"] else {1, TILE_CLASSES["found"]}
        assert set(classes[inside]) <= wanted
    assert TILE_CLASSES["found"] not in set(
        convert(
            dataclasses.replace(adcnn, trails=adcnn.trails[["x", "y", "mag", "beta", "trail_length"]])
        ).table["tile_class"]
    )


def test_faint_trails_are_kept_out_of_the_loss(adcnn: AdcnnImage) -> None:
    truth = whole(convert(adcnn, ignore_below_snr=8.0), "truth")
    first = adcnn.trails[0]
    assert truth[first["y"], first["x"]] == IGNORED
    assert not np.any(truth[: first["y"] + 25, : first["x"] + 25] == 1)
    last = adcnn.trails[-1]
    assert truth[last["y"], last["x"]] == 1


def test_masks_can_follow_the_seeing(adcnn: AdcnnImage) -> None:
    truth = whole(convert(adcnn, redraw_masks=True, ignore_below_snr=0.0), "truth")
    last = adcnn.trails[-1]
    assert truth[last["y"], last["x"]] == 1
    assert 0.2 * np.count_nonzero(adcnn.mask) < np.count_nonzero(truth) < 0.6 * np.count_nonzero(adcnn.mask)


def test_a_given_psf_and_zero_point(adcnn: AdcnnImage) -> None:
    tiles = convert(adcnn, fwhm=5.0, zeropoint=27.0)
    assert kernel_fwhm(tiles.source.psf_kernel) == pytest.approx(5.0, rel=0.02)
    assert tiles.source.config["estimated"]["psf"] == "Gaussian of a given FWHM of 5 pixels"
    assert tiles.source.unit == ""
    # The same magnitude has fewer image units.
    ratio = tiles.table["max_snr"].max() / convert(adcnn, fwhm=5.0).table["max_snr"].max()
    assert ratio == pytest.approx(10.0 ** (-0.4 * (31.4 - 27.0)), rel=1e-3)


def test_a_field_without_stars(make_image: Callable[..., Any], adcnn: AdcnnImage) -> None:
    image = make_image(shape=(128, 128)).image.image.array
    blank = AdcnnImage(0, image, np.zeros((128, 128), dtype=bool), None, adcnn.trails[:0])
    with pytest.raises(ValueError, match="PSF .*FWHM"):
        convert(blank, fwhm=None)
    tiles = convert(blank)
    assert len(tiles) == 4
    assert tiles.source.wcs == ""
    assert np.all(np.isnan(tiles.table["ra"]))


def test_an_image_without_pixels(adcnn: AdcnnImage) -> None:
    with pytest.raises(ValueError, match="no pixel"):
        convert(dataclasses.replace(adcnn, image=np.full(SHAPE, np.nan, dtype=np.float32)))
