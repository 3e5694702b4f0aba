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

"""Average of a trained model and the model that it started from.

A model that is trained on one survey forgets others. The mean of its weights and those before the training
keeps most of what both know: Wortsman et al. 2022, CVPR, "Robust fine-tuning of zero-shot models"
(arXiv:2109.01903).
"""

from __future__ import annotations

__all__ = ("TRAINED_FRACTION", "average_with_start")

from pathlib import Path

from ..nn.candidate_score import SECOND_STAGE_PREFIX, write_weights
from ..nn.model_file import model_from_bytes, read_model_bytes
from ..nn.model_specification import ModelSpecification

TRAINED_FRACTION = 0.25
"""Fraction of the trained weights in the average, in both stages: more gains no more, and forgets more of
other surveys.
"""


def average_with_start(trained: Path, start: Path, fraction: float = TRAINED_FRACTION) -> ModelSpecification:
    """Replace the first stage of a trained model by its average with the one that it started from.

    Parameters
    ----------
    trained
        Specification of the trained model. Both files are rewritten; the score needs a new calibration.
    start
        Specification of the model that it started from, with the same layers; its second stage is not used.
    fraction
        Fraction of the trained weights.

    Returns
    -------
    specification
        The specification as written.

    Raises
    ------
    ValueError
        Raised if the two models have other layers.
    """
    import safetensors.torch

    text, content, source = read_model_bytes(trained)
    specification = model_from_bytes(text, content, source=str(source)).specification
    after = safetensors.torch.load(content)
    before = safetensors.torch.load(read_model_bytes(start)[1])
    shapes = [
        {name: tensor.shape for name, tensor in part.items() if not name.startswith(SECOND_STAGE_PREFIX)}
        for part in (before, after)
    ]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"{trained} has other layers than {start}; they can only be averaged if one was trained from the "
            "other."
        )
    mean = after | {
        name: before[name].float().lerp(after[name].float(), fraction).to(after[name].dtype)
        for name in shapes[0]
    }
    facts = {**specification.training, "trained_fraction": fraction}
    return write_weights(trained, specification.replace(training=facts), mean)
