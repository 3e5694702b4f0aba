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

"""Visits to train on, to calibrate with and to measure on."""

from __future__ import annotations

__all__ = ("FEWEST_VISITS", "ROLES", "TooFewVisitsError", "assign_roles")

from collections.abc import Sequence

import numpy as np

from ..core.tiles.splits import ImagePlace, SplitError, assign_splits, group_images

ROLES = ("train", "calibrate", "test")
"""Roles of images: training, thresholds and score, and the table of the result."""

_PARTS = {"train": 0.6, "calibrate": 0.1, "calibrate again": 0.1, "test": 0.2}
"""Fractions of the images. The score is fitted to one part of its visits and measured on the other."""

FEWEST_VISITS = len(_PARTS)
"""Fewest visits, so that each part has one."""


class TooFewVisitsError(ValueError):
    """Raised if there are too few visits to leave any out."""


def assign_roles(places: Sequence[ImagePlace], rng: np.random.Generator) -> tuple[list[str], bool]:
    """Assign a role to each image, so that no visit has two.

    Parameters
    ----------
    places
        Visit and sky of each image.
    rng
        Random numbers for the order.

    Returns
    -------
    roles
        One of `ROLES` for each image.
    by_sky
        Whether images of different roles share no sky either. They may if there are fewer than four
        separate fields; the stars and galaxies of the training are then in the test as well.

    Raises
    ------
    TooFewVisitsError
        Raised if there are fewer than `FEWEST_VISITS`.
    """
    visits = len({place.visit for place in places})
    if visits < FEWEST_VISITS:
        raise TooFewVisitsError(
            f"There are {visits} visits, and at least {FEWEST_VISITS} are needed: one to train, two to "
            f"calibrate and one to measure the result; add {FEWEST_VISITS - visits}."
        )
    weights = np.ones(len(places), dtype=np.int64)
    for by_sky in (True, False):
        groups = group_images(places, by_sky=by_sky)
        try:
            parts = assign_splits(groups, weights, _PARTS, rng)
            return [part.partition(" ")[0] for part in parts], by_sky
        except SplitError:
            if not by_sky:
                raise
    raise AssertionError("unreachable")
