"""README.md and docs/*.md as a reader meets them: their blocks of commands, Python and output."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import click

from edge_effnet import cli

from . import ROOT

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
#: Languages of blocks that hold shell commands; "text" is output alone.
SHELL = ("", "sh", "console")
PROMPT = "$ "

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"`((?:\$ )?edge-effnet [^`]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the line it starts on, and its text."""

    language: str
    line: int
    text: str

    @property
    def commands(self) -> list[str]:
        """Its shell commands: the lines after a prompt, or all if none has one."""
        if self.language not in SHELL:
            return []
        lines = self.text.replace("\\\n", "").splitlines()
        shown = [line.removeprefix(PROMPT) for line in lines if line.startswith(PROMPT)]
        return shown or [line for line in lines if line.strip()]

    def output(self, command: str) -> list[str]:
        """The lines that follow the prompt of ``command``, up to the next prompt."""
        lines = self.text.replace("\\\n", "").splitlines()
        if PROMPT + command not in lines:
            return []
        after = lines[lines.index(PROMPT + command) + 1 :]
        end = next((n for n, line in enumerate(after) if line.startswith(PROMPT)), len(after))
        return after[:end]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text("utf-8")
    return [
        Block(found[1], text.count("\n", 0, found.start()) + 2, found[2])
        for found in _FENCE.finditer(text)
    ]


def spans(page: Path) -> list[str]:
    """The ``edge-effnet`` commands within sentences."""
    text = _FENCE.sub("", page.read_text("utf-8"))
    return [" ".join(found.split()) for found in _SPAN.findall(text)]


def words(line: str) -> list[list[str]]:
    """The simple commands of a line, each as words.

    Comments, redirections and variables set for a command alone are left out.
    """
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;<>")
    lexer.whitespace_split = True
    simple: list[list[str]] = [[]]
    for token in lexer:
        if set(token) <= set("&|;"):
            simple.append([])
        elif simple[-1] or not re.match(r"[A-Z_]+=", token):
            simple[-1].append(token)
    return [command for command in simple if command]


def parse(arguments: list[str], *, whole: bool = True) -> None:
    """Have click parse the words after ``edge-effnet``.

    Args:
        arguments: The words after the program's name.
        whole: Missing arguments and options are errors too: a sentence may leave them out.

    Raises:
        click.UsageError: There is no such command, option or choice.
    """
    group = click.Context(cli.cli, info_name="edge-effnet")
    name, *rest = arguments
    if name.startswith("-"):
        return
    command = cli.cli.get_command(group, name)
    assert command is not None
    try:
        command.make_context(name, list(rest), parent=group).close()
    except click.exceptions.Exit:  # --help
        pass
    except click.MissingParameter:
        if whole:
            raise
