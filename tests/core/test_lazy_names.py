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

import sys
import types

import pytest

from lsst.meas.trails.core.lazy_names import lazy_names


def test_a_name_is_imported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    package = types.ModuleType("some_package")
    monkeypatch.setitem(sys.modules, "some_package", package)
    get, names = lazy_names("some_package", {"sqrt": "math", "other": "no_such_module"})
    assert {"sqrt", "other", "__name__"} <= set(names())
    assert "sqrt" not in vars(package)
    assert get("sqrt") is vars(package)["sqrt"]
    with pytest.raises(AttributeError, match="'some_package' .*'nothing'"):
        get("nothing")
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        get("other")
