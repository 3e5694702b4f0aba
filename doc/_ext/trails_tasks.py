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

"""Directives for tasks, generated from their classes.

Each takes the class of a task:

``task-summary``
    Summary, class, label and dimensions.
``task-connections``
    Inputs and outputs.
``task-config``
    Configuration; ``{config-field}`` links to its fields.

Without an argument, ``task-datasets`` is the table of the dataset types that
the tasks read and write.  The functions return Markdown, which the directives
parse.
"""

from __future__ import annotations

__all__ = ("all_tasks", "config_lines", "connection_lines", "dataset_lines", "setup", "summary_lines")

import importlib
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.roles import XRefRole
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from lsst.pex.config import ChoiceField, ListField, RangeField, RegistryField
from lsst.pipe.base import PipelineTask, PipelineTaskConfig
from lsst.pipe.base import connectionTypes as cT

TASKS_MODULE = "lsst.meas.trails.tasks"

_KINDS: tuple[tuple[type, str], ...] = (
    (cT.PrerequisiteInput, "Prerequisite input"),
    (cT.Input, "Input"),
    (cT.InitInput, "Init input"),
    (cT.InitOutput, "Init output"),
    (cT.Output, "Output"),
)


def all_tasks() -> list[type[PipelineTask]]:
    """Return the tasks of the package, by name."""
    module = importlib.import_module(TASKS_MODULE)
    members = inspect.getmembers(module, inspect.isclass)
    return [value for _, value in members if issubclass(value, PipelineTask) and value is not PipelineTask]


def find_task(name: str) -> type[PipelineTask]:
    """Return a task by the name of its class.

    Raises
    ------
    ValueError
        Raised if the package has no such task.
    """
    for task in all_tasks():
        if task.__name__ == name:
            return task
    raise ValueError(f"Unknown task {name!r}; the tasks are {', '.join(t.__name__ for t in all_tasks())}.")


def markdown(text: str) -> str:
    """Return plain text, with code in backticks, as Markdown."""
    parts = re.split(r"(``.+?``|`[^`]+`)", " ".join(text.split()))
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"([\\*\[\]<>|$])", r"\\\1", parts[i])
    for i in range(1, len(parts), 2):
        # References to Python become code.
        parts[i] = parts[i].replace("`~", "`")
    return "".join(parts)


def summary_lines(task: type[PipelineTask]) -> list[str]:
    """Return summary, class, label and dimensions of a task."""
    dimensions = _join(sorted(_connections(task).dimensions, key=_dimension_order))
    first = inspect.getdoc(task).partition("\n\n")[0]  # type: ignore[union-attr]
    return [
        markdown(first),
        "",
        f"- Class: {{py:class}}`~{TASKS_MODULE}.{task.__name__}`",
        f"- Label in the pipelines: `{task._DefaultName}`",
        f"- Dimensions: {dimensions}",
    ]


def connection_lines(task: type[PipelineTask]) -> list[str]:
    """Return the inputs and outputs of a task as a list of definitions."""
    lines = []
    for name, connection in sorted(_all_connections(task), key=lambda item: _kind_order(item[1])):
        lines += [f"`{name}`", f": {markdown(connection.doc)}", ""]
        lines += [f"  {text}" for text in _connection_facts(task, connection)]
        lines += [""]
    return lines


def config_lines(task: type[PipelineTask]) -> list[str]:
    """Return the configuration of a task, field by field."""
    config = task.ConfigClass()
    lines = []
    for name, field in config._fields.items():
        if name in PipelineTaskConfig._fields or name == "connections":
            continue
        signature = f"{task._DefaultName}:{name} {_field_type(field)} = {_default(config, name, field)}"
        if isinstance(field, RangeField):
            signature += f", in {field.rangeString}"
        lines += [f"```{{config-field}} {signature}", markdown(field.doc), ""]
        if isinstance(field, ChoiceField):
            for choice, meaning in field.allowed.items():
                if choice is not None:
                    lines += [f"`{choice}`", f": {markdown(meaning)}", ""]
        lines += ["```", ""]
    return lines or ["It has no fields of its own."]


def dataset_lines(tasks: Sequence[type[PipelineTask]]) -> list[str]:
    """Return the table of the dataset types that tasks read and write."""
    rows: dict[str, tuple[set[str], list[str], list[str]]] = {}
    for task in tasks:
        for _, connection in _all_connections(task):
            name = _resolved(task, connection)
            about = f"`{connection.storageClass}` | {_join(_dimensions(connection)) or 'none'}"
            facts, written, read = rows.setdefault(name, (set(), [], []))
            facts.add(about)
            link = f"{{py:class}}`~{TASKS_MODULE}.{task.__name__}`"
            (written if isinstance(connection, cT.Output | cT.InitOutput) else read).append(link)
    lines = [
        "| dataset type | storage class | dimensions | written by | read by |",
        "|---|---|---|---|---|",
    ]
    for name, (facts, written, read) in sorted(rows.items(), key=lambda item: item[0].strip("_")):
        if len(facts) > 1:
            raise ValueError(f"Tasks disagree on dataset type {name}: {' or '.join(sorted(facts))}.")
        lines.append(f"| `{name}` | {facts.pop()} | {_unique(written)} | {_unique(read)} |")
    return lines


def _unique(links: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(links))


def _connections(task: type[PipelineTask]) -> Any:
    return task.ConfigClass.ConnectionsClass  # type: ignore[attr-defined]


def _all_connections(task: type[PipelineTask]) -> Iterator[tuple[str, Any]]:
    # Connections that a configuration removes, and those that it adds.
    declared = dict(_connections(task).allConnections)
    made = _connections(task)(config=task.ConfigClass()).allConnections
    yield from (declared | {name: made[name] for name in made if name not in declared}).items()


def _dimensions(connection: Any) -> Sequence[str]:
    # Datasets that tasks read or write at their start have no dimensions.
    return getattr(connection, "dimensions", ())


def _kind_order(connection: Any) -> int:
    order = (cT.Input, cT.PrerequisiteInput, cT.InitInput, cT.Output, cT.InitOutput)
    return [isinstance(connection, kind) for kind in order].index(True)


def _kind(connection: Any) -> str:
    return next(name for kind, name in _KINDS if isinstance(connection, kind))


def _resolved(task: type[PipelineTask], connection: Any) -> str:
    return str(connection.name.format(**_connections(task).defaultTemplates))


def _connection_facts(task: type[PipelineTask], connection: Any) -> list[str]:
    """Return the properties of a connection, one sentence per line."""
    name = _resolved(task, connection)
    templates = re.findall(r"\{(\w+)\}", connection.name)
    facts = [
        f"{_kind(connection)}: `{name}`, storage class `{connection.storageClass}`, "
        f"dimensions {_join(_dimensions(connection)) or 'none'}."
    ]
    if templates:
        facts.append(f"The name follows {_join([f'`connections.{name}`' for name in templates])}.")
    if getattr(connection, "minimum", 1) == 0:
        facts.append("May be missing.")
    if connection.multiple:
        facts.append("May be several.")
    return facts


def _dimension_order(name: str) -> int:
    order = ("instrument", "visit", "detector")
    return order.index(name) if name in order else len(order)


def _join(names: Sequence[str]) -> str:
    names = list(names)
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _field_type(field: Any) -> str:
    if isinstance(field, ListField):
        return f"list of {field.itemtype.__name__}"
    if isinstance(field, RegistryField):
        return "choice"
    return str(field.dtype.__name__)


def _default(config: Any, name: str, field: Any) -> str:
    value = getattr(config, name)
    if isinstance(field, RegistryField):
        value = value.name
    elif isinstance(field, ListField):
        value = list(value)
    return repr(value)


def _show_field(env: BuildEnvironment, signature: str, node: addnodes.desc_signature) -> str:
    """Format the signature of a field, and return its full name."""
    name, _, about = signature.partition(" ")
    kind, _, default = about.partition(" = ")
    node += addnodes.desc_name(text=name.partition(":")[2])
    node += addnodes.desc_annotation("", "", nodes.Text(f" : {kind} = {default}"))
    return name


class _TaskDirective(SphinxDirective):
    """Directive with Markdown generated from the class of a task."""

    required_arguments = 1
    make: ClassVar[Callable[[type[PipelineTask]], list[str]]]

    def run(self) -> list[nodes.Node]:
        try:
            task = find_task(self.arguments[0])
        except ValueError as error:
            raise self.error(str(error)) from error
        return self.parse_text_to_nodes("\n".join(type(self).make(task)))


class _TaskSummary(_TaskDirective):
    make = staticmethod(summary_lines)


class _TaskConnections(_TaskDirective):
    make = staticmethod(connection_lines)


class _TaskConfig(_TaskDirective):
    make = staticmethod(config_lines)


class _TaskDatasets(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes("\n".join(dataset_lines(all_tasks())))


def setup(app: Sphinx) -> ExtensionMetadata:
    """Add the directives to Sphinx."""
    app.add_object_type("config-field", "config-field", "%s (configuration field)", _show_field)
    # References to removed fields fail the build.
    app.add_role_to_domain("std", "config-field", XRefRole(warn_dangling=True), override=True)
    app.add_directive("task-summary", _TaskSummary)
    app.add_directive("task-connections", _TaskConnections)
    app.add_directive("task-config", _TaskConfig)
    app.add_directive("task-datasets", _TaskDatasets)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
