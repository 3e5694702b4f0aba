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

__all__ = ("ImageSource", "KnownImage", "LabeledImage", "find_images")

import dataclasses
from typing import Protocol

import astropy.table
import numpy as np
import numpy.typing as npt

from lsst.daf.butler import Butler
from lsst.sphgeom import ConvexPolygon

from ..core.geometry import PixelToSky
from ..core.injection.fresh import TrailFreeImage
from ..core.planes import ImagePlanes
from ..core.tiles.labels import LabeledTruth
from ..core.tiles.splits import ImagePlace
from ..repository.opening import open_butler
from ..tasks._amplifiers import full_wells
from ..tasks._survey_sources import ButlerImage, find_butler_images, image_gains

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

    pixel_scale: float
    """Arcseconds per pixel."""

    exposure_time: float
    """Seconds, NaN if unknown."""

    gain: float
    """Electrons per image unit; infinite if unknown."""

    full_well: float
    """Typical saturation level, image units; infinite if unknown."""

    candidates: astropy.table.Table | None = None
    """Candidates of an earlier search, with ``x`` and ``y`` in array coordinates; `None` without one."""

    def background(self, ignored: npt.NDArray[np.bool_] | None = None) -> TrailFreeImage:
        """Return the image as one to add trails to.

        Parameters
        ----------
        ignored
            Pixels that a loss ignores; none by default.
        """
        none = np.zeros(self.planes.shape, dtype=bool) if ignored is None else ignored
        return TrailFreeImage(self.planes, none, gain=self.gain, full_well=self.full_well)


class ImageSource(Protocol):
    """Image that another process can read: hashable, and can be pickled."""

    @property
    def name(self) -> str:
        """Unique name, for files."""
        ...

    @property
    def visit(self) -> int:
        """The visit."""
        ...

    @property
    def detector(self) -> int:
        """The detector."""
        ...

    def read(self) -> KnownImage:
        """Read the image.

        Raises
        ------
        ValueError
            Raised if the image cannot be used or read.
        """
        ...


@dataclasses.dataclass(frozen=True)
class LabeledImage:
    """Image of a Butler collection with its labels."""

    source: ButlerImage
    """The image in its repository."""

    @property
    def name(self) -> str:
        """Name for files, such as ``LSSTCam-2025120200123-94``."""
        return f"{self.source.instrument}-{self.visit}-{self.detector}"

    @property
    def visit(self) -> int:
        """The visit."""
        return self.source.visit

    @property
    def detector(self) -> int:
        """The detector."""
        return self.source.detector

    def read(self) -> KnownImage:
        """Read image, template, labels and candidates.

        Raises
        ------
        lsst.meas.trails.training.survey_images.SurveyError
            Raised if the image cannot be used or read.
        """
        image, planes = self.source.read_input()
        candidates = self.source.catalog()
        if candidates is not None:
            for axis, start in zip("xy", image.origin, strict=True):
                candidates[axis] = np.asarray(candidates[axis]) - start
        gains = image_gains(image)
        levels = full_wells(image, gains)
        return KnownImage(
            planes=planes,
            labels=LabeledTruth.from_labels(self.source.labels(), image.origin),
            pixel_to_sky=image.array_to_sky,
            pixel_scale=image.pixel_scale,
            exposure_time=image.exposure_time,
            gain=gains.typical,
            full_well=_brightest(planes) if levels is None else float(np.nanmedian(levels)),
            candidates=candidates,
        )


def _brightest(planes: ImagePlanes) -> float:
    """Return the brightest unmasked pixels of an image, infinity if no pixel is saturated.

    They are close to the full well; the values of saturated pixels themselves are interpolated.
    """
    if not np.any(planes.has("SATURATED")):
        return np.inf
    good = planes.image[~planes.bad()]
    place = max(good.size - _BRIGHTEST, 0)
    return float(np.partition(good, place)[place])


def find_images(
    repo: str,
    collection: str,
    dataset_type: str,
    *,
    template_type: str | None = None,
    where: str = "",
    most: int | None = None,
    seed: int = 1,
) -> tuple[list[LabeledImage], list[ImagePlace]]:
    """Return the images of a collection, and their places on the sky.

    The parameters are those of `~lsst.meas.trails.tasks._survey_sources.find_butler_images`.

    Raises
    ------
    lsst.meas.trails.repository.visit_record.RepositoryError
        Raised if the repository, collection or image does not exist, or the condition is not valid.
    """
    sources = find_butler_images(
        repo, collection, dataset_type, where=where, template_type=template_type, most=most, seed=seed
    )
    butler = open_butler(repo)
    return [LabeledImage(source) for source in sources], [_place(butler, source) for source in sources]


def _place(butler: Butler, source: ButlerImage) -> ImagePlace:
    """Return visit and corners of an image, from the region of its detector."""
    records = butler.query_dimension_records("visit_detector_region", data_id=source.data_id, explain=False)
    region = records[0].region if records else None
    vertices = region.getVertices() if isinstance(region, ConvexPolygon) else []
    corners = np.array([list(vertex) for vertex in vertices], dtype=np.float64)
    return ImagePlace(
        visit=f"{source.instrument} {source.visit}", corners=corners if corners.shape == (4, 3) else None
    )
