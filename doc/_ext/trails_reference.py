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

"""Directives for pipelines, tables, recipes and changes, generated from their files.

``pipeline-summary NAME.yaml``
    Description, parameters, tasks and subsets of a pipeline.
``catalog-table NAME``
    Columns of a table of the Felis file of the package.
``columns MODULE.NAME``
    Columns of a table, described by a dictionary of that name.
``recipe-reference``
    Sections and fields of a training recipe.
``ranges MODULE.CLASS``
    Ranges of a dataclass such as ``sim.wide.WideSky``: value, meaning, source.
``unreleased-changes``
    Changes since the last release, from the fragments of
    `towncrier <https://towncrier.readthedocs.io>`_.
"""

from __future__ import annotations

__all__ = (
    "catalog_lines",
    "change_lines",
    "column_lines",
    "pipeline_lines",
    "range_lines",
    "recipe_lines",
    "setup",
)

import dataclasses
import importlib
import importlib.resources
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from astropy.units import UnitBase
from docutils import nodes
from numpydoc.docscrape import ClassDoc
from pydantic.fields import FieldInfo
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata
from trails_tasks import TASKS_MODULE, markdown

from lsst.meas.trails.core.section import Section
from lsst.pipe.base import Pipeline
from lsst.pipe.base.pipelineIR import PipelineIR

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""


def pipeline_lines(name: str) -> list[str]:
    """Return description, tasks, parameters and subsets of a pipeline.

    Parameters
    ----------
    name
        Name of its file.
    """
    folder = importlib.resources.files("lsst.meas.trails.resources") / "pipelines"
    uri = str(folder / name)
    # One has the descriptions, the other the order of the tasks.
    pipeline, texts = Pipeline.from_uri(uri), PipelineIR.from_uri(uri)
    tasks = pipeline.to_graph().tasks.values()
    lines = [markdown(str(texts.description)), "", "Tasks, in this order:", ""]
    for task in tasks:
        lines.append(f"1. `{task.label}`: {{py:class}}`~{TASKS_MODULE}.{task.task_class.__name__}`")
    if texts.parameters.mapping:
        lines += ["", "Parameters, set with `-c parameters:NAME=VALUE`:", ""]
        lines += [f"- `{key}`, by default `{value}`" for key, value in texts.parameters.mapping.items()]
    if texts.labeled_subsets:
        lines += ["", f"Parts of it, run with `-p {name}#NAME`:", ""]
        for key, subset in texts.labeled_subsets.items():
            labels = ", ".join(f"`{task.label}`" for task in tasks if task.label in subset.subset)
            lines.append(f"- `{key}` ({labels}): {markdown(subset.description or '')}")
    return lines


def column_lines(name: str) -> list[str]:
    """Return the columns of a table as a Markdown table.

    Parameters
    ----------
    name
        Dotted name of a dictionary of tuples (type, unit, meaning) by column
        name; a second item that is not a unit is ignored.
    """
    module, _, attribute = name.rpartition(".")
    lines = ["| column | type | unit | meaning |", "|---|---|---|---|"]
    for column, (kind, unit, meaning) in getattr(importlib.import_module(module), attribute).items():
        text = unit.to_string() if isinstance(unit, UnitBase) else ""
        lines.append(f"| `{column}` | {kind.__name__.rstrip('_')} | {text} | {markdown(meaning)} |")
    return lines


def range_lines(name: str) -> list[str]:
    """Return the ranges of a dataclass as a Markdown table.

    Parameters
    ----------
    name
        Dotted name of a dataclass whose fields have a range as default, and in their metadata its meaning and
        source.
    """
    module, _, attribute = name.rpartition(".")
    lines = ["| setting | range | meaning | source |", "|---|---|---|---|"]
    for field in dataclasses.fields(getattr(importlib.import_module(module), attribute)):
        low, high, log = field.default
        span = f"{low:g} to {high:g}{', logarithmic' if log else ''}"
        text = field.metadata
        lines.append(f"| `{field.name}` | {span} | {text['meaning']} | {text['source']} |")
    return lines


def catalog_lines(name: str) -> list[str]:
    """Return the columns of a table of the Felis file as a Markdown table.

    Parameters
    ----------
    name
        Name of the table.
    """
    from lsst.meas.trails.core.schema.felis_file import SCHEMA_FILE

    tables = yaml.safe_load(SCHEMA_FILE.read_text(encoding="utf-8"))["tables"]
    (table,) = (table for table in tables if table["name"] == name)
    lines = ["| column | type | unit | meaning |", "|---|---|---|---|"]
    for column in table["columns"]:
        unit, meaning = column.get("fits:tunit", ""), markdown(column["description"])
        lines.append(f"| `{column['name']}` | {column['datatype']} | {unit} | {meaning} |")
    return lines


def recipe_lines() -> list[str]:
    """Return the sections of a training recipe, each with its fields."""
    from lsst.meas.trails.training.recipe import (
        AugmentationRecipe,
        DataRecipe,
        ModelRecipe,
        OptimizerRecipe,
        Recipe,
        SimulationRecipe,
        StageRecipe,
        ValidationRecipe,
    )
    from lsst.meas.trails.training.scenes import TrainingScenes

    sections: list[tuple[str, type[Section]]] = [
        ("Top level", Recipe),
        ("`model`", ModelRecipe),
        ("`data`", DataRecipe),
        ("`data.simulate`", SimulationRecipe),
        ("`data.simulate.train`, `.validation`, `.calibration`", TrainingScenes),
        ("`augmentation`", AugmentationRecipe),
        ("`optimizer`", OptimizerRecipe),
        ("`stages`, a list of these", StageRecipe),
        ("`validation`", ValidationRecipe),
    ]
    lines = []
    for title, section in sections:
        docs = _field_docs(section)
        lines += [f"**{title}**: {markdown((section.__doc__ or '').partition(chr(10) * 2)[0])}", ""]
        for name, annotation in inspect.get_annotations(section).items():
            if name in section.model_fields:
                kind = _recipe_type(annotation, section.model_fields[name])
                lines += [f"`{name}`: {kind}", f": {markdown(docs[name])}", ""]
    return lines


def _field_docs(section: type) -> dict[str, str]:
    """Return the descriptions of the fields of a section.

    They are below each field or among the parameters of the docstring.
    """
    analyzer = ModuleAnalyzer.for_module(section.__module__)
    docs = {
        name: " ".join(text)
        for (owner, name), text in analyzer.find_attr_docs().items()
        if owner == section.__name__
    }
    for parameter in ClassDoc(section)["Parameters"]:
        for name in parameter.name.split(","):
            docs.setdefault(name.strip(), " ".join(parameter.desc))
    return docs


def _recipe_type(annotation: str, field: FieldInfo) -> str:
    """Return type and default of a field as in a recipe."""
    kind = annotation.replace("object", "anything").replace("None", "null")
    if field.is_required():
        return f"`{kind}`, required"
    if isinstance(field.default, Section):
        return f"`{kind}`"
    return f"`{kind}`, by default `{_yaml(field.default)}`"


def _yaml(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, tuple):
        return f"[{', '.join(_yaml(item) for item in value)}]"
    return str(value)


def change_lines(root: Path = ROOT) -> list[str]:
    """Return the changes since the last release.

    Parameters
    ----------
    root
        Folder of the ``pyproject.toml`` that configures towncrier.

    Raises
    ------
    RuntimeError
        Raised if towncrier fails.
    """
    result = subprocess.run(
        [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "next", "--date", "unreleased"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise RuntimeError(f"towncrier: {result.stderr or result.stdout}")
    return list(_without_title(result.stdout.splitlines()))


def _without_title(lines: list[str]) -> Iterator[str]:
    """Iterate over a draft below its title, with headings as bold text."""
    headings = [i for i, line in enumerate(lines) if line.startswith("#")]
    for line in lines[headings[0] + 1 :] if headings else ():
        yield f"**{line.lstrip('# ')}**" if line.startswith("#") else line


class _PipelineSummary(SphinxDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes("\n".join(pipeline_lines(self.arguments[0])))


class _CatalogTable(SphinxDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes("\n".join(catalog_lines(self.arguments[0])))


class _Columns(SphinxDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes("\n".join(column_lines(self.arguments[0])))


class _Ranges(SphinxDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes("\n".join(range_lines(self.arguments[0])))


class _RecipeReference(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes("\n".join(recipe_lines()))


class _UnreleasedChanges(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes("\n".join(change_lines()))


def setup(app: Sphinx) -> ExtensionMetadata:
    """Add the directives to Sphinx."""
    app.add_directive("catalog-table", _CatalogTable)
    app.add_directive("columns", _Columns)
    app.add_directive("pipeline-summary", _PipelineSummary)
    app.add_directive("ranges", _Ranges)
    app.add_directive("recipe-reference", _RecipeReference)
    app.add_directive("unreleased-changes", _UnreleasedChanges)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
