"""Order and short titles of records, numbers with units, and the headline of a report."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from edge_effnet.benchmarks.records import Record, Results, key
from edge_effnet.formats import FORMATS, title_of
from edge_effnet.runtime.devices.device import CPU
from edge_effnet.statistics import Interval
from edge_effnet.variants import short_name

PRECISIONS = ("fp32", "fp16", "w8", "dynamic", "int8", "mixed")
#: Text for a value that was not measured.
NONE = "–"  # noqa: RUF001  (an en dash is meant)


@dataclass(frozen=True)
class Gain:
    """Latency and size of a quantized file, divided by those of the float file ``base``.

    ``time`` and ``size`` below 1 mean faster and smaller; None means unknown.

    ``base`` is the fp32 file of the same format, so both run in the same runtime. Without that
    file, ``base`` is the reference.
    """

    record: Record
    base: Record | None
    time: float | None
    size: float | None


def order(records: Sequence[Record]) -> list[Record]:
    """Records sorted by variant, format, precision and file."""
    return sorted(
        records,
        key=lambda record: (
            record.variant,
            _rank(list(FORMATS), record.format),
            _rank(PRECISIONS, record.precision),
            record.file,
            record.device not in (None, CPU),
            record.device or "",
        ),
    )


def titles(records: Sequence[Record]) -> list[str]:
    """A short unique title per record: ``TFLite int8``, with the variant if there are several.

    Equal titles are extended by the quantizer, then by the file's name or path.
    """
    several = len({record.variant for record in records}) > 1
    titles = [_title(record, several) for record in records]
    for extra in (
        _quantizer,
        lambda record: os.path.basename(record.file),
        lambda record: record.file,
    ):
        counts = Counter(titles)
        titles = [
            f"{title} {extra(record)}".strip() if counts[title] > 1 else title
            for title, record in zip(titles, records, strict=True)
        ]
    return titles


def percent(share: float | None) -> str:
    """A fraction 0..1 as percent with one decimal."""
    return NONE if share is None else f"{100 * share:.1f}"


def percent_interval(interval: Interval | None) -> str:
    """An interval of fractions in percent."""
    return "" if interval is None else f"{100 * interval[0]:.1f} – {100 * interval[1]:.1f}"  # noqa: RUF001


def points(drop: float | None) -> str:
    """Percentage points with one decimal and a minus sign; 0.0 without a sign."""
    return NONE if drop is None else signed(drop)


def points_interval(interval: Interval | None) -> str:
    """An interval of percentage points."""
    return "" if interval is None else f"{signed(interval[0])} to {signed(interval[1])}"


def decibels(value: float | None) -> str:
    """An SQNR in dB with one decimal; ``exact`` for equal logits."""
    if value is None:
        return NONE
    return "exact" if value >= 200 else f"{value:.1f}"


def megabytes(size: int) -> str:
    """Bytes in MB (10^6)."""
    return f"{size / 1e6:.1f}"


def milliseconds(value: float | None) -> str:
    """Milliseconds with three significant digits and at most two decimals."""
    if value is None:
        return NONE
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def placement(record: Record) -> str:
    """Share of the multiply-adds on the device in percent; `NONE` on the CPU."""
    if record.placement is None or record.device in (None, CPU):
        return NONE
    return percent(record.placement.share)


def device_note(record: Record) -> str:
    """What a reader must know of the device: software, and what fell back; empty for the CPU."""
    if record.placement is None or record.device in (None, CPU):
        return ""
    notes = ["software, not timed"] if record.software else []
    if record.placement.fallback:
        notes.append(f"on the CPU: {record.placement.fallback_text()}")
    return "; ".join(notes)


def times(ratio: float) -> str:
    """A ratio with two significant digits and a multiplication sign."""
    return f"{ratio:.2f}×" if ratio < 1.995 else f"{ratio:.1f}×"  # noqa: RUF001


def signed(value: float) -> str:
    """A number with one decimal and a minus sign, never minus zero."""
    text = f"{abs(value):.1f}"
    return f"−{text}" if value < 0 and text != "0.0" else text  # noqa: RUF001


def gains(records: Sequence[Record]) -> list[Gain]:
    """Latency and size of each int8 file against float (`Gain`), the fastest file first.

    Without int8 files, those of the fp16 files; an empty list without either.
    """
    for precision in ("int8", "mixed", "fp16"):
        gains = [_gain(record, records) for record in records if record.precision == precision]
        if gains:
            return sorted(gains, key=lambda gain: _speed(gain.record))
    return []


def headline(results: Results) -> str:
    """One sentence on the fastest quantized file: its agreement with float, time and size."""
    quantized_gains = gains(results.records)
    if not quantized_gains:
        count = len(results.records)
        return f"{count} model {'file' if count == 1 else 'files'}, measured side by side"
    gain = quantized_gains[0]
    record = gain.record
    name = f"{record.precision} {title_of(record.format)}"
    if len({other.variant for other in results.records}) > 1:
        name = f"{short_name(record.variant)} {name}"
    ratios = [
        f"{times(ratio)} the {quantity}"
        for ratio, quantity in ((gain.time, "time"), (gain.size, "size"))
        if ratio is not None
    ]
    if record.agreement is not None:
        keeps = f"{name} agrees with float32 on {percent(record.agreement)} % of the photos"
        if record.multi_label:
            keeps = (
                f"{name} predicts float32's labels on {percent(record.agreement)} % of the photos"
            )
        if record.agreement == 1:
            keeps = f"{name} agrees with float32 on all {record.images:,} photos"
        return keeps + (f" at {' and '.join(ratios)}" if ratios else "")
    return f"{name} takes {' and '.join(ratios)} of fp32" if ratios else f"{name}, measured"


def measure_of(record: Record) -> str:
    """Name of `Record.accuracy`: top-1, or mAP of a multi-label network."""
    return "top-1" if record.mean_ap is None else "mAP"


def summary(record: Record) -> str:
    """One sentence comparing a file's accuracy with float; empty without a reference."""
    if record.agreement is not None and record.agreement_ci is not None and record.accuracy is None:
        return (
            f"Measured on {record.images:,} photos without labels: agreement counts equal "
            "predictions, not correct ones "
            f"(95 % interval: {percent_interval(record.agreement_ci)} %)."
        )
    if record.drop is None or record.drop_ci is None:
        return ""
    low, high = record.drop_ci
    accuracy = f"{measure_of(record)} is {percent(record.accuracy)} %"
    accuracy = accuracy[0].upper() + accuracy[1:] if record.mean_ap is None else accuracy
    change = (
        f"{accuracy}, {signed(abs(record.drop))} points "
        f"{'above' if record.drop < 0 else 'below'} float32"
    )
    if record.drop == 0:
        change = f"{accuracy}, the same as float32"
    bounds = f"95 % interval of the drop: {points_interval(record.drop_ci)} points"
    if low <= 0 <= high:
        return (
            f"{change}: not significantly different from 0 on {record.images:,} photos ({bounds})."
        )
    return f"{change}, significantly different from 0 on {record.images:,} photos ({bounds})."


def _title(record: Record, with_variant: bool) -> str:
    title = key(f"{title_of(record.format)} {record.precision}", record.device)
    return f"{short_name(record.variant)} {title}" if with_variant else title


def _quantizer(record: Record) -> str:
    return record.quantizer or ""


def _gain(record: Record, records: Sequence[Record]) -> Gain:
    float_files = [
        other for other in records if other.variant == record.variant and other.precision == "fp32"
    ]
    same_format = next((other for other in float_files if other.format == record.format), None)
    base = same_format or next((other for other in float_files if other.is_reference), None)
    if base is None:
        return Gain(record, None, None, None)
    time = None
    if record.latency_ms is not None and base.latency_ms is not None:
        time = record.latency_ms.median / base.latency_ms.median
    return Gain(record, base, time, record.size_bytes / max(base.size_bytes, 1))


def _speed(record: Record) -> tuple[float, float]:
    latency = float("inf") if record.latency_ms is None else record.latency_ms.median
    return latency, -(record.agreement or 0.0)


def _rank(names: Sequence[str], name: str) -> int:
    return names.index(name) if name in names else len(names)
