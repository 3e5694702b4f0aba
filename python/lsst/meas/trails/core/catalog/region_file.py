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

"""Export of candidates as regions for SAOImage DS9."""

from __future__ import annotations

__all__ = ("ds9_regions",)

import astropy.table
import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord


def ds9_regions(candidates: astropy.table.Table) -> str:
    """Return candidates as lines on the sky between the ends of their trails.

    Parameters
    ----------
    candidates
        Rows of a catalog of candidates; rows without a position are omitted.

    Returns
    -------
    text
        A DS9 region file in ICRS degrees. The text of each line is ``trailCandidateId`` and score.
    """
    from regions import LineSkyRegion, Regions

    places = np.array([candidates[name] for name in ("ra0", "dec0", "ra1", "dec1")], dtype=np.float64)
    known = np.isfinite(places).all(axis=0)
    first, second = (SkyCoord(ra, dec, unit=u.deg) for ra, dec in (places[:2, known], places[2:, known]))
    lines = [
        LineSkyRegion(start, end, meta={"text": f"{row['trailCandidateId']} {row['score']:.3f}"})
        for start, end, row in zip(first, second, candidates[known], strict=True)
    ]
    text: str = Regions(lines).serialize(format="ds9", precision=7)
    return text.rstrip("\n") + "\n"
