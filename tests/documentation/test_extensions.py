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

"""Sphinx extensions of the documentation."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, ClassVar

import pytest
from trails_angles import IMAGE_ANGLE, SKY_ANGLE, draw_angles
from trails_links import check_links
from trails_reference import (
    catalog_lines,
    change_lines,
    column_lines,
    pipeline_lines,
    range_lines,
    recipe_lines,
)
from trails_tasks import (
    all_tasks,
    config_lines,
    connection_lines,
    dataset_lines,
    find_task,
    markdown,
    summary_lines,
)

import lsst.pipe.base.connectionTypes as cT
from lsst.meas.trails.core.catalog.columns import CANDIDATE_COLUMNS
from lsst.meas.trails.core.geometry import angle_difference
from lsst.meas.trails.tasks import TrailCandidateTask
from lsst.pex.config import ChoiceField, Field, ListField, RangeField
from lsst.pipe.base import PipelineTask, PipelineTaskConfig, PipelineTaskConnections


class ExampleConnections(
    PipelineTaskConnections, dimensions=("visit", "instrument"), defaultTemplates={"kind": "raw"}
):
    """Connections."""

    image = cT.Input(
        doc="Input image.",
        name="{kind}_image",
        storageClass="VisitImage",
        dimensions=("instrument", "visit"),
    )
    tables = cT.PrerequisiteInput(
        doc="Tables [of all].",
        name="table",
        storageClass="ArrowAstropy",
        dimensions=("htm7",),
        multiple=True,
        minimum=0,
    )
    result = cT.Output(doc="Output mask.", name="result", storageClass="MaskV2", dimensions=())


class ExampleConfig(PipelineTaskConfig, pipelineConnections=ExampleConnections):
    """Configuration."""

    size = RangeField(dtype=int, doc="Side, <pixels>.", default=3, min=1, max=9, inclusiveMax=True)
    mode = ChoiceField[str](doc="How.", allowed={"slow": "Slowly.", "fast": "Fast."}, default="slow")
    names = ListField[str](doc="Names.", default=["a", "b"])
    limit = Field[float](doc="Limit.", optional=True)

    def setDefaults(self) -> None:
        self.size = 5


class ExampleTask(PipelineTask):
    """Test a summary
    of two lines.

    And more.
    """  # noqa: D205

    ConfigClass: ClassVar[Any] = ExampleConfig
    _DefaultName: ClassVar[str] = "example"


def test_config_of_a_task() -> None:
    lines = config_lines(ExampleTask)
    text = "\n".join(lines)
    signatures = [line for line in lines if line.startswith("```{config-field}")]
    assert signatures == [
        # The default of the task, not of the field.
        "```{config-field} example:size int = 5, in [1,9]",
        "```{config-field} example:mode str = 'slow'",
        "```{config-field} example:names list of str = ['a', 'b']",
        "```{config-field} example:limit float = None",
    ]
    assert "Side, \\<pixels\\>." in text
    assert "`fast`\n: Fast." in text


def test_connections_of_a_task() -> None:
    text = "\n".join(connection_lines(ExampleTask))
    assert "`image`\n: Input image." in text
    assert "Input: `raw_image`, storage class `VisitImage`, dimensions instrument and visit." in text
    assert "The name follows `connections.kind`." in text
    assert "Prerequisite input: `table`" in text
    assert "May be missing.\n  May be several." in text
    assert "Output: `result`, storage class `MaskV2`, dimensions none." in text
    assert text.index("`image`") < text.index("`tables`") < text.index("`result`")


def test_summary_of_a_task() -> None:
    lines = summary_lines(ExampleTask)
    assert lines[0] == "Test a summary of two lines."
    assert "- Label in the pipelines: `example`" in lines
    assert "- Dimensions: instrument and visit" in lines


def test_dataset_types_of_all_tasks() -> None:
    lines = dataset_lines([ExampleTask])
    link = "{py:class}`~lsst.meas.trails.tasks.ExampleTask`"
    assert f"| `raw_image` | `VisitImage` | instrument and visit |  | {link} |" in lines
    assert f"| `result` | `MaskV2` | none | {link} |  |" in lines
    lines = dataset_lines(all_tasks())
    assert any("`trail_candidate_detector`" in line for line in lines)
    assert any("`trail_candidate_schema` | `ArrowAstropy` | none |" in line for line in lines)


def test_tasks_that_disagree_on_a_dataset_type() -> None:
    class OtherConnections(PipelineTaskConnections, dimensions=("instrument",)):
        result = cT.Input(doc="It.", name="result", storageClass="ImageV2", dimensions=())

    class OtherConfig(PipelineTaskConfig, pipelineConnections=OtherConnections):
        pass

    class OtherTask(PipelineTask):
        ConfigClass: ClassVar[Any] = OtherConfig
        _DefaultName: ClassVar[str] = "other"

    with pytest.raises(ValueError, match="result"):
        dataset_lines([ExampleTask, OtherTask])


def test_task_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="NoTask.*InjectTrailsTask"):
        find_task("NoTask")


def test_plain_text_as_markdown() -> None:
    assert markdown("[0, 180) of *x*\n  in `a[0]`, `~lsst.b`") == r"\[0, 180) of \*x\* in `a[0]`, `lsst.b`"


def test_pipeline_with_what_it_imports() -> None:
    lines = pipeline_lines("DetectTrailsInDifference.yaml")
    assert "- `input_image`, by default `difference_image`" in lines
    labels = [line.split("`")[1] for line in lines if line.startswith("1. ")]
    assert labels[:2] == ["trailSegmentation", "trailCandidate"]
    assert sorted(labels[2:]) == [
        "associateTrails",
        "consolidateAssociatedTrails",
        "consolidateTrailCandidates",
    ]
    assert any("`perDetector` (`trailSegmentation`, `trailCandidate`, " in line for line in lines)


def test_angles_of_the_picture() -> None:
    """With North up and East to the left, +x is West."""
    assert angle_difference(SKY_ANGLE, 90.0 + IMAGE_ANGLE) == 0.0
    texts = [text.get_text() for axes in draw_angles().axes for text in axes.texts]
    assert {"trailAnglePix", f"trailAngle {SKY_ANGLE:g}", "North", "East", "+x", "+y"} <= set(texts)


def test_table_of_the_schema() -> None:
    lines = catalog_lines("trail_candidate")
    assert "| `raErr` | float | deg | Error of ra times cos(dec). |" in lines
    assert len(lines) == 2 + len(CANDIDATE_COLUMNS)


def test_columns_of_a_table() -> None:
    lines = column_lines("lsst.meas.trails.evaluation.columns.MATCH_COLUMNS")
    assert "| `trueX` | float64 | pix | True midpoint, column. |" in lines
    assert any(line.startswith("| `trailLength` | float32 | arcsec |") for line in lines)
    # The second item need not be a unit.
    lines = column_lines("lsst.meas.trails.evaluation.metrics_table.METRIC_COLUMNS")
    assert "| `value` | float64 |  | The number. |" in lines


def test_every_field_of_a_recipe_has_its_description() -> None:
    text = "\n".join(recipe_lines())
    assert "`learning_rate`: `float`, by default `0.002`" in text
    assert "`snr`: `tuple[float, float]`, by default `[3.0, 25.0]`" in text
    assert "`clip`: `float | null`, by default `1.0`" in text
    assert "\n: \n" not in text


@pytest.mark.process
def test_changes_that_are_not_released(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.towncrier]\nname = "x"\ndirectory = "changes"\nfilename = "changes.md"\n'
    )
    (tmp_path / "changes").mkdir()
    (tmp_path / "changes" / "+one.feature.md").write_text("It flies.\n")
    text = "\n".join(change_lines(tmp_path))
    assert text.split()[0] == "**Features**"
    assert "- It flies." in text
    (tmp_path / "pyproject.toml").write_text("[tool.towncrier\n")
    with pytest.raises(RuntimeError, match="towncrier"):
        change_lines(tmp_path)


@pytest.mark.process
def test_changes_of_this_package_are_understood() -> None:
    fragments = list((Path(__file__).parents[2] / "doc" / "changes").glob("*.md"))
    text = "\n".join(change_lines())
    assert fragments
    for fragment in fragments:
        assert " ".join(fragment.read_text().split())[:40] in " ".join(text.split())


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.html").write_text(
        '<h1 id="top">A</h1><a href="#top">ok</a><a href="#bottom">no</a>'
        '<a href="sub/b.html#there">ok</a><a href="sub/b.html#nowhere">no</a><a href="c.html">no</a>'
        '<img src="picture.png"><a href="https://example.org/x">ok</a><a href="http://example.org">no</a>'
        '<a href="https://nothing">no</a><a href="mailto:nobody">no</a>'
    )
    (tmp_path / "sub" / "b.html").write_text(
        '<span id="there"></span><a href="../a.html#top">ok</a><a href="../../x.html">no</a>'
    )
    assert list(check_links(tmp_path)) == [
        "a.html: #bottom: the anchor does not exist",
        "a.html: sub/b.html#nowhere: the anchor does not exist",
        "a.html: c.html: the file does not exist",
        "a.html: picture.png: the file does not exist",
        "a.html: http://example.org: not an https address",
        "a.html: https://nothing: not an address",
        "a.html: mailto:nobody: not an address",
        "sub/b.html: ../../x.html: leads out of the documentation",
    ]


@pytest.mark.process
def test_build_fails_where_a_page_is_wrong(tmp_path: Path) -> None:
    """Directives work in a page; broken links and unknown fields fail the build."""
    conf = (
        f"import sys\nsys.path.insert(0, {str(Path(__file__).parents[2] / 'doc' / '_ext')!r})\n"
        "extensions = ['myst_parser', 'trails_links', 'trails_tasks']\n"
        "myst_enable_extensions = ['deflist']\n"
        "html_theme = 'basic'\n"
    )
    (tmp_path / "conf.py").write_text(conf)
    good = (
        "# Page\n\n{config-field}`trailCandidate:minScore`\n\n"
        "```{task-config} TrailCandidateTask\n```\n\n```{task-datasets}\n```\n"
    )
    (tmp_path / "index.md").write_text(good)
    done = _build(tmp_path)
    assert done.returncode == 0, done.stderr
    html = (tmp_path / "out" / "index.html").read_text()
    assert 'href="#config-field-trailCandidate-minScore"' in html
    assert TrailCandidateTask.ConfigClass.minScore.doc in html
    (tmp_path / "index.md").write_text(
        f"{good}\n{{config-field}}`trailCandidate:gone`\n\n<a href='gone.html'>gone</a>\n\n"
        "```{task-config} NoTask\n```\n"
    )
    done = _build(tmp_path)
    assert done.returncode != 0
    assert "trailCandidate:gone" in done.stderr
    assert "index.html: gone.html: the file does not exist" in done.stderr
    assert "'NoTask'" in done.stderr


def _build(folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["sphinx-build", "-W", "--keep-going", "-q", "-b", "html", str(folder), str(folder / "out")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_ranges_have_value_meaning_and_source() -> None:
    lines = range_lines("lsst.meas.trails.sim.wide.WideSky")
    assert "| `psf_fwhm` | 3.3 to 12.5, logarithmic |" in "\n".join(lines)
    assert all(line.count("|") == 5 for line in lines)
