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

"""Pages agree with the code of tasks, pipelines and catalogs, and their Python examples with their output."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import click
import pytest
from trails_tasks import all_tasks

import lsst.meas.trails
from lsst.meas.trails.cli import main
from lsst.meas.trails.core.injection.truth import TRUTH_COLUMNS
from lsst.pipe.base import PipelineTask

ROOT = Path(__file__).parents[2]
DOC = ROOT / "doc"


@pytest.fixture(scope="module")
def catalog_page() -> dict[str, list[list[str]]]:
    """Return the cells of the tables of doc/catalog.md by column name."""
    rows: dict[str, list[list[str]]] = {}
    for line in (DOC / "catalog.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `") and len(cells) == 4:
            rows.setdefault(cells[0].strip("`"), []).append(cells[2:])
    return rows


@pytest.mark.parametrize("name", TRUTH_COLUMNS)
def test_truth_columns_are_documented(name: str, catalog_page: dict[str, list[list[str]]]) -> None:
    _, unit, description = TRUTH_COLUMNS[name]
    assert ["" if unit is None else unit.to_string(), description] in catalog_page[name]


@pytest.mark.parametrize("task", all_tasks(), ids=lambda task: task.__name__)
def test_task_has_a_page(task: type[PipelineTask]) -> None:
    name = task.__module__.rpartition(".")[2]
    text = (DOC / "tasks" / f"{name}.md").read_text()
    for directive in ("summary", "connections", "config"):
        assert f"```{{task-{directive}}} {task.__name__}\n" in text
    assert f"\n{name}\n" in (DOC / "tasks" / "index.md").read_text()


@pytest.mark.parametrize("task", all_tasks(), ids=lambda task: task.__name__)
def test_metadata_of_a_task_are_documented(task: type[PipelineTask]) -> None:
    """Names that the task no longer writes fail, too."""
    source = inspect.getsource(task)
    written = set(re.findall(r'self\.metadata\["(\w+)"\] = ', source))
    page = (DOC / "tasks" / f"{task.__module__.rpartition('.')[2]}.md").read_text()
    section = page.partition("## Metadata")[2].partition("\n## ")[0]
    documented = set(re.findall(r"`(\w+)`", section))
    assert written
    assert written <= documented
    # Other names are in a table of the task, or formatted as it runs.
    others = {name for name in documented - written if f'"{name}"' not in source}
    assert not others or 'self.metadata[f"' in source


@pytest.mark.parametrize("path", sorted((ROOT / "pipelines").glob("*.yaml")), ids=lambda path: path.name)
def test_pipeline_is_documented(path: Path) -> None:
    assert f"```{{pipeline-summary}} {path.name}\n" in (DOC / "pipelines.md").read_text()


def test_commands_are_mentioned_in_pages() -> None:
    text = "".join(page.read_text() for page in DOC.rglob("*.md"))
    context = click.Context(main, info_name="meas-trails")
    missing = [name for name in main.list_commands(context) if f"meas-trails {name}" not in text]
    assert not missing


def test_readme_names_only_files_that_exist() -> None:
    names = re.findall(r"\]\(((?!https?:)[^)#]+)[^)]*\)", (ROOT / "README.md").read_text())
    assert len(names) > 5
    for name in names:
        assert (ROOT / name).exists(), name


def test_examples_in_pages_and_docstrings() -> None:
    runner = doctest.DocTestRunner()
    parser = doctest.DocTestParser()
    for page in DOC.rglob("*.md"):
        text = page.read_text()
        if ">>> " in text:
            runner.run(parser.get_doctest(text, {}, page.name, str(page), 0))
    method = doctest.DocTestFinder()
    for module in pkgutil.walk_packages(lsst.meas.trails.__path__, "lsst.meas.trails."):
        spec = importlib.util.find_spec(module.name)
        # Import only modules with examples: some take seconds.
        if spec is not None and spec.origin is not None and ">>> " in Path(spec.origin).read_text():
            for test in method.find(importlib.import_module(module.name)):
                runner.run(test)
    assert runner.tries >= 10
    assert runner.failures == 0
