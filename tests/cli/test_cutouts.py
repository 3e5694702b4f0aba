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

from pathlib import Path
from typing import Any

import astropy.table
import matplotlib.image
import numpy as np
from astropy.io import fits
from click.testing import CliRunner

from lsst.meas.trails.cli import main


def invoke(*args: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["cutouts", *(str(arg) for arg in args)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


def test_cutouts(chain: Any, tmp_path: Path) -> None:
    output = tmp_path / "cutouts"
    code, message = invoke(
        chain.repo, chain.detected, "-o", output, "--streaks", "--detector", 1, "--limit", 1
    )
    assert code == 0, message
    catalog = chain.butler(chain.detected).get("trail_candidate_detector", chain.data_id(1))
    assert f"1 of {len(catalog)} candidates cut into" in message
    table = astropy.table.Table.read(output / "candidates.ecsv")
    assert table["score"].tolist() == sorted(catalog["score"].tolist(), reverse=True)[:1]
    probability = chain.butler(chain.detected).get("trail_probability", chain.data_id(1)).array
    for row in table:
        with fits.open(output / row["cutout"]) as hdus:
            assert hdus[0].header["CANDID"] == row["trailCandidateId"]
            # The pixels around the midpoint, which is on the image.
            x, y = round(float(row["x"])), round(float(row["y"]))
            middle = hdus["PROBABILITY"].data.shape[0] // 2
            assert hdus["PROBABILITY"].data[middle, middle] == np.float32(probability[y, x])
    assert matplotlib.image.imread(output / "contact_sheet.png").shape[0] > 100
    # The same command replaces its own folder.
    code, message = invoke(
        chain.repo, chain.detected, "-o", output, "--detector", 1, "--limit", 1, "--side", 31
    )
    assert code == 0, message
    assert len(list(output.rglob("*.fits"))) == 1


def test_errors_are_messages(chain: Any, tmp_path: Path) -> None:
    for options, expected, message in (
        (("--where", "snr >"), 2, "--where"),
        (("--sort", "scores"), 2, "did you mean score?"),
        (("--min-score", 1.0), 1, "No candidate"),
        (("--detector", 9), 1, "detector = 9"),
        (("--side", 0), 2, "--side"),
    ):
        code, output = invoke(chain.repo, chain.detected, "-o", tmp_path / "cutouts", *options)
        assert code == expected, output
        assert message in output
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    code, output = invoke(chain.repo, chain.detected, "-o", tmp_path / "mine")
    assert code == 1
    assert "mine exists" in output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]
