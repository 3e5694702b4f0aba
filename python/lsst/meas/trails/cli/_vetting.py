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

__all__ = ("VetPictures",)

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import astropy.table
    import numpy as np
    import numpy.typing as npt

    from ..evaluation.vetting.pictures import VetCandidate
    from ..repository.candidates import DetectorResult


class VetPictures:
    """Pictures of the candidates of a collection.

    Parameters
    ----------
    results
        Catalogs of the detectors.
    types
        Dataset types of pictures, by the names of `~lsst.meas.trails.evaluation.vetting.pictures.PANELS`;
        ``image`` may be missing, and means the searched image.
    """

    def __init__(self, results: Iterable[DetectorResult], types: Mapping[str, str]) -> None:
        self._results = {
            (int(result.data_id["visit"]), int(result.data_id["detector"])): result for result in results
        }
        self._types = types
        self._missing: dict[str, int] = {}

    @property
    def missing(self) -> Mapping[str, int]:
        """Number of detectors without a dataset, by dataset type."""
        return self._missing

    def candidates(self, table: astropy.table.Table) -> list[VetCandidate]:
        """Return candidates with their pictures; each image is read once.

        Parameters
        ----------
        table
            Rows of the catalogs.

        Raises
        ------
        lsst.meas.trails.repository.visit_record.RepositoryError
            Raised if an image does not exist.
        """
        import numpy as np

        from ..core.cutouts import cut_candidates
        from ..core.progress import make_progress, track
        from ..evaluation.vetting.pictures import vet_candidate

        keys = np.stack([np.asarray(table[name]) for name in ("visit", "detector")], axis=1)
        made: dict[int, VetCandidate] = {}
        with make_progress() as progress:
            detectors = np.unique(keys, axis=0)
            for key in track(progress, detectors, "Cutting", len(detectors)):
                places = np.flatnonzero(np.all(keys == key, axis=1))
                arrays, origin = self._arrays(self._results[int(key[0]), int(key[1])])
                for cutout in cut_candidates(arrays, table[places], origin=origin):
                    place = int(places[cutout.row])
                    made[place] = vet_candidate(table[place], cutout)
        return [made[place] for place in sorted(made)]

    def _arrays(self, result: DetectorResult) -> tuple[dict[str, npt.NDArray[np.floating]], tuple[int, int]]:
        """Return the pixels of a detector by name, all on those of its image, and the first pixel."""
        import numpy as np

        from ..repository.visit_record import RepositoryError

        types = {"image": result.image_type, **self._types}
        read = {name: self._read(result, dataset_type) for name, dataset_type in types.items()}
        image = read.pop("image")
        if image is None:
            raise RepositoryError(
                f"There is no {types['image']} of {result.label}; name the dataset type with --image."
            )
        pixels, origin = image
        arrays = {"image": pixels}
        for name, other in read.items():
            if other is not None:
                arrays[name] = _align(
                    other[0], (other[1][0] - origin[0], other[1][1] - origin[1]), pixels.shape
                )
        return {name: np.asarray(array, dtype=np.float32) for name, array in arrays.items()}, origin

    def _read(
        self, result: DetectorResult, dataset_type: str
    ) -> tuple[npt.NDArray[np.floating], tuple[int, int]] | None:
        """Return the pixels of a dataset and its first pixel (x, y); `None` if it does not exist."""
        try:
            image = result.butler.get(dataset_type, result.data_id)
        except LookupError:
            self._missing[dataset_type] = self._missing.get(dataset_type, 0) + 1
            return None
        image = getattr(image, "image", image)
        return image.array, (int(image.bbox.x.start), int(image.bbox.y.start))


def _align(
    array: npt.NDArray[np.floating], start: tuple[int, int], shape: tuple[int, ...]
) -> npt.NDArray[np.floating]:
    """Return an array on the pixels of an image, NaN beyond its edges.

    Parameters
    ----------
    array
        The array.
    start
        Array coordinates (x, y) of its first pixel in the image.
    shape
        Shape (ny, nx) of the image.
    """
    import numpy as np

    result = np.full(shape, np.nan, dtype=np.float32)
    low = [max(first, 0) for first in start]
    (height, width), (ny, nx) = array.shape, shape
    high = min(start[0] + width, nx), min(start[1] + height, ny)
    if low[0] < high[0] and low[1] < high[1]:
        part = array[low[1] - start[1] : high[1] - start[1], low[0] - start[0] : high[0] - start[0]]
        result[low[1] : high[1], low[0] : high[0]] = part
    return result
