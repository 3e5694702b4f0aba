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

"""Opening of Butler repositories and the collections in them."""

from __future__ import annotations

__all__ = ("check_run_name", "find_collections", "locate", "open_butler", "opening_problem")

import difflib
import os
import re

import yaml

from lsst.daf.butler import Butler, CollectionType, MissingCollectionError
from lsst.resources import ResourcePath, ResourcePathExpression

from ..core.printable import printable
from .visit_record import RepositoryError

_ODD_PATH = re.compile(r"[?#]|%[0-9A-Fa-f]{2}")
"""Parts of a path that the Butler and its databases take for parts of a URI."""

_DAMAGED = re.compile(r"not a database|no such table|malformed|disk image|encrypted")
"""Messages of SQLite about a file that is not the database of a repository."""

_GLOB = re.compile(r"[*?\[]")


def locate(repo: ResourcePathExpression) -> str | ResourcePath:
    """Return the location of a repository in the form that the Butler takes.

    Parameters
    ----------
    repo
        Folder, configuration file, URI or known label of the repository.

    Raises
    ------
    RepositoryError
        Raised if the Butler cannot keep a repository at that path.
    """
    if isinstance(repo, ResourcePath):
        return repo
    text = os.fspath(repo) if isinstance(repo, os.PathLike) else str(repo)
    if "://" in text:
        try:
            return ResourcePath(text)
        except (NotImplementedError, ValueError) as error:
            raise RepositoryError(f"{text} is not an address of a Butler repository: {error}") from error
    if text in Butler.get_known_repos():
        return text
    path = os.path.abspath(text)
    if (odd := _ODD_PATH.search(path)) is not None:
        raise RepositoryError(
            f"The Butler cannot use a repository at {printable(path)}: the path has {odd[0]!r}; rename the "
            "folder, or make a symbolic link to it and use the link."
        )
    # SQLite resolves links.
    real = os.path.realpath(path)
    if not _is_utf8(real):
        raise RepositoryError(
            f"The Butler cannot use a repository at {printable(real)}: the path is not UTF-8; rename the "
            "folder."
        )
    return ResourcePath(path, forceDirectory=True if os.path.isdir(path) else None)


def open_butler(repo: ResourcePathExpression, *, writeable: bool = False) -> Butler:
    """Open a Butler repository without default collections.

    Parameters
    ----------
    repo
        Folder, configuration file, URI or known label of the repository.
    writeable
        Whether to open it for writing.

    Raises
    ------
    RepositoryError
        Raised if there is no repository, or it cannot be opened, for instance because a server does not
        answer.
    """
    location = locate(repo)
    try:
        return Butler.from_config(location, writeable=writeable)
    except FileNotFoundError as error:
        known = sorted(Butler.get_known_repos())
        hint = f"; known labels are {', '.join(known)}" if known else ""
        raise RepositoryError(f"There is no Butler repository at {repo}{hint}.") from error
    except Exception as error:
        raise RepositoryError(opening_problem(repo, error)) from error


def opening_problem(repo: ResourcePathExpression, error: Exception) -> str:
    """Return why a repository cannot be opened, and what to do.

    Each kind of store and of database has exceptions of its own.

    Parameters
    ----------
    repo
        The repository.
    error
        Exception of the Butler.
    """
    # SQL and a link to its explanation follow the message of a database.
    problem = " ".join(str(error).split()).partition(" [SQL: ")[0].rstrip(".") or type(error).__name__
    if _DAMAGED.search(problem):
        remedy = "Its database is missing or damaged: restore it from a copy, or use a new folder"
    elif isinstance(error, yaml.YAMLError):
        remedy = "Its configuration is damaged: restore it from a copy, or use a new folder"
    else:
        remedy = "Check the address, the access rights and that the server answers"
    return f"Cannot open {repo} as a Butler repository: {problem}. {remedy}."


def check_run_name(run: str) -> None:
    """Check that a new run can be selected by its name.

    Raises
    ------
    RepositoryError
        Raised if the name is empty or has characters of lists and patterns of collections.
    """
    if not run.strip() or "," in run or _GLOB.search(run):
        raise RepositoryError(
            f"A run cannot be named {run!r}: commas and *, ? and [ select several collections; choose "
            "another name with --run."
        )


def find_collections(butler: Butler, expression: str) -> list[str]:
    """Return the collections of a comma-separated list of names and globs.

    Parameters
    ----------
    butler
        Butler of the repository.
    expression
        Names, or patterns such as ``u/me/*``, separated by commas.

    Returns
    -------
    names
        Existing collections, in the order of the search; those of a pattern in alphabetical order, without
        calibrations.

    Raises
    ------
    RepositoryError
        Raised if a collection does not exist, nothing matches a pattern, or the expression is empty.
    """
    found: list[str] = []
    for name in filter(None, (part.strip() for part in expression.split(","))):
        try:
            butler.collections.get_info(name)
            found.append(name)
        except (MissingCollectionError, ValueError):
            known = [
                info.name for info in butler.collections.query_info("*") if not _is_calibration(info.type)
            ]
            matching = sorted(butler.collections.query(name)) if _GLOB.search(name) else []
            matching = [match for match in matching if match in known]
            if not matching:
                close = difflib.get_close_matches(name, known, n=3)
                hint = f"; is it {' or '.join(map(repr, close))}?" if close else "."
                kind = "that matches" if _GLOB.search(name) else "named"
                raise RepositoryError(f"The repository has no collection {kind} {name!r}{hint}") from None
            found += matching
    if not found:
        raise RepositoryError(f"{expression!r} names no collection.")
    return list(dict.fromkeys(found))


def _is_calibration(kind: CollectionType) -> bool:
    return kind is CollectionType.CALIBRATION


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
