# This file is part of meas_trails.
#
# Developed for the LSST Data Management System.
# This product includes software developed by the LSST Project
# (https://www.lsst.org).
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# This program is free software: you can redistribute it and/or modify
# it under the terms of the GNU General Public License as published by
# the Free Software Foundation, either version 3 of the License, or
# (at your option) any later version.
#
# This program is distributed in the hope that it will be useful,
# but WITHOUT ANY WARRANTY; without even the implied warranty of
# MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
# GNU General Public License for more details.
#
# You should have received a copy of the GNU General Public License
# along with this program.  If not, see <https://www.gnu.org/licenses/>.

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import astropy.units as u
import numpy as np
import pytest

from lsst.images import Image, VisitImage
from lsst.meas.trails.core.geometry import segment_distance
from lsst.meas.trails.core.truth import TRUTH_COLUMNS
from lsst.meas.trails.tasks import InjectTrailsConfig, InjectTrailsTask
from lsst.pipe.base import Struct, UpstreamFailureNoWorkFound


def inject(image: VisitImage, *, packed: int = 7, **settings: Any) -> Struct:
    config = InjectTrailsConfig()
    config.number = 4.0
    for name, value in settings.items():
        setattr(config, name, value)
    config.validate()
    return InjectTrailsTask(config=config).run(image=image, packed=packed, visit=12, detector=3)


def checksum(image: VisitImage) -> str:
    digest = hashlib.sha256()
    for plane in (image.image, image.variance, image.mask):
        digest.update(np.ascontiguousarray(plane.array).tobytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def image(make_image: Callable[..., Any]) -> VisitImage:
    """Return an image off the corner of its detector, with stars that tell
    a gain of 2.
    """
    made = make_image(shape=(200, 260), start=(300, 500), stars=40).image
    assert isinstance(made, VisitImage)
    return made


def test_flux_that_is_added_is_that_of_the_catalog(image: VisitImage) -> None:
    result = inject(image, addNoise=False, allowCrossing=True)
    added = result.injected_image.image.array.astype(np.float64) - image.image.array
    catalog = result.injected_catalog
    assert len(catalog) == 4
    # Parts of trails off the image are not added, masked ones are.
    inside = np.asarray(catalog["visible_fraction"])
    expected = float(np.sum(np.asarray(catalog["flux"]) * inside))
    assert added.sum() == pytest.approx(expected, rel=1e-3)
    np.testing.assert_array_equal(result.injected_image.variance.array, image.variance.array)


def test_input_is_not_changed(image: VisitImage) -> None:
    before = checksum(image)
    result = inject(image)
    assert checksum(image) == before
    assert checksum(result.injected_image) != before
    np.testing.assert_array_equal(result.injected_image.mask.array, image.mask.array)
    assert result.injected_image.bbox == image.bbox
    assert result.injected_image.unit == image.unit


def test_same_image_same_trails(image: VisitImage) -> None:
    first, again = inject(image), inject(image)
    assert checksum(first.injected_image) == checksum(again.injected_image)
    np.testing.assert_array_equal(first.injected_mask.array, again.injected_mask.array)
    assert first.injected_catalog.values_equal(again.injected_catalog)
    assert all(all(first.injected_catalog[name] == again.injected_catalog[name]) for name in ("x", "flux"))


@pytest.mark.parametrize("change", [{"packed": 8}, {"seedOffset": 1}])
def test_other_images_get_other_trails(image: VisitImage, change: dict[str, int]) -> None:
    first, other = inject(image), inject(image, **change)
    assert not set(first.injected_catalog["x"]) & set(other.injected_catalog["x"])
    assert not np.array_equal(first.injected_image.image.array, other.injected_image.image.array)


def test_noise_is_that_of_the_photons(image: VisitImage) -> None:
    """The variance grows by signal / gain, and so does the scatter."""
    brightness = {"minBrightness": 300.0, "maxBrightness": 300.0, "minLength": 100.0, "number": 8.0}
    clean = inject(image, addNoise=False, **brightness)
    noisy = inject(image, gain=2.0, **brightness)
    signal = clean.injected_image.image.array.astype(np.float64) - image.image.array
    lit = signal > 20.0
    assert np.count_nonzero(lit) > 3000
    grown = noisy.injected_image.variance.array.astype(np.float64) - image.variance.array
    np.testing.assert_allclose(grown[lit], signal[lit] / 2.0, rtol=1e-3)
    deviation = noisy.injected_image.image.array.astype(np.float64) - clean.injected_image.image.array
    chi2 = np.mean(np.square(deviation[lit]) / (signal[lit] / 2.0))
    # The mean of n squared normal deviates scatters by sqrt(2 / n): 5 sigma.
    assert chi2 == pytest.approx(1.0, abs=5.0 * np.sqrt(2.0 / np.count_nonzero(lit)))
    assert not np.any(deviation[signal == 0.0])


def test_gain_is_estimated(image: VisitImage) -> None:
    config = InjectTrailsConfig()
    task = InjectTrailsTask(config=config)
    task.run(image=image)
    assert task.metadata["gain"] == pytest.approx(2.0, rel=0.1)


def test_flat_variance_is_said(make_image: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    """No gain can be seen there; source_injection then adds no trails at all."""
    flat = make_image(shape=(100, 120)).image
    result = inject(flat)
    assert "trails are injected without noise" in caplog.text
    assert np.any(result.injected_image.image.array != flat.image.array)


def test_mask_covers_the_ridges(image: VisitImage) -> None:
    result = inject(image)
    mask = result.injected_mask
    assert mask.bbox == image.bbox
    pixels = mask.get("TRAIL")
    y, x = np.nonzero(pixels)
    near = np.zeros(len(x), dtype=bool)
    for row in result.injected_catalog:
        ends = (row["x0"], row["y0"], row["x1"], row["y1"])
        for t in np.linspace(0.02, 0.98, 50):
            px = round(ends[0] + t * (ends[2] - ends[0])) - image.bbox.x.start
            py = round(ends[1] + t * (ends[3] - ends[1])) - image.bbox.y.start
            if 0 <= px < pixels.shape[1] and 0 <= py < pixels.shape[0]:
                assert pixels[py, px]
        distance = segment_distance(x + image.bbox.x.start, y + image.bbox.y.start, *ends)
        # A quarter of the ridge of a Gaussian is 0.71 FWHM away.
        near |= distance < 0.71 * row["fwhm"] + 0.75
    assert np.all(near)


def test_catalog(image: VisitImage) -> None:
    catalog = inject(image).injected_catalog
    assert set(TRUTH_COLUMNS) < set(catalog.colnames)
    box = image.bbox
    assert np.all((catalog["x"] > box.x.min - 1) & (catalog["x"] < box.x.max + 1))
    assert np.all((catalog["y"] > box.y.min - 1) & (catalog["y"] < box.y.max + 1))
    for suffix in ("", "0", "1"):
        sky = image.sky_projection.pixel_to_sky(
            x=np.asarray(catalog[f"x{suffix}"]), y=np.asarray(catalog[f"y{suffix}"])
        )
        # A thousandth of an arcsecond is a two-hundredth of a pixel.
        np.testing.assert_allclose(catalog[f"ra{suffix}"], sky.ra.deg, rtol=0.0, atol=3e-7)
        np.testing.assert_allclose(catalog[f"dec{suffix}"], sky.dec.deg, rtol=0.0, atol=3e-7)
    length = np.hypot(catalog["x1"] - catalog["x0"], catalog["y1"] - catalog["y0"])
    np.testing.assert_allclose(length, catalog["trail_length"], rtol=1e-9)
    assert set(catalog["source_type"]) == {"Trail"}
    assert set(catalog["visit"]) == {12}
    assert set(catalog["detector"]) == {3}
    assert set(catalog["band"]) == {image.band}
    assert set(catalog["physical_filter"]) == {image.physical_filter}
    assert set(catalog["seed"]) == {7}


def test_brightness_is_the_optimal_snr(image: VisitImage) -> None:
    catalog = inject(image, minBrightness=20.0, maxBrightness=20.0, maxLength=20.0).injected_catalog
    whole = np.asarray(catalog["visible_fraction"]) > 0.999
    assert np.count_nonzero(whole) >= 2
    np.testing.assert_allclose(catalog["snr_optimal"][whole], 20.0, rtol=1e-3)


def test_units(image: VisitImage) -> None:
    """The same image in microjansky: the same trails, in nJy in the catalog."""
    micro = VisitImage(
        Image(image.image.array * np.float32(1e-3), bbox=image.bbox, unit=u.uJy),
        variance=Image(image.variance.array * np.float32(1e-6), bbox=image.bbox, unit=u.uJy**2),
        mask=image.mask,
        sky_projection=image.sky_projection,
        obs_info=image.obs_info,
        psf=image.psf,
        detector=image.detector,
        band=image.band,
    )
    nano, result = inject(image, addNoise=False), inject(micro, addNoise=False)
    assert result.injected_catalog["flux"].unit == u.nJy
    np.testing.assert_allclose(result.injected_catalog["flux"], nano.injected_catalog["flux"], rtol=1e-4)
    np.testing.assert_allclose(
        result.injected_image.image.array * 1e3, nano.injected_image.image.array, rtol=1e-4, atol=0.01
    )


@pytest.mark.parametrize("settings", [{"number": 0.0}, {"blankFraction": 1.0}])
def test_no_trails(image: VisitImage, settings: dict[str, float]) -> None:
    result = inject(image, **settings)
    assert len(result.injected_catalog) == 0
    assert set(TRUTH_COLUMNS) < set(result.injected_catalog.colnames)
    assert not result.injected_mask.get("TRAIL").any()
    np.testing.assert_array_equal(result.injected_image.image.array, image.image.array)


def test_ruined_image(make_image: Callable[..., Any]) -> None:
    ruined = make_image(shape=(60, 60)).image
    ruined.image.array[...] = np.nan
    with pytest.raises(UpstreamFailureNoWorkFound, match="no good pixel"):
        inject(ruined)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"minLength": 50.0, "maxLength": 20.0}, "shortest <= longest"),
        ({"minBrightness": 50.0, "maxBrightness": 20.0}, "not an increasing pair"),
        ({"minBrightness": -1.0}, "minBrightness.*cannot be negative"),
        ({"avoidPlanes": ["SAT", "NO_DATE"]}, "NO_DATE"),
    ],
)
def test_configuration(settings: dict[str, Any], message: str) -> None:
    config = InjectTrailsConfig()
    for name, value in settings.items():
        setattr(config, name, value)
    with pytest.raises(ValueError, match=message):
        config.validate()
