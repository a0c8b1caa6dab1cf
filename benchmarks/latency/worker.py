"""The worker process that times one model file; its argument is the settings as JSON.

The worker reads requests from stdin and writes replies to stdout, as JSON lines. Its first line
describes the opened file. Requests: ``{"runs": n}`` for the times of n inferences, ``{"photo":
path, "runs": n}`` for the end-to-end latency, ``{"profile": n}`` for the time of each operator. The
worker exits when stdin is closed, also if its parent dies. No card is needed, because latency
depends on shapes only.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import sys
from dataclasses import asdict
from pathlib import Path
from time import perf_counter_ns, process_time
from typing import Any

from edge_effnet.errors import EdgeEffNetError

_WINDOW = 5  # runs per warm-up window
_STABLE = 0.03  # warm-up ends when the medians of two windows differ by less than this share
_WARMUP_NS = 3_000_000_000
_SETTLE = 2  # untimed runs at the start of a round: other files' rounds evicted the caches


def main(settings: dict[str, Any]) -> int:
    """Serve requests until stdin ends; returns the exit code.

    ``settings`` has ``path``, ``threads``, ``cores``, ``precision``, ``device`` and
    ``device_options``.
    """
    out = take_stdout()
    device = settings.get("device", "cpu")
    # The threads of another device's driver may use all cores.
    if device == "cpu" and settings["cores"] and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, settings["cores"])
    try:
        session = _Session(
            Path(settings["path"]),
            settings["threads"],
            settings["precision"],
            device,
            settings.get("device_options") or {},
        )
        _send(out, session.hello)
        for line in sys.stdin:
            _send(out, session.reply(json.loads(line)))
    except EdgeEffNetError as error:
        _send(out, {"error": str(error)})
        return 2
    except Exception as error:  # runtimes raise any exception; the record gets the message
        _send(out, {"error": f"{type(error).__name__}: {error}"})
        return 1
    return 0


class _Session:
    """One opened and warmed-up file; ``hello`` is the description that the worker prints first."""

    def __init__(
        self, path: Path, threads: int, precision: str, device: str, options: dict[str, str]
    ) -> None:
        import numpy as np

        from edge_effnet import digest
        from edge_effnet.benchmarks.devices import placement_of
        from edge_effnet.benchmarks.latency.energy import EnergyMeter
        from edge_effnet.errors import ModelFileError
        from edge_effnet.runtime.opening import (
            create_runner,
            read_for_device,
            read_model_files,
            refuse_card,
        )

        read_for_device(path, device)  # before the clock starts: a file of others may hang or crash
        start = perf_counter_ns()
        data, companion = read_model_files(path)
        trusted = digest.verify(data, companion, str(path))
        self._runner = create_runner(
            path, data, companion, threads, precision, device=device, device_options=options
        )
        load_ns = perf_counter_ns() - start
        placement = placement_of(self._runner)
        if placement is not None:
            placement.require_use(str(path), device)
        if not trusted:
            refuse_card(path, self._runner)
        del data, companion
        if self._runner.input.batch != 1:
            raise ModelFileError(
                f"{path} takes {self._runner.input.batch} images at once and latency is that of "
                "one; export it with batch 1"
            )

        self._device = device
        self._path, self._threads, self._precision = path, threads, precision
        self._meter = EnergyMeter()
        spec = self._runner.input
        shape = spec.image_shape
        generator = np.random.default_rng(0)
        if spec.dtype == "float32":
            self._batch = generator.uniform(-1, 1, shape).astype(np.float32)
        else:
            limits = np.iinfo(spec.dtype)
            self._batch = generator.integers(limits.min, limits.max + 1, shape, spec.dtype)
        info = self._runner.info
        first_ns = 0 if info.software else self._time()
        self.hello = {
            "card": self._runner.card_text(),
            "load_ms": load_ns / 1e6,
            "first_ms": first_ns / 1e6,
            "warmup_runs": 0 if info.software else 1 + self._warm_up(),
            "software": info.software,
            "placement": None if placement is None else asdict(placement),
            "runtime": info.name,
            "runtime_version": info.version,
            "kernels": info.kernels,
            "resolution": max(spec.size),
            "cpu_s": process_time(),
        }

    def reply(self, request: dict[str, Any]) -> dict[str, Any]:
        """Reply to one request. Errors of photo and profile requests are returned in the reply."""
        if "runs" in request and "photo" not in request:
            return self.round(request["runs"])
        try:
            if "photo" in request:
                return self.end_to_end(Path(request["photo"]), request["runs"])
            return self.profile(request["profile"])
        except Exception as error:  # runtimes raise anything
            return {"operators": [], "reason": f"{type(error).__name__}: {error}"}

    def round(self, runs: int) -> dict[str, Any]:
        """Times of ``runs`` inferences in ms, their energy, and the process's cumulative totals."""
        from edge_effnet.benchmarks.latency.host import peak_rss_mb

        gc.collect()
        gc.disable()
        for _ in range(_SETTLE):
            self._time()
        before = self._meter.joules()
        times = [self._time() / 1e6 for _ in range(runs)]
        after = self._meter.joules()
        gc.enable()
        return {
            "times_ms": times,
            "energy_j": None if before is None or after is None else after - before,
            "peak_rss_mb": peak_rss_mb(),
            "cpu_s": process_time(),
        }

    def end_to_end(self, photo: Path, runs: int) -> dict[str, Any]:
        """Median ms of each stage from photo file to predictions; {} if the model has no card."""
        import numpy as np

        from edge_effnet.card import ModelCard
        from edge_effnet.classifier import Classifier, softmax
        from edge_effnet.preprocess import load_image

        text = self._runner.card_text()
        if text is None:
            return {}
        card = ModelCard.from_json(text)
        classifier = Classifier(self._runner, card, str(self._path))
        laps = []
        for _ in range(_SETTLE + runs):
            marks = [perf_counter_ns()]
            picture = load_image(photo)
            marks.append(perf_counter_ns())
            tensor = classifier.tensor(card.preprocess.exact_pixels(picture))
            marks.append(perf_counter_ns())
            logits = self._runner.run(tensor)[0]
            marks.append(perf_counter_ns())
            np.argsort(-softmax(logits), kind="stable")[:5]
            marks.append(perf_counter_ns())
            laps.append([*np.diff(marks), marks[-1] - marks[0]])
        names = ("decode", "preprocess", "inference", "postprocess", "total")
        medians = np.median(laps[_SETTLE:], axis=0) / 1e6
        return {"end_to_end": {n: round(float(v), 4) for n, v in zip(names, medians, strict=True)}}

    def profile(self, runs: int) -> dict[str, Any]:
        """Times of operators, from a second session with profiling; without times, the reason."""
        if self._device != "cpu":
            reason = f"operators are timed on the CPU, not on {self._device}"
            return {"operators": [], "reason": reason}
        from edge_effnet.benchmarks.latency.operator_times import profile
        from edge_effnet.card import ModelCard
        from edge_effnet.runtime.opening import read_model_files

        text = self._runner.card_text()
        operators, error = profile(
            self._path,
            *read_model_files(self._path),
            self._batch,
            threads=self._threads,
            precision=self._precision,
            variant=ModelCard.from_json(text).variant if text else "unknown",
            runs=runs,
        )
        return {"operators": [asdict(operator) for operator in operators], "reason": error}

    def _time(self) -> int:
        start = perf_counter_ns()
        self._runner.run(self._batch)
        return perf_counter_ns() - start

    def _warm_up(self) -> int:
        """Run inferences until two successive windows have the same median time, at most 3 s.

        Returns the number of inferences.
        """
        previous, runs, start = float("inf"), 0, perf_counter_ns()
        while True:
            window = statistics.median(self._time() for _ in range(_WINDOW))
            runs += _WINDOW
            if abs(window - previous) <= _STABLE * window:
                return runs
            if perf_counter_ns() - start > _WARMUP_NS:
                return runs
            previous = window


def take_stdout() -> int:
    """Duplicate stdout and redirect the original to stderr, so that runtimes cannot write to it."""
    out = os.dup(1)
    os.dup2(2, 1)
    return out


def _send(out: int, message: dict[str, Any]) -> None:
    with os.fdopen(os.dup(out), "w", encoding="utf-8") as stream:
        # On a line of its own, even if the interpreter printed half a line at its start.
        stream.write("\n" + json.dumps(message) + "\n")


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
