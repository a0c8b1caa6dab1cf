"""Model files + photos -> accuracy and latency side by side: results.json and report.html."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from edge_effnet.benchmarks import host, latency, results, wording
from edge_effnet.benchmarks.accuracy import PathLike, Progress, evaluate
from edge_effnet.benchmarks.results import Record, Results
from edge_effnet.errors import UsageError, require
from edge_effnet.files import make_folder
from edge_effnet.preprocess import Preprocess
from edge_effnet.runtime.opening import SUFFIXES

RESULTS_NAME = "results.json"
REPORT_NAME = "report.html"
#: What `latency.measure` adds to the record of `accuracy.evaluate`.
_LATENCY_FIELDS = (
    *("latency_ms", "samples_ms", "rounds", "warmup_runs", "load_ms", "first_ms", "peak_rss_mb"),
    *("threads", "cores", "kernels", "error"),
)


def compare(
    paths: Sequence[PathLike],
    images: PathLike,
    labels: PathLike | None = None,
    split: str | None = None,
    out: PathLike = "report",
    threads: int = 1,
    runs: int = 100,
    reference: PathLike | None = None,
    progress: Progress | None = None,
    preprocess: Preprocess | None = None,
) -> Results:
    """Measure every file (a folder stands for the model files in it) and write the report.

    Accuracy is as in `accuracy.evaluate`, on all cores; latency as in `latency.measure`, on
    ``threads`` cores. ``out`` gets results.json and report.html. A file that cannot be timed keeps
    its accuracy and says why. Raises `MissingExtra` without matplotlib and jinja2, before anything
    is measured, and whatever the two raise.
    """
    from edge_effnet.benchmarks import report

    for module in ("jinja2", "matplotlib"):
        require(module, "report")
    files = model_files(paths)
    folder = make_folder(out)
    machine = host.describe()  # before: its load must not be our own
    evaluation = evaluate(
        files, images, labels, split, reference, progress=progress, preprocess=preprocess
    )
    timings = latency.measure(files, threads, runs, progress=progress)
    records = [_merged(*pair) for pair in zip(evaluation.records, timings, strict=True)]
    found = Results(
        host=machine,
        records=tuple(wording.order(records)),
        photos=evaluation.photo_set,
        created=now(),
    )
    report.write(found, folder / REPORT_NAME, evaluation)
    results.write(found, folder / RESULTS_NAME)
    return found


def model_files(paths: Sequence[PathLike]) -> list[str]:
    """The paths, each folder replaced by the model files in it, sorted by name.

    An .xml in a folder counts only with its .bin. Raises `UsageError` for a folder without any.
    """
    found: list[str] = []
    for path in paths:
        if not os.path.isdir(path):
            found.append(os.fspath(path))
            continue
        inside = [
            file
            for file in sorted(Path(path).iterdir())
            if file.suffix.lower() in SUFFIXES
            and (file.suffix.lower() != ".xml" or file.with_suffix(".bin").is_file())
        ]
        if not inside:
            raise UsageError(f"the folder {path} holds no model file ({', '.join(SUFFIXES)})")
        found += [str(file) for file in inside]
    return found


def now() -> str:
    """The time in UTC to the second, ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _merged(accuracy: Record, timing: Record) -> Record:
    return accuracy.with_(**{name: getattr(timing, name) for name in _LATENCY_FIELDS})
