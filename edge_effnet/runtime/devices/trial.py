"""Trial of a device in a child process with a time limit, before this process loads its driver.

Drivers and delegates can crash or hang. The child (`trial_worker`) lists the devices, opens the
file on the selected one and runs a black image. The parent gets the device and its `Placement`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge_effnet import limits, subprocesses
from edge_effnet.decoding import decode
from edge_effnet.errors import (
    DeviceError,
    EdgeEffNetError,
    MissingExtra,
    ModelFileError,
    UsageError,
)
from edge_effnet.json_text import object_of
from edge_effnet.runtime.devices.device import DeviceOptions
from edge_effnet.runtime.placement import Placement

#: Seconds for a driver to load, compile a file and run it once; larger files get more.
SECONDS = 240
_WORKER = "edge_effnet.runtime.devices.trial_worker"
ERRORS: dict[str, type[EdgeEffNetError]] = {
    each.__name__: each for each in (DeviceError, MissingExtra, ModelFileError, UsageError)
}


@dataclass(frozen=True)
class Trial:
    """A successful trial: name of the device, and the file's `Placement` on it.

    ``milliseconds`` is the shortest of ``runs`` inferences after the first, with its driver's
    transfers. ``logits`` are those of the trial images.
    """

    device: str
    placement: Placement
    milliseconds: float | None = None
    logits: tuple[tuple[float, ...], ...] = ()


def attempt(
    path: Path, device: str, options: DeviceOptions, threads: int, *, images: int = 0
) -> Trial:
    """Open and run ``path`` on ``device`` in a child process.

    Args:
        path: The file, already checked by the CPU's runtime.
        device: Name of the device; "cpu" too.
        options: Settings of its driver.
        threads: Compute threads.
        images: Number of generated images to run and time; 0 for a black image only.

    Raises:
        DeviceError: There is no such device, it crashed or hung, or it cannot run the file.
        ModelFileError: The file is damaged.
        MissingExtra: A package of the runtime is missing.
    """
    settings = {
        "path": str(path),
        "device": device,
        "options": dict(options),
        "threads": threads,
        "images": images,
    }
    process = subprocess.Popen(  # noqa: S603
        subprocesses.command(_WORKER, json.dumps(settings)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # the drivers' own processes end with it
    )
    seconds = SECONDS + limits.seconds_for(path.stat().st_size) - limits.SECONDS
    try:
        out, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise DeviceError(
            f"the device {device!r} did not run {path} within {seconds} s: its driver hangs, or "
            "the file is too large for it; use another device"
        ) from None
    finally:
        _end(process)
    # The interpreter may print at its start, before the worker's reply.
    replies = [reply for line in out.splitlines() if (reply := object_of(line)) is not None]
    if process.returncode != 0 or not replies:
        raise DeviceError(
            f"the device {device!r} crashed {_cause(process.returncode)} when it opened {path}"
            f"{_last_line(errors)}; update or reinstall its driver, or use another device"
        )
    answer = replies[-1]
    if "error" in answer:
        raise ERRORS[answer["kind"]](answer["error"], hint=answer["hint"])
    trial: Trial = decode(Trial, answer)
    return trial


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.communicate()


def _cause(code: int) -> str:
    with suppress(ValueError):
        return f"({signal.Signals(-code).name})"
    return f"(exit {code})"


def _last_line(errors: bytes) -> str:
    lines = errors.decode("utf-8", "replace").strip().splitlines()
    return f": {lines[-1].strip()[:200]}" if lines else ""
