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

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsst.meas.trails.adcnn.files import AdcnnFileError, AdcnnReader, AdcnnWriter
from lsst.meas.trails.repository.query import query_collection
from lsst.meas.trails.tasks.adcnn_export import export_images, read_injected_image

IMAGE_TYPE = "injected_preliminary_visit_image"


def test_export(chain: Any, tmp_path: Path) -> None:
    butler, refs = query_collection(str(chain.repo), chain.training, IMAGE_TYPE, hint="")
    with AdcnnWriter(tmp_path / "a.h5", tmp_path / "a.csv") as writer:
        counts = export_images(butler, refs, writer, real_labels=False)
    assert (counts.images, counts.failed) == (2, 0)
    image = read_injected_image(butler, refs[1])
    with AdcnnReader(tmp_path / "a.h5", tmp_path / "a.csv") as reader:
        assert len(reader.trails) == counts.trails
        read = reader.read(1)
    assert read is not None
    np.testing.assert_array_equal(read.image, image.image)
    np.testing.assert_array_equal(read.mask, image.mask)


def test_no_usable_image(chain: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The collection ``input`` has no masks of injected trails."""
    _, refs = query_collection(str(chain.repo), chain.training, IMAGE_TYPE, hint="")
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(AdcnnFileError, match="2 images"),
        AdcnnWriter(tmp_path / "a.h5", tmp_path / "a.csv") as writer,
    ):
        export_images(chain.butler("input"), refs, writer)
    assert f"visit {chain.visit}, detector 1" in caplog.text
    assert list(tmp_path.iterdir()) == []
