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

import numpy as np
import pytest

import lsst.meas.trails.instruments
from lsst.meas.trails.ingest.instrument import FitsCam
from lsst.meas.trails.repository.camera import CalibratedInstrument, make_detector
from lsst.meas.trails.sim.instrument import TrailSimCam

INSTRUMENTS = (FitsCam, TrailSimCam)


@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_permanent_import_path(instrument: type[CalibratedInstrument]) -> None:
    assert getattr(lsst.meas.trails.instruments, instrument.getName()) is instrument


@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_no_raw_data(instrument: type[CalibratedInstrument]) -> None:
    with pytest.raises(NotImplementedError, match=f"{instrument.getName()}.*ingest-fits"):
        instrument().getRawFormatter({})


@pytest.mark.parametrize("offset", [(0.0, 0.0), (1000.0, -500.0)])
def test_detector_geometry(offset: tuple[float, float]) -> None:
    detector = make_detector(
        FitsCam,
        12,
        3,
        name="CCD003",
        serial="A1",
        physical_type="E2V",
        shape=(101, 201),
        pixel_scale=0.5,
        offset=offset,
    )
    assert (detector.name, detector.id, detector.visit, detector.serial) == ("CCD003", 3, 12, "A1")
    assert not detector.amplifiers
    center = detector.to_field_angle.apply_forward(x=100.0, y=50.0)
    assert np.rad2deg([center.x, center.y]) * 3600.0 == pytest.approx([0.5 * v for v in offset], abs=1e-9)
    right = detector.to_field_angle.apply_forward(x=101.0, y=50.0)
    assert np.rad2deg(right.x - center.x) * 3600.0 == pytest.approx(0.5, rel=1e-9)
    plane = detector.to_focal_plane.apply_forward(x=100.0, y=50.0)
    assert (plane.x, plane.y) == pytest.approx((0.01 * offset[0], 0.01 * offset[1]), abs=1e-12)
