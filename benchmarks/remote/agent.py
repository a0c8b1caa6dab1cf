"""The measuring agent: started over ssh, it runs on the device from a copied folder.

Arguments: COMMAND FOLDER. The folder holds ``job.json``, ``models/`` and the package.

- ``describe`` prints what the device is and has. It takes no folder.
- ``start`` starts a process (``run``) that does not need the connection. The process updates
  ``status.json`` and finally writes ``results.json``.
- ``follow`` prints the status and the results as JSON lines. If ``follow`` does not run within 15
  minutes after the end of the job, the process removes the folder.
- ``remove`` stops the process and removes the folder.
- ``host`` prints the machine's description.
- ``micro-benchmarks`` runs the micro-benchmark worker; it ends with the connection.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from edge_effnet.errors import EdgeEffNetError

_LINGER = 900.0  # seconds
_POLL = 0.5  # seconds between two reads of the status
_HEARTBEAT = 4.0  # seconds of an unchanged status after which an empty message is printed


def main(arguments: list[str]) -> int:
    """Run one command, which prints JSON lines; returns the exit code."""
    command, *parameters = arguments
    if command == "describe":
        from edge_effnet.benchmarks.remote.device import describe

        _print(describe())
        return 0
    folder = Path(parameters[0])
    if command == "host":
        print_host(int(parameters[1]))
        return 0
    if command == "micro-benchmarks":
        return run_micro_benchmarks(folder, parameters[1])
    {"start": start, "run": run, "follow": follow, "remove": remove}[command](folder)
    return 0


def start(folder: Path) -> None:
    """Start the job unless it is running or done."""
    lock = _lock(folder)
    if lock is None or (folder / "results.json").exists():
        return
    lock.close()
    (folder / "pid").unlink(missing_ok=True)  # left by a dead process
    with open(folder / "log.txt", "ab") as log:
        subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "edge_effnet.benchmarks.remote.agent", "run", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=folder,
        )
    deadline = time.monotonic() + 30
    while not (folder / "pid").exists() and time.monotonic() < deadline:
        time.sleep(0.05)


def run(folder: Path) -> None:
    """Run the job, then wait up to `_LINGER` seconds for the folder to be removed."""
    lock = _lock(folder)
    if lock is None:
        return
    _write(folder / "pid", str(os.getpid()))
    with suppress(FileNotFoundError):  # another process removed the folder
        _work(folder)
        (folder / "seen").touch()
        while time.time() - (folder / "seen").stat().st_mtime < _LINGER:
            time.sleep(1)
        shutil.rmtree(folder, ignore_errors=True)


def follow(folder: Path) -> None:
    """Print each change of the status as a JSON line, and finally the results."""
    last, printed = "", time.monotonic()
    while True:
        (folder / "seen").touch()
        if (folder / "results.json").exists():
            _print(json.loads((folder / "results.json").read_text("utf-8")))
            return
        status = _read(folder / "status.json")
        if status and status != last:
            _print(json.loads(status))
            last, printed = status, time.monotonic()
        elif time.monotonic() - printed > _HEARTBEAT:
            _print({})
            printed = time.monotonic()
        lock = _lock(folder)
        if lock is not None and not (folder / "results.json").exists():
            lock.close()
            lines = _read(folder / "log.txt").strip().splitlines()
            _print(
                {"failed": f"the measuring process ended ({lines[-1] if lines else 'no reason'})"}
            )
            return
        time.sleep(_POLL)


def remove(folder: Path) -> None:
    """Stop the job and remove the folder."""
    pid = _read(folder / "pid")
    if pid and _lock(folder) is None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(int(pid), number)
            time.sleep(0.2)
    shutil.rmtree(folder, ignore_errors=True)


def print_host(threads: int) -> None:
    """Print the description of this machine, and the cores to pin ``threads`` threads to."""
    from edge_effnet.benchmarks.latency import host

    _print({"host": asdict(host.describe()), "cores": host.pick_cores(threads)})


def run_micro_benchmarks(folder: Path, settings: str) -> int:
    """Run the worker of the micro-benchmarks with ``settings`` (JSON); prints JSON lines."""
    from edge_effnet.benchmarks.prediction import micro_benchmark_worker

    try:
        return micro_benchmark_worker.main(json.loads(settings))
    except BrokenPipeError:  # the connection is lost, so no other process removes the folder
        shutil.rmtree(folder, ignore_errors=True)
        return 1


def _work(folder: Path) -> None:
    from edge_effnet.benchmarks.devices import on_devices
    from edge_effnet.benchmarks.latency import host
    from edge_effnet.benchmarks.latency.conditions import Monitor
    from edge_effnet.benchmarks.latency.generated_photo import write_photo
    from edge_effnet.benchmarks.latency.measure import measure_latency
    from edge_effnet.benchmarks.records import Record, Results, timestamp

    job: dict[str, Any] = json.loads((folder / "job.json").read_text("utf-8"))
    machine, monitor = host.describe(), Monitor()
    status = {"what": "warm-up", "done": 0, "total": 0}

    def report(stage: str, done: int, total: int) -> None:
        status.update(what=stage, done=done, total=total)
        if stage == "warm-up":
            _write(folder / "status.json", json.dumps({"progress": status}))

    def keep(records: tuple[Record, ...]) -> None:
        so_far = json.loads(Results(machine, records, created=timestamp()).to_json())
        _write(folder / "status.json", json.dumps({"progress": status, "partial": so_far}))

    try:
        options = job["device_options"]
        paths = [str(folder / "models" / name) for name in job["models"]]
        records = measure_latency(
            on_devices(paths, job["devices"], options),
            job["threads"],
            job["runs"],
            progress=report,
            partial=keep,
            monitor=monitor,
            photo=write_photo(folder / "photo.jpg"),
            profile=job["profile"],
            device_options=options,
        )
    except EdgeEffNetError as error:
        _write(folder / "results.json", json.dumps({"failed": str(error)}))
        return
    results = Results(machine, records, conditions=monitor.conditions, created=timestamp())
    _write(folder / "results.json", json.dumps({"results": json.loads(results.to_json())}))


def _lock(folder: Path) -> IO[bytes] | None:
    """The lock of the job; None while another process holds it."""
    import fcntl

    stream = open(folder / "lock", "ab")  # noqa: SIM115  (held until it is collected)
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.close()
        return None
    return stream


def _write(path: Path, text: str) -> None:
    """Replace the file atomically; raises `FileNotFoundError` if the folder is gone."""
    beside = path.with_suffix(".part")
    beside.write_text(text, "utf-8")
    os.replace(beside, path)


def _read(path: Path) -> str:
    with suppress(FileNotFoundError):
        return path.read_text("utf-8", errors="replace")
    return ""


def _print(content: Any) -> None:
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
