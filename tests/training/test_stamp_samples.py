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

from lsst.meas.trails.core.candidates.stamps import STAMP_CHANNELS
from lsst.meas.trails.nn.model_file import load_model, shipped_model_path
from lsst.meas.trails.training.scenes import TrainingScenes
from lsst.meas.trails.training.stamp_samples import StampSamples, simulate_stamp_file

SCENES = TrainingScenes(
    seed=5, count=1, shape=(384, 384), trails=6, snr=(15.0, 30.0), sky="narrow", template=True
)


def test_a_scene_is_searched_with_its_template_and_without(tmp_path: Path) -> None:
    for name in ("difference", "template"):
        model = load_model(shipped_model_path(name))
        simulate_stamp_file(model, SCENES, 0, (0.1, 0.2), tmp_path / name)
    direct, both = (StampSamples.read([tmp_path / name]) for name in ("difference", "template"))
    assert direct.is_true.any()
    assert both.is_true.sum() > direct.is_true.sum()
    assert np.all(np.isfinite(both.stamps.astype(np.float32)))
    assert np.all(np.isfinite(both.numbers))
    missing = both.stamps[:, STAMP_CHANNELS.index("template_missing")].astype(np.float32).mean(axis=(1, 2))
    assert np.any(missing == 1.0)
    assert np.any(missing < 0.5)
    joined = StampSamples.read([tmp_path / "difference", tmp_path / "template"])
    assert len(joined.is_true) == len(direct.is_true) + len(both.is_true)
    # The trail of a true candidate lies in the middle of its stamp.
    trail = both.stamps[both.is_true][:, STAMP_CHANNELS.index("trail")].astype(np.float32)
    assert np.all(trail[:, 15:17, 31:33].max(axis=(1, 2)) > 0.5 * trail.max(axis=(1, 2)))


def test_a_scene_without_candidates(tmp_path: Path) -> None:
    model = load_model(shipped_model_path())
    scenes = SCENES.replace(shape=(64, 64), trails=0.0, template=False)
    simulate_stamp_file(model, scenes, 0, (0.99, 0.999), tmp_path / "none")
    assert StampSamples.read([tmp_path / "none"]).stamps.shape[0] == 0
