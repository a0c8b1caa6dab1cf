"""The measuring verbs: model files to accuracy, to latency, and to both with a report."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from edge_effnet.benchmarks.accuracy.evaluate import evaluate as evaluate_files
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
from edge_effnet.progress import ProgressOption, reporting

#: A model file, a folder of them, or several of both, such as `export` returns.
ModelFiles = PathLike | Iterable[PathLike]

RESULTS_NAME = "results.json"
REPORT_NAME = "report.html"
#: What `latency.measure` adds to the record of `accuracy.evaluate`.
_LATENCY_FIELDS = (
    *("latency_ms", "median_ci", "samples_ms", "rounds", "warmup_runs", "load_ms", "first_ms"),
    *("peak_rss_mb", "energy_mj", "end_to_end_ms", "operators", "no_profile", "resolution"),
    *("threads", "cores", "kernels", "error"),
)


def evaluate(
    files: ModelFiles,
    images: PathLike,
    labels: PathLike | None = None,
    *,
    split: str | None = None,
    reference: PathLike | None = None,
    threads: int | None = None,
    preprocess: Preprocess | None = None,
    progress: ProgressOption = None,
) -> Results:
    """Accuracy of ``files`` on labelled photos, and their agreement with the float file.

    Args:
        files: A model file, a folder of them, or several, such as `export` returns.
        images: A folder of photos; one subfolder per class where there are no ``labels``.
        labels: A CSV with the header file,label[,split].
        split: Use only the photos of this split.
        reference: The file to compare with; by default the first fp32 file of the same variant.
        threads: Compute threads; by default one per core.
        preprocess: Overrides the cards'; files without a card need it.
        progress: Called with (step, done, total). By default bars show in a notebook and on a
            terminal; False shows none.

    Returns:
        A `Results` with one `Record` per file: top1, top5 and agreement are fractions, drop is in
        percentage points of top-1.

    Raises:
        ImageError: No photo can be decoded.
        ModelFileError: A file cannot be opened.
        UsageError: Labels do not fit, or files name different classes.
        MissingExtra: The runtime of a file is not installed.

    Example:
        >>> evaluate(files, images="test/").records[0].top1  # doctest: +SKIP
    """
    paths = model_files(files)
    with reporting(progress) as report:
        found = evaluate_files(paths, images, labels, split, reference, threads, report, preprocess)
    return Results(
        host=host.describe(),
        records=found.records,
        photos=found.photo_set,
        classes=found.classes,
        created=timestamp(),
    )


def benchmark(
    files: ModelFiles,
    *,
    threads: int = 1,
    runs: int = 100,
    photo: PathLike | None = None,
    op_times: bool = False,
    progress: ProgressOption = None,
) -> Results:
    """Latency of ``files`` at batch 1, each in a process of its own, in interleaved rounds.

    Args:
        files: A model file, a folder of them, or several, such as `export` returns.
        threads: Compute threads.
        runs: Timed runs per file.
        photo: The photo whose way from disk to an answer is timed; by default a generated one of
            1280 x 960 pixels.
        op_times: Measure each operator's time too, where the runtime reports it.
        progress: Called with (step, done, total). By default bars show in a notebook and on a
            terminal; False shows none.

    Returns:
        A `Results` with one `Record` per file: ``latency_ms``, load time, peak memory.

    Raises:
        ImageError: The photo cannot be decoded.
        UsageError: A path is no model file, or more threads than cores are asked for.

    Example:
        >>> benchmark("out/", threads=2).records[0].latency_ms.median  # doctest: +SKIP
    """
    paths, machine, monitor = model_files(files), host.describe(), Monitor()
    with TemporaryDirectory() as folder, reporting(progress) as report:
        if photo is None:
            photo = write_photo(Path(folder) / "photo.jpg")
        load_image(photo)
        records = measure_latency(
            paths,
            threads,
            runs,
            progress=report,
            monitor=monitor,
            photo=photo,
            profile=op_times,
        )
    return Results(
        host=machine, records=records, conditions=monitor.conditions, created=timestamp()
    )


def compare(
    files: ModelFiles,
    images: PathLike,
    labels: PathLike | None = None,
    *,
    split: str | None = None,
    out: PathLike = "report",
    threads: int = 1,
    runs: int = 100,
    reference: PathLike | None = None,
    preprocess: Preprocess | None = None,
    op_times: bool = False,
    progress: ProgressOption = None,
) -> Results:
    """Accuracy and latency of ``files`` side by side, with results.json and report.html in ``out``.

    A file that cannot be timed keeps its accuracy, and its record has the error.

    Args:
        files: A model file, a folder of them, or several, such as `export` returns.
        images: A folder of photos, labelled or not.
        labels: A CSV with the header file,label[,split].
        split: Use only the photos of this split.
        out: The folder of the report, made if it is missing.
        threads: Compute threads while latency is measured; accuracy uses all cores.
        runs: Timed runs per file.
        reference: The file to compare with; by default the first fp32 file of the same variant.
        preprocess: Overrides the cards'; files without a card need it.
        op_times: Measure each operator's time too, where the runtime reports it.
        progress: Called with (step, done, total). By default bars show in a notebook and on a
            terminal; False shows none.

    Returns:
        A `Results` with one `Record` per file.

    Raises:
        MissingExtra: matplotlib or jinja2 is missing; raised before anything is measured.
        OutputError: The report cannot be written.
        ImageError, ModelFileError, UsageError: As `evaluate` and `benchmark` raise them.

    Example:
        >>> compare("out/", images="test/", out="report/")  # doctest: +SKIP
    """
    from edge_effnet.benchmarks.reporting import page

    for module in ("jinja2", "matplotlib"):
        require(module, "report")
    paths = model_files(files)
    folder = make_folder(out)
    machine = host.describe()  # before: its load must not be our own
    monitor = Monitor()
    with reporting(progress) as report:
        evaluation = evaluate_files(
            paths, images, labels, split, reference, progress=report, preprocess=preprocess
        )
        timings = measure_latency(
            paths,
            threads,
            runs,
            progress=report,
            monitor=monitor,
            photo=evaluation.photos[0].path,
            profile=op_times,
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


def model_files(files: ModelFiles) -> list[str]:
    """The paths of ``files``, each folder replaced by the model files in it, sorted by name.

    An .xml in a folder counts only with its .bin. Raises `UsageError` for a folder without any.
    """
    found: list[str] = []
    for path in [files] if isinstance(files, (str, os.PathLike)) else files:
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
