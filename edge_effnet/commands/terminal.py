"""Output of commands: results to standard output, notes and progress to standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import click

from edge_effnet.commands.argument_names import in_options
from edge_effnet.errors import OutputError
from edge_effnet.printable import message, printable
from edge_effnet.progress import bars, say

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.segment import Segment

    from edge_effnet.benchmarks.records import Results

#: Exit code of a negative finding: the command worked, but the result is no.
FINDING = 1


def write_json(content: Any, target: str) -> None:
    """Write ``content`` (data or JSON text) as JSON to a file, or to stdout for ``-``."""
    text = content if isinstance(content, str) else json.dumps(content, indent=1) + "\n"
    if target == "-":
        write(text)
        return
    from edge_effnet.files import write_text

    write_text(target, text)


@contextmanager
def lines_to(target: str | None) -> Iterator[Callable[[str], None] | None]:
    """A function that appends a line to the file ``target`` (``-``: stdout); None without target.

    Every line is flushed immediately. Raises `OutputError` if a line cannot be written.
    """
    if target in (None, "-"):
        yield None if target is None else lambda line: write(f"{line}\n")
        return
    try:
        file = open(str(target), "ab", buffering=0)  # noqa: SIM115
    except OSError as error:
        raise _unwritable(target, error) from error

    def append(line: str) -> None:
        try:
            file.write(f"{line}\n".encode())
        except OSError as error:
            raise _unwritable(target, error) from error

    with file:
        yield append


def _unwritable(target: str | None, error: OSError) -> OutputError:
    reason = error.strerror or error
    return OutputError(f"cannot write {target}: {reason}; free some space or choose another path")


@contextmanager
def _output() -> Iterator[None]:
    """Context for writing to stdout; if the pipe's reader has closed it, exit silently."""
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # lets Python flush at exit
        if isinstance(error, BrokenPipeError):
            sys.exit(0)
        raise OutputError(f"cannot write to standard output: {error.strerror}") from error


def write(text: str) -> None:
    """Write ``text`` to standard output; control characters are escaped as in JSON."""
    with _output():
        sys.stdout.write(printable(text))


def write_table(draw: Callable[[int], Any]) -> None:
    """Print the table that ``draw`` returns for the terminal's width in columns.

    Without a terminal, plain text of 80 columns is printed.
    """
    from rich.console import Console

    console = Console()
    with _output():
        with console.capture() as captured:
            console.print(_Printable(draw(console.width)))
        sys.stdout.write(captured.get())


class _Printable:
    """A rich renderable whose text has no control characters; rich's own sequences stay."""

    def __init__(self, content: Any) -> None:
        self._content = content

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        from rich.segment import Segment

        for text, style, control in console.render(self._content, options):
            yield Segment(text if control else printable(text), style, control)


def note(text: str) -> None:
    """Print a note for the user on standard error."""
    say(f"note: {in_options(text)}")


def write_error(text: str) -> None:
    """Print a line on standard error; control characters are escaped, long texts shortened."""
    click.echo(message(text), err=True)


def finding(text: str) -> NoReturn:
    """End the command with a negative finding: ``text`` on standard error, exit code 1."""
    write_error(f"finding: {in_options(text)}")
    raise click.exceptions.Exit(FINDING)


#: Context manager that shows progress bars on standard error if it is a terminal.
progress = bars


#: Largest number of skipped photos that are listed.
_NAMED = 5


def note_broken(results: Results) -> None:
    """Print notes on skipped photos and on how labels were read."""
    if results.photos is None:
        return
    for text in results.photos.notes:
        note(text)
    broken = results.photos.broken
    for file, reason in broken[:_NAMED]:
        note(f"left out {file}: {reason}")
    if len(broken) > _NAMED:
        more, total = len(broken) - _NAMED, len(broken) + results.photos.count
        note(f"left out {more} photos more, of {total} in all; --json names them")


def show(results: Results, json_to: str | None, title: str) -> None:
    """Print results as a table on stdout, then write them as JSON to ``json_to`` if given."""
    for warning in results.conditions.warnings if results.conditions else ():
        note(warning)
    if json_to != "-":
        from edge_effnet.benchmarks.reporting.table import profiles, render

        write_table(lambda width: render(results, title, width))
        write(profiles(results.records))
    if json_to:
        write_json(results.to_json(), json_to)
