"""A script that runs in a toolchain's environment: arrays in, arrays out, over pipes."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from edge_effnet.errors import DeviceError
from edge_effnet.toolchains import environment
from edge_effnet.toolchains.registry import Toolchain

_SCRIPTS = Path(__file__).with_name("scripts")
_LONGEST = 300  # characters of a script's message that are shown


class Worker:
    """A running script, which replies to each array with one.

    An array travels in NumPy's file format, after its length in eight bytes, little-endian.

    Args:
        toolchain: The toolchain, whose environment runs the script.
        script: Name of the script in `scripts`.
        arguments: Its arguments.
        seconds: Time limit of each reply.

    Raises:
        MissingExtra: The toolchain cannot be installed here.
    """

    def __init__(
        self, toolchain: Toolchain, script: str, arguments: Sequence[str], seconds: float
    ) -> None:
        self._title, self._seconds, self._late = toolchain.title, seconds, False
        self._complaints: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(  # noqa: S603
            [*command(toolchain, script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
        )

    def ask(self, values: NDArray[np.generic]) -> NDArray[Any]:
        """The script's reply to ``values``.

        Raises:
            DeviceError: The script ended, or did not reply in time.
        """
        sent = cast("IO[bytes]", self._process.stdin)
        received = cast("IO[bytes]", self._process.stdout)
        timer = threading.Timer(self._seconds, self._stop)
        timer.start()
        try:
            content = io.BytesIO()
            np.save(content, values, allow_pickle=False)
            sent.write(len(content.getvalue()).to_bytes(8, "little") + content.getvalue())
            sent.flush()
            length = int.from_bytes(received.read(8), "little")
            return cast("NDArray[Any]", np.load(io.BytesIO(received.read(length))))
        except (OSError, EOFError, ValueError) as error:
            raise DeviceError(self._message()) from error
        finally:
            timer.cancel()

    def _stop(self) -> None:
        self._late = True
        self._process.kill()

    def close(self) -> None:
        """End the script."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._complaints):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def _message(self) -> str:
        self._process.kill()
        code = self._process.wait()
        self._complaints.seek(0)
        text = self._complaints.read().decode("utf-8", "replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if self._late:
            return f"{self._title} stopped (no reply within {self._seconds:g} s)"
        why = lines[-1][:_LONGEST] if lines else f"exit {code}"
        return f"{self._title} stopped ({why})"


def run(
    toolchain: Toolchain,
    script: str,
    folder: Path,
    arguments: Sequence[str] = (),
    *,
    seconds: float,
) -> None:
    """Run a script of `scripts` to its end, with ``folder`` as its first argument.

    Args:
        toolchain: The toolchain, whose environment runs the script.
        script: Name of the script.
        folder: Folder with its inputs, which takes its results and is its working folder.
        arguments: Further arguments.
        seconds: Time limit.

    Raises:
        MissingExtra: The toolchain cannot be installed here.
        DeviceError: The script failed, or took too long.
    """
    line = [*command(toolchain, script), os.fspath(folder), *arguments]
    with open(folder / "log.txt", "w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(  # noqa: S603
            line,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,  # the compilers' own processes end with it
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise DeviceError(
                f"{toolchain.title} did not end within {seconds / 60:.0f} minutes; use a smaller "
                "variant or a faster machine"
            ) from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if code:
            log.seek(0)
            lines = [text.strip() for text in log.read().splitlines() if text.strip()]
            why = lines[-1][:_LONGEST] if lines else f"exit {code}"
            raise DeviceError(f"{toolchain.title} failed ({why})")


def command(toolchain: Toolchain, script: str) -> list[str]:
    """Command line that runs a script of `scripts`; installs the toolchain if it is missing."""
    executable = environment.prepared(toolchain)
    return [os.fspath(executable), "-I", os.fspath(_SCRIPTS / f"{script}.py")]
