"""Model files + a machine behind ssh -> Results, measured there and nothing left behind.

Our package and the files are copied into one folder in the user's home, named by what is in it: a
second attempt finds what the first one copied, measured or is measuring. The measuring process does
not need the connection; when that breaks it is made again and the job followed on.
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
from typing import Any

from edge_effnet.benchmarks.decoding import decode
from edge_effnet.benchmarks.records import Host, Results
from edge_effnet.benchmarks.remote import ssh
from edge_effnet.benchmarks.remote.ssh import ConnectionLostError, Target
from edge_effnet.errors import DeviceError, EdgeEffNetError
from edge_effnet.files import PathLike, unique_paths
from edge_effnet.formats import companion_path
from edge_effnet.package_files import package_files
from edge_effnet.progress import Progress

#: Parts of the package that a device needs.
_PARTS = ("", "benchmarks")
#: Further ones, where it makes models itself.
_MAKERS = ("calibration", "converters")
PATIENCE = 300.0  # seconds without any connection until a job is given up
_SPARE = 50_000_000  # bytes that must stay free on the device

# Runs with the device's bare Python, before our package is there: makes the folder and says what
# there is. Arguments: folder name, Python modules needed.
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
# Unpacks a tar stream from stdin into the folder; each file is whole or not there.
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
    """A device that was lost mid-run; ``partial`` holds what it had measured, if anything."""

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
    python: str = "python3",
    keep: bool = False,
    patience: float = PATIENCE,
    progress: Progress | None = None,
) -> Results:
    """Time every file on ``target`` as `latency.measure` does here; records bear the local paths.

    ``python`` is the interpreter there; it needs numpy, Pillow and a runtime. ``keep`` leaves the
    folder there. Raises `DeviceError` if the machine cannot be reached or used, `LostDeviceError`
    if it is lost for ``patience`` seconds mid-run, with what had been measured.
    """
    paths = [Path(path) for path in unique_paths(files)]
    models = _models(paths)
    contents = {f"models/{name}": path.read_bytes() for name, path in models.items()}
    job = {
        "models": [f"{index}{path.suffix}" for index, path in enumerate(paths)],
        "threads": threads,
        "runs": runs,
        "profile": profile,
    }
    contents = {**package_files(_PARTS), **contents, "job.json": json.dumps(job).encode()}
    session = _Session(target, python, _name(contents))
    try:
        session.copy(contents)
        session.agent("start")
        found = session.results(patience, progress)
    except ConnectionLostError as lost:
        raise target.refusal(lost) from None
    except LostDeviceError as error:
        error.partial = error.partial and _renamed(error.partial, paths)
        raise
    finally:
        if not keep:
            session.remove()
    return _renamed(found, paths)


def describe_device(target: Target, python: str = "python3") -> dict[str, Any]:
    """What `device.describe` finds on ``target``; raises `DeviceError`."""
    contents = package_files(_PARTS)
    session = _Session(target, python, _name(contents))
    try:
        session.copy(contents)
        found: dict[str, Any] = json.loads(session.agent("describe"))
    except ConnectionLostError as lost:
        raise target.refusal(lost) from None
    finally:
        session.remove()
    return found


@contextmanager
def remote_machine(target: Target, python: str = "python3") -> Iterator[RemoteMachine]:
    """The machine behind ``target`` for `prediction.measure`, our package on it meanwhile.

    Its Python needs what the extra ``export`` brings for a format, and that format's runtime; what
    lacks is said when it is tried. Raises `DeviceError`.
    """
    contents = package_files(_PARTS + _MAKERS)
    session = _Session(target, python, _name(contents))
    try:
        session.copy(contents)
        yield RemoteMachine(session)
    except ConnectionLostError as lost:
        raise target.refusal(lost) from None
    finally:
        session.remove()


class RemoteMachine:
    """A `prediction.Machine` behind ssh."""

    def __init__(self, session: _Session) -> None:
        self._session = session
        self.name = session.target.host

    def describe(self, threads: int) -> tuple[Host, list[int]]:
        """The host, and its cores to pin ``threads`` to; fewer if it has fewer."""
        facts = json.loads(self._session.agent("host", str(threads)))
        return decode(Host, facts["host"]), facts["cores"]

    def start(self, settings: str, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start the worker of the micro-benchmarks there."""
        return self._session.start(variables, "micro-benchmarks", settings)


class _Session:
    """One job's folder on the target."""

    def __init__(self, target: Target, python: str, name: str) -> None:
        self.target, self.python, self.name = target, python, name
        self.folder: str | None = None

    def copy(self, contents: dict[str, bytes]) -> None:
        """Bring there what is not there yet; raises `DeviceError` if it does not fit."""
        facts = json.loads(self._python("-c", _PREPARE, self.name, "numpy", "PIL"))
        self.folder = facts["folder"]
        # Models already there in full size belong to this very job: its name is their digest.
        have = {f"models/{name}": size for name, size in facts["have"].items()}
        missing = {name: data for name, data in contents.items() if have.get(name) != len(data)}
        size = sum(map(len, missing.values()))
        if size + _SPARE > facts["free"]:
            raise DeviceError(
                f"{self.target.host} has {facts['free'] / 1e6:.0f} MB free in {self.folder}, "
                f"{(size + _SPARE) / 1e6:.0f} MB are needed; free some space there"
            )
        self._python("-c", _UNPACK, self.folder, source=_tar(missing))

    def agent(self, *command: str) -> bytes:
        """One of the agent's commands; its output."""
        return self.target.run(self._agent(*command))

    def start(self, variables: Mapping[str, str], *command: str) -> subprocess.Popen[bytes]:
        """One of the agent's commands, started with ``variables`` in its environment."""
        set_ = [f"{name}={value}" for name, value in variables.items()]
        return self.target.follow(["env", *set_, *self._agent(*command)])

    def results(self, patience: float, progress: Progress | None) -> Results:
        """Follow the job to its end, through lost connections."""
        partial: Results | None = None
        seen, wait, said = time.monotonic(), 1.0, "no answer"
        while time.monotonic() - seen < patience:
            process = self.target.follow(self._agent("follow"))
            try:
                assert process.stdout is not None  # noqa: S101  (it is a pipe)
                for line in process.stdout:
                    seen, wait = time.monotonic(), 1.0
                    status = json.loads(line)
                    if "failed" in status:
                        raise LostDeviceError(f"{self.target.host}: {status['failed']}", partial)
                    if "results" in status:
                        return _results(status["results"], self.target.host)
                    if "partial" in status:
                        partial = _results(status["partial"], self.target.host)
                    if progress is not None and "progress" in status:
                        step = status["progress"]
                        progress(step["what"], step["done"], step["total"])
                said = ssh.last_words(process.stderr) or said
            finally:
                process.kill()
                process.wait()
            if process.returncode not in (ssh.LOST, -9) and process.returncode != 0:
                raise LostDeviceError(f"{self.target.host}: {said}", partial)
            time.sleep(min(wait, max(0.0, patience - (time.monotonic() - seen))))
            wait = min(2 * wait, 15.0)
        raise LostDeviceError(
            f"{self.target.host} was lost while it measured ({said}); when it is back, the same "
            "command goes on where it was",
            partial,
        )

    def remove(self) -> None:
        """Leave nothing there; where that is impossible the folder removes itself."""
        if self.folder is None:
            return
        with suppress(ConnectionLostError, EdgeEffNetError):
            self.target.run(self._agent("remove"), timeout=30)
        with suppress(ConnectionLostError, EdgeEffNetError):  # a broken bundle
            self._python("-c", _REMOVE, self.folder)

    def _agent(self, command: str, *more: str) -> list[str]:
        assert self.folder is not None  # noqa: S101  (copy came first)
        module = ("-m", "edge_effnet.benchmarks.remote.agent", command, self.folder, *more)
        return ["env", f"PYTHONPATH={self.folder}", *shlex.split(self.python), *module]

    def _python(self, *arguments: str, source: bytes = b"") -> bytes:
        return self.target.run([*shlex.split(self.python), *arguments], source)


def _models(paths: Sequence[Path]) -> dict[str, Path]:
    """Name on the device -> file, the .bin of an .xml beside it; raises `DeviceError`."""
    found = {}
    for index, path in enumerate(paths):
        found[f"{index}{path.suffix}"] = path
        if beside := companion_path(path):
            found[f"{index}{beside.suffix}"] = beside
    for path in found.values():
        if not path.is_file():
            raise DeviceError(f"there is no file {path}; check the path")
    return found


def _renamed(found: Results, paths: Sequence[Path]) -> Results:
    """The records with the local paths in the order they were given."""
    pairs = zip(found.records, paths, strict=True)
    return replace(found, records=tuple(record.with_(file=str(path)) for record, path in pairs))


def _name(contents: dict[str, bytes]) -> str:
    """The folder's name: a digest over everything in it."""
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
