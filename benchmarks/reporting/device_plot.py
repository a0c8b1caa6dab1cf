"""Plot of devices against the CPU, as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge_effnet.benchmarks.records import Record
from edge_effnet.benchmarks.reporting import formatting
from edge_effnet.benchmarks.reporting.svg import COLOURS, plot
from edge_effnet.runtime.devices.device import CPU

_ROW = 0.42  # inches per file and device


def devices(records: Sequence[Record]) -> str:
    """Two bars per row: median latency of a file on a device and on the CPU; "" without pairs."""
    cpu = {
        record.file: record.latency_ms.median
        for record in records
        if record.device in (None, CPU) and record.latency_ms is not None
    }
    rows = [
        (record, title, record.latency_ms.median, cpu[record.file])
        for record, title in zip(records, formatting.titles(records), strict=True)
        if record.device not in (None, CPU) and record.latency_ms is not None and record.file in cpu
    ]
    if not rows:
        return ""

    def draw(axes: Any) -> None:
        for row, (record, _, time, on_cpu) in enumerate(rows):
            colour = COLOURS.get(record.format, COLOURS["other"])
            axes.barh(row - 0.18, time, height=0.34, color=colour, zorder=2)
            axes.barh(row + 0.18, on_cpu, height=0.34, color=COLOURS["muted"], zorder=2)
        axes.set_yticks(range(len(rows)), [title for _, title, _, _ in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)  # the first row is at the top
        axes.tick_params(axis="y", length=0, labelcolor=COLOURS["ink"])
        axes.set_xlabel("median latency, ms; grey: the CPU")
        axes.grid(True, axis="x")

    values = "; ".join(
        f"{title} {formatting.milliseconds(time)} ms, CPU {formatting.milliseconds(on_cpu)} ms"
        for _, title, time, on_cpu in rows
    )
    title = "Median latency of devices and of the CPU"
    return plot("devices", title, f"{title}: {values}.", 0.75 + _ROW * len(rows), draw)
