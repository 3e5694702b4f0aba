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

"""Connections that several tasks have in common."""

from __future__ import annotations

__all__ = (
    "DETECTOR",
    "ImageConnections",
    "TemplateConnections",
    "image_input",
    "mask_input",
    "mask_output",
    "table_input",
    "table_output",
)

from functools import partial

import lsst.pipe.base.connectionTypes as cT
from lsst.pipe.base import PipelineTaskConnections

DETECTOR = ("instrument", "visit", "detector")
"""Dimensions of a quantum that processes one detector."""

image_input = partial(cT.Input, storageClass="VisitImage", dimensions=DETECTOR, deferLoad=True)
mask_input = partial(cT.Input, storageClass="MaskV2", dimensions=DETECTOR)
mask_output = partial(cT.Output, storageClass="MaskV2", dimensions=DETECTOR)
table_input = partial(cT.Input, storageClass="ArrowAstropy", dimensions=DETECTOR)
table_output = partial(cT.Output, storageClass="ArrowAstropy", dimensions=DETECTOR)


class ImageConnections(
    PipelineTaskConnections, dimensions=DETECTOR, defaultTemplates={"input_image": "preliminary_visit_image"}
):
    """Connections of a task that reads the calibrated image of a detector."""

    image = image_input(doc="Calibrated image.", name="{input_image}")


class TemplateConnections(
    ImageConnections, dimensions=DETECTOR, defaultTemplates={"template_image": "template_detector"}
):
    """Connections of a task that also reads the template of the image."""

    template = image_input(
        doc="Template of the same sky on the pixels of the image, such as a warped coadd.",
        name="{template_image}",
        minimum=0,
    )
