"""MkDocs hooks: the package as installed for the API reference, and the command reference."""

from __future__ import annotations

import inspect
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_effnet.cli import cli
from edge_effnet.commands import GROUPS
from edge_effnet.commands.command import PROGRAM
from edge_effnet.commands.vocabulary import MAIN
from edge_effnet.package_files import package_files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

#: Line of commands.md that the reference replaces.
MARKER = "<!-- commands -->"
#: Folder of the package as installed; mkdocs.yml names it too.
SOURCE = Path(__file__).parents[2] / "build" / "docs-source"
#: A docstring section whose name mkdocstrings knows in the plural only.
_EXAMPLE = re.compile(rb"^( +)Example:$", re.MULTILINE)


def on_startup(**_: object) -> None:
    """Write the package where mkdocstrings reads it: a clone keeps four subpackages elsewhere."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    for name, content in package_files().items():
        path = SOURCE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_EXAMPLE.sub(rb"\1Examples:", content))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put the command reference in place of its marker."""
    return markdown.replace(MARKER, "\n".join(command_reference()))


def command_reference() -> Iterator[str]:
    """Markdown of every command: what it does, its usage, its arguments and options."""
    root = click.Context(cli, info_name=PROGRAM)
    for heading, names in GROUPS.items():
        yield f"## {heading}\n"
        for name in names:
            command = cli.get_command(root, name)
            if command is not None:
                yield from _command(command, click.Context(command, info_name=name, parent=root), 3)


def _command(command: click.Command, context: click.Context, level: int) -> Iterator[str]:
    path = context.command_path.removeprefix(f"{PROGRAM} ")
    yield f"{'#' * level} {path} {{ #{path.replace(' ', '-')} }}\n"
    yield from _prose(command.help or "")
    yield f"```text\n{_usage(command, context)}\n```\n"
    sections: dict[str, list[str]] = {}
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            heading = getattr(option, "section", MAIN)
            sections.setdefault(heading, []).append(_option(option, context))
    for heading, rows in sections.items():
        title = "option" if heading == MAIN else _text(heading)
        yield "\n".join([f"| {title} | |", "|---|---|", *rows, ""])
    examples = [f"{PROGRAM} {example}" for example in getattr(command, "examples", ())]
    if examples:
        yield "\n".join(["```sh", *examples, "```", ""])
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None and not child.hidden:
                inner = click.Context(child, info_name=name, parent=context)
                yield from _command(child, inner, level + 1)


def _usage(command: click.Command, context: click.Context) -> str:
    return " ".join([context.command_path, *command.collect_usage_pieces(context)])


def _option(option: click.Option, context: click.Context) -> str:
    """A table row: the option and its value; its help, choices and default."""
    names, text = option.get_help_record(context) or ("", "")
    flags, _, value = names.partition(" ") if "/" not in names else (names, "", "")
    if isinstance(option.type, click.Choice):
        choices = ", ".join(f"`{choice}`" for choice in option.type.choices)
        meaning, bracket, default = text.partition("[default")
        value, text = "", f"{_text(meaning)} One of {choices}. {bracket}{_text(default)}"
    else:
        value, text = value.replace(" RANGE", ""), _text(text)
    return f"| `{flags}`{f' `{value}`' if value else ''} | {text.strip()} |"


def _prose(text: str) -> Iterator[str]:
    """Help text as Markdown; a paragraph that click must not wrap is a block of commands."""
    for paragraph in inspect.cleandoc(text).partition("\f")[0].split("\n\n"):
        if paragraph.startswith("\b"):
            commands = inspect.cleandoc(paragraph.removeprefix("\b").lstrip("\n"))
            yield f"```sh\n{commands}\n```\n"
        elif paragraph:
            yield f"{_text(' '.join(paragraph.split()))}\n"


def _text(text: str) -> str:
    """Plain text as Markdown of one line, with the names of options as code."""
    text = re.sub(r"([\\`*_{}<>|])", r"\\\1", text)
    return re.sub(r"(?<![\w`-])(--[a-z][\w-]*)", r"`\1`", text)
