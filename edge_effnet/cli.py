"""The command line: ``edge-effnet COMMAND``.

Each command parses options, calls one function, and prints the result.

Exit codes: 0 done, 1 a negative finding (or a bug, with a traceback), 2 bad input or usage (one
message), 130 interrupted.
"""

from __future__ import annotations

import _thread
import io
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, TextIO

import click

from edge_effnet.commands import COMMANDS, GROUPS, system_limits
from edge_effnet.commands.argument_names import in_options
from edge_effnet.commands.command import Group
from edge_effnet.commands.terminal import write_error
from edge_effnet.errors import EdgeEffNetError, silence_reporters
from edge_effnet.printable import printable
from edge_effnet.version import VERSION

if TYPE_CHECKING:
    from types import FrameType, TracebackType

EXIT_INPUT, EXIT_INTERRUPTED = 2, 130
_IMPORT_WAIT = 0.05  # seconds between checks whether an import has finished


class _Commands(Group):
    """The commands of `COMMANDS`; each module is imported when its command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def load(self, ctx: click.Context, name: str) -> click.Command:
        module, function = COMMANDS[name]
        command: click.Command = getattr(import_module(f"edge_effnet.commands.{module}"), function)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        limit = formatter.width - max(map(len, COMMANDS)) - 6
        for heading, group in GROUPS.items():
            commands = {name: self.load(ctx, name) for name in group}
            with formatter.section(heading):
                formatter.write_dl(
                    [(name, each.get_short_help_str(limit)) for name, each in commands.items()]
                )


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    examples=[
        "export lite0 --weights mine.pth --calibration photos/ --out out/",
        "compare out/ --images test/ --out report/",
    ],
)
@click.version_option(VERSION, prog_name="edge-effnet")
def cli() -> None:
    """EfficientNet checkpoints to phones, Raspberry Pis and edge accelerators.

    Quantized once, written to TFLite, ONNX and OpenVINO, measured.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    silence_reporters()  # before the first child process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(
            stream, io.TextIOWrapper
        ):  # paths may contain characters that the terminal's encoding lacks
            stream.reconfigure(errors="backslashreplace")
    sys.excepthook = _print_exception
    warnings.showwarning = _print_warning
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        for number in (signal.SIGINT, signal.SIGTERM):  # from here on, an interruption is caught
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, _interrupt)
        if crash := system_limits.outlive():
            write_error(f"error: {crash}")
            sys.exit(EXIT_INPUT)
        code = cli.main(words or ["--help"], prog_name="edge-effnet", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "edge-effnet"
        message = error.format_message().rstrip(".")
        link = " see" if message.endswith(("?", ")")) else "; see"
        write_error(f"error: {message}{link} '{command} --help'")
        sys.exit(EXIT_INPUT)
    except EdgeEffNetError as error:
        hint = f"; {in_options(error.hint)}" if error.hint else ""
        write_error(f"error: {error.message}{hint}")
        sys.exit(EXIT_INPUT)
    except (click.Abort, KeyboardInterrupt):  # before its base class RuntimeError
        write_error("interrupted: nothing half-written was left")
        sys.exit(EXIT_INTERRUPTED)
    except Exception as error:
        explanation = system_limits.explain(error)
        if explanation is None:
            raise
        write_error(f"error: {explanation}")
        sys.exit(EXIT_INPUT)


def _print_exception(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Python's ``excepthook`` with control characters escaped: messages may quote a file."""
    if sys.stderr is not None:
        sys.stderr.write(printable("".join(traceback.format_exception(kind, error, trace))))


def _print_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Python's ``showwarning`` with control characters escaped."""
    stream = file or sys.stderr
    if stream is not None:
        stream.write(printable(warnings.formatwarning(message, category, filename, lineno, line)))


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Signal handler of SIGINT and SIGTERM, deferred while a module is being imported.

    An exception during an import may be lost, may leave the import lock held, or may be reported as
    "package not installed".
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            again = threading.Timer(_IMPORT_WAIT, _thread.interrupt_main)
            again.daemon = True
            again.start()
            return
        frame = frame.f_back
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
