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
import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner

from lsst.daf.butler import Butler
from lsst.meas.trails.cli import main
from lsst.meas.trails.cli.adapt import _model_name
from lsst.meas.trails.nn.model_file import load_model, shipped_model_path
from lsst.meas.trails.repository.butler import open_or_create
from lsst.meas.trails.survey import adapt as survey_adapt
from lsst.meas.trails.survey import page
from lsst.meas.trails.survey.adapt import Adaptation, AdaptOptions

from support.fits_files import tan_header


def invoke(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["adapt", *map(str, arguments)])
    # Unexpected exceptions fail.
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


def write_stars(path: Path, visit: int) -> Path:
    """Write a FITS image of stars with a WCS."""
    rng = np.random.default_rng(visit)
    pixels = rng.normal(100.0, 10.0, (192, 192)).astype(np.float32)
    y, x = np.indices(pixels.shape)
    for row, column in (
        20.0 + 38.0 * np.stack(np.divmod(np.arange(25), 5), axis=1) + rng.uniform(-3, 3, (25, 2))
    ):
        pixels += 3000.0 * np.exp(-0.5 * ((y - row) ** 2 + (x - column) ** 2) / 1.8**2).astype(np.float32)
    cards = {"EXPNUM": visit, "CRVAL1": 150.0 + visit, "DATE-OBS": "2024-11-09T05:00:00", "EXPTIME": 30.0}
    fits.PrimaryHDU(pixels, tan_header(**cards, FILTER="r", GAIN=2.0)).writeto(path)
    return path


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Return the arguments of adaptations, which end at once with the shipped model."""
    made: list[tuple[Any, ...]] = []

    def adapt_model(*arguments: Any) -> Adaptation:
        made.append(arguments)
        path = shipped_model_path("direct")
        plan: Any = None
        return Adaptation(path, load_model(path).specification, plan, {})

    table = astropy.table.Table({"model": ["after"], **{name: [1.5] for name in list(page.COLUMNS)[1:]}})
    monkeypatch.setattr(survey_adapt, "adapt_model", adapt_model)
    monkeypatch.setattr(page, "write_page", lambda result, folder: folder / "report.html")
    monkeypatch.setattr(page, "before_and_after", lambda result: table)
    return made


def test_options_and_the_model_in_its_run(calls: list[tuple[Any, ...]], tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    open_or_create(str(repo))
    use = (repo, "input", "--run", "models/mine", "--output", tmp_path / "out")
    code, output = invoke(*use, "--minutes", 3, "--template", "none", "--where", "visit > 3")
    assert code == 0, output
    assert "models/mine" in output
    assert "1.5" in output
    ((*where, options),) = calls
    assert where == [str(repo), "input", "mine", tmp_path / "out"]
    assert options == AdaptOptions(template_type=None, where="visit > 3", minutes=3.0)
    butler = Butler.from_config(repo, collections="models/mine")
    assert len(butler.query_datasets("trail_model")) == 1
    # Half an hour is not lost to a name that is taken.
    code, output = invoke(*use)
    assert code == 1
    assert "choose another --run" in output
    assert len(calls) == 1
    assert invoke(repo, "input", "--run", "other", "--dataset-type", "difference_image")[0] == 0
    assert calls[1][-1].dataset_type == "difference_image"


def test_files(calls: list[tuple[Any, ...]], tmp_path: Path) -> None:
    paths = [write_stars(tmp_path / f"{visit}.fits", visit) for visit in (11, 12)]
    use = ("--fits", *paths, "--run", "models/mine", "--output", tmp_path / "out")
    for run in range(2):
        # The second time, the images are in the repository.
        code, output = invoke(*use, "--run", f"models/{run}")
        assert code == 0, output
    repo = str(tmp_path / "out" / "repo")
    assert [call[:3] for call in calls] == [(repo, "input", "0"), (repo, "input", "1")]
    butler = Butler.from_config(repo, collections="input")
    assert len(butler.query_datasets("preliminary_visit_image")) == 2


def test_too_few_files(tmp_path: Path) -> None:
    path = write_stars(tmp_path / "one.fits", 11)
    code, output = invoke("--fits", path, "--run", "models/mine", "--output", tmp_path / "out")
    assert code == 1
    assert "There are 1 visits" in output
    assert "add 3" in output


def test_messages(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    open_or_create(str(repo))
    broken = tmp_path / "broken.fits"
    broken.write_bytes(b"SIMPLE  =                    T" + bytes(999))
    for arguments, code, message in (
        ((repo,), 2, "REPO and COLLECTION"),
        ((repo, "input", "more"), 2, "REPO and COLLECTION"),
        ((tmp_path / "nothing", "input"), 1, "no Butler repository"),
        ((repo, "nothing"), 1, "'nothing'"),
        ((repo, "input", "--model", "nothing"), 1, "'nothing'"),
        ((repo, "input", "--minutes", "0"), 2, "--minutes"),
        (("--fits", tmp_path / "missing.fits"), 2, "missing.fits"),
        (("--fits", broken), 1, "broken.fits"),
        ((repo, "input", "--run", "a,b"), 1, "'a,b'"),
    ):
        result = invoke(
            *arguments, *([] if "--run" in arguments else ["--run", "models/mine"]), "-o", tmp_path / "o"
        )
        assert result[0] == code, result
        assert message in result[1]
    assert not (tmp_path / "o" / "repo").exists()


@pytest.mark.parametrize(
    ("run", "name"),
    [("models/mine", "mine"), ("u/me/a b/", "a_b"), ("...", "adapted"), ("x/.hidden", "hidden")],
)
def test_name_of_the_model(run: str, name: str) -> None:
    assert _model_name(run) == name
