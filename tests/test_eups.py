# This file is part of meas_trails.
#
# Developed for the LSST Data Management System.
# This product includes software developed by the LSST Project
# (https://www.lsst.org).
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# This program is free software: you can redistribute it and/or modify
# it under the terms of the GNU General Public License as published by
# the Free Software Foundation, either version 3 of the License, or
# (at your option) any later version.
#
# This program is distributed in the hope that it will be useful,
# but WITHOUT ANY WARRANTY; without even the implied warranty of
# MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
# GNU General Public License for more details.
#
# You should have received a copy of the GNU General Public License
# along with this program.  If not, see <https://www.gnu.org/licenses/>.

"""The EUPS table against what is imported."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def table(kind: str) -> set[str]:
    """Return the products that the table names, required or optional."""
    text = (ROOT / "ups" / "meas_trails.table").read_text()
    return set(re.findall(rf"^setup{kind}\((\w+)\)", text, flags=re.MULTILINE))


def products(path: Path) -> set[str]:
    """Return the EUPS products that a module imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module]
        for name in names:
            parts = name.split(".")
            if parts[0] == "astro_metadata_translator":
                found.add(parts[0])
            elif parts[0] == "lsst" and parts[:3] != ["lsst", "meas", "trails"]:
                two = parts[1] in ("ctrl", "daf", "meas", "pex", "pipe", "source")
                found.add("_".join(parts[1:3] if two else parts[1:2]))
    return found


def test_table_names_every_package_that_is_imported() -> None:
    imported = set().union(*map(products, (ROOT / "python").rglob("*.py")))
    optional = table("Optional")
    assert imported <= table("Required") | optional
    # pipetask is run, not imported; base is the environment.
    assert table("Required") == imported - optional | {"base", "ctrl_mpexec"}
    assert {"afw", "ctrl_bps", "ctrl_bps_parsl", "meas_extensions_piff", "source_injection"} <= optional
