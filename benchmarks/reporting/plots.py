"""Plots of records as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge_effnet.benchmarks.pareto import pareto_front
from edge_effnet.benchmarks.records import Record
from edge_effnet.benchmarks.reporting import formatting
from edge_effnet.benchmarks.reporting.html import without_surrogates
from edge_effnet.benchmarks.reporting.svg import COLOURS, plot
from edge_effnet.variants import short_name

MARKERS = {"fp32": "o", "fp16": "s", "w8": "v", "dynamic": "P", "int8": "^", "mixed": "D"}
_ROW = 0.27  # inches per file
#: Files that plots show: drawing takes milliseconds a file, and a row of each needs space.
MOST_FILES = 200


def accuracy_against_latency(records: Sequence[Record]) -> str:
    """Scatter plot of top-1 (without labels: agreement) over median latency; "" without data."""
    measure = "accuracy" if any(r.accuracy is not None for r in records) else "agreement"
    shown = [
        (record, record.latency_ms.median, 100 * getattr(record, measure))
        for record in records
        if record.latency_ms is not None and getattr(record, measure) is not None
    ]
    if not shown:
        return ""
    measure_name = "agreement with float32"
    if measure == "accuracy":
        measure_name = formatting.measure_of(shown[0][0])

    def draw(axes: Any) -> None:
        _join(axes, shown)
        right = 1.08 * max(x for _, x, _ in shown)
        line = front_line([(x, y) for _, x, y in shown], right)
        axes.step(*zip(*line, strict=True), where="post", color=COLOURS["muted"], linewidth=1.2)
        for record, x, y in shown:
            axes.plot(
                x,
                y,
                MARKERS.get(record.precision, "D"),
                color=_colour(record),
                markeredgecolor=COLOURS["paper"],
                markeredgewidth=0.8,
                markersize=9,
                alpha=0.9,
                clip_on=False,
                zorder=3,
            )
        heights = [y for _, _, y in shown]
        # The axis spans at least two points, so that noise does not look like a difference.
        middle, half = (min(heights) + max(heights)) / 2, (max(heights) - min(heights)) / 2
        half = max(1.0, 1.25 * half)
        top = min(middle + half, 100.0)
        axes.set_ylim(top - 2 * half, top)
        axes.set_xlim(0, right)
        axes.locator_params(nbins=5)
        axes.set_xlabel("median latency, ms")
        axes.set_ylabel(f"{measure_name}, %")
        axes.grid(True)

    best = max(shown, key=lambda item: (item[2], -item[1]))
    fastest = min(shown, key=lambda item: item[1])
    names = dict(zip((record.key for record in records), formatting.titles(records), strict=True))
    description = (
        f"{measure_name} against median latency of {len(shown)} files. Highest: "
        f"{names[best[0].key]}, {best[2]:.1f} % at {formatting.milliseconds(best[1])} ms. "
        f"Fastest: {names[fastest[0].key]}, {fastest[2]:.1f} % at "
        f"{formatting.milliseconds(fastest[1])} ms."
    )
    return plot("scatter", f"Latency against {measure_name}", description, 4.2, draw, measured=True)


def front_line(points: Sequence[tuple[float, float]], right: float) -> list[tuple[float, float]]:
    """Points of the Pareto front, extended horizontally to the plot's right edge.

    Args:
        points: (latency, value) of each file.
        right: Largest latency of the plot.
    """
    front = pareto_front(points, lambda point: point[0], lambda point: point[1])
    return [*front, (right, front[-1][1])]


def losses(records: Sequence[Record]) -> str:
    """Bar plot with 95 % intervals: drop in top-1; without labels, changed predictions.

    Returns "" without data.
    """
    labelled = any(record.drop is not None for record in records)
    rows: list[tuple[Record, str, float, tuple[float, float]]] = []
    for record, title in zip(records, formatting.titles(records), strict=True):
        if labelled and record.drop is not None and record.drop_ci is not None:
            rows.append((record, title, record.drop, record.drop_ci))
        elif not labelled and record.agreement is not None and record.agreement_ci is not None:
            low, high = record.agreement_ci
            changed = 100 * (1 - record.agreement)
            rows.append((record, title, changed, (100 * (1 - high), 100 * (1 - low))))
    if not rows:
        return ""
    measure = formatting.measure_of(rows[0][0])
    label = f"drop in {measure}, points" if labelled else "changed predictions, %"

    def draw(axes: Any) -> None:
        for row, (record, _, value, (low, high)) in enumerate(rows):
            axes.barh(row, value, height=0.62, color=_colour(record), zorder=2)
            axes.plot([low, high], [row, row], color=COLOURS["ink"], linewidth=1.2, zorder=3)
        axes.axvline(0, color=COLOURS["ink"], linewidth=0.8, zorder=4)
        _name_rows(axes, [title for _, title, _, _ in rows])
        axes.set_xlabel(label)
        axes.grid(True, axis="x")

    values = "; ".join(
        f"{title} {formatting.signed(value)} ({formatting.points_interval(interval)})"
        for _, title, value, interval in rows
    )
    title = "Predictions changed against float32"
    if labelled:
        title = f"Drop in {measure} against float32"
    return plot("losses", title, f"{label}, with 95 % intervals: {values}.", _height(rows), draw)


def latencies(records: Sequence[Record]) -> str:
    """Every timed run as a dot and the median as a bar, one row per file; "" without times."""
    rows = [
        (record, title, sorted(record.samples_ms))
        for record, title in zip(records, formatting.titles(records), strict=True)
        if record.latency_ms is not None and record.samples_ms
    ]
    if not rows:
        return ""

    def draw(axes: Any) -> None:
        for row, (record, _, samples) in enumerate(rows):
            # Vertical jitter by multiples of the golden ratio: evenly spread and deterministic.
            spread = [(index * 0.618034) % 1 * 0.5 - 0.25 for index in range(len(samples))]
            axes.plot(
                samples,
                [row + offset for offset in spread],
                "o",
                color=_colour(record),
                markersize=2.4,
                markeredgewidth=0,
                alpha=0.45,
                zorder=2,
            )
            median = record.latency_ms.median if record.latency_ms else 0.0
            for colour, width in ((COLOURS["paper"], 4.0), (COLOURS["ink"], 1.8)):
                axes.plot([median] * 2, [row - 0.36, row + 0.36], color=colour, linewidth=width)
        _name_rows(axes, [title for _, title, _ in rows])
        axes.set_xlim(0, latency_limit(records))
        axes.set_xlabel("latency of one inference, ms")
        axes.grid(True, axis="x")

    medians = "; ".join(
        f"{title} {formatting.milliseconds(record.latency_ms.median)}"
        for record, title, _ in rows
        if record.latency_ms is not None
    )
    description = f"Latency of every timed run. Medians in ms: {medians}."
    return plot("latencies", "Latency of every timed run", description, _height(rows), draw)


def latency_limit(records: Sequence[Record]) -> float:
    """Upper limit of the latency plot's axis in ms; a few outliers may exceed it."""
    timed = [record.latency_ms for record in records if record.latency_ms is not None]
    return max(1.15 * max(latency.p90, 1.2 * latency.median) for latency in timed)


def _join(axes: Any, shown: Sequence[tuple[Record, float, float]]) -> None:
    """Draw a thin line through the files of each network and format.

    With several networks, each one's name is written beside its slowest file.
    """
    groups: dict[tuple[str, str], list[tuple[Record, float, float]]] = {}
    networks: dict[str, list[tuple[float, float]]] = {}
    for item in shown:
        groups.setdefault((item[0].variant, item[0].format), []).append(item)
        networks.setdefault(item[0].variant, []).append(item[1:])
    for group in groups.values():
        path = sorted((x, y) for _, x, y in group)
        axes.plot(*zip(*path, strict=True), color=_colour(group[0][0]), linewidth=0.9, alpha=0.5)
    for variant, positions in networks.items() if len(networks) > 1 else ():
        axes.annotate(
            without_surrogates(short_name(variant)),
            max(positions),
            xytext=(0, 8),
            textcoords="offset points",
            ha="center",
            color=COLOURS["muted"],
        )


def _height(rows: Sequence[object]) -> float:
    return 0.75 + _ROW * len(rows)


def _name_rows(axes: Any, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [without_surrogates(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)  # the first row is at the top
    axes.tick_params(axis="y", length=0, labelcolor=COLOURS["ink"])


def _colour(record: Record) -> str:
    return COLOURS.get(record.format, COLOURS["other"])
