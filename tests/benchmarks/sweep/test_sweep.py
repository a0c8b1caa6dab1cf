"""Sweeps of a real network at 32 pixels with random weights: what is done, kept and refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from support.command import SCRIPT, call, contents, installed, refused, run, save_photos

pytest.importorskip("jinja2", reason="the report")
pytest.importorskip("ai_edge_litert", reason="the extra 'export'")

from edge_effnet.benchmarks.accuracy.evaluate import evaluate
from edge_effnet.benchmarks.records import Host, Results, read_results
from edge_effnet.benchmarks.selection.select import Limits, select
from edge_effnet.benchmarks.sweep.executors import Processes
from edge_effnet.benchmarks.sweep.plan import Cell, Plan
from edge_effnet.benchmarks.sweep.sweep import sweep
from edge_effnet.benchmarks.sweep.tasks import Export, Task
from edge_effnet.checkpoints import load
from edge_effnet.checkpoints.canonical import save
from edge_effnet.errors import DeviceError, UsageError

CELLS = ("lite0@32", "lite1@32")
WAIT = 400.0  # seconds for anything to happen


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 photos: three parts of a sweep."""
    return save_photos(tmp_path_factory.mktemp("photos"), 150)


def arguments(out: Path, photos: Path, *more: object) -> list[object]:
    return [
        *("sweep", *CELLS, "--weights", "random", "--formats", "tflite", "--precisions", "fp32"),
        *("--images", photos, "--runs", 4, "--workers", 2, "--out", out, *more),
    ]


def keys(out: Path) -> list[str]:
    journal = out / "journal.jsonl"
    lines = journal.read_bytes().split(b"\n")[1:-1] if journal.exists() else []
    return [json.loads(line)["key"] for line in lines]


def checked(out: Path, photos: Path) -> None:
    """Every step was done once, and the figures are those of a plain evaluation."""
    found = keys(out)
    assert len(found) == len(set(found)) == 2 * (1 + 3 + 1)
    records = read_results(out / "results.json").records
    assert [record.variant for record in records] == ["efficientnet-lite0", "efficientnet-lite1"]
    for record in records:
        (plain,) = evaluate([record.file], photos, threads=1).records
        assert record.images == plain.images == 150
        assert (record.agreement, record.size_bytes) == (plain.agreement, plain.size_bytes)
        assert record.latency_ms is not None
        assert len(record.samples_ms) == 4
        assert record.resolution == 32
    assert not [name for name in contents(out) if ".part" in name or "token" in name]
    assert "lite1" in (out / "report.html").read_text()


def until(what: object, holds: object) -> None:
    end = time.monotonic() + WAIT
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < end, what
        time.sleep(0.01)


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in listed] + [x for c in listed for x in children(int(c))]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.exhaustive
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="watches processes through /proc")
def test_killed_again_and_again(tmp_path: Path, photos: Path) -> None:
    out = tmp_path / "out"
    command = [str(SCRIPT), *map(str, arguments(out, photos))]
    kills, before = 0, b""
    while True:
        known = len(keys(out))
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        until("a step", lambda: process.poll() is not None or len(keys(out)) >= known + 3)  # noqa: B023
        if process.poll() is not None:
            assert process.returncode == 0, process.communicate()
            break
        family = children(process.pid)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += 1
        until("children end too", lambda: not any(map(alive, family)))  # noqa: B023
        journal = (out / "journal.jsonl").read_bytes()
        assert journal.startswith(before)  # nothing lost
        before = journal[: journal.rfind(b"\n") + 1]
    assert kills >= 2
    checked(out, photos)
    again = run(*arguments(out, photos))
    assert "0 tasks (10 were done before)" in again.stderr
    assert (out / "journal.jsonl").read_bytes().startswith(before)
    checked(out, photos)


class Faulty:
    """Runs steps here; the one whose key holds ``word`` fails, or ends everything."""

    threads = 1

    def __init__(self, word: str, error: Exception | None = None) -> None:
        self.word, self.error = word, error

    def run(self, steps: dict[str, Task]) -> Iterator[tuple[str, dict[str, object]]]:
        from edge_effnet.benchmarks.sweep.tasks import run

        for key, step in steps.items():
            if self.word in key and self.error:
                raise self.error
            failed = {"failed": "no luck", "seconds": 0.0}
            yield key, failed if self.word in key else run(step)


def plan(photos: Path | None, *cells: str) -> Plan:
    chosen = tuple(Cell.parse(cell, "random") for cell in cells or CELLS)
    return Plan(chosen, ("tflite",), ("fp32",), images=None if photos is None else str(photos))


def untimed(files: object) -> Results:
    return Results(Host(), ())


def test_a_step_that_fails_is_tried_again(tmp_path: Path, photos: Path) -> None:
    for word, what in (("export efficientnet-lite1", "export"), ("lite1@32=random 64", "accuracy")):
        out = tmp_path / what
        found = sweep(plan(photos), out, Faulty(word), untimed, timing={})
        ((key, reason),) = found.failures
        assert word in key
        assert reason == "no luck"
        assert [r.variant for r in found.results.records] == ["efficientnet-lite0"]
        again = sweep(plan(photos), out, Faulty("nothing"), untimed, timing={})
        assert not again.failures
        assert [r.variant[-1] for r in again.results.records] == ["0", "1"]


class Littering(Faulty):
    """Leaves what a worker leaves that is killed while it writes."""

    def run(self, steps: dict[str, Task]) -> Iterator[tuple[str, dict[str, object]]]:
        for key, found in super().run(steps):
            for folder in {Path(s.out) for s in steps.values() if isinstance(s, Export)}:
                (folder / ".half.tflite.0a1b2c3d.part").write_bytes(b"half")
            yield key, found


def test_what_killed_workers_left_is_removed(tmp_path: Path) -> None:
    for name in (".results.json.0a1b2c3d.part", ".report.html.0a1b2c3d.part", ".notes.part"):
        (tmp_path / name).write_bytes(b"half")
    found = sweep(plan(None, CELLS[0]), tmp_path, Littering("none"), untimed, timing={})
    assert not found.failures
    assert [path.name for path in tmp_path.glob(".*")] == [".notes.part"]  # the user's own
    assert list(tmp_path.glob("models/**/*.tflite"))
    assert not list(tmp_path.glob("models/**/.*"))


def test_a_lost_cluster_keeps_what_was_done(tmp_path: Path, photos: Path) -> None:
    lost = Faulty("lite1@32=random 64", DeviceError("gone"))
    with pytest.raises(DeviceError, match="gone"):
        sweep(plan(photos), tmp_path, lost, untimed, timing={})
    (kept,) = read_results(tmp_path / "results.json").records
    assert (kept.variant, kept.images) == ("efficientnet-lite0", 150)
    assert len(keys(tmp_path)) == 2 + 3 + 1


def test_variants_may_be_added_and_the_folder_moved(tmp_path: Path, photos: Path) -> None:
    first, moved = tmp_path / "first", tmp_path / "moved"
    sweep(plan(photos, CELLS[0]), first, Faulty("none"), untimed, timing={})
    first.rename(moved)
    found = sweep(plan(photos), moved, Faulty("lite0"), untimed, timing={})
    assert not found.failures  # nothing of lite0 was done again
    assert [r.file for r in found.results.records] == [
        str(moved / f"models/32/efficientnet-lite{n}-fp32.tflite") for n in (0, 1)
    ]


class Deadly:
    """A step that kills its process, in a pool of two."""

    def do(self) -> dict[str, object]:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class Harmless:
    """A step that does nothing."""

    def do(self) -> dict[str, object]:
        return {"fine": True}


def test_a_step_that_kills_its_process_fails_alone() -> None:
    steps = {str(n): Deadly() if n == 2 else Harmless() for n in range(8)}
    found = dict(Processes(2).run(steps))  # type: ignore[arg-type]
    assert sorted(found) == sorted(steps)
    assert [key for key, result in found.items() if "failed" in result] == ["2"]
    assert "killed" in found["2"]["failed"]


@pytest.mark.slow
def test_what_cannot_be_swept(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(UsageError, match="did you mean"):
        Cell.parse("lite9")
    for text in ("lite0@", "lite0@big"):
        with pytest.raises(UsageError, match="is not VARIANT"):
            Cell.parse(text)
    with pytest.raises(UsageError, match="names no checkpoint; give one"):
        Cell.parse("lite0@32=")
    assert Cell.parse("v2-b0@200=a=b.keras") == Cell("efficientnetv2-b0", 200, "a=b.keras")
    assert "twice" in refused(call("sweep", "lite0", "efficientnet-lite0", "--precisions", "fp32"))
    assert "--calibration" in refused(call("sweep", "lite0"))
    assert "give --images" in refused(
        call("sweep", "lite0", "--precisions", "fp32", "--labels", "x")
    )
    out = tmp_path / "out"
    message = refused(run(*arguments(out, photos / "none")))
    assert "does not exist" in message
    sweep(plan(None, "lite0@32"), out, Faulty("none"), untimed, timing={})
    failing = ("sweep", "b0@32", "--formats", "tflite", "--precisions", "fp32", "--workers", 1)
    failed = run(*failing, "--out", tmp_path / "b0")
    assert failed.returncode == 2
    assert "no package with ImageNet weights is known for efficientnet-b0" in failed.stderr


@contextmanager
def cluster(folder: Path, workers: int) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A real scheduler and workers on this machine; no nanny starts a killed one again."""
    file = folder / "scheduler.json"
    module = [sys.executable, "-m", "distributed.cli.dask_"]
    with open(folder / "log.txt", "wb") as log:

        def start(name: str, *options: str) -> subprocess.Popen[bytes]:
            words = [*module[:-1], f"{module[-1]}{name}", *options, "--no-dashboard"]
            return subprocess.Popen(words, stdout=log, stderr=log, cwd=folder)

        scheduler = start(
            "scheduler", "--port", "0", "--host", "127.0.0.1", "--scheduler-file", str(file)
        )
        try:
            until("the scheduler", file.exists)
            until("its address", lambda: b"address" in file.read_bytes())
            address = json.loads(file.read_text())["address"]
            options = ("--no-nanny", "--nthreads", "1", "--local-directory", str(folder))
            those = [start("worker", address, *options) for _ in range(workers)]
            yield address, [scheduler, *those]
        finally:
            for process in [scheduler, *(those if "those" in locals() else [])]:
                process.kill()
                process.wait()


needs_dask = pytest.mark.skipif(not installed("distributed"), reason="the extra 'cluster'")


@pytest.mark.slow
@needs_dask
def test_a_cluster_of_two_one_killed_midway(tmp_path: Path, photos: Path) -> None:
    from distributed import Client

    out = tmp_path / "out"
    with cluster(tmp_path, 2) as (address, (_, victim, _)):
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=WAIT)
        command = [str(SCRIPT), *map(str, arguments(out, photos, "--scheduler", address))]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        until("a step", lambda: len(keys(out)) >= 1 or process.poll() is not None)
        victim.kill()
        _, said = process.communicate(timeout=WAIT)
        assert process.returncode == 0, said
    checked(out, photos)


@pytest.mark.slow
@needs_dask
def test_clusters_of_no_use(tmp_path: Path, photos: Path) -> None:
    out = tmp_path / "out"
    message = refused(run(*arguments(out, photos, "--scheduler", "tcp://127.0.0.1:9")))
    assert "no Dask scheduler responds at tcp://127.0.0.1:9" in message
    assert "no address" in refused(run(*arguments(out, photos, "--scheduler", "nonsense://x")))
    with cluster(tmp_path, 0) as (address, _):
        assert "has no worker" in refused(run(*arguments(out, photos, "--scheduler", address)))


@pytest.mark.slow
@needs_dask
def test_a_scheduler_that_is_lost(tmp_path: Path, photos: Path) -> None:
    from distributed import Client

    out = tmp_path / "out"
    with cluster(tmp_path, 1) as (address, (scheduler, _)):
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=WAIT)
        command = [str(SCRIPT), *map(str, arguments(out, photos, "--scheduler", address))]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        until("a step", lambda: len(keys(out)) >= 1 or process.poll() is not None)
        scheduler.kill()
        _, said = process.communicate(timeout=WAIT)
    assert process.returncode == 2, said
    assert "what is done is kept" in said
    assert "Traceback" not in said
    assert keys(out)


def test_sets_of_labels(tmp_path: Path, photos: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("a\nb\nc\n")
    model = load("lite0", "random", classes=3, resolution=32, notify=lambda _: None)
    weights = save(model, tmp_path / "three.safetensors")
    table = tmp_path / "labels.csv"
    files = sorted(path.name for path in photos.iterdir() if path.suffix != ".csv")
    table.write_text("file,label\n" + "".join(f"{name},a;c\n" for name in files))
    chosen = replace(
        plan(photos, f"lite0@32={weights}"), class_names=str(names), output_activation="sigmoid",
        labels=str(table),
    )  # fmt: skip
    out = tmp_path / "out"
    done = sweep(chosen, out, Faulty("nothing"), untimed, timing={})
    assert not done.failures
    (record,) = done.results.records
    assert record.mean_ap == 1.0
    assert record.top1 is None
    assert done.results.classes == ("a", "b", "c")
    words = done.results.command.split()
    assert words[:3] == ["edge-effnet", "sweep", f"efficientnet-lite0@32={weights}"]
    assert {"--class-names", "--output-activation", "--labels", "--out"} <= set(words)


@pytest.mark.slow
def test_mixed_files_are_measured_reported_and_selected(tmp_path: Path) -> None:
    """A row each for int8 and mixed; a mixed file is a candidate like others."""
    pictures = save_photos(tmp_path / "photos", 6)
    out = tmp_path / "out"
    done = call(
        *("sweep", "b0@32", "--weights", "random", "--formats", "tflite"),
        *("--precisions", "fp32,int8,mixed", "--calibration", pictures, "--images", pictures),
        *("--runs", 4, "--workers", 1, "--out", out),
    )
    assert done.returncode == 0, done.stderr
    assert "TFLite mixed" in done.stdout
    results = read_results(out / "results.json")
    records = {record.precision: record for record in results.records}
    assert [*records] == ["fp32", "int8", "mixed"]
    assert "TFLite mixed" in (out / "report.html").read_text()
    limits = Limits(1e6, max_size_mb=records["mixed"].size_bytes / 1e6)
    choice = select([records["fp32"], records["mixed"]], limits).choice
    assert choice is not None
    assert choice.record == records["mixed"]
