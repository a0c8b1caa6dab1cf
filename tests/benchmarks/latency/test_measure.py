from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_effnet.benchmarks.latency import host, measure
from edge_effnet.benchmarks.latency.measure import measure_latency
from edge_effnet.errors import ModelFileError, UsageError
from support.colour_models import model

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")


def children(pid: int | None = None) -> list[int]:
    """The child processes of ``pid``, zombies included."""
    tasks = Path(f"/proc/{pid or os.getpid()}/task")
    return [int(c) for task in tasks.iterdir() for c in (task / "children").read_text().split()]


def test_records_of_two_files(tmp_path: Path) -> None:
    files = [model(tmp_path / "a.onnx"), model(tmp_path / "b.onnx", precision="int8")]
    steps: list[tuple[str, int, int]] = []
    first, second = measure_latency(
        files, threads=1, runs=7, rounds=3, progress=lambda *step: steps.append(step)
    )
    for record, file in zip((first, second), files, strict=True):
        assert record.file == str(file)
        assert record.error is None
        assert len(record.samples_ms) == 7
        assert record.latency_ms == measure.summarise(record.samples_ms)
        assert (record.threads, record.rounds) == (1, 3)
        assert record.runtime == "onnxruntime"
        assert record.kernels
        assert record.runtime_version
        assert record.load_ms is not None
        assert record.first_ms is not None
        assert min(*record.samples_ms, record.load_ms, record.first_ms) > 0
        assert record.warmup_runs is not None
        assert record.warmup_runs > 5
        assert record.size_bytes == file.stat().st_size
        assert (record.top1, record.images) == (None, 0)
    assert (second.variant, second.precision) == ("efficientnet-lite0", "int8")
    assert second.quantizer == "edge-effnet"
    assert [step[0] for step in steps] == ["warm-up"] * 2 + ["timing"] * 6
    assert steps[-1][1:] == (8, 8)


@linux
def test_no_process_is_left_and_pinning_is_recorded(tmp_path: Path) -> None:
    before = set(children())
    alive: set[int] = set()
    cores: list[set[int]] = []

    def look(what: str, done: int, total: int) -> None:
        found = set(children()) - before
        alive.update(found)
        if done == total:
            cores.extend(os.sched_getaffinity(pid) for pid in found)

    files = [model(tmp_path / f"{name}.onnx") for name in "abc"]
    records = measure_latency(files, threads=1, runs=2, rounds=1, progress=look)
    assert len(alive) == 3  # all of them alive together
    assert cores == [set(record.cores) for record in records]
    assert all(len(record.cores) == 1 for record in records)
    assert set(children()) == before


@linux
def test_rounds_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    original = measure._Worker.run

    def noted(self: measure._Worker, runs: int) -> None:
        order.append(Path(self.path).stem)
        original(self, runs)

    monkeypatch.setattr(measure._Worker, "run", noted)
    measure_latency([model(tmp_path / f"{n}.onnx") for n in "ab"], runs=3, rounds=3)
    assert order == ["a", "b"] * 3


@linux
@pytest.mark.parametrize("moment", ["warm-up", "timing"])
def test_a_crash_is_that_files_error_and_the_rest_go_on(tmp_path: Path, moment: str) -> None:
    files = [model(tmp_path / f"{name}.onnx") for name in "abc"]
    before = set(children())
    victims: list[int] = []

    def crash(what: str, done: int, total: int) -> None:
        if what == moment and not victims:
            victims.append(min(set(children()) - before))  # the first started
            os.kill(victims[0], signal.SIGSEGV)

    first, *others = measure_latency(files, threads=1, runs=4, rounds=2, progress=crash)
    assert first.error is not None
    assert "SIGSEGV" in first.error
    assert first.latency_ms is None
    assert first.samples_ms == ()
    for record in others:
        assert record.error is None
        assert len(record.samples_ms) == 4
    assert set(children()) == before


@pytest.mark.slow
@linux
def test_a_silent_process_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [model(tmp_path / f"{name}.onnx") for name in "ab"]
    before = set(children())
    workers: list[measure._Worker] = []
    greet = measure._Worker.greet

    def noted(self: measure._Worker) -> None:
        workers.append(self)
        greet(self)

    def stop(what: str, done: int, total: int) -> None:
        if done == 2:  # both have started, which takes its time on a busy machine
            os.kill(workers[0]._process.pid, signal.SIGSTOP)
            workers[0]._timeout = 1.0

    monkeypatch.setattr(measure._Worker, "greet", noted)
    first, second = measure_latency(files, runs=4, rounds=2, progress=stop)
    assert first.error == "no reply within 1 s"
    assert second.error is None
    assert set(children()) == before


def test_an_altered_file_is_named_and_the_rest_go_on(tmp_path: Path) -> None:
    good, bad = model(tmp_path / "a.onnx"), model(tmp_path / "b.onnx")
    bad.write_bytes(bad.read_bytes() + b"x")
    junk = tmp_path / "c.onnx"
    junk.write_bytes(b"junk")
    records = measure_latency([bad, good, junk], runs=2, rounds=1)
    assert records[0].error is not None
    assert "altered" in records[0].error
    assert records[1].error is None
    assert records[2].error is not None
    with pytest.raises(ModelFileError, match="altered"):
        measure_latency([bad], runs=1, rounds=1)


def test_a_file_without_a_card_is_timed(tmp_path: Path) -> None:
    (record,) = measure_latency([model(tmp_path / "a.onnx", card=False)], runs=2, rounds=1)
    assert (record.error, record.variant, record.precision) == (None, "unknown", "unknown")
    assert len(record.samples_ms) == 2


@linux
def test_ctrl_c_ends_every_process(tmp_path: Path) -> None:
    files = [str(model(tmp_path / f"{name}.onnx")) for name in "ab"]
    code = (
        "import sys\nfrom edge_effnet.benchmarks.latency.measure import measure_latency\n"
        "measure_latency(sys.argv[1:], runs=10**7, rounds=2,"
        " progress=lambda what, done, total: print(what, done, flush=True))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *files],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in files][-1] == "warm-up 2\n"
        grandchildren = children(process.pid)
        assert len(grandchildren) == 2
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=400)
    finally:
        process.kill()
        process.wait()
    assert "KeyboardInterrupt" in errors
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in grandchildren):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@linux
def test_the_parents_memory_is_not_counted(tmp_path: Path) -> None:
    ballast = np.ones(60_000_000, np.float32)  # 240 MB, which getrusage would pass on to a child
    (record,) = measure_latency([model(tmp_path / "a.onnx")], runs=1, rounds=1)
    assert record.peak_rss_mb is not None
    assert 10 < record.peak_rss_mb < ballast.nbytes / 2**20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threads": 0}, "threads cannot be timed"),
        ({"threads": 10_000}, "threads cannot be timed"),
        ({"runs": 0}, "at least 1 run"),
        ({"rounds": 0}, "at least 1 run"),
    ],
)
def test_arguments_out_of_range(tmp_path: Path, arguments: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        measure_latency([model(tmp_path / "a.onnx")], **arguments)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no model file"):
        measure_latency([])
    for name in ("a.txt", "a.onnx"):
        with pytest.raises(ModelFileError, match="there is no file"):
            measure_latency([tmp_path / name])
    (tmp_path / "a.txt").write_text("words")
    with pytest.raises(UsageError, match="none of"):
        measure_latency([tmp_path / "a.txt"])


@given(st.lists(st.floats(0.001, 1e4), min_size=1, max_size=60))
def test_quantiles_are_numpys_and_ordered(samples: list[float]) -> None:
    found = measure.summarise(samples)
    expected = np.percentile(samples, [50, 90, 99])
    assert np.allclose([found.median, found.p90, found.p99], expected, atol=1e-4, rtol=0)
    assert found.min <= found.median <= found.p90 <= found.p99
    assert found.mean == pytest.approx(np.mean(samples), abs=1e-3)


@given(st.integers(1, 500), st.integers(1, 50))
def test_rounds_add_up_to_the_runs(runs: int, rounds: int) -> None:
    sizes = measure._split(runs, rounds)
    assert sum(sizes) == runs
    assert len(sizes) == min(runs, rounds)
    assert 1 <= min(sizes) <= max(sizes) <= min(sizes) + 1


def test_the_host_describes_itself() -> None:
    found = host.describe()
    assert found.cpu
    assert found.cores >= 1
    assert len(host.pick_cores(10_000)) == found.cores
    assert set(host.pick_cores(1)) <= set(host.usable_cores())


def test_cpu_features_of_x86_and_arm() -> None:
    x86 = "processor\t: 0\nflags\t\t: fpu avx2 avx512_vnni fma\n"
    pi5 = "Features\t: fp asimd evtstrm crc32 asimdhp asimddp\nCPU part : 0xd0b\n"
    pi4 = "Features\t: fp asimd evtstrm crc32\n"
    assert host.cpu_features(x86) == ("avx2", "fma", "avx512_vnni")
    assert host.cpu_features(pi5) == ("asimd", "asimdhp", "asimddp")
    assert host.has_dot_product(host.cpu_features(x86))
    assert host.has_dot_product(host.cpu_features(pi5))
    assert not host.has_dot_product(host.cpu_features(pi4))
    assert host.cpu_features("") == ()
