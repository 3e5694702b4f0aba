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

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from lsst.meas.trails.ingest import packing
from lsst.meas.trails.ingest.layout import FitsIngestError, read_layout
from lsst.meas.trails.ingest.packing import PackingError, open_unpacked
from lsst.meas.trails.ingest.pixels import read_pixels

from support.fits_files import write_noise


def to_zip(content: bytes, *names: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names or ("image.fits",):
            archive.writestr(name, content)
    return stream.getvalue()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zip": to_zip,
    "zip with a note": lambda content: to_zip(content, "folder/", "README", "image.fits"),
    "gzip in zip": lambda content: to_zip(gzip.compress(content), "image.fits.gz"),
}


@pytest.mark.parametrize("name", ["image.fits", "image.fits.gz", "image.fz", "IMAGE.FIT", "image"])
@pytest.mark.parametrize("packer", PACKERS)
def test_any_packing_under_any_name(tmp_path: Path, packer: str, name: str) -> None:
    path = write_noise(tmp_path / "plain.fits")
    expected = fits.getdata(path)
    packed = tmp_path / name
    packed.write_bytes(PACKERS[packer](path.read_bytes()))
    np.testing.assert_array_equal(read_pixels(read_layout(packed)).image, expected)


@pytest.mark.parametrize("packer", ["plain", "gzip"])
def test_no_padding(tmp_path: Path, packer: str) -> None:
    path = write_noise(tmp_path / "plain.fits")
    with fits.open(path) as hdus:
        end = hdus[0].fileinfo()["datLoc"] + hdus[0].size
        expected = hdus[0].data.copy()
    content = path.read_bytes()[:end]
    path.write_bytes(PACKERS[packer](content))
    np.testing.assert_array_equal(read_pixels(read_layout(path)).image, expected)
    path.write_bytes(PACKERS[packer](content[:-1]))
    with pytest.raises(FitsIngestError, match="truncated"):
        read_layout(path)


def test_compressed_tiles_without_padding(tmp_path: Path) -> None:
    plain = write_noise(tmp_path / "plain.fits")
    path = tmp_path / "tiles.fits"
    header, pixels = fits.getheader(plain), np.arange(5120, dtype=np.int32).reshape(64, 80)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(pixels, header)]).writeto(path)
    with fits.open(path, disable_image_compression=True) as hdus:
        end = hdus[1].fileinfo()["datLoc"] + hdus[1].size
    path.write_bytes(gzip.compress(path.read_bytes()[:end]))
    np.testing.assert_array_equal(read_pixels(read_layout(path)).image, pixels)


@pytest.mark.parametrize("packer", ["gzip", "bzip2", "xz", "zip"])
def test_damaged_packing(tmp_path: Path, packer: str) -> None:
    path = tmp_path / "image.fits"
    packed = PACKERS[packer](write_noise(tmp_path / "plain.fits").read_bytes())
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(FitsIngestError, match=r"image\.fits .*copy it again"):
        read_layout(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x1f\x9d\x90abc", "uncompress"),
        (b"\x28\xb5\x2f\xfdabc", "zstd"),
        (b"\xff\xd8\xff\xe0abc", "JPEG"),
        (bytes(257) + b"ustar" + bytes(300), "tar"),
        (b"\n<!DOCTYPE HTML><html>404</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (to_zip(b"", "a.fits", "b.fits"), "2 files"),
        (to_zip(b"", "folder/"), "0 files"),
    ],
)
def test_other_files(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "image.fits"
    path.write_bytes(content)
    with pytest.raises(FitsIngestError, match=words) as caught:
        read_layout(path)
    assert str(caught.value).startswith(f"{path} is ")


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "image.fits"
    content = b"x" * 3_000_000
    path.write_bytes(gzip.compress(content))
    # Large contents go to a temporary file.
    monkeypatch.setattr(packing, "_MEMORY_BYTES", 1000)
    with open_unpacked(path) as stream:
        assert stream.read() == content
    monkeypatch.setattr(packing, "MAX_BYTES", 2_000_000)
    with pytest.raises(PackingError, match="GiB"), open_unpacked(path):
        pass
    for _ in range(5):
        path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(PackingError, match="times"), open_unpacked(path):
        pass
