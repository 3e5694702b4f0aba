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

"""Check of the links in the built pages, without a network.

Links and pictures within the documentation must lead to an existing file and
anchor; links elsewhere must have the form of an https address.  Each problem
is a warning of the build, which fails with ``-W``.
"""

from __future__ import annotations

__all__ = ("check_links", "setup")

import dataclasses
import posixpath
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.typing import ExtensionMetadata

_LOG = logging.getLogger(__name__)

_TARGETS = (("a", "href"), ("img", "src"), ("link", "href"), ("script", "src"), ("source", "src"))


@dataclasses.dataclass
class _Page:
    """Links and anchors of a page."""

    links: list[str] = dataclasses.field(default_factory=list)
    anchors: set[str] = dataclasses.field(default_factory=set)


class _Collector(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = _Page()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        for name in ("id", "name"):
            if (anchor := values.get(name)) is not None:
                self.page.anchors.add(anchor)
        for element, attribute in _TARGETS:
            if tag == element and (link := values.get(attribute)) is not None:
                self.page.links.append(link)


def check_links(folder: Path) -> Iterator[str]:
    """Iterate over the broken links of the pages in a folder.

    Parameters
    ----------
    folder
        Folder of HTML pages.
    """
    pages = {}
    for path in sorted(folder.rglob("*.html")):
        # Skip the templates of the theme.
        if "_static" in path.relative_to(folder).parts:
            continue
        collector = _Collector()
        collector.feed(path.read_text(encoding="utf-8"))
        pages[path.relative_to(folder).as_posix()] = collector.page
    for name, page in pages.items():
        for link in dict.fromkeys(page.links):
            if problem := _problem(link, name, pages, folder):
                yield f"{name}: {link}: {problem}"


def _problem(link: str, name: str, pages: dict[str, _Page], folder: Path) -> str | None:
    """Return the problem of a link of a page, if it has one."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return _external_problem(parts)
    target = posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(parts.path) or name))
    if parts.path == "":
        target = name
    if target.startswith(".."):
        return "leads out of the documentation"
    if not (folder / target).is_file():
        return "the file does not exist"
    anchor = unquote(parts.fragment)
    if anchor and target in pages and anchor not in pages[target].anchors:
        return "the anchor does not exist"
    return None


def _external_problem(parts: SplitResult) -> str | None:
    if parts.scheme == "mailto":
        return None if "@" in parts.path else "not an address"
    if parts.scheme == "data":
        return None
    if parts.scheme != "https":
        return "not an https address"
    if "." not in parts.netloc or any(c.isspace() for c in parts.geturl()):
        return "not an address"
    return None


def _check(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.name == "html":
        for problem in check_links(Path(app.outdir)):
            _LOG.warning("%s", problem, type="links")


def setup(app: Sphinx) -> ExtensionMetadata:
    """Check the links at the end of a build."""
    app.connect("build-finished", _check)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
