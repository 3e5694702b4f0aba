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
"""Calibration of models on other scenes of a domain, as a survey would do it: without their truth."""

from __future__ import annotations

__all__ = ("DomainImage", "calibrate_in_domain")

import dataclasses
import hashlib
from pathlib import Path

from lsst.meas.trails.core.injection.gain import fit_gains
from lsst.meas.trails.nn.model_file import find_model, read_model_bytes, write_model_bytes
from lsst.meas.trails.training.survey import SurveyCalibration, calibrate_survey
from lsst.meas.trails.training.survey_images import SurveyImage

import domain_scenes
from domain_real import RealPsfs
from domain_scenes import DOMAINS, make_scene

_SEED = 500_000
"""Added to the seed of the searched scenes."""


@dataclasses.dataclass(frozen=True)
class DomainImage:
    """A scene of a domain without trails or new points."""

    domain: str
    seed: int
    index: int
    mode: str
    data: Path | None

    @property
    def visit(self) -> int:
        """Each scene has seeing and noise of its own."""
        return self.index

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (ny, nx), pixels."""
        return domain_scenes.SHAPE

    @property
    def label(self) -> str:
        """Name of the scene."""
        return f"{self.domain} {self.seed} {self.index}"

    def read(self) -> SurveyImage:
        """Simulate the scene."""
        domain, optics = DOMAINS[self.domain], None
        if domain.psf:
            assert self.data is not None
            optics = RealPsfs(self.data).optics(domain.psf, self.seed, self.index, self.shape)
        scene = make_scene(domain, self.seed, self.index, self.mode, optics, self.shape, density=(0.0,) * 3)
        return SurveyImage(scene.planes, fit_gains(scene.planes))


def calibrate_in_domain(
    name: str,
    mode: str,
    domain: str,
    *,
    scenes: int,
    seed: int,
    data: Path | None,
    folder: Path,
    processes: int,
) -> tuple[Path, SurveyCalibration]:
    """Calibrate a model on scenes of a domain, and write it.

    Parameters
    ----------
    name, mode
        The model and the kind of images that it searches.
    domain
        Name of the domain.
    scenes
        Number of scenes.
    seed
        Seed of the scenes that are searched; those of the calibration differ.
    data
        Folder of real PSFs.
    folder
        Folder for the model.
    processes
        Number of processes.
    """
    source = find_model(name)
    images = [DomainImage(domain, seed + _SEED, index, mode, data) for index in range(scenes)]
    # A few scenes are enough to look at.
    calibration = calibrate_survey(source, images, precision=1.0, processes=processes)
    text, weights, _ = read_model_bytes(source)
    key = hashlib.sha256(text).hexdigest()[:8]
    path = folder / f"{source.stem}-{mode}-{domain}-{key}.json"
    specification = calibration.specification.replace(weights_file=path.with_suffix(".safetensors").name)
    folder.mkdir(parents=True, exist_ok=True)
    write_model_bytes(path, specification.to_json().encode(), weights)
    return path, calibration
