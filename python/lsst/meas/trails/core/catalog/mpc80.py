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

"""Conversion of ADES observations to the 80-column format of 1992 of the Minor Planet Center."""

from __future__ import annotations

__all__ = ("mpc80_lines",)

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path


def mpc80_lines(psv: str) -> str:
    """Convert observations to 80 columns with the converters of the IAU.

    Parameters
    ----------
    psv
        Output of `~lsst.meas.trails.core.catalog.ades.ades_psv`.

    Returns
    -------
    text
        Header and one line of 80 columns an observation. Errors, seeing and all notes but the first are lost.

    Raises
    ------
    ValueError
        Raised if the converters are not installed or fail.
    """
    if importlib.util.find_spec("ades") is None:
        raise ValueError("The 80-column format needs the package iau-ades; install it with pip.")
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("report.psv", "report.xml", "report.txt")]
        paths[0].write_text(psv, encoding="utf-8")
        for module, source, result in zip(
            ("ades.psvtoxml", "ades.xmltompc80col"), paths[:-1], paths[1:], strict=True
        ):
            command = [sys.executable, "-m", module, str(source), str(result)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0 or not result.exists():
                message = (done.stderr or done.stdout).strip().splitlines()[-1:]
                raise ValueError(f"{module} cannot convert the observations: {' '.join(message)}")
        return paths[-1].read_text(encoding="utf-8")
