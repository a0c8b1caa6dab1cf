"""Terminal table of results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from edge_effnet.benchmarks.records import Record, Results
from edge_effnet.benchmarks.reporting import formatting
from edge_effnet.printable import line

if TYPE_CHECKING:
    from rich.table import Table

#: A column: header, function (record -> value), function (record -> interval below the value).
_Column = tuple[str, Callable[[Record], str], Callable[[Record], str]]


#: Terminal width in characters for all columns. Narrower tables omit p90 and the intervals of top-1
#: and top-5.
_WIDE = 100


_ONLY_WIDE = ("p90\nms", "end to\nend ms", "energy\nmJ")
#: Columns that a table wider than the terminal omits, in this order: cells are never cut.
_DISPENSABLE = ("p99\nms", "top-5\n%", "peak\nMiB", "F1\n%")


def render(results: Results, title: str | None = None, width: int = _WIDE) -> Table:
    """Table with one row per file and 95 % intervals; empty columns are omitted.

    Args:
        results: The results.
        title: Title of the table.
        width: Width of the terminal in characters, at least 80.
    """
    from rich.console import Console
    from rich.measure import Measurement

    console = Console(width=10 * width)
    for count in range(len(_DISPENSABLE) + 1):
        table = _table(results, title, width, _DISPENSABLE[:count])
        if Measurement.get(console, console.options, table).minimum <= width:
            break
    return table


def _table(results: Results, title: str | None, width: int, omitted: Sequence[str]) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    records = formatting.order(results.records)
    table = Table(title=title and escape(title), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("file", overflow="fold", min_width=9)
    columns = [
        column
        for column in _COLUMNS
        if _is_filled(column, records)
        and column[0] not in omitted
        and (width >= _WIDE or column[0] not in _ONLY_WIDE)
    ]
    for header, _, _ in columns:
        table.add_column(header, justify="right", no_wrap=True)
    without_interval = () if width >= _WIDE else ("top-1\n%", "top-5\n%", "mAP\n%")
    for name, record in zip(formatting.titles(records), records, strict=True):
        first = Text(name)
        if record.is_reference:
            first.append("\nreference", style="dim")
        if note := formatting.device_note(record):
            first.append(f"\n{note}", style="dim")
        if record.error:
            first.append(f"\n{record.error}", style="red")
        cells = [first]
        for header, value, interval in columns:
            cell = Text(value(record))
            if interval(record) and header not in without_interval:
                cell.append(f"\n{interval(record)}", style="dim")
            cells.append(cell)
        table.add_row(*cells)
    return table


_OPERATORS = 8  # operators listed per file, slowest first


def profiles(records: Sequence[Record]) -> str:
    """The slowest operators of each profiled file as lines of text; empty without profiles."""
    lines = []
    for record, title in zip(records, formatting.titles(records), strict=True):
        if record.no_profile:
            lines.append(f"{title}: no profile. {record.no_profile}")
        if not record.operators:
            continue
        total = sum(operator.ms for operator in record.operators) or 1.0
        slowest = sorted(record.operators, key=lambda operator: -operator.ms)[:_OPERATORS]
        lines.append(f"{title}: {len(record.operators)} operators, {total:.3f} ms in all")
        for operator in slowest:
            kernel = f" ({operator.kernel})" if operator.kernel else ""
            lines.append(
                f"  {operator.ms:7.3f} ms {operator.ms / total:5.1%}  {operator.layer}  "
                f"{operator.kind}{kernel}"
            )
    return "".join(f"{line(text)}\n" for text in lines)


def _is_filled(column: _Column, records: Sequence[Record]) -> bool:
    return any(column[1](record) != formatting.NONE for record in records)


def _nothing(record: Record) -> str:
    return ""


def _of_latency(quantile: str) -> Callable[[Record], str]:
    def show(record: Record) -> str:
        latency = record.latency_ms
        return formatting.milliseconds(None if latency is None else getattr(latency, quantile))

    return show


def _tight(text: str) -> str:
    """An interval without spaces, and with 100 for 100.0, for a narrow column."""
    return text.replace(" – ", "–").replace(" to ", "…").replace("100.0", "100")  # noqa: RUF001


def _spread(record: Record) -> str:
    """The interval of the median latency."""
    if record.median_ci is None:
        return ""
    low, high = map(formatting.milliseconds, record.median_ci)
    return f"{low}–{high}"  # noqa: RUF001  (an en dash is meant)


_COLUMNS: tuple[_Column, ...] = (
    ("on device\n%", formatting.placement, _nothing),
    (
        "top-1\n%",
        lambda record: formatting.percent(record.top1),
        lambda record: _tight(formatting.percent_interval(record.top1_ci)),
    ),
    (
        "top-5\n%",
        lambda record: formatting.percent(record.top5),
        lambda record: _tight(formatting.percent_interval(record.top5_ci)),
    ),
    (
        "mAP\n%",
        lambda record: formatting.percent(record.mean_ap),
        lambda record: _tight(formatting.percent_interval(record.mean_ap_ci)),
    ),
    ("F1\n%", lambda record: formatting.percent(record.f1), _nothing),
    (
        "agree-\nment %",
        lambda record: formatting.percent(record.agreement),
        lambda record: _tight(formatting.percent_interval(record.agreement_ci)),
    ),
    (
        "drop\npoints",
        lambda record: formatting.points(record.drop),
        lambda record: _tight(formatting.points_interval(record.drop_ci)),
    ),
    ("SQNR\ndB", lambda record: formatting.decibels(record.sqnr_db), _nothing),
    ("size\nMB", lambda record: formatting.megabytes(record.size_bytes), _nothing),
    ("median\nms", _of_latency("median"), _spread),
    ("p90\nms", _of_latency("p90"), _nothing),
    ("p99\nms", _of_latency("p99"), _nothing),
    (
        "end to\nend ms",
        lambda record: formatting.milliseconds(
            None if record.end_to_end_ms is None else record.end_to_end_ms.total
        ),
        _nothing,
    ),
    ("energy\nmJ", lambda record: formatting.milliseconds(record.energy_mj), _nothing),
    (
        "peak\nMiB",
        lambda record: (
            formatting.NONE if record.peak_rss_mb is None else f"{record.peak_rss_mb:.0f}"
        ),
        _nothing,
    ),
)
