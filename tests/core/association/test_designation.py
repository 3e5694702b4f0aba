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

from __future__ import annotations

import numpy as np
import pytest

from lsst.meas.trails.core.association.designation import (
    pack_designation,
    plain_text,
    ss_object_id,
    unpack_designation,
)

EXAMPLES = {
    "1995 XA": "J95X00A",
    "1995 XL1": "J95X01L",
    "1995 FB13": "J95F13B",
    "1998 SQ108": "J98SA8Q",
    "1998 SV127": "J98SC7V",
    "1998 SS162": "J98SG2S",
    "2099 AZ193": "K99AJ3Z",
    "2008 AA360": "K08Aa0A",
    "2007 TA418": "K07Tf8A",
}
"""Examples of the Minor Planet Center."""


@pytest.mark.parametrize(("designation", "packed"), EXAMPLES.items())
def test_examples_of_the_minor_planet_center(designation: str, packed: str) -> None:
    assert pack_designation(designation) == packed
    assert unpack_designation(packed) == designation
    assert unpack_designation(designation) == designation


@pytest.mark.parametrize("designation", ["433", "Ceres", "2040 P-L", "2007 IA4", "2007 TA620", ""])
def test_other_designations_have_no_packed_form(designation: str) -> None:
    with pytest.raises(ValueError, match="designation|cycle"):
        pack_designation(designation)


def test_identifier_is_the_bytes_of_the_packed_designation() -> None:
    assert ss_object_id("K07Tf8A") == 0x4B303754663841
    assert ss_object_id("2007 TA418") == ss_object_id("K07Tf8A")


@pytest.mark.parametrize("name", ["", "433", "my object", "K07Tf8A\N{DEGREE SIGN}", "a name too long"])
def test_other_names_have_no_identifier(name: str) -> None:
    assert ss_object_id(name) == 0


@pytest.mark.parametrize(
    ("value", "text"),
    [(" a ", "a"), (None, ""), (np.nan, ""), (433.0, "433"), (433, "433"), (b"2026 AB ", "2026 AB")],
)
def test_plain_text(value: object, text: str) -> None:
    assert plain_text(value) == text
