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
from typing import Any

import astropy.table
import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from lsst.images import VisitImage
from lsst.meas.trails.core.geometry import Trail
from lsst.meas.trails.core.photometry import mag_to_flux
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.core.render import add_trail
from lsst.meas.trails.tasks import InjectTrailsConfig, InjectTrailsTask
from lsst.pipe.base import InvalidQuantumError, Struct


class Exposure:
    """Stand-in for a `lsst.afw.image.ExposureF`."""

    info = types.SimpleNamespace(getVisitInfo=lambda: None)

    def __init__(self, image: VisitImage) -> None:
        self.visit_image = image
        self.image = types.SimpleNamespace(array=image.image.array.copy())
        self.variance = types.SimpleNamespace(array=image.variance.array.copy())

    def clone(self) -> Exposure:
        return Exposure(self.visit_image)

    def getMaskedImage(self) -> Exposure:
        return self

    def getMetadata(self) -> dict[str, str]:
        return {"BUNIT": "nJy"}

    def getPsf(self) -> str:
        return "psf"

    def getPhotoCalib(self) -> str:
        return "photo_calib"

    def getWcs(self) -> str:
        return "wcs"

    @property
    def mask(self) -> object:
        return types.SimpleNamespace(getMaskPlaneDict=lambda: {})


class FakeTask:
    """Stand-in that draws the trails of a catalog, in the conventions of the engine."""

    calls: list[FakeTask] = []
    flagged: tuple[int, ...] = ()
    does_nothing = False

    def __init__(self, config: Any) -> None:
        self.config = config

    def run(
        self, catalogs: list[astropy.table.Table], exposure: Exposure, psf: str, photo_calib: str, wcs: str
    ) -> Struct:
        assert (psf, photo_calib, wcs) == ("psf", "photo_calib", "wcs")
        FakeTask.calls.append(self)
        (catalog,) = catalogs
        self.catalog, self.exposure = catalog, exposure
        image = exposure.visit_image
        output = catalog.copy()
        output["injection_flag"] = np.isin(catalog["injection_id"], self.flagged).astype(int)
        for row in output:
            if row["injection_flag"] or self.does_nothing:
                continue
            assert row["source_type"] == "Trail"
            at = image.sky_projection.sky_to_pixel(SkyCoord(row["ra"] * u.deg, row["dec"] * u.deg))
            flux = mag_to_flux(row["mag"]) * row["trail_length"]
            x, y = float(at.x) - image.bbox.x.start, float(at.y) - image.bbox.y.start
            add_trail(
                exposure.image.array,
                PsfGrid.gaussian(4.0),
                Trail(x, y, row["trail_length"], row["beta"], flux),
            )
        return Struct(output_exposure=exposure, output_catalog=output)


@pytest.fixture(autouse=True)
def stack(monkeypatch: pytest.MonkeyPatch) -> type[FakeTask]:
    """Install the stand-in."""
    module = types.ModuleType("lsst.source.injection")
    module.VisitInjectTask = FakeTask  # type: ignore[attr-defined]
    module.VisitInjectConfig = types.SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lsst.source", types.ModuleType("lsst.source"))
    monkeypatch.setitem(sys.modules, "lsst.source.injection", module)
    monkeypatch.setattr(VisitImage, "to_legacy", lambda self, **_: Exposure(self))
    monkeypatch.setattr(VisitImage, "from_legacy", staticmethod(lambda legacy, **_: legacy.visit_image))
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
    np.testing.assert_array_equal(result.injected_image.image.array, image.image.array)


def test_afw_exposures_are_copied(image: VisitImage) -> None:
    exposure = Exposure(image)
    before = exposure.image.array.copy()
    inject(exposure)
    assert FakeTask.calls[0].exposure is not exposure
    np.testing.assert_array_equal(exposure.image.array, before)


def test_handles_are_read_as_exposures(image: VisitImage) -> None:
    asked = []

    def get(storageClass: str | None = None) -> Any:
        asked.append(storageClass)
        return image if storageClass is None else Exposure(image)

    inject(types.SimpleNamespace(ref=None, get=get))
    assert asked == [None, "ExposureF"]


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
