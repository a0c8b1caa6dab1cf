"""A device's profile -> records of the whole family, predicted; the best of them measured.

Nothing of the family is built but the few networks that come into question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from edge_effnet.benchmarks.latency import measure
from edge_effnet.benchmarks.latency.conditions import Monitor
from edge_effnet.benchmarks.prediction import latency_model
from edge_effnet.benchmarks.prediction.latency_model import Profile
from edge_effnet.benchmarks.records import Latency, Record
from edge_effnet.benchmarks.selection import select
from edge_effnet.benchmarks.selection.select import Limits, Selection
from edge_effnet.errors import UsageError
from edge_effnet.network import LARGEST_SIDE, SMALLEST_SIDE, build
from edge_effnet.progress import Progress
from edge_effnet.registry import get_variant
from edge_effnet.variants import VARIANTS

#: How far beyond the budget a predicted latency still comes into question: its usual error.
_MARGIN = 1.05
_ROUNDS = 3  # of finalists, if none of the first fits after all
_WIDTH = {"int8": 1, "fp16": 2}  # bytes of a weight


def predicted(profile: Profile, sizes: Sequence[float] = (1.0,)) -> list[Record]:
    """A record of every variant that has a published top-1, at ``sizes`` times its own side.

    All of a record's latencies are the one predicted; the file's size is that of its weights.
    """
    records = []
    for variant in VARIANTS.values():
        if variant.published is None:
            continue
        sides = {max(SMALLEST_SIDE, round(variant.resolution * size / 8) * 8) for size in sizes}
        if 1.0 in sizes:  # its own, whether a multiple of 8 or not
            sides = {side for side in sides if abs(side - variant.resolution) >= 8}
            sides.add(variant.resolution)
        params = build(variant).params
        for side in sorted(side for side in sides if side <= LARGEST_SIDE):
            graph = latency_model.folded(variant, side)
            for coefficients in profile.coefficients:
                time = round(latency_model.predict(coefficients, graph), 4)
                records.append(
                    Record(
                        file=f"{variant.short_name}@{side} {coefficients.format} {coefficients.precision}",
                        variant=variant.name,
                        format=coefficients.format,
                        precision=coefficients.precision,
                        size_bytes=params * _WIDTH.get(coefficients.precision, 4),
                        latency_ms=Latency(time, time, time, time, time),
                        threads=profile.threads,
                        runtime=coefficients.runtime,
                        runtime_version=coefficients.runtime_version,
                        resolution=side,
                    )
                )
    return records


def choose(
    profile: Profile,
    limits: Limits,
    sizes: Sequence[float] = (1.0,),
    *,
    confirm: int = 3,
    runs: int = 50,
    progress: Progress | None = None,
    notify: Callable[[str], None] | None = None,
) -> tuple[Selection, tuple[Record, ...]]:
    """The selection over `predicted` records, and those whose latency was measured to confirm it.

    ``confirm`` files at a time, the best that are predicted to fit, are exported with random
    weights and timed here; what is chosen then is one of them, and if none fits, nothing is. 0
    measures nothing. ``notify`` is told what else the machine did meanwhile.
    """
    records = predicted(profile, sizes)
    loose = replace(limits, budget_ms=limits.budget_ms * _MARGIN)
    measured: dict[str, Record] = {}
    for _ in range(_ROUNDS if confirm else 0):
        left = [record for record in records if record.file not in measured]
        these = _best(left, loose, confirm)
        if not these:
            break
        monitor = Monitor()
        timed = _timed(these, profile.threads, runs, progress, monitor)
        measured.update((record.file, record) for record in timed)
        if notify and monitor.conditions:
            for warning in monitor.conditions.warnings:
                notify(warning)
        found = select.select(list(measured.values()), limits)
        if found.choice is not None:
            break
    if not measured:
        return select.select(records, limits), ()
    if found.choice is not None:  # the front and the next step are those of the whole family
        rest = [record for record in records if record.file not in measured]
        everything = select.select([*measured.values(), *rest], limits)
        found = replace(everything, choice=found.choice, runner_up=found.runner_up)
    return found, tuple(measured.values())


def _best(records: Sequence[Record], limits: Limits, count: int) -> list[Record]:
    """The ``count`` best that fit, one after the other."""
    chosen: list[Record] = []
    left = list(records)
    while left and len(chosen) < count:
        found = select.select(left, limits).choice
        if found is None:
            break
        chosen.append(found.record)
        left.remove(found.record)
    return chosen


def _timed(
    records: Sequence[Record],
    threads: int,
    runs: int,
    progress: Progress | None,
    monitor: Monitor,
) -> list[Record]:
    """The same records with latencies, sizes and memory as measured, interleaved."""
    from edge_effnet.benchmarks.prediction.micro_benchmarks import nominal_plan
    from edge_effnet.checkpoints import load
    from edge_effnet.converters.export import export
    from edge_effnet.model import fold_batch_norm

    with TemporaryDirectory() as folder:
        files = []
        for number, record in enumerate(records):
            model = load(get_variant(record.variant), "random", resolution=record.resolution)
            plan = nominal_plan(fold_batch_norm(model)) if record.precision == "int8" else None
            files += export(
                model,
                formats=[record.format],
                precisions=[record.precision],
                calibration=plan,
                out=Path(folder) / str(number),
            )
        timed = measure.measure(files, threads, runs, progress=progress, monitor=monitor)
    return [
        new.with_(file=old.file, variant=old.variant, resolution=old.resolution)
        for old, new in zip(records, timed, strict=True)
    ]


def parse_sizes(text: str) -> tuple[float, ...]:
    """Shares of a variant's own side, comma-separated; raises `UsageError`."""
    try:
        sizes = tuple(float(item) for item in text.split(",") if item.strip())
    except ValueError:
        sizes = ()
    if not sizes or not all(0.1 <= size <= 4 for size in sizes):
        raise UsageError(f"--sizes {text!r} are no shares of a side, as 1,0.85,0.7 (0.1 to 4)")
    return sizes
