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

import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

import astropy.units as u
import numpy as np
import pytest

from lsst.images import VisitImage
from lsst.meas.trails.core.shutter import HEADER_UNCERTAINTY, SHUTTER_UNCERTAINTY
from lsst.meas.trails.repository.camera import CalibratedInstrument, make_detector
from lsst.meas.trails.tasks._exposure_midpoints import ExposureMidpoints, find_midpoints
from lsst.meas.trails.tasks._input_image import read_input_image

SHAPE = (48, 64)

MIDDLE = 61233.982785768545
"""Middle of the exposure at the center of the focal plane in ``lsst.ip.isr``; see core/test_shutter.py."""


def shutter_cards() -> dict[str, str | float]:
    """Return the cards of the public exposure MC_O_20260712_000100, 30 s."""
    cards: dict[str, str | float] = {}
    for name, side, start, *values in (
        ("OPEN", "PLUSX", 61233.982606938574, 0.00069985842267305, 0.22414690417651445, 0.6774714127471099)
        + (33114.422646156854, -32874.88056817381, 34231.98343473398),
        ("CLOSE", "MINUSX", 61233.98295417242, -0.00014469881661490652, 0.22623216336828292)
        + (0.6765958372734683, 32765.82860492451, -33001.13181399254, 33238.74614951254),
    ):
        cards |= {f"SHUTTER {name} MODEL": "ThreeJerksModelv1", f"SHUTTER {name} SIDE": str(side)}
        cards[f"SHUTTER {name} STARTTIME TAI MJD"] = float(start)
        keys = ("MODELSTARTTIME", "PIVOTPOINT1", "PIVOTPOINT2", "JERK0", "JERK1", "JERK2")
        cards |= {
            f"SHUTTER {name} HALLSENSORFIT {key}": float(value)
            for key, value in zip(keys, values, strict=True)
        }
    return cards


class LSSTCam(CalibratedInstrument):
    """Camera with the name and the pixels of LSSTCam."""


class OtherCam(CalibratedInstrument):
    """Another camera."""


@pytest.fixture
def make_camera_image(make_image: Callable[..., Any]) -> Callable[..., VisitImage]:
    """Return a function that makes an image of a camera, a number of pixels above the center of its field."""

    def make(
        instrument: type[CalibratedInstrument] = LSSTCam,
        above: float = 0.0,
        cards: Mapping[str, object] | None = None,
    ) -> VisitImage:
        original = make_image(shape=SHAPE).image
        detector = make_detector(
            instrument, 1, 0, name="R22_S11", serial="1", physical_type="E2V", shape=SHAPE, pixel_scale=0.2,
            offset=(0.0, above),
        )  # fmt: skip
        with original.obs_info.edit_copy() as info:
            info.exposure_time = 30.0 * u.s
        image = VisitImage(
            original.image, mask=original.mask, variance=original.variance, obs_info=info, psf=original.psf,
            detector=detector, band=original.band, sky_projection=original.sky_projection,
        )  # fmt: skip
        image.metadata |= shutter_cards() if cards is None else cards
        return image

    return make


def midpoints_of(image: VisitImage, y: list[float], beam_file: str = "") -> ExposureMidpoints:
    return find_midpoints(read_input_image(image), np.full(len(y), 31.5), np.array(y), beam_file)


def seconds(times: Any) -> list[float]:
    """Return times after the middle of the exposure at the center of the field."""
    return list((np.asarray(times) - MIDDLE) * 86400.0)


def test_cards_of_the_header(make_camera_image: Callable[..., VisitImage]) -> None:
    found = midpoints_of(make_camera_image(), [23.5])
    assert (found.source, found.uncertainty) == ("shutter cards", SHUTTER_UNCERTAINTY)
    assert seconds(found.mjd_tai) == pytest.approx([0.0], abs=1e-3)
    # 21176 pixels of 0.01 mm below the center; see core/test_shutter.py.
    found = midpoints_of(make_camera_image(above=-21176.0), [23.5])
    assert seconds(found.mjd_tai) == pytest.approx([-0.1399], abs=SHUTTER_UNCERTAINTY)


def test_time_at_the_place_of_a_candidate(make_camera_image: Callable[..., VisitImage]) -> None:
    """The slope there is 6.3e-6 s per pixel in the reference results of ``lsst.ip.isr``."""
    first, last = seconds(midpoints_of(make_camera_image(), [-2000.0, 2000.0]).mjd_tai)
    assert (last - first) / 4000.0 == pytest.approx(6.3e-6, rel=0.05)


@pytest.mark.parametrize(
    ("instrument", "above", "cards"),
    [(OtherCam, 0.0, None), (LSSTCam, 0.0, {}), (LSSTCam, 90_000.0, None)],
    ids=["other camera", "no cards", "beyond the focal plane"],
)
def test_times_of_the_visit(
    make_camera_image: Callable[..., VisitImage], instrument: Any, above: float, cards: Any
) -> None:
    image = make_camera_image(instrument, above, cards)
    found = midpoints_of(image, [0.0, 40.0])
    assert (found.source, found.uncertainty) == ("record", HEADER_UNCERTAINTY)
    assert list(found.mjd_tai) == [read_input_image(image).midpoint_mjd_tai] * 2


def test_no_candidates(make_camera_image: Callable[..., VisitImage]) -> None:
    assert midpoints_of(make_camera_image(), []).mjd_tai.shape == (0,)


class StandInTiming:
    """Substitute of `lsst.ip.isr.shutterTiming`, which needs the stack."""

    message = ""

    def __init__(self, metadata: Any, detector: Any, config: Any, time: float) -> None:
        assert metadata["SHUTTER OPEN SIDE"] == "PLUSX"
        assert (detector, config.beamFile) == ("afw detector", "beam.tnt")
        self.time = time

    def tMidMjdTai(self, x: Any, y: Any) -> Any:
        return np.full(len(x), self.time)


@pytest.mark.parametrize(("time", "source"), [(61233.5, "ip_isr"), (float("nan"), "shutter cards")])
def test_times_of_the_stack(
    make_camera_image: Callable[..., VisitImage], monkeypatch: pytest.MonkeyPatch, time: float, source: str
) -> None:
    module: Any = types.ModuleType("lsst.ip.isr.shutterTiming")
    module.ShutterTimingConfig = types.SimpleNamespace
    module.computeShutterTiming = lambda metadata, detector, config: StandInTiming(
        metadata, detector, config, time
    )
    for name in ("lsst.ip", "lsst.ip.isr"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    image = make_camera_image()
    monkeypatch.setattr(type(image.detector), "to_legacy", lambda self: "afw detector")
    found = midpoints_of(image, [23.5], "beam.tnt")
    assert (found.source, found.uncertainty) == (source, SHUTTER_UNCERTAINTY)
    if source == "ip_isr":
        assert list(found.mjd_tai) == [61233.5]


def test_without_the_stack(
    make_camera_image: Callable[..., VisitImage], caplog: pytest.LogCaptureFixture
) -> None:
    assert midpoints_of(make_camera_image(), [23.5], "beam.tnt").source == "shutter cards"
    assert "lsst.ip" in caplog.text
