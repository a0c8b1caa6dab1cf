"""Accuracy of the files that a run was exported to, for its page."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from edge_effnet import csv_cells
from edge_effnet.apps.training.run import Run
from edge_effnet.apps.training.samples import Sample, TrainingData
from edge_effnet.benchmarks.accuracy.evaluate import evaluate
from edge_effnet.benchmarks.latency import host
from edge_effnet.benchmarks.records import (
    Record,
    Results,
    read_results,
    timestamp,
    write_results,
)
from edge_effnet.errors import UsageError
from edge_effnet.files import PathLike
from edge_effnet.formats import size_bytes
from edge_effnet.progress import ProgressOption, reporting

#: Most photos that the files are measured on: a minute on a small board.
MOST_PHOTOS = 1000
#: Fields of a `Record` that depend on its reference.
_COMPARISON = (
    *("reference", "agreement", "agreement_ci", "sqnr_db"),
    *("drop", "drop_ci", "lost", "gained"),
)


def measure_exported(
    run: Run, files: Sequence[PathLike], *, threads: int = 0, progress: ProgressOption = None
) -> Results | None:
    """Measure exported files on photos that the training did not use, and store the results.

    The photos are the test photos, or the validation photos if there are none; of more than
    `MOST_PHOTOS`, evenly chosen ones. The results are written to `Run.results_file`. Records of
    earlier exports stay in it while their files are unchanged.

    Args:
        run: The run that was exported.
        files: Paths of its model files.
        threads: Compute threads; 0 is one per core.
        progress: Called with (stage, done, total).

    Returns:
        The results, those of ``files`` first; None if the run has neither test nor validation
        photos, or if its photos were moved away.

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
                names = (sample.name, data.class_names[sample.label])
                writer.writerow([*map(csv_cells.cell, names), sample.split])
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
    results = replace(results, records=(*results.records, *_unchanged(run, results)))
    write_results(results, run.results_file)
    return results


def _unchanged(run: Run, results: Results) -> list[Record]:
    """Earlier records of other files than those of ``results`` that are still true.

    The files were written after the run's network, and not since they were measured, on the same
    photos. A record whose reference has changed loses its comparison.
    """
    try:
        earlier = read_results(run.results_file)
        measured = datetime.fromisoformat(earlier.created).timestamp()
        trained = run.model_file.stat().st_mtime
    except (UsageError, ValueError, OSError):  # a missing or damaged file
        return []
    if _photos(earlier) != _photos(results):
        return []
    replaced = {os.path.realpath(record.file) for record in results.records}
    unchanged: dict[str, Record] = {}
    for record in earlier.records:
        with suppress(OSError):  # the file was removed
            written = os.stat(record.file).st_mtime
            same = trained <= written < measured + 1  # `created` is cut to seconds
            same &= size_bytes(record.file) == record.size_bytes
            if same and os.path.realpath(record.file) not in replaced:
                unchanged[record.key] = record
    return [
        record
        if record.reference in (None, *unchanged)
        else record.with_(**dict.fromkeys(_COMPARISON))
        for record in unchanged.values()
    ]


def _photos(results: Results) -> tuple[object, ...]:
    """What two results must have in common to stand in one table."""
    photos = results.photos
    if photos is None:
        return (results.classes,)
    return (results.classes, photos.folder, photos.count, photos.split, photos.broken)


def _readable(data: TrainingData) -> list[Sample]:
    """At most `MOST_PHOTOS` existing photos of the best split that has any."""
    for split in ("test", "val"):
        samples = [sample for sample in data.samples if sample.split == split]
        samples = [sample for sample in samples if sample.path.is_file()]
        if samples:
            count = min(len(samples), MOST_PHOTOS)
            return [samples[len(samples) * place // count] for place in range(count)]
    return []
