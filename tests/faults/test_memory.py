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

"""Too little memory for the configured window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lsst.daf.butler import Butler
from lsst.meas.trails.nn import predict
from lsst.meas.trails.tasks import TrailSegmentationTask


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        # Errors of torch, on a CPU and on a GPU.
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
        ),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        # Errors of OpenVINO, before and during the computation.
        RuntimeError("Check failed at cpu_memory.cpp:257:\nFailed to allocate 305270784 bytes of memory"),
        RuntimeError("Exception from src/core/src/runtime/allocator.cpp:79:\nstd::bad_alloc"),
    ],
)
def test_the_window_is_named(
    error: Exception, make_image: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = make_image(shape=(64, 64)).image

    def fail(*arguments: Any, **keywords: Any) -> None:
        raise error

    task = TrailSegmentationTask(config=TrailSegmentationTask.ConfigClass())
    with monkeypatch.context() as patch:
        patch.setattr(predict, "predict_probability", fail)
        with pytest.raises(MemoryError, match="2900 pixels"):
            task.run(image=image)
    # With enough memory the same task succeeds.
    assert task.run(image=image).trail_mask.bbox == image.bbox


@pytest.mark.parametrize(
    "message",
    [
        "shapes do not fit",
        "CUDA error: an illegal memory access was encountered",
        "Check failed at src/plugins/intel_cpu/src/cpu_memory.cpp:257",
    ],
)
def test_other_errors_stay_what_they_are(
    message: str, make_image: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **keywords: Any) -> None:
        raise RuntimeError(message)

    monkeypatch.setattr(predict, "predict_probability", fail)
    task = TrailSegmentationTask(config=TrailSegmentationTask.ConfigClass())
    with pytest.raises(RuntimeError, match=message):
        task.run(image=make_image(shape=(64, 64)).image)


@pytest.mark.process
def test_memory_that_ends(faulty: Any, tmp_path: Path) -> None:
    """A limit set by the system causes a genuine error in OpenVINO."""
    repo = tmp_path / "repo"
    faulty.succeed("meas-trails", "simulate", repo, "--size", 1536, 1536, "--detectors", 1)
    pipeline = Path(__file__).parents[2] / "pipelines" / "DetectTrails.yaml"

    def segment(output: str, window: int, engine: str = "torch") -> Any:
        # At this precision torch needs 170 MB for the smaller window below, and
        # 420 MB for the larger one; OpenVINO, whose threads reserve addresses,
        # 520 MB for the larger one.
        return faulty.run(
            "pipetask", "run", "-b", repo, "-p", f"{pipeline}#trailSegmentation", "-i", "input", "-o", output,
            "-c", f"trailSegmentation:window={window}", "-c", "trailSegmentation:precision=float32",
            "-c", f"trailSegmentation:engine={engine}",
            limits={"AS": 220_000_000}, limited_in="lsst.meas.trails.nn.predict:_predict_windows",
        )  # fmt: skip

    def written() -> list[tuple[int, int]]:
        butler = Butler.from_config(repo)
        runs = butler.collections.query("again/*")
        refs = butler.query_datasets("trail_mask", runs, find_first=False, explain=False)
        return [butler.get(ref).bbox.shape for ref in refs]

    for engine in ("openvino", "torch"):
        outcome = segment("again", 2048, engine)
        assert outcome.code == 1
        assert "2048 pixels" in outcome.output
        assert written() == []
    # A smaller window fits into the same limit.
    remedy = segment("again", 256)
    assert remedy.code == 0, remedy.output
    assert written() == [(1536, 1536)]
