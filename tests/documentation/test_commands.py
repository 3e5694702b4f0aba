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

"""Commands in the documentation exist, with their options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from trails_examples import command_lines, find_blocks
from trails_tasks import all_tasks

from lsst.ctrl.bps.cli.bps import cli as bps
from lsst.ctrl.mpexec.cli.pipetask import cli as pipetask
from lsst.daf.butler.cli.butler import cli as butler
from lsst.meas.trails.cli import main as meas_trails
from lsst.pipe.base import Pipeline
from lsst.pipe.base.configOverrides import ConfigOverrides
from lsst.pipe.base.pipelineIR import PipelineIR

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "doc").rglob("*.md"))]
PROGRAMS = {"meas-trails": meas_trails, "pipetask": pipetask, "bps": bps, "butler": butler}
FOLDERS = ("bin", "bps", "benchmarks", "pipelines", "config", "doc", "tests")


class ExampleError(Exception):
    """Raised if an example is wrong."""


def examples() -> Iterator[Any]:
    """Yield the commands of all pages."""
    for page in PAGES:
        if "_build" in page.parts:
            continue
        for block in find_blocks(page):
            for number, words in enumerate(block.commands()):
                place = f"{page.relative_to(ROOT)}:{block.line}:{number}"
                yield pytest.param(words, id=f"{place} {' '.join(words[:3])}")


EXAMPLES = list(examples())


def check(words: list[str]) -> None:
    """Raise an error if a command is invalid."""
    check_files(words)
    for name, program in PROGRAMS.items():
        if name in words[:8]:
            # Such as after torchrun.
            arguments = words[words.index(name) + 1 :]
            check_arguments(program, name, arguments)
            if name == "pipetask":
                check_pipeline(arguments)
            return
    if words[0] == "-c":
        check_overrides(values(words, "-c"))
    if words[0] == "python" and words[1].startswith("benchmarks/"):
        source = (ROOT / words[1]).read_text()
        # Benchmarks share some options.
        shared = (ROOT / f"benchmarks/{name}.py" for name in re.findall(r"(?m)^from (\w+) import", source))
        source += "".join(path.read_text() for path in shared if path.exists())
        for option in (word for word in words[2:] if word.startswith("--")):
            if f'"{option}"' not in source:
                raise ExampleError(f"{words[1]} has no option {option}.")


def check_files(words: list[str]) -> None:
    """Raise an error if a file of the checkout does not exist."""
    for word in words:
        name = word.replace("$MEAS_TRAILS_DIR/", "").replace("eups://meas_trails/", "").partition("#")[0]
        of_checkout = word != name or name.partition("/")[0] in FOLDERS
        if of_checkout and "/" in name and re.fullmatch(r"[\w./-]+", name) and not (ROOT / name).exists():
            raise ExampleError(f"File {name} does not exist.")


def check_arguments(program: click.Command, name: str, words: list[str]) -> None:
    """Raise an error if a program does not accept these arguments."""
    command, context = program, click.Context(program, info_name=name)
    while isinstance(command, click.Group):
        _, words, _ = command.make_parser(context).parse_args(list(words))
        if not words:
            return
        found = command.get_command(context, words[0])
        if found is None:
            raise ExampleError(f"{context.command_path} has no command {words[0]!r}.")
        command, context = found, click.Context(found, info_name=words[0], parent=context)
        words = words[1:]
    given, left, _ = command.make_parser(context).parse_args(list(words))
    if left:
        raise ExampleError(f"{context.command_path} takes no more arguments: {left}.")
    for parameter in command.params:
        value = given.get(parameter.name)
        empty = not isinstance(value, bool | str | int | float | tuple | list) or value in ((), [])
        if parameter.required and empty and "-h" not in words and "--help" not in words:
            raise ExampleError(f"{context.command_path} needs {parameter.human_readable_name}.")
        kinds = click.Choice | click.IntRange | click.FloatRange | click.types.IntParamType
        if not empty and isinstance(parameter.type, kinds) and "$" not in str(value):
            parameter.type_cast_value(context, value)


def check_pipeline(words: list[str]) -> None:
    """Raise an error if a pipeline does not exist or refuses its configuration."""
    for name in values(words, "-p", "--pipeline"):
        uri = re.sub(r"^(\$MEAS_TRAILS_DIR|eups://meas_trails)/", f"{ROOT}/", name)
        uri = uri if uri.startswith("/") else f"{ROOT}/{uri}"
        pipeline = Pipeline.from_uri(uri)
        parameters = PipelineIR.from_uri(uri.partition("#")[0]).parameters.mapping
        for label, key, value in map(override, values(words, "-c", "--config")):
            if label == "parameters":
                if key not in parameters:
                    raise ExampleError(f"{name} has no parameter {key}.")
            else:
                pipeline.addConfigOverride(label, key, value)
        pipeline.to_graph()


def check_overrides(texts: list[str]) -> None:
    """Raise an error if a task refuses the overrides of a line, applied together."""
    configs = {task._DefaultName: task.ConfigClass() for task in all_tasks()}
    changed = set()
    for label, key, value in map(override, texts):
        if label == "parameters":
            names = [PipelineIR.from_uri(str(path)).parameters.mapping for path in pipeline_files()]
            if not any(key in mapping for mapping in names):
                raise ExampleError(f"No pipeline has a parameter {key}.")
            continue
        if label not in configs:
            raise ExampleError(f"There is no task {label}.")
        overrides = ConfigOverrides()
        overrides.addValueOverride(key, value)
        overrides.applyTo(configs[label])
        changed.add(label)
    for label in changed:
        configs[label].validate()


def pipeline_files() -> list[Path]:
    return sorted((ROOT / "pipelines").glob("*.yaml"))


def override(text: str) -> tuple[str, str, str]:
    found = re.fullmatch(r"(\w+):([\w.]+)=(.*)", text)
    if found is None:
        raise ExampleError(f"{text!r} is not LABEL:FIELD=VALUE.")
    return found[1], found[2], found[3]


def values(words: list[str], *options: str) -> list[str]:
    """Return the values of an option."""
    return [words[i + 1] for i, word in enumerate(words) if word in options]


def test_there_are_examples() -> None:
    assert len(EXAMPLES) > 60


@pytest.mark.parametrize("words", EXAMPLES)
def test_example_would_be_understood(words: list[str]) -> None:
    check(words)


@pytest.mark.parametrize(
    "line",
    [
        "meas-trails candidate repo collection",
        "meas-trails candidates repo",
        "meas-trails candidates repo collection another",
        "meas-trails simulate repo --visit 2",
        "meas-trails simulate repo --visits two",
        "meas-trails simulate repo --band q",
        "torchrun --nproc-per-node 4 --no-python meas-trails train output --configs x.yaml",
        "pipetask run -b repo -p pipelines/DetectTrail.yaml -i input -o out",
        "pipetask run -b repo -p pipelines/DetectTrails.yaml#nothing -i input -o out",
        "pipetask run -b repo -p pipelines/DetectTrails.yaml -i input -o out -c trailSegmentation:modell=x",
        "pipetask run -b repo -p pipelines/DetectTrails.yaml -i input -o out -c trailSegmentation:window=0",
        "pipetask run -b repo -p pipelines/DetectTrails.yaml -i input -o out -c parameters:image=x",
        "pipetask run -b repo -p pipelines/DetectTrails.yaml -i input -o out -c injectTrails:number=3",
        "pipetask run -b repo -p pipelines/DetectTrails.yaml --inputs input -o out",
        "bps submit bps/nothing.yaml",
        "butler query-dataset repo",
        "-c injectTrails:minLengths=3",
        "-c injectTrails:minLength=30 -c injectTrails:maxLength=20",
        "python benchmarks/detection.py --scene 100",
        "bin/run_demos.sh",
    ],
)
def test_example_that_is_wrong_is_found(line: str) -> None:
    (words,) = command_lines(line)
    with pytest.raises((ExampleError, click.UsageError, LookupError, ValueError, AttributeError)):
        check(words)


def test_blocks_of_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Title\n\n```bash\none  # a comment\ntwo \\\n    more && three\n```\n\n"
        "% not followed: needs a telescope\n```bash\nfour <<'END'\nmeas-trails nonsense\nEND\n```\n\n"
        "    -c five ...\n\n```text\nnone\n```\n\n```bash\nsix\n```\n"
    )
    blocks = find_blocks(page)
    assert [block.reason for block in blocks] == ["", "needs a telescope", "", ""]
    assert [block.fenced for block in blocks] == [True, True, False, True]
    assert [list(block.commands()) for block in blocks] == [
        [["one"], ["two", "more"], ["three"]],
        [["four"]],
        [["-c", "five"]],
        [["six"]],
    ]
    assert blocks[0].line == 4
