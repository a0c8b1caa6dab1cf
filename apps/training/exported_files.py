"""Accuracy of the files that a run was exported to, for its page."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edge_effnet.apps.training.run import Run
from edge_effnet.apps.training.samples import Sample, TrainingData
from edge_effnet.benchmarks.accuracy.evaluate import evaluate
from edge_effnet.benchmarks.latency import host
from edge_effnet.benchmarks.records import Results, timestamp, write_results
from edge_effnet.files import PathLike
from edge_effnet.progress import ProgressOption, reporting

#: Most photos that the files are measured on: a minute on a small board.
MOST_PHOTOS = 1000


def measure_exported(
    run: Run, files: Sequence[PathLike], *, threads: int = 0, progress: ProgressOption = None
) -> Results | None:
    """Measure exported files on photos that the training did not use, and store the results.

    The photos are the test photos, or the validation photos if there are none; of more than
    `MOST_PHOTOS`, evenly chosen ones. The results are written to `Run.results_file`.

    Args:
        run: The run that was exported.
        files: Paths of its model files.
        threads: Compute threads; 0 is one per core.
        progress: Called with (stage, done, total).

    Returns:
        The results; None if the run has neither test nor validation photos, or if its photos were
        moved away.

    Raises:
        ModelFileError: A file cannot be opened.
        OutputError: The results cannot be written.
    """
    data = run.data()
    samples = _readable(data)
    if not samples:
        return None
    with tempfile.TemporaryDirectory() as folder, reporting(progress) as report:
        table = Path(folder) / "labels.csv"
        with table.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(("file", "label", "split"))
            for sample in samples:
                writer.writerow((sample.name, data.class_names[sample.label], sample.split))
        measured = evaluate(
            files,
            data.folder,
            table,
            split=samples[0].split,
            threads=threads or None,
            progress=report,
        )
    results = Results(
        host=host.describe(),
        records=measured.records,
        photos=measured.photo_set,
        classes=measured.classes,
        created=timestamp(),
    )
    write_results(results, run.results_file)
    return results


def _readable(data: TrainingData) -> list[Sample]:
    """At most `MOST_PHOTOS` existing photos of the best split that has any."""
    for split in ("test", "val"):
        samples = [sample for sample in data.samples if sample.split == split]
        samples = [sample for sample in samples if sample.path.is_file()]
        if samples:
            count = min(len(samples), MOST_PHOTOS)
            return [samples[len(samples) * place // count] for place in range(count)]
    return []
