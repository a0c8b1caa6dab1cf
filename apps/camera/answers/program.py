"""A program that is run on a changed answer, without a shell."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from typing import IO

from edge_effnet.apps.camera.answers.events import ActionFailed, Event
from edge_effnet.errors import UsageError

#: Seconds after which a run of the program is ended.
TIMEOUT = 30.0
#: Words that only a shell understands.
_SHELL = frozenset({"|", "||", "&", "&&", ";", "<", ">", ">>", "2>", "2>&1", "&>"})
_PREFIX = "EDGE_EFFNET_"
#: Bytes at the end of standard error that are searched for its last line.
_TAIL = 2000


class Program:
    """Runs a program with the answered labels as its last arguments.

    Without an answer, the last argument is empty. The environment has more: ``EDGE_EFFNET_ANSWER``
    (the labels, one per line), ``EDGE_EFFNET_PROBABILITY`` (of the first label),
    ``EDGE_EFFNET_FILE``, and ``EDGE_EFFNET_JSON`` (the frame's line of JSON). The program reads
    nothing from standard input, and its output goes to standard error.

    Args:
        command: The program and its arguments, quoted as in a shell.

    Raises:
        UsageError: There is no such program, or the command needs a shell.
    """

    def __init__(self, command: str) -> None:
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise UsageError(f"the command {command!r} cannot be read: {error}") from error
        if not self._words:
            raise UsageError("the command is empty", hint="give on_answer='./lamp.sh'")
        self.name = self._words[0] = os.path.expanduser(self._words[0])
        for word in self._words:
            if word in _SHELL:
                raise UsageError(
                    f"no shell reads the command, so {word!r} has no meaning in it; write the "
                    "line into a script, and give the script's path"
                )
        _check_program(self.name)
        self._process: subprocess.Popen[bytes] | None = None

    def check_labels(self, labels: tuple[str, ...]) -> None:
        """Raise `UsageError` for a label that a program could take for an option."""
        for label in labels:
            if label.startswith("-") or "\0" in label:
                raise UsageError(
                    f"the class {label!r} would be an option to {self.name}; export the file with "
                    "other names (--class-names), or post to a URL"
                )

    def run(self, event: Event) -> None:
        """Run the program and wait for its end, at most `TIMEOUT` seconds."""
        variables = {
            "ANSWER": "\n".join(event.labels),
            "PROBABILITY": f"{event.probability:.4f}",
            "FILE": event.file,
            "JSON": event.line,
        }
        with tempfile.TemporaryFile() as errors:
            try:
                self._process = subprocess.Popen(  # noqa: S603
                    [*self._words, *(event.labels or ("",))],
                    stdin=subprocess.DEVNULL,
                    stdout=sys.__stderr__,
                    stderr=errors,
                    env={**os.environ, **{_PREFIX + key: text for key, text in variables.items()}},
                    start_new_session=True,  # Ctrl-C ends the camera, not a program half-way
                )
            except OSError as error:
                raise ActionFailed(f"cannot be run: {error.strerror or error}") from error
            try:
                code = self._process.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                self.cancel()
                raise ActionFailed(f"was ended: it took more than {TIMEOUT:g} s") from None
            if code:
                raise ActionFailed(_failure(code, _last_line(errors)))

    def cancel(self) -> None:
        """Kill the running program and its children."""
        process = self._process
        if process is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        process.wait()


def _check_program(name: str) -> None:
    if shutil.which(name) is not None:
        return
    if os.path.isdir(name):
        raise UsageError(f"{name} is a folder; give the path of a program")
    if os.path.exists(name) and os.sep in name:
        raise UsageError(f"{name} cannot be run as a program; type: chmod +x {shlex.quote(name)}")
    near = f"; the one in this folder is ./{name}" if os.path.exists(name) else ""
    raise UsageError(
        f"there is no program {name}{near}", hint="give on_answer='./program' or a URL"
    )


def _failure(code: int, line: str) -> str:
    how = f"ended with exit code {code}" if code > 0 else f"was ended by signal {-code}"
    return f"{how} ({line})" if line else how


def _last_line(errors: IO[bytes]) -> str:
    """Last line that the program wrote to standard error."""
    errors.seek(max(0, errors.seek(0, os.SEEK_END) - _TAIL))
    lines = errors.read(_TAIL).decode(errors="replace").split("\n")
    return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")
