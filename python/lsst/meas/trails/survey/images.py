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

"""Images of a collection, as arrays with what people know about their trails."""

from __future__ import annotations

__all__ = ("KnownImage", "SurveyImage", "find_images")

import dataclasses
import functools

import numpy as np
import numpy.typing as npt

from lsst.daf.butler import Butler, DatasetRef, MissingDatasetTypeError
from lsst.pipe.base import UpstreamFailureNoWorkFound
from lsst.sphgeom import ConvexPolygon

from ..core.geometry import PixelToSky
from ..core.injection.fresh import TrailFreeImage
from ..core.injection.gain import fit_gains
from ..core.planes import ImagePlanes
from ..core.tiles.labels import LabeledTruth
from ..core.tiles.splits import ImagePlace
from ..repository.labels import read_labels
from ..repository.opening import find_collections, open_butler
from ..repository.query import query_collection
from ..tasks._amplifiers import amplifiers_of, full_wells, known_gains
from ..tasks._input_image import UnreadableImageError, read_input_image, read_template

_BRIGHTEST = 10
"""Unmasked pixels that may be brighter than the full well of an image, such as cosmic rays."""


@dataclasses.dataclass(frozen=True, eq=False)
class KnownImage:
    """An image and its labeled candidates, in array coordinates."""

    planes: ImagePlanes
    """The image, with its template if there is one."""

    labels: LabeledTruth
    """Candidates that people or known objects labeled."""

    pixel_to_sky: PixelToSky
    """Map from array coordinates to the sky, degrees."""

    origin: tuple[int, int]
    """Coordinates (x, y) of the first pixel in the image."""

    pixel_scale: float
    """Arcseconds per pixel."""

    exposure_time: float
    """Seconds, NaN if unknown."""

    gain: float
    """Electrons per image unit; infinite if unknown."""

    full_well: float
    """Typical saturation level, image units; infinite if unknown."""

    def background(self, ignored: npt.NDArray[np.bool_] | None = None) -> TrailFreeImage:
        """Return the image as one to add trails to.

        Parameters
        ----------
        ignored
            Pixels that a loss ignores; none by default.
        """
        none = np.zeros(self.planes.shape, dtype=bool) if ignored is None else ignored
        return TrailFreeImage(self.planes, none, gain=self.gain, full_well=self.full_well)


@dataclasses.dataclass(frozen=True)
class SurveyImage:
    """Place of an image in a repository; other processes can read it."""

    repo: str
    """Folder, URI or label of the repository."""

    collections: tuple[str, ...]
    """Collections with the image, its template and labels."""

    image_type: str
    """Dataset type of the image."""

    template_type: str | None
    """Dataset type of its template, `None` to do without."""

    instrument: str
    """Butler name of the instrument."""

    visit: int
    """The visit."""

    detector: int
    """The detector."""

    @property
    def data_id(self) -> dict[str, int | str]:
        """Data ID of the image."""
        return {"instrument": self.instrument, "visit": self.visit, "detector": self.detector}

    @property
    def name(self) -> str:
        """Name for files, such as ``LSSTCam-2025120200123-94``."""
        return f"{self.instrument}-{self.visit}-{self.detector}"

    def read(self) -> KnownImage:
        """Read the image.

        Raises
        ------
        ValueError
            Raised if the image cannot be used or read.
        """
        butler = _open(self.repo, self.collections)
        try:
            image = read_input_image(butler.getDeferred(self.image_type, self.data_id))
            planes = image.planes
            if (template := self._template(butler)) is not None:
                planes = dataclasses.replace(planes, template=read_template(template, image))
        except (UpstreamFailureNoWorkFound, UnreadableImageError) as error:
            raise ValueError(f"{self.image_type} {self.name} cannot be used: {error}") from error
        where = " AND ".join(f"{key} = {value!r}" for key, value in self.data_id.items())
        gains = known_gains(image)
        if gains is None:
            gains = fit_gains(planes, [box for box, _ in amplifiers_of(image)])
        levels = full_wells(image, gains)
        return KnownImage(
            planes=planes,
            labels=LabeledTruth.from_labels(read_labels(butler, where=where), image.origin),
            pixel_to_sky=image.array_to_sky,
            origin=image.origin,
            pixel_scale=image.pixel_scale,
            exposure_time=image.exposure_time,
            gain=gains.typical,
            full_well=_brightest(planes) if levels is None else float(np.nanmedian(levels)),
        )

    def _template(self, butler: Butler) -> object:
        """Return the handle of the template, `None` without one."""
        if self.template_type is None:
            return None
        try:
            return butler.getDeferred(self.template_type, self.data_id)
        except (LookupError, MissingDatasetTypeError):
            return None


def _brightest(planes: ImagePlanes) -> float:
    """Return the brightest unmasked pixels of an image, infinity if no pixel is saturated.

    They are close to the full well; the values of saturated pixels themselves are interpolated.
    """
    if not np.any(planes.has("SATURATED")):
        return np.inf
    good = planes.image[~planes.bad()]
    place = max(good.size - _BRIGHTEST, 0)
    return float(np.partition(good, place)[place])


@functools.lru_cache(maxsize=1)
def _open(repo: str, collections: tuple[str, ...]) -> Butler:
    """Open a repository, once per process."""
    return open_butler(repo).clone(collections=collections)


def find_images(
    repo: str,
    collection: str,
    image_type: str,
    *,
    template_type: str | None = None,
    where: str = "",
    limit: int | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[list[SurveyImage], list[ImagePlace]]:
    """Return the images of a collection, and their places on the sky.

    Parameters
    ----------
    repo, collection
        The repository, and names or patterns of collections, separated by commas.
    image_type, template_type
        Dataset types of the images and, optionally, of their templates.
    where
        Condition of a Butler query.
    limit
        Largest number of images, a random choice.
    rng
        Random numbers of the choice.

    Raises
    ------
    lsst.meas.trails.repository.visit_record.RepositoryError
        Raised if the repository, collection or image does not exist, or the condition is not valid.
    """
    hint = "choose another --image, --where or collection"
    butler, refs = query_collection(repo, collection, image_type, where=where, hint=hint)
    if limit is not None and len(refs) > limit:
        rng = rng or np.random.default_rng(0)
        refs = [refs[i] for i in sorted(rng.choice(len(refs), limit, replace=False))]
    collections = tuple(find_collections(butler, collection))
    images = [
        SurveyImage(
            repo=repo,
            collections=collections,
            image_type=image_type,
            template_type=template_type,
            instrument=str(ref.dataId["instrument"]),
            visit=int(ref.dataId["visit"]),
            detector=int(ref.dataId["detector"]),
        )
        for ref in refs
    ]
    return images, [_place(butler, ref) for ref in refs]


def _place(butler: Butler, ref: DatasetRef) -> ImagePlace:
    """Return visit and corners of an image, from the region of its detector."""
    records = butler.query_dimension_records("visit_detector_region", data_id=ref.dataId, explain=False)
    region = records[0].region if records else None
    vertices = region.getVertices() if isinstance(region, ConvexPolygon) else []
    corners = np.array([list(vertex) for vertex in vertices], dtype=np.float64)
    visit = f"{ref.dataId['instrument']} {ref.dataId['visit']}"
    return ImagePlace(visit=visit, corners=corners if corners.shape == (4, 3) else None)
