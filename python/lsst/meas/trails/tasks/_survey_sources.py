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
"""Images of a Butler collection or of FITS files, for calibration on a survey."""

from __future__ import annotations

__all__ = (
    "ButlerImage",
    "FitsImage",
    "find_butler_images",
    "find_fits_images",
    "image_gains",
    "sample_images",
    "shipped_model_name",
)

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import astropy.table
import numpy as np

from lsst.daf.butler import Butler, MissingDatasetTypeError
from lsst.pipe.base import UpstreamFailureNoWorkFound

from ..core.geometry import Trails
from ..core.injection.gain import GainMap, fit_gains
from ..core.planes import ImagePlanes
from ..repository.butler import TRUTH_DATASET_TYPE
from ..repository.candidates import CATALOG_TYPE, read_catalog
from ..repository.labels import read_labels
from ..repository.opening import open_butler
from ..repository.pixels import read_box
from ..repository.query import query_collection
from ..repository.visit_record import RepositoryError
from ._amplifiers import amplifiers_of, known_gains
from ._input_image import InputImage, UnreadableImageError, read_input_image, read_template

if TYPE_CHECKING:
    from ..ingest.observation import FitsOptions
    from ..ingest.pairing import FitsFiles
    from ..training.survey_images import ImageSource, SurveyImage


@dataclasses.dataclass(frozen=True)
class ButlerImage:
    """Image of a Butler collection, and its known content.

    Parameters
    ----------
    repo, collections
        The repository and its collections, in the order of the search.
    dataset_type
        Dataset type of the image.
    instrument, visit, detector
        Its data ID.
    shape
        Shape (ny, nx), pixels.
    template_type
        Dataset type of the template, `None` without one.
    """

    repo: str
    collections: tuple[str, ...]
    dataset_type: str
    instrument: str
    visit: int
    detector: int
    shape: tuple[int, int]
    template_type: str | None = None

    @property
    def label(self) -> str:
        """Data ID."""
        return f"{self.dataset_type} {self.instrument} visit {self.visit} detector {self.detector}"

    @property
    def data_id(self) -> dict[str, str | int]:
        """Data ID."""
        return {"instrument": self.instrument, "visit": self.visit, "detector": self.detector}

    def read(self) -> SurveyImage:
        """Read image, template, true and labeled trails.

        Raises
        ------
        lsst.meas.trails.training.survey_images.SurveyError
            Raised if the image cannot be used.
        """
        from ..training.survey_images import SurveyImage

        image, planes = self.read_input()
        butler = _butler(self.repo, self.collections)
        return SurveyImage(planes, image_gains(image), self._known_lines(butler, image))

    def read_input(self) -> tuple[InputImage, ImagePlanes]:
        """Read the image, and its arrays with the template.

        Raises
        ------
        lsst.meas.trails.training.survey_images.SurveyError
            Raised if the image cannot be used.
        """
        from ..training.survey_images import SurveyError

        butler = _butler(self.repo, self.collections)
        try:
            image = read_input_image(butler.getDeferred(self.dataset_type, self.data_id))
            planes = image.planes
            if self.template_type is not None:
                handle = butler.getDeferred(self.template_type, self.data_id)
                planes = dataclasses.replace(planes, template=read_template(handle, image))
        except (UpstreamFailureNoWorkFound, UnreadableImageError, LookupError) as error:
            raise SurveyError(str(error)) from error
        return image, planes

    def labels(self) -> astropy.table.Table:
        """Read the labels of the image; see `~lsst.meas.trails.repository.labels.read_labels`."""
        where = f"instrument = {self.instrument!r} AND visit = {self.visit}"
        labels = read_labels(_butler(self.repo, self.collections), where=where)
        return labels[labels["detector"] == self.detector]

    def catalog(self) -> astropy.table.Table | None:
        """Read the candidates that a pipeline found in the image, `None` without any."""
        butler = _butler(self.repo, self.collections)
        if not _exists(butler, CATALOG_TYPE, self.data_id):
            return None
        return read_catalog(butler, CATALOG_TYPE, self.data_id)

    def _known_lines(self, butler: Butler, image: InputImage) -> Trails:
        """Return the lines of truth tables, labels and known objects, array coordinates."""
        tables = [
            (butler.get(name, self.data_id), "trail_length", "beta", "flux")
            for name in (f"{self.dataset_type}_catalog", TRUTH_DATASET_TYPE)
            if _exists(butler, name, self.data_id)
        ]
        labels = self.labels()
        tables.append((labels[labels["label"] == "trail"], "trailLengthPix", "trailAnglePix", "trailFlux"))
        found = [
            trail
            for table, length, angle, flux in tables
            for trail in Trails.from_table(table, length=length, angle=angle, flux=flux)
            if np.all(np.isfinite(trail.ends))
        ]
        x, y = image.origin
        return Trails.from_trails(dataclasses.replace(t, x=t.x - x, y=t.y - y) for t in found)


@dataclasses.dataclass(frozen=True)
class FitsImage:
    """Image of a FITS file.

    Parameters
    ----------
    files
        The file, and those of its mask and noise.
    options
        Values that replace header values.
    visit
        Visit number.
    shape
        Shape (ny, nx), pixels.
    """

    files: FitsFiles
    options: FitsOptions
    visit: int
    shape: tuple[int, int]

    @property
    def label(self) -> str:
        """Name of the file."""
        return str(self.files)

    def read(self) -> SurveyImage:
        """Read the file.

        Raises
        ------
        lsst.meas.trails.training.survey_images.SurveyError
            Raised if the image cannot be used.
        """
        from ..ingest.image import make_fits_image
        from ..ingest.layout import FitsIngestError
        from ..ingest.observation import inspect_fits
        from ..training.survey_images import SurveyError, SurveyImage

        try:
            visit_image, _ = make_fits_image(inspect_fits(self.files, self.options), self.options)
            image = read_input_image(visit_image)
        except (FitsIngestError, UpstreamFailureNoWorkFound) as error:
            raise SurveyError(str(error)) from error
        return SurveyImage(image.planes, image_gains(image))


def find_butler_images(
    repo: str,
    collection: str,
    dataset_type: str,
    *,
    where: str = "",
    template_type: str | None = None,
    most: int | None = None,
    seed: int = 1,
) -> list[ButlerImage]:
    """Return images of a collection, spread over its visits.

    Parameters
    ----------
    repo, collection
        The repository and the collection.
    dataset_type
        Dataset type of the images.
    where
        Condition of a Butler query; may be empty.
    template_type
        Dataset type of the templates, `None` to search without.
    most, seed
        Largest number of images, all by default, and seed of their choice.

    Raises
    ------
    RepositoryError
        Raised if the repository, the collection or the images do not exist.
    """
    hint = "pass the dataset type of the images with --dataset-type, or another collection"
    butler, refs = query_collection(repo, collection, dataset_type, where=where, hint=hint)
    if not {"instrument", "visit", "detector"} <= refs[0].dimensions.names:
        raise RepositoryError(
            f"{dataset_type} has the dimensions {', '.join(refs[0].dimensions.required)}; pass images of "
            "instrument, visit and detector with --dataset-type."
        )
    chosen = sample_images(refs, [int(ref.dataId["visit"]) for ref in refs], most, seed)
    images = []
    for ref in chosen:
        data_id = dict(ref.dataId.required)
        has_template = template_type is not None and _exists(butler, template_type, data_id)
        images.append(
            ButlerImage(
                repo=repo,
                collections=tuple(butler.collections.defaults),
                dataset_type=dataset_type,
                instrument=str(data_id["instrument"]),
                visit=int(data_id["visit"]),
                detector=int(data_id["detector"]),
                shape=_shape(butler, dataset_type, data_id),
                template_type=template_type if has_template else None,
            )
        )
    return images


def find_fits_images(
    files: Sequence[FitsFiles], options: FitsOptions, *, most: int | None = None, seed: int = 1
) -> list[FitsImage]:
    """Return images of FITS files, spread over their visits.

    Parameters
    ----------
    files
        The files.
    options
        Values that replace header values.
    most, seed
        Largest number of images, all by default, and seed of their choice.

    Raises
    ------
    lsst.meas.trails.ingest.layout.FitsIngestError
        Raised if a file cannot be used.
    """
    from ..ingest.observation import inspect_all

    observations = inspect_all(files, options)
    images = [
        FitsImage(file, options, observation.visit, observation.layout.shape)
        for file, observation in zip(files, observations, strict=True)
    ]
    return sample_images(images, [image.visit for image in images], most, seed)


def sample_images[T](images: Sequence[T], visits: Sequence[int], most: int | None, seed: int) -> list[T]:
    """Return a random sample of images with as many visits as possible, in their order.

    Parameters
    ----------
    images
        The images.
    visits
        Visit of each.
    most, seed
        Largest number of images, all by default, and seed of their choice.
    """
    if most is None or most >= len(images):
        return list(images)
    order = np.random.default_rng(seed).permutation(len(images))
    seen: dict[int, int] = {}
    rounds: list[tuple[int, int, int]] = []
    for index in order:
        visit = visits[index]
        rounds.append((seen.get(visit, 0), len(rounds), int(index)))
        seen[visit] = seen.get(visit, 0) + 1
    # The first image of each visit comes before the second of any.
    return [images[index] for index in sorted(index for _, _, index in sorted(rounds)[:most])]


@functools.lru_cache(maxsize=2)
def shipped_model_name(has_template: bool, dataset_type: str) -> str:
    """Return the name of the model in the package for images.

    Parameters
    ----------
    has_template
        Whether any of the images has a template.
    dataset_type
        Dataset type of the images.
    """
    if has_template:
        return "template"
    return "difference" if dataset_type == "difference_image" else "direct"


def _butler(repo: str, collections: tuple[str, ...]) -> Butler:
    """Open a repository once per process."""
    return open_butler(repo).clone(collections=collections)


def _exists(butler: Butler, name: str, data_id: dict[str, str | int]) -> bool:
    try:
        return butler.find_dataset(name, data_id) is not None
    except MissingDatasetTypeError:
        return False


def _shape(butler: Butler, dataset_type: str, data_id: dict[str, str | int]) -> tuple[int, int]:
    box = read_box(butler, dataset_type, data_id)
    return int(box.y.size), int(box.x.size)


def image_gains(image: InputImage) -> GainMap:
    """Return the known or fitted gains of an image."""
    return known_gains(image) or fit_gains(image.planes, [box for box, _ in amplifiers_of(image)])


if TYPE_CHECKING:
    _: type[ImageSource] = ButlerImage
    _ = FitsImage
