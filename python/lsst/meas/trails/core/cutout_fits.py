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

"""FITS files of cutouts, with the extensions of the cutouts in alert packets.

An alert packet holds each cutout as a FITS file that `astropy.nddata.CCDData` writes: image, mask,
uncertainty and PSF, and a local linear WCS. These files begin with the same extensions, so that
``CCDData.read`` reads them, and add others.
"""

from __future__ import annotations

__all__ = ("cutout_hdus", "local_cd_matrices")

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from astropy.io import fits

from .cutouts import Cutout
from .geometry import PixelToSky
from .planes import BAD_PLANES, MASK_PLANES, plane_bits

type _Floats = npt.NDArray[np.float64]


def local_cd_matrices(x: _Floats, y: _Floats, pixel_to_sky: PixelToSky) -> tuple[_Floats, _Floats, _Floats]:
    """Return linear approximations of a WCS.

    Parameters
    ----------
    x, y
        Positions in the image's own coordinates, shape (n,).
    pixel_to_sky
        Map from these to the sky.

    Returns
    -------
    ra, dec
        The positions on the sky, ICRS degrees, shape (n,).
    matrices
        Derivatives of the eastward and northward offsets by x and y, degrees per pixel, shape (n, 2, 2).
    """
    ra, dec = pixel_to_sky(x, y)
    cosine = np.cos(np.deg2rad(dec))
    steps = [
        (pixel_to_sky(x + dx, y + dy), pixel_to_sky(x - dx, y - dy)) for dx, dy in ((0.5, 0.0), (0.0, 0.5))
    ]
    east = [(np.mod(up[0] - down[0] + 180.0, 360.0) - 180.0) * cosine for up, down in steps]
    north = [up[1] - down[1] for up, down in steps]
    return np.asarray(ra), np.asarray(dec), np.stack([np.stack(east, -1), np.stack(north, -1)], -2)


def cutout_hdus(
    cutout: Cutout,
    *,
    image: str,
    center: tuple[float, float, float, float],
    cd_matrix: _Floats,
    cards: Mapping[str, tuple[str | int | float, str]],
) -> fits.HDUList:
    """Return a cutout as a FITS file.

    Parameters
    ----------
    cutout
        Arrays in nJy: the searched image under the name ``image``, its ``variance`` (nJy^2) and ``mask``
        (bits of `~lsst.meas.trails.core.planes.MASK_PLANES`), and any others.
    image
        Name of the searched image among the arrays.
    center
        Reference point of the WCS: x, y in the image's own coordinates, right ascension, declination (deg).
    cd_matrix
        Derivatives there, from `local_cd_matrices`.
    cards
        Other cards of the primary header: value and comment by keyword.

    Returns
    -------
    hdus
        Primary HDU: the searched image with the WCS. ``MASK``: 1 for bad pixels and pixels off the image.
        ``UNCERT``: the variance. ``PSFIMAGE``: the PSF. ``FLAGS``: the bits of the mask, named by the cards
        ``MP_*``. Then each of the other arrays under its name in upper case.
    """
    x, y, ra, dec = center
    header = fits.Header()
    header["BUNIT"] = ("nJy", "Unit of all images")
    wcs = {
        "WCSAXES": 2,
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CUNIT1": "deg",
        "CUNIT2": "deg",
        "CRPIX1": x - cutout.box[0] + 1.0,
        "CRPIX2": y - cutout.box[2] + 1.0,
        "CRVAL1": ra,
        "CRVAL2": dec,
        "CD1_1": cd_matrix[0, 0],
        "CD1_2": cd_matrix[0, 1],
        "CD2_1": cd_matrix[1, 0],
        "CD2_2": cd_matrix[1, 1],
        "RADESYS": "ICRS",
    }
    header.update({name: value for name, value in wcs.items() if _is_known(value)})
    header["CUTMINX"] = (cutout.box[0] - 1, "Column of the image left of the cutout")
    header["CUTMINY"] = (cutout.box[2] - 1, "Row of the image below the cutout")
    for keyword, (value, comment) in cards.items():
        if _is_known(value):
            header[keyword] = (value, comment)
    flags = cutout.arrays["mask"].astype(np.int32)
    bad = ((flags & plane_bits(BAD_PLANES)) != 0) | ~cutout.inside
    uncertainty, plane_names = fits.Header(), fits.Header()
    uncertainty["UTYPE"] = "VarianceUncertainty"
    for bit, plane in enumerate(MASK_PLANES):
        plane_names[f"HIERARCH MP_{plane}"] = bit
    hdus = [
        fits.PrimaryHDU(cutout.arrays[image], header),
        fits.ImageHDU(bad.astype(np.uint8), name="MASK"),
        fits.ImageHDU(cutout.arrays["variance"], uncertainty, name="UNCERT"),
    ]
    if cutout.psf is not None:
        hdus.append(fits.ImageHDU(cutout.psf.astype(np.float32), name="PSFIMAGE"))
    hdus.append(fits.ImageHDU(flags, plane_names, name="FLAGS"))
    for name, array in cutout.arrays.items():
        if name not in (image, "variance", "mask"):
            hdus.append(fits.ImageHDU(array, name=name.upper()))
    return fits.HDUList(hdus)


def _is_known(value: object) -> bool:
    """Return whether a header can hold a value."""
    return not isinstance(value, float | np.floating) or bool(np.isfinite(value))
