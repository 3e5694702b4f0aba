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

"""Candidates of a collection with their pictures, for the vetting page."""

from __future__ import annotations

__all__ = ("vet_candidates",)

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import astropy.table

    from ..evaluation.vetting.pictures import VetCandidate
    from ..repository.candidates import DetectorResult


def vet_candidates(results: Iterable[DetectorResult], table: astropy.table.Table) -> list[VetCandidate]:
    """Return candidates with their pictures; each image is read once.

    Parameters
    ----------
    results
        Catalogs of the detectors.
    table
        Rows of the catalogs, in the order of the result.

    Raises
    ------
    lsst.meas.trails.repository.visit_record.RepositoryError
        Raised if an image does not exist or cannot be used.
    """
    import numpy as np

    from ..core.progress import make_progress, track
    from ..evaluation.vetting.pictures import vet_candidate
    from ..tasks._candidate_images import read_candidate_images

    made: dict[int, VetCandidate] = {}
    wanted = np.asarray(table["trailCandidateId"])
    groups = [
        (result, np.flatnonzero(np.isin(wanted, result.candidates["trailCandidateId"]))) for result in results
    ]
    groups = [(result, places) for result, places in groups if len(places)]
    with make_progress() as progress:
        for result, places in track(progress, groups, "Cutting", len(groups)):
            for cutout in read_candidate_images(result).cutouts(table[places]):
                place = int(places[cutout.row])
                made[place] = vet_candidate(table[place], cutout)
    return [made[place] for place in sorted(made)]
