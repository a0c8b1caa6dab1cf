"""Kills of ``export`` and ``sweep`` at random moments: nothing is lost, and a rerun leaves nothing.

    python -m tests.support.kills --count 200

After each kill every visible model file is whole (the old or the new one), the journal of a sweep
begins as before, and a rerun gives the files of an undisturbed run and no other.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from edge_effnet import digest
from edge_effnet.errors import ModelFileError
from edge_effnet.formats import SUFFIXES, companion_path
from edge_effnet.runtime.opening import read_model_files
from support import command

WAIT = 400.0
#: Files whose bytes depend on time or load.
VARYING = ("results.json", "report.html", "journal.jsonl")
NETWORK = ("lite0", "--weights", "random")


@dataclass(frozen=True)
class Subject:
    """A command that is killed, its output folder's content without a kill, and an older one."""

    name: str
    arguments: tuple[str, ...]
    expected: dict[str, bytes]
    seconds: float
    older: dict[str, bytes]


def subject(name: str, arguments: tuple[str, ...], older: tuple[str, ...], folder: Path) -> Subject:
    """Run ``older`` and ``arguments`` once, undisturbed."""
    run(older, folder / "older")
    began = time.monotonic()
    run(arguments, folder / "new")
    seconds = time.monotonic() - began
    return Subject(name, arguments, contents(folder / "new"), seconds, contents(folder / "older"))


def start(arguments: tuple[str, ...], folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [str(command.SCRIPT), *arguments, "--out", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def run(arguments: tuple[str, ...], folder: Path) -> None:
    process = start(arguments, folder)
    _, errors = process.communicate(timeout=WAIT)
    assert process.returncode == 0, errors.decode()


def contents(folder: Path) -> dict[str, bytes]:
    """All files by relative path, hidden ones too; those of `VARYING` without their bytes."""
    return {
        path.relative_to(folder).as_posix(): b"" if path.name in VARYING else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def kill_at_random(process: subprocess.Popen[bytes], folder: Path, seconds: float) -> str:
    """Kill after a random time, or after a random number of changes in ``folder``.

    Returns what happened: ``time``, ``change``, or ``ended`` if the process was quicker.
    """
    end = time.monotonic() + random.uniform(0.2, 1.1) * seconds
    changes, wanted = 0, random.choice((None, random.randint(1, 14)))
    before: object = None
    while process.poll() is None:
        now = [
            (entry.name, entry.stat().st_size)
            for place in (folder, *folder.glob("models/*"))
            if place.is_dir()
            for entry in _entries(place)
        ]
        changes, before = changes + (now != before), now
        if wanted is not None and changes > wanted:
            return _kill(process, "change")
        if wanted is None and time.monotonic() > end:
            return _kill(process, "time")
    return "ended"


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    def there(entry: os.DirEntry[str]) -> bool:
        try:
            return entry.stat() is not None
        except OSError:
            return False

    return [entry for entry in os.scandir(folder) if there(entry)]


def _kill(process: subprocess.Popen[bytes], what: str) -> str:
    """Kill the process, and in half of the cases its children too, which else end by themselves."""
    if random.random() < 0.5:
        os.killpg(process.pid, signal.SIGKILL)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=WAIT)
    wait_for(lambda: not group_runs(process.pid))
    return what


def group_runs(group: int) -> bool:
    """Whether a process of the group still runs."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[2] == str(group) and fields[0] != "Z":
            return True
    return False


def wait_for(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT
    while not holds():
        assert time.monotonic() < end, "children of a killed process run on"
        time.sleep(0.02)


def check_whole(folder: Path, before: dict[str, bytes], subject: Subject) -> None:
    """Every visible model file is that of before or that of the end, and opens."""
    for path in sorted(folder.rglob("*")):
        if path.suffix not in SUFFIXES or path.name.startswith("."):
            continue
        name = path.relative_to(folder).as_posix()
        assert path.read_bytes() in (subject.expected[name], before.get(name)), f"{name} is torn"
    for name in before:  # nothing is lost
        path = folder / name
        if name.startswith(".") or "/." in name or path.name in VARYING:
            continue
        assert path.exists() or path.suffix == ".part", f"{name} is gone"
        if path.suffix in SUFFIXES and (companion_path(path) or path).exists():
            try:
                assert digest.verify(*read_model_files(path)) is not None
            except ModelFileError as error:
                raise AssertionError(f"{name} does not open: {error}") from error


def attack(subject: Subject, folder: Path, *, old: bool) -> str:
    """One kill and one rerun; returns when the process was killed."""
    if old:
        for name, data in subject.older.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.name not in VARYING:
                path.write_bytes(data)
    before = contents(folder) if folder.exists() else {}
    journal = folder / "journal.jsonl"
    what = kill_at_random(start(subject.arguments, folder), folder, subject.seconds)
    check_whole(folder, before, subject)
    lines = journal.read_bytes() if journal.exists() else b""
    whole = lines[: lines.rfind(b"\n") + 1]
    run(subject.arguments, folder)
    assert contents(folder) == subject.expected, (
        f"{subject.name}, killed by {what}: {sorted(contents(folder))} "
        f"instead of {sorted(subject.expected)}"
    )
    assert not journal.exists() or journal.read_bytes().startswith(whole), "results were lost"
    return what


def subjects(folder: Path) -> tuple[Subject, Subject]:
    """``export`` and ``sweep`` of a small network in several formats."""
    photos = str(command.save_photos(folder / "photos", 3))
    export = ("export", *NETWORK, "--resolution", "32", "--precisions", "fp32,fp16", "--overwrite")
    sweep = (
        *("sweep", "lite0@32", "lite0@64", "--weights", "random", "--precisions", "fp32"),
        *("--images", photos, "--labels", "none", "--runs", "1"),
    )
    older = tuple("64" if word == "32" else word for word in export)
    return (
        subject("export", export, older, folder / "export"),
        subject("sweep", sweep, sweep, folder / "sweep"),
    )


def main() -> None:
    """Kill each command ``--count`` times and print how."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random.seed(options.seed)
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        both = subjects(folder)
        counts: Counter[tuple[str, str]] = Counter()
        for number in range(options.count):
            each = both[number % 2]
            target = folder / f"run-{number}"
            counts[each.name, attack(each, target, old=random.random() < 0.5)] += 1
            shutil.rmtree(target)
            print(f"{number + 1} of {options.count}: {dict(counts)}", flush=True)


if __name__ == "__main__":
    main()
