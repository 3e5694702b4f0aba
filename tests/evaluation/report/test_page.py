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

import base64
import io
import re
from pathlib import Path

import astropy.table
import astropy.units as u
import matplotlib.image
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from lsst.meas.trails.evaluation.report import page as report_module
from lsst.meas.trails.evaluation.report.page import (
    Card,
    FigurePart,
    GalleryItem,
    GalleryPart,
    Listing,
    Paragraph,
    Report,
    ReportError,
    Section,
    TablePart,
    render,
    write_report,
)

HOSTILE = "<script>alert('x')</script>\"'&{{ 7 * 7 }}</pre></table>"


def make_report(text: str = "words") -> Report:
    """Return a report with every kind of part, and a text in every place."""
    figure = Figure(figsize=(3.0, 2.0))
    figure.subplots().plot([0.0, 1.0])
    table = astropy.table.Table(
        {"name": [text, "b"], "value": [1.23456, np.nan], "good": [True, False], "count": [2**40, 0]}
    )
    table["value"].unit = u.pix
    picture = np.zeros((20, 30, 3), dtype=np.uint8)
    picture[5:, :10] = (255, 0, 0)
    return Report(
        title=text,
        subtitle=text,
        cards=[Card(text, text)],
        sections=[
            Section(
                text,
                [
                    Paragraph(text),
                    Paragraph(text, warning=True),
                    FigurePart("curve", figure, caption=text, alt=text),
                    TablePart("numbers", table, caption=text, labels={"value": text}),
                    GalleryPart(text, text, [GalleryItem(picture, caption=text, alt=text)]),
                    Listing(text, text),
                ],
            )
        ],
        footer=text,
        generator=text,
    )


def test_everything_is_in_one_file(tmp_path: Path) -> None:
    page = write_report(make_report(), tmp_path / "report")
    text = page.read_text(encoding="utf-8")
    assert sorted(str(path.relative_to(page.parent)) for path in page.parent.rglob("*.*")) == [
        "figures/curve.pdf",
        "figures/curve.png",
        "report.html",
        "tables/numbers.ecsv",
    ]
    # Nothing is fetched: every source is in the page itself, every link too.
    assert {source.split(":")[0] for source in re.findall(r'src="([^"]*)"', text)} == {"data"}
    assert all(link[0] == "#" or link == "data:," for link in re.findall(r'href="([^"]*)"', text))
    assert "url(" not in text
    assert "@import" not in text
    assert "<script" not in text


def test_figures_and_tables_are_files_of_their_own(tmp_path: Path) -> None:
    folder = write_report(make_report(), tmp_path / "report").parent
    assert matplotlib.image.imread(folder / "figures" / "curve.png").shape == (400, 600, 4)
    assert (folder / "figures" / "curve.pdf").read_bytes().startswith(b"%PDF")
    table = astropy.table.Table.read(folder / "tables" / "numbers.ecsv")
    assert table["value"][0] == 1.23456
    assert np.isnan(table["value"][1])
    assert table["value"].unit == u.pix
    assert table["count"][0] == 2**40


def test_pictures_are_embedded_as_they_are() -> None:
    item = make_report().sections[0].parts[4].items[0]  # type: ignore[union-attr]
    source = re.findall(r'src="data:image/png;base64,([^"]*)" width="30" height="20"', render(make_report()))
    assert len(source) == 1
    picture = matplotlib.image.imread(io.BytesIO(base64.b64decode(source[0])))
    np.testing.assert_array_equal(np.round(picture[..., :3] * 255.0), item.picture)


def test_numbers_on_the_page() -> None:
    text = render(make_report())
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", text)
    assert cells == ["words", "1.235", "yes", str(2**40), "b", "–", "no", "0"]
    assert "<small>pix</small>" in text


def test_long_tables_say_where_the_rest_is() -> None:
    table = astropy.table.Table({"x": np.arange(1000)})
    report = Report("t", "s", [], [Section("s", [TablePart("many", table, "Numbers.", max_rows=10)])])
    text = render(report)
    assert text.count("<tr>") == 11
    assert "The first 10 of 1000 rows; tables/many.ecsv has all." in text


def test_tables_without_rows_name_their_file() -> None:
    table = astropy.table.Table({"x": np.arange(1000)})
    report = Report("t", "s", [], [Section("s", [TablePart("all", table, "Numbers.", max_rows=0)])])
    assert "Numbers. tables/all.ecsv has 1000 rows." in render(report)


def test_columns_have_formats_and_unknown_values_a_dash() -> None:
    table = astropy.table.Table(
        {"ra": [112.44369, 7.0], "n": astropy.table.MaskedColumn([3, 4], mask=[False, True])}
    )
    part = TablePart("places", table, "Places.", formats={"ra": ".5f"})
    text = render(Report("t", "s", [], [Section("s", [part])]))
    assert re.findall(r"<td[^>]*>([^<]*)</td>", text) == ["112.44369", "3", "7.00000", "–"]


def elements(page: str) -> list[str]:
    """Return what a browser would take for an element of the page."""
    return re.findall(r"<[a-zA-Z/!][a-z0-9]*", page)


def test_texts_stay_texts() -> None:
    """Whatever is in a data ID or a catalog makes no element of the page."""
    page = render(make_report(HOSTILE))
    assert elements(page) == elements(render(make_report("words")))
    assert "49" not in re.findall(r"<h1>(.*?)</h1>", page, re.DOTALL)[0]
    assert "&lt;script&gt;" in page


@settings(max_examples=30, deadline=None)
@given(st.text(alphabet="<>\"'&{}%#/ab\n;=", min_size=1, max_size=40))
def test_any_text_stays_text(text: str) -> None:
    parts = [Paragraph(text), Listing(text, text), TablePart("n", astropy.table.Table({"a": [text]}), text)]
    plain = [Paragraph("a"), Listing("a", "a"), TablePart("n", astropy.table.Table({"a": ["a"]}), "a")]
    pages = [
        render(Report(title, title, [Card(title, title)], [Section(title, made)], title, title))
        for title, made in ((text, parts), ("a", plain))
    ]
    assert elements(pages[0]) == elements(pages[1])


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b", "numbers"])
def test_names_of_files_are_names(tmp_path: Path, name: str) -> None:
    table = astropy.table.Table({"x": [1]})
    parts = [TablePart("numbers", table, "one"), TablePart(name, table, "another")]
    with pytest.raises(ValueError, match="file name"):
        write_report(Report("t", "s", [], [Section("s", parts)]), tmp_path / "report")
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_report_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    write_report(make_report("first"), folder)
    (folder / "figures" / "old.png").write_text("")
    write_report(make_report("second"), folder)
    assert "second" in (folder / "report.html").read_text()
    assert not (folder / "figures" / "old.png").exists()
    assert list(tmp_path.iterdir()) == [folder]


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("important")
    with pytest.raises(ReportError, match=re.escape(str(tmp_path))):
        write_report(make_report(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(ReportError, match="thesis.tex"):
        write_report(make_report(), tmp_path / "thesis.tex")


def test_a_failure_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "report"
    write_report(make_report("first"), folder)

    def fail(report: Report) -> str:
        raise OSError("the disk is full")

    monkeypatch.setattr(report_module, "render", fail)
    for target in (folder, tmp_path / "new"):
        with pytest.raises(ReportError, match="the disk is full"):
            write_report(make_report("second"), target)
    assert "first" in (folder / "report.html").read_text()
    assert list(tmp_path.iterdir()) == [folder]
