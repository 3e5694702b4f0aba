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

"""Export of injected images to the files of Asteroid_detection_CNN."""

from __future__ import annotations

__all__ = ("export_images", "read_injected_image")

import logging
from collections.abc import Iterable

import numpy as np
import scipy.ndimage

from lsst.daf.butler import Butler, DatasetNotFoundError, DatasetRef
from lsst.pipe.base import InvalidQuantumError, UpstreamFailureNoWorkFound

from ..adcnn.files import AdcnnFileError, AdcnnImage, AdcnnWriter
from ..adcnn.import_images import TransferCounts
from ..core.injection.truth import is_trail
from ._input_image import check_covers, read_input_image
from ._trail_images import TRAIL_PLANE

_LOG = logging.getLogger(__name__)

_UNUSABLE = (
    UpstreamFailureNoWorkFound,
    InvalidQuantumError,
    DatasetNotFoundError,
    FileNotFoundError,
    ValueError,
)


def read_injected_image(butler: Butler, ref: DatasetRef) -> AdcnnImage:
    """Read an injected image with its mask and trails.

    Parameters
    ----------
    butler
        Butler with the collection of the image as its default.
    ref
        The ``injected_image`` of InjectTrailsTask.

    Raises
    ------
    lsst.pipe.base.UpstreamFailureNoWorkFound
        Raised if the image has no PSF, WCS or good pixel.
    lsst.pipe.base.InvalidQuantumError
        Raised if the mask belongs to another image.
    LookupError
        Raised if the mask or the truth table is missing.
    """
    data_id = ref.dataId
    image = read_input_image(butler.get(ref))
    mask = butler.get("injected_trail_mask", data_id)
    catalog = butler.get(f"{ref.datasetType.name}_catalog", data_id)
    check_covers(mask, image, "mask of the injected trails")
    trails = catalog[is_trail(catalog)]
    for axis, start in zip("xy", image.origin, strict=True):
        trails[axis] = np.asarray(trails[axis]) - start
    trails["visit"], trails["detector"] = int(data_id["visit"]), int(data_id["detector"])
    # Asteroid_detection_CNN has the band in this column.
    trails["physical_filter"] = str(image.visit_image.band or "")
    trails["stack_detection"] = False
    labels, _ = scipy.ndimage.label(image.planes.has("DETECTED"), np.ones((3, 3)))
    return AdcnnImage(
        number=0,
        image=image.planes.image,
        mask=mask.get(TRAIL_PLANE.name),
        # Footprints beyond the largest number share it.
        real_labels=np.minimum(labels, np.iinfo(np.uint16).max).astype(np.uint16),
        trails=trails,
    )


def export_images(
    butler: Butler, refs: Iterable[DatasetRef], writer: AdcnnWriter, *, real_labels: bool = True
) -> TransferCounts:
    """Write injected images to the files of Asteroid_detection_CNN.

    Images that cannot be used are skipped, with a warning.

    Parameters
    ----------
    butler
        Butler with the collection of the images as its default.
    refs
        The images; see `read_injected_image`.
    writer
        Writer of the files.
    real_labels
        Whether to write the footprints of real sources.

    Raises
    ------
    AdcnnFileError
        Raised if the images have different shapes, or none can be used.
    OSError
        Raised if a file cannot be written.
    """
    counts = TransferCounts()
    for ref in refs:
        label = f"visit {ref.dataId['visit']}, detector {ref.dataId['detector']}"
        try:
            content = read_injected_image(butler, ref)
        except _UNUSABLE as error:
            _LOG.warning("Skipping %s: %s", label, error)
            counts.failed += 1
            continue
        try:
            writer.append(
                content.image, content.mask, content.trails, content.real_labels if real_labels else None
            )
        except ValueError as error:
            raise AdcnnFileError(f"{label}: {error}") from error
        counts.images += 1
        counts.trails += len(content.trails)
    if counts.images == 0:
        raise AdcnnFileError(f"None of the {counts.failed} images can be used.")
    return counts
