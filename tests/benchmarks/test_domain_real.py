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
"""Tests of the real data of the domains, with files of the same form."""

from __future__ import annotations

from pathlib import Path

import astropy.table
import numpy as np
import pytest

from lsst.meas.trails.core.geometry import Trail
from lsst.meas.trails.core.planes import ImagePlanes
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.core.render import add_trail, optimal_snr, render_trail

import domain_real
from domain_real import POINT_SNRS, Alert, RealJob, RealPsfs, read_alerts

SIDE = 48
NOISE = 30.0
PSF = PsfGrid.gaussian(5.0, size=41)

STAR = Trail(8.0, 40.0, 0.0, 0.0, 9000.0)

SOURCES = {
    "real_trail": (24.3, 23.8, 20.0, 40.0, 140.0),
    "known_asteroid_pointlike": (23.6, 24.1, 0.0, 0.0, 60.0),
    "artifact": (24.0, 24.0, 0.0, 0.0, 0.0),
}
"""x, y, length, angle and SNR of the source of each cutout."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with three alerts: a trail, a point and nothing."""
    rng = np.random.default_rng(1)
    flat: dict[str, list[np.ndarray]] = {}
    rows = []
    for i, (kind, (x, y, length, angle, snr)) in enumerate(SOURCES.items()):
        variance = np.full((SIDE, SIDE), NOISE**2)
        unit = optimal_snr(render_trail(PSF, Trail(x, y, length, angle)), variance, 1.0)
        source = np.zeros((SIDE, SIDE))
        add_trail(source, PSF, Trail(x, y, length, angle, snr / unit))
        template = 3.0 * rng.standard_normal((SIDE, SIDE))
        # A constant star, which dimming must not change.
        star = np.zeros((SIDE, SIDE))
        add_trail(star, PSF, STAR)
        difference = source + NOISE * rng.standard_normal((SIDE, SIDE))
        science = difference + star
        for name, image in (("science", science), ("template", template + star), ("difference", difference)):
            flat.setdefault(name, []).append(image.ravel())
            flat.setdefault(f"{name}_variance", []).append(variance.ravel())
        rows.append((kind, SIDE, i, x, y, length, angle, NOISE, 3.0))
    names = ("kind", "size", "psf_index", "x", "y", "eph_length_px", "eph_angle_px")
    table = astropy.table.Table(rows=rows, names=(*names, "science_sigma_njy", "template_sigma_njy"))
    table = astropy.table.Table(table, masked=True)
    table["eph_length_px"].mask = table["eph_angle_px"].mask = [False, False, True]
    table.write(tmp_path / "lsst_alerts.csv")
    np.savez(
        tmp_path / "lsst_alerts.npz",
        offset=np.arange(4) * SIDE**2,
        psf=np.repeat(PSF.mean_kernel[None], 3, axis=0),
        template_psf=np.repeat(PSF.mean_kernel[None], 3, axis=0),
        **{name: np.concatenate(values).astype(np.float32) for name, values in flat.items()},
    )
    return tmp_path


def alert_of(folder: Path, kind: str) -> Alert:
    (alert,) = (alert for alert in read_alerts(folder) if alert.kind == kind)
    return alert


def measured_snr(planes: ImagePlanes, trail: Trail) -> float:
    slices, part = render_trail(PSF, trail).clipped(planes.shape)
    return float(np.sum(part * planes.image[slices]) / (NOISE * np.sqrt(np.sum(np.square(part)))))


def test_alerts_are_read(folder: Path) -> None:
    trail, point, nothing = read_alerts(folder)
    assert trail.shape == (SIDE, SIDE)
    assert (trail.length, trail.angle) == (20.0, 40.0)
    assert np.isnan(nothing.length)
    assert trail.snr == pytest.approx(140.0, abs=4.0)
    assert point.snr == pytest.approx(60.0, abs=4.0)
    assert trail.template_noise == pytest.approx(0.1)
    assert trail.planes("direct").template is None
    assert trail.planes("template").template is not None


@pytest.mark.parametrize("mode", ["direct", "difference"])
def test_dimmed_sources_have_their_snr_and_the_noise_its_level(folder: Path, mode: str) -> None:
    alert = alert_of(folder, "real_trail")
    trail = Trail(alert.x, alert.y, alert.length, alert.angle)
    snr, stars = [], []
    for seed in range(30):
        planes = alert.planes(mode, 20.0 / alert.snr, np.random.default_rng(seed))
        snr.append(measured_snr(planes, trail))
        stars.append(measured_snr(planes, STAR))
        assert planes.image[:, -12:].std() == pytest.approx(NOISE, rel=0.15)
        assert np.median(planes.variance) == pytest.approx(NOISE**2, rel=0.05)
    assert np.mean(snr) == pytest.approx(20.0, abs=1.0)
    expected = STAR.flux / NOISE / np.sqrt(1.0 / np.sum(np.square(PSF.mean_kernel)))
    assert np.mean(stars) == pytest.approx(expected if mode == "direct" else 0.0, abs=1.5)


def test_all_searches_of_a_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    shape = (200, 160)
    calexp = ImagePlanes(
        (NOISE * rng.standard_normal(shape)).astype(np.float32),
        np.full(shape, NOISE**2, np.float32),
        np.zeros(shape, np.uint32),
        PSF,
    )
    monkeypatch.setattr(domain_real, "read_calexp", lambda _: calexp)
    rows = RealJob("direct", "direct", folder, 1, 5).run()
    tests = [row["test"] for row in rows]
    # All but the real trail, whose own test is at several brightnesses.
    assert tests.count("alert") == 2
    assert tests.count("cutout") == 3
    assert tests.count("calexp false") == 1
    assert tests.count("point") == sum(snr < 60.0 for snr in POINT_SNRS) + 1
    faint = [row for row in rows if row["test"] == "trail" and row["asked"] == 20.0]
    assert len(faint) == 4
    assert np.mean([bool(row["found"]) for row in faint]) >= 0.5
    assert all(15.0 < float(str(row["fitted"])) < 25.0 for row in faint if row["found"])
    good = [
        r["found"] for r in rows if r["test"] == "calexp" and 15.0 < r["snr"] < 30.0 and r["length"] > 20.0
    ]
    assert np.mean(good) > 0.7
    # The calexp has no template.
    assert "calexp" not in {row["test"] for row in RealJob("template", "template", folder, 1, 5).run()}


def test_optics_of_alerts(folder: Path) -> None:
    optics = RealPsfs(folder).optics("lsstcam", 1, 0, (256, 256))
    assert optics.psf((256, 256)).fwhm(100.0, 100.0) == pytest.approx(5.0, rel=0.01)
    assert optics.template_noise == pytest.approx(0.1)
    again = RealPsfs(folder).optics("lsstcam", 1, 0, (256, 256))
    assert again.wide_fraction == optics.wide_fraction
