"""Repeatability: whether the median latencies of successive benchmark runs agree.

Each run starts new processes, warms up, and measures interleaved rounds. The median latency of each
file is compared with that of the previous run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edge_effnet.benchmarks.compare import benchmark
from edge_effnet.progress import Progress

#: Two runs agree if their medians differ by at most this fraction.
TOLERANCE = 0.05


@dataclass(frozen=True)
class Pair:
    """A file's median latencies in two successive runs, ms."""

    file: str
    first_ms: float
    second_ms: float

    @property
    def change(self) -> float:
        """Relative change from the first run to the second."""
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
    progress: Progress | None = None,
) -> tuple[list[Pair], tuple[str, ...]]:
    """Benchmark ``files`` several times.

    Args:
        files: Model files, or folders of model files.
        threads: Threads of each file's process.
        runs: Timed inferences of each file in one benchmark.
        times: Number of benchmarks.
        progress: Called during each benchmark.

    Returns:
        The pairs of successive medians, and warnings about the machine.
    """
    pairs: list[Pair] = []
    warnings: list[str] = []
    before: dict[str, float] = {}
    for _ in range(times):
        results = benchmark(files, threads=threads, runs=runs, progress=progress or False)
        medians = {r.file: r.latency_ms.median for r in results.records if r.latency_ms is not None}
        pairs += [Pair(file, before[file], medians[file]) for file in medians if file in before]
        warnings += results.conditions.warnings if results.conditions else ()
        before = medians
    return pairs, tuple(dict.fromkeys(warnings))


def as_json(pairs: Sequence[Pair]) -> dict[str, Any]:
    """The pairs as plain data, with the number of agreeing pairs."""
    rows = [
        {"file": p.file, "ms": [p.first_ms, p.second_ms], "change": round(p.change, 5)}
        for p in pairs
    ]
    return {"pairs": rows, "agreeing": sum(p.agrees for p in pairs), "of": len(pairs)}


def sheet(pairs: Sequence[Pair]) -> str:
    """One line per pair, and the number of agreeing pairs."""
    lines = [
        f"{pair.file}: {pair.first_ms:.2f} ms, {pair.second_ms:.2f} ms ({pair.change:+.1%})"
        for pair in pairs
    ]
    agreeing = sum(pair.agrees for pair in pairs)
    return "\n".join([*lines, f"{agreeing} of {len(pairs)} within {TOLERANCE:.0%}", ""])
