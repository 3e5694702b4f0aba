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

"""``meas-trails evaluate``, on what the pipeline wrote."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import astropy.table
import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure

from lsst.daf.butler import Butler, CollectionType
from lsst.meas.trails.cli import main
from lsst.meas.trails.repository.butler import Dataset, put_datasets
from lsst.pipe.base import Pipeline
from lsst.pipe.base.simple_pipeline_executor import SimplePipelineExecutor

from support.afw import exposure_repository

PIPELINES = Path(__file__).parents[2] / "pipelines"
EVALUATED = "trails/evaluated"


def invoke(*args: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["evaluate", *map(str, args)])
    # A traceback is not a message.
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


@pytest.fixture(scope="module")
def repo(chain: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository in which the candidates of `chain` were evaluated.

    ``trails/other`` leads to the same.
    """
    folder = tmp_path_factory.mktemp("evaluate") / "repo"
    shutil.copytree(chain.repo, folder)
    pipeline = Pipeline.from_uri(f"{PIPELINES / 'EvaluateSimulatedTrails.yaml'}#matchAndSummarize")
    butler = SimplePipelineExecutor.prep_butler(str(folder), [chain.detected, "input"], EVALUATED)
    SimplePipelineExecutor.from_pipeline(
        pipeline, butler=butler, where="instrument = 'TrailSimCam' AND detector IN (0, 1)"
    ).run(register_dataset_types=True)
    writeable = Butler.from_config(folder, writeable=True)
    writeable.collections.register("trails/other", CollectionType.CHAINED)
    writeable.collections.redefine_chain("trails/other", [EVALUATED])
    return folder


@pytest.fixture(scope="module")
def report(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a report."""
    folder = tmp_path_factory.mktemp("report") / "report"
    code, output = invoke(repo, EVALUATED, "-o", folder, "--against", "trails/other", "--cutouts", 2)
    assert code == 0, output
    assert output.endswith("report.html")
    return folder


def test_the_summary_is_printed(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, output = invoke(repo, EVALUATED)
    assert code == 0
    assert EVALUATED in output
    assert "trails found" in output
    assert "SNR" in output
    assert list(tmp_path.iterdir()) == []


def test_exposures(
    make_image: Callable[..., Any],
    make_exposure: Callable[..., Any],
    bright_trails: Any,
    tmp_path: Path,
) -> None:
    """Report and picture of a repository whose images are exposures of afw."""
    known = make_image(bright_trails, stars=20)
    repo = tmp_path / "repo"
    butler = exposure_repository(repo, make_exposure(known.image), known.image.bbox.shape)
    (ref,) = butler.query_datasets("preliminary_visit_image")
    put_datasets(
        butler,
        "input",
        dict(ref.dataId.required),
        [Dataset("simulated_trail_catalog", "ArrowAstropy", known.truth)],
    )
    SimplePipelineExecutor.from_pipeline(
        Pipeline.from_uri(PIPELINES / "EvaluateSimulatedTrails.yaml"),
        butler=SimplePipelineExecutor.prep_butler(str(repo), ["input"], EVALUATED),
    ).run(register_dataset_types=True)
    code, output = invoke(repo, EVALUATED, "-o", tmp_path / "report", "--cutouts", 2)
    assert code == 0, output
    text = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "Missing pictures" not in text
    assert text.count("Image, probability and lines") >= 2
    result = CliRunner().invoke(main, ["vet", str(repo), EVALUATED, "-o", str(tmp_path / "vet.html")])
    assert result.exit_code == 0, result.output
    for options in ((), ("--cutouts", 2)):
        result = CliRunner().invoke(
            main, ["show", str(repo), EVALUATED, "-o", str(tmp_path / "picture.png"), *map(str, options)]
        )
        assert result.exit_code == 0, result.output
    assert (tmp_path / "picture.png").stat().st_size > 10_000


def test_against_has_a_column_for_each(repo: Path) -> None:
    code, output = invoke(repo, EVALUATED, "--against", "trails/other")
    assert code == 0
    assert "trails/other" in output


def test_the_report_has_it_all(repo: Path, report: Path) -> None:
    text = (report / "report.html").read_text(encoding="utf-8")
    butler = Butler.from_config(repo, collections=EVALUATED)
    for words in (
        "Completeness and false candidates",
        "Completeness",
        "Fitted parameters",
        "Asteroid_detection_CNN metrics",
        "Comparison with other collections",
        "Best finds",
        "Misses",
        "False detections",
        "Configuration of matchTrails",
        "Configuration of trailSegmentation",
        "daf_butler",
        str(next(iter(butler.query_dimension_records("visit"))).id),
    ):
        assert words in text, words
    candidates = butler.get(
        "trail_candidate_detector",
        butler.query_datasets("trail_candidate_detector")[0].dataId,
        parameters={"strip_astropy_meta_yaml": False},
    )
    assert candidates.meta["trailModel"]["sha256"] in text
    figures = {path.stem for path in (report / "figures").glob("*.png")}
    assert {"trail_froc", "trail_completeness", "against_froc", "against_completeness"} <= figures
    assert figures == {path.stem for path in (report / "figures").glob("*.pdf")}
    written = astropy.table.Table.read(report / "tables" / "trail_metrics.ecsv")
    metrics = butler.get("trail_metrics", instrument="TrailSimCam")
    assert written.colnames == metrics.colnames
    np.testing.assert_array_equal(written["value"], metrics["value"])


def test_the_gallery_shows_what_was_found_and_missed(repo: Path, report: Path) -> None:
    """The gallery has two pictures of each kind, if there are as many."""
    text = (report / "report.html").read_text(encoding="utf-8")
    gallery = text[text.index("<h3>Best finds") : text.index("Provenance</h2>")]
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", gallery)
    finds = re.findall(r"<figcaption>", gallery[: gallery.index("<h3>Misses")])
    assert len(finds) == 2
    assert all("True: SNR" in caption and "Fitted: score" in caption for caption in captions[:2])
    # The faintest that was found comes first.
    snr = [float(re.search(r"True: SNR ([0-9.]+)", caption)[1]) for caption in captions[:2]]  # type: ignore[index]
    assert snr == sorted(snr)


@pytest.mark.process
@pytest.mark.parametrize("width", [360, 1280])
def test_the_report_in_a_browser(browser: Any, report: Path, width: int) -> None:
    look = browser.look(report / "report.html", width)
    assert look.errors == look.failures == look.requests == []
    found = look.found
    assert found["images"] >= 10
    assert found["broken_images"] == found["without_alt"] == found["dead_links"] == found["scripts"] == 0
    assert found["too_wide"] == []
    assert found["scroll_width"] <= found["width"] == width
    assert found["least_contrast"] >= 4.5
    assert max(found["image_widths"]) <= width
    assert "Gallery" in found["headings"]


def test_pictures_that_cannot_be_drawn_are_named(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run alone has neither images nor candidates; the numbers are there."""

    def save(figure: Figure, output: Any, **how: Any) -> None:
        if isinstance(output, Path):
            output.write_bytes(b"drawn")
        else:
            output.write(b"drawn")

    # What the figures look like is another test's matter.
    monkeypatch.setattr(Figure, "savefig", save)
    (run,) = Butler.from_config(repo).collections.query(f"{EVALUATED}/*")
    code, output = invoke(repo, run, "-o", tmp_path / "report")
    assert code == 0, output
    text = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "Missing pictures" in text
    assert "trail_froc" in {path.stem for path in (tmp_path / "report" / "figures").iterdir()}


def test_what_cannot_be_evaluated(repo: Path, chain: Any, tmp_path: Path) -> None:
    for arguments, message in (
        ((tmp_path, "anything"), "There is no Butler repository at"),
        ((repo, "anything"), "'anything'"),
        ((repo, chain.detected), "no trail_metrics"),
        ((repo, EVALUATED, "--against", chain.detected), "no trail_metrics"),
        ((repo, EVALUATED, "--against", EVALUATED), "--against"),
        ((repo, EVALUATED, "--instrument", "LSSTCam"), "LSSTCam"),
        ((repo, EVALUATED, "-o", repo), "has other files"),
    ):
        code, output = invoke(*arguments)
        assert code in (1, 2)
        assert message in output
    assert list(tmp_path.iterdir()) == []


def test_help() -> None:
    code, output = invoke("--help")
    assert code == 0
    for words in ("--against", "--cutouts", "EvaluateTrails.yaml", "Examples:", "source_detector"):
        assert words in output
