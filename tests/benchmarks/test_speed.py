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

"""Tests of the speed benchmark."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from processes import ADCNN, BEFORE, HERE, NOW, STEPS, TASKS, Usage

import speed

OPTIONS = speed.Options(
    model="direct",
    precision="auto",
    config=("trailCandidate:minScore=0.5",),
    threads=1,
    trails=120,
    adcnn_side=128,
    seed=1,
)


def test_images_of_all_sizes_have_the_same_density() -> None:
    assert OPTIONS.trails_in((4004, 4096)) == 120
    assert OPTIONS.trails_in((2002, 2048)) == 30
    assert OPTIONS.trails_in((256, 256)) == 1


def test_configuration_is_that_of_this_checkout() -> None:
    assert "trailCandidate:minScore=0.5" in OPTIONS.overrides(NOW)
    before = OPTIONS.overrides(BEFORE)
    assert "trailCandidate:minScore=0.5" not in before
    assert "trailSegmentation:model=direct" in before


def used(cpu: float, wall: float) -> Usage:
    return Usage(
        cpu, wall, 2**30, steps={"fits": (0.5 * cpu, 0.5 * wall), "score": (0.25 * cpu, 0.25 * wall)}
    )


def test_report_compares_checkouts(capsys: pytest.CaptureFixture[str]) -> None:
    results = {
        BEFORE: {name: [used(20.0, 40.0)] for name in (speed.APART, speed.TOGETHER, "network, old")},
        NOW: {
            name: [used(9.0, 8.0), used(10.0, 10.0)]
            for name in (speed.APART, speed.TOGETHER, "network, new", ADCNN)
        },
    }
    speed.report((256, 256), results, {BEFORE: 6, NOW: 5}, markdown=True)
    text = capsys.readouterr().out
    assert "256x256 pixels, 6 before and 5 now candidates" in text
    both = "20.0 | 9.5 (9.0-10.0) | 0.47 | 40.0 | 9.0 (8.0-10.0) | 0.23"
    assert f"| {speed.APART} | {both} | 1.00 | 1.00 (1.00-1.00) |" in text
    assert "| network, old | 20.0 | - | - | 40.0 | - | - | 1.00 | - |" in text
    assert f"| total | {both} |" in text
    assert "| components, fits, score | 15.0 | 7.1 (6.8-7.5) | 0.47 |" in text
    assert all(f"| {step} |" in text for step in STEPS)
    # A checkout alone has no ratio.
    speed.report((256, 256), {NOW: results[NOW]}, {NOW: 5}, markdown=True)
    assert "ratio" not in capsys.readouterr().out


def test_growth(capsys: pytest.CaptureFixture[str]) -> None:
    measured = {
        (1000, 1000): {NOW: {ADCNN: [used(1.0, 1.0)]}},
        (2000, 1000): {NOW: {ADCNN: [used(2.0, 2.0)]}},
    }
    speed.report_growth(measured, markdown=True)
    assert f"| {ADCNN} | 1.0 core-s, 1.00 GiB | 2.0 core-s, 1.00 GiB |" in capsys.readouterr().out
    records = speed.flat(measured)
    assert [record["size"] for record in records] == [(1000, 1000), (2000, 1000)]
    assert json.loads(json.dumps(records))[0]["steps"]["fits"] == [0.5, 0.5]


@pytest.mark.process
def test_small_detector(tmp_path: Path) -> None:
    output = tmp_path / "speed.json"
    done = HERE.run(
        sys.executable, speed.__file__, "--size", 256, 256, "--trails", 3000, "--runs", 1,
        "--adcnn-side", 128, "--threads", 1, "--markdown", "--output", output,
    )  # fmt: skip
    assert "0 now candidates" not in done.output
    records = {record["what"]: record for record in json.loads(output.read_text())}
    assert {*TASKS, speed.APART, speed.TOGETHER, ADCNN, speed.SEP} < set(records)
    for name in (*TASKS, speed.APART, speed.TOGETHER):
        steps = records[name]["steps"]
        assert sum(cpu for cpu, _ in steps.values()) == pytest.approx(records[name]["cpu"])
        assert sum(wall for _, wall in steps.values()) == pytest.approx(records[name]["wall"])
    # Each task has the steps of its own.
    assert all(records[TASKS[0]]["steps"][name][0] > 0.0 for name in ("start", "read", "network", "write"))
    assert all(records[TASKS[1]]["steps"][name][0] > 0.0 for name in ("start", "read", "fits", "score"))
    assert "fits" not in records[TASKS[0]]["steps"]
    assert "network" not in records[TASKS[1]]["steps"]
