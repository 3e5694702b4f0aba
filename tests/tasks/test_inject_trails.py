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

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import astropy.table
import astropy.units as u
import numpy as np
import pytest

from lsst.images import DifferenceImage, Image, VisitImage
from lsst.images.fields import ChebyshevField
from lsst.meas.trails.adcnn.files import ADCNN_COLUMNS
from lsst.meas.trails.core.geometry import segment_distance
from lsst.meas.trails.core.injection.truth import TRUTH_COLUMNS
from lsst.meas.trails.sim.simulation import Simulation
from lsst.meas.trails.tasks import InjectTrailsConfig, InjectTrailsTask
from lsst.pipe.base import InvalidQuantumError, Struct, UpstreamFailureNoWorkFound


def inject(
    image: VisitImage, *, packed: int = 7, catalogs: Sequence[Any] = (), visit: int = 12, **settings: Any
) -> Struct:
    config = InjectTrailsConfig()
    config.number = 4.0
    for name, value in settings.items():
        setattr(config, name, value)
    config.validate()
    task = InjectTrailsTask(config=config)
    result = task.run(image=image, injection_catalogs=catalogs, packed=packed, visit=visit, detector=3)
    result.metadata = task.metadata
    return result


def checksum(image: VisitImage) -> str:
    digest = hashlib.sha256()
    for plane in (image.image, image.variance, image.mask):
        digest.update(np.ascontiguousarray(plane.array).tobytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def image(make_image: Callable[..., Any]) -> VisitImage:
    """Return an image not at the origin, with stars that reveal a gain of 2."""
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
    for name in image.mask.schema.names:
        np.testing.assert_array_equal(result.injected_image.mask.get(name), image.mask.get(name))
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


def test_flat_variance_is_reported(make_image: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    """A flat variance plane has no gain; source_injection then adds no trails."""
    flat = make_image(shape=(100, 120)).image
    result = inject(flat)
    assert "without Poisson noise" in caplog.text
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
        # A Gaussian falls to a quarter of its ridge at 0.71 FWHM.
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
        # 0.001 arcsec is 1/200 of a pixel.
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
    assert set(inject(image, seedOffset=3).injected_catalog["seed_offset"]) == {3}
    # All columns of Asteroid_detection_CNN, with fractional positions.
    assert set(ADCNN_COLUMNS) <= set(catalog.colnames)
    assert catalog["x"].dtype == catalog["y"].dtype == np.float64
    assert np.all(catalog["x"] % 1.0 != 0.0)
    assert not np.any(catalog["stack_detection"])
    assert np.all(np.isnan(catalog["stack_mag"]))


def test_brightness_is_the_optimal_snr(image: VisitImage) -> None:
    catalog = inject(image, minBrightness=20.0, maxBrightness=20.0, maxLength=20.0).injected_catalog
    whole = np.asarray(catalog["visible_fraction"]) > 0.999
    assert np.count_nonzero(whole) >= 2
    np.testing.assert_allclose(catalog["snr_optimal"][whole], 20.0, rtol=1e-3)


def test_angles(image: VisitImage) -> None:
    catalog = inject(image, minAngle=-5.0, maxAngle=5.0, number=8.0, allowCrossing=True).injected_catalog
    assert len(catalog) == 8
    assert np.all((catalog["beta"] <= 5.0) | (catalog["beta"] >= 175.0))


def in_unit(
    image: VisitImage, unit: u.UnitBase, factor: Any, scaling: ChebyshevField | None = None
) -> VisitImage:
    """Return an image in nJy converted to another unit."""
    return VisitImage(
        Image((image.image.array * factor).astype(np.float32), bbox=image.bbox, unit=unit),
        variance=Image((image.variance.array * factor**2).astype(np.float32), bbox=image.bbox, unit=unit**2),
        mask=image.mask,
        sky_projection=image.sky_projection,
        obs_info=image.obs_info,
        psf=image.psf,
        detector=image.detector,
        band=image.band,
        photometric_scaling=scaling,
    )


def test_units(image: VisitImage) -> None:
    """The truth table of an image in microjansky is in nJy."""
    micro = in_unit(image, u.uJy, 1e-3)
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


def catalog_at(image: VisitImage, *positions: tuple[float, float], **columns: Any) -> astropy.table.Table:
    """Return a catalog of trails at pixels of an image."""
    x, y = np.array(positions).T
    sky = image.sky_projection.pixel_to_sky(x=x, y=y)
    count = len(x)
    values = {
        "injection_id": 10 + np.arange(count),
        "ra": sky.ra.deg,
        "dec": sky.dec.deg,
        "source_type": np.full(count, "Trail"),
        "mag": np.full(count, 22.0),
        "trail_length": np.full(count, 40.0),
        "beta": np.full(count, 30.0),
        **columns,
    }
    return astropy.table.Table(values)


def test_trails_of_a_catalog(image: VisitImage) -> None:
    """Position, length, angle and brightness of a trail follow the catalog."""
    table = catalog_at(image, (400.25, 600.5))
    result = inject(image, catalogs=[table], addNoise=False)
    (row,) = result.injected_catalog
    assert (row["injection_id"], row["source_type"]) == (10, "Trail")
    assert (row["x"], row["y"]) == pytest.approx((400.25, 600.5), abs=1e-4)
    # The magnitude is per pixel of length; 1 nJy is 31.4 mag.
    assert row["flux"] == pytest.approx(40.0 * 10.0 ** (0.4 * (31.4 - 22.0)))
    added = result.injected_image.image.array.astype(float) - image.image.array
    assert added.sum() == pytest.approx(row["flux"], rel=1e-3)
    rows, columns = np.mgrid[: added.shape[0], : added.shape[1]]
    weight = added / added.sum()
    x, y = np.sum(weight * columns), np.sum(weight * rows)
    assert (x + image.bbox.x.start, y + image.bbox.y.start) == pytest.approx((400.25, 600.5), abs=0.05)
    xx, yy = np.sum(weight * (columns - x) ** 2), np.sum(weight * (rows - y) ** 2)
    xy = np.sum(weight * (columns - x) * (rows - y))
    # Counterclockwise from +x of the pixels, whatever the orientation of the sky.
    assert np.rad2deg(0.5 * np.arctan2(2.0 * xy, xx - yy)) == pytest.approx(30.0, abs=0.1)
    length = np.sqrt(12.0 * np.hypot(xx - yy, 2.0 * xy))
    assert length == pytest.approx(40.0, abs=0.1)


def test_rows_that_cannot_be_injected_are_named(image: VisitImage, caplog: pytest.LogCaptureFixture) -> None:
    positions = [(400.0, 600.0), (450.0, 650.0), (350.0, 550.0), (500.0, 660.0), (900.0, 600.0)]
    table = catalog_at(image, *positions, trail_length=[40.0, 40.0, 10_000.0, 0.0, 40.0])
    table["mag"][1] = np.nan
    galaxies = catalog_at(image, (420.0, 620.0), source_type=["Sersic"])
    with caplog.at_level("INFO"):
        result = inject(image, catalogs=[galaxies, table])
    assert list(result.injected_catalog["injection_id"]) == [10]
    for text in (
        "row 1 of injection catalog 1: mag is nan",
        "row 2 of injection catalog 1: trail_length is 10000",
        "row 3 of injection catalog 1: trail_length is 0",
        "1 rows of another source_type",
        "1 trails off the image",
    ):
        assert text in caplog.text
    metadata = result.metadata
    assert (metadata["nExcluded"], metadata["nOffImage"], metadata["nOtherTypes"]) == (3, 1, 1)


def test_a_catalog_without_a_column(image: VisitImage) -> None:
    table = catalog_at(image, (400.0, 600.0))
    table.remove_columns(["mag", "beta"])
    with pytest.raises(InvalidQuantumError, match="injection catalog 0 .*mag, beta"):
        inject(image, catalogs=[table])


def test_trails_of_a_catalog_for_other_visits(image: VisitImage) -> None:
    table = catalog_at(image, (400.0, 600.0), (450.0, 650.0), visit=[12, 13])
    assert list(inject(image, catalogs=[table]).injected_catalog["injection_id"]) == [10]
    assert list(inject(image, catalogs=[table], visit=13).injected_catalog["injection_id"]) == [11]


def test_no_population_unless_wanted(image: VisitImage) -> None:
    assert len(inject(image, drawPopulation=False).injected_catalog) == 0
    # No random trails are drawn for a catalog of other positions.
    assert len(inject(image, catalogs=[catalog_at(image, (5000.0, 0.0))]).injected_catalog) == 0


def test_a_scaling_that_varies(image: VisitImage) -> None:
    """The scaling of an image in electrons may vary across it."""
    scaling = ChebyshevField(image.bbox, np.array([[2.5, 0.5]]), unit=u.nJy / u.electron)
    x = np.arange(image.bbox.x.start, image.bbox.x.stop)
    factor = 1.0 / scaling(x=x, y=np.full(len(x), 600))
    electrons = in_unit(image, u.electron, factor[None, :], scaling)
    table = catalog_at(image, (340.0, 600.0), (520.0, 600.0), beta=[90.0, 90.0])
    result = inject(electrons, catalogs=[table], addNoise=False)
    catalog = result.injected_catalog
    np.testing.assert_allclose(catalog["flux"], 40.0 * 10.0 ** (0.4 * (31.4 - 22.0)))
    added = result.injected_image.image.array.astype(float) - electrons.image.array
    for part, x in ((added[:, :130], 340.0), (added[:, 130:], 520.0)):
        # 0.5%: variation of the scaling across the PSF.
        assert part.sum() * scaling(x=x, y=600.0) == pytest.approx(catalog["flux"][0], rel=5e-3)
    assert added[:, :130].sum() > 1.2 * added[:, 130:].sum()
    # The same for random magnitudes.
    mode = {"brightnessMode": "integrated_mag", "minBrightness": 20.0, "maxBrightness": 20.0}
    np.testing.assert_allclose(inject(electrons, **mode).injected_catalog["integrated_mag"], 20.0)
    # Electrons have a gain of one.
    assert inject(electrons).metadata["gain"] == 1.0


def test_counts_have_the_gains_of_the_amplifiers(image: VisitImage) -> None:
    scaling = ChebyshevField(image.bbox, np.array([[1.0]]), unit=u.nJy / u.adu)
    counts = in_unit(image, u.adu, 1.0, scaling)
    # Nominal gain of the simulated detector.
    assert inject(counts).metadata["gain"] == pytest.approx(1.6)


def test_each_amplifier_makes_noise_of_its_own(make_image: Callable[..., Any]) -> None:
    image = make_image(shape=(256, 320), stars=400).image
    # The fixture's gain is 2; from the middle of the detector on, make it 8.
    noise = 20.0**2
    image.variance.array[:, 160:] = noise + (image.variance.array[:, 160:] - noise) / 4.0
    bright = {"minBrightness": 300.0, "maxBrightness": 300.0, "number": 20.0, "allowCrossing": True}
    clean, noisy = (inject(image, addNoise=noise, **bright) for noise in (False, True))
    signal = clean.injected_image.image.array.astype(float) - image.image.array
    grown = noisy.injected_image.variance.array.astype(float) - image.variance.array
    deviation = noisy.injected_image.image.array.astype(float) - clean.injected_image.image.array
    for half, gain in ((slice(0, 160), 2.0), (slice(160, 320), 8.0)):
        lit = signal[:, half] > 20.0
        assert np.count_nonzero(lit) > 2000
        ratio = signal[:, half][lit] / grown[:, half][lit]
        assert np.median(ratio) == pytest.approx(gain, rel=0.1)
        chi2 = np.mean(deviation[:, half][lit] ** 2 / grown[:, half][lit])
        # Five sigma.
        assert chi2 == pytest.approx(1.0, abs=5.0 * np.sqrt(2.0 / np.count_nonzero(lit)))


def test_lengths_from_rates(image: VisitImage) -> None:
    settings = {"lengthFrom": "rate", "minRate": 2.0, "maxRate": 4.0, "number": 12.0, "allowCrossing": True}
    lengths = inject(image, **settings).injected_catalog["trail_length"]
    # 30 s, 0.2 arcsec: 6.25 pixels per deg/day.
    assert len(lengths) == 12
    assert 12.5 <= lengths.min() <= lengths.max() <= 25.0
    with image.obs_info.edit_copy() as info:
        info.exposure_time = None
    untimed = in_unit(image, u.nJy, 1.0)
    untimed = VisitImage(
        untimed.image,
        variance=untimed.variance,
        mask=untimed.mask,
        sky_projection=image.sky_projection,
        obs_info=info,
        psf=image.psf,
        detector=image.detector,
        band=image.band,
    )
    with pytest.raises(UpstreamFailureNoWorkFound, match="exposure time"):
        inject(untimed, **settings)


@pytest.mark.parametrize(("per", "number"), [("Mpix", 400.0), ("deg2", 1.3e5)])
def test_densities(image: VisitImage, per: str, number: float) -> None:
    """0.052 Mpix, or 1.6e-4 square degrees: 20.8 or 20.9 trails."""
    pixels = image.bbox.x.size * image.bbox.y.size
    area = {"Mpix": pixels / 1e6, "deg2": pixels * (0.2 / 3600.0) ** 2}[per]
    count = len(inject(image, per=per, number=number, maxLength=20.0, allowCrossing=True).injected_catalog)
    # A fractional number is the mean of the two adjacent integers.
    assert 20 <= int(number * area) <= count <= int(number * area) + 1


def test_distractors_are_in_the_truth_but_not_in_the_mask(image: VisitImage) -> None:
    plain = inject(image, addNoise=False)
    settings = {"satellites": 2.0, "cosmicRays": 100.0, "pointSources": 100.0}
    result = inject(image, addNoise=False, **settings)
    kinds = list(result.injected_catalog["source_type"])
    assert set(kinds) == {"Trail", "Satellite", "CosmicRay", "Star"}
    assert result.metadata["nDistractors"] == len(kinds) - 4
    # The trails are those without distractors, and so is the truth mask.
    trails = result.injected_catalog[:4]
    assert set(trails["source_type"]) == {"Trail"}
    np.testing.assert_array_equal(trails["x"], plain.injected_catalog["x"])
    np.testing.assert_array_equal(result.injected_mask.array, plain.injected_mask.array)
    assert not result.injected_image.mask.get("DETECTED").any()
    assert len(set(result.injected_catalog["injection_id"])) == len(kinds)
    # Every distractor is bright at its position.
    added = result.injected_image.image.array.astype(float) - plain.injected_image.image.array
    assert added.min() > -0.1
    for row in result.injected_catalog[4:]:
        x, y = round(row["x"]) - image.bbox.x.start, round(row["y"]) - image.bbox.y.start
        part = added[max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4]
        assert part.max(initial=0.0) > 1.0, row
        if row["source_type"] == "Star":
            assert np.isfinite(row["ra"])
            assert row["trail_length"] == 0.0


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_variance_plane_of_nothing(make_image: Callable[..., Any], value: float) -> None:
    image = make_image(shape=(100, 120)).image
    image.variance.array[:, :60] = value
    before = checksum(image)
    result = inject(image, gain=2.0, number=8.0, allowCrossing=True)
    assert result.injected_mask.get("TRAIL")[:, :60].any()
    assert checksum(image) == before
    # The gain of one half is used for both halves.
    assert len(result.injected_catalog) > 0
    assert np.isfinite(result.injected_catalog["flux"]).all()
    np.testing.assert_array_equal(result.injected_image.variance.array[:, :60], value)
    image.variance.array[...] = value
    with pytest.raises(UpstreamFailureNoWorkFound, match="positive variance"):
        inject(image)


def test_injection_into_a_difference_image() -> None:
    difference = Simulation(seed=31, shape=(300, 300), trails=0.0, difference=True).image(0, 0).difference
    assert isinstance(difference, DifferenceImage)
    before = difference.image.array.copy()
    result = inject(difference, addNoise=False, allowCrossing=True)
    injected = result.injected_image
    assert isinstance(injected, DifferenceImage)
    np.testing.assert_array_equal(difference.image.array, before)
    catalog = result.injected_catalog
    assert len(catalog) == 4
    added = float(np.sum(injected.image.array.astype(np.float64) - before))
    flux, visible = (np.asarray(catalog[name]) for name in ("flux", "visible_fraction"))
    # Masked pixels receive light, pixels off the image do not.
    assert 0.999 * np.sum(flux * visible) < added < 1.001 * np.sum(flux)


BRIGHT = {"minBrightness": 300.0, "maxBrightness": 3000.0, "brightnessIndex": -1.0, "fullWell": 4000.0}
"""Trails of which most saturate, with a low full well for the few pixels of a small image."""


@pytest.mark.parametrize("as_exposure", [False, True])
def test_bright_trails_saturate(
    image: VisitImage, make_exposure: Callable[..., Any], as_exposure: bool
) -> None:
    given = make_exposure(image) if as_exposure else image
    result = inject(given, gain=2.0, minLength=30.0, maxLength=60.0, **BRIGHT)
    output, catalog = result.injected_image, result.injected_catalog
    full, grown, interpolated = (output.mask.get(name) for name in ("SUSPECT", "SATURATED", "INTERPOLATED"))
    assert np.count_nonzero(full) > 100
    np.testing.assert_array_equal(grown, interpolated)
    assert np.all(grown[full])
    assert result.metadata["nSaturated"] == np.count_nonzero(grown)
    clean = inject(given, gain=2.0, minLength=30.0, maxLength=60.0, saturate=False, **BRIGHT)
    # The same trails and the same noise, but for the full well of 2000 units.
    np.testing.assert_array_equal(output.image.array[~grown], clean.injected_image.image.array[~grown])
    assert np.all(full[(clean.injected_image.image.array > 2000.0) & (image.image.array <= 2000.0)])
    np.testing.assert_allclose(
        output.variance.array[full], image.variance.array[full] + 2000.0 / 2.0, rtol=1e-3
    )
    # The truth is that of the trails: they are as bright and as visible as without saturation.
    for name in ("snr_optimal", "visible_fraction", "flux"):
        np.testing.assert_array_equal(catalog[name], clean.injected_catalog[name])
    assert np.all(np.asarray(catalog["snr_optimal"]) <= 3001.0)
    assert np.max(catalog["snr_optimal"]) > 300.0


def test_unknown_full_well(make_image: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    flat = make_image(shape=(100, 120)).image
    result = inject(flat, **BRIGHT)
    assert "fullWell" in caplog.text
    assert not result.injected_image.mask.get("SATURATED").any()


def test_satellites_with_patterns(image: VisitImage) -> None:
    """Dashes and ends leave more of the image dark."""
    settings = {"number": 0.0, "satellites": 20.0, "minSatelliteBrightness": 50.0, "addNoise": False}
    steady = inject(image, **settings)
    other = inject(image, satellitePatterns=1.0, satelliteEnds=1.0, **settings)
    lit = [np.mean(r.injected_image.image.array > image.image.array + 5.0) for r in (steady, other)]
    assert lit[1] < 0.8 * lit[0]
    assert set(other.injected_catalog["source_type"]) == {"Satellite"}
