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

"""Injection by a stand-in for the engine of the full stack."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any, ClassVar

import astropy.table
import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from lsst.daf.butler import Timespan
from lsst.images import VisitImage
from lsst.meas.trails.core.geometry import Trail
from lsst.meas.trails.core.photometry import mag_to_flux
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.core.render import add_trail
from lsst.meas.trails.tasks import InjectTrailsConfig, InjectTrailsTask
from lsst.pipe.base import InvalidQuantumError, Struct

from support.afw import ExposureF, PhotoCalib, SkyWcs, exposure_of


class FakeTask:
    """Stand-in that draws the trails of a catalog, in the conventions and with the limits of the engine."""

    calls: ClassVar[list[FakeTask]] = []
    flagged: ClassVar[tuple[int, ...]] = ()
    does_nothing = False

    def __init__(self, config: Any) -> None:
        self.config = config

    def run(
        self,
        catalogs: list[astropy.table.Table],
        exposure: ExposureF,
        psf: object,
        photo_calib: PhotoCalib,
        wcs: SkyWcs,
    ) -> Struct:
        assert (psf, photo_calib, wcs) == (exposure.getPsf(), exposure.getPhotoCalib(), exposure.getWcs())
        FakeTask.calls.append(self)
        (catalog,) = catalogs
        self.catalog, self.exposure = catalog, exposure
        self.detector = exposure.getDetector()
        if self.detector is not None:
            # The gain of each amplifier.
            for amplifier in self.detector.getAmplifiers():
                exposure.subset(amplifier.getBBox())
        for name in ("INJECTED", "INJECTED_CORE"):
            exposure.mask.addMaskPlane(name)
        output = catalog.copy()
        output["injection_flag"] = np.isin(catalog["injection_id"], self.flagged).astype(int)
        start = exposure.getBBox().getMin()
        for row in output:
            if row["injection_flag"] or self.does_nothing:
                continue
            assert row["source_type"] == "Trail"
            at = wcs.projection.sky_to_pixel(SkyCoord(row["ra"] * u.deg, row["dec"] * u.deg))
            x, y = float(at.x) - start.x, float(at.y) - start.y
            flux = mag_to_flux(row["mag"]) * row["trail_length"] / photo_calib.getCalibrationMean()
            trail = Trail(x, y, row["trail_length"], row["beta"], flux)
            add_trail(exposure.image.array, PsfGrid.gaussian(4.0), trail)
            # A box, also of pixels without light, and the center.
            for name, radius in (("INJECTED", 0.5 * row["trail_length"] + 12.0), ("INJECTED_CORE", 1.0)):
                rows, columns = (
                    slice(max(int(value // 1 - radius), 0), max(int(value // 1 + radius + 1), 0))
                    for value in (y, x)
                )
                exposure.mask.array[rows, columns] |= np.int32(exposure.mask.getPlaneBitMask(name))
        exposure.info.setVisitInfo(exposure.visitInfo.copyWith(hasSimulatedContent=True))
        return Struct(output_exposure=exposure, output_catalog=output)


@pytest.fixture(autouse=True)
def stack(make_exposure: Callable[..., ExposureF], monkeypatch: pytest.MonkeyPatch) -> type[FakeTask]:
    """Install the stand-in."""
    module = types.ModuleType("lsst.source.injection")
    module.VisitInjectTask = FakeTask  # type: ignore[attr-defined]
    module.VisitInjectConfig = types.SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lsst.source", types.ModuleType("lsst.source"))
    monkeypatch.setitem(sys.modules, "lsst.source.injection", module)
    monkeypatch.setattr(FakeTask, "calls", [])
    return FakeTask


@pytest.fixture(scope="module")
def image(make_image: Callable[..., Any]) -> VisitImage:
    made = make_image(shape=(200, 260), start=(300, 500), stars=40).image
    assert isinstance(made, VisitImage)
    return made


def inject(image: Any, *, packed: int = 7, catalogs: Any = (), **settings: Any) -> Struct:
    config = InjectTrailsConfig()
    config.number = 4.0
    config.minBrightness = 15.0
    config.engine = "source_injection"
    for name, value in settings.items():
        setattr(config, name, value)
    config.validate()
    return InjectTrailsTask(config=config).run(image=image, packed=packed, injection_catalogs=catalogs)


def test_both_engines_inject_the_same_catalog(image: VisitImage) -> None:
    ours = inject(image, engine="native", addNoise=False)
    theirs = inject(image, addNoise=False)
    assert len(FakeTask.calls) == 1
    # The PSF of the two engines differ by the sampling of the model.
    np.testing.assert_allclose(
        theirs.injected_image.image.array, ours.injected_image.image.array, rtol=0.0, atol=0.05
    )
    for name in ("x", "y", "flux", "beta", "mag", "snr_optimal"):
        np.testing.assert_array_equal(theirs.injected_catalog[name], ours.injected_catalog[name])
    np.testing.assert_array_equal(theirs.injected_mask.array, ours.injected_mask.array)
    # A catalog of the same trails gives the same image.
    catalog = ours.injected_catalog["injection_id", "ra", "dec", "source_type", "mag", "trail_length", "beta"]
    again = inject(image, addNoise=False, catalogs=[catalog])
    np.testing.assert_allclose(again.injected_image.image.array, theirs.injected_image.image.array, atol=0.05)


def test_the_input_is_not_changed(image: VisitImage) -> None:
    before = image.image.array.copy()
    inject(image)
    np.testing.assert_array_equal(image.image.array, before)


def test_configuration_of_the_engine(image: VisitImage) -> None:
    inject(image, addNoise=False, calibFluxRadius=9.0)
    inject(image, packed=8)
    inject(image, packed=7)
    quiet, other, same = (call.config for call in FakeTask.calls)
    assert (quiet.add_noise, quiet.inject_variance, quiet.calib_flux_radius) == (False, False, 9.0)
    assert (other.add_noise, other.inject_variance, other.calib_flux_radius) == (True, True, 12.0)
    # 0 would give different noise every time.
    assert same.noise_seed == quiet.noise_seed > 0
    assert other.noise_seed != same.noise_seed
    assert other.noise_seed < 2**31
    for call in FakeTask.calls:
        assert all(column.unit is None for column in call.catalog.itercols())
        assert call.config.trim_padding > 0.5 * np.max(call.catalog["trail_length"])


def test_flagged_trails_are_not_in_the_truth(
    image: VisitImage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(FakeTask, "flagged", (1,))
    result = inject(image, addNoise=False)
    assert list(result.injected_catalog["injection_id"]) == [0, 2, 3]
    assert "1 trails: injection_id [1]" in caplog.text
    mask = result.injected_mask.get("TRAIL")
    added = result.injected_image.image.array - image.image.array
    assert np.all(added[mask] > 0.0)
    assert mask.sum() < inject(image, engine="native").injected_mask.get("TRAIL").sum()


def test_silence_is_an_error(image: VisitImage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some versions silently inject nothing on a flat variance plane."""
    monkeypatch.setattr(FakeTask, "does_nothing", True)
    with pytest.raises(InvalidQuantumError, match="image unchanged"):
        inject(image)


def test_no_trails(image: VisitImage) -> None:
    result = inject(image, number=0.0)
    assert FakeTask.calls == []
    assert not result.injected_image.mask.get("INJECTED").any()
    np.testing.assert_array_equal(result.injected_image.image.array, image.image.array)


def test_planes_and_flag_are_carried_over(image: VisitImage) -> None:
    for given in (image, exposure_of(image)):
        output = inject(given, addNoise=False).injected_image
        (call,) = FakeTask.calls
        for name in ("INJECTED", "INJECTED_CORE"):
            theirs = (call.exposure.mask.array & call.exposure.mask.getPlaneBitMask(name)) != 0
            assert theirs.any()
            assert np.all(output.mask.get(name)[theirs])
        added = output.image.array != image.image.array
        assert np.all(output.mask.get("INJECTED")[added])
        assert np.count_nonzero(output.mask.get("INJECTED")) > np.count_nonzero(added)
        assert output.obs_info.has_simulated_content is True
        FakeTask.calls.clear()


def test_afw_exposures_are_copied(image: VisitImage) -> None:
    exposure = exposure_of(image)
    before, planes = exposure.image.array.copy(), exposure.mask.array.copy()
    inject(exposure)
    assert FakeTask.calls[0].exposure is not exposure
    np.testing.assert_array_equal(exposure.image.array, before)
    np.testing.assert_array_equal(exposure.mask.array, planes)
    assert exposure.getDetector() is not None


def test_amplifiers_beyond_the_image(image: VisitImage, make_image: Callable[..., Any]) -> None:
    """The private copy of an image that does not cover its amplifiers has no detector."""
    inject(image)
    assert FakeTask.calls[0].detector is None
    inject(make_image(stars=40).image)
    assert len(FakeTask.calls[1].detector.getAmplifiers()) > 1


def test_exposure_without_visit_information(image: VisitImage) -> None:
    """The engine marks simulated content in the visit information."""
    exposure = exposure_of(image, VisitInfo=None)
    begin = image.obs_info.datetime_begin
    record = types.SimpleNamespace(
        instrument="TrailSimCam",
        id=2017010400001,
        exposure_time=30.0,
        timespan=Timespan(begin, begin + 30.0 * u.s),
    )
    data_id = types.SimpleNamespace(hasRecords=lambda: False)
    handle = types.SimpleNamespace(
        ref=types.SimpleNamespace(dataId=data_id),
        butler=types.SimpleNamespace(query_dimension_records=lambda *_, **__: [record]),
        get=lambda storageClass=None: exposure.clone(),
    )
    result = inject(handle)
    (call,) = FakeTask.calls
    assert call.exposure.visitInfo.getId() == 2017010400001
    assert result.injected_image.obs_info.exposure_time == 30.0 * u.s


def test_handles_are_read_as_exposures(image: VisitImage) -> None:
    asked = []

    def get(storageClass: str | None = None) -> Any:
        asked.append(storageClass)
        return image if storageClass is None else exposure_of(image).clone()

    inject(types.SimpleNamespace(ref=None, get=get))
    assert asked == [None, "ExposureF"]


def test_conversion_of_the_butler_that_fails(image: VisitImage) -> None:
    def get(storageClass: str | None = None) -> Any:
        if storageClass is None:
            return image
        raise TypeError("projection cannot be converted")

    with pytest.raises(InvalidQuantumError, match="projection cannot.*engine='native'"):
        inject(types.SimpleNamespace(ref=None, get=get))


def test_not_installed(image: VisitImage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lsst.source.injection", None)
    with pytest.raises(InvalidQuantumError, match="source_injection.*engine='native'"):
        inject(image)


def test_images_that_cannot_be_converted(image: VisitImage, monkeypatch: pytest.MonkeyPatch) -> None:
    def to_legacy(self: VisitImage, **_: Any) -> None:
        raise ModuleNotFoundError("No module named 'lsst.obs'")

    monkeypatch.setattr(VisitImage, "to_legacy", to_legacy)
    with pytest.raises(InvalidQuantumError, match="source_injection: No module named"):
        inject(image)
