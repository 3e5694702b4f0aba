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

"""Images around candidates: the searched image, its template and difference, and the probability."""

from __future__ import annotations

__all__ = ("CandidateImages", "read_candidate_images")

import dataclasses
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import astropy.table
import numpy as np
import numpy.typing as npt

from lsst.daf.butler import MissingDatasetTypeError
from lsst.pipe.base import InvalidQuantumError, UpstreamFailureNoWorkFound

from ..core.cutouts import CUTOUT_MARGIN, CUTOUT_SIDE, Cutout, cut_candidates
from ..core.psf import PsfGrid
from ..repository.visit_record import RepositoryError
from ._input_image import InputImage, check_covers, read_input_image, read_template

if TYPE_CHECKING:
    from lsst.daf.butler import DeferredDatasetHandle

    from ..repository.candidates import DetectorResult

_LOG = logging.getLogger(__name__)

SCIENCE_TYPES = ("preliminary_visit_image", "visit_image")
"""Dataset types of visit images, in AP and DRP."""

DIFFERENCE_TYPES = ("difference_image",)
"""Dataset types of difference images."""

TEMPLATE_TYPES = ("template_detector", "template_matched")
"""Dataset types of templates, in AP and DRP."""

_PSF_SPACING = 512.0
_INJECTED = "injected_"


@dataclasses.dataclass(frozen=True, eq=False)
class CandidateImages:
    """Images of one detector as arrays of one shape."""

    searched: str
    """Image in which the candidates were found: ``science`` or ``difference``."""

    dataset_types: dict[str, str]
    """Dataset types of ``science``, ``difference`` and ``template``, as far as they exist."""

    arrays: dict[str, npt.NDArray[Any]]
    """The searched image; its ``variance`` and ``mask``; and, as far as they exist, the other of ``science``
    and ``difference``, ``template`` (without its background) and ``probability``. Pixels are in nJy.
    """

    image: InputImage
    """The searched image."""

    @property
    def psf(self) -> PsfGrid:
        """PSF of the searched image in array coordinates."""
        return self.image.planes.psf

    def cutouts(
        self, candidates: astropy.table.Table, side: int = CUTOUT_SIDE, margin: int = CUTOUT_MARGIN
    ) -> Iterator[Cutout]:
        """Return the cutouts of candidates of this detector; see `cut_candidates`."""
        return cut_candidates(
            self.arrays, candidates, origin=self.image.origin, psf=self.psf, side=side, margin=margin
        )


def read_candidate_images(result: DetectorResult) -> CandidateImages:
    """Read the images of a detector, each once.

    Parameters
    ----------
    result
        Candidates of the detector; the collection also has the searched image.

    Raises
    ------
    RepositoryError
        Raised if the collection lacks the searched image, or an image cannot be used.
    UnreadableImageError
        Raised if the Butler cannot read an image.
    """
    name = result.image_type
    handle = _find(result, (name,))
    if handle is None:
        raise RepositoryError(
            f"The collection has no {name} of {result.label}, in which the candidates were found; add the "
            "collection of the images to it."
        )
    image = _read(handle, result)
    searched = "difference" if name.removeprefix(_INJECTED) in DIFFERENCE_TYPES else "science"
    scale = np.asarray(image.flux_per_njy_map(), dtype=np.float32)
    arrays: dict[str, npt.NDArray[Any]] = {
        searched: image.planes.image / scale,
        "variance": image.planes.variance / scale**2,
        "mask": image.planes.mask,
    }
    types = {searched: name}
    other = "science" if searched == "difference" else "difference"
    names: tuple[str, ...] = SCIENCE_TYPES if other == "science" else DIFFERENCE_TYPES
    if name.startswith(_INJECTED):
        names = tuple(f"{_INJECTED}{known}" for known in names)
    if (companion := _find(result, names)) is not None:
        read = _read(companion, result)
        if read.bbox == image.bbox:
            arrays[other] = read.planes.image / np.asarray(read.flux_per_njy_map(), dtype=np.float32)
            types[other] = companion.ref.datasetType.name
        else:
            _LOG.warning("The %s of %s has other pixels than the image: not cut.", other, result.label)
    if (template := _find(result, TEMPLATE_TYPES)) is not None:
        arrays["template"] = read_template(template, image) / scale
        types["template"] = template.ref.datasetType.name
    if (found := _find(result, ("trail_probability",))) is not None:
        probability = found.get()
        try:
            check_covers(probability, image, "probability image")
        except InvalidQuantumError as error:
            raise RepositoryError(f"{result.label}: {error}") from error
        arrays["probability"] = np.asarray(probability.array, dtype=np.float32)
    return CandidateImages(searched, types, arrays, image)


def _find(result: DetectorResult, names: tuple[str, ...]) -> DeferredDatasetHandle | None:
    """Return the first of some dataset types that the collection has for a detector."""
    for name in names:
        try:
            ref = result.butler.find_dataset(name, result.data_id)
        except MissingDatasetTypeError:
            continue
        if ref is not None:
            return result.butler.getDeferred(ref)
    return None


def _read(handle: DeferredDatasetHandle, result: DetectorResult) -> InputImage:
    try:
        return read_input_image(handle, psf_spacing=_PSF_SPACING)
    except UpstreamFailureNoWorkFound as error:
        raise RepositoryError(
            f"{handle.ref.datasetType.name} of {result.label} cannot be used: {error}"
        ) from error
