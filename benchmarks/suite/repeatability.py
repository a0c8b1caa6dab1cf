"""Whether two runs of `benchmark` agree.

    python -m edge_effnet.benchmarks.suite.repeatability FILES

Every run is a whole one: new processes, warm-up, interleaved rounds. Runs are compared with the
one before, by the median of each file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import click

from edge_effnet.benchmarks.compare import benchmark
from edge_effnet.commands.options import json_option, model_files_argument
from edge_effnet.commands.terminal import Progress, note, progress, write, write_json

#: Share of the median within which two runs agree.
TOLERANCE = 0.05


@dataclass(frozen=True)
class Pair:
    """A file's medians in two runs that followed each other, ms."""

    file: str
    first_ms: float
    second_ms: float

    @property
    def change(self) -> float:
        """The second against the first, as a share of it."""
        return self.second_ms / self.first_ms - 1

    @property
    def agrees(self) -> bool:
        """Whether the change is within `TOLERANCE`."""
        return abs(self.change) <= TOLERANCE


def measure(
    files: Sequence[str],
    threads: int = 1,
    runs: int = 100,
    times: int = 2,
    report: Progress | None = None,
) -> tuple[list[Pair], tuple[str, ...]]:
    """The pairs of ``times`` benchmarks of ``files``, and the warnings about the machine."""
    pairs: list[Pair] = []
    warnings: list[str] = []
    before: dict[str, float] = {}
    for _ in range(times):
        found = benchmark(files, threads, runs, progress=report)
        now = {r.file: r.latency_ms.median for r in found.records if r.latency_ms is not None}
        pairs += [Pair(file, before[file], now[file]) for file in now if file in before]
        warnings += found.conditions.warnings if found.conditions else ()
        before = now
    return pairs, tuple(dict.fromkeys(warnings))


@click.command()
@model_files_argument()
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--runs", type=click.IntRange(1), default=100, show_default=True)
@click.option("--times", type=click.IntRange(2), default=2, show_default=True)
@json_option
def main(files: tuple[str, ...], threads: int, runs: int, times: int, json_to: str | None) -> None:
    """Benchmark FILES several times and say how often the medians agree within 5 %."""
    with progress() as report:
        pairs, warnings = measure(files, threads, runs, times, report)
    for warning in warnings:
        note(warning)
    agreeing = sum(pair.agrees for pair in pairs)
    if json_to != "-":
        lines = [
            f"{pair.file}: {pair.first_ms:.2f} ms, {pair.second_ms:.2f} ms ({pair.change:+.1%})"
            for pair in pairs
        ]
        write("\n".join([*lines, f"{agreeing} of {len(pairs)} within {TOLERANCE:.0%}", ""]))
    if json_to:
        rows = [
            {"file": p.file, "ms": [p.first_ms, p.second_ms], "change": round(p.change, 5)}
            for p in pairs
        ]
        write_json({"pairs": rows, "agreeing": agreeing, "of": len(pairs)}, json_to)


if __name__ == "__main__":
    main()
