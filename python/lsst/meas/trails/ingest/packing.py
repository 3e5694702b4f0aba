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

"""Packing of files by compression programs and in archives, whatever their names."""

from __future__ import annotations

__all__ = ("MAX_BYTES", "PackingError", "first_bytes", "open_unpacked")

import bz2
import contextlib
import gzip
import lzma
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

MAX_BYTES = 16 * 2**30
"""Largest content of a packed file, bytes: image, variance and mask of the largest detector."""

_MEMORY_BYTES = 256 * 2**20
"""Contents up to this size are unpacked in memory, larger ones in a temporary file."""

_MAX_LAYERS = 4
"""Largest number of packings around each other, as of ``image.fits.gz.zip``."""

_FITS_NAMES = (".fits", ".fit", ".fts", ".fz", ".gz", ".bz2", ".xz")

_OTHERS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x1f\x9d", "is compressed with compress (.Z): run 'uncompress' or 'gzip -d'"),
    (0, b"\x28\xb5\x2f\xfd", "is compressed with zstd: run 'unzstd'"),
    (0, b"\x04\x22\x4d\x18", "is compressed with lz4: run 'unlz4'"),
    (0, b"7z\xbc\xaf\x27\x1c", "is a 7z archive: unpack it"),
    (0, b"Rar!", "is a RAR archive: unpack it"),
    (257, b"ustar", "is a tar archive: unpack it with 'tar -xf'"),
    (0, b"\x89HDF\r\n", "is an HDF5 file: write the image as FITS"),
    (0, b"#ASDF", "is an ASDF file: write the image as FITS"),
    (0, b"XISF0100", "is an XISF file: save the image as FITS"),
    (0, b"\xff\xd8\xff", "is a JPEG picture: use the FITS image that it was made from"),
    (0, b"\x89PNG", "is a PNG picture: use the FITS image that it was made from"),
    (0, b"II*\0", "is a TIFF or raw picture: save the image as FITS"),
    (0, b"MM\0*", "is a TIFF picture: save the image as FITS"),
    (0, b"version https://git-lfs", "is a pointer of Git LFS, not the file itself: run 'git lfs pull'"),
    (0, b"<?xml", "is an XML file, perhaps the answer of a server: download the image again"),
)
"""Offset and first bytes of files that are not read, and what to do with them."""


class PackingError(ValueError):
    """Raised if a file cannot be unpacked; the text begins with a verb."""


@contextlib.contextmanager
def open_unpacked(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading, after unpacking it if it is packed.

    The first bytes of the file, not its name, tell how it is packed: gzip, bzip2, xz, or zip with one file.

    Parameters
    ----------
    path
        The file.

    Yields
    ------
    stream
        Binary stream at the start of the content; it can seek.

    Raises
    ------
    PackingError
        Raised if the file cannot be unpacked, or is of a kind that is not read.
    OSError
        Raised if the file cannot be read.
    """
    with contextlib.ExitStack() as stack:
        stream: IO[bytes] = stack.enter_context(path.open("rb"))
        for _ in range(_MAX_LAYERS):
            start = stream.read(512)
            stream.seek(0)
            unpack = next((u for magic, u in _UNPACKERS.items() if start.startswith(magic)), None)
            if unpack is None:
                _refuse_others(start)
                yield stream
                return
            try:
                with unpack(stream) as unpacked:
                    stream = stack.enter_context(_copy(unpacked))
            except (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, OSError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    # Of the system, for example a full disk.
                    raise
                raise PackingError(
                    f"is packed and cannot be unpacked ({error}): it is truncated or damaged; copy it again"
                ) from error
        raise PackingError(f"is packed more than {_MAX_LAYERS - 1} times; unpack it")


def first_bytes(stream: IO[bytes], size: int) -> IO[bytes]:
    """Return a stream that ends after some bytes: the stream itself if it does, or else a copy."""
    whole = stream.seek(0, os.SEEK_END) <= size
    stream.seek(0)
    return stream if whole else _copy(stream, size)


def _copy(stream: IO[bytes], size: int | None = None) -> IO[bytes]:
    """Copy a stream, or its first bytes, to a temporary file."""
    copy = tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES)
    try:
        while block := stream.read(2**20 if size is None else min(2**20, size - copy.tell())):
            copy.write(block)
            if copy.tell() > MAX_BYTES:
                raise PackingError(f"unpacks to more than {MAX_BYTES / 2**30:.0f} GiB; unpack it and cut it")
        copy.seek(0)
    except BaseException:
        copy.close()
        raise
    return copy


def _open_zip(stream: IO[bytes]) -> IO[bytes]:
    """Open the only file of a ZIP archive."""
    archive = zipfile.ZipFile(stream)
    files = [info for info in archive.infolist() if not info.is_dir()]
    images = [info for info in files if info.filename.lower().endswith(_FITS_NAMES)]
    chosen = images if images else files
    if len(chosen) != 1:
        names = ", ".join(info.filename for info in chosen[:4]) or "none"
        raise PackingError(f"is a ZIP archive with {len(chosen)} files ({names}): unpack it")
    if chosen[0].flag_bits & 1:
        raise PackingError("is a ZIP archive with a password: unpack it")
    try:
        return archive.open(chosen[0])
    except NotImplementedError as error:
        raise PackingError(f"is a ZIP archive of an unknown kind ({error}): unpack it") from error


def _refuse_others(start: bytes) -> None:
    for offset, magic, problem in _OTHERS:
        if start[offset : offset + len(magic)] == magic:
            raise PackingError(problem)
    if start.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        raise PackingError("is a web page, perhaps the answer of a server: download the image again")


def _open_gzip(stream: IO[bytes]) -> IO[bytes]:
    return gzip.GzipFile(fileobj=stream, mode="rb")  # type: ignore[return-value]


_UNPACKERS: Mapping[bytes, Callable[[IO[bytes]], IO[bytes]]] = {
    b"\x1f\x8b": _open_gzip,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
    b"PK\x03\x04": _open_zip,
}
"""Function that opens the content of a packed file, by the first bytes of the file."""
