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

"""Conversion of FITS WCS to sky projections."""

from __future__ import annotations

__all__ = ("ProjectionError", "make_sky_projection", "pixel_scale")

import warnings

import astropy.units as u
import astropy.wcs
import astropy.wcs.utils
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.utils.exceptions import AstropyWarning

from lsst.images import DetectorFrame, SkyProjection

_TOLERANCE = 0.01
"""Largest difference from astropy's mapping, pixels.

It is a tenth of the position error of any trail. Actual differences are 1e-5, except for FK4 headers.
"""

_INVERSE_TOLERANCE = 0.1
"""Largest error of a round trip to the sky, pixels.

The inverse polynomials of some SIP headers are not more accurate.
"""

_GRID = 9

_MIN_SCALE, _MAX_SCALE = 1e-3, 120.0
"""Limits of plausible pixel sizes, arcseconds."""


class ProjectionError(ValueError):
    """Raised if a WCS cannot be used; the message names the remedy."""


def make_sky_projection(wcs: astropy.wcs.WCS, frame: DetectorFrame) -> SkyProjection[DetectorFrame]:
    """Convert the WCS of an image.

    Parameters
    ----------
    wcs
        Celestial WCS, in any frame that astropy can transform to ICRS.
    frame
        Frame of the detector; its box starts at (0, 0), the first pixel of the array.

    Returns
    -------
    sky_projection
        Mapping of pixels to ICRS, verified with astropy all over the image.

    Raises
    ------
    ProjectionError
        Raised if the WCS has a lookup table of distortions, does not map the image to the sky, or differs
        from astropy's mapping.
    """
    if wcs.cpdis1 or wcs.cpdis2 or wcs.det2im1 or wcs.det2im2:
        raise ProjectionError(
            "the WCS has a lookup table of distortions (CPDIS or D2IM), which is not supported; refit it as "
            "TAN-SIP, for example with astropy.wcs.utils.fit_wcs_from_points(..., sip_degree=4)"
        )
    ny, nx = frame.bbox.shape
    y, x = (g.ravel() for g in np.mgrid[0 : ny - 1 : _GRID * 1j, 0 : nx - 1 : _GRID * 1j])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)
            expected = wcs.pixel_to_world(x, y).icrs
            if not np.all(np.isfinite(expected.ra.deg) & np.isfinite(expected.dec.deg)):
                raise ProjectionError(
                    "the WCS does not map all of the image to the sky; solve the image again"
                )
            scale = pixel_scale(wcs)
            converted = _in_icrs(_longitude_first(wcs))
            projection = SkyProjection.from_fits_wcs(converted, frame, pixel_bounds=frame.bbox)
            sky = projection.pixel_to_sky(x=x, y=y)
            back = projection.sky_to_pixel(sky)
    except ProjectionError:
        raise
    except Exception as error:
        # astropy, wcslib and AST raise various exceptions on an incomplete or inconsistent WCS.
        raise ProjectionError(
            f"the WCS cannot be converted ({' '.join(str(error).split())}); solve the image again as TAN or "
            "TAN-SIP"
        ) from error
    difference = float(np.max(sky.separation(expected).arcsec)) / scale
    # NaN fails the comparison.
    if not difference < _TOLERANCE:
        raise ProjectionError(
            f"the WCS (CTYPE1 = {wcs.wcs.ctype[0]!r}) cannot be converted: the result differs from astropy's "
            f"by up to {difference:.3g} pixels; solve the image again as TAN-SIP in ICRS"
        )
    loss = float(np.max(np.hypot(back.x - x, back.y - y)))
    if not loss < _INVERSE_TOLERANCE:
        raise ProjectionError(
            f"the WCS is not invertible: a round trip to the sky is off by up to {loss:.3g} pixels; solve "
            "the image again, or remove the AP_ and BP_ cards of a SIP header"
        )
    return projection


def pixel_scale(wcs: astropy.wcs.WCS) -> float:
    """Return the pixel size at the reference point of a celestial WCS, arcseconds.

    Raises
    ------
    ProjectionError
        Raised if the size is implausible.
    """
    area = astropy.wcs.utils.proj_plane_pixel_area(wcs) * u.Unit(wcs.wcs.cunit[0]) ** 2
    scale = float(np.sqrt(area.to_value(u.arcsec**2)))
    if not _MIN_SCALE < scale < _MAX_SCALE:
        raise ProjectionError(
            f"the WCS has pixels of {scale:.3g} arcsec, not {_MIN_SCALE:g} to {_MAX_SCALE:g}; solve the "
            "image again"
        )
    return scale


def _longitude_first(wcs: astropy.wcs.WCS) -> astropy.wcs.WCS:
    """Return the WCS with the longitude on its first axis of the sky, as sky projections need it.

    The axes of the pixels stay. A WCS with distortions along the axes of the sky is returned as it is.
    """
    if wcs.wcs.lng == 0 or wcs.wcs.get_pv():
        return wcs
    result = astropy.wcs.WCS(naxis=2)
    order = [1, 0]
    result.wcs.ctype = [wcs.wcs.ctype[i] for i in order]
    result.wcs.cunit = [wcs.wcs.cunit[i] for i in order]
    result.wcs.crval = np.asarray(wcs.wcs.crval)[order]
    result.wcs.crpix = wcs.wcs.crpix
    result.wcs.cd = np.asarray(wcs.pixel_scale_matrix)[order]
    result.wcs.lonpole, result.wcs.latpole = wcs.wcs.lonpole, wcs.wcs.latpole
    result.wcs.radesys, result.wcs.equinox = wcs.wcs.radesys, wcs.wcs.equinox
    result.sip = wcs.sip
    result.wcs.set()
    return result


def _in_icrs(wcs: astropy.wcs.WCS) -> astropy.wcs.WCS:
    """Return the WCS in ICRS, the frame of all sky projections.

    A change of frame is a rotation of the sphere. For a zenithal projection, whose native pole is the
    reference point (Calabretta & Greisen 2002, A&A 395, 1077, section 2.2), it moves this point and changes
    the longitude of the celestial pole. Other projections fail the comparison with astropy.
    """
    frame = astropy.wcs.utils.wcs_to_celestial_frame(wcs)
    result = wcs.deepcopy()
    if frame.name == "icrs":
        return result
    longitude, latitude = wcs.wcs.lng, wcs.wcs.lat
    unit = u.Unit(wcs.wcs.cunit[longitude])
    reference = SkyCoord(
        wcs.wcs.crval[longitude] * unit, wcs.wcs.crval[latitude] * unit, frame=frame, unit=unit
    ).icrs
    pole = SkyCoord(0.0 * u.deg, 90.0 * u.deg, frame=frame).icrs
    turn = reference.position_angle(pole)
    ctype = list(wcs.wcs.ctype)
    ctype[longitude] = f"RA---{ctype[longitude][5:]}"
    ctype[latitude] = f"DEC--{ctype[latitude][5:]}"
    crval = np.array(wcs.wcs.crval)
    crval[longitude], crval[latitude] = reference.ra.to_value(unit), reference.dec.to_value(unit)
    result.wcs.ctype = ctype
    result.wcs.crval = crval
    result.wcs.lonpole = float((wcs.wcs.lonpole + turn.deg) % 360.0)
    result.wcs.radesys = "ICRS"
    result.wcs.equinox = np.nan
    result.wcs.set()
    return result
