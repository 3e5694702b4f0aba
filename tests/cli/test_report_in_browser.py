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

"""Reports, as a browser shows them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import astropy.table
import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from lsst.meas.trails.evaluation.report.page import (
    Card,
    FigurePart,
    GalleryItem,
    GalleryPart,
    Listing,
    Paragraph,
    Report,
    Section,
    TablePart,
    write_report,
)

pytestmark = pytest.mark.process

HOSTILE = (
    "<img src='http://example.invalid/x.png' onerror='console.error(1)'><script>console.error(2)</script>"
)

PHONE = 360
DESKTOP = 1280


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a report that is wide, long, and full of hostile texts."""
    figure = Figure(figsize=(12.0, 4.0))
    figure.subplots(1, 3)[1].plot([0.0, 1.0])
    table = astropy.table.Table({f"column{i}": [f"{HOSTILE}{i}"] for i in range(12)})
    item = GalleryItem(np.full((226, 660, 3), 90, dtype=np.uint8), HOSTILE, HOSTILE)
    report = Report(
        title=HOSTILE,
        subtitle="word" * 60,
        cards=[Card("0.123 (0.100 to 0.150)", "completeness at 10 false per detector")] * 8,
        sections=[
            Section(
                f"{HOSTILE} {number}",
                [
                    Paragraph(HOSTILE, warning=True),
                    FigurePart(f"figure{number}", figure, HOSTILE, HOSTILE),
                    TablePart(f"table{number}", table, HOSTILE),
                    GalleryPart("Gallery", HOSTILE, [item] * 4),
                    Listing("Configuration", "config.x = " + "1" * 500),
                ],
            )
            for number in range(3)
        ],
    )
    return write_report(report, tmp_path_factory.mktemp("browser") / "report")


def check(look: Any, width: int) -> None:
    """Check that a page is whole, alone, and no wider than its window."""
    assert look.errors == []
    assert look.failures == []
    assert look.requests == []
    assert look.found["broken_images"] == 0
    assert look.found["without_alt"] == 0
    assert look.found["dead_links"] == 0
    assert look.found["scripts"] == 0
    assert look.found["too_wide"] == []
    assert look.found["scroll_width"] <= look.found["width"] == width
    # The Web Content Accessibility Guidelines ask for 4.5 of texts.
    assert look.found["least_contrast"] >= 4.5
    assert look.found["least_font"] >= 12.0
    picture = matplotlib.image.imread(io.BytesIO(look.screenshot))
    assert picture.shape[1] == width
    # Something is drawn on it, on white.
    assert picture[..., :3].min() < 0.2
    assert np.mean(picture[..., :3] > 0.9) > 0.3


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_a_report_in_a_browser(browser: Any, page: Path, width: int) -> None:
    look = browser.look(page, width)
    check(look, width)
    # What looks like an element is read as it was written.
    assert look.found["title"] == HOSTILE
    assert look.found["headings"][0] == HOSTILE
    assert look.found["images"] == 15
    widths = np.array(look.found["image_widths"])
    assert np.all(widths <= width)
    assert np.all(widths > 0.5 * min(width, 600) - 40)


def test_a_figure_can_be_enlarged(browser: Any, page: Path) -> None:
    """Its box scrolls then, and the page does not."""
    look = browser.look(page, PHONE, script="document.querySelector('.figure label').click()")
    check(look, PHONE)
    assert look.found["image_widths"][0] == 1320.0
    assert max(look.found["image_widths"][1:]) <= PHONE


def test_the_browser_sees_what_is_wrong(browser: Any, tmp_path: Path) -> None:
    """Else the tests above would say nothing."""
    path = tmp_path / "wrong.html"
    path.write_text(
        "<!DOCTYPE html><html><head><meta name=viewport content='width=device-width'></head>"
        "<body><p style='color: #bbb; font-size: 8px'>pale</p><a href='#nowhere'>nowhere</a>"
        "<div style='width: 2000px'>wide</div><img src='data:image/png;base64,AAAA'>"
        "<img src='missing.png' alt='a'><script>console.error('wrong'); undefinedName;</script></body></html>"
    )
    look = browser.look(path, PHONE)
    assert look.found["broken_images"] == 2
    assert look.found["without_alt"] == 1
    assert look.found["dead_links"] == 1
    assert look.found["scripts"] == 1
    assert look.found["too_wide"]
    assert look.found["scroll_width"] > PHONE
    assert look.found["least_contrast"] < 2.5
    assert look.found["least_font"] == 8.0
    assert len(look.requests) == 1
    assert look.failures
    assert len(look.errors) >= 2
