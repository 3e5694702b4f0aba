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

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsst.daf.butler import Butler
from lsst.meas.trails.core.catalog.labels import LABEL_COLUMNS, LabelError
from lsst.meas.trails.repository import labels as labels_module
from lsst.meas.trails.repository.butler import Dataset, put_datasets
from lsst.meas.trails.repository.candidates import detector_results
from lsst.meas.trails.repository.labels import collect_labels, read_labels
from lsst.meas.trails.repository.visit_record import RepositoryError

type Write = Callable[..., Path]


@pytest.fixture
def write(chain: Any, tmp_path: Path) -> Write:
    """Return a function that writes a file of labels of the candidates of some detectors."""

    def write_file(name: str, label: str = "trail,", detectors: tuple[int, ...] = (0, 1)) -> Path:
        rows = ["trailCandidateId,visit,detector,label,kind,labeler,time"]
        for result in detector_results(str(chain.repo), chain.detected, with_truth=False):
            if result.data_id["detector"] in detectors:
                rows += [
                    f"{row['trailCandidateId']},{row['visit']},{row['detector']},{label},me,2026-11-27T14:00:00Z"
                    for row in result.candidates
                ]
        path = tmp_path / name
        path.write_text("\n".join(rows))
        return path

    return write_file


def read(chain: Any, *runs: str) -> Any:
    return read_labels(Butler.from_config(chain.repo, collections=list(runs)))


def test_labels_are_put_by_detector(chain: Any, write: Write) -> None:
    files = [write("a.csv", detectors=(0,)), write("b.csv", "artifact,spike", detectors=(1,))]
    labels = collect_labels(str(chain.repo), chain.detected, files, "labels/by-detector")
    found = read(chain, "labels/by-detector")
    assert found.colnames == [*LABEL_COLUMNS, "instrument"]
    assert sorted(found["trailCandidateId"]) == sorted(labels["trailCandidateId"])
    assert set(found["instrument"]) == {"TrailSimCam"}
    assert set(found["label"][found["detector"] == 0]) == {"trail"}
    assert set(found["kind"][found["detector"] == 1]) == {"spike"}
    butler = Butler.from_config(chain.repo, collections="labels/by-detector")
    catalog = chain.butler(chain.detected).get("trail_candidate_detector", chain.data_id(1))
    one = butler.get("trail_label", chain.data_id(1))
    np.testing.assert_array_equal(one["x0"], catalog["x0"])
    np.testing.assert_array_equal(one["score"], catalog["score"])


def test_labels_are_replaced_only_on_request(
    chain: Any, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, repo = "labels/replaced", str(chain.repo)
    collect_labels(repo, chain.detected, [write("a.csv", "unsure,")], run)
    later = [write("b.csv", "trail,")]
    with pytest.raises(RepositoryError, match="--overwrite"):
        collect_labels(repo, chain.detected, later, run)
    assert set(read(chain, run)["label"]) == {"unsure"}

    put = labels_module.put_datasets

    def fail(butler: Butler, run: str, data_id: dict[str, Any], datasets: list[Any]) -> list[Any]:
        if data_id["detector"] == 1 and "trail" in datasets[0].content["label"]:
            raise RepositoryError("the disk is full")
        return put(butler, run, data_id, datasets)

    # A failure in the middle leaves the earlier labels.
    with monkeypatch.context() as context:
        context.setattr(labels_module, "put_datasets", fail)
        with pytest.raises(RepositoryError, match="the disk is full"):
            collect_labels(repo, chain.detected, later, run, overwrite=True)
    assert set(read(chain, run)["label"]) == {"unsure"}
    collect_labels(repo, chain.detected, later, run, overwrite=True)
    assert set(read(chain, run)["label"]) == {"trail"}


def test_nothing_is_written_after_an_invalid_row(chain: Any, write: Write) -> None:
    run, repo = "labels/invalid", str(chain.repo)
    good, bad = write("a.csv", detectors=(0,)), write("b.csv", "comet,", detectors=(1,))
    with pytest.raises(LabelError, match=rf"{re.escape(str(bad))}, row 1: .*comet"):
        collect_labels(repo, chain.detected, [good, bad], run)
    bad.write_text(bad.read_text().splitlines()[0])
    with pytest.raises(RepositoryError, match=re.escape(str(bad))):
        collect_labels(repo, chain.detected, [bad], run)
    text = good.read_text().replace(f",{chain.visit},", ",123,")
    bad.write_text(text)
    with pytest.raises(RepositoryError, match="123"):
        collect_labels(repo, chain.detected, [bad], run)
    assert run not in chain.butler(chain.detected).collections.query("*")


def test_a_repository_without_labels(chain: Any) -> None:
    labels = read(chain, chain.detected)
    assert len(labels) == 0
    assert labels.colnames == [*LABEL_COLUMNS, "instrument"]


def test_known_objects_are_labels(chain: Any, write: Write) -> None:
    """A person decides if there is a label, too."""
    table = chain.butler(chain.detected).get("trail_candidate_detector", chain.data_id(1))
    assert len(table) >= 2
    table["designation"] = np.full(len(table), "2026 AB1")
    table["matchProbability"] = np.ones(len(table))
    run, repo = "labels/known", str(chain.repo)
    with Butler.from_config(chain.repo, writeable=True) as butler:
        put_datasets(
            butler,
            run,
            chain.data_id(1),
            [Dataset("trail_candidate_associated_detector", "ArrowAstropy", table)],
        )
    known = read(chain, run)
    assert known["trailCandidateId"].tolist() == table["trailCandidateId"].tolist()
    assert set(known["labeler"]) == {"known object 2026 AB1"}
    assert len(read_labels(Butler.from_config(chain.repo, collections=run), known_objects=False)) == 0
    path = write("a.csv", "artifact,spike", detectors=(1,))
    path.write_text("\n".join(path.read_text().splitlines()[:2]))
    collect_labels(repo, chain.detected, [path], run)
    both = read(chain, run)
    assert len(both) == len(table)
    assert np.count_nonzero(both["label"] == "artifact") == 1
