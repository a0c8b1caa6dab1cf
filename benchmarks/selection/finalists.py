"""Selection by predicted latency among the networks at hand; finalists are measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from edge_effnet.benchmarks.devices import FileOnDevice
from edge_effnet.benchmarks.latency.conditions import Monitor
from edge_effnet.benchmarks.latency.measure import measure_latency
from edge_effnet.benchmarks.prediction.latency_model import LatencyModel, folded_graph
from edge_effnet.benchmarks.records import Latency, Record
from edge_effnet.benchmarks.selection import select
from edge_effnet.benchmarks.selection.checkpoints_at_hand import (
    CheckpointAtHand,
    export_command,
    train_command,
)
from edge_effnet.benchmarks.selection.prediction_errors import prediction_error
from edge_effnet.benchmarks.selection.select import Limits, Selection
from edge_effnet.errors import UsageError
from edge_effnet.names import FormatName, Precision
from edge_effnet.network import LARGEST_SIDE, SMALLEST_SIDE
from edge_effnet.progress import Progress
from edge_effnet.registry import get_variant
from edge_effnet.runtime.devices.device import CPU
from edge_effnet.variants import VARIANTS, Variant

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
    return [
        record
        for variant in VARIANTS.values()
        if variant.published is not None
        for record in _records(model, variant, variant.resolution, sizes, variant.short_name)
    ]


def _records(
    model: LatencyModel,
    variant: Variant,
    side: int,
    sizes: Sequence[float],
    name: str,
    classes: int = 1000,
) -> list[Record]:
    """Records of one network in every runtime and precision, at ``sizes`` times ``side`` pixels."""
    sides = {max(SMALLEST_SIDE, round(side * size / 8) * 8) for size in sizes}
    if 1.0 in sizes:  # the default side, even if it is not a multiple of 8
        sides = {each for each in sides if abs(each - side) >= 8}
        sides.add(side)
    records = []
    for each in sorted(side for side in sides if side <= LARGEST_SIDE):
        graph = folded_graph(variant, each, classes)
        for runtime in model.reliable:
            time = round(runtime.predict(graph), 4)
            records.append(
                Record(
                    file=f"{name}@{each} {runtime.name}",
                    variant=variant.name,
                    format=runtime.format,
                    precision=runtime.precision,
                    size_bytes=graph.params * _WIDTH.get(runtime.precision, 4),
                    latency_ms=Latency(time, time, time, time, time),
                    threads=model.threads,
                    runtime=runtime.runtime,
                    runtime_version=runtime.runtime_version,
                    resolution=each,
                    device=runtime.device,
                )
            )
    return records


def choose_at_hand(
    model: LatencyModel,
    limits: Limits,
    checkpoints: Sequence[CheckpointAtHand],
    sizes: Sequence[float] = (1.0,),
    **settings: Any,
) -> Selection:
    """Selection among the networks of ``checkpoints``, and the better one that must be trained.

    Args:
        model: Latency model of this machine.
        limits: Limits that the choice must meet.
        checkpoints: The checkpoints that the user has.
        sizes: Input sides relative to the checkpoint's or the variant's default side.
        **settings: ``confirm``, ``runs``, ``progress`` and ``notify`` of `choose`.

    Returns:
        The selection. Its ``choice`` is of a checkpoint at hand. ``to_train`` is the best network
        within the limits for which there is no checkpoint, if it is more accurate than the choice.
        ``commands`` has the commands that make the files.
    """
    commands: dict[str, str] = {}
    at_hand: list[Record] = []
    classes: dict[str, int] = {}
    for checkpoint in checkpoints:
        variant = get_variant(checkpoint.variant)
        for record in _records(
            model, variant, checkpoint.resolution, sizes, checkpoint.name, checkpoint.classes
        ):
            at_hand.append(record)
            classes[record.file] = checkpoint.classes
            commands[record.file] = export_command(checkpoint, record)
    owned = {checkpoint.variant for checkpoint in checkpoints}
    others = [record for record in predicted(model, sizes) if record.variant not in owned]
    for record in others:
        commands[record.file] = train_command(get_variant(record.variant))
    better = select.select(others, limits).choice if others else None
    if at_hand:
        selection, _ = choose(model, limits, records=at_hand, classes=classes, **settings)
    else:
        selection = replace(select.select(others, limits), choice=None, runner_up=None)
    if better and selection.choice and _of(better.accuracy) <= _of(selection.choice.accuracy):
        better = None
    return replace(selection, to_train=better, commands=commands)


def choose(
    model: LatencyModel,
    limits: Limits,
    sizes: Sequence[float] = (1.0,),
    *,
    records: Sequence[Record] | None = None,
    classes: Mapping[str, int] | None = None,
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
        records: Candidates with predicted latency; default: `predicted`.
        classes: Number of classes of a record's network, by ``file``; default: 1,000.
        confirm: Number of finalists to export (with random weights) and time; 0 measures none.
        runs: Timed inferences of each finalist.
        progress: Called during the timing.
        notify: Called with warnings about the machine.

    Returns:
        The selection and the measured records. The choice is a measured finalist, or None if no
        finalist meets the limits. With ``confirm`` 0 the choice is not measured.
    """
    records = predicted(model, sizes) if records is None else list(records)
    loose = replace(limits, budget_ms=limits.budget_ms * _MARGIN)
    measured: dict[str, Record] = {}
    monitor = Monitor()
    for _ in range(_ROUNDS if confirm else 0):
        untimed = [record for record in records if record.file not in measured]
        best = _best(untimed, loose, confirm)
        if not best:
            break
        timed = _timed(best, model.threads, runs, progress, monitor, classes or {})
        measured.update((record.file, record) for record in timed)
        selection = select.select(list(measured.values()), limits)
        if selection.choice is not None:
            break
    if notify and monitor.conditions:
        for warning in monitor.conditions.warnings:
            notify(warning)
    if not measured:
        return select.select(records, limits), ()
    if selection.choice is not None:  # `front` and `next_better` consider all records
        others = [record for record in records if record.file not in measured]
        everything = select.select([*measured.values(), *others], limits)
        selection = replace(everything, choice=selection.choice, runner_up=selection.runner_up)
    before = {record.file: record for record in records}
    errors = (prediction_error(before[file], record) for file, record in measured.items())
    selection = replace(selection, predictions=tuple(error for error in errors if error))
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
    classes: Mapping[str, int],
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
            network = load(
                get_variant(record.variant),
                "random",
                resolution=record.resolution,
                classes=classes.get(record.file),
            )
            plan = nominal_plan(fold_batch_norm(network)) if record.precision == "int8" else None
            files += export(
                network,
                formats=[cast("FormatName", record.format)],
                precisions=[cast("Precision", record.precision)],
                calibration=plan,
                out=Path(folder) / str(number),
                progress=False,
            )
        targets = [
            FileOnDevice(str(file), record.device or CPU)
            for file, record in zip(files, records, strict=True)
        ]
        timed = measure_latency(targets, threads, runs, progress=progress, monitor=monitor)
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


def _of(value: float | None) -> float:
    """``value``, which is not None for a selected candidate."""
    assert value is not None  # noqa: S101
    return value
