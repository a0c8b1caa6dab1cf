"""Measurements of model files: accuracy, latency, and both with a report."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edge_effnet.answers import THRESHOLD
from edge_effnet.benchmarks.accuracy.evaluate import evaluate as evaluate_files
from edge_effnet.benchmarks.command_line import command_line
from edge_effnet.benchmarks.devices import on_devices
from edge_effnet.benchmarks.latency import host
from edge_effnet.benchmarks.latency.conditions import Monitor
from edge_effnet.benchmarks.latency.generated_photo import write_photo
from edge_effnet.benchmarks.latency.measure import measure_latency
from edge_effnet.benchmarks.records import (
    RESULTS_NAME,
    Record,
    Results,
    timestamp,
    write_results,
)
from edge_effnet.benchmarks.reporting import formatting
from edge_effnet.errors import UsageError, require
from edge_effnet.files import PathLike, make_folder
from edge_effnet.formats import SUFFIXES, companion_path, is_runnable
from edge_effnet.notices import Notify, warn
from edge_effnet.preprocess import Preprocess, load_image
from edge_effnet.progress import ProgressOption, reporting
from edge_effnet.runtime.devices.device import CPU

#: A model file, a folder of them, or a sequence of both, for example the result of `export`.
ModelFiles = PathLike | Iterable[PathLike]

REPORT_NAME = "report.html"
#: Fields that `latency.measure` adds to the record of `accuracy.evaluate`.
_LATENCY_FIELDS = (
    *("latency_ms", "median_ci", "samples_ms", "rounds", "warmup_runs", "load_ms", "first_ms"),
    *("peak_rss_mb", "energy_mj", "end_to_end_ms", "operators", "no_profile", "resolution"),
    *("threads", "cores", "kernels", "error"),
)
#: Device names, as for `edge_effnet.open`.
Devices = str | Sequence[str]


def evaluate(
    files: ModelFiles,
    images: PathLike,
    labels: PathLike | None = None,
    *,
    split: str | None = None,
    reference: PathLike | None = None,
    threads: int | None = None,
    preprocess: Preprocess | None = None,
    threshold: float = THRESHOLD,
    devices: Devices = CPU,
    device_options: Mapping[str, str] | None = None,
    progress: ProgressOption = None,
    notify: Notify = warn,
) -> Results:
    """Accuracy of ``files`` on labelled photos, and their agreement with the float file.

    Args:
        files: A model file, a folder of model files, or a sequence of both, for example the result
            of `export`.
        images: Folder of photos; without ``labels``, one subfolder per class.
        labels: CSV with the header file,label[,split].
        split: Use the photos of this split only.
        reference: Model file that agreement and drop refer to; by default the first fp32 file of
            the same variant.
        threads: Compute threads; by default one per core.
        preprocess: Replaces the preprocessing of the files' cards. Required for files without a
            card.
        threshold: Probability from which a multi-label network predicts a label.
        devices: Name of a device or several, as for `edge_effnet.open`: each file is measured on
            each device that can take it, by default on the CPU. "auto" selects by measurement.
        device_options: Settings of the devices' drivers.
        progress: Called with (stage, done, total). By default bars show in a notebook and on a
            terminal; False shows none.
        notify: Called with notes on devices; by default a warning.

    Returns:
        A `Results` with one `Record` per file: top1, top5 and agreement are fractions, drop is in
        percentage points of top-1.

    Raises:
        ImageError: No photo can be decoded.
        ModelFileError: A file cannot be opened.
        UsageError: A label matches no class, or the files have different classes.
        DeviceError: A device is missing, or runs nothing of a file.
        MissingExtra: The runtime of a file is not installed.

    Example:
        >>> evaluate(files, images="test/").records[0].top1  # doctest: +SKIP
    """
    requested = _as_list(files)
    names = _names(devices)
    runs_on = on_devices(model_files(requested), names, device_options, notify)
    with reporting(progress) as report:
        evaluation = evaluate_files(
            runs_on,
            images,
            labels,
            split,
            reference,
            threads,
            report,
            preprocess,
            threshold,
            device_options,
        )
    return Results(
        host=host.describe(),
        records=evaluation.records,
        photos=evaluation.photo_set,
        classes=evaluation.classes,
        created=timestamp(),
        command=command_line(
            "evaluate",
            requested,
            images=images,
            labels=labels,
            split=split,
            reference=reference,
            threads=threads,
            threshold=None if threshold == THRESHOLD else threshold,
            preprocess=preprocess,
            **_device_words(names, device_options),
        ),
    )


def benchmark(
    files: ModelFiles,
    *,
    threads: int = 1,
    runs: int = 100,
    photo: PathLike | None = None,
    op_times: bool = False,
    devices: Devices = CPU,
    device_options: Mapping[str, str] | None = None,
    progress: ProgressOption = None,
    notify: Notify = warn,
) -> Results:
    """Latency of ``files`` at batch 1, each in its own process, in interleaved rounds.

    Args:
        files: A model file, a folder of model files, or a sequence of both, for example the result
            of `export`.
        threads: Compute threads.
        runs: Timed runs per file.
        photo: Photo for the end-to-end latency from disk to predictions; by default a generated
            one of 1280 x 960 pixels.
        op_times: Also measure the time of each operator, if the runtime reports it.
        devices: Name of a device or several, as for `edge_effnet.open`: each file is measured on
            each device that can take it, by default on the CPU. "auto" selects by measurement.
        device_options: Settings of the devices' drivers.
        progress: Called with (stage, done, total). By default bars show in a notebook and on a
            terminal; False shows none.
        notify: Called with notes on devices; by default a warning.

    Returns:
        A `Results` with one `Record` per file: ``latency_ms``, load time, peak memory.

    Raises:
        ImageError: The photo cannot be decoded.
        UsageError: A path is not a model file, or ``threads`` exceeds the number of cores.

    Example:
        >>> benchmark("out/", threads=2).records[0].latency_ms.median  # doctest: +SKIP
    """
    requested, requested_photo = _as_list(files), photo
    machine, monitor, names = host.describe(), Monitor(), _names(devices)
    runs_on = on_devices(model_files(requested), names, device_options, notify)
    with TemporaryDirectory() as folder, reporting(progress) as report:
        if photo is None:
            photo = write_photo(Path(folder) / "photo.jpg")
        load_image(photo)
        records = measure_latency(
            runs_on,
            threads,
            runs,
            progress=report,
            monitor=monitor,
            photo=photo,
            profile=op_times,
            device_options=device_options,
        )
    return Results(
        host=machine,
        records=records,
        conditions=monitor.conditions,
        created=timestamp(),
        command=command_line(
            "benchmark",
            requested,
            threads=threads,
            runs=runs,
            photo=requested_photo,
            op_times=op_times,
            **_device_words(names, device_options),
        ),
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
    threshold: float = THRESHOLD,
    op_times: bool = False,
    devices: Devices = CPU,
    device_options: Mapping[str, str] | None = None,
    progress: ProgressOption = None,
    notify: Notify = warn,
) -> Results:
    """Accuracy and latency of ``files`` side by side, with results.json and report.html in ``out``.

    If the latency measurement of a file fails, its record has the accuracy and the error message.

    Args:
        files: A model file, a folder of model files, or a sequence of both, for example the result
            of `export`.
        images: Folder of photos, labelled or not.
        labels: CSV with the header file,label[,split].
        split: Use the photos of this split only.
        out: Folder of the report; it is created if missing.
        threads: Compute threads of the latency measurement; accuracy uses all cores.
        runs: Timed runs per file.
        reference: Model file that agreement and drop refer to; by default the first fp32 file of
            the same variant.
        preprocess: Replaces the preprocessing of the files' cards. Required for files without a
            card.
        threshold: Probability from which a multi-label network predicts a label.
        op_times: Also measure the time of each operator, if the runtime reports it.
        devices: Name of a device or several, as for `edge_effnet.open`: each file is measured on
            each device that can take it, by default on the CPU. "auto" selects by measurement.
        device_options: Settings of the devices' drivers.
        progress: Called with (stage, done, total). By default bars show in a notebook and on a
            terminal; False shows none.
        notify: Called with notes on devices; by default a warning.

    Returns:
        A `Results` with one `Record` per file.

    Raises:
        MissingExtra: matplotlib or jinja2 is missing; raised before anything is measured.
        OutputError: The report cannot be written.
        ImageError, ModelFileError, UsageError: As in `evaluate` and `benchmark`.

    Example:
        >>> compare("out/", images="test/", out="report/")  # doctest: +SKIP
    """
    from edge_effnet.benchmarks.reporting import page

    for module in ("jinja2", "matplotlib"):
        require(module, "report")
    requested = _as_list(files)
    names = _names(devices)
    paths = model_files(requested)
    folder = make_folder(out)
    machine = host.describe()  # before the measurement adds load
    runs_on = on_devices(paths, names, device_options, notify)
    monitor = Monitor()
    with reporting(progress) as report:
        evaluation = evaluate_files(
            runs_on,
            images,
            labels,
            split,
            reference,
            progress=report,
            preprocess=preprocess,
            threshold=threshold,
            device_options=device_options,
        )
        timings = measure_latency(
            runs_on,
            threads,
            runs,
            progress=report,
            monitor=monitor,
            photo=evaluation.photos[0].path,
            profile=op_times,
            device_options=device_options,
        )
    records = [merged(*pair) for pair in zip(evaluation.records, timings, strict=True)]
    results = Results(
        host=machine,
        records=tuple(formatting.order(records)),
        photos=evaluation.photo_set,
        classes=evaluation.classes,
        conditions=monitor.conditions,
        created=timestamp(),
        command=command_line(
            "compare",
            requested,
            images=images,
            labels=labels,
            split=split,
            reference=reference,
            threads=threads,
            runs=runs,
            op_times=op_times,
            threshold=None if threshold == THRESHOLD else threshold,
            preprocess=preprocess,
            **_device_words(names, device_options),
            out=out,
        ),
    )
    page.write(results, folder / REPORT_NAME, evaluation)
    write_results(results, folder / RESULTS_NAME)
    return results


def _names(devices: Devices) -> list[str]:
    return [devices] if isinstance(devices, str) else [*devices] or [CPU]


def _device_words(names: list[str], options: Mapping[str, str] | None) -> dict[str, Any]:
    """The devices as options of the command line; empty for the CPU."""
    return {} if names == [CPU] else {"device": names, "device_option": options}


def _as_list(files: ModelFiles) -> list[PathLike]:
    """``files`` as a list of paths, as the user gave them."""
    return [files] if isinstance(files, (str, os.PathLike)) else [*files]


def model_files(files: ModelFiles) -> list[str]:
    """Paths of ``files``, each folder replaced by its model files, sorted by name.

    OpenVINO .xml files in a folder are skipped if their .bin is missing.

    Raises:
        UsageError: A folder has no model file.
    """
    paths: list[str] = []
    for path in _as_list(files):
        if not os.path.isdir(path):
            paths.append(os.fspath(path))
            continue
        inside = [
            file
            for file in sorted(Path(path).iterdir())
            if is_runnable(file) and ((beside := companion_path(file)) is None or beside.is_file())
        ]
        if not inside:
            raise UsageError(
                f"the folder {path} holds no model file ({', '.join(SUFFIXES)}); give a folder of "
                "exported files"
            )
        paths += [str(file) for file in inside]
    return paths


def merged(accuracy: Record, timing: Record) -> Record:
    """One file's record with its accuracy and its latency."""
    return accuracy.with_(**{name: getattr(timing, name) for name in _LATENCY_FIELDS})
