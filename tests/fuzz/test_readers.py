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

"""Fuzz tests of every reader of external files, with arbitrary content.

A reader must succeed, or raise its own error with the name of the file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import io
import json
import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import astropy.io.fits
import astropy.table
import h5py
import numpy as np
import pyarrow as pa
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lsst.meas.trails.adcnn.checkpoints import read_adcnn_weights
from lsst.meas.trails.adcnn.files import ADCNN_COLUMNS, AdcnnFileError, AdcnnReader
from lsst.meas.trails.core.injection.catalog import CatalogError, ImageFootprint, select_trails
from lsst.meas.trails.core.tiles.layout import TileFileError
from lsst.meas.trails.core.tiles.reader import TileReader
from lsst.meas.trails.core.tiles.writer import TrailTiles
from lsst.meas.trails.ingest.layout import FitsIngestError, read_layout
from lsst.meas.trails.ingest.pixels import read_pixels
from lsst.meas.trails.nn.model_file import ModelError, ModelSpecification, load_model, save_model
from lsst.meas.trails.nn.model_table import model_from_table
from lsst.meas.trails.training.checkpoint import (
    Checkpoint,
    CheckpointError,
    read_checkpoint,
    write_checkpoint,
)
from lsst.meas.trails.training.recipe import RecipeError, load_recipe

from support.small import SMALL_NETWORK, write_tile_file

_FUZZ = settings(settings.get_profile("fuzz"))

_HOSTILE: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([-1, 0, 2**31, 2**63, 10**12, 10**400]),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["../../etc/passwd", "/etc/passwd", "..", ".", ".bashrc", "a\0b", "\ud800", "x" * 300]),
    st.lists(st.integers(-5, 5), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)


@contextlib.contextmanager
def read_or_refused(kind: type[Exception], name: object) -> Iterator[None]:
    """Accept errors of a kind that name the file."""
    try:
        yield
    except kind as error:
        if str(name) not in str(error):
            raise AssertionError(f"{error!r} does not name {name}") from error


@st.composite
def damages(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Draw a function that truncates bytes and overwrites some of them."""
    cut = draw(st.one_of(st.none(), st.floats(0.0, 1.0)))
    changes = draw(st.lists(st.tuples(st.floats(0.0, 1.0), st.binary(min_size=1, max_size=8)), max_size=6))

    def damage(content: bytes) -> bytes:
        result = bytearray(content)
        for where, new in changes:
            start = int(where * (len(result) - 1))
            result[start : start + len(new)] = new
        return bytes(result if cut is None else result[: int(cut * len(result))])

    return damage


def replaced(draw: st.DrawFn, value: Any) -> Any:
    """Return JSON-like data with one value replaced."""
    if isinstance(value, dict) and value and draw(st.integers(0, 9)):
        key = draw(st.sampled_from(sorted(value)))
        return {**value, key: replaced(draw, value[key])}
    if isinstance(value, list) and value and draw(st.booleans()):
        i = draw(st.integers(0, len(value) - 1))
        return [*value[:i], replaced(draw, value[i]), *value[i + 1 :]]
    return draw(_HOSTILE)


@dataclasses.dataclass(frozen=True)
class Model:
    """The two files of a valid model."""

    text: bytes
    weights: bytes


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    stem = tmp_path_factory.mktemp("model") / "tiny"
    specification = ModelSpecification(
        name="tiny",
        version="1",
        architecture="trail_unet",
        hyperparameters=SMALL_NETWORK,
        channels=("science", "bad"),
    )
    save_model(stem, specification.create_network(), specification)
    return Model(stem.with_suffix(".json").read_bytes(), stem.with_suffix(".safetensors").read_bytes())


@_FUZZ
@given(data=st.data())
def test_fuzz_model_file(data: st.DataObject, model: Model, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    text, weights = model.text, model.weights
    kind = data.draw(st.sampled_from(["values", "text", "weights"]))
    if kind == "values":
        text = json.dumps(data.draw(st.composite(replaced)(json.loads(text)))).encode()
    elif kind == "text":
        text = data.draw(damages())(text)
    else:
        weights = data.draw(damages())(weights)
    (folder / "tiny.json").write_bytes(text)
    (folder / "tiny.safetensors").write_bytes(weights)
    with read_or_refused(ModelError, folder):
        load_model(folder / "tiny.json")


@_FUZZ
@given(data=st.data())
def test_fuzz_model_table(data: st.DataObject, model: Model) -> None:
    cells = st.one_of(
        st.just(model.text), st.just(model.weights), st.binary(max_size=50), st.text(max_size=9)
    )
    rows = data.draw(st.integers(0, 2))
    names = data.draw(
        st.lists(st.sampled_from(["specification", "weights", "other"]), min_size=1, max_size=3)
    )
    arrays = [pa.array([data.draw(cells)] * rows) for _ in names]
    with read_or_refused(ModelError, "trail_model in u/run"):
        model_from_table(pa.Table.from_arrays(arrays, names=names), "trail_model in u/run")


@_FUZZ
@given(data=st.data())
def test_fuzz_adcnn_checkpoint(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "ckpt_best.pt"
    tensors = st.builds(
        lambda shape, value: torch.tensor(value).expand(shape),
        st.lists(st.sampled_from([0, 1, 3, 8, 32, 2**20]), max_size=4),
        st.floats(width=32),
    )
    names = st.sampled_from(["stem.0.weight", "aspp.project.weight", "head.bias", "module.x", "../x"])
    state = data.draw(st.one_of(st.dictionaries(names, st.one_of(tensors, _HOSTILE), max_size=4), _HOSTILE))
    content = io.BytesIO()
    try:
        torch.save({"state": state, "ema": state}, content)
    except (UnicodeEncodeError, OverflowError):
        return
    path.write_bytes(data.draw(damages())(content.getvalue()))
    with read_or_refused(ModelError, str(path)):
        read_adcnn_weights(path, ema=data.draw(st.booleans()))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the bytes of a training checkpoint."""
    path = tmp_path_factory.mktemp("checkpoint") / "checkpoint.safetensors"
    weights = {"stem.weight": torch.arange(12.0).reshape(3, 4), "count": torch.tensor(3)}
    write_checkpoint(
        path,
        Checkpoint(
            scalars={"step": 3, "digest": "a", "metrics": {"loss": 0.5}},
            weights=weights,
            average={name: tensor + 1 for name, tensor in weights.items()},
            best={},
            optimizer={"0.exp_avg": torch.ones(3, 4, dtype=torch.bfloat16)},
            random=torch.arange(16, dtype=torch.uint8),
        ),
    )
    return path.read_bytes()


@_FUZZ
@given(data=st.data())
def test_fuzz_training_checkpoint(
    data: st.DataObject, checkpoint: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A damaged checkpoint is rejected, or yields the values that were written."""
    path = tmp_path_factory.mktemp("fuzz") / "checkpoint.safetensors"
    path.write_bytes(checkpoint)
    written = read_checkpoint(path)
    path.write_bytes(data.draw(damages())(checkpoint))
    with read_or_refused(CheckpointError, str(path)):
        read = read_checkpoint(path)
        assert read.scalars == written.scalars
        for group in ("weights", "average", "optimizer"):
            first, second = getattr(read, group), getattr(written, group)
            assert first.keys() == second.keys()
            assert all(torch.equal(first[name], second[name]) for name in first)


@_FUZZ
@given(data=st.data())
def test_fuzz_tile_file(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "tiles.h5"
    write_tile_file(path)
    source = "sources/0000"
    kind = data.draw(st.sampled_from(["dataset", "attribute", "bytes"]))
    if kind == "bytes":
        path.write_bytes(data.draw(damages())(path.read_bytes()))
    else:
        with h5py.File(path, "a") as file:
            if kind == "dataset":
                names = [
                    "image",
                    "truth",
                    "table",
                    *(f"{source}/{n}" for n in ("psf", "background", "catalog")),
                ]
                change_hdf5(data, file, [*names, source, "sources"])
            else:
                change_attribute(data, file[data.draw(st.sampled_from(["/", source, f"{source}/catalog"]))])
    with read_or_refused(TileFileError, str(path)):
        read_all(path)


def read_all(path: Path) -> None:
    """Read the content of a tile file."""
    with TileReader(path) as reader:
        for number in range(reader.source_count):
            reader.source(number)
            reader.catalog(number)
        reader.manifest()
        for index in range(min(len(reader), 3)):
            reader.read(index)


def change_hdf5(data: st.DataObject, file: h5py.File, names: list[str]) -> None:
    """Replace a dataset or group of a file."""
    name = data.draw(st.sampled_from(names))
    kinds = ["huge", "external", "link", "soft", "virtual", "group", "shape", "nan", "variable", "columns"]
    kind = data.draw(st.sampled_from(kinds))
    shape, dtype = getattr(file[name], "shape", (3, 3)), getattr(file[name], "dtype", np.dtype("f4"))
    del file[name]
    if kind == "huge":
        claim = data.draw(st.sampled_from([10**4, 10**9, 10**12]))
        file.create_dataset(name, shape=(claim, *shape[1:]), dtype=dtype, chunks=(1, *shape[1:]))
    elif kind == "external":
        file.create_dataset(name, shape=shape, dtype=dtype, external=[("/etc/passwd", 0, h5py.h5s.UNLIMITED)])
    elif kind == "link":
        file[name] = h5py.ExternalLink("/etc/passwd", "/")
    elif kind == "soft":
        file[name] = h5py.SoftLink(data.draw(st.sampled_from(["/", f"/{name}", "/image", "../..", "/x"])))
    elif kind == "virtual":
        layout = h5py.VirtualLayout(shape, dtype)
        other = data.draw(st.sampled_from(["/etc/passwd", "../x.h5", ".", file.filename]))
        layout[...] = h5py.VirtualSource(other, "image", shape=shape)
        file.create_virtual_dataset(name, layout)
    elif kind == "group":
        file.create_group(name)
    elif kind == "shape":
        file.create_dataset(name, shape=data.draw(st.lists(st.integers(0, 40), max_size=4)), dtype=dtype)
    elif kind == "nan":
        file.create_dataset(name, data=np.full(shape, np.nan))
    else:
        variable = data.draw(st.sampled_from([h5py.vlen_dtype(dtype), h5py.string_dtype(), h5py.ref_dtype]))
        if kind == "columns":
            variable = np.dtype([*(dtype.descr if dtype.names else [("x", dtype)]), ("y", variable)])
        dataset = file.create_dataset(name, shape=shape, dtype=variable)
        # No "vlen" is None, which numpy takes for float64.
        vlen = (variable.metadata or {}).get("vlen")
        if kind == "variable" and vlen is not None and vlen == dtype and shape and dataset.size:
            dataset[(0,) * len(shape)] = np.zeros(5, dtype=dtype)


def change_attribute(data: st.DataObject, item: h5py.Group) -> None:
    """Replace an attribute."""
    name = data.draw(st.sampled_from(sorted(item.attrs)))
    values = st.one_of(
        st.builds(np.bytes_, st.binary(min_size=1, max_size=20)),
        st.builds(lambda value: np.bytes_(json.dumps(value).encode()), _HOSTILE),
        st.sampled_from(
            [h5py.Empty("f4"), "text", np.zeros((0, 3)), np.zeros((50, 50)), np.array(["a", "b"], "S1")]
        ),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(),
        st.lists(st.integers(-5, 2**40), min_size=1, max_size=3),
    )
    item.attrs[name] = data.draw(values)


@_FUZZ
@given(data=st.data())
def test_fuzz_adcnn_pair(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    hdf5, table = folder / "train.h5", folder / "train.csv"
    with h5py.File(hdf5, "w") as file:
        file["images"] = np.ones((2, 32, 32), dtype=np.float32)
        file["masks"] = np.zeros((2, 32, 32), dtype=bool)
        if data.draw(st.booleans()):
            change_hdf5(data, file, ["images", "masks"])
    values = st.one_of(
        st.integers(-3, 3), st.floats(), st.text(max_size=9), st.just("9" * 500), st.just(10**30)
    )
    rows = [[str(data.draw(values)) for _ in ADCNN_COLUMNS] for _ in range(data.draw(st.integers(0, 2)))]
    text = "\n".join([",".join(ADCNN_COLUMNS), *(",".join(row) for row in rows)])
    table.write_bytes(data.draw(damages())(text.encode(errors="surrogatepass")))
    with read_or_refused(AdcnnFileError, str(folder)):
        with AdcnnReader(hdf5, table) as reader:
            for number in range(min(len(reader), 3)):
                reader.read(number)


@_FUZZ
@given(data=st.data())
def test_fuzz_injection_catalog(data: st.DataObject) -> None:
    footprint = ImageFootprint(
        shape=(100, 100), ra=10.0, dec=0.0, pixel_scale=0.2, margin=10.0,
        sky_to_pixel=lambda ra, dec: ((ra - 10.0) * 18000.0 + 50.0, dec * 18000.0 + 50.0),
    )  # fmt: skip
    good = {
        "ra": 10.0,
        "dec": 0.0,
        "mag": 24.0,
        "trail_length": 30.0,
        "beta": 5.0,
        "injection_id": 1,
        "visit": 3,
    }
    numbers = st.one_of(st.floats(), st.integers(-(2**63), 2**63 - 1), st.sampled_from([-1.0, 0.0, 1e300]))
    wrong = st.one_of(numbers, st.text(max_size=5), st.lists(st.floats(), min_size=2, max_size=2))
    table = astropy.table.Table({"source_type": ["Trail"]})
    for name, value in good.items():
        table[name] = [data.draw(wrong) if data.draw(st.integers(0, 2)) == 0 else value]
    with read_or_refused(CatalogError, "catalog of trixel 1"):
        selection = select_trails([table], ["catalog of trixel 1"], footprint, visit=3)
        assert np.all(np.isfinite(selection.trails.flux))
        assert all("catalog of trixel 1" in text for text in selection.excluded)


def small_fits(compressed: bool = False) -> bytes:
    """Return a FITS file with an image, a mask and a table."""
    header = astropy.io.fits.Header()
    header.update(
        CTYPE1="RA---TAN-SIP", CTYPE2="DEC--TAN-SIP", CRVAL1=1.0, CRVAL2=2.0, CRPIX1=1.0, CRPIX2=1.0
    )
    header.update(CD1_1=1e-4, CD2_2=1e-4, CD1_2=0.0, CD2_1=0.0)
    header.update(A_ORDER=2, B_ORDER=2, A_2_0=1e-6, B_0_2=1e-6)
    pixels = np.random.default_rng(1).normal(size=(32, 32)).astype(np.float32)
    image: Any = astropy.io.fits.PrimaryHDU(pixels, header)
    mask: Any = astropy.io.fits.ImageHDU(np.zeros((32, 32), dtype=np.int32), name="MASK")
    mask.header["MP_BAD"] = 0
    if compressed:
        image = astropy.io.fits.CompImageHDU(pixels, header)
        mask = astropy.io.fits.CompImageHDU(mask.data, mask.header)
    first = [astropy.io.fits.PrimaryHDU()] if compressed else []
    table = astropy.io.fits.BinTableHDU(astropy.table.Table({"calibrationMean": [1.0]}), name="PhotoCalib")
    stream = io.BytesIO()
    astropy.io.fits.HDUList([*first, image, mask, table]).writeto(stream)
    return stream.getvalue()


@_FUZZ
@given(data=st.data())
def test_fuzz_fits(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "image.fits"
    content = small_fits(compressed=data.draw(st.booleans()))
    words = (
        "SIMPLE BITPIX NAXIS NAXIS1 NAXIS2 PCOUNT GCOUNT CRVAL1 EXTNAME A_ORDER MP_BAD TFIELDS TFORM1 ZNAXIS"
    )
    key = data.draw(st.sampled_from([*words.split(), "ZNAXIS1", "ZTILE1", "ZCMPTYPE"]))
    value = data.draw(
        st.sampled_from([b"-1", b"0", b"64", b"10000000000", b"999999", b"1E400", b"'../x'", b"NaN", b"T"])
    )
    places = [match.start() for match in re.finditer(re.escape(f"{key:8}=".encode()), content)]
    if places and data.draw(st.booleans()):
        start = data.draw(st.sampled_from(places))
        content = content[: start + 10] + value.rjust(20) + content[start + 30 :]
    if data.draw(st.integers(0, 4)) == 0:
        content = gzip.compress(content, 1)
    path.write_bytes(data.draw(damages())(content))
    with read_or_refused(FitsIngestError, str(path)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read_pixels(read_layout(path))


_RECIPE = {
    "model": {
        "name": "tiny",
        "architecture": "trail_unet",
        "hyperparameters": SMALL_NETWORK,
        "channels": ["science"],
    },
    "data": {"train": ["a.h5"], "mixture": {"missed": 1.0}, "workers": 0},
    "stages": [{"steps": 2, "batch_size": 2, "loss": {"bce": 1.0}, "min_snr": [3.0, 0.0]}],
    "optimizer": {"learning_rate": 1.0e-3, "betas": [0.9, 0.99]},
    "validation": {"every": 1},
    "seed": 1,
}


@_FUZZ
@given(data=st.data())
def test_fuzz_recipe(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "recipe.yaml"
    if data.draw(st.booleans()):
        text = yaml.safe_dump(data.draw(st.composite(replaced)(_RECIPE))).encode(errors="replace")
    else:
        text = data.draw(damages())(yaml.safe_dump(_RECIPE).encode())
    path.write_bytes(text)
    with read_or_refused(RecipeError, str(path)):
        load_recipe(path)


# Inputs that once broke a reader.


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x, x, x, x, x, x, x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n"
        "d: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nseed: [*e,*e,*e,*e,*e,*e,*e,*e]\n",
        "seed: &a [*a]",
        "[" * 5000,
        "seed: 2001-99-99",
        "ema: " + "9" * 400,
        "seed: !!python/object/apply:os.system ['true']",
        "seed: !!int x",
    ],
    ids=["bomb", "cycle", "deep", "date", "digits", "python", "int"],
)
def test_recipe_that_broke(text: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=re.escape(str(path))) as error:
        load_recipe(path)
    assert len(str(error.value)) < 1000


def test_recipe_of_a_gigabyte(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    with path.open("wb") as stream:
        stream.truncate(10**9)
    with pytest.raises(RecipeError, match="1000000 bytes"):
        load_recipe(path)


@pytest.mark.parametrize("name", ["..", ".bashrc", "tiny.json", "../x.safetensors", "a\0.safetensors"])
def test_model_writes_no_other_file(name: str, model: Model, tmp_path: Path) -> None:
    content = json.loads(model.text)
    content["weights_file"] = name
    (tmp_path / "tiny.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match=r"tiny\.json: .*weights"):
        load_model(tmp_path / "tiny.json")


def test_model_with_a_number_of_400_digits(model: Model, tmp_path: Path) -> None:
    content = json.loads(model.text)
    content["pixel_scale"] = 10**400
    (tmp_path / "tiny.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match=r"tiny\.json: .*pixel_scale"):
        load_model(tmp_path / "tiny.json")


@pytest.mark.parametrize("kind", ["external", "link", "claim", "chunk"])
def test_hdf5_opens_no_other_file(kind: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(b"s" * 8192)
    hdf5, table = tmp_path / "train.h5", tmp_path / "train.csv"
    table.write_text(",".join(ADCNN_COLUMNS))
    with h5py.File(hdf5, "w") as file:
        file["masks"] = np.zeros((2, 32, 32), dtype=bool)
        if kind == "external":
            file.create_dataset("images", (2, 32, 32), np.float32, external=[(str(secret), 0, 8192)])
        elif kind == "link":
            with h5py.File(tmp_path / "other.h5", "w") as other:
                other["images"] = np.ones((2, 32, 32), dtype=np.float32)
            file["images"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "images")
        elif kind == "claim":
            del file["masks"]
            for name in ("images", "masks"):
                file.create_dataset(
                    name, (10**12, 32, 32), "f4" if name == "images" else "u1", chunks=(1, 32, 32)
                )
        else:
            chunks = (1000, 1000, 1000)
            file.create_dataset("images", (2, 32, 32), np.float32, chunks=chunks, maxshape=(None,) * 3)
    with pytest.raises(AdcnnFileError, match=f"{re.escape(str(hdf5))}.*images"):
        AdcnnReader(hdf5, table)


@pytest.mark.parametrize("place", ["dataset", "column", "catalog"])
def test_hdf5_of_variable_length(place: str, tile_file: Path) -> None:
    """HDF5 would trust a length of two billion values."""
    with h5py.File(tile_file, "a") as file:
        name = {"dataset": "sources/0000/background", "column": "table", "catalog": "sources/0000/catalog"}[
            place
        ]
        dtype = h5py.vlen_dtype(np.float32)
        rows = file[name][()]
        if place != "dataset":
            dtype = np.dtype([*rows.dtype.descr, ("more", dtype)])
        del file[name]
        dataset = file.create_dataset(name, shape=rows.shape, dtype=dtype)
        value = np.ones(3, dtype=np.float32)
        dataset[(0,) * rows.ndim] = value if place == "dataset" else (*rows[0], value)
        offset = dataset.id.get_offset() + (0 if place == "dataset" else rows.dtype.itemsize)
    content = bytearray(tile_file.read_bytes())
    assert content[offset : offset + 4] == (3).to_bytes(4, "little")
    content[offset : offset + 4] = (2**31 - 1).to_bytes(4, "little")
    tile_file.write_bytes(content)
    with pytest.raises(TileFileError, match=re.escape(str(tile_file))):
        TrailTiles.read(tile_file)


@pytest.fixture
def tile_file(tmp_path: Path) -> Path:
    """Return a file of two tiles."""
    return write_tile_file(tmp_path / "tiles.h5")


@pytest.mark.parametrize("name", ["image", "template", "table", "sources", "sources/0000", "manifest"])
@pytest.mark.parametrize("kind", ["link", "virtual"])
def test_hdf5_opens_no_pipe(kind: str, name: str, tile_file: Path, tmp_path: Path) -> None:
    """A process that opens a named pipe to inspect it blocks until another one writes."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with h5py.File(tile_file, "a") as file:
        if name in file:
            del file[name]
        if kind == "link":
            file[name] = h5py.ExternalLink(str(pipe), "/")
        else:
            layout = h5py.VirtualLayout((1, 32, 32), np.float32, maxshape=(None, 32, 32))
            source = h5py.VirtualSource(str(pipe), "image", shape=(1, 32, 32), maxshape=(None, 32, 32))
            layout[: h5py.h5s.UNLIMITED] = source[: h5py.h5s.UNLIMITED]
            file.create_virtual_dataset(name, layout)
    opened = threading.Event()

    def write() -> None:
        # Blocks until a reader opens the pipe.
        with pipe.open("wb"):
            opened.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with pytest.raises(TileFileError, match=re.escape(str(tile_file))):
            read_all(tile_file)
        assert not opened.wait(0.05)
    finally:
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        writer.join()
        os.close(reader)


@pytest.mark.parametrize(
    ("key", "value"),
    # Small enough for a reader that trusts them to return.
    [("NAXIS", 5000), ("TFIELDS", 5000), ("PCOUNT", -2880), ("A_ORDER", 50), ("NAXIS2", -1)],
)
@pytest.mark.parametrize("packed", [False, True])
def test_fits_that_broke(key: str, value: int, packed: bool, tmp_path: Path) -> None:
    """Astropy does not return if a header has 10^10 axes."""
    content = small_fits()
    start = content.index(f"{key:8}=".encode())
    content = content[: start + 10] + str(value).rjust(20).encode() + content[start + 30 :]
    path = tmp_path / ("image.fits.gz" if packed else "image.fits")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(FitsIngestError, match=f"{re.escape(str(path))}.*{key}.*{value}"):
        read_layout(path)


def test_fits_mask_of_more_planes_than_bits(tmp_path: Path) -> None:
    """Each plane would need the memory of an image."""
    path = tmp_path / "image.fits"
    path.write_bytes(small_fits())
    with astropy.io.fits.open(path, mode="update") as hdus:
        hdus["MASK"].header.update({f"MP_{i}": 0 for i in range(40)})
    with pytest.raises(FitsIngestError, match=f"{re.escape(str(path))}.*41"):
        read_pixels(read_layout(path))


@pytest.mark.parametrize("key", ["MP_BAD", "MSKN0003"])
def test_fits_mask_with_a_card_that_has_no_value(key: str, tmp_path: Path) -> None:
    """Astropy parses such a card on access to its value."""
    path = tmp_path / "image.fits"
    content = small_fits()
    start = content.index(b"MP_BAD  =")
    path.write_bytes(content[:start] + f"{key:8}= ".encode() + b"1E400'" + content[start + 16 :])
    with pytest.raises(FitsIngestError, match=f"{re.escape(str(path))}.*{key}"):
        read_pixels(read_layout(path))
