"""The environment of a toolchain: made on first use, complete or absent."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edge_effnet.errors import MissingExtra, OutputError, reason
from edge_effnet.files import user_cache
from edge_effnet.progress import Progress, bars, ignore_progress, say
from edge_effnet.toolchains.registry import Toolchain

#: Environment variable with the folder of all environments; by default in the user's cache.
FOLDER = "EDGE_EFFNET_ENVIRONMENTS"
_SECONDS = 1800  # longest installation
_READY = "ready.txt"
_LONGEST = 300  # characters of pip's message that are shown


def folder_of(toolchain: Toolchain) -> Path:
    """Folder of the toolchain's environment, which may not exist yet.

    Raises:
        MissingExtra: There is neither a folder in `FOLDER` nor a home folder.
    """
    root = os.environ.get(FOLDER, "")
    if root:
        return Path(root).absolute() / toolchain.name
    cache = user_cache()
    if cache is None:
        raise MissingExtra(
            f"there is no folder for {toolchain.title}: set the environment variable {FOLDER}"
        )
    return cache / "environments" / toolchain.name


def is_ready(toolchain: Toolchain) -> bool:
    """Whether the environment exists with the packages of ``toolchain``."""
    try:
        return (folder_of(toolchain) / _READY).read_text("utf-8") == _content(toolchain)
    except (OSError, MissingExtra):
        return False


def is_supported(toolchain: Toolchain) -> bool:
    """Whether the toolchain's packages exist for this machine."""
    system, machines = toolchain.platform
    return sys.platform == system and platform.machine() in machines


def prepared(toolchain: Toolchain) -> Path:
    """As `python`, with a line and a bar in the terminal while packages are installed.

    Raises:
        MissingExtra: As for `python`.
    """
    if not is_ready(toolchain):
        say(
            f"{toolchain.title} is installed into {folder_of(toolchain)}, once: "
            f"{toolchain.megabytes:,} MB"
        )
    with bars() as report:
        return python(toolchain, report)


def python(toolchain: Toolchain, progress: Progress | None = None) -> Path:
    """The Python of the toolchain's environment. The first call installs the packages.

    Args:
        toolchain: The toolchain.
        progress: Called with (stage, done, total) while packages are installed.

    Raises:
        MissingExtra: The machine cannot run the toolchain, or its packages cannot be installed.
        OutputError: The folder cannot be written.
    """
    for command, line in toolchain.commands:
        if shutil.which(command) is None:
            raise MissingExtra(f"{toolchain.title} needs the program {command}: {line}")
    folder = folder_of(toolchain)
    executable = folder / "bin" / "python"
    if is_ready(toolchain):
        return executable
    base = _base(toolchain)
    report = progress or ignore_progress
    with _locked(folder):
        if not is_ready(toolchain):  # another process may have finished it
            report(f"install {toolchain.title}", 0, 1)
            _install(toolchain, folder, base)
            report(f"install {toolchain.title}", 1, 1)
    return executable


def _base(toolchain: Toolchain) -> str:
    """A Python that the toolchain's packages support: this one, or another on PATH."""
    if not is_supported(toolchain):
        system, machines = toolchain.platform
        raise MissingExtra(
            f"{toolchain.title} runs on {system} with {' or '.join(machines)}, not on "
            f"{sys.platform} with {platform.machine()}; use another machine"
        )
    if sys.version_info[1] in toolchain.pythons:
        return sys.executable
    for minor in toolchain.pythons:
        other = shutil.which(f"python3.{minor}")
        if other is not None:
            return other
    versions = ", ".join(f"3.{minor}" for minor in sorted(toolchain.pythons))
    raise MissingExtra(
        f"{toolchain.title} needs Python {versions}, and there is none on PATH; install one"
    )


def _content(toolchain: Toolchain) -> str:
    return "\n".join(toolchain.packages)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock beside ``folder``: two processes must not install into it at once."""
    import fcntl  # the toolchains run on Linux

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = open(folder.with_name(f"{folder.name}.lock"), "w")  # noqa: SIM115
    except OSError as error:
        raise OutputError(
            f"cannot write in {folder.parent}: {error.strerror}; name another folder in the "
            f"environment variable {FOLDER}"
        ) from error
    with lock:
        until = time.monotonic() + _SECONDS
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            if time.monotonic() > until:
                raise MissingExtra(
                    f"another process installs into {folder} and does not end; end it and try again"
                )
            time.sleep(0.2)
        yield


def _install(toolchain: Toolchain, folder: Path, base: str) -> None:
    """Make the environment anew; it counts as absent until all packages are installed."""
    pip: list[str | Path] = [
        folder / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-input",
    ]
    commands: tuple[list[str | Path], ...] = (
        [base, "-m", "venv", "--clear", folder],
        [*pip, "--disable-pip-version-check", *toolchain.packages],
    )
    try:
        for command in commands:
            done = subprocess.run(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=_SECONDS,
                env=_clean_variables(),
                check=False,
            )
            if done.returncode:
                raise _refusal(toolchain, folder, _complaint(done.stderr + done.stdout))
        (folder / _READY).write_text(_content(toolchain), "utf-8")
    except subprocess.TimeoutExpired:
        raise _refusal(toolchain, folder, f"no end after {_SECONDS // 60} minutes") from None
    except OSError as error:
        raise _refusal(toolchain, folder, reason(error)) from error


def _clean_variables() -> dict[str, str]:
    """This process's variables without those that would lend the environment our packages."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def _complaint(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.upper().startswith("ERROR")]
    return (errors or lines or ["no reason given"])[-1][:_LONGEST]


def _refusal(toolchain: Toolchain, folder: Path, why: str) -> MissingExtra:
    shutil.rmtree(folder, ignore_errors=True)
    return MissingExtra(
        f"{toolchain.title} cannot be installed in {folder} ({why}); it needs a package index and "
        f"{toolchain.megabytes:,} MB, and {FOLDER} may name another folder"
    )
