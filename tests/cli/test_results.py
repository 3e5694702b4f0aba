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

"""The commands that read the outputs of the pipelines: candidates, compare and show."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import astropy.table
import matplotlib.image
import numpy as np
import pytest
from click.testing import CliRunner
from regions import Regions

from lsst.daf.butler import Butler, CollectionType
from lsst.meas.trails.cli import main
from lsst.meas.trails.core.catalog.columns import CANDIDATE_COLUMNS


def invoke(*args: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    # Errors are messages, not tracebacks.
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


def test_compare(chain: Any) -> None:
    code, output = invoke("compare", chain.repo, chain.detected, "--min-score", 0.0, "--detector", 1)
    assert code == 0
    assert f"Visit {chain.visit}, detector 1" in output
    assert "Candidates with a score of at least 0.000, in 1 detectors (0.1 Mpix)" in output
    assert "found 2 of 2 trails" in output
    assert "found 2 of 2 trails with SNR > 15 and length > 20 pixels (100%)" in output
    assert "per detector of 16.4 Mpix" in output


def test_compare_in_brief(chain: Any) -> None:
    code, output = invoke("compare", chain.repo, chain.detected, "--brief")
    assert code == 0
    assert "in 2 detectors" in output
    assert "of 8 trails" in output
    assert "offset" not in output


def test_compare_with_injected_trails(chain: Any) -> None:
    """The truth of an injected image has the injected and the simulated trails."""
    injected = chain.butler(chain.training).get("injected_preliminary_visit_image_catalog", chain.data_id(1))
    code, output = invoke("compare", chain.repo, chain.injected, "--brief")
    assert code == 0
    assert f"of {len(injected) + 2} trails" in output
    # A chain with the injected catalogs does not change the truth of the
    # original images.
    butler = Butler.from_config(chain.repo, writeable=True)
    butler.collections.register("both", CollectionType.CHAINED)
    butler.collections.redefine_chain("both", [chain.detected, chain.training])
    code, output = invoke("compare", chain.repo, "both", "--brief", "--detector", 1)
    assert code == 0
    assert "of 2 trails" in output


def test_compare_without_truth(chain: Any) -> None:
    (run,) = chain.butler(chain.detected).collections.query(f"{chain.detected}/*")
    code, output = invoke("compare", chain.repo, run)
    assert code == 1
    assert "truth table" in output


def test_candidates(chain: Any) -> None:
    code, output = invoke("candidates", chain.repo, chain.detected, "--detector", 1)
    assert code == 0
    assert str(chain.visit) in output
    assert "deg / d" in output
    number = len(chain.butler(chain.detected).get("trail_candidate_detector", chain.data_id(1)))
    assert f"{number} candidates" in output
    code, output = invoke("candidates", chain.repo, chain.detected, "--min-score", 1.0, "--detector", 1)
    assert code == 0


def exported(chain: Any, path: Path, *options: object) -> astropy.table.Table:
    """Return the exported catalog of some options."""
    code, message = invoke("candidates", chain.repo, chain.detected, "--streaks", "-o", path, *options)
    assert code == 0, message
    return astropy.table.Table.read(path)


def test_candidates_are_selected_sorted_and_limited(chain: Any, tmp_path: Path) -> None:
    everything = exported(chain, tmp_path / "all.ecsv")
    assert len(everything) >= 3
    middle = float(np.sort(everything["snr"])[1])
    chosen = exported(
        chain, tmp_path / "some.ecsv", "--where", f"snr >= {middle} and not (snr > 1e9)", "--sort", "snr",
        "--limit", 2, "--columns", "snr, visit",
    )  # fmt: skip
    assert chosen.colnames == ["snr", "visit"]
    np.testing.assert_array_equal(chosen["snr"], np.sort(everything["snr"])[1:3])
    backwards = exported(chain, tmp_path / "backwards.ecsv", "--sort", "-trailLengthPix")
    np.testing.assert_array_equal(backwards["trailLengthPix"], np.sort(everything["trailLengthPix"])[::-1])


def test_invalid_options(chain: Any) -> None:
    for options, message in (
        (("--where", "snr >"), "--where"),
        (("--where", "Snr > 3"), "did you mean snr?"),
        (("--sort", "scores"), "did you mean score?"),
        (("--columns", "ra,dek"), "did you mean dec?"),
        (("--columns", ","), "--columns"),
        (("--format", "parquet"), "-o"),
        (("--format", "ades", "--columns", "ra"), "--columns"),
        (("--format", "ds9", "--columns", "ra"), "--columns"),
        # X05 is assumed for LSSTCam only.
        (("--format", "ades"), "--station"),
        (("--format", "heliolinx"), "--station"),
        (("--format", "ades", "--station", "W84"), "--telescope DESIGN APERTURE DETECTOR"),
        (("--format", "ades", "--station", "X05", "--star-catalog", "Gaia DR3"), "Gaia DR3"),
        (("--format", "ades", "--station", "X05", "--band", "q"), "'q'"),
    ):
        code, output = invoke("candidates", chain.repo, chain.detected, *options)
        assert code == 2, output
        assert message in output


def test_columns_on_the_screen(chain: Any) -> None:
    code, output = invoke(
        "candidates", chain.repo, chain.detected, "--columns", "band,trail_flag_edge", "--limit", 1
    )
    assert code == 0
    assert "trail_flag_edge" in output
    assert "trailMag" not in output
    assert "the first 1 are shown" in output


@pytest.mark.parametrize("file_format", ["ecsv", "csv", "votable", "ades", "heliolinx", "ds9"])
def test_formats_on_the_screen_are_those_of_files(chain: Any, tmp_path: Path, file_format: str) -> None:
    path = tmp_path / "candidates.txt"
    common = ["candidates", str(chain.repo), chain.detected, "--format", file_format, "--station", "X05"]
    screen = CliRunner().invoke(main, common)
    assert screen.exit_code == 0
    assert CliRunner().invoke(main, [*common, "-o", str(path)]).exit_code == 0
    assert screen.output == path.read_text(encoding="utf-8")


def test_ades(chain: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.psv"
    options = (
        "--detector", 1, "--submitter", "A. Tester", "--star-catalog", "Gaia3",
        "--station", "W84", "--telescope", "reflector", 4.0, "CCD", "--telescope-name", "Blanco",
    )  # fmt: skip
    code, message = invoke("candidates", chain.repo, chain.detected, "-o", path, *options)
    assert code == 0
    parameters = {"strip_astropy_meta_yaml": False}
    table = chain.butler(chain.detected).get(
        "trail_candidate_detector", chain.data_id(1), parameters=parameters
    )
    assert f"{len(table)} candidates written to" in message
    lines = path.read_text(encoding="utf-8").splitlines()
    assert "! name A. Tester" in lines
    assert "! name Blanco" in lines
    assert not any("Simonyi" in line or "X05" in line for line in lines)
    rows = [line.split("|") for line in lines if line[0] not in "#!"]
    assert len(rows) == 1 + 2 * len(table)
    place = rows[0].index(next(name for name in rows[0] if name.strip() == "ra"))
    seeing = rows[0].index(next(name for name in rows[0] if name.strip() == "seeing"))
    np.testing.assert_allclose([float(row[seeing]) for row in rows[1:]], table.meta["psfFwhm"], atol=1e-3)
    ends = sorted(float(row[place]) for row in rows[1:])
    np.testing.assert_allclose(ends, sorted([*table["ra0"], *table["ra1"]]), atol=1e-7)
    # A failed export does not change the file.
    code, message = invoke(
        "candidates", chain.repo, chain.detected, "-o", path, *options, "--where", "snr > 1e9"
    )
    assert code == 1
    assert "no candidates" in message
    assert path.read_text(encoding="utf-8").splitlines() == lines
    assert list(tmp_path.iterdir()) == [path]


def test_heliolinx_and_regions(chain: Any, tmp_path: Path) -> None:
    expected = chain.butler(chain.detected).get("trail_candidate", chain.data_id(1))
    for name in ("night.hldet", "night.reg"):
        code, message = invoke(
            "candidates", chain.repo, chain.detected, "--streaks", "--station", "X05", "-o", tmp_path / name
        )
        assert code == 0, message
        assert name in message
    lines = (tmp_path / "night.hldet").read_text().splitlines()
    assert len(lines) == 1 + len(expected)
    assert len(Regions.read(tmp_path / "night.reg", format="ds9")) == len(expected)
    ((mjd, ra, dec, station),) = (line.split() for line in (tmp_path / "night.imgs").read_text().splitlines())
    assert station == "X05"
    assert mjd == lines[1].split(",")[1]
    # The center of the visit is within a degree of its candidates.
    assert abs(float(dec) - expected["dec"][0]) < 1.0
    assert abs(float(ra) - expected["ra"][0]) * np.cos(np.deg2rad(float(dec))) < 1.0


@pytest.mark.parametrize("suffix", [".ecsv", ".csv", ".parquet", ".vot", ".xml"])
def test_export(chain: Any, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"candidates{suffix}"
    code, message = invoke("candidates", chain.repo, chain.detected, "--streaks", "-o", output)
    assert code == 0
    assert "candidates written to" in message
    formats = {".csv": "ascii.csv", ".vot": "votable", ".xml": "votable"}
    with warnings.catch_warnings():
        # A good file can be read without warnings.
        warnings.simplefilter("error")
        table = astropy.table.Table.read(output, format=formats.get(suffix))
    expected = chain.butler(chain.detected).get("trail_candidate", chain.data_id(1))
    assert table.colnames == list(CANDIDATE_COLUMNS)
    assert len(table) == len(expected)
    assert np.all(np.diff(np.asarray(table["score"])) <= 0.0)
    np.testing.assert_array_equal(np.sort(table["trailCandidateId"]), np.sort(expected["trailCandidateId"]))
    if suffix != ".csv":
        for name in ("ra", "trailLength", "trailFlux", "trailRate", "x", "area"):
            assert table[name].unit == CANDIDATE_COLUMNS[name][1]
        assert "mag" in str(table["trailMag"].unit)


def test_export_to_an_unknown_format(chain: Any, tmp_path: Path) -> None:
    code, output = invoke("candidates", chain.repo, chain.detected, "-o", tmp_path / "candidates.doc")
    assert code == 2
    assert ".ecsv" in output
    assert not list(tmp_path.iterdir())


def test_export_to_nowhere(chain: Any, tmp_path: Path) -> None:
    code, output = invoke("candidates", chain.repo, chain.detected, "-o", tmp_path / "no" / "c.ecsv")
    assert code == 1
    assert "c.ecsv" in output


def test_show(chain: Any, tmp_path: Path) -> None:
    output = tmp_path / "picture.png"
    code, message = invoke("show", chain.repo, chain.detected, "--detector", 1, "-o", output)
    assert code == 0
    assert "picture.png" in message
    picture = matplotlib.image.imread(output)
    assert picture.shape[1] > 2 * picture.shape[0] > 600
    # Three panels with something in each of them.
    for panel in np.array_split(picture[..., :3].mean(axis=2), 3, axis=1):
        assert panel.std() > 0.05


def test_show_cutouts(chain: Any, tmp_path: Path) -> None:
    """The best two candidates are shown at full resolution next to the image."""
    plain, mosaic = tmp_path / "plain.svg", tmp_path / "mosaic.svg"
    for output, options in ((plain, ()), (mosaic, ("--cutouts", 2))):
        code, _ = invoke("show", chain.repo, chain.detected, "--detector", 1, "-o", output, *options)
        assert code == 0
    # One image per panel, two per cutout.
    assert plain.read_text().count("<image") in (3, 4)
    assert mosaic.read_text().count("<image") == 5


def test_show_explains_missing_candidates(chain: Any, tmp_path: Path) -> None:
    output = tmp_path / "picture.png"
    code, message = invoke(
        "show", chain.repo, chain.detected, "--detector", 1, "-o", output, "--min-score", 1.0
    )
    assert code == 0
    assert "--min-score" in message


def test_show_the_injected_image(chain: Any, tmp_path: Path) -> None:
    """The default image is the searched image."""
    pictures = []
    for options in ((), ("--image", "preliminary_visit_image")):
        code, _ = invoke("show", chain.repo, chain.injected, "-o", tmp_path / "picture.png", *options)
        assert code == 0
        pictures.append(matplotlib.image.imread(tmp_path / "picture.png"))
    first, second = (picture[:, : picture.shape[1] // 4] for picture in pictures)
    assert np.count_nonzero(np.abs(first - second) > 0.2) > 1000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--visit", 7), "no trail_candidate_detector where visit = 7"),
        (("--image", "visit_image"), "visit_image of visit"),
        (("-o", "picture.doc"), "picture.doc"),
        (("-o", "no/such/folder/picture.png"), "picture.png"),
    ],
)
def test_show_errors(
    chain: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[object, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, output = invoke("show", chain.repo, chain.detected, *options)
    assert code == 1
    assert message in output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["compare", "candidates", "show"])
def test_no_such_repository_or_collection(chain: Any, tmp_path: Path, command: str) -> None:
    code, output = invoke(command, tmp_path, "anything")
    assert code == 1
    assert f"Butler repository at {tmp_path}" in output
    code, output = invoke(command, chain.repo, "anything")
    assert code == 1
    assert "'anything'" in output
    code, output = invoke(command, chain.repo, "input")
    assert code == 1
    assert "pipelines/DetectTrails.yaml" in output
