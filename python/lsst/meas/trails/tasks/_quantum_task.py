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

"""Base class of tasks that derive arguments of ``run`` from their quantum."""

from __future__ import annotations

__all__ = ("Arguments", "QuantumTask")

from typing import Any

from lsst.pipe.base import InputQuantizedConnection, OutputQuantizedConnection, PipelineTask, QuantumContext

type Arguments = dict[str, Any]
"""Arguments of ``run`` by name."""


class QuantumTask(PipelineTask):
    """Task that calls ``run`` with the result of `run_arguments`."""

    def runQuantum(
        self,
        butlerQC: QuantumContext,
        inputRefs: InputQuantizedConnection,
        outputRefs: OutputQuantizedConnection,
    ) -> None:
        arguments = self.run_arguments(butlerQC.get(inputRefs), butlerQC)
        butlerQC.put(self.run(**arguments), outputRefs)

    def run_arguments(self, inputs: Arguments, context: QuantumContext) -> Arguments:
        """Return the arguments of ``run`` for a quantum.

        Parameters
        ----------
        inputs
            Inputs of the quantum by connection.
        context
            Context of the quantum.
        """
        raise NotImplementedError
