"""Latency, load time and peak memory of model files, each in its own process.

All processes stay alive and run their rounds in turn, never two at once: file A round 1, file B
round 1, ..., file A round 2, ... A temporary slowdown of the machine therefore affects all files
alike.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import statistics
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import IO, Any, cast

from edge_effnet import subprocesses
from edge_effnet.benchmarks.devices import FileOnDevice, unique
from edge_effnet.benchmarks.intervals import bootstrap_median
from edge_effnet.benchmarks.latency.conditions import Monitor, spread
from edge_effnet.benchmarks.latency.host import pick_cores, thread_variables, usable_cores
from edge_effnet.benchmarks.records import EndToEnd, Latency, OperatorTime, Record
from edge_effnet.card import ModelCard
from edge_effnet.decoding import decode
from edge_effnet.errors import EdgeEffNetError, ModelFileError, UsageError
from edge_effnet.files import PathLike, missing
from edge_effnet.formats import format_name, format_of, not_a_model, size_bytes
from edge_effnet.json_text import object_of
from edge_effnet.progress import Progress
from edge_effnet.runtime.devices.device import CPU
from edge_effnet.runtime.placement import Placement

ROUNDS = 10
PROFILED_RUNS = 20
PHOTO_RUNS = 15


def measure_latency(
    files: Sequence[PathLike | FileOnDevice],
    threads: int = 1,
    runs: int = 100,
    *,
    rounds: int = ROUNDS,
    precision: str = "f32",
    timeout: float = 300.0,
    progress: Progress | None = None,
    partial: Callable[[tuple[Record, ...]], None] | None = None,
    monitor: Monitor | None = None,
    photo: PathLike | None = None,
    profile: bool = False,
    device_options: Mapping[str, str] | None = None,
) -> tuple[Record, ...]:
    """Latency of every file at batch 1 in interleaved rounds.

    If the system supports it, each process is pinned to ``threads`` cores. Each process warms up
    until its times are stable. If a file fails or crashes its process, its record has ``error`` and
    the other files continue. All processes have ended when the call returns.

    Software adapters and simulators are opened but not timed, because their time says nothing about
    the hardware: their records have no latency.

    Args:
        files: Model files, each on the CPU or on the device of its `FileOnDevice`.
        threads: Compute threads of each file.
        runs: Timed inferences per file.
        rounds: Number of rounds that the runs are divided into.
        precision: OpenVINO's inference precision.
        timeout: Seconds without output after which a process is treated as failed.
        progress: Called with (stage, done, total).
        partial: Called with the records so far after each round.
        monitor: Records the state of the machine in its ``conditions``.
        photo: Photo for the end-to-end latency, measured after the rounds; None skips this
            measurement.
        profile: Whether to measure the time of each operator after the rounds.
        device_options: Settings of the devices' drivers.

    Returns:
        One record per file, in order.

    Raises:
        ModelFileError: Every file failed, or a file is missing.
        UsageError: An argument is out of range.
    """
    targets = unique(files)
    _check([target.path for target in targets], threads, runs, rounds)
    cores = pick_cores(threads) if hasattr(os, "sched_setaffinity") else []
    sizes = _split(runs, rounds)
    steps, done = len(targets) * (1 + len(sizes)), 0
    watch = monitor or Monitor()

    def advance(stage: str) -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(stage, done, steps)

    with ExitStack() as stack:
        workers = []
        for target in targets:
            worker = _Worker(target, threads, cores, precision, timeout, device_options)
            stack.callback(worker.kill)
            worker.greet()
            workers.append(worker)
            advance("warm-up")
        watch.start()
        for size in sizes:
            for worker in workers:
                worker.run(size)
                advance("timing")
            watch.sample()
            if partial is not None:
                partial(tuple(worker.record(threads, cores, draws=0) for worker in workers))
        watch.finish(
            sum(worker.cpu_seconds for worker in workers),
            [spread(worker.rounds) for worker in workers if worker.timed],
        )
        for worker in workers:
            if worker.timed and photo is not None:
                worker.end_to_end(photo)
            if worker.timed and profile:
                worker.profile()
            worker.finish()
    records = tuple(worker.record(threads, cores) for worker in workers)
    if all(record.error for record in records):
        raise ModelFileError("; ".join(f"{record.file}: {record.error}" for record in records))
    return records


def summarise(samples: Sequence[float]) -> Latency:
    """Linearly interpolated quantiles and mean of times in ms, rounded to 0.1 us."""
    percentiles = [samples[0]] * 99
    if len(samples) > 1:
        percentiles = statistics.quantiles(samples, n=100, method="inclusive")
    summary = {
        "median": statistics.median(samples),
        "p90": percentiles[89],
        "p99": percentiles[98],
        "min": min(samples),
        "mean": statistics.fmean(samples),
    }
    return Latency(**{name: round(value, 4) for name, value in summary.items()})


class _Worker:
    """The process of one file. After a failure ``error`` is set and later calls do nothing."""

    def __init__(
        self,
        target: FileOnDevice,
        threads: int,
        cores: list[int],
        precision: str,
        timeout: float,
        device_options: Mapping[str, str] | None,
    ) -> None:
        self.path, self.device = target.path, target.device
        self.error: str | None = None
        self.rounds: list[list[float]] = []
        self.cpu_seconds = 0.0
        self._hello: dict[str, Any] = {}
        self._extras: dict[str, Any] = {}
        self._energy: float | None = None
        self._peak: float | None = None
        self._timeout = timeout
        settings = {
            "path": target.path,
            "threads": threads,
            "cores": cores,
            "precision": precision,
            "device": target.device,
            "device_options": {} if target.device == CPU else dict(device_options or {}),
        }
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  (closed by kill)
        self._process = subprocess.Popen(  # noqa: S603
            subprocesses.command("edge_effnet.benchmarks.latency.worker", json.dumps(settings)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**os.environ, **thread_variables(threads)},
            start_new_session=True,  # Ctrl-C reaches only the parent, which kills the workers
        )
        self._stdin = cast(IO[bytes], self._process.stdin)
        self._stdout = cast(IO[bytes], self._process.stdout)
        self._replies: queue.Queue[dict[str, Any] | None] = queue.Queue()
        # A thread, because not every system reads a pipe with a timeout.
        threading.Thread(target=self._listen, daemon=True).start()

    def greet(self) -> None:
        """Wait until the file is open and warmed up."""
        self._hello = self._reply()

    @property
    def timed(self) -> bool:
        """Whether its file runs, on a device whose time means something."""
        return self.error is None and not self._hello.get("software", False)

    def run(self, runs: int) -> None:
        """Run one round of ``runs`` inferences; nothing for software adapters."""
        if not self.timed:
            return
        reply = self._ask({"runs": runs})
        if "times_ms" not in reply:
            return
        self.rounds.append(reply["times_ms"])
        self.cpu_seconds += reply["cpu_s"] - self._hello["cpu_s"]
        self._hello["cpu_s"] = reply["cpu_s"]
        self._peak = reply["peak_rss_mb"]
        if reply["energy_j"] is not None:
            self._energy = (self._energy or 0.0) + reply["energy_j"]

    def end_to_end(self, photo: PathLike) -> None:
        """Measure the latency from the photo on disk to predictions."""
        reply = self._ask({"photo": os.fspath(photo), "runs": PHOTO_RUNS})
        if "end_to_end" in reply:
            self._extras["end_to_end_ms"] = EndToEnd(**reply["end_to_end"])

    def profile(self) -> None:
        """Measure the time of each operator."""
        reply = self._ask({"profile": PROFILED_RUNS})
        if reply:
            self._extras["operators"] = tuple(OperatorTime(**item) for item in reply["operators"])
            self._extras["no_profile"] = reply["reason"]

    def finish(self) -> None:
        """Let the process exit by itself."""
        if self.error is None:
            self._stdin.close()
            # A runtime that hangs at exit has already been timed; `kill` ends its process.
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(10)

    def kill(self) -> None:
        """Kill the process and release its resources."""
        self._process.kill()
        self._process.wait()
        for stream in (self._stdin, self._stdout, self._stderr):
            with suppress(OSError):
                stream.close()

    def record(self, threads: int, cores: list[int], draws: int = 1000) -> Record:
        """The measurements so far, or the error.

        ``draws`` is the number of bootstrap samples for the median's interval.
        """
        hello = self._hello
        facts: dict[str, Any] = {"variant": "unknown", "precision": "unknown"}
        if hello.get("card"):
            try:
                card = ModelCard.from_json(hello["card"])
            except EdgeEffNetError as error:
                self.error = self.error or str(error)
            else:
                facts = {"variant": card.variant, "precision": card.precision}
                if card.quantization is not None:
                    facts["quantizer"] = card.quantization.quantizer
                    facts["recipe"] = card.quantization.recipe
        record = Record(
            file=self.path,
            format=format_name(self.path),
            size_bytes=size_bytes(self.path) if os.path.exists(self.path) else 0,
            threads=threads,
            cores=tuple(cores),
            runtime=hello.get("runtime"),
            runtime_version=hello.get("runtime_version"),
            kernels=hello.get("kernels"),
            device=self.device,
            placement=_placement(hello),
            resolution=hello.get("resolution"),
            error=self.error,
            **facts,
        )
        if self.error is not None or not self.rounds:
            return record
        samples = tuple(round(time, 4) for times in self.rounds for time in times)
        return record.with_(
            latency_ms=summarise(samples),
            median_ci=bootstrap_median(self.rounds, draws) if draws else None,
            samples_ms=samples,
            rounds=len(self.rounds),
            warmup_runs=hello["warmup_runs"],
            load_ms=round(hello["load_ms"], 2),
            first_ms=round(hello["first_ms"], 3),
            peak_rss_mb=None if self._peak is None else round(self._peak, 1),
            energy_mj=None if self._energy is None else round(1e3 * self._energy / len(samples), 3),
            **self._extras,
        )

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a message and wait for its reply; {} after a failure."""
        if self.error is not None:
            return {}
        with suppress(OSError):  # the process has died: `_reply` reports its exit code
            self._stdin.write(json.dumps(request).encode() + b"\n")
            self._stdin.flush()
        return self._reply()

    def _listen(self) -> None:
        with suppress(OSError, ValueError):  # closed by kill
            for line in self._stdout:
                if (reply := object_of(line)) is not None:  # the interpreter may print at start
                    self._replies.put(reply)
        self._replies.put(None)

    def _reply(self) -> dict[str, Any]:
        """The next message; {} after an error, a crash or a timeout, which set ``error``."""
        try:
            reply = self._replies.get(timeout=self._timeout)
        except queue.Empty:
            self.error = self._of_driver(f"no reply within {self._timeout:g} s")
            self._process.kill()
            return {}
        if reply is None:
            self.error = self._obituary()
            return {}
        self.error = reply.get("error")
        return reply

    def _obituary(self) -> str:
        code = self._process.wait()
        try:
            outcome = (
                f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
            )
        except ValueError:
            outcome = f"was ended by signal {-code}"
        self._stderr.seek(0)
        lines = self._stderr.read().decode("utf-8", "replace").strip().splitlines()
        last = f" ({lines[-1].strip()})" if lines else ""
        return self._of_driver(f"its process {outcome}{last}")

    def _of_driver(self, failure: str) -> str:
        """``failure``, and what to do if the driver of a device is the cause."""
        if self.device == CPU:
            return failure
        return (
            f"{failure} on the device {self.device!r}; update or reinstall its driver, or use "
            "another device"
        )


def _placement(hello: Mapping[str, Any]) -> Placement | None:
    placement: Placement | None = decode(Placement | None, hello.get("placement"))
    return placement


def _check(paths: Sequence[str], threads: int, runs: int, rounds: int) -> None:
    if not paths:
        raise UsageError("no model file to time; give at least one")
    for path in paths:
        if not os.path.exists(path):
            raise ModelFileError(missing(path))
        if format_of(path) is None:
            raise UsageError(not_a_model(path))
    available = len(usable_cores())
    if not 1 <= threads <= available:
        raise UsageError(
            f"{threads} threads cannot be timed here: this machine has {available} cores"
        )
    if runs < 1 or rounds < 1:
        raise UsageError(f"at least 1 run in 1 round is needed, not {runs} in {rounds}")


def _split(runs: int, rounds: int) -> list[int]:
    """``runs`` divided into at most ``rounds`` non-empty rounds that differ by at most 1."""
    rounds = min(runs, rounds)
    return [runs * (number + 1) // rounds - runs * number // rounds for number in range(rounds)]
