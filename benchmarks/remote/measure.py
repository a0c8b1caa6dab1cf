"""Latency of model files on another machine over ssh; all copied files are removed afterwards.

The package and the files are copied into one folder in the user's home directory on the device. The
folder is named by a digest of its content, so a second attempt resumes the first. The measuring
process does not need the connection. After a dropped connection, this module reconnects and
continues to follow the job.
"""

from __future__ import annotations

import hashlib
import io
import json
import shlex
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from edge_effnet.benchmarks.json_lines import lines_of
from edge_effnet.benchmarks.records import Host, Results
from edge_effnet.benchmarks.remote import device, ssh
from edge_effnet.benchmarks.remote.ssh import ConnectionLostError, Target
from edge_effnet.decoding import decode
from edge_effnet.errors import DeviceError, EdgeEffNetError
from edge_effnet.files import PathLike, missing, unique_paths
from edge_effnet.formats import companion_path
from edge_effnet.json_text import object_of
from edge_effnet.package_files import package_files
from edge_effnet.progress import Progress

#: Subpackages that are copied to every device; "" is the package itself.
_PARTS = ("", "benchmarks")
#: Subpackages that are also copied if the device exports models itself.
_EXPORT_PARTS = ("calibration", "converters")
PATIENCE = 300.0  # seconds without a connection after which the job is abandoned
_FREE_MARGIN = 50_000_000  # bytes of disk that must remain free on the device

# Script for the device's Python, run before the package is copied. It creates the folder and prints
# the free disk space and the models already there. Arguments: folder name, required Python modules.
_PREPARE = """
import importlib.util as u, json, os, shutil, sys
if sys.version_info < (3, 10):
    sys.exit("its Python is %d.%d; 3.10 or later is needed (--python)" % sys.version_info[:2])
lacking = [name for name in sys.argv[2:] if u.find_spec(name) is None]
if lacking:
    sys.exit("its Python lacks %s: run there: pip install numpy pillow, and a runtime "
             "(ai-edge-litert, onnxruntime or openvino)" % ", ".join(lacking))
folder = os.path.join(os.path.expanduser("~"), sys.argv[1])
os.makedirs(os.path.join(folder, "models"), mode=0o700, exist_ok=True)
have = {n: os.path.getsize(os.path.join(folder, "models", n))
        for n in os.listdir(os.path.join(folder, "models")) if not n.endswith(".part")}
print(json.dumps({"folder": folder, "free": shutil.disk_usage(folder).free, "have": have}))
"""
# Script that unpacks a tar stream from stdin into the folder. No file is left incomplete.
_UNPACK = """
import os, sys, tarfile
with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
    for member in archive:
        path = os.path.join(sys.argv[1], member.name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + ".part", "wb") as out:
            out.write(archive.extractfile(member).read())
        os.replace(path + ".part", path)
"""
_REMOVE = "import shutil, sys; shutil.rmtree(sys.argv[1], ignore_errors=True)"


class LostDeviceError(DeviceError):
    """The connection was lost during the measurement; ``partial`` holds the results so far."""

    def __init__(self, message: str, partial: Results | None = None) -> None:
        super().__init__(message)
        self.partial = partial


def measure_on_device(
    target: Target,
    files: Sequence[PathLike],
    threads: int = 1,
    runs: int = 100,
    *,
    profile: bool = False,
    devices: Sequence[str] = ("cpu",),
    device_options: Mapping[str, str] | None = None,
    python: str = "python3",
    keep: bool = False,
    patience: float = PATIENCE,
    progress: Progress | None = None,
) -> Results:
    """Latency of every file on ``target``, measured there by `latency.measure`.

    Args:
        target: The machine.
        files: Local model files.
        threads: Compute threads of each file.
        runs: Timed inferences per file.
        profile: Whether to also measure the time of each operator.
        devices: Names of the machine's devices, as for `edge_effnet.open`.
        device_options: Settings of their drivers.
        python: Python interpreter on the machine, with numpy, Pillow and a runtime.
        keep: Whether to keep the copied folder on the machine.
        patience: Seconds without a connection after which the job is abandoned.
        progress: Called with (stage, done, total).

    Returns:
        The results. Their records have the paths of the local files.

    Raises:
        DeviceError: The machine cannot be reached or used.
        LostDeviceError: The connection was lost for ``patience`` seconds.
    """
    paths = [Path(path) for path in unique_paths(files)]
    models = _models(paths)
    contents = {f"models/{name}": path.read_bytes() for name, path in models.items()}
    job = {
        "models": [f"{index}{path.suffix}" for index, path in enumerate(paths)],
        "threads": threads,
        "runs": runs,
        "profile": profile,
        "devices": list(devices),
        "device_options": dict(device_options or {}),
    }
    contents = {**package_files(_PARTS), **contents, "job.json": json.dumps(job).encode()}
    session = _Session(target, python, _name(contents))
    try:
        session.copy(contents)
        target.run(session.command("start"))
        results = session.results(patience, progress)
    except ConnectionLostError as lost:
        raise target.refusal(lost) from None
    except LostDeviceError as error:
        with _understood(target):
            error.partial = error.partial and _renamed(error.partial, paths)
        raise
    finally:
        if not keep:
            session.remove()
    with _understood(target):
        return _renamed(results, paths)


def describe_device(target: Target, python: str = "python3") -> dict[str, Any]:
    """Result of `device.describe` on ``target``.

    Raises:
        DeviceError: The machine cannot be reached or used.
    """
    contents = package_files(_PARTS)
    session = _Session(target, python, _name(contents))
    try:
        session.copy(contents)
        description = session.agent("describe")
        with _understood(target):
            device.sheet(description)
    except ConnectionLostError as lost:
        raise target.refusal(lost) from None
    finally:
        session.remove()
    return description


@contextmanager
def remote_machine(target: Target, python: str = "python3") -> Iterator[RemoteMachine]:
    """A machine for `prediction.measurement` that runs on ``target``; copies the package there.

    For each format, the machine's Python needs the format's runtime and packages of the extra
    ``export``. Missing packages are reported when the format is measured.

    Raises:
        DeviceError: The machine cannot be reached or used.
    """
    contents = package_files(_PARTS + _EXPORT_PARTS)
    session = _Session(target, python, _name(contents))
    try:
        session.copy(contents)
        yield RemoteMachine(session)
    except ConnectionLostError as lost:
        raise target.refusal(lost) from None
    finally:
        session.remove()


class RemoteMachine:
    """A `prediction.measurement.Machine` behind ssh."""

    def __init__(self, session: _Session) -> None:
        self._session = session
        self.name = session.target.host

    def describe(self, threads: int) -> tuple[Host, list[int]]:
        """The host, and the cores to pin threads to: ``threads`` of them, or all if fewer."""
        target = self._session.target
        with _understood(target):
            facts = self._session.agent("host", str(threads))
            return decode(Host, facts["host"]), [int(core) for core in facts["cores"]]

    def start(self, settings: str, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start the micro-benchmark worker on the machine."""
        return self._session.start(variables, "micro-benchmarks", settings)


class _Session:
    """The folder of one job on the target."""

    def __init__(self, target: Target, python: str, name: str) -> None:
        self.target, self.python, self.name = target, python, name
        self.folder: str | None = None

    def copy(self, contents: dict[str, bytes]) -> None:
        """Copy the missing files; raises `DeviceError` if there is not enough space."""
        command = [*shlex.split(self.python), "-c", _PREPARE, self.name, "numpy", "PIL"]
        facts = self.target.reply(command)
        with _understood(self.target):
            # The folder's name is a digest of its content, so models of equal size are identical.
            have = {f"models/{name}": int(size) for name, size in facts["have"].items()}
            free, folder = int(facts["free"]), str(facts["folder"])
            if not folder.endswith(f"/{self.name}"):
                raise ValueError("another folder than was asked for")
        self.folder = folder
        missing = {name: data for name, data in contents.items() if have.get(name) != len(data)}
        size = sum(map(len, missing.values()))
        if size + _FREE_MARGIN > free:
            raise DeviceError(
                f"{self.target.host} has {free / 1e6:.0f} MB free in {self.folder}, "
                f"{(size + _FREE_MARGIN) / 1e6:.0f} MB are needed; free some space there"
            )
        self._python("-c", _UNPACK, self.folder, source=_tar(missing))

    def agent(self, *command: str) -> dict[str, Any]:
        """Run a command of the agent; returns its reply."""
        return self.target.reply(self.command(*command))

    def start(self, variables: Mapping[str, str], *command: str) -> subprocess.Popen[bytes]:
        """Start a command of the agent with ``variables`` in its environment."""
        set_ = [f"{name}={value}" for name, value in variables.items()]
        return self.target.follow(["env", *set_, *self.command(*command)])

    def results(self, patience: float, progress: Progress | None) -> Results:
        """Follow the job to its end; reconnects after a lost connection."""
        partial: Results | None = None
        last_reply, wait, message = time.monotonic(), 1.0, "no reply"
        while time.monotonic() - last_reply < patience:
            process = self.target.follow(self.command("follow"))
            try:
                assert process.stdout is not None  # noqa: S101  (it is a pipe)
                for line in _understandable(process.stdout, self.target):
                    status = object_of(line)
                    if status is None:  # a banner
                        if time.monotonic() - last_reply > patience:
                            raise self.target.confused()
                        continue
                    last_reply, wait = time.monotonic(), 1.0
                    if "failed" in status:
                        raise LostDeviceError(f"{self.target.host}: {status['failed']}", partial)
                    with _understood(self.target):
                        if "results" in status:
                            return _results(status["results"], self.target.host)
                        if "partial" in status:
                            partial = _results(status["partial"], self.target.host)
                        if progress is not None and "progress" in status:
                            stage = status["progress"]
                            done, total = int(stage["done"]), int(stage["total"])
                            progress(str(stage["what"]), done, total)
                message = ssh.last_line(process.stderr) or message
            finally:
                process.kill()
                process.wait()
            if process.returncode not in (ssh.LOST, -9) and process.returncode != 0:
                raise LostDeviceError(f"{self.target.host}: {message}", partial)
            time.sleep(min(wait, max(0.0, patience - (time.monotonic() - last_reply))))
            wait = min(2 * wait, 15.0)
        raise LostDeviceError(
            f"{self.target.host} was lost while it measured ({message}); run the same command "
            "again to resume",
            partial,
        )

    def remove(self) -> None:
        """Remove the folder. Without a connection, the job on the device removes it later."""
        if self.folder is None:
            return
        with suppress(ConnectionLostError, EdgeEffNetError):
            self.target.run(self.command("remove"), timeout=30)
        with suppress(ConnectionLostError, EdgeEffNetError):  # a broken bundle
            self._python("-c", _REMOVE, self.folder)

    def command(self, command: str, *more: str) -> list[str]:
        """The command line of the agent's ``command``."""
        assert self.folder is not None  # noqa: S101  (copy came first)
        module = ("-m", "edge_effnet.benchmarks.remote.agent", command, self.folder, *more)
        return ["env", f"PYTHONPATH={self.folder}", *shlex.split(self.python), *module]

    def _python(self, *arguments: str, source: bytes = b"") -> bytes:
        return self.target.run([*shlex.split(self.python), *arguments], source)


@contextmanager
def _understood(target: Target) -> Iterator[None]:
    """Context in which a reply of another form than ours becomes a `DeviceError`."""
    try:
        yield
    except EdgeEffNetError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise target.confused() from error


def _understandable(stream: IO[bytes], target: Target) -> Iterator[bytes]:
    """Lines of a reply; raises `DeviceError` for an endless one."""
    with _understood(target):
        yield from lines_of(stream)


def _models(paths: Sequence[Path]) -> dict[str, Path]:
    """The local files to copy, by name on the device, including the .bin of each .xml.

    Raises:
        DeviceError: A file is missing.
    """
    files = {}
    for index, path in enumerate(paths):
        files[f"{index}{path.suffix}"] = path
        if beside := companion_path(path):
            files[f"{index}{beside.suffix}"] = beside
    for path in files.values():
        if not path.is_file():
            raise DeviceError(missing(path))
    return files


def _renamed(results: Results, paths: Sequence[Path]) -> Results:
    """``results`` with the local paths in their records."""
    by_index = {str(index): str(path) for index, path in enumerate(paths)}
    records = (record.with_(file=by_index[Path(record.file).stem]) for record in results.records)
    return replace(results, records=tuple(records))


def _name(contents: dict[str, bytes]) -> str:
    """Name of the folder: a digest of its content."""
    digest = hashlib.sha256()
    for name in sorted(contents):
        digest.update(name.encode() + b"\0" + hashlib.sha256(contents[name]).digest())
    return f".edge-effnet-{digest.hexdigest()[:16]}"


def _tar(contents: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in sorted(contents):
            member = tarfile.TarInfo(name)
            member.size = len(contents[name])
            archive.addfile(member, io.BytesIO(contents[name]))
    return stream.getvalue()


def _results(content: dict[str, Any], host: str) -> Results:
    return Results.from_json(json.dumps(content), f"what {host} sent")
