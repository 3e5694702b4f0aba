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

"""The page of meas-trails vet, used in a browser."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import astropy.table
import numpy as np
import PIL.Image
import pytest

from lsst.meas.trails.core.catalog.labels import read_label_file
from lsst.meas.trails.evaluation.vetting.page import VetPage, write_vet_page
from lsst.meas.trails.evaluation.vetting.pictures import PANELS, VetCandidate

pytestmark = pytest.mark.process

FIRST = 2**62 + 1
"""Identifier of the first candidate, which a double cannot hold."""

COUNT = 60
PHONE = 360
DESKTOP = 1280
HOSTILE = "<img src='http://example.invalid/x.png' onerror='console.error(1)'>"


def make_candidates(count: int = COUNT) -> list[VetCandidate]:
    """Return candidates whose pictures have the gray levels 40, 80, 120 and 160."""
    strip = np.repeat(np.repeat([40, 80, 120, 160], 64)[np.newaxis, :, np.newaxis], 64, axis=0)
    stream = io.BytesIO()
    PIL.Image.fromarray(np.repeat(strip, 3, axis=2).astype(np.uint8)).save(stream, format="webp")
    return [
        VetCandidate(
            identifier=FIRST + number,
            visit=7,
            detector=number % 4,
            ra=10.0 + number,
            dec=-60.0,
            score=1.0 - number / count,
            facts=(("score", f"{1.0 - number / count:.3f}"), ("note", HOSTILE)),
            line=(0.2, 0.3, 0.8, 0.6),
            side=101,
            strip=stream.getvalue(),
            missing=("difference",) if number == 1 else (),
        )
        for number in range(count)
    ]


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """Return a page that no browser has opened."""
    texts = VetPage("Trail candidates", f"{HOSTILE} {tmp_path}", str(tmp_path))
    return write_vet_page(texts, make_candidates(), tmp_path / "vet")


def gray_level(tab: Any, selector: str = "#stage") -> int:
    """Return the gray level in the upper left part of a picture, once it is loaded."""
    tab.run(
        "(async () => { const images = document.querySelectorAll('#stage img'); "
        "await Promise.all([...images].map(image => image.decode())); "
        "await new Promise(requestAnimationFrame); })()"
    )
    look = PIL.Image.open(io.BytesIO(tab.look().screenshot)).convert("L")
    box = tab.run(f"(() => {{ const b = document.querySelector({selector!r}).getBoundingClientRect(); "
                  "return [b.x + scrollX, b.y + scrollY, b.width]; })()")  # fmt: skip
    x, y = (round(box[i] + 0.08 * box[2]) for i in (0, 1))
    return int(look.getpixel((x, y)))


def pressed(tab: Any, selector: str) -> bool:
    return bool(tab.run(f"document.querySelector({selector!r}).getAttribute('aria-pressed')") == "true")


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize("script", ["", "document.getElementById('view').click()"], ids=["single", "sheet"])
def test_the_page_fits_and_can_be_read(browser: Any, page: Path, width: int, script: str) -> None:
    look = browser.look(page, width, script=script)
    assert look.errors == []
    assert look.failures == []
    # Nothing but pictures of the page is loaded.
    assert all(url.startswith(page.parent.as_uri()) for url in look.requests)
    assert look.found["broken_images"] == 0
    assert look.found["without_alt"] == 0
    assert look.found["too_wide"] == []
    assert look.found["scroll_width"] <= look.found["width"] == width
    # The Web Content Accessibility Guidelines ask for 4.5 of texts.
    assert look.found["least_contrast"] >= 4.5
    assert look.found["least_font"] >= 12.0
    assert HOSTILE in look.found["text"]


def test_labels_by_keys(browser: Any, page: Path, tmp_path: Path) -> None:
    tab = browser.open(page, DESKTOP)
    assert tab.text("#position") == f"1 of {COUNT}"
    for key in "tu13":
        tab.press(key)
    assert tab.text("#position") == f"5 of {COUNT}"
    assert tab.text("#count") == f"4 of {COUNT} labeled"
    tab.press("ArrowLeft")
    assert pressed(tab, "[data-kind=cosmic_ray]")
    assert not pressed(tab, "[data-kind=spike]")
    # Undo returns to the candidate.
    tab.press("z")
    assert tab.text("#position") == f"4 of {COUNT}"
    assert tab.text("#count") == f"3 of {COUNT} labeled"
    path = tab.download("#download", tmp_path / "downloads")
    assert path.suffix == ".csv"
    labels = read_label_file(path)
    assert labels["trailCandidateId"].tolist() == [FIRST, FIRST + 1, FIRST + 2]
    assert labels["detector"].tolist() == [0, 1, 2]
    assert labels["label"].tolist() == ["trail", "unsure", "artifact"]
    assert labels["kind"].tolist() == ["", "", "spike"]
    np.testing.assert_allclose(labels["ra"], [10.0, 11.0, 12.0])
    look = tab.look()
    assert look.errors == []
    tab.close()


def test_blinking_and_line(browser: Any, page: Path) -> None:
    tab = browser.open(page, DESKTOP)
    seen = [gray_level(tab)]
    for key in ("b", " ", "b", "b"):
        tab.press(key)
        seen.append(gray_level(tab))
    np.testing.assert_allclose(seen, [40, 80, 120, 160, 40], atol=3)
    tab.click("#stage")
    assert tab.text("#caption").startswith(PANELS["template"])
    # After a click on a button, the space bar still blinks.
    tab.press(" ")
    assert tab.text("#caption").startswith(PANELS["difference"])
    # The second candidate has no difference image: blinking leaves it out.
    tab.press("ArrowRight")
    assert "no data" in tab.text("#caption")
    tab.press("b")
    tab.press("b")
    assert tab.text("#caption").startswith(PANELS["template"])
    tab.press("b")
    assert tab.text("#caption").startswith(PANELS["probability"])
    shown = "getComputedStyle(document.querySelector('#stage svg')).display !== 'none'"
    assert tab.run(shown)
    tab.press("o")
    assert not tab.run(shown)
    assert not pressed(tab, "#overlay")
    tab.click("#smooth")
    assert tab.run("getComputedStyle(document.querySelector('#stage img')).filter").startswith("blur(")
    tab.close()


def test_the_browser_keeps_the_labels(browser: Any, page: Path, tmp_path: Path) -> None:
    tab = browser.open(page, DESKTOP)
    tab.run("document.getElementById('labeler').focus()")
    # Letters of a name are no labels.
    for letter in "tu":
        tab.press(letter)
    tab.press("Tab")
    tab.run("document.activeElement.blur()")
    tab.press("t")
    tab.press("2")
    tab.reload()
    assert tab.text("#count") == f"2 of {COUNT} labeled"
    # It continues at the first candidate without a label.
    assert tab.text("#position") == f"3 of {COUNT}"
    tab.press("z")
    assert tab.text("#position") == f"2 of {COUNT}"
    labels = read_label_file(tab.download("#download", tmp_path / "downloads"))
    assert labels["labeler"].tolist() == ["tu"]
    tab.close()


def test_a_file_of_labels_continues_elsewhere(browser: Any, page: Path, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(
        "trailCandidateId,visit,detector,label,kind,labeler,time\n"
        f'{FIRST},7,0,artifact,star,"Ada ""A"" L.",2026-11-27T14:00:00Z\n'
        f"{FIRST + 5},7,1,trail,,,2026-11-27T14:00:00Z\n"
        f"{FIRST + 999},7,1,trail,,,2026-11-27T14:00:00Z\n"
        f"{FIRST + 1},7,1,comet,,,2026-11-27T14:00:00Z\n"
    )
    tab = browser.open(page, DESKTOP)
    # A label that is given now is later than that of the file.
    for _ in range(6):
        tab.press("ArrowRight")
    tab.press("ArrowLeft")
    tab.press("u")
    tab.choose_file("#load", path)
    tab.wait("document.getElementById('status').textContent.startsWith('Loaded')")
    assert tab.text("#status") == "Loaded 1 of 4 labels. 2 are not labels of these candidates."
    labels = read_label_file(tab.download("#download", tmp_path / "downloads"))
    assert labels["label"].tolist() == ["artifact", "unsure"]
    assert labels["labeler"].tolist() == ['Ada "A" L.', ""]
    # A table of astropy is read as well, and undo takes a file back.
    tab.press("z")
    assert tab.text("#count") == f"1 of {COUNT} labeled"
    table = astropy.table.Table.read(path, format="ascii.csv")
    table.write(tmp_path / "labels.ecsv")
    tab.choose_file("#load", tmp_path / "labels.ecsv")
    tab.wait("document.getElementById('count').textContent.startsWith('2 ')")
    tab.click("#clear")
    assert tab.text("#count") == f"0 of {COUNT} labeled"
    tab.press("z")
    assert tab.text("#count") == f"2 of {COUNT} labeled"
    tab.close()


def test_sheet_and_filter(browser: Any, page: Path) -> None:
    tab = browser.open(page, DESKTOP)
    tab.press("t")
    tab.press("s")
    assert tab.run("document.querySelectorAll('.card').length") == 48
    assert tab.text(".card[data-label=trail]").endswith("trail")
    # Arrows move by candidates and rows, and keys label the current one.
    columns = tab.run(
        "getComputedStyle(document.getElementById('cards')).gridTemplateColumns.split(' ').length"
    )
    tab.press("ArrowDown")
    tab.press("4")
    assert tab.run("document.querySelector('.card[data-label=artifact]').dataset.place") == str(columns + 1)
    tab.press("b")
    assert tab.text("#sheet-panel") == PANELS["template"]
    tab.click("#page-on")
    assert tab.run("document.querySelectorAll('.card').length") == COUNT - 48
    tab.click(".card:last-child")
    assert tab.text("#position") == f"{COUNT} of {COUNT}"
    tab.run("const filter = document.getElementById('filter'); filter.value = 'artifact'; "
            "filter.dispatchEvent(new Event('change'));")  # fmt: skip
    assert tab.text("#position") == f"{columns + 2} of {COUNT}"
    tab.click(".label.trail")
    # None is left in the selection.
    assert not tab.run("document.getElementById('nothing').hidden")
    tab.press("?")
    assert tab.run("document.getElementById('keys').open")
    tab.close()


def test_taps_on_a_phone(browser: Any, page: Path) -> None:
    tab = browser.open(page, PHONE, 740)
    # The label buttons are large enough for fingers, and on the first screen.
    boxes = tab.run(
        "[...document.querySelectorAll('.label')].map(element => element.getBoundingClientRect())"
        ".map(box => [box.height, box.width, box.bottom])"
    )
    assert len(boxes) == 10
    assert min(min(height, width) for height, width, _ in boxes) >= 40.0
    assert max(bottom for *_, bottom in boxes) <= 740.0
    tab.click("#stage", tap=True)
    assert tab.text("#caption").startswith(PANELS["template"])
    tab.click("[data-kind=bleed]", tap=True)
    assert tab.text("#position") == f"2 of {COUNT}"
    tab.click("#undo", tap=True)
    assert tab.text("#count") == f"0 of {COUNT} labeled"
    tab.close()


def test_a_single_file_needs_nothing_else(browser: Any, tmp_path: Path) -> None:
    texts = VetPage("Trail candidates", "", str(tmp_path))
    look = browser.look(write_vet_page(texts, make_candidates(3), tmp_path / "one.html"), PHONE)
    assert look.requests == []
    assert look.errors == []
    assert look.found["broken_images"] == 0
