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

"""The architecture page and CONTRIBUTING.md name existing code, and their recipes work."""

from __future__ import annotations

import ast
import io
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
import torch
import trails_rooms
import yaml
from trails_rooms import SOURCE, Rooms, draw_rooms, read_rooms, room_lines

from lsst.meas.trails import cli
from lsst.meas.trails.core import normalize, planes
from lsst.meas.trails.core.injection.population import BRIGHTNESS_MODES
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.nn.networks import registry
from lsst.meas.trails.nn.networks.network import TrailNetwork
from lsst.meas.trails.tasks import InjectTrailsTask

ROOT = Path(__file__).parents[2]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


def defined_in(path: Path) -> set[str]:
    """Return the names that a module defines, those of classes with a dot."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        names = [getattr(node, "name", None)]
        if isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
        elif isinstance(node, ast.ClassDef):
            names += [f"{node.name}.{item.name}" for item in node.body if isinstance(item, ast.FunctionDef)]
        found.update(name for name in names if name)
    return found


def architecture_rows() -> Iterator[tuple[str, list[str]]]:
    """Yield file and names of each row of the tables of the architecture page."""
    for line in (ROOT / "doc" / "architecture.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and len(cells) == 3 and cells[1].startswith("`"):
            yield cells[1].strip("`"), re.findall(r"`([^`]+)`", cells[2])


def test_architecture_names_existing_code() -> None:
    rows = list(architecture_rows())
    assert len(rows) > 60
    assert [name for name, _ in rows if not (SOURCE / name).is_file()] == []
    missing = {name: set(defined) - defined_in(SOURCE / name) for name, defined in rows}
    assert {name: left for name, left in missing.items() if left} == {}


@pytest.mark.parametrize("section", CONTRIBUTING.split("\n## "), ids=lambda text: text.partition("\n")[0])
def test_contributing_names_existing_code(section: str) -> None:
    folders = "python|doc|tests|bin|benchmarks|pipelines|config|\\.ci|\\.github"
    names = re.findall(rf"[`(]((?:{folders})/[\w./-]+)[`)#]", section)
    assert [name for name in names if not (ROOT / name).exists()] == []
    if section.startswith("Add "):
        code = "\n".join((ROOT / name).read_text() for name in names if name.endswith(".py"))
        code += "\n".join(path.read_text() for path in (SOURCE / "cli").glob("*.py"))
        for word in re.findall(r"`@?([A-Za-z]\w+)`", section):
            assert word in code, word


def test_there_is_a_paragraph_for_each_addition() -> None:
    titles = re.findall(r"^## Add an? (.+)$", CONTRIBUTING, re.MULTILINE)
    assert titles == [
        "network",
        "mask plane",
        "pixel plane",
        "input channel",
        "catalog column",
        "command",
        "brightness mode",
    ]


class OnePixel(TrailNetwork):
    def __init__(self, plan: registry.NetworkPlan) -> None:
        super().__init__(plan)
        self.layer = torch.nn.Conv2d(plan.in_channels, 1, 1)


def test_a_registered_network_can_be_created(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))

    @registry.register("one_pixel")
    class OnePixelPlan(registry.NetworkPlan):
        network = f"{__name__}:OnePixel"
        stride = output_stride = 1
        receptive_radius = 0

        def __init__(self, in_channels: int, *, width: int = 3) -> None:
            self.in_channels = in_channels

    assert registry.create_network("one_pixel", in_channels=2).layer.in_channels == 2
    plan = registry.create_plan("one_pixel", in_channels=2)
    assert plan.weight_shapes() == {"layer.weight": (1, 2, 1, 1), "layer.bias": (1,)}
    with pytest.raises(ValueError, match="'depth'.*width"):
        registry.create_plan("one_pixel", in_channels=2, depth=1)


def test_an_appended_mask_plane_has_the_next_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planes, "MASK_PLANES", (*planes.MASK_PLANES, "GHOST"))
    assert planes.plane_bits(["GHOST"]) == 1 << (len(planes.MASK_PLANES) - 1)


def test_an_added_input_channel_reaches_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(normalize.CHANNELS, "variance", lambda sky: sky.planes.variance)
    kernel = np.zeros((5, 5))
    kernel[2, 2] = 1.0
    ones = np.ones((4, 6), dtype=np.float32)
    image = planes.ImagePlanes(ones, 3.0 * ones, np.zeros((4, 6), np.uint32), PsfGrid.constant(kernel))
    made = normalize.network_input(image, 0.0 * ones, ["science", "variance"])
    np.testing.assert_array_equal(made[1], 3.0)


def test_an_added_command_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "say_hello.py").write_text(
        "import click\n\n@click.command()\ndef say_hello() -> None:\n    click.echo('hello')\n"
    )
    monkeypatch.setattr(cli, "__path__", [*cli.__path__, str(tmp_path)])
    context = click.Context(cli.main)
    assert "say-hello" in cli.main.list_commands(context)
    assert cli.main.get_command(context, "say-hello") is not None


def test_brightness_modes_are_offered_by_the_task() -> None:
    allowed = InjectTrailsTask.ConfigClass.brightnessMode.allowed
    assert set(BRIGHTNESS_MODES) <= set(allowed)


@pytest.fixture(scope="module")
def rooms() -> Rooms:
    """Return the rooms of the package."""
    return read_rooms()


def test_arrows_imply_all_imports(rooms: Rooms) -> None:
    arrows = rooms.drawn()
    reached = {room: {lower for upper, lower in arrows if upper == room} for room in rooms.imports}
    for level in rooms.levels:
        for room in level:
            reached[room] |= {name for lower in reached[room] for name in reached[lower]}
            assert rooms.imports[room] <= reached[room]
    assert ("training", "nn") in arrows
    assert ("cli", "core") not in arrows


def test_straight_arrows_pass_no_room(rooms: Rooms) -> None:
    """A new import may need another place of its rooms, or a gap in `_VIA`."""
    level_of = {room: i for i, level in enumerate(rooms.levels) for room in level}
    for upper, lower in set(rooms.drawn()) - set(trails_rooms._VIA):
        ends = [trails_rooms._anchor(upper, lower), trails_rooms._anchor(lower, upper)]
        for room, (center, width) in trails_rooms._PLACES.items():
            if level_of[lower] < level_of[room] < level_of[upper]:
                low, high = center - width / 2, center + width / 2
                assert max(ends) < low or min(ends) > high, (upper, lower, room)


def test_list_of_the_rooms(rooms: Rooms) -> None:
    lines = room_lines(rooms)
    assert any(line.startswith("  - core/fit/: ") for line in lines)
    for room, imports in rooms.imports.items():
        (line,) = (line for line in lines if line.startswith(f"- **{room}/** "))
        assert set(re.findall(r"`(\w+)`", line.rpartition("Imports")[2])) == imports


def test_picture_is_the_same_each_time(rooms: Rooms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("matplotlib").rcParams, "svg.hashsalt", "rooms")
    pictures = []
    for _ in range(2):
        buffer = io.BytesIO()
        draw_rooms(rooms).savefig(buffer, format="svg", metadata={"Date": None})
        pictures.append(buffer.getvalue())
    assert pictures[0] == pictures[1]


def test_metadata_of_the_project_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert citation["license"] == project["license"]
    assert [author["name"] for author in citation["authors"]] == [item["name"] for item in project["authors"]]


def test_manifest_names_folders_of_pages() -> None:
    manifest = yaml.safe_load((ROOT / "doc" / "manifest.yaml").read_text())
    assert manifest["modules"] == ["lsst.meas.trails"]
    for module in manifest["modules"]:
        assert (ROOT / "doc" / module / "index.rst").is_file()


def test_workflow_runs_the_checks_of_this_checkout() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yaml").read_text())
    steps = workflow["jobs"]["ci"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]
    assert {"python-version": "3.13"}.items() <= steps[1]["with"].items()
