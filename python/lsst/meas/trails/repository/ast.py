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

"""Starlink AST mappings as text, the form that `lsst.images` stores."""

from __future__ import annotations

__all__ = ("inverse", "parse_mapping", "series", "to_text")

import starlink.Ast


class _Lines:
    """Source and sink of text for AST channels."""

    def __init__(self, text: str = "") -> None:
        self.lines = text.splitlines()

    def astsource(self) -> str | None:
        return self.lines.pop(0) if self.lines else None

    def astsink(self, line: str) -> None:
        self.lines.append(line)


def to_text(ast_object: starlink.Ast.Object) -> str:
    """Return the native serialization of an AST object."""
    sink = _Lines()
    starlink.Ast.Channel(None, sink).write(ast_object)
    return "\n".join(sink.lines) + "\n"


def parse_mapping(text: str) -> starlink.Ast.Mapping:
    """Return the AST mapping of a native serialization.

    A frame set yields the mapping from its base frame to its current frame.
    """
    ast_object = starlink.Ast.Channel(_Lines(text)).read()
    if isinstance(ast_object, starlink.Ast.FrameSet):
        return ast_object.getmapping(ast_object.Base, ast_object.Current)
    return ast_object


def inverse(mapping: starlink.Ast.Mapping) -> starlink.Ast.Mapping:
    """Return the inverse of an AST mapping."""
    result = mapping.copy()
    result.invert()
    return result


def series(*mappings: starlink.Ast.Mapping) -> starlink.Ast.Mapping:
    """Return the composition of AST mappings; the first is applied first."""
    result = mappings[0]
    for mapping in mappings[1:]:
        result = starlink.Ast.CmpMap(result, mapping, True)
    return result.simplify()
