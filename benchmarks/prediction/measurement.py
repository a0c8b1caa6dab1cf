"""Measurement of a device's latency model: micro-benchmarks in each runtime and precision."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from edge_effnet import subprocesses
from edge_effnet.benchmarks.json_lines import lines_of
from edge_effnet.benchmarks.latency import host
from edge_effnet.benchmarks.prediction import micro_benchmarks
from edge_effnet.benchmarks.prediction.fitting import fit_runtime
from edge_effnet.benchmarks.prediction.latency_model import LatencyModel, folded_graph
from edge_effnet.benchmarks.records import Host, timestamp
from edge_effnet.errors import DeviceError, UsageError
from edge_effnet.graph import Graph
from edge_effnet.json_text import object_of
from edge_effnet.progress import Progress
from edge_effnet.registry import parse_variant
from edge_effnet.runtime.devices.device import CPU

#: Whole networks that the scale is fitted to: overhead that micro-benchmarks do not have.
ANCHORS = ("lite2", "b0", "v2-b1")
_SECONDS = 6.0  # of timing per runtime and precision
_COLLECT_SECONDS = 5.0  # for what an ended worker has written to standard error
_WORKER = "edge_effnet.benchmarks.prediction.micro_benchmark_worker"


class Machine(Protocol):
    """Where micro-benchmarks run: `LocalMachine`, or a device behind ssh."""

    name: str

    def describe(self, threads: int) -> tuple[Host, list[int]]:
        """The host, and the cores to pin threads to: ``threads`` of them, or all if fewer."""

    def start(self, settings: str, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start the worker with ``variables`` in its environment; both outputs are pipes."""


class LocalMachine:
    """The machine that this process runs on."""

    name = "this machine"

    def describe(self, threads: int) -> tuple[Host, list[int]]:
        """The host, and its cores to pin ``threads`` threads to."""
        return host.describe(), host.pick_cores(threads)

    def start(self, settings: str, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start the worker as a child process."""
        return subprocess.Popen(  # noqa: S603
            subprocesses.command(_WORKER, settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **variables},
        )


def measure_latency_model(
    formats: Sequence[str],
    precisions: Sequence[str],
    threads: int = 1,
    *,
    machine: Machine | None = None,
    check: Sequence[str] = (),
    count: int = micro_benchmarks.COUNT,
    computes_on: str = CPU,
    device_options: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> tuple[LatencyModel, dict[str, tuple[float, float]]]:
    """Run the micro-benchmarks on ``machine`` and fit its latency model.

    Args:
        formats: Formats whose runtimes are measured.
        precisions: Precisions to measure in each format.
        threads: Threads of the runtime.
        machine: Where to measure; this machine by default.
        check: Networks (``lite0@192``) that are timed but not used for the fit.
        count: Number of micro-benchmarks.
        computes_on: Name of the device of ``machine``, as for `edge_effnet.open`.
        device_options: Settings of the device's driver.
        progress: Called with ("time micro-benchmarks", done, total).

    Returns:
        The latency model, and (predicted, measured) milliseconds of each network in ``check``, by
        ``tflite int8 lite0@192``.

    Raises:
        UsageError: A network is unknown, or the machine has fewer cores than ``threads``.
        DeviceError: A runtime failed.
    """
    device = machine or LocalMachine()
    about, cores = device.describe(threads)
    if len(cores) < threads:
        raise UsageError(f"{threads} threads cannot be timed: {device.name} has {len(cores)} cores")
    checked = {name: network_graph(name) for name in check}
    benchmark_graphs = {
        benchmark.name: benchmark.model.graph for benchmark in micro_benchmarks.choose(count)
    }
    anchors = {name: network_graph(name) for name in ANCHORS}
    runtimes, errors = [], {}
    jobs = [(name, precision) for name in formats for precision in precisions]
    for number, (name, precision) in enumerate(jobs):
        settings = {
            "format": name,
            "precision": precision,
            "threads": threads,
            "cores": cores,
            "micro_benchmarks": count,
            "networks": [*anchors, *(n for n in checked if n not in anchors)],
            "seconds": _SECONDS,
            "device": computes_on,
            "device_options": dict(device_options or {}),
        }
        reply = _run(device, settings, progress, number, len(jobs))
        times = reply["times_ms"]
        fitted = fit_runtime(name, precision, times, benchmark_graphs, anchors)
        names = {key: reply[key] for key in ("runtime", "runtime_version", "kernels", "device")}
        runtimes.append(replace(fitted, **names))
        for key, graph in checked.items():
            errors[f"{name} {precision} {key}"] = (fitted.predict(graph), times[key])
    return LatencyModel(about, threads, tuple(runtimes), timestamp()), errors


def network_graph(name: str) -> Graph:
    """The folded graph of ``VARIANT[@SIDE]``; raises `UsageError` for any other text."""
    return folded_graph(*parse_variant(name))


def _run(
    device: Machine, settings: dict[str, Any], progress: Progress | None, number: int, jobs: int
) -> dict[str, Any]:
    """The last message of one worker process; raises `DeviceError` if it has no times."""
    kind = f"{settings['format']} {settings['precision']}"
    total = settings["micro_benchmarks"] + len(settings["networks"])
    process = device.start(json.dumps(settings), host.thread_variables(settings["threads"]))
    last: dict[str, Any] = {}
    complaints: deque[bytes] = deque(maxlen=20)  # drivers may print more than a pipe holds
    collector = threading.Thread(target=complaints.extend, args=(process.stderr,), daemon=True)
    collector.start()
    try:
        assert process.stdout is not None  # noqa: S101  (a pipe)
        for line in lines_of(process.stdout):
            content = object_of(line)
            if content is None:  # a banner of the machine's shell
                continue
            last = content
            if progress is not None and isinstance(last.get("built"), int):
                progress("time micro-benchmarks", number * total + last["built"], jobs * total)
        process.wait()
        collector.join(_COLLECT_SECONDS)
    except ValueError as error:
        raise DeviceError(f"the layers cannot be timed in {kind}: {error}") from error
    finally:
        process.kill()
        process.wait()
    if "error" in last:
        raise DeviceError(f"the layers cannot be timed in {kind}: {last['error']}")
    if "times_ms" not in last:
        lines = b"".join(complaints).decode("utf-8", "replace").strip().splitlines()
        message = lines[-1:] or [f"it ended with {process.returncode}"]
        raise DeviceError(f"the layers cannot be timed in {kind}: {message[0]}")
    return last
