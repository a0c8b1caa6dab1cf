"""results.json and selections from recorded numbers: figures that must not change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_effnet.benchmarks.accuracy.dataset import Dataset, Photo
from edge_effnet.benchmarks.accuracy.evaluate import conclude
from edge_effnet.benchmarks.accuracy.predictions import PredictionCounts, PredictionShard
from edge_effnet.benchmarks.intervals import bootstrap_median
from edge_effnet.benchmarks.records import Host, Latency, Record, Results
from edge_effnet.benchmarks.selection import select
from edge_effnet.registry import get_variant

from .golden_files import hashed

RECORDED = json.loads(Path(__file__).with_name("recorded_latencies.json").read_text("utf-8"))
BUDGETS = (0.5, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144)  # milliseconds
PHOTOS, CLASSES = 300, 10


def timed() -> list[Record]:
    """The recorded networks, each with its latency; sizes are made up."""
    records = []
    for kind, times in RECORDED["times"].items():
        format_name, precision = kind.split()
        for name, time in times["networks"].items():
            short, _, side = name.partition("@")
            variant = get_variant(short)
            rounds = [[time * (8 + n % 3) / 8, time * (9 + n % 5) / 8] for n in range(7)]
            records.append(
                Record(
                    file=f"{name} {kind}",
                    variant=variant.name,
                    format=format_name,
                    precision=precision,
                    size_bytes=int(time * 1e6),
                    latency_ms=Latency(time, time * 1.25, time * 1.5, time * 0.75, time),
                    median_ci=bootstrap_median(rounds),
                    samples_ms=tuple(value for part in rounds for value in part),
                    threads=1,
                    resolution=int(side) if side else variant.resolution,
                )
            )
    return records


def evaluated() -> list[Record]:
    """Two files' shares over hashed answers, in two parts: the second often agrees."""
    truth = hashed("truth", [PHOTOS]) % CLASSES
    answers = {}
    for name, shift in (("float", 90), ("integers", 40)):
        wrong = hashed(name, [PHOTOS]) > shift
        first = (truth + wrong * hashed(f"{name} errors", [PHOTOS])) % CLASSES
        answers[name] = (first[:, None] + np.arange(5, dtype=np.int32)) % CLASSES
    classes = tuple(f"class {n}" for n in range(CLASSES))
    parts = []
    for start, stop in ((0, 100), (100, PHOTOS)):
        tallies = {}
        for place, (name, indices) in enumerate(answers.items()):
            record = Record(name, "efficientnet-lite0", "onnx", "int8" if place else "fp32")
            shares = np.full((stop - start, 5), 0.125, np.float32)
            rows = indices[start:stop].astype(np.int32)
            tallies[name] = PredictionCounts(
                record, "float", [rows], [shares], 1000.0 + start, 0.5 * place
            )
        parts.append(PredictionShard(tuple(range(start, stop)), (), tallies, 2, classes))
    names = [f"{number}.jpg" for number in range(PHOTOS)]
    photos = tuple(Photo(Path(n), n, str(t)) for n, t in zip(names, truth.tolist(), strict=True))
    return list(conclude(parts, Dataset(Path("photos"), photos)).records)


def figures() -> dict[str, Any]:
    """What is compared, as plain data."""
    records = timed()
    results = replace(Results(Host("recorded"), tuple(records)), toolkit="edge-effnet")
    choices = {
        f"{budget:g} ms": select.select(records, select.Limits(budget)).as_json()
        for budget in BUDGETS
    }
    tight = select.Limits(8, metric="p90", max_size_mb=5, threads=1)
    choices["8 ms of p90, 5 MB"] = select.select(records, tight).as_json()
    return {
        "results.json": json.loads(results.to_json()),
        "evaluation": json.loads(Results(Host("recorded"), tuple(evaluated())).to_json())[
            "records"
        ],
        "selections": choices,
    }


def rounded(content: Any) -> Any:
    """Plain data with ten digits a number: the last bits of a logarithm are the C library's."""
    if isinstance(content, float):
        return float(f"{content:.10g}")
    if isinstance(content, Mapping):
        return {key: rounded(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [rounded(value) for value in content]
    return content
