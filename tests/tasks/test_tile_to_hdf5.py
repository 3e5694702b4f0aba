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

from collections.abc import Callable
from pathlib import Path
from typing import Any

import astropy.io.fits
import astropy.table
import astropy.wcs
import numpy as np
import pytest

from lsst.images import Box, Mask, MaskPlane, MaskSchema
from lsst.meas.trails.core.catalog.columns import table_of
from lsst.meas.trails.core.catalog.labels import LABEL_COLUMNS
from lsst.meas.trails.core.planes import plane_bits
from lsst.meas.trails.core.tiles.layout import IGNORED, TILE_CLASSES
from lsst.meas.trails.core.tiles.reader import TileReader
from lsst.meas.trails.core.tiles.writer import TrailTiles
from lsst.meas.trails.tasks import InjectTrailsConfig, InjectTrailsTask, TileToHdf5Config, TileToHdf5Task
from lsst.pipe.base import InvalidQuantumError, Struct, UpstreamFailureNoWorkFound

DATA_ID = {"instrument": "TrailSimCam", "visit": 12, "detector": 3}
SHAPE = (150, 200)
STREAK = (slice(100, 110), slice(0, 200))


@pytest.fixture(scope="module")
def injected(make_image: Callable[..., Any]) -> Struct:
    """Return trails of SNR 1 to 40 injected into an image with a satellite streak."""
    image = make_image(shape=SHAPE, start=(300, 500), masked=[("STREAK", STREAK)]).image
    config = InjectTrailsConfig()
    config.number = 6.0
    config.minBrightness, config.maxBrightness = 1.0, 40.0
    config.maxLength = 60.0
    config.allowCrossing = True
    result = InjectTrailsTask(config=config).run(image=image, packed=5)
    faint = np.asarray(result.injected_catalog["snr_optimal"]) < 5.0
    assert 0 < np.count_nonzero(faint) < len(faint)
    return result


def cut(
    injected: Struct, *, packed: int = 1, labels: astropy.table.Table | None = None, **settings: Any
) -> TrailTiles:
    config = TileToHdf5Config()
    config.tileSize = 64
    config.ignoreBelowSnr = 5.0
    for name, value in settings.items():
        setattr(config, name, value)
    config.validate()
    result = TileToHdf5Task(config=config).run(
        image=injected.injected_image,
        injected_catalog=injected.injected_catalog,
        injected_mask=injected.injected_mask,
        labels=labels,
        packed=packed,
        data_id=DATA_ID,
    )
    tiles = result.trail_tiles
    assert isinstance(tiles, TrailTiles)
    return tiles


def test_pixels_are_those_of_the_image(injected: Struct) -> None:
    image = injected.injected_image
    tiles = cut(injected, emptyFraction=1.0)
    covered = np.zeros(SHAPE, dtype=bool)
    for i, row in enumerate(tiles.table):
        part = (slice(row["y0"], row["y0"] + 64), slice(row["x0"], row["x0"] + 64))
        np.testing.assert_array_equal(tiles.pixels["image"][i], image.image.array[part])
        np.testing.assert_array_equal(tiles.pixels["variance"][i], image.variance.array[part])
        streak = (tiles.pixels["mask"][i] & plane_bits(["STREAK"])) != 0
        np.testing.assert_array_equal(streak, image.mask.get("STREAK")[part])
        covered[part] = True
    # All tiles are kept, and cover the image.
    assert covered.all()


def test_truth(injected: Struct) -> None:
    """Truth is 1 on trails, 2 on invisible trails and satellites."""
    tiles = cut(injected, emptyFraction=1.0)
    mask = injected.injected_mask.get("TRAIL")
    truth = np.zeros(SHAPE, dtype=np.uint8)
    for i, row in enumerate(tiles.table):
        truth[row["y0"] : row["y0"] + 64, row["x0"] : row["x0"] + 64] = tiles.pixels["truth"][i]
    assert set(np.unique(truth)) == {0, 1, IGNORED}
    assert np.all(truth[STREAK] == IGNORED)
    elsewhere = np.ones(SHAPE, dtype=bool)
    elsewhere[STREAK] = False
    np.testing.assert_array_equal((truth > 0)[elsewhere], mask[elsewhere])
    for row in injected.injected_catalog:
        x, y = round(row["x"]) - 300, round(row["y"]) - 500
        if 0 <= x < SHAPE[1] and 0 <= y < SHAPE[0] and elsewhere[y, x]:
            assert truth[y, x] == (IGNORED if row["snr_optimal"] < 5.0 else 1)
    # All trails count if nothing is ignored.
    every = cut(injected, ignoreBelowSnr=0.0).pixels["truth"]
    assert np.count_nonzero(every == 1) > np.count_nonzero(truth == 1)


def make_labels(*rows: tuple[str, float, float]) -> astropy.table.Table:
    """Return labels of given label, x and y, of horizontal trails of 24 pixels."""
    label, x, y = zip(*rows, strict=True)
    columns: dict[str, Any] = {
        name: np.full(len(rows), "") if dtype is np.str_ else np.zeros(len(rows))
        for name, (dtype, _, _) in LABEL_COLUMNS.items()
    }
    columns |= {"label": label, "x": x, "y": y, "trailFlux": np.full(len(rows), 5000.0)}
    columns |= {"trailLengthPix": np.full(len(rows), 24.0), "trailAnglePix": np.zeros(len(rows))}
    return table_of(columns, LABEL_COLUMNS)


def test_labels(make_image: Callable[..., Any]) -> None:
    """Labeled trails have a truth, unsure candidates are ignored, and artifacts make a class."""
    config = InjectTrailsConfig()
    config.number, config.maxLength = 2.0, 30.0
    config.minBrightness, config.maxBrightness = 20.0, 40.0
    image = make_image(shape=(192, 256), start=(300, 500)).image
    injected = InjectTrailsTask(config=config).run(image=image, packed=5)
    plain = cut(injected, emptyFraction=1.0)
    row = injected.injected_catalog[int(np.argmax(injected.injected_catalog["snr_optimal"]))]
    origins = {(int(tile["x0"]), int(tile["y0"])): i for i, tile in enumerate(plain.table)}
    free = [key for key, i in origins.items() if not plain.pixels["truth"][i].any()]
    assert len(free) >= 3
    (x0, y0), (x1, y1), (x2, y2) = free[0], free[1], free[2]
    places = [(300.0 + x + 32, 500.0 + y + 32) for x, y in ((x0, y0), (x1, y1), (x2, y2))]
    labels = make_labels(
        ("trail", *places[0]),
        ("artifact", *places[1]),
        ("unsure", *places[2]),
        # The label of an injected trail adds nothing.
        ("trail", float(row["x"]), float(row["y"])),
    )
    tiles = cut(injected, emptyFraction=1.0, labels=labels)
    truth = [tiles.pixels["truth"][origins[key]] for key in free[:3]]
    assert tiles.table["tile_class"][origins[free[0]]] == TILE_CLASSES["missed"]
    assert truth[0][32, 32] == truth[0][32, 22] == 1
    assert truth[0][32, 56] == truth[0][48, 32] == 0
    assert tiles.table["tile_class"][origins[free[1]]] == TILE_CLASSES["artifact"]
    assert not truth[1].any()
    assert set(np.unique(truth[2])) == {0, IGNORED}
    assert truth[2][32, 32] == IGNORED
    assert len(tiles.catalog) == len(plain.catalog) + 1
    assert tiles.catalog["flux"][-1] == pytest.approx(5000.0)
    assert tiles.catalog["x"][-1] == pytest.approx(x0 + 32.0)
    # Tiles with labels are kept, whatever the fractions.
    few = cut(injected, emptyFraction=0.0, sourceFraction=0.0, labels=labels)
    assert {(x0, y0), (x1, y1)} <= {(int(tile["x0"]), int(tile["y0"])) for tile in few.table}


def test_source(injected: Struct) -> None:
    tiles = cut(injected)
    source = tiles.source
    assert source.data_id == DATA_ID
    assert source.shape == SHAPE
    assert source.unit == "nJy"
    assert source.config["tileSize"] == 64
    assert source.psf_kernel.sum() == pytest.approx(1.0)
    # The tiles use array coordinates.
    np.testing.assert_allclose(tiles.catalog["x"], injected.injected_catalog["x"] - 300)
    np.testing.assert_allclose(tiles.catalog["y0"], injected.injected_catalog["y0"] - 500)
    header = astropy.io.fits.Header.fromstring(source.wcs, sep="\n")
    ra, dec = astropy.wcs.WCS(header).all_pix2world(tiles.catalog["x"], tiles.catalog["y"], 0)
    np.testing.assert_allclose(ra, tiles.catalog["ra"], atol=1e-6)
    np.testing.assert_allclose(dec, tiles.catalog["dec"], atol=1e-6)


def test_catalog_of_the_butler_is_not_changed(injected: Struct) -> None:
    before = np.array(injected.injected_catalog["x"])
    cut(injected)
    np.testing.assert_array_equal(injected.injected_catalog["x"], before)


def test_tiles_without_trails(injected: Struct) -> None:
    none, some, everything = (cut(injected, emptyFraction=f) for f in (0.0, 0.5, 1.0))
    assert len(none) < len(some) < len(everything)
    assert np.all(np.any(none.pixels["truth"] == 1, axis=(1, 2)))
    np.testing.assert_array_equal(cut(injected).table, some.table)
    others = [len(cut(injected, packed=packed)) for packed in range(2, 6)]
    others += [len(cut(injected, seedOffset=offset)) for offset in range(1, 5)]
    assert len(set(others)) > 1


def test_image_smaller_than_a_tile(injected: Struct) -> None:
    tiles = cut(injected, tileSize=256)
    assert len(tiles) == 1
    beyond = np.ones((256, 256), dtype=bool)
    beyond[: SHAPE[0], : SHAPE[1]] = False
    assert np.all(tiles.pixels["mask"][0][beyond] == plane_bits(["NO_DATA"]))
    assert not tiles.pixels["truth"][0][beyond].any()


def test_nothing_kept(make_image: Callable[..., Any], tmp_path: Path) -> None:
    config = InjectTrailsConfig()
    config.number = 0.0
    blank = InjectTrailsTask(config=config).run(image=make_image(shape=(100, 100)).image)
    tiles = cut(blank, emptyFraction=0.0)
    assert len(tiles) == 0
    tiles.write(tmp_path / "none.h5")
    with TileReader(tmp_path / "none.h5") as reader:
        assert len(reader) == 0


def test_file(injected: Struct, tmp_path: Path) -> None:
    tiles = cut(injected)
    tiles.write(tmp_path / "tiles.h5")
    again = TrailTiles.read(tmp_path / "tiles.h5")
    np.testing.assert_array_equal(again.table, tiles.table)
    for name in tiles.pixels:
        np.testing.assert_array_equal(again.pixels[name], tiles.pixels[name])
    assert again.source.data_id == DATA_ID
    assert list(again.catalog["source_type"]) == list(tiles.catalog["source_type"])
    np.testing.assert_array_equal(again.background.level(), tiles.background.level())


def test_mask_of_another_image(injected: Struct) -> None:
    mask = injected.injected_mask
    moved = Mask(mask.array, schema=mask.schema, bbox=Box.from_shape(SHAPE))
    with pytest.raises(InvalidQuantumError, match="mask of the injected trails"):
        cut(Struct(**{**injected.getDict(), "injected_mask": moved}))


def test_mask_of_something_else(injected: Struct) -> None:
    other = Mask(0, schema=MaskSchema([MaskPlane("OTHER", "")]), bbox=injected.injected_mask.bbox)
    with pytest.raises(InvalidQuantumError, match="mask of the injected trails.*TRAIL"):
        cut(Struct(**{**injected.getDict(), "injected_mask": other}))


def test_overlap_that_does_not_fit(injected: Struct) -> None:
    with pytest.raises(ValueError, match=r"overlap \(64\).*tileSize \(64\)"):
        cut(injected, overlap=64)


def test_statistics_of_tiles(injected: Struct) -> None:
    image = injected.injected_image
    tiles = cut(injected, emptyFraction=1.0)
    for row in tiles.table:
        part = (slice(row["y0"], row["y0"] + 64), slice(row["x0"], row["x0"] + 64))
        assert row["noise"] == pytest.approx(np.sqrt(np.median(image.variance.array[part])), rel=0.02)
        # Noise of a flat sky at zero.
        assert abs(row["background"]) < 0.3 * row["noise"]
        sky = image.sky_projection.pixel_to_sky(x=300 + row["x0"] + 31.5, y=500 + row["y0"] + 31.5)
        assert row["ra"] == pytest.approx(sky.ra.deg, abs=1e-7)
        assert row["dec"] == pytest.approx(sky.dec.deg, abs=1e-7)


def classes_at(tiles: TrailTiles, row: Any) -> set[int]:
    """Return the classes of the tiles in which a trail has pixels of truth."""
    x, y = round(row["x"]) - 300, round(row["y"]) - 500
    table = tiles.table
    inside = (table["x0"] <= x) & (x < table["x0"] + 64) & (table["y0"] <= y) & (y < table["y0"] + 64)
    return set(table["tile_class"][inside])


@pytest.mark.parametrize("names", [("x", "y"), ("slot_Centroid_x", "slot_Centroid_y"), ("ra", "dec")])
def test_what_the_stack_found(injected: Struct, names: tuple[str, str]) -> None:
    catalog = injected.injected_catalog
    visible = np.asarray(catalog["snr_optimal"]) >= 5.0
    trail = catalog[visible][np.argmax(catalog[visible]["visible_fraction"])]
    star = (trail["x"] + 1.0, trail["y"])
    sky = injected.injected_image.sky_projection.pixel_to_sky(x=trail["x"], y=trail["y"])
    on_trail = (trail["x"], trail["y"]) if names != ("ra", "dec") else (sky.ra.deg, sky.dec.deg)
    after = astropy.table.Table({name: [value] for name, value in zip(names, on_trail, strict=True)})
    # A source without a position is ignored.
    after.add_row([np.nan, np.nan])
    # A second, brighter source on the trail.
    after.add_row(list(on_trail))
    after["psfFlux"], after["psfFluxErr"] = [250.0, 9e9, 1000.0], [50.0, 1.0, 100.0]

    def tiles(**catalogs: Any) -> TrailTiles:
        config = TileToHdf5Config()
        config.tileSize, config.ignoreBelowSnr = 64, 5.0
        only = catalog[catalog["x"] == trail["x"]]
        result = TileToHdf5Task(config=config).run(
            image=injected.injected_image,
            injected_catalog=only,
            injected_mask=injected.injected_mask,
            **catalogs,
        )
        assert isinstance(result.trail_tiles, TrailTiles)
        return result.trail_tiles

    def classes(**catalogs: Any) -> set[int]:
        return classes_at(tiles(**catalogs), trail)

    assert classes() == {TILE_CLASSES["missed"]}
    (unknown,) = tiles().catalog
    assert not unknown["stack_detection"]
    assert np.isnan(unknown["stack_mag"])
    (row,) = tiles(injected_source_catalog=after).catalog
    assert row["stack_detection"]
    # 1000 nJy at 10 sigma.
    assert (row["stack_mag"], row["stack_snr"]) == pytest.approx((31.4 - 7.5, 10.0))
    assert row["stack_mag_err"] == pytest.approx(0.1086, abs=1e-4)
    assert classes(injected_source_catalog=after) == {TILE_CLASSES["found"]}
    # A source from before the injection does not count.
    before = astropy.table.Table({"x": [star[0] - 0.8], "y": [star[1]]})
    assert classes(injected_source_catalog=after, source_catalog=before) == {TILE_CLASSES["missed"]}


def test_real_sources(make_image: Callable[..., Any]) -> None:
    """Classes come from the catalog of the stack and from its footprints."""
    config = InjectTrailsConfig()
    config.number = 0.0
    footprint = ("DETECTED", (slice(100, 110), slice(20, 30)))
    for masked in ([], [footprint]):
        image = make_image(shape=(128, 192), start=(300, 500), masked=masked).image
        blank = InjectTrailsTask(config=config).run(image=image)
        task = TileToHdf5Config()
        task.tileSize, task.emptyFraction, task.sourceFraction = 64, 1.0, 1.0
        tiles = (
            TileToHdf5Task(config=task)
            .run(
                **{("image" if k == "injected_image" else k): v for k, v in blank.getDict().items()},
                source_catalog=astropy.table.Table({"x": [300.0 + 150.2], "y": [500.0 + 63.4]}),
            )
            .trail_tiles
        )
        found = {
            (int(row["x0"]), int(row["y0"]))
            for row in tiles.table
            if row["tile_class"] == TILE_CLASSES["source"]
        }
        assert found == ({(128, 0), (0, 64)} if masked else {(128, 0)})
        assert bool(tiles.source.real_sources) is bool(masked)
        assert set(tiles.table["tile_class"]) == {TILE_CLASSES["empty"], TILE_CLASSES["source"]}


@pytest.mark.parametrize("column", ["x", "y1", "beta", "trail_length", "flux", "snr_optimal", "fwhm"])
def test_catalogs_without_a_column(injected: Struct, column: str) -> None:
    catalog = injected.injected_catalog.copy()
    catalog.remove_column(column)
    with pytest.raises(InvalidQuantumError, match=rf"no column {column}\.$"):
        cut(Struct(**{**injected.getDict(), "injected_catalog": catalog}))


@pytest.mark.parametrize("column", ["x", "beta", "trail_length", "flux"])
def test_rows_that_are_no_trails(injected: Struct, column: str) -> None:
    catalog = injected.injected_catalog.copy()
    catalog[column][2] = np.nan
    with pytest.raises(InvalidQuantumError, match=f"Row 2 of the catalog of trails has {column} = nan"):
        cut(Struct(**{**injected.getDict(), "injected_catalog": catalog}))


def test_trails_off_the_image(injected: Struct) -> None:
    catalog = injected.injected_catalog.copy()
    for name in ("x", "x0", "x1"):
        catalog[name] -= 5000.0
    tiles = cut(Struct(**{**injected.getDict(), "injected_catalog": catalog}), emptyFraction=1.0)
    assert not np.any(tiles.table["max_snr"])
    # Trails that are only in the mask are not found.
    assert set(tiles.table["tile_class"]) <= {TILE_CLASSES["missed"], TILE_CLASSES["empty"]}


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_no_variance(injected: Struct, value: float) -> None:
    image = injected.injected_image.copy()
    image.variance.array[:, :100] = value
    tiles = cut(Struct(**{**injected.getDict(), "injected_image": image}), emptyFraction=1.0)
    left = tiles.table["x0"] + 64 <= 100
    assert np.all(np.isnan(tiles.table["noise"][left]))
    assert np.all(tiles.table["max_snr"][left] == 0.0)
    assert np.all(np.isfinite(tiles.table["noise"][~left]))
    image.variance.array[...] = value
    with pytest.raises(UpstreamFailureNoWorkFound, match="no good pixel"):
        cut(Struct(**{**injected.getDict(), "injected_image": image}))


def test_source_catalog_without_positions(injected: Struct) -> None:
    with pytest.raises(InvalidQuantumError, match="has no positions"):
        TileToHdf5Task(config=TileToHdf5Config()).run(
            image=injected.injected_image,
            injected_catalog=injected.injected_catalog,
            injected_mask=injected.injected_mask,
            source_catalog=astropy.table.Table({"flux": [1.0]}),
        )


def test_distractors_are_no_trails(injected: Struct) -> None:
    """The loss ignores a satellite; a cosmic ray is background."""
    catalog = injected.injected_catalog.copy()
    catalog["source_type"] = catalog["source_type"].astype("U9")
    for kind, x, y, length in (("Satellite", 400.0, 530.0, 1e4), ("CosmicRay", 350.0, 620.0, 5.0)):
        row = dict(zip(catalog.colnames, catalog[0], strict=True))
        row |= dict.fromkeys(["snr_optimal", "flux", "mag"], np.nan)
        half = 0.5 * length
        row |= {"source_type": kind, "x": x, "y": y, "beta": 0.0, "trail_length": length, "fwhm": 4.0}
        row |= {"x0": x - half, "x1": x + half, "y0": y, "y1": y}
        catalog.add_row(row)
    before, after = (
        cut(Struct(**{**injected.getDict(), "injected_catalog": table}), emptyFraction=1.0)
        for table in (injected.injected_catalog, catalog)
    )
    np.testing.assert_array_equal(after.table["max_snr"], before.table["max_snr"])
    assert list(after.catalog["source_type"][-2:]) == ["Satellite", "CosmicRay"]
    for i, row in enumerate(after.table):
        y = row["y0"] + np.arange(64)[:, None] + np.zeros((1, 64))
        band = np.abs(y - 30.0) < 16.0
        now, then = (tiles.pixels["truth"][i] for tiles in (after, before))
        np.testing.assert_array_equal(now[~band], then[~band])
        assert np.all(now[band] == np.where(then[band] == 0, IGNORED, then[band]))


def test_template(injected: Struct, make_image: Callable[..., Any]) -> None:
    """A template has the same sky and a part without data."""
    hole = (slice(0, 40), slice(0, 50))
    template = make_image(shape=SHAPE, start=(300, 500), seed=9, stars=5, masked=[("NO_DATA", hole)]).image
    config = TileToHdf5Config()
    config.tileSize, config.emptyFraction = 64, 1.0
    tiles = (
        TileToHdf5Task(config=config)
        .run(
            image=injected.injected_image,
            injected_catalog=injected.injected_catalog,
            injected_mask=injected.injected_mask,
            template=template,
        )
        .trail_tiles
    )
    assert "template" in tiles.pixels
    whole = np.zeros(SHAPE, dtype=np.float32)
    for row, tile in zip(tiles.table, tiles.pixels["template"], strict=True):
        whole[row["y0"] : row["y0"] + 64, row["x0"] : row["x0"] + 64] = tile
    assert np.all(np.isnan(whole[hole]))
    # The same but for the fitted level, within a fraction of the noise.
    rest = ~np.isnan(whole)
    assert np.count_nonzero(~rest) == 40 * 50
    assert np.abs((template.image.array - whole)[rest]).max() < 0.5 * np.std(whole[:60, 60:])
