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

"""Selection of candidates: by score, streak and condition; a random sample; the first rows in an order."""

from __future__ import annotations

__all__ = ("CandidateSelection",)

import dataclasses

import astropy.table
import numpy as np

from .export import sort_rows
from .row_filter import select_rows


@dataclasses.dataclass(frozen=True)
class CandidateSelection:
    """Conditions on candidates and their order."""

    min_score: float = 0.0
    """Lowest score."""

    streaks: bool = False
    """Whether candidates on satellite streaks are selected, too."""

    where: str | None = None
    """Condition on the columns; see `~lsst.meas.trails.core.catalog.row_filter.select_rows`."""

    sample: int | None = None
    """Number of candidates of a random sample; all by default."""

    seed: int = 1
    """Seed of the sample."""

    sort: str = "-score"
    """Column of the order; see `~lsst.meas.trails.core.catalog.export.sort_rows`."""

    limit: int | None = None
    """Largest number of candidates; by default there is no limit."""

    def matching(self, table: astropy.table.Table) -> astropy.table.Table:
        """Return the rows that fulfill the conditions.

        Parameters
        ----------
        table
            Catalog of candidates.

        Raises
        ------
        lsst.meas.trails.core.catalog.row_filter.FilterError
            Raised if the condition is invalid.
        """
        keep = np.asarray(table["score"]) >= self.min_score
        if not self.streaks:
            keep &= ~np.asarray(table["streakFlag"])
        if self.where is not None:
            keep &= select_rows(table, self.where)
        return table[keep]

    def ordered(self, table: astropy.table.Table) -> astropy.table.Table:
        """Return the sample of matching rows in their order, without the limit.

        Parameters
        ----------
        table
            Matching rows of all catalogs.

        Raises
        ------
        lsst.meas.trails.core.catalog.export.CatalogFormatError
            Raised if the column of the order does not exist.
        """
        if self.sample is not None and self.sample < len(table):
            rng = np.random.default_rng(self.seed)
            table = table[np.sort(rng.choice(len(table), self.sample, replace=False))]
        return sort_rows(table, self.sort)
