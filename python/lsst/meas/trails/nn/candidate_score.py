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

"""Calibrated scores of candidates by the second stage of a model, and its place in the files of a model."""

from __future__ import annotations

__all__ = (
    "SECOND_STAGE",
    "LogitCalibration",
    "SecondStageScore",
    "TableScore",
    "add_second_stage",
    "candidate_score",
    "score_of_table",
    "second_stage",
    "write_weights",
)

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from ..core.candidates.score import LOGIT_COLUMN, CandidateScore, FoundCandidates, ScoreModel
from ..core.logistic import fit_logistic
from ..core.normalize import TEMPLATE_CHANNELS
from .model_file import TrailModel, model_from_bytes, read_model_bytes, write_model_bytes
from .model_specification import SECOND_STAGE_PREFIX, ModelSpecification
from .second_stage import SecondStage, SecondStageSection

if TYPE_CHECKING:
    import torch

type _Floats = npt.NDArray[np.float64]

SECOND_STAGE = "second_stage"
"""Value of ``kind`` in the score of a model with a second stage."""

_LARGEST_LOGIT = 50.0


@dataclasses.dataclass(frozen=True)
class LogitCalibration:
    """Calibration of the log-odds of a second stage (Platt 1999, Advances in Large Margin Classifiers, 61).

    Parameters
    ----------
    slope
        Factor of the log-odds; positive.
    intercept
        Addition to the scaled log-odds.
    """

    slope: float = 1.0
    intercept: float = 0.0

    def __call__(self, logits: _Floats) -> _Floats:
        """Return the probabilities of log-odds."""
        calibrated = np.clip(self.slope * logits + self.intercept, -_LARGEST_LOGIT, _LARGEST_LOGIT)
        return np.asarray(1.0 / (1.0 + np.exp(-calibrated)))

    def of_table(self, table: Mapping[str, npt.ArrayLike]) -> _Floats:
        """Return the scores of candidates with log-odds in the column `LOGIT_COLUMN`."""
        return self(np.asarray(table[LOGIT_COLUMN], dtype=np.float64))

    @classmethod
    def fit(cls, logits: _Floats, is_trail: npt.NDArray[np.bool_]) -> Self:
        """Fit the calibration by maximum likelihood.

        Parameters
        ----------
        logits
            Log-odds of candidates, shape (n,).
        is_trail
            Whether each candidate is a trail, shape (n,).

        Raises
        ------
        ValueError
            Raised if all or none of the candidates are trails, or the log-odds do not tell them apart.
        """
        if not np.any(is_trail) or np.all(is_trail):
            raise ValueError(
                f"Cannot calibrate a score: {int(np.sum(is_trail))} of {len(is_trail)} candidates are trails."
            )
        coefficients, intercept = fit_logistic(logits[:, None], is_trail, penalty=1e-3)
        if not coefficients[0] > 0.0:
            raise ValueError("Cannot calibrate a score: the second stage ranks trails below the others.")
        return cls(float(coefficients[0]), float(intercept))

    def to_mapping(self) -> dict[str, object]:
        """Return the calibration, for the specification of a model."""
        return {"kind": SECOND_STAGE, "slope": self.slope, "intercept": self.intercept}

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, object]) -> Self:
        """Return the calibration of a mapping from `to_mapping`.

        Raises
        ------
        ValueError
            Raised if a number is missing or not valid.
        """
        slope, intercept = mapping.get("slope"), mapping.get("intercept")
        if isinstance(slope, float) and isinstance(intercept, float):
            if np.isfinite(intercept) and 0.0 < slope < np.inf:
                return cls(slope, intercept)
        raise ValueError(
            f"Slope and intercept of the score must be finite and the slope positive, not {slope!r} and "
            f"{intercept!r}."
        )


type TableScore = ScoreModel | LogitCalibration
"""Calibrated score of a table of candidates."""


@dataclasses.dataclass(frozen=True, eq=False)
class SecondStageScore:
    """Score of candidates by a second stage."""

    stage: SecondStage
    """The network."""

    calibration: LogitCalibration = LogitCalibration()
    """Calibration of its log-odds; by default the one of its training."""

    @property
    def needs_template(self) -> bool:
        """Need of the network for the template of an image."""
        return bool(TEMPLATE_CHANNELS & set(self.stage.section.channels))

    def score(self, found: FoundCandidates) -> _Floats:
        """Return the scores of candidates."""
        found.table[LOGIT_COLUMN] = self.stage.of_candidates(found)
        return self.calibration.of_table(found.table)


def candidate_score(model: TrailModel, values: Mapping[str, object] | None = None) -> CandidateScore | None:
    """Return the calibrated score of a model, `None` if it has none.

    Parameters
    ----------
    model
        The model.
    values
        Another calibration of its score; by default the one of its specification.

    Raises
    ------
    ValueError
        Raised if the score is not valid, or was made for another version of the package.
    """
    values = model.specification.score if values is None else values
    if not values:
        return None
    calibrated = score_of_table(values)
    if isinstance(calibrated, ScoreModel):
        return calibrated
    stage = second_stage(model)
    if stage is None:
        raise ValueError("The score needs a second stage, which the model lacks; train the model again.")
    return SecondStageScore(stage, calibrated)


def score_of_table(values: Mapping[str, object]) -> TableScore:
    """Return the calibrated score in the specification of a model, for tables of candidates.

    Raises
    ------
    ValueError
        Raised if the score is not valid, or was made for another version of the package.
    """
    is_second_stage = values.get("kind") == SECOND_STAGE
    return LogitCalibration.from_mapping(values) if is_second_stage else ScoreModel.from_mapping(values)


def second_stage(model: TrailModel) -> SecondStage | None:
    """Return the second stage of a model, `None` if it has none."""
    section = model.specification.second_stage
    if section is None:
        return None
    return SecondStage(
        section, {name: model.weights[SECOND_STAGE_PREFIX + name] for name in section.weight_shapes()}
    )


def add_second_stage(
    path: str | os.PathLike[str], section: SecondStageSection, weights: Mapping[str, npt.NDArray[np.float32]]
) -> ModelSpecification:
    """Add a second stage to the files of a model, or replace it.

    The score of the model, which belongs to another network, is removed. The weights go to a file with the
    name of the specification, so that other models with the same weights stay valid.

    Parameters
    ----------
    path
        Either of the files of the model.
    section, weights
        The second stage; matrices are stored in half precision.

    Returns
    -------
    specification
        The specification as written.

    Raises
    ------
    ModelError
        Raised if the model cannot be read, or the weights do not fit the section.
    """
    import safetensors.torch
    import torch

    text, content, weights_path = read_model_bytes(path)
    json_path = Path(path).with_suffix(".json")
    before = model_from_bytes(text, content, source=str(weights_path)).specification
    tensors = {
        name: tensor
        for name, tensor in safetensors.torch.load(content).items()
        if not name.startswith(SECOND_STAGE_PREFIX)
    }
    for name, array in weights.items():
        tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
        tensors[SECOND_STAGE_PREFIX + name] = tensor.half() if tensor.ndim >= 2 else tensor
    specification = before.replace(
        second_stage=section, weights_file=json_path.with_suffix(".safetensors").name
    )
    return write_weights(json_path, specification, tensors)


def write_weights(
    path: Path, specification: ModelSpecification, tensors: Mapping[str, torch.Tensor]
) -> ModelSpecification:
    """Write both files of a model with new weights, without the score, which belongs to others.

    Parameters
    ----------
    path
        The ``.json`` file.
    specification
        The specification; it names the file of the weights, in the same folder.
    tensors
        The weights.

    Returns
    -------
    specification
        The specification as written.

    Raises
    ------
    ModelError
        Raised if the weights do not fit the specification; nothing is written.
    """
    import safetensors.torch

    content = safetensors.torch.save(dict(tensors), metadata={"format": "pt"})
    specification = specification.replace(
        score={}, weights_sha256=hashlib.sha256(content).hexdigest(), weights_bytes=len(content)
    )
    text = specification.to_json().encode() + b"\n"
    model_from_bytes(text, content, source=str(path.with_name(specification.weights_file)))
    write_model_bytes(path, text, content)
    return specification
