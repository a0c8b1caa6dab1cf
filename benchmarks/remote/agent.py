"""The other side of ``--device ssh://``: runs on the device, from a bundle copied there.

``python -m edge_effnet.benchmarks.remote.agent COMMAND FOLDER``; the folder holds ``job.json``,
``models/`` and our package. ``start`` leaves a process behind that does not need the connection: it
keeps ``status.json`` and at last writes ``results.json``. ``follow`` prints both as JSON lines. If
nobody follows for a quarter of an hour after the end, the folder removes itself. ``look`` says what
the machine is, ``probe`` times layers for a profile (`probing`) while the connection lasts.
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
_LOOK = 0.5  # seconds between two looks at the status
_HEARTBEAT = 4.0  # seconds after which something is printed all the same


def main(arguments: list[str]) -> int:
    """One command; prints JSON lines."""
    command, *rest = arguments
    if command == "describe":
        from edge_effnet.benchmarks.remote.device import describe

        _say(describe())
        return 0
    folder = Path(rest[0])
    if command == "look":
        look(int(rest[1]))
        return 0
    if command == "probe":
        return probe(folder, rest[1])
    {"start": start, "run": run, "follow": follow, "remove": remove}[command](folder)
    return 0


def start(folder: Path) -> None:
    """Begin the job, unless it is running or done."""
    lock = _lock(folder)
    if lock is None or (folder / "results.json").exists():
        return
    lock.close()
    (folder / "pid").unlink(missing_ok=True)  # of a process that is gone
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
    """Do the job, then wait to be removed."""
    lock = _lock(folder)
    if lock is None:
        return
    _put(folder / "pid", str(os.getpid()))
    with suppress(FileNotFoundError):  # the folder was removed under us
        _work(folder)
        (folder / "seen").touch()
        while time.time() - (folder / "seen").stat().st_mtime < _LINGER:
            time.sleep(1)
        shutil.rmtree(folder, ignore_errors=True)


def follow(folder: Path) -> None:
    """Print the status whenever it changes, and at the end the results."""
    last, printed = "", time.monotonic()
    while True:
        (folder / "seen").touch()
        if (folder / "results.json").exists():
            _say(json.loads((folder / "results.json").read_text("utf-8")))
            return
        status = _get(folder / "status.json")
        if status and status != last:
            _say(json.loads(status))
            last, printed = status, time.monotonic()
        elif time.monotonic() - printed > _HEARTBEAT:
            _say({})
            printed = time.monotonic()
        lock = _lock(folder)
        if lock is not None and not (folder / "results.json").exists():
            lock.close()
            lines = _get(folder / "log.txt").strip().splitlines()
            _say({"failed": f"the measuring process ended ({lines[-1] if lines else 'no reason'})"})
            return
        time.sleep(_LOOK)


def remove(folder: Path) -> None:
    """End the job and leave nothing of it."""
    pid = _get(folder / "pid")
    if pid and _lock(folder) is None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(int(pid), number)
            time.sleep(0.2)
    shutil.rmtree(folder, ignore_errors=True)


def look(threads: int) -> None:
    """Print the host, and the cores to pin ``threads`` to."""
    from edge_effnet.benchmarks.latency import host

    _say({"host": asdict(host.describe()), "cores": host.pick_cores(threads)})


def probe(folder: Path, settings: str) -> int:
    """Time the layers that ``settings`` (JSON, see `probing`) ask for; prints JSON lines."""
    from edge_effnet.benchmarks.prediction import micro_benchmark_worker

    try:
        return micro_benchmark_worker.main(json.loads(settings))
    except BrokenPipeError:  # the connection is lost, and nobody comes to remove the folder
        shutil.rmtree(folder, ignore_errors=True)
        return 1


def _work(folder: Path) -> None:
    from edge_effnet.benchmarks.latency import host, measure
    from edge_effnet.benchmarks.latency.conditions import Monitor
    from edge_effnet.benchmarks.latency.generated_photo import write_photo
    from edge_effnet.benchmarks.records import Record, Results, timestamp

    job: dict[str, Any] = json.loads((folder / "job.json").read_text("utf-8"))
    machine, monitor = host.describe(), Monitor()
    steps = {"what": "warm-up", "done": 0, "total": 0}

    def report(what: str, done: int, total: int) -> None:
        steps.update(what=what, done=done, total=total)
        if what == "warm-up":
            _put(folder / "status.json", json.dumps({"progress": steps}))

    def keep(records: tuple[Record, ...]) -> None:
        so_far = json.loads(Results(machine, records, created=timestamp()).to_json())
        _put(folder / "status.json", json.dumps({"progress": steps, "partial": so_far}))

    try:
        records = measure.measure(
            [folder / "models" / name for name in job["models"]],
            job["threads"],
            job["runs"],
            progress=report,
            partial=keep,
            monitor=monitor,
            photo=write_photo(folder / "photo.jpg"),
            profile=job["profile"],
        )
    except EdgeEffNetError as error:
        _put(folder / "results.json", json.dumps({"failed": str(error)}))
        return
    results = Results(machine, records, conditions=monitor.conditions, created=timestamp())
    _put(folder / "results.json", json.dumps({"results": json.loads(results.to_json())}))


def _lock(folder: Path) -> IO[bytes] | None:
    """The job's lock, None while another process has it."""
    import fcntl

    stream = open(folder / "lock", "ab")  # noqa: SIM115  (held until it is collected)
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.close()
        return None
    return stream


def _put(path: Path, text: str) -> None:
    """Write at once: a reader sees the old text or the new. Raises if the folder is gone."""
    beside = path.with_suffix(".part")
    beside.write_text(text, "utf-8")
    os.replace(beside, path)


def _get(path: Path) -> str:
    with suppress(FileNotFoundError):
        return path.read_text("utf-8", errors="replace")
    return ""


def _say(content: Any) -> None:
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
