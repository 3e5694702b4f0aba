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

import pytest
from click.testing import CliRunner

from lsst.daf.butler import Butler
from lsst.meas.trails.cli import main
from lsst.meas.trails.nn.model_file import load_model, shipped_model_path
from lsst.meas.trails.nn.model_table import model_from_table

from support.fits_files import write_noise


def invoke(*args: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    # Errors are messages, not tracebacks.
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository of three visits."""
    path = tmp_path_factory.mktemp("calibrate") / "repo"
    code, output = invoke("simulate", path, "--visits", 3, "--size", 800, 800, "--trails", 2, "--seed", 3)
    assert code == 0, output
    return path


def test_a_calibrated_model_is_found_by_pipelines(repo: Path, tmp_path: Path) -> None:
    options = ("--precision", 1.0, "--trails", 400, "--processes", 1)
    output = tmp_path / "mine.json"
    code, text = invoke("calibrate", repo, "input", *options, "--run", "models/mine", "-o", output)
    assert code == 0, text
    assert "on 3 images of 3 visits" in text
    assert "before" in text
    assert "after" in text
    assert "Put direct" in text
    model, shipped = load_model(output), load_model(shipped_model_path("direct"))
    specification = model.specification
    assert specification.weights_sha256 == shipped.specification.weights_sha256
    assert specification.weights_file == "mine.safetensors"
    assert specification.score["intercept"] != shipped.specification.score["intercept"]
    calibration = specification.training["calibration"]
    assert isinstance(calibration, dict)
    assert calibration["collection"] == "input"
    assert len(calibration["images"]) == 3
    butler = Butler.from_config(repo, collections="models/mine")
    assert model_from_table(butler.get("trail_model"), "model").checksum == model.checksum
    # Before the work, not after it.
    code, text = invoke("calibrate", repo, "input", *options, "--run", "models/mine")
    assert code == 1
    assert "choose another --run" in text
    code, text = invoke("calibrate", repo, "input", *options, "-o", output)
    assert code == 1
    assert "--overwrite" in text


def test_bad_use(repo: Path, tmp_path: Path) -> None:
    image = write_noise(tmp_path / "a.fits", EXPNUM=11)
    damaged = tmp_path / "b.fits"
    damaged.write_bytes(b"nothing")
    for arguments, message in (
        ((repo,), "REPO and COLLECTION"),
        ((repo, "input"), "images of 1.9 megapixels"),
        ((repo, "input", "--where", "visit = 1"), "visit = 1"),
        ((repo, "input", "--where", "visit >"), "Cannot query"),
        ((repo, "nothing"), "'nothing'"),
        ((tmp_path / "none", "input"), "There is no Butler repository"),
        ((repo, "input", "--dataset-type", "visit_image"), "--dataset-type"),
        ((repo, "input", "--run", "a,b"), "'a,b'"),
        ((repo, "input", "-o", "mine.txt"), "--output"),
        ((repo, "input", "--model", "nothing"), "'nothing'"),
        (("--fits", image, "--run", "models/mine"), "--run"),
        (("--fits", image), "one visit"),
        (("--fits", tmp_path / "c.fits"), "c.fits"),
        (("--fits", damaged), "b.fits"),
    ):
        code, output = invoke("calibrate", *arguments)
        assert code in (1, 2), output
        assert message in output
