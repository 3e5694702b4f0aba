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

"""Observations of a collection for reports, with their tracklets and images."""

from __future__ import annotations

__all__ = ("Observations", "read_observations")

import dataclasses

import astropy.table
import numpy as np

from lsst.daf.butler import MissingDatasetTypeError
from lsst.sphgeom import LonLat

from ..core.catalog.observations import add_association, add_tracklets, observation_table
from ..core.catalog.selection import CandidateSelection
from .candidates import DetectorResult, detector_results, read_catalog
from .query import query_collection
from .visit_record import RepositoryError

TRACKLET_TYPE = "trail_tracklet"
"""Dataset type of tracklets."""

MEMBER_TYPE = "trail_tracklet_member"
"""Dataset type of the members of tracklets."""

ASSOCIATED_TYPE = "trail_candidate_associated_detector"
"""Dataset type of the candidates of a detector with the designations of known objects."""


@dataclasses.dataclass(frozen=True, eq=False)
class Observations:
    """Selected candidates of a collection as observations."""

    table: astropy.table.Table
    """The candidates, with the columns of `~lsst.meas.trails.core.catalog.observations.observation_table`."""

    images: astropy.table.Table
    """Searched visits: ``visit``, ``midpointMjdTai`` (days), ``ra`` and ``dec`` of the center (deg)."""

    instruments: tuple[str, ...]
    """Butler names of the instruments of the candidates."""


def read_observations(
    repo: str,
    collection: str,
    selection: CandidateSelection,
    *,
    visit: int | None = None,
    detector: int | None = None,
    tracklets: str | None = None,
) -> Observations:
    """Return the selected candidates of a collection as observations.

    A tracklet is complete: if one of its members is selected, the others are, too.

    Parameters
    ----------
    repo, collection
        The repository and the collection of the candidates.
    selection
        Conditions and order.
    visit, detector
        Restriction to one visit or detector.
    tracklets
        Collection of the tracklets; by default that of the candidates, which may have none.

    Raises
    ------
    RepositoryError
        Raised if the repository, collection, catalog or named collection of tracklets does not exist.
    FilterError, CatalogFormatError
        Raised if a condition or the order cannot be understood.
    """
    results = list(detector_results(repo, collection, visit=visit, detector=detector, with_truth=False))
    everything = astropy.table.vstack(
        [_observations_of(result) for result in results], metadata_conflicts="silent"
    )
    found = _read_tracklets(repo, tracklets or collection, required=tracklets is not None)
    if found is not None:
        everything = add_tracklets(everything, *found)
    ordered = selection.ordered(selection.matching(everything))
    chosen = ordered[: selection.limit]
    wanted = set(chosen["trackletId"].tolist()) - {0}
    present = set(chosen["trailCandidateId"].tolist())
    partners = [
        row
        for row, (tracklet, candidate) in enumerate(
            zip(everything["trackletId"].tolist(), everything["trailCandidateId"].tolist(), strict=True)
        )
        if tracklet in wanted and candidate not in present
    ]
    if partners:
        chosen = astropy.table.vstack([chosen, everything[partners]])
    return Observations(
        table=chosen,
        images=_images(results),
        instruments=tuple(sorted({str(name) for name in chosen["instrument"]})),
    )


def _observations_of(result: DetectorResult) -> astropy.table.Table:
    """Return the candidates of a detector as observations, with the designations of known objects."""
    table = observation_table(
        result.candidates,
        instrument=str(result.data_id["instrument"]),
        physical_filter=result.physical_filter,
    )
    try:
        ref = result.butler.find_dataset(ASSOCIATED_TYPE, result.data_id)
    except MissingDatasetTypeError:
        ref = None
    return table if ref is None else add_association(table, read_catalog(result.butler, ref))


def _read_tracklets(
    repo: str, collection: str, *, required: bool
) -> tuple[astropy.table.Table, astropy.table.Table] | None:
    """Return the tracklets of a collection and their members, `None` if there are none."""
    tables = []
    for name in (TRACKLET_TYPE, MEMBER_TYPE):
        try:
            butler, refs = query_collection(
                repo, collection, name, hint="run pipelines/LinkTrails.yaml first, or omit --tracklets"
            )
        except RepositoryError:
            if required:
                raise
            return None
        tables.append(
            astropy.table.vstack([read_catalog(butler, ref) for ref in refs], metadata_conflicts="silent")
        )
    return tables[0], tables[1]


def _images(results: list[DetectorResult]) -> astropy.table.Table:
    """Return the searched visits."""
    rows: dict[tuple[object, int], tuple[float, float, float]] = {}
    for result in results:
        visit = int(result.data_id["visit"])
        key = (result.data_id["instrument"], visit)
        if key in rows:
            continue
        record = next(
            iter(
                result.butler.query_dimension_records(
                    "visit", instrument=result.data_id["instrument"], visit=visit
                )
            )
        )
        times = np.asarray(result.candidates["midpointMjdTai"], dtype=np.float64)
        if len(times):
            middle = float(times[0])
        else:
            span = record.timespan
            middle = 0.5 * (span.begin.tai.mjd + span.end.tai.mjd)
        center = LonLat(record.region.getBoundingCircle().getCenter())
        rows[key] = (middle, center.getLon().asDegrees() % 360.0, center.getLat().asDegrees())
    columns = list(zip(*rows.values(), strict=True))
    return astropy.table.Table(
        [[visit for _, visit in rows], *map(list, columns)], names=("visit", "midpointMjdTai", "ra", "dec")
    )
