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

"""Tests of the speed benchmark, whose jobs the scale benchmark runs, too."""

from __future__ import annotations

import dataclasses
import io
import json

import click
import pytest
from rich.console import Console

import speed

JOB = speed.Job(
    what=speed.ADCNN, repo="", shape=(256, 256), model="", threads=1, repeat=1, adcnn_side=128, seed=1
)


def test_sizes() -> None:
    assert speed.parse_size("4000x4072") == (4000, 4072)
    for text in ("4000", "axb", "1x2x3"):
        with pytest.raises(click.BadParameter, match=text):
            speed.parse_size(text)
    with pytest.raises(click.BadParameter, match="255x4000"):
        speed.parse_size("255x4000")


def test_jobs_survive_json() -> None:
    data = json.loads(json.dumps(dataclasses.asdict(JOB)))
    assert speed.Job(**{**data, "shape": tuple(data["shape"])}) == JOB
    assert JOB.what in speed.MEASUREMENTS


def test_time_of_a_part_is_scaled_to_the_image() -> None:
    result = speed.run_adcnn(JOB)
    # Four tiles of 128 pixels.
    assert result.scaled == 4.0
    assert result.seconds > 0.0
    assert result.peak >= result.start > 0


def test_report_has_a_row_for_each_measurement() -> None:
    result = speed.Result(seconds=2.0, start=2**30, peak=2**31, note="noted")
    output = io.StringIO()
    speed.report(Console(file=output, width=140), {(1000, 1000): dict.fromkeys(speed.MEASUREMENTS, result)})
    text = output.getvalue()
    assert all(name in text for name in speed.MEASUREMENTS if name != "simulation")
    assert "2.00 GiB" in text
    assert "1.0 times as fast" in text
