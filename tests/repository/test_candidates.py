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

from typing import Any

import pytest

from lsst.meas.trails.repository.candidates import detector_results
from lsst.meas.trails.repository.visit_record import RepositoryError


def test_results_with_truth(chain: Any) -> None:
    results = list(detector_results(str(chain.repo), chain.detected))
    assert [result.data_id["detector"] for result in results] == [0, 1]
    for result in results:
        assert result.image_type == "preliminary_visit_image"
        assert result.truth is not None
        assert result.n_pixels == 256 * 320
        assert result.label == f"visit {chain.visit}, detector {result.data_id['detector']}"
        assert 0.0 < result.default_min_score < 1.0
        # The model of the candidates is in the metadata.
        assert result.candidates.meta["trailModel"]["name"] == "direct"


def test_results_of_injected_images(chain: Any) -> None:
    (result,) = detector_results(str(chain.repo), chain.injected)
    assert result.image_type == "injected_preliminary_visit_image"
    injected = chain.butler(chain.training).get("injected_preliminary_visit_image_catalog", chain.data_id(1))
    assert result.truth is not None
    assert len(result.truth) == len(injected) + 2


def test_other_detector(chain: Any) -> None:
    (result,) = detector_results(str(chain.repo), chain.detected, detector=1, with_truth=False)
    assert result.truth is None
    with pytest.raises(RepositoryError, match="detector = 9"):
        list(detector_results(str(chain.repo), chain.detected, detector=9))
