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
import pytest
from astropy.io import fits

from lsst.meas.trails.core.planes import plane_bits
from lsst.meas.trails.ingest.image import image_origin, make_fits_image
from lsst.meas.trails.ingest.layout import FitsIngestError
from lsst.meas.trails.ingest.observation import FitsOptions, inspect_all, inspect_fits
from lsst.meas.trails.ingest.pairing import FitsFiles, find_unused, pair_files
from lsst.meas.trails.ingest.pixels import read_pixels

from support.fits_files import tan_header

SHAPE = (64, 80)


def write(path: Path, value: float | None = None, **cards: object) -> Path:
    """Write an image of noise, or of one value."""
    path.parent.mkdir(exist_ok=True)
    noise = np.random.default_rng(1).normal(100.0, 10.0, SHAPE).astype(np.float32)
    pixels = noise if value is None else np.full(SHAPE, value, dtype=np.float32)
    fits.PrimaryHDU(pixels, tan_header(**cards)).writeto(path)
    return path


@pytest.mark.parametrize(
    ("image", "companion", "role"),
    [
        ("c4d_170916_045042_ooi_r_v1.fits.fz", "c4d_170916_045042_ood_r_v1.fits.fz", "mask"),
        ("c4d_170916_045042_ooi_r_v1.fits.fz", "c4d_170916_045042_oow_r_v1.fits.fz", "weight"),
        ("k4m_1_opi_g.fits", "k4m_1_opd_g.fits", "mask"),
        ("m31.fits", "m31.weight.fits", "weight"),
        ("m31.fits", "m31_mask.fits.gz", "mask"),
        ("m31_image.fits", "m31_flag.fits", "mask"),
        ("m31.image.fits", "m31.image.mask.fits", "mask"),
        ("ztf_2018_zr_sciimg.fits", "ztf_2018_zr_mskimg.fits", "mask"),
        ("w1-int-1b.fits", "w1-unc-1b.fits.gz", "error"),
        ("j8_drz.fits", "j8_wht.fits", "weight"),
        ("legacy-image-r.fits", "legacy-invvar-r.fits", "weight"),
        ("rings.skycell.r.unconv.fits", "rings.skycell.r.unconv.wt.fits", "variance"),
        ("frame7.fits", "frame7weight.fits", "weight"),
        ("frameSci.fits", "frameVar.fits", "variance"),
        ("frame.fits", "mask_frame.fits", "mask"),
        ("image.fits", "mask.fits", "mask"),
        ("frame.fits", "frame_rms.fits", "error"),
        ("images/7.fits", "masks/7.fits", "mask"),
        ("7.fits", "weights/7.fits", "weight"),
        ("V_R_1.FITS", "V_R_1_MASK.FITS", "mask"),
    ],
)
def test_names(tmp_path: Path, image: str, companion: str, role: str) -> None:
    first, second = write(tmp_path / image), write(tmp_path / companion, 1.0)
    other = write(tmp_path / "other.fits", EXPNUM=3)
    expected = [FitsFiles(first, {role: second}), FitsFiles(other)]
    assert pair_files([first, second, other]) == expected
    assert set(map(str, pair_files([second, other, first]))) == set(map(str, expected))
    assert find_unused([FitsFiles(first)]) == ([second] if first.parent == second.parent else [])
    assert find_unused(expected) == []


@pytest.mark.parametrize(
    "names",
    [
        ("night1/a.fits", "night2/a.fits"),
        ("a_r.fits", "a_i.fits"),
        ("m31_old.fits", "m31_odd.fits"),
        ("sci_1.fits", "sci_2.fits"),
        ("bad.fits",),
        ("std_field.fits", "flag_day_1.fits"),
    ],
)
def test_images_of_their_own(tmp_path: Path, names: tuple[str, ...]) -> None:
    paths = [write(tmp_path / name) for name in names]
    assert pair_files(paths) == [FitsFiles(path) for path in paths]


def test_headers(tmp_path: Path) -> None:
    """Any names, if the headers say what the files are."""
    cards = {"EXPNUM": 5, "CCDNUM": 3}
    image = write(tmp_path / "a.fits", PRODTYPE="image", **cards)
    mask = write(tmp_path / "b.fits", 0.0, PRODTYPE="dqmask", **cards)
    weight = write(tmp_path / "c.fits", 1.0, PRODTYPE="wtmap", **cards)
    other = write(tmp_path / "d.fits", PRODTYPE="image", EXPNUM=5, CCDNUM=4)
    assert pair_files([weight, mask, other, image]) == [
        FitsFiles(other),
        FitsFiles(image, {"weight": weight, "mask": mask}),
    ]
    with pytest.raises(FitsIngestError, match=r"b\.fits .*--mask"):
        pair_files([mask])
    with pytest.raises(FitsIngestError, match=r"b\.fits .*--mask"):
        pair_files([mask, other])


def test_doubtful_pairs(tmp_path: Path) -> None:
    a, mask = write(tmp_path / "a.fits"), write(tmp_path / "a_mask.fits", 1.0)
    with pytest.raises(FitsIngestError, match=r"a_mask\.fits .*--no-pairs"):
        pair_files([mask])
    with pytest.raises(FitsIngestError, match=r"a_dq\.fits and .*a_mask\.fits"):
        pair_files([a, mask, write(tmp_path / "a_dq.fits", 1.0)])
    with pytest.raises(FitsIngestError, match=r"a_mask\.fits may belong to"):
        pair_files([a, mask, write(tmp_path / "a_sci.fits")])


def test_planes_of_other_files(tmp_path: Path) -> None:
    """Mask and weight replace the planes of the image's own file."""
    bad = np.zeros(SHAPE, dtype=np.int32)
    bad[:, 7] = 1
    weight = np.ones(SHAPE, dtype=np.float32)
    weight[:32] = 0.25
    header = tan_header(EXPNUM=5, CCDNUM=3)
    for name, pixels in (
        ("ooi", fits.getdata(write(tmp_path / "noise.fits"))),
        ("ood", bad),
        ("oow", weight),
    ):
        ccds = [fits.ImageHDU(np.zeros((40, 40), dtype=np.int16), header, name="N1")]
        ccds.append(fits.CompImageHDU(pixels, header, name="N2"))
        # The mask has its detectors in another order.
        hdus = ccds[::-1] if name == "ood" else ccds
        fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / f"c4d_{name}.fits")
    files = pair_files(sorted(tmp_path.glob("c4d*.fits")))
    options = FitsOptions(hdu="N2", fwhm=2.0, gain=1e6)
    (observation,) = inspect_all(files, options)
    assert observation.layout.companions == {"mask": 1, "weight": 2}
    pixels = read_pixels(observation.layout)
    np.testing.assert_array_equal(pixels.mask & plane_bits(["BAD"]) != 0, bad != 0)
    image, _ = make_fits_image(observation, options)
    upper, lower = image.variance.array[40:].mean(), image.variance.array[:24].mean()
    assert lower / upper == pytest.approx(4.0, rel=0.01)

    # A changed mask is another image.
    before = image_origin(observation, options)
    assert image_origin(inspect_fits(files[0], options), options) == before
    with fits.open(tmp_path / "c4d_ood.fits", mode="update") as hdus:
        hdus[0].header["CHANGED"] = True
    assert image_origin(inspect_fits(files[0], options), options) != before
    without = inspect_fits(files[0], FitsOptions(hdu="N2", use_mask=False))
    assert without.layout.companions.keys() == {"weight"}


def test_companions_that_do_not_fit(tmp_path: Path) -> None:
    image = write(tmp_path / "a.fits")
    other = tmp_path / "small.fits"
    fits.PrimaryHDU(np.ones((40, 40), dtype=np.uint8)).writeto(other)
    with pytest.raises(FitsIngestError, match=r"small\.fits: HDU 0 has shape \(40, 40\)"):
        inspect_fits(FitsFiles(image, {"mask": other}))
    two = tmp_path / "two.fits"
    hdus = [fits.ImageHDU(np.ones(SHAPE), name=name) for name in ("X", "Y")]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(two)
    with pytest.raises(FitsIngestError, match=r"two\.fits has 2 images"):
        inspect_fits(FitsFiles(image, {"weight": two}))
    text = tmp_path / "text.fits"
    text.write_text("no file")
    with pytest.raises(FitsIngestError, match=r"text\.fits"):
        inspect_fits(FitsFiles(image, {"weight": text}))


def test_file_with_its_own_mask_is_an_image(tmp_path: Path) -> None:
    """A name that ends in a word for a mask does not hide an image with its parts."""
    path = tmp_path / "image_as_dq.fits"
    pixels = np.random.default_rng(1).normal(100.0, 10.0, SHAPE).astype(np.float32)
    flags = fits.ImageHDU(np.zeros(SHAPE, dtype=np.uint8), name="DQ")
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(pixels, tan_header(), name="SCI"), flags]).writeto(path)
    assert pair_files([path]) == [FitsFiles(path)]
    assert find_unused([FitsFiles(path)]) == []
