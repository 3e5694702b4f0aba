#!/usr/bin/env python3
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
"""Check the prose of the package for words that plain sentences avoid.

The check covers docstrings and comments of Python files, the messages of the
package and of the benchmarks, Markdown pages, YAML and TOML files, and shell
scripts. It prints ``FILE:LINE: PHRASE (CATEGORY)`` for each finding and exits
with status 1 if there is one. Text in backquotes is code and is not checked.
"""

from __future__ import annotations

import argparse
import ast
import collections
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]

SUFFIXES = {".md", ".py", ".sbatch", ".sh", ".toml", ".yaml", ".yml"}
"""Suffixes of the files that are checked; those without a suffix are scripts in ``.ci``."""

DEFAULT_PATHS = (
    "README.md",
    "CONTRIBUTING.md",
    "pyproject.toml",
    ".ci",
    ".pre-commit-config.yaml",
    "benchmarks",
    "bin",
    "bps",
    "doc",
    "python",
    "tests",
)

EXCLUDED = {".ci/check_prose.py", "tests/test_prose.py", "doc/changes", "doc/changes.md", "doc/_build"}
"""Files that quote the words, and the record of changes, which quotes former names."""

WORDS = re.compile(
    r"""\b(?:
    anew | beside | heed(?:s|ed|ing)? | shall | spar(?:e|es|ed) | told
    | (?:go|goes|going|went) \s+ on (?! [ ](?:the|a|to|disk|CPU|GPU)\b)
    | there \s+ whole | or \s+ not \s+ at \s+ all | knows? \s+ of | bears? \s+ no
    | is \s+ no \s+ such | learned \s+ by \s+ heart | what \s+ (?:comes?|becomes?|came|became) \s+ of
    )\b""",
    re.IGNORECASE | re.VERBOSE,
)

OPENINGS = re.compile(
    r"(?:What|Where|Which|Who|Whose|How|Why|When|Is|Are|Was|Does|Do|Has|Whether|That|Those|Of|As|Because|If"
    r"|Nothing|Beside|Besides)\b"
)

STEMS = (
    "author|capital|categor|character|critic|custom|digit|discret|emphas|equal|factor|final|general"
    "|initial|local|maxim|memor|minim|modern|neutral|normal|optim|organ|parallel|parametr|penal|polar"
    "|priorit|quant|random|raster|real|recogn|regular|serial|special|stabil|standard|summar|symbol"
    "|synchron|token|util|vector|visual"
)
SPELLING = re.compile(
    rf"""\b(?:
    \w*(?:{STEMS})is(?:e|es|ed|er|ers|ing|able|ation|ations)
    | (?:un|mis)?(?:behaviour|colour|favour|honour|neighbour|labour|armour)\w*
    | centr(?:e|es|ed|ing) | (?:milli|kilo|centi|nano)?metres? | fibres? | calibres? | artefacts?
    | analys(?:e|es|ed|ing) | catalogu(?:e|es|ed|ing) | licences? | defences? | programmes?
    | (?:label|model|cancel|travel|signal|channel|level|total)l(?:ed|ing|er|ers) | judgements? | grey
    | whilst | amongst | learnt | spelt | orientated
    )\b""",
    re.IGNORECASE | re.VERBOSE,
)

HEADLESS = re.compile(r"\b(?:that\s+of|those\s+of|one\s+that|the\s+other|what)\b", re.IGNORECASE)
"""Pronouns in the place of a noun: counted, since some sentences need one."""

CODE = re.compile(r"``.+?``|`[^`\n]+`|https?://\S+|\{[^{}\n]*\}")
"""Parts of a text that are code."""


class Text(NamedTuple):
    """A piece of prose in a file.

    Parameters
    ----------
    line
        Number of its first line.
    text
        The prose.
    kind
        ``text``; ``docstring`` of a module, class or function; or
        ``attribute``, the documentation of a variable or property.
    """

    line: int
    text: str
    kind: str = "text"


class Finding(NamedTuple):
    """A phrase to replace."""

    path: Path
    line: int
    phrase: str
    category: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.phrase} ({self.category})"


def comments(source: str) -> Iterator[Text]:
    """Yield the comments of a Python file, adjacent lines as one text."""
    start, lines, column = 0, [], -1
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        row, col = token.start
        if not lines or row != start + len(lines) or col != column:
            if lines:
                yield Text(start, "\n".join(lines))
            start, lines, column = row, [], col
        lines.append(token.string.lstrip("#!"))
    if lines:
        yield Text(start, "\n".join(lines))


def is_property(node: ast.AST) -> bool:
    """Return whether a function is a property."""
    decorators = getattr(node, "decorator_list", [])
    return any("property" in ast.unparse(decorator) for decorator in decorators)


def python_texts(source: str, *, messages: bool) -> Iterator[Text]:
    """Yield the prose of a Python file.

    Parameters
    ----------
    source
        Content of the file.
    messages
        Include string literals of two words or more.
    """
    yield from comments(source)
    documented: set[int] = set()
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for i, statement in enumerate(body if isinstance(body, list) else ()):
            if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
                continue
            text = statement.value.value
            if isinstance(text, str):
                documented.add(id(statement.value))
                first = i == 0 and not isinstance(node, ast.If | ast.For | ast.With | ast.Try)
                kind = "docstring" if first and not is_property(node) else "attribute"
                yield Text(statement.lineno, text, kind)
    if messages:
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documented:
                if len(node.value.split()) > 1:
                    yield Text(node.lineno, node.value)


def texts(path: Path, source: str) -> Iterator[Text]:
    """Yield the prose of a file."""
    if path.suffix == ".py":
        yield from python_texts(source, messages="tests" not in path.parts)
    elif path.suffix == ".md":
        yield Text(1, source)
    else:
        # Comment signs would separate the words of a phrase.
        yield Text(1, re.sub(r"^[ \t]*#+", "", source, flags=re.MULTILINE))


def check(path: Path, source: str) -> Iterator[Finding]:
    """Yield the findings in a file.

    Parameters
    ----------
    path
        Path of the file, relative to the checkout.
    source
        Content of the file.
    """
    for line, text, kind in texts(path, source):
        # Code keeps its place, so that line numbers stay.
        prose = CODE.sub(lambda match: re.sub(r"[^\n]", "\x00", match.group()), text)
        patterns = {"word": WORDS, "spelling": SPELLING, "headless": HEADLESS}
        for category, pattern in patterns.items():
            for match in pattern.finditer(prose):
                phrase = " ".join(match.group().split())
                yield Finding(path, line + prose.count("\n", 0, match.start()), phrase, category)
        opening = OPENINGS.match(text.strip()) if kind != "text" else None
        if opening and not (kind == "attribute" and opening.group() == "Whether"):
            yield Finding(path, line, opening.group(), "opening")


def files_below(path: Path) -> Iterator[Path]:
    """Yield the files to check at or below a path."""
    if path.is_file():
        yield path
    elif path.is_dir():
        for child in sorted(path.rglob("*")):
            hidden = any(part.startswith(".") and part != ".ci" for part in child.relative_to(path).parts)
            script = child.parent.name == ".ci" and not child.suffix
            if child.is_file() and not hidden and (child.suffix in SUFFIXES or script):
                yield child


def is_excluded(path: Path) -> bool:
    """Return whether a path, relative to its checkout, is exempt."""
    return any(str(parent) in EXCLUDED for parent in (path, *path.parents))


def main() -> int:
    """Check files, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", action="store_true", help="print only the number in each category")
    parser.add_argument("--root", type=Path, default=ROOT, help="checkout that the paths are relative to")
    parser.add_argument("paths", nargs="*", type=Path, help="files and folders; by default all")
    options = parser.parse_args()
    root = options.root.resolve()
    paths = [path.resolve() for path in options.paths] or [root / name for name in DEFAULT_PATHS]
    # config/ and pipelines/ are links to folders of the package.
    found: list[Finding] = []
    for path in dict.fromkeys(file.resolve() for path in paths for file in files_below(path)):
        name = path.relative_to(root) if path.is_relative_to(root) else path
        if not is_excluded(name):
            found += check(name, path.read_text(encoding="utf-8"))
    if options.count:
        counts = collections.Counter(finding.category for finding in found)
        for category in ("word", "opening", "spelling", "headless"):
            print(f"{category:9}{counts[category]:6}")
        return 0
    wrong = [finding for finding in found if finding.category != "headless"]
    print("\n".join(map(str, wrong)), end="\n" if wrong else "")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
