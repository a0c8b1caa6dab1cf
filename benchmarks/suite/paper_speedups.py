"""The papers' claims of speed, on this machine: ``python -m edge_effnet.benchmarks.suite.paper_speedups``.

EfficientNet-B1 against ResNet-152 (Tan & Le 2019, arXiv 1905.11946, table 4: 5.7 times as fast on
one core of a Xeon E5-2690, batch 1, averaged over 20 runs), and EfficientNetV2-S against B5 and B6
(Tan & Le 2021, arXiv 2104.00298, table 7: 60 and 97 ms against 24 on a V100, batch 16, fp16; cited,
not checked against the article again), each in TFLite, ONNX Runtime and OpenVINO, batch 1, one
core, float32, random weights. Networks that are
compared run in rounds that take turns.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from edge_effnet.benchmarks.intervals import bootstrap_median
from edge_effnet.benchmarks.latency import measure as latency
from edge_effnet.benchmarks.latency.conditions import Monitor
from edge_effnet.benchmarks.reporting import formatting
from edge_effnet.commands.options import json_option, split
from edge_effnet.commands.terminal import Progress, note, progress, write, write_json
from edge_effnet.formats import title_of
from edge_effnet.statistics import Interval
from edge_effnet.variants import short_name


@dataclass(frozen=True)
class Claim:
    """``fast`` is ``published`` times as fast as ``slow``, by ``source``."""

    fast: str
    slow: str
    published: float
    source: str


CLAIMS = (
    Claim("efficientnet-b1", "resnet-152", 5.7, "arXiv 1905.11946, table 4, one Xeon core"),
    Claim("efficientnetv2-s", "efficientnet-b5", 60 / 24, "arXiv 2104.00298, table 7, V100"),
    Claim("efficientnetv2-s", "efficientnet-b6", 97 / 24, "arXiv 2104.00298, table 7, V100"),
)


@dataclass(frozen=True)
class Finding:
    """A claim as measured in one format: medians in ms, their ratio and its 95 % interval."""

    claim: Claim
    format: str
    runtime: str
    fast_ms: float
    slow_ms: float
    ratio: float
    interval: Interval


def measure(
    claims: Sequence[Claim] = CLAIMS,
    formats: Sequence[str] = ("tflite", "onnx", "openvino"),
    precision: str = "fp32",
    runs: int = 20,
    report: Progress | None = None,
) -> tuple[list[Finding], tuple[str, ...]]:
    """Every claim in every format, and the warnings about the machine."""
    from edge_effnet.baselines import BASELINES
    from edge_effnet.benchmarks.prediction.micro_benchmarks import nominal_plan
    from edge_effnet.checkpoints import load
    from edge_effnet.converters.export import export
    from edge_effnet.model import fold_batch_norm
    from edge_effnet.variants import VARIANTS

    known = {**VARIANTS, **BASELINES}
    found: list[Finding] = []
    warnings: list[str] = []
    for name in formats:
        with TemporaryDirectory() as folder:
            files: dict[str, Path] = {}
            for variant in dict.fromkeys(v for c in claims for v in (c.fast, c.slow)):
                model = load(known[variant], "random")
                plan = nominal_plan(fold_batch_norm(model)) if precision == "int8" else None
                (files[variant],) = export(
                    model, formats=[name], precisions=[precision], calibration=plan, out=folder
                )
            monitor = Monitor()
            records = latency.measure(
                list(files.values()), 1, runs, progress=report, monitor=monitor
            )
        if monitor.conditions is not None:
            warnings += monitor.conditions.warnings
        by_name = dict(zip(files, records, strict=True))
        for claim in claims:
            fast, slow = by_name[claim.fast], by_name[claim.slow]
            if fast.latency_ms is None or slow.latency_ms is None:
                warnings.append(f"{name}: {fast.error or slow.error}")
                continue
            found.append(
                Finding(
                    claim,
                    name,
                    f"{fast.runtime} {fast.runtime_version}",
                    fast.latency_ms.median,
                    slow.latency_ms.median,
                    *ratio(slow.samples_ms, fast.samples_ms, fast.rounds or 1),
                )
            )
    return found, tuple(dict.fromkeys(warnings))


def ratio(slow: Sequence[float], fast: Sequence[float], rounds: int) -> tuple[float, Interval]:
    """The median of the ratios of times taken in the same round, and its 95 % interval.

    A machine that slows down for a while slows both: their ratio stays.
    """
    pairs = [a / b for a, b in zip(slow, fast, strict=True)]
    size = max(1, len(pairs) // rounds)
    parts = [pairs[start : start + size] for start in range(0, len(pairs), size)]
    middle = round(statistics.median(pairs), 3)
    return middle, bootstrap_median(parts) or (middle, middle)


def table(findings: Sequence[Finding]) -> str:
    """One line a finding."""
    lines = [f"{'':<38}{'ms':>8}{'ms':>9}{'ratio':>8}{'95 %':>16}{'printed':>9}"]
    for item in findings:
        claim = item.claim
        fast, slow = (short_name(name) for name in (claim.fast, claim.slow))
        low, high = item.interval
        title = f"{fast} against {slow}, {title_of(item.format)}"
        lines.append(
            f"{title:<38}{formatting.milliseconds(item.fast_ms):>8}"
            f"{formatting.milliseconds(item.slow_ms):>9}{item.ratio:>8.2f}"
            f"{f'{low:.2f} to {high:.2f}':>16}{claim.published:>9.1f}"
        )
    return "\n".join(lines) + "\n"


@click.command()
@click.option("--formats", default="tflite,onnx,openvino", show_default=True, metavar="LIST")
@click.option("--precision", type=click.Choice(["fp32", "int8"]), default="fp32", show_default=True)
@click.option("--runs", type=click.IntRange(2), default=20, show_default=True)
@json_option
def main(formats: str, precision: str, runs: int, json_to: str | None) -> None:
    """Measure the papers' ratios of speed on one core of this machine."""
    from edge_effnet.converters.export import choose

    names, _ = choose(split(formats), [precision])
    with progress() as report:
        findings, warnings = measure(CLAIMS, names, precision, runs, report)
    for warning in warnings:
        note(warning)
    if json_to != "-":
        write(table(findings))
    if json_to:
        write_json([asdict(item) for item in findings], json_to)


if __name__ == "__main__":
    main()
