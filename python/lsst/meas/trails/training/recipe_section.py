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

"""Base class and error of the sections of a recipe."""

from __future__ import annotations

__all__ = ("RecipeError", "RecipeSection")

from typing import ClassVar, Self

import pydantic

from ..core.section import Section, describe_error


class RecipeError(ValueError):
    """Raised if a recipe is not valid; the message names file and key."""


class RecipeSection(Section):
    """Section of a recipe."""

    accepts_single_entries: ClassVar[bool] = True

    @classmethod
    def from_mapping(cls, mapping: object, source: str = "recipe", where: str = "") -> Self:
        """Return a section from the contents of a YAML file.

        Parameters
        ----------
        mapping
            Values by key.
        source
            Name of the file, for messages.
        where
            Key of the section in the file; empty for the whole file.

        Raises
        ------
        RecipeError
            Raised if a key is unknown or missing, or a value has the wrong type or is out of range.
        """
        try:
            return cls.model_validate(mapping)
        except pydantic.ValidationError as error:
            raise RecipeError(describe_error(error, source, where)) from None
