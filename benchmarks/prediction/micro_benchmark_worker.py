"""The worker process that times micro-benchmarks and networks in one runtime and precision.

Its argument is JSON: ``format``, ``precision``, ``threads``, ``cores``, ``micro_benchmarks`` (a
number), ``networks`` (as ``lite0@192``), ``seconds``, ``device`` and ``device_options``. The worker
builds and opens all models and times them in groups. The models of a group run in turn, several
times. Each model therefore finds other layers' data in the caches, as in a network that runs
repeatedly. The worker prints JSON lines: progress,
then times.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from time import perf_counter, perf_counter_ns, process_time_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.benchmarks.latency.worker import take_stdout
from edge_effnet.benchmarks.prediction import micro_benchmarks
from edge_effnet.errors import EdgeEffNetError, UsageError
from edge_effnet.formats import FORMATS
from edge_effnet.model import Model
from edge_effnet.registry import parse_variant
from edge_effnet.runtime.base import Runner
from edge_effnet.runtime.devices.device import CPU
from edge_effnet.runtime.opening import create_runner

_LEAST = 4  # visits of a model, even if they exceed the time limit
_MOST = 14
_PASSES = 3  # timed passes of a visit, after an untimed one
#: Micro-benchmarks per group: 16 MB of float32 weights, as in Lite0. In one large group every model
#: reads its weights from main memory. Measured networks then took 10 to 17 % longer than predicted,
#: with groups of 6 only 0 to 5 % (shared L3 cache of 480 MB).
_GROUP = 6


def main(settings: dict[str, Any]) -> int:
    """Build and time the models, and print the times; returns the exit code."""
    with os.fdopen(take_stdout(), "w", encoding="utf-8", buffering=1) as out:
        try:
            out.write(json.dumps(_measure(settings, out)) + "\n")
        except EdgeEffNetError as error:
            out.write(json.dumps({"error": str(error)}) + "\n")
            return 2
    return 0


def _measure(settings: dict[str, Any], out: Any) -> dict[str, Any]:
    on_cpu = settings.get("device", CPU) == CPU
    if on_cpu and settings["cores"] and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, settings["cores"])
    benchmarks = micro_benchmarks.choose(settings["micro_benchmarks"])
    models = {benchmark.name: benchmark.model for benchmark in benchmarks}
    networks = dict.fromkeys(settings["networks"])
    opened = {}
    for name in (*models, *networks):
        if name in networks:
            model = micro_benchmarks.random_model(*parse_variant(name))
        else:
            model = models[name]
        opened[name] = _open(model, settings)
        out.write(json.dumps({"built": len(opened)}) + "\n")
        del model
    times: dict[str, list[float]] = {name: [] for name in opened}
    names, count = list(models), max(1, len(models) // _GROUP)
    groups = [names[first::count] for first in range(count)] + [[name] for name in networks]
    deadline = perf_counter() + settings["seconds"]
    visits = 0
    single = on_cpu and settings["threads"] == 1  # an accelerator computes outside this process
    while visits < _LEAST or (perf_counter() < deadline and visits < _MOST):
        for group in groups:
            for timed in range(_PASSES + 1):
                for name in group:
                    time = _time(*opened[name], single)
                    if timed:
                        times[name].append(time)
        visits += 1
    info = next(iter(opened.values()))[0].info
    return {
        "runtime": info.name,
        "runtime_version": info.version,
        "kernels": info.kernels,
        "device": info.device,
        "visits": visits,
        "times_ms": {name: float(np.median(runs)) for name, runs in times.items()},
    }


def _open(model: Model, settings: dict[str, Any]) -> tuple[Runner, NDArray[np.generic]]:
    name, precision = settings["format"], settings["precision"]
    plan = micro_benchmarks.nominal_plan(model) if precision == "int8" else None
    kind = "normalised" if plan is None else "pixels"
    card = model.info.card(precision=precision, input=kind)
    written = import_module(FORMATS[name].writer).write(model, plan, card, "uint8")
    data, companion = written if isinstance(written, tuple) else (written, b"")
    path = Path("model").with_suffix(FORMATS[name].suffix)
    device = settings.get("device", CPU)
    runner = create_runner(
        path,
        data,
        companion,
        settings["threads"],
        device=device,
        device_options=settings.get("device_options"),
    )
    if device != CPU:
        if runner.info.software:
            raise UsageError(
                f"{device} is a software adapter or a simulator: its time means nothing"
            )
        runner.placement().require_use(model.variant.name, device)
    spec = runner.input
    rng = np.random.default_rng(0)
    if spec.dtype == "float32":
        return runner, rng.uniform(-1, 1, spec.image_shape).astype(np.float32)
    return runner, rng.integers(0, 256, spec.image_shape, np.uint8)


def _time(runner: Runner, batch: NDArray[np.generic], single: bool) -> float:
    """Milliseconds of one run. If ``single``-threaded, the smaller of wall-clock and CPU time."""
    start, cpu_time = perf_counter_ns(), process_time_ns()
    runner.run(batch)
    cpu_time, wall = process_time_ns() - cpu_time, perf_counter_ns() - start
    return (min(wall, cpu_time) if single else wall) / 1e6


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
