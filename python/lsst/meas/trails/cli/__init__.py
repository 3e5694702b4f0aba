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

"""The command ``meas-trails``.

Every module of this package without a leading underscore is a command of the same name, with hyphens for
underscores, and defines a `click.Command` of that name. A module is imported only for its own command, and
imports heavy packages only when the command runs.

The errors of this package, of the operating system and of stores and databases end a command with their
message and exit code 1 (and a traceback with -vv); all other exceptions show a traceback.
"""

from __future__ import annotations

__all__ = ("main",)

import difflib
import errno
import importlib
import io
import logging
import pkgutil
import sys

import click

from lsst.meas.trails import __version__

_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


_OURS = ("lsst.meas.trails.",)

_STORES = (
    "lsst.daf.butler.",
    "lsst.resources.",
    "sqlalchemy.",
    "botocore.",
    "requests.",
    "urllib3.",
    "aiohttp.",
    "google.",
)
"""Packages whose errors are about a repository: a server that does not answer, a full database, no rights."""


class _CommandGroup(click.Group):
    """Commands in the modules of this package."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            named = error.filename and error.strerror
            raise click.ClickException(
                f"{error.filename}: {error.strerror}" if named else str(error)
            ) from error
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise click.ClickException(
                "This command needs torch, which is not installed; pip install 'lsst-meas-trails[train]'."
            ) from error
        except Exception as error:
            module = type(error).__module__
            if not module.startswith((*_OURS, *_STORES)):
                raise
            logging.getLogger(__name__).debug("The error in full:", exc_info=error)
            text = str(error) if module.startswith(_OURS) else " ".join(str(error).split())
            raise click.ClickException(text or type(error).__name__) from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(
            module.name.replace("_", "-")
            for module in pkgutil.iter_modules(__path__)
            if not module.name.startswith("_")
        )

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        name = cmd_name.replace("-", "_")
        command = getattr(importlib.import_module(f"{__name__}.{name}"), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            commands = self.list_commands(ctx)
            close = difflib.get_close_matches(name, commands, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"commands are {', '.join(commands)}."
            raise click.UsageError(f"No command {name!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=_CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-v", "--verbose", count=True, help="Log progress (-v) or every detail (-vv).")
@click.version_option(__version__, prog_name="meas-trails")
def main(verbose: int) -> None:
    """Find faint asteroid trails in single-visit images.

    Detection itself is a pipeline: run `pipetask run -p pipelines/DetectTrails.yaml`. These commands prepare
    its inputs and inspect its outputs.
    """
    from rich.console import Console
    from rich.logging import RichHandler

    for stream in (sys.stdout, sys.stderr):
        # Names of files need not be UTF-8.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

    logging.basicConfig(
        level=logging.WARNING,
        format="%(message)s",
        handlers=[RichHandler(console=Console(stderr=True), show_path=False, rich_tracebacks=verbose > 1)],
    )
    logging.getLogger("lsst.meas.trails").setLevel(_LEVELS[min(verbose, len(_LEVELS) - 1)])
