"""Process scaling: evaluation throughput of several processes relative to one process.

The tasks are evaluation tasks of a sweep. Three executors take turns: one single-threaded process,
several single-threaded processes, and one process with a thread per core. The time includes
starting processes and opening files.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from edge_effnet.benchmarks.sweep.executors import Processes
from edge_effnet.benchmarks.sweep.sweep import PHOTOS
from edge_effnet.benchmarks.sweep.tasks import Accuracy
from edge_effnet.errors import EdgeEffNetError
from edge_effnet.progress import Progress


@dataclass(frozen=True)
class Speedup:
    """Seconds of each round with each of three executors.

    ``alone_s``: one single-threaded process. ``together_s``: ``workers`` single-threaded processes.
    ``threaded_s``: one process with a thread per core.
    """

    workers: int
    photos: int
    alone_s: tuple[float, ...]
    together_s: tuple[float, ...]
    threaded_s: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Speed-up of ``workers`` processes over one process; median over the rounds."""
        return _ratio(self.alone_s, self.together_s)

    @property
    def threads_ratio(self) -> float:
        """Speed-up of one process with all threads over one thread; median over the rounds."""
        return _ratio(self.alone_s, self.threaded_s)

    def as_json(self) -> dict[str, Any]:
        """The times and ratios as plain data."""
        return {**asdict(self), "ratio": self.ratio, "threads_ratio": self.threads_ratio}


def measure(
    files: Sequence[str],
    images: str,
    labels: str | None,
    photos: int,
    workers: int = 2,
    rounds: int = 3,
    progress: Progress | None = None,
) -> Speedup:
    """Evaluate ``files`` on the first ``photos`` photos of ``images`` with each kind of executor.

    Args:
        files: Model files.
        images: Folder of photos.
        labels: CSV with the labels of the photos, or None.
        photos: Number of photos to evaluate on.
        workers: Number of processes.
        rounds: Number of measurements with each kind of executor.
        progress: Called before each measurement.

    Returns:
        The times.

    Raises:
        EdgeEffNetError: A task failed.
    """
    executors = {"alone": Processes(1), "together": Processes(workers), "threaded": Processes(1)}
    for name in ("alone", "together"):
        executors[name].threads = 1
    times: dict[str, list[float]] = {name: [] for name in executors}
    for number in range(rounds):
        for index, (name, executor) in enumerate(executors.items()):
            if progress is not None:
                progress(name, number * len(executors) + index, rounds * len(executors))
            tasks = {
                str(start): Accuracy(
                    str(Path.cwd()),
                    tuple(files),
                    images,
                    labels,
                    None,
                    start,
                    min(start + PHOTOS, photos),
                    executor.threads,
                )
                for start in range(0, photos, PHOTOS)
            }
            start_s = perf_counter()
            for key, result in executor.run(tasks):
                if "failed" in result:
                    raise EdgeEffNetError(f"photos from {key}: {result['failed']}")
            times[name].append(round(perf_counter() - start_s, 3))
    return Speedup(
        workers, photos, tuple(times["alone"]), tuple(times["together"]), tuple(times["threaded"])
    )


def _ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    return round(statistics.median(a / b for a, b in zip(slow, fast, strict=True)), 3)
