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

"""Tests of the layering: rooms import downward only, without circles."""

from __future__ import annotations

import ast
import dataclasses
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "lsst.meas.trails"
ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "python" / "lsst" / "meas" / "trails"

LEVELS = (
    ("core",),
    ("nn", "repository", "evaluation"),
    ("sim", "ingest"),
    ("training", "adcnn"),
    ("tasks",),
    ("survey",),
    ("cli",),
)
"""Rooms, lowest level first. A room imports from itself and from lower levels."""

BELOW = {
    room: {lower for level in LEVELS[:i] for lower in level}
    for i, rooms in enumerate(LEVELS)
    for room in rooms
}
"""Other rooms that each room may import from."""

STACKLESS = {"core", "nn"}
"""Rooms that import only this package from ``lsst``."""

TORCH = {"nn", "training", "adcnn"}
"""Rooms that may import torch."""

COMMON = {"", "__version__", "resources", "version"}
"""Names that every room may import: the package, its version and its data."""

ROOMLESS = {"formatters", "instruments"}
"""Modules outside the rooms, whose import paths Butler repositories record."""


@dataclasses.dataclass(frozen=True)
class Import:
    """Absolute name of one import of a module."""

    path: Path
    line: int
    name: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}: {self.name}"


def is_within(name: str, package: str) -> bool:
    """Return whether a dotted name is a package or a name within it."""
    return name == package or name.startswith(package + ".")


def room_of(path: Path) -> str:
    """Return the room of a module, "" for a module outside the rooms."""
    parts = path.relative_to(SOURCE).parts
    return parts[0] if len(parts) > 1 else ""


def imports_in(path: Path, text: str | None = None) -> Iterator[Import]:
    """Yield every import of a module, including imports inside functions."""
    tree = ast.parse(path.read_text() if text is None else text, filename=str(path))
    package = ["lsst", "meas", "trails", *path.relative_to(SOURCE).parts[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(path, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = [] if node.level == 0 else package[: len(package) - node.level + 1]
            if node.module:
                base = [*base, node.module]
            for alias in node.names:
                # The name may be a module.
                yield Import(path, node.lineno, ".".join([*base, alias.name]))


def sources() -> list[Path]:
    """Return the modules of the package, without the generated version and resources."""
    skipped = {SOURCE / "version.py"}
    found = [
        path for path in sorted(SOURCE.rglob("*.py")) if path not in skipped and room_of(path) != "resources"
    ]
    assert len(found) > len(BELOW), f"{SOURCE} does not contain the package"
    return found


def calls_in(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of every call in a module."""
    for node in ast.walk(ast.parse(path.read_text(), filename=str(path))):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)


def breaches(path: Path, text: str | None = None) -> list[str]:
    """Return the imports of a module that the layering forbids."""
    room = room_of(path)
    found = []
    for item in imports_in(path, text):
        name = item.name
        if is_within(name, PACKAGE):
            target = name[len(PACKAGE) :].strip(".").split(".")[0]
            if room in BELOW and target not in {room, *BELOW[room], *COMMON}:
                found.append(str(item))
        elif is_within(name, "lsst"):
            if room in STACKLESS:
                found.append(str(item))
        elif is_within(name, "torch") and room not in TORCH:
            found.append(str(item))
    return found


def test_every_room_is_known() -> None:
    rooms = {room_of(path) for path in sources()}
    assert rooms - {""} <= set(BELOW), "add the new room to LEVELS"
    names = {path.stem for path in sources() if room_of(path) == ""} - {"__init__"}
    assert names <= ROOMLESS, "move the module into a room"


def test_imports_are_downward() -> None:
    assert [line for path in sources() for line in breaches(path)] == []


@pytest.mark.parametrize(
    ("room", "statement", "allowed"),
    [
        ("core", "import numpy", True),
        ("core", "from .psf import PsfGrid", True),
        ("core", "import torch", False),
        ("core", "def f():\n    import torch.nn.functional as functional", False),
        ("core", "from ..nn import networks", False),
        ("core", "from .. import nn", False),
        ("core", "from .. import __version__", True),
        ("core", "from ..formatters import TrailTilesFormatter", False),
        ("core", "import lsst.utils", False),
        ("core", "from lsst.meas.trails.core import psf", True),
        ("nn", "from ..core.psf import PsfGrid", True),
        ("nn", "import torch", True),
        ("nn", "from ..sim import scene", False),
        ("nn", "from lsst.geom import Point2D", False),
        ("sim", "from ..ingest import image", False),
        ("sim", "from ..repository.butler import make_repository", True),
        ("sim", "import torch", False),
        ("training", "from ..sim.scene import Scene", True),
        ("training", "import torch", True),
        ("training", "from ..adcnn import files", False),
        ("evaluation", "from lsst.meas.trails.sim import scene", False),
        ("evaluation", "from ..nn.predict import predict_probability", False),
        ("tasks", "from ..cli import main", False),
        ("tasks", "def f():\n    import torch", False),
        ("tasks", "def f():\n    from ..nn import predict", True),
        ("cli", "def f():\n    from ..tasks import trail_candidate", True),
    ],
)
def test_breaches_are_found(room: str, statement: str, allowed: bool) -> None:
    # The module does not exist: only the statement counts.
    assert (breaches(SOURCE / room / "module.py", statement) == []) is allowed


def module_name(path: Path) -> str:
    """Return the dotted name of a module, relative to the package."""
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


def dependencies() -> dict[str, set[str]]:
    """Return the modules that each module imports, including imports inside functions."""
    paths = {module_name(path): path for path in sources()}
    found: dict[str, set[str]] = {}
    for module, path in paths.items():
        names = [item.name[len(PACKAGE) + 1 :] for item in imports_in(path) if is_within(item.name, PACKAGE)]
        parents = {name: name.rpartition(".")[0] for name in names}
        used = {name if name in paths else parents[name] for name in names}
        found[module] = (used & set(paths)) - {module, "__init__"}
    return found


def test_no_import_circles() -> None:
    # Imports inside functions and for type checking count too.
    order = graphlib.TopologicalSorter(dependencies())
    assert len(list(order.static_order())) >= len(dependencies())


def test_no_circles_of_folders() -> None:
    folders: dict[str, set[str]] = {}
    for module, used in dependencies().items():
        folder = module.rpartition(".")[0]
        others = {name.rpartition(".")[0] for name in used}
        folders.setdefault(folder, set()).update(others - {folder})
    graphlib.TopologicalSorter(folders).prepare()


def test_one_module_names_afw() -> None:
    allowed = SOURCE / "tasks" / "_afw.py"
    found = [
        str(item)
        for path in sources()
        if path != allowed
        for item in imports_in(path)
        if is_within(item.name, "lsst.afw")
    ]
    # importlib and lsst.utils.doImport import names in strings.
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and path != allowed:
                if is_within(node.value, "lsst.afw"):
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {node.value}")
    assert found == []


def test_nothing_executes_what_it_reads() -> None:
    executing = {"eval", "exec", "builtins.eval", "builtins.exec", "compile", "__import__"}
    unpickling = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    found = []
    for path in sources():
        found += [str(item) for item in imports_in(path) if item.name.split(".")[0] in unpickling]
        found += [
            f"{path.relative_to(ROOT)}:{line}: {name}()"
            for line, name in calls_in(path)
            if name in executing or name.split(".")[0] in unpickling
        ]
        # numpy unpickles object arrays only with allow_pickle.
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                if not (isinstance(node.value, ast.Constant) and node.value.value is False):
                    found.append(f"{path.relative_to(ROOT)}:{node.value.lineno}: allow_pickle")
    assert found == []


def test_checkpoints_are_loaded_only_as_weights() -> None:
    adcnn = SOURCE / "adcnn" / "checkpoints.py"
    found = []
    for path in sources():
        for item in imports_in(path):
            if item.name in ("torch.load", "torch.serialization.load"):
                found.append(f"{item} hides the call from this test")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "torch.load",
                "torch.serialization.load",
            ):
                safe = any(
                    keyword.arg == "weights_only"
                    and isinstance(keyword.value, ast.Constant)
                    and keyword.value.value is True
                    for keyword in node.keywords
                )
                if path != adcnn or not safe:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}")
    assert found == []


def loaded_by(statement: str) -> set[str]:
    """Return the modules that a new interpreter has loaded after a statement."""
    code = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.process
def test_tasks_leave_torch_out() -> None:
    modules = sorted(path.stem for path in (SOURCE / "tasks").glob("*.py") if path.stem != "__init__")
    names = [f"{PACKAGE}.tasks", *(f"{PACKAGE}.tasks.{name}" for name in modules)]
    loaded = loaded_by("import " + ", ".join(names))
    assert set(names) <= loaded
    assert "torch" not in loaded


@pytest.mark.process
@pytest.mark.parametrize("task", ["TrailSegmentation", "TrailCandidate", "AssociateTrails"])
def test_a_task_imports_its_own_libraries_only(task: str) -> None:
    # Each quantum of a detector starts a process.
    loaded = loaded_by(f"from {PACKAGE}.tasks import {task}Task")
    slow = {"galsim", "h5py", "matplotlib", "pandas", "piff", "scipy.signal", "scipy.stats", "torch"}
    assert f"{PACKAGE}.tasks._input_image" in loaded
    assert not slow & loaded
    others = {"inject_trails", "link_trails", "match_trails", "summarize_trails", "tile_to_hdf5"}
    assert not {f"{PACKAGE}.tasks.{name}" for name in others} & loaded


@pytest.mark.process
def test_core_needs_no_stack_and_no_torch() -> None:
    modules = [module_name(path) for path in sources() if room_of(path) == "core"]
    loaded = loaded_by("import " + ", ".join(f"{PACKAGE}.{name}" for name in modules))
    unwanted = {
        name
        for name in loaded
        if is_within(name, "torch")
        or (is_within(name, "lsst") and not is_within(name, PACKAGE) and name not in ("lsst", "lsst.meas"))
    }
    assert unwanted == set()
