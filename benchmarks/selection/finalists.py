"""Selection among all variants by predicted latency; finalists are exported and measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from edge_effnet.benchmarks.latency.conditions import Monitor
from edge_effnet.benchmarks.latency.measure import measure_latency
from edge_effnet.benchmarks.prediction.latency_model import LatencyModel, folded_graph
from edge_effnet.benchmarks.records import Latency, Record
from edge_effnet.benchmarks.selection import select
from edge_effnet.benchmarks.selection.select import Limits, Selection
from edge_effnet.errors import UsageError
from edge_effnet.names import FormatName, Precision
from edge_effnet.network import LARGEST_SIDE, SMALLEST_SIDE, build
from edge_effnet.progress import Progress
from edge_effnet.registry import get_variant
from edge_effnet.variants import VARIANTS

#: Predictions up to this multiple of the budget are considered, for the usual prediction error.
_MARGIN = 1.05
_ROUNDS = 3  # largest number of rounds; the next one runs if no finalist meets the limits
_WIDTH = {"int8": 1, "fp16": 2}  # bytes per weight


def predicted(model: LatencyModel, sizes: Sequence[float] = (1.0,)) -> list[Record]:
    """Records with predicted latency of every variant with a published top-1.

    All latency quantiles of a record equal the prediction. Its file size is the size of the
    weights.

    Args:
        model: Latency model of the device.
        sizes: Input sides relative to the variant's default side.
    """
    records = []
    for variant in VARIANTS.values():
        if variant.published is None:
            continue
        sides = {max(SMALLEST_SIDE, round(variant.resolution * size / 8) * 8) for size in sizes}
        if 1.0 in sizes:  # the default side, even if it is not a multiple of 8
            sides = {side for side in sides if abs(side - variant.resolution) >= 8}
            sides.add(variant.resolution)
        params = build(variant).params
        for side in sorted(side for side in sides if side <= LARGEST_SIDE):
            graph = folded_graph(variant, side)
            for runtime in model.runtimes:
                time = round(runtime.predict(graph), 4)
                records.append(
                    Record(
                        file=f"{variant.short_name}@{side} {runtime.name}",
                        variant=variant.name,
                        format=runtime.format,
                        precision=runtime.precision,
                        size_bytes=params * _WIDTH.get(runtime.precision, 4),
                        latency_ms=Latency(time, time, time, time, time),
                        threads=model.threads,
                        runtime=runtime.runtime,
                        runtime_version=runtime.runtime_version,
                        resolution=side,
                    )
                )
    return records


def choose(
    model: LatencyModel,
    limits: Limits,
    sizes: Sequence[float] = (1.0,),
    *,
    confirm: int = 3,
    runs: int = 50,
    progress: Progress | None = None,
    notify: Callable[[str], None] | None = None,
) -> tuple[Selection, tuple[Record, ...]]:
    """Selection by predicted latency, confirmed by measuring the finalists on this machine.

    Args:
        model: Latency model of this machine.
        limits: Limits that the choice must meet.
        sizes: Input sides relative to the variant's default side.
        confirm: Number of finalists to export (with random weights) and time; 0 measures none.
        runs: Timed inferences of each finalist.
        progress: Called during the timing.
        notify: Called with warnings about the machine.

    Returns:
        The selection and the measured records. The choice is a measured finalist, or None if no
        finalist meets the limits. With ``confirm`` 0 the choice is not measured.
    """
    records = predicted(model, sizes)
    loose = replace(limits, budget_ms=limits.budget_ms * _MARGIN)
    measured: dict[str, Record] = {}
    for _ in range(_ROUNDS if confirm else 0):
        untimed = [record for record in records if record.file not in measured]
        best = _best(untimed, loose, confirm)
        if not best:
            break
        monitor = Monitor()
        timed = _timed(best, model.threads, runs, progress, monitor)
        measured.update((record.file, record) for record in timed)
        if notify and monitor.conditions:
            for warning in monitor.conditions.warnings:
                notify(warning)
        selection = select.select(list(measured.values()), limits)
        if selection.choice is not None:
            break
    if not measured:
        return select.select(records, limits), ()
    if selection.choice is not None:  # `front` and `next_better` consider all records
        others = [record for record in records if record.file not in measured]
        everything = select.select([*measured.values(), *others], limits)
        selection = replace(everything, choice=selection.choice, runner_up=selection.runner_up)
    return selection, tuple(measured.values())


def _best(records: Sequence[Record], limits: Limits, count: int) -> list[Record]:
    """The ``count`` best records within ``limits``, best first."""
    best: list[Record] = []
    remaining = list(records)
    while remaining and len(best) < count:
        choice = select.select(remaining, limits).choice
        if choice is None:
            break
        best.append(choice.record)
        remaining.remove(choice.record)
    return best


def _timed(
    records: Sequence[Record],
    threads: int,
    runs: int,
    progress: Progress | None,
    monitor: Monitor,
) -> list[Record]:
    """Export and time the networks of ``records``: the same records with measured values.

    The files have random weights and are timed in interleaved rounds.
    """
    from edge_effnet.benchmarks.prediction.micro_benchmarks import nominal_plan
    from edge_effnet.calibration.passes.fold import fold_batch_norm
    from edge_effnet.checkpoints import load
    from edge_effnet.converters.export import export

    with TemporaryDirectory() as folder:
        files = []
        for number, record in enumerate(records):
            network = load(get_variant(record.variant), "random", resolution=record.resolution)
            plan = nominal_plan(fold_batch_norm(network)) if record.precision == "int8" else None
            files += export(
                network,
                formats=[cast("FormatName", record.format)],
                precisions=[cast("Precision", record.precision)],
                calibration=plan,
                out=Path(folder) / str(number),
                progress=False,
            )
        timed = measure_latency(files, threads, runs, progress=progress, monitor=monitor)
    return [
        new.with_(file=old.file, variant=old.variant, resolution=old.resolution)
        for old, new in zip(records, timed, strict=True)
    ]


def parse_sizes(text: str) -> tuple[float, ...]:
    """Relative input sides from a comma-separated list; raises `UsageError`."""
    try:
        sizes = tuple(float(item) for item in text.split(",") if item.strip())
    except ValueError:
        sizes = ()
    if not sizes or not all(0.1 <= size <= 4 for size in sizes):
        raise UsageError(f"{text!r} are no shares of a side, as 1,0.85,0.7 (0.1 to 4)")
    return sizes
