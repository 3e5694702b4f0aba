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

"""Commands in pages, to check them and to run them."""

from __future__ import annotations

__all__ = ("Block", "command_lines", "find_blocks")

import dataclasses
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

_FENCE = re.compile(r"^(?P<fence>`{3,})bash\s*$")
_NOT_FOLLOWED = re.compile(r"^% not followed: (?P<reason>.+)$")
_COMMAND = re.compile(r"(meas-trails|pipetask|bps|butler|torchrun|python|scons|bin/\S+|-c)\s")
_COMMENT = re.compile(r"(^|\s)#(\s.*)?$")
_HEREDOC = re.compile(r"<<'?(?P<end>\w+)'?")


@dataclasses.dataclass(frozen=True)
class Block:
    """A block of shell commands in a page.

    Parameters
    ----------
    page
        The page.
    line
        Number of its first line, from 1.
    text
        The commands.
    reason
        Reason why it cannot be run everywhere; empty if it can.
    fenced
        Whether it is marked as commands; an indented block may hold other text.
    """

    page: Path
    line: int
    text: str
    reason: str = ""
    fenced: bool = True

    def commands(self) -> Iterator[list[str]]:
        """Iterate over the commands, each split into words."""
        text = self.text.replace("\\\n", " ")
        if not self.fenced:
            text = "\n".join(line for line in text.splitlines() if _COMMAND.match(f"{line} "))
        yield from command_lines(text)


def find_blocks(page: Path) -> list[Block]:
    """Return the blocks of shell commands in a Markdown page, in order.

    Parameters
    ----------
    page
        The page.  Fenced blocks of ``bash`` are commands, not run everywhere
        after a comment ``% not followed: REASON``.  Indented blocks may hold
        commands too.
    """
    lines = page.read_text(encoding="utf-8").splitlines()
    blocks, reason, i = [], "", 0
    while i < len(lines):
        start = i
        if found := _FENCE.match(lines[i]):
            end = lines.index(found["fence"], i + 1)
            blocks.append(Block(page, start + 2, "\n".join(lines[i + 1 : end]), reason))
            reason, i = "", end
        elif lines[i].startswith("```"):
            i = next(j for j in range(i + 1, len(lines)) if lines[j].startswith("```"))
        elif lines[i].startswith("    ") and (i == 0 or not lines[i - 1].strip()):
            while i + 1 < len(lines) and (lines[i + 1].startswith("    ") or not lines[i + 1].strip()):
                i += 1
            text = "\n".join(line[4:] for line in lines[start : i + 1]).rstrip()
            blocks.append(Block(page, start + 1, text, fenced=False))
        elif found := _NOT_FOLLOWED.match(lines[i]):
            reason = found["reason"]
        i += 1
    return blocks


def command_lines(text: str) -> Iterator[list[str]]:
    """Iterate over the commands of a block, each split into words.

    Comments, here-documents, and placeholders such as ``...`` are omitted.
    """
    lines = iter(text.replace("\\\n", " ").splitlines())
    for line in lines:
        if found := _HEREDOC.search(line):
            for other in lines:
                if other == found["end"]:
                    break
            line = line[: found.start()]
        # shlex would cut FILE#PART at the #.
        words = [word for word in shlex.split(_COMMENT.sub("", line)) if word != "..."]
        while words:
            end = words.index("&&") if "&&" in words else len(words)
            if words[:end]:
                yield words[:end]
            words = words[end + 1 :]
