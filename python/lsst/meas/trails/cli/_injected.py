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

"""Injected images and tile files in a Butler collection."""

from __future__ import annotations

__all__ = ("InjectedImage", "injected_images", "query_refs", "tile_files")

import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lsst.daf.butler import Butler, DatasetRef

    from ..adcnn.files import AdcnnImage

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class InjectedImage:
    """An injected image in a Butler repository.

    Parameters
    ----------
    butler
        Butler of the repository, with the collection as its default.
    ref
        The image.
    prefix
        What its dataset type begins with.
    """

    butler: Butler
    ref: DatasetRef
    prefix: str = "injected_"

    @property
    def label(self) -> str:
        """Data ID to be read by people."""
        data_id = dict(self.ref.dataId.required)
        return f"visit {data_id['visit']}, detector {data_id['detector']}"

    def read(self) -> AdcnnImage | None:
        """Read image, mask and trails; `None`, after a warning, if the image
        cannot be used.
        """
        import numpy as np
        import scipy.ndimage

        from lsst.daf.butler import DatasetNotFoundError
        from lsst.pipe.base import InvalidQuantumError, UpstreamFailureNoWorkFound

        from ..adcnn.files import AdcnnImage
        from ..core.injection.truth import is_trail
        from ..tasks._input_image import check_covers, read_input_image
        from ..tasks._trail_images import TRAIL_PLANE

        data_id = self.ref.dataId
        try:
            opened = read_input_image(self.butler.get(self.ref))
            mask = self.butler.get(f"{self.prefix}trail_mask", data_id)
            catalog = self.butler.get(f"{self.ref.datasetType.name}_catalog", data_id)
            check_covers(mask, opened, "mask of the injected trails")
        except (
            UpstreamFailureNoWorkFound,
            InvalidQuantumError,
            DatasetNotFoundError,
            FileNotFoundError,
            ValueError,
        ) as error:
            _LOG.warning("%s is left out: %s", self.label, error)
            return None
        trails = catalog[is_trail(catalog)]
        x, y = opened.origin
        trails["x"], trails["y"] = np.asarray(trails["x"]) - x, np.asarray(trails["y"]) - y
        trails["visit"], trails["detector"] = int(data_id["visit"]), int(data_id["detector"])
        # Theirs holds the letter of the band.
        trails["physical_filter"] = str(opened.visit_image.band or "")
        trails["stack_detection"] = False
        labels, _ = scipy.ndimage.label(opened.planes.has("DETECTED"), np.ones((3, 3)))
        return AdcnnImage(
            number=0,
            image=opened.planes.image,
            mask=mask.get(TRAIL_PLANE.name),
            # More footprints than the type has numbers for share the last.
            real_labels=np.minimum(labels, np.iinfo(np.uint16).max).astype(np.uint16),
            trails=trails,
        )


def injected_images(repo: str, collection: str, where: str, input_image: str) -> Sequence[InjectedImage]:
    """Return the injected images of a collection, by visit and detector.

    Raises
    ------
    click.ClickException
        Raised if there is no such repository or collection, or nothing in
        it.
    """
    butler, refs = query_refs(
        repo, collection, f"injected_{input_image}", where, "run pipelines/MakeTrainingSet.yaml first"
    )
    return [InjectedImage(butler=butler, ref=ref) for ref in refs]


def tile_files(repo: str, collection: str, where: str) -> list[Path]:
    """Return the tile files of a collection, by data ID.

    Raises
    ------
    click.ClickException
        Raised if there is no such repository or collection, or nothing in
        it, or its files are not on this machine.
    """
    butler, refs = query_refs(
        repo, collection, "trail_tiles", where, "run pipelines/MakeTrainingSet.yaml first"
    )
    paths = []
    for ref in refs:
        uri = butler.getURI(ref)
        if not uri.isLocal:
            raise click.ClickException(f"{uri} is not a file of this machine; fetch them first.")
        paths.append(Path(uri.ospath))
    return paths


def query_refs(
    repo: str, collection: str, dataset_type: str, where: str, hint: str
) -> tuple[Butler, list[DatasetRef]]:
    """Return the datasets of a type in a collection, by data ID.

    Parameters
    ----------
    repo, collection
        The repository and the collection.
    dataset_type
        Name of the type, of dimensions instrument, visit and detector.
    where
        Which of them, as in a query; may be empty.
    hint
        What to do where there is none.

    Raises
    ------
    click.ClickException
        Raised if there is no such repository, collection or dataset.
    """
    from lsst.daf.butler import (
        Butler,
        ButlerUserError,
        EmptyQueryResultError,
        MissingCollectionError,
        MissingDatasetTypeError,
    )

    try:
        butler = Butler.from_config(repo, collections=collection, writeable=False)
        if where and "instrument" not in where:
            # A Butler wants the instrument named where its visits are.
            instruments = [repr(record.name) for record in butler.query_dimension_records("instrument")]
            where = f"instrument IN ({', '.join(instruments)}) AND ({where})"
        refs: list[Any] = list(butler.query_datasets(dataset_type, where=where, limit=None))
    except FileNotFoundError as error:
        raise click.ClickException(f"There is no Butler repository at {repo}.") from error
    except MissingCollectionError as error:
        raise click.ClickException(f"{repo} has no collection {collection!r}.") from error
    except (EmptyQueryResultError, MissingDatasetTypeError) as error:
        if where:
            hint = f"none where {where}, that is"
        raise click.ClickException(f"{collection!r} holds no {dataset_type}; {hint}.") from error
    except ButlerUserError as error:
        raise click.ClickException(f"--where {where}: {error}") from error
    order = ("instrument", "visit", "detector")
    return butler, sorted(refs, key=lambda ref: [ref.dataId[name] for name in order])
