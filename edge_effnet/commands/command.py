"""click classes for commands: help with sections and examples, errors with suggestions."""

from __future__ import annotations

import difflib
import os
import re
import textwrap
from collections.abc import Sequence
from typing import Any

import click

from edge_effnet.commands import renamed
from edge_effnet.commands.vocabulary import MAIN

PROGRAM = "edge-effnet"
_COLUMN = 30  # column width of option names; longer names get their own line
#: Pattern of the default at the end of a help text. `_GLUE` replaces its spaces so that it is not
#: broken across lines.
_ENDING = re.compile(r"\[[^\[\]]*\]$")
_GLUE = "\0"


class Command(click.Command):
    """A command whose help has sections and examples.

    Attributes:
        examples: Complete command lines, without the program's name.
    """

    def __init__(self, *arguments: Any, examples: Sequence[str] = (), **rest: Any) -> None:
        super().__init__(*arguments, **rest)
        self.examples = tuple(examples)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse like click; the error for an unknown option suggests the nearest one."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise _unknown_option(self, error, ctx) from None
        except click.UsageError as error:  # click's error lacks the command
            error.ctx = error.ctx or ctx
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under the headings of their sections."""
        sections: dict[str, list[tuple[str, str]]] = {MAIN: []}
        for parameter in self.get_params(ctx):
            if not isinstance(parameter, click.Option):  # arguments are described in the help text
                continue
            record = parameter.get_help_record(ctx)
            if record is not None:
                sections.setdefault(getattr(parameter, "section", MAIN), []).append(record)
        for heading, records in sections.items():
            if records:
                with formatter.section(heading):
                    _write(formatter, records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{PROGRAM} {example}\n")


class Group(Command, click.Group):
    """A command with subcommands; each is a `Command`."""

    command_class = Command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse like a command; without arguments, show the help."""
        if not args:
            click.echo(ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, then the commands."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The subcommand; raises `click.UsageError` with a suggestion for an unknown name."""
        names = self.list_commands(ctx)
        if cmd_name in names:
            return self.load(ctx, cmd_name)
        if cmd_name in renamed.COMMANDS:
            raise click.UsageError(f"'{cmd_name}' is now '{renamed.COMMANDS[cmd_name]}'", ctx)
        near = difflib.get_close_matches(cmd_name, names, n=1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        if "export" in names and os.path.isfile(cmd_name):
            hint = f", did you mean 'export {cmd_name}' or 'info {cmd_name}'?"
        raise click.UsageError(f"no such command {cmd_name!r}{hint}", ctx)

    def load(self, ctx: click.Context, name: str) -> click.Command | None:
        """Load the existing subcommand ``name``."""
        return super().get_command(ctx, name)


def _write(formatter: click.HelpFormatter, records: Sequence[tuple[str, str]]) -> None:
    """Write two columns like click, but never break lines within option names or defaults."""
    column = min(max(len(name) for name, _ in records), _COLUMN)
    indent, gap = " " * formatter.current_indent, 2
    width = formatter.width - len(indent) - column - gap
    for name, text in records:
        joined = _ENDING.sub(lambda part: _joined(part[0], width), text)
        lines = textwrap.wrap(joined, width, break_on_hyphens=False, break_long_words=False)
        if len(name) > column:
            formatter.write(f"{indent}{name}\n")
            name = ""
        for line in lines or [""]:
            formatter.write(
                f"{indent}{name:<{column + gap}}{line}".rstrip().replace(_GLUE, " ") + "\n"
            )
            name = ""


def _joined(ending: str, width: int) -> str:
    return ending.replace(" ", _GLUE) if len(ending) <= width else ending


def _unknown_option(
    command: click.Command, error: click.NoSuchOption, ctx: click.Context
) -> click.UsageError:
    old = error.option_name
    path = ctx.command_path.removeprefix(PROGRAM).strip()
    now = renamed.OPTIONS.get(path, {}).get(old)
    if now is not None:
        return click.UsageError(f"{old} is now {now}", ctx)
    known = [
        name
        for parameter in command.get_params(ctx)
        for name in (*parameter.opts, *parameter.secondary_opts)
        if name.startswith("--")
    ]
    near = difflib.get_close_matches(old, known, n=1)
    hint = f", did you mean {near[0]}?" if near else ""
    return click.UsageError(f"no such option {old}{hint}", ctx)
