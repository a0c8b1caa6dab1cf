"""Two processes judge photos faster than one: ``python -m edge_effnet.benchmarks.suite.scaling``.

The steps are those of a sweep. One process of one thread, as many processes, and one process that
has all the cores' threads take turns; a process's start and the opening of the files count.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import click

from edge_effnet.benchmarks.sweep.executors import Processes
from edge_effnet.benchmarks.sweep.sweep import PHOTOS
from edge_effnet.benchmarks.sweep.tasks import Accuracy
from edge_effnet.commands.options import json_option, model_files_argument
from edge_effnet.commands.terminal import Progress, note, progress, write, write_json
from edge_effnet.errors import EdgeEffNetError


@dataclass(frozen=True)
class Speedup:
    """Seconds of each round, one process's of one thread, ``workers``', one's of all threads.

    ``ratio`` is how many times as fast the workers are (median over the rounds), ``threads_ratio``
    how many times as fast one process is with all threads.
    """

    workers: int
    photos: int
    alone_s: tuple[float, ...]
    together_s: tuple[float, ...]
    threaded_s: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """One process's time by the workers'."""
        return _ratio(self.alone_s, self.together_s)

    @property
    def threads_ratio(self) -> float:
        """One thread's time by that of all threads in one process."""
        return _ratio(self.alone_s, self.threaded_s)


def measure(
    files: Sequence[str],
    images: str,
    labels: str | None,
    photos: int,
    workers: int = 2,
    rounds: int = 3,
    report: Progress | None = None,
) -> Speedup:
    """Judge ``files`` on ``photos`` of ``images`` in turns; raises `EdgeEffNetError`."""
    pools = {"alone": Processes(1), "together": Processes(workers), "threaded": Processes(1)}
    for name in ("alone", "together"):
        pools[name].threads = 1
    times: dict[str, list[float]] = {name: [] for name in pools}
    for number in range(rounds):
        for place, (name, pool) in enumerate(pools.items()):
            if report is not None:
                report(name, number * len(pools) + place, rounds * len(pools))
            steps = {
                str(start): Accuracy(
                    str(Path.cwd()),
                    tuple(files),
                    images,
                    labels,
                    None,
                    start,
                    min(start + PHOTOS, photos),
                    pool.threads,
                )
                for start in range(0, photos, PHOTOS)
            }
            began = perf_counter()
            for key, result in pool.run(steps):
                if "failed" in result:
                    raise EdgeEffNetError(f"photos from {key}: {result['failed']}")
            times[name].append(round(perf_counter() - began, 3))
    return Speedup(
        workers, photos, tuple(times["alone"]), tuple(times["together"]), tuple(times["threaded"])
    )


def _ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    return round(statistics.median(a / b for a, b in zip(slow, fast, strict=True)), 3)


@click.command()
@model_files_argument()
@click.option("--images", required=True, metavar="DIR")
@click.option("--labels", metavar="CSV")
@click.option("--photos", type=click.IntRange(1), default=400, show_default=True)
@click.option("--workers", type=click.IntRange(2), default=2, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@json_option
def main(
    files: tuple[str, ...],
    images: str,
    labels: str | None,
    photos: int,
    workers: int,
    rounds: int,
    json_to: str | None,
) -> None:
    """Measure how much faster processes judge FILES together than one alone."""
    with progress() as report:
        found = measure(files, images, labels, photos, workers, rounds, report)
    note("a busy machine has fewer cores to share than it says: run this alone")
    if json_to != "-":
        write(
            f"{workers} processes of one thread: {found.ratio:.2f} times as fast as one "
            f"({photos} photos, {len(files)} file(s), {rounds} round(s))\n"
            f"one process of all threads: {found.threads_ratio:.2f} times as fast as one thread\n"
        )
    if json_to:
        more = {"ratio": found.ratio, "threads_ratio": found.threads_ratio}
        write_json({**asdict(found), **more}, json_to)


if __name__ == "__main__":
    main()
