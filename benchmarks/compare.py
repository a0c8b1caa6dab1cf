"""Model files + photos -> accuracy and latency side by side: results.json and report.html."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from edge_effnet.benchmarks.accuracy.evaluate import evaluate
from edge_effnet.benchmarks.latency import host
from edge_effnet.benchmarks.latency.conditions import Monitor
from edge_effnet.benchmarks.latency.generated_photo import write_photo
from edge_effnet.benchmarks.latency.measure import measure_latency
from edge_effnet.benchmarks.records import Record, Results, timestamp, write_results
from edge_effnet.benchmarks.reporting import formatting
from edge_effnet.errors import UsageError, require
from edge_effnet.files import PathLike, make_folder
from edge_effnet.formats import SUFFIXES, companion_path, format_of
from edge_effnet.preprocess import Preprocess, load_image
from edge_effnet.progress import Progress

RESULTS_NAME = "results.json"
REPORT_NAME = "report.html"
#: What `latency.measure` adds to the record of `accuracy.evaluate`.
_LATENCY_FIELDS = (
    *("latency_ms", "median_ci", "samples_ms", "rounds", "warmup_runs", "load_ms", "first_ms"),
    *("peak_rss_mb", "energy_mj", "end_to_end_ms", "operators", "no_profile", "resolution"),
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
    profile: bool = False,
) -> Results:
    """Measure every file (a folder stands for the model files in it) and write the report.

    Accuracy is as in `accuracy.evaluate`, on all cores; latency as in `latency.measure`, on
    ``threads`` cores, with each operator's time if ``profile``. ``out`` gets results.json and
    report.html. A file that cannot be timed keeps its accuracy and says why. Raises `MissingExtra`
    without matplotlib and jinja2, before anything is measured, and whatever the two raise.
    """
    from edge_effnet.benchmarks.reporting import page

    for module in ("jinja2", "matplotlib"):
        require(module, "report")
    files = model_files(paths)
    folder = make_folder(out)
    machine = host.describe()  # before: its load must not be our own
    evaluation = evaluate(
        files, images, labels, split, reference, progress=progress, preprocess=preprocess
    )
    monitor = Monitor()
    timings = measure_latency(
        files,
        threads,
        runs,
        progress=progress,
        monitor=monitor,
        photo=evaluation.photos[0].path,
        profile=profile,
    )
    records = [merged(*pair) for pair in zip(evaluation.records, timings, strict=True)]
    found = Results(
        host=machine,
        records=tuple(formatting.order(records)),
        photos=evaluation.photo_set,
        classes=evaluation.classes,
        conditions=monitor.conditions,
        created=timestamp(),
    )
    page.write(found, folder / REPORT_NAME, evaluation)
    write_results(found, folder / RESULTS_NAME)
    return found


def benchmark(
    paths: Sequence[PathLike],
    threads: int = 1,
    runs: int = 100,
    *,
    photo: PathLike | None = None,
    profile: bool = False,
    progress: Progress | None = None,
) -> Results:
    """Measure the latency of every file (a folder stands for the model files in it).

    ``photo`` is the one whose way to an answer is timed, by default a made-up one of 1280 x 960
    pixels. Raises `ImageError` if it cannot be decoded, and what `latency.measure` raises.
    """
    machine, monitor = host.describe(), Monitor()
    with TemporaryDirectory() as folder:
        if photo is None:
            photo = write_photo(Path(folder) / "photo.jpg")
        load_image(photo)
        records = measure_latency(
            model_files(paths),
            threads,
            runs,
            progress=progress,
            monitor=monitor,
            photo=photo,
            profile=profile,
        )
    return Results(
        host=machine, records=records, conditions=monitor.conditions, created=timestamp()
    )


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
            if format_of(file) and ((beside := companion_path(file)) is None or beside.is_file())
        ]
        if not inside:
            raise UsageError(f"the folder {path} holds no model file ({', '.join(SUFFIXES)})")
        found += [str(file) for file in inside]
    return found


def merged(accuracy: Record, timing: Record) -> Record:
    """One file's record with both what it answers and how long it takes."""
    return accuracy.with_(**{name: getattr(timing, name) for name in _LATENCY_FIELDS})
