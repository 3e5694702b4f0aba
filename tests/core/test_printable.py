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

import os
from pathlib import Path

import pytest

from lsst.meas.trails.core.printable import printable


@pytest.mark.parametrize(
    ("name", "text"),
    [(b"a b.fits", "a b.fits"), ("\u00e9".encode(), "\u00e9"), (b"n\xfcw.fits", r"n\xfcw.fits")],
)
def test_names(name: bytes, text: str) -> None:
    assert printable(Path(os.fsdecode(name))) == text
    assert text.encode().decode() == text
