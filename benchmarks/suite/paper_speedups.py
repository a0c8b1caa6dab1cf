"""Paper speed-ups: latency ratios published in the EfficientNet papers, on this machine.

EfficientNet-B1 and ResNet-152: Tan & Le 2019, arXiv 1905.11946, table 4. B1 is 5.7 times as fast on
one core of a Xeon E5-2690 (batch 1, mean of 20 runs).

EfficientNetV2-S and EfficientNet-B5 and B6: Tan & Le 2021, arXiv 2104.00298, table 7. V2-S takes 24
ms, B5 60 ms and B6 97 ms (V100, batch 16, fp16; cited, not checked against the paper again).

This module measures TFLite, ONNX Runtime and OpenVINO with batch 1, one core and random weights.
The networks of a pair run in interleaved rounds.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from edge_effnet.benchmarks.intervals import bootstrap_median
from edge_effnet.benchmarks.latency.conditions import Monitor
from edge_effnet.benchmarks.latency.measure import measure_latency
from edge_effnet.benchmarks.prediction.micro_benchmarks import nominal_plan
from edge_effnet.benchmarks.reporting import formatting
from edge_effnet.calibration.passes.fold import fold_batch_norm
from edge_effnet.checkpoints import load
from edge_effnet.converters.export import export
from edge_effnet.formats import RUNNABLE, title_of
from edge_effnet.names import FormatName, Precision
from edge_effnet.progress import Progress
from edge_effnet.registry import get_variant
from edge_effnet.statistics import Interval
from edge_effnet.variants import short_name


@dataclass(frozen=True)
class PaperSpeedup:
    """Claim of the paper ``source``: ``fast`` is ``published`` times as fast as ``slow``."""

    fast: str
    slow: str
    published: float
    source: str


PAPER_SPEEDUPS = (
    PaperSpeedup("efficientnet-b1", "resnet-152", 5.7, "arXiv 1905.11946, table 4, one Xeon core"),
    PaperSpeedup("efficientnetv2-s", "efficientnet-b5", 60 / 24, "arXiv 2104.00298, table 7, V100"),
    PaperSpeedup("efficientnetv2-s", "efficientnet-b6", 97 / 24, "arXiv 2104.00298, table 7, V100"),
)


@dataclass(frozen=True)
class MeasuredSpeedup:
    """A speed-up measured in one format: median ms, their ratio, and its 95 % interval."""

    paper: PaperSpeedup
    format: str
    runtime: str
    fast_ms: float
    slow_ms: float
    ratio: float
    interval: Interval


def measure(
    speedups: Sequence[PaperSpeedup] = PAPER_SPEEDUPS,
    formats: Sequence[str] = RUNNABLE,
    precision: str = "fp32",
    runs: int = 20,
    progress: Progress | None = None,
) -> tuple[list[MeasuredSpeedup], tuple[str, ...]]:
    """Measure every speed-up in every format.

    Args:
        speedups: The pairs of networks.
        formats: The formats to measure; their runtimes must be installed.
        precision: ``fp32``, or ``int8`` with nominal quantization parameters.
        runs: Timed inferences of each network.
        progress: Called during the timing.

    Returns:
        The measured speed-ups, and warnings about the machine and about files that failed.
    """
    measured: list[MeasuredSpeedup] = []
    warnings: list[str] = []
    for name in formats:
        with TemporaryDirectory() as folder:
            files: dict[str, Path] = {}
            for variant in dict.fromkeys(v for pair in speedups for v in (pair.fast, pair.slow)):
                model = load(get_variant(variant), "random")
                plan = nominal_plan(fold_batch_norm(model)) if precision == "int8" else None
                (files[variant],) = export(
                    model,
                    formats=[cast("FormatName", name)],
                    precisions=[cast("Precision", precision)],
                    calibration=plan,
                    out=folder,
                    progress=False,
                )
            monitor = Monitor()
            records = measure_latency(
                list(files.values()), 1, runs, progress=progress, monitor=monitor
            )
        if monitor.conditions is not None:
            warnings += monitor.conditions.warnings
        by_variant = dict(zip(files, records, strict=True))
        for pair in speedups:
            fast, slow = by_variant[pair.fast], by_variant[pair.slow]
            if fast.latency_ms is None or slow.latency_ms is None:
                warnings.append(f"{name}: {fast.error or slow.error}")
                continue
            measured.append(
                MeasuredSpeedup(
                    pair,
                    name,
                    f"{fast.runtime} {fast.runtime_version}",
                    fast.latency_ms.median,
                    slow.latency_ms.median,
                    *ratio(slow.samples_ms, fast.samples_ms, fast.rounds or 1),
                )
            )
    return measured, tuple(dict.fromkeys(warnings))


def ratio(slow: Sequence[float], fast: Sequence[float], rounds: int) -> tuple[float, Interval]:
    """Median over all runs of (slow time / fast time), and its 95 % bootstrap interval.

    Each ratio compares two runs with the same number in the same round. A temporary slowdown of the
    machine therefore affects both times and cancels.
    """
    ratios = [a / b for a, b in zip(slow, fast, strict=True)]
    size = max(1, len(ratios) // rounds)
    by_round = [ratios[start : start + size] for start in range(0, len(ratios), size)]
    median = round(statistics.median(ratios), 3)
    return median, bootstrap_median(by_round) or (median, median)


def table(speedups: Sequence[MeasuredSpeedup]) -> str:
    """One line of text per speed-up, with the measured and the published value."""
    lines = [f"{'':<38}{'ms':>8}{'ms':>9}{'ratio':>8}{'95 %':>16}{'printed':>9}"]
    for item in speedups:
        fast, slow = short_name(item.paper.fast), short_name(item.paper.slow)
        low, high = item.interval
        title = f"{fast} against {slow}, {title_of(item.format)}"
        lines.append(
            f"{title:<38}{formatting.milliseconds(item.fast_ms):>8}"
            f"{formatting.milliseconds(item.slow_ms):>9}{item.ratio:>8.2f}"
            f"{f'{low:.2f} to {high:.2f}':>16}{item.paper.published:>9.1f}"
        )
    return "\n".join(lines) + "\n"
