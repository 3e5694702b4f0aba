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

import numpy as np
import pytest
from click.testing import CliRunner

from lsst.daf.butler import Butler
from lsst.images import DifferenceImage, VisitImage
from lsst.meas.trails.cli import main
from lsst.pipe.base import Pipeline


def invoke(*args: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["simulate", *map(str, args)])
    # Unexpected exceptions fail.
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


def test_makes_a_repository(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    options = ("--visits", 2, "--size", 64, 96, "--seed", 4, "--trails", 2, "--band", "i")
    code, output = invoke(repo, *options)
    assert code == 0
    assert "preliminary_visit_image, simulated_trail_catalog" in output
    butler = Butler.from_config(repo, collections="input")
    refs = butler.query_datasets("preliminary_visit_image")
    assert len(refs) == 2
    for ref in refs:
        assert str(ref.dataId["visit"]) in output
        assert ref.dataId["band"] == "i"
        assert butler.get(ref).image.array.shape == (64, 96)

    # The second run is refused with a remedy.
    code, output = invoke(repo, *options)
    assert code == 1
    assert "Error: Run 'input'" in output
    assert "--run" in output
    assert "--seed" in output
    code, _ = invoke(repo, *options, "--run", "second")
    assert code == 0


def test_wide_sky_and_bright_trails(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    options = ("--size", 256, 256, "--trails", 8, "--sky", "wide", "--snr", 200, 900, "--snr-index", -1)
    code, _ = invoke(repo, *options, "--seed", 5)
    assert code == 0
    butler = Butler.from_config(repo, collections="input")
    (ref,) = butler.query_datasets("simulated_trail_catalog")
    truth = butler.get(ref)
    bright = truth["snr_optimal"][(truth["source_type"] == "Trail") & (truth["visible_fraction"] > 0.9)]
    assert len(bright) > 2
    assert np.all((bright > 150.0) & (bright < 950.0))
    assert '"sky": "wide"' in truth["source_type"].description


def test_repeated_field(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    options = ("--size", 64, 96, "--seed", 4, "--trails", 30, "--repeat", 2, "--cadence", 1)
    code, output = invoke(repo, *options)
    assert code == 0
    assert "Put 2 each" in output
    butler = Butler.from_config(repo, collections="input")
    first, second = (butler.get(ref) for ref in butler.query_datasets("simulated_trail_catalog"))
    assert set(first["designation"]) & set(second["designation"]) - {""}
    code, output = invoke(repo, "--size", 64, 96, "--seed", 5, "--repeat", 3, "--cadence", 0.1)
    assert code == 1
    assert "0.65" in output


def test_templates(tmp_path: Path) -> None:
    options = ("--size", 96, 128, "--seed", 4, "--trails", 2)
    code, output = invoke(tmp_path / "repo", *options, "--template")
    assert code == 0
    assert "template_detector" in output
    butler = Butler.from_config(tmp_path / "repo", collections="input")
    (ref,) = butler.query_datasets("preliminary_visit_image")
    image, template = butler.get(ref), butler.get("template_detector", ref.dataId)
    assert template.bbox == image.bbox
    no_data = template.mask.get("NO_DATA")
    np.testing.assert_array_equal(np.isnan(template.image.array), no_data)
    # Image and template show the same sky.
    good = ~no_data & np.isfinite(image.image.array)
    assert np.corrcoef(image.image.array[good], template.image.array[good])[0, 1] > 0.5
    assert np.nanmedian(template.variance.array) < 0.7**2 * np.nanmedian(image.variance.array)
    # The image does not depend on the template.
    code, _ = invoke(tmp_path / "other", *options)
    assert code == 0
    alone = Butler.from_config(tmp_path / "other", collections="input").get(ref.datasetType.name, ref.dataId)
    np.testing.assert_array_equal(alone.image.array, image.image.array)


def test_difference_images(tmp_path: Path) -> None:
    code, output = invoke(tmp_path / "repo", "--size", 96, 128, "--seed", 4, "--trails", 2, "--difference")
    assert code == 0
    assert "difference_image" in output
    butler = Butler.from_config(tmp_path / "repo", collections="input")
    # The stack's storage class, although pipelines ask for any visit image.
    dataset_type = butler.get_dataset_type("difference_image")
    assert dataset_type.storageClass_name == "DifferenceImage"
    (ref,) = butler.query_datasets("difference_image")
    assert isinstance(butler.get(ref), DifferenceImage)
    assert isinstance(butler.get(ref, storageClass="VisitImage"), VisitImage)
    assert not butler.query_datasets("template_detector", explain=False)


def test_pipelines_run_in_a_new_repository(tmp_path: Path) -> None:
    """Without `--register-dataset-types`."""
    code, _ = invoke(tmp_path / "repo", "--size", 64, 64, "--seed", 4)
    assert code == 0
    butler = Butler.from_config(tmp_path / "repo", writeable=True)
    pipelines = sorted((Path(__file__).parents[2] / "pipelines").glob("*.yaml"))
    assert len(pipelines) >= 6
    for path in pipelines:
        graph = Pipeline.from_uri(str(path)).to_graph(registry=butler.registry)
        graph.check_dataset_type_registrations(butler)
    # Existing repositories get no additional dataset types.
    butler.registry.removeDatasetType("trail_mask")
    code, _ = invoke(tmp_path / "repo", "--size", 64, 64, "--seed", 5)
    assert code == 0
    assert not list(Butler.from_config(tmp_path / "repo").registry.queryDatasetTypes("trail_mask"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--size", 3, 3), "64<=x<=20000"),
        (("--visits", 0), "'--visits'"),
        (("--detectors", 500), "between 1 and 189"),
        (("--band", "v"), "'v' is not one of"),
        (("--seed", -1), "'--seed'"),
        (("--reference-image", "/nowhere.fits"), "/nowhere.fits"),
        (("--reference-image", __file__), "test_simulate.py"),
    ],
)
def test_bad_options(tmp_path: Path, options: tuple[object, ...], message: str) -> None:
    code, output = invoke(tmp_path / "repo", *options)
    assert code in (1, 2)
    assert message in output
    assert not (tmp_path / "repo").exists()


def test_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    code, output = invoke(tmp_path, "--size", 64, 64)
    assert code == 1
    assert str(tmp_path) in output.replace(" ", "")
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]
