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

from rich.console import Console

from lsst.meas.trails.cli._tile_summary import summary_table
from lsst.meas.trails.core.tiles.summary import ImageSummary, TileSummary

IMAGE = ImageSummary(
    data_id={"visit": 7},
    shape=[96, 128],
    unit="nJy",
    psf_fwhm=4.0,
    tiles=3,
    trails=2,
    distractors=1,
    wcs=True,
    real_sources="",
    config={"tileSize": 32},
)
SUMMARY = TileSummary(
    file="set.h5",
    bytes=2_000_000,
    format_version=3,
    package_version="1.0",
    virtual=True,
    planes=["image", "truth"],
    tile_size=32,
    tiles=18,
    classes={"empty": 18},
    splits={"train": 12, "test": 6},
    max_snr=None,
    noise=[1.0, 2.0, 3.0],
    ra=None,
    dec=None,
    images=[IMAGE] * 6,
    joined_by="visits",
)


def test_summary_table() -> None:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(summary_table(SUMMARY))
    text = " ".join(capture.get().split())
    for part in (
        "set.h5",
        "18 of 32 x 32 pixels, 2.0 MB, in other files",
        "12 train, 6 test (by visits)",
        "1 to 3, median 2",
        "6 with 12 trails",
        "visit 7: 3 tiles, 2 trails, 1 distractors, 128 x 96 pixels, nJy, FWHM 4.00 pixels, a WCS",
        "... and 1 more",
        "config tileSize 32",
    ):
        assert part in text
