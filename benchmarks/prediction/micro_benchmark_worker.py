"""The process that times probes and whole networks in one runtime and precision.

``python -m edge_effnet.benchmarks.prediction.micro_benchmark_worker SETTINGS`` with JSON: ``format``, ``precision``,
``threads``, ``cores``, ``probes`` (how many), ``networks`` (as ``lite0@192``), ``seconds``. It
builds every model, opens all, and visits them in groups, a group's models running one after the
other several times: as a layer in a network that runs again and again, each finds the nearest cache
as the others left it, and what is too large for that where the last run left it. It prints JSON
lines: progress, then times.
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
from edge_effnet.errors import EdgeEffNetError
from edge_effnet.formats import FORMATS
from edge_effnet.model import Model
from edge_effnet.registry import get_variant
from edge_effnet.runtime.base import Runner
from edge_effnet.runtime.opening import create_runner

_LEAST = 4  # visits, however long they take
_MOST = 14
_PASSES = 3  # timed ones of a visit, after one that is not
#: Probes of a group: 16 MB of float32 weights, as Lite0 has. With all in one group every probe
#: finds its weights in the memory's farthest part, and networks take 10 to 17 % longer than their
#: sums, once these are scaled to small ones (an L3 of 480 MB shared with other machines); with 6
#: a group 0 to 5 %.
_GROUP = 6


def main(settings: dict[str, Any]) -> int:
    """Build, time, print."""
    with os.fdopen(take_stdout(), "w", encoding="utf-8", buffering=1) as out:
        try:
            out.write(json.dumps(_times(settings, out)) + "\n")
        except EdgeEffNetError as error:
            out.write(json.dumps({"error": str(error)}) + "\n")
            return 2
    return 0


def _times(settings: dict[str, Any], out: Any) -> dict[str, Any]:
    if settings["cores"] and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, settings["cores"])
    models = {probe.name: probe.model for probe in micro_benchmarks.choose(settings["probes"])}
    networks = dict.fromkeys(settings["networks"])
    opened = {}
    for name in (*models, *networks):
        if name in networks:
            variant, _, side = name.partition("@")
            model = micro_benchmarks.random_model(get_variant(variant), int(side) if side else None)
        else:
            model = models[name]
        opened[name] = _open(model, settings)
        out.write(json.dumps({"built": len(opened)}) + "\n")
        del model
    times: dict[str, list[float]] = {name: [] for name in opened}
    probed, count = list(models), max(1, len(models) // _GROUP)
    groups = [probed[first::count] for first in range(count)] + [[name] for name in networks]
    end = perf_counter() + settings["seconds"]
    visits = 0
    alone = settings["threads"] == 1
    while visits < _LEAST or (perf_counter() < end and visits < _MOST):
        for group in groups:
            for timed in range(_PASSES + 1):
                for name in group:
                    time = _time(*opened[name], alone)
                    if timed:
                        times[name].append(time)
        visits += 1
    info = next(iter(opened.values()))[0].info
    return {
        "runtime": info.name,
        "version": info.version,
        "kernels": info.kernels,
        "visits": visits,
        "times_ms": {name: float(np.median(found)) for name, found in times.items()},
    }


def _open(model: Model, settings: dict[str, Any]) -> tuple[Runner, NDArray[np.generic]]:
    name, precision = settings["format"], settings["precision"]
    plan = micro_benchmarks.nominal_plan(model) if precision == "int8" else None
    kind = "normalised" if plan is None else "pixels"
    card = model.card.with_(precision=precision, input=kind)
    written = import_module(FORMATS[name].writer).write(model, plan, card, "uint8")
    data, companion = written if isinstance(written, tuple) else (written, b"")
    path = Path("probe").with_suffix(FORMATS[name].suffix)
    runner = create_runner(path, data, companion, settings["threads"])
    spec = runner.input
    shape = (1, *spec.size, 3) if spec.layout == "NHWC" else (1, 3, *spec.size)
    rng = np.random.default_rng(0)
    if spec.dtype == "float32":
        return runner, rng.uniform(-1, 1, shape).astype(np.float32)
    return runner, rng.integers(0, 256, shape, np.uint8)


def _time(runner: Runner, batch: NDArray[np.generic], alone: bool) -> float:
    """Milliseconds of one run; on one thread, those it had the core for, if that is less."""
    start, own = perf_counter_ns(), process_time_ns()
    runner.run(batch)
    own, wall = process_time_ns() - own, perf_counter_ns() - start
    return (min(wall, own) if alone else wall) / 1e6


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
