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

"""Reading what the pipelines have written."""

from __future__ import annotations

__all__ = ("DetectorResult", "default_min_score", "detector_results", "image_type_of", "make_console")

import dataclasses
from collections.abc import Container, Iterator
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import astropy.table
    from rich.console import Console

    from lsst.daf.butler import Butler, DataCoordinate

CATALOG_TYPE = "trail_candidate_detector"

_SIMULATED_TRUTH_TYPE = "simulated_trail_catalog"
_PROBABILITY_TYPE = "trail_probability"
_DEFAULT_IMAGE_TYPE = "preliminary_visit_image"


@dataclasses.dataclass(frozen=True, eq=False)
class DetectorResult:
    """The candidates of one detector, and what goes with them.

    Parameters
    ----------
    butler
        Where they come from.
    data_id
        Data ID of the detector.
    candidates
        The `trail_candidate_detector`.
    image_type
        Dataset type of the image that they were found in.
    truth
        Truth table of the detector, if there is one.
    """

    butler: Butler
    data_id: dict[str, Any]
    candidates: astropy.table.Table
    image_type: str
    truth: astropy.table.Table | None

    @property
    def n_pixels(self) -> int:
        """Area of the image, pixels."""
        ny, nx = self.candidates.meta["imageShape"]
        return int(ny) * int(nx)

    @property
    def label(self) -> str:
        """Data ID to be read by people."""
        return f"visit {self.data_id['visit']}, detector {self.data_id['detector']}"


def detector_results(
    repo: str,
    collection: str,
    *,
    visit: int | None = None,
    detector: int | None = None,
    with_truth: bool = True,
) -> Iterator[DetectorResult]:
    """Iterate over the candidate catalogs of a collection.

    Parameters
    ----------
    repo
        The Butler repository.
    collection
        The collection.
    visit, detector
        Only these, if given.
    with_truth
        Whether to read the truth tables too.

    Raises
    ------
    click.ClickException
        Raised if there is no such repository or collection, or nothing in
        it.
    """
    from lsst.daf.butler import Butler, EmptyQueryResultError, MissingCollectionError
    from lsst.daf.butler import MissingDatasetTypeError as MissingType

    try:
        butler = Butler.from_config(repo, collections=collection, writeable=False)
        known = {dataset_type.name for dataset_type in butler.registry.queryDatasetTypes()}
        wanted = {"visit": visit, "detector": detector}
        conditions = [f"{name} = {value}" for name, value in wanted.items() if value is not None]
        if conditions:
            # A Butler wants the instrument named where its visits are.
            instruments = [repr(record.name) for record in butler.query_dimension_records("instrument")]
            conditions.append(f"instrument IN ({', '.join(instruments)})")
        refs = butler.query_datasets(CATALOG_TYPE, where=" AND ".join(conditions), limit=None)
    except FileNotFoundError as error:
        raise click.ClickException(f"There is no Butler repository at {repo}.") from error
    except MissingCollectionError as error:
        raise click.ClickException(f"{repo} has no collection {collection!r}.") from error
    except (EmptyQueryResultError, MissingType) as error:
        hint = "run pipelines/DetectTrails.yaml first"
        if visit is not None or detector is not None:
            hint = "it may have others: leave out --visit and --detector"
        raise click.ClickException(f"{collection!r} holds no such {CATALOG_TYPE}; {hint}.") from error
    order = ("instrument", "visit", "detector")
    for ref in sorted(refs, key=lambda ref: [ref.dataId[name] for name in order]):
        # Without the parameter, the Butler leaves out what a table says of
        # itself, such as the model's name.
        candidates = butler.get(ref, parameters={"strip_astropy_meta_yaml": False})
        image_type = image_type_of(candidates)
        yield DetectorResult(
            butler=butler,
            data_id=dict(ref.dataId.required),
            candidates=candidates,
            image_type=image_type,
            truth=_read_truth(butler, ref.dataId, image_type, known) if with_truth else None,
        )


def image_type_of(candidates: astropy.table.Table) -> str:
    """Return the dataset type of the image that candidates were found in, as
    their provenance has it.
    """
    inputs = [
        str(value)
        for key, value in candidates.meta.items()
        if key.startswith("LSST.BUTLER.INPUT.") and key.endswith(".DATASETTYPE")
    ]
    return next((name for name in inputs if name != _PROBABILITY_TYPE), _DEFAULT_IMAGE_TYPE)


def _read_truth(
    butler: Butler, data_id: DataCoordinate, image_type: str, known: Container[str]
) -> astropy.table.Table | None:
    """Return what is in an image: trails that were injected into it, and
    those that were there before, in a simulated one.
    """
    import astropy.table

    tables = []
    for name in (f"{image_type}_catalog", _SIMULATED_TRUTH_TYPE):
        found = butler.find_dataset(name, data_id) if name in known else None
        if found is not None:
            tables.append(butler.get(found))
    return astropy.table.vstack(tables, metadata_conflicts="silent") if tables else None


def default_min_score(result: DetectorResult, false_per_detector: int = 10) -> float:
    """Return the score at which the model has a rate of false candidates, as
    its validation found it; 0.5 where it does not say.
    """
    known = result.candidates.meta.get("scoreAtFalsePerDetector", {})
    return float(known.get(str(false_per_detector), 0.5))


def make_console() -> Console:
    """Return a console for tables, wide enough where there is no terminal."""
    import sys

    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 118)
