"""Sweep over variants, formats and precisions: files, accuracy, latency, report; resumable.

Exports and evaluations run in parallel processes or on a cluster. Latency is measured afterwards,
with no other task running, on this machine or a device. Each completed task is a line of the
journal in the output folder. The same command therefore resumes a killed sweep. A command with
other variants or settings runs only the tasks that depend on the difference (`fingerprints`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from edge_effnet import pairs, temporary
from edge_effnet.benchmarks import compare
from edge_effnet.benchmarks.accuracy import dataset, evaluate
from edge_effnet.benchmarks.accuracy.evaluate import Evaluation
from edge_effnet.benchmarks.accuracy.predictions import PredictionShard
from edge_effnet.benchmarks.latency import conditions, host
from edge_effnet.benchmarks.records import (
    RESULTS_NAME,
    Record,
    Results,
    timestamp,
    write_results,
)
from edge_effnet.benchmarks.reporting import formatting
from edge_effnet.benchmarks.sweep import checks
from edge_effnet.benchmarks.sweep.executors import Executor
from edge_effnet.benchmarks.sweep.fingerprints import Fingerprints, file_digest
from edge_effnet.benchmarks.sweep.journal import Journal
from edge_effnet.benchmarks.sweep.plan import MODELS_NAME, Cell, Plan
from edge_effnet.benchmarks.sweep.tasks import Accuracy, Export, ExportResult, Task
from edge_effnet.card import ModelInfo
from edge_effnet.decoding import decode
from edge_effnet.errors import ModelFileError, UsageError
from edge_effnet.progress import Progress

JOURNAL_NAME = "journal.jsonl"
#: Photos per task: a few seconds of work. A killed sweep loses at most one task per process.
PHOTOS = 64

Measure = Callable[[Sequence[str]], Results]


@dataclass(frozen=True)
class Outcome:
    """Result of a sweep.

    Attributes:
        results: The measurements.
        failures: (task, error) of the failed tasks.
        tasks: Number of tasks completed in this run.
        before: Number of tasks that were already in the journal.
        work_s: Total seconds of the tasks completed in this run.
        bookkeeping_s: Seconds that this process spent outside the tasks.
    """

    results: Results
    failures: tuple[tuple[str, str], ...]
    tasks: int
    before: int
    work_s: float
    bookkeeping_s: float


def sweep(
    plan: Plan,
    out: str | os.PathLike[str],
    executor: Executor,
    measure: Measure,
    *,
    timing: Mapping[str, Any],
    networks: Mapping[str, ModelInfo] | None = None,
    progress: Progress | None = None,
    notify: Callable[[str], None] | None = None,
) -> Outcome:
    """Run the remaining tasks of ``plan``; write the journal, models, results.json and report.html.

    Args:
        plan: Networks, formats, precisions and photos.
        out: Output folder.
        executor: Runs exports and evaluations.
        measure: Measures the latency of one network's files.
        timing: Settings of ``measure``: times of other settings are measured again.
        networks: Result of `checks.check`, if it was called before.
        progress: Called with (stage, done, total).
        notify: Called with notes of the exports.

    Returns:
        The outcome. It lists failed tasks; the next call runs them again.

    Raises:
        UsageError: The plan is invalid; all problems are listed, and nothing was exported.
        MissingExtra: A package of the report, or of a format, is not installed.
        DeviceError: The connection to the cluster was lost; completed tasks are kept.
    """
    from edge_effnet.benchmarks.reporting import page

    folder = Path(out)
    if networks is None:
        problems = checks.Problems()
        networks = checks.check(plan, folder, problems)
        problems.raise_all()
    keys = Fingerprints(plan, networks, timing)
    with Journal(folder / JOURNAL_NAME) as journal:
        run = _Run(
            plan, folder, journal, executor, keys, progress or (lambda stage, done, total: None)
        )
        run.command = plan.command_line(out, timing)
        _clear(folder)
        try:
            run.export(notify or (lambda text: None))
            _clear(folder)
            run.predict()
            run.time(measure)
        except BaseException:
            run.write()  # save the results so far
            raise
        results, evaluation = run.write()
        page.write(results, folder / compare.REPORT_NAME, evaluation)
        return run.outcome(results)


def _clear(folder: Path) -> None:
    """Remove partly written files of killed processes."""
    for each in (folder, *(path for path in folder.glob(f"{MODELS_NAME}/**") if path.is_dir())):
        pairs.finish(each)
        temporary.remove_leftovers(each)


class _Run:
    """One call of `sweep`."""

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        journal: Journal,
        executor: Executor,
        keys: Fingerprints,
        progress: Progress,
    ) -> None:
        self.plan, self.folder, self.journal, self.executor = plan, folder, journal, executor
        self.keys, self.progress = keys, progress
        self.machine = host.describe()  # before the sweep adds load
        self.command = ""
        self.failures: dict[str, str] = {}
        self.tasks = self.before = 0
        self.work_s = self.waited_s = 0.0
        self._evaluations: dict[str, Evaluation] = {}
        self._unchanged: dict[str, bool] = {}  # by cell; emptied after an export
        self.start = perf_counter()

    def export(self, notify: Callable[[str], None]) -> None:
        """Export every cell."""
        plan = self.plan
        self._execute(
            "export",
            {
                self.keys.export(cell): Export(
                    cell.variant,
                    _absolute(cell.weights),
                    cell.side,
                    plan.formats,
                    plan.precisions,
                    plan.calibration and os.path.abspath(plan.calibration),
                    str(self.folder.absolute() / cell.folder),
                    self.executor.threads,
                    plan.class_names and os.path.abspath(plan.class_names),
                    plan.output_activation,
                )
                for cell in plan.cells
            },
            again=[self.keys.export(cell) for cell in plan.cells if not self._on_disk(cell)],
        )
        self._unchanged.clear()
        for cell in self._cells():
            for note in self._exported(cell).notes:
                notify(f"{cell.name}: {note}")

    def predict(self) -> None:
        """Compute the predictions of every file."""
        if self.plan.images is None:
            return
        self._execute(
            "accuracy", {key: s for cell in self._cells() for key, s in self._parts(cell)}
        )

    def time(self, measure: Measure) -> None:
        """Measure the latency cell by cell; the files of a cell are interleaved."""
        cells = self._cells()
        for number, cell in enumerate(cells):
            key = self.keys.latency(cell, self._exported(cell).files)
            if key in self.journal.done:
                self.before += 1
            else:
                start = perf_counter()
                try:
                    results = measure([str(self.folder / name) for name in self._files(cell)])
                except ModelFileError as error:  # a lost device ends the sweep
                    self.failures[f"latency of {cell.name}"] = str(error)
                    continue
                finally:
                    seconds = perf_counter() - start
                    self.waited_s += seconds
                    self.work_s += seconds
                records = tuple(_renamed(r, self._within) for r in results.records)
                self.journal.append(key, json.loads(replace(results, records=records).to_json()))
                self.tasks += 1
                self.write()
            self.progress("measure latency", number + 1, len(cells))

    def write(self) -> tuple[Results, Evaluation | None]:
        """Write results.json from the completed tasks."""
        evaluations, timings = [], []
        records: list[Record] = []
        for cell in self._cells():
            evaluation = self._evaluation(cell)
            timing = self.journal.done.get(self.keys.latency(cell, self._exported(cell).files))
            timed = decode(Results, timing, *self._source) if timing else None
            timed_records = (
                {} if timed is None else {record.key: record for record in timed.records}
            )
            if timed is not None:
                timings.append(timed)
            if evaluation is not None:
                merged = tuple(
                    compare.merged(r, timed_records[r.key]) if r.key in timed_records else r
                    for r in evaluation.records
                )
                timed_records.update({record.key: record for record in merged})
                evaluations.append(evaluation)
            records += [_renamed(record, self._beside) for record in timed_records.values()]
        together = evaluate.together(evaluations) if evaluations else None
        if together is not None:
            named = tuple(_renamed(record, self._beside) for record in together.records)
            together = replace(together, records=named)
        done = Results(
            host=timings[0].host if timings else self.machine,
            records=tuple(formatting.order(records)),
            photos=evaluations[0].photo_set if evaluations else None,
            classes=_shared([evaluation.classes for evaluation in evaluations]),
            conditions=conditions.together([t.conditions for t in timings if t.conditions]),
            created=timestamp(),
            command=self.command,
        )
        write_results(done, self.folder / RESULTS_NAME)
        return done, together

    def outcome(self, results: Results) -> Outcome:
        """`Outcome` of this call of `sweep`."""
        return Outcome(
            results=results,
            failures=tuple(self.failures.items()),
            tasks=self.tasks,
            before=self.before,
            work_s=round(self.work_s, 3),
            bookkeeping_s=round(perf_counter() - self.start - self.waited_s, 3),
        )

    def _execute(self, stage: str, tasks: Mapping[str, Task], again: Sequence[str] = ()) -> None:
        """Run the ``tasks`` that are not yet in the journal, and those to run ``again``."""
        pending = {
            key: step for key, step in tasks.items() if key in again or key not in self.journal.done
        }
        done = len(tasks) - len(pending)
        self.before += done
        self.progress(stage, done, len(tasks))
        if not pending:
            return
        with closing(self.executor.run(pending)) as finished:
            while True:
                start = perf_counter()
                item = next(finished, None)
                self.waited_s += perf_counter() - start
                if item is None:
                    return
                key, result = item
                self.work_s += result.pop("seconds")
                if "failed" in result:
                    self.failures[key] = result["failed"]
                else:
                    self.journal.append(key, result)
                    self.tasks += 1
                done += 1
                self.progress(stage, done, len(tasks))

    def _cells(self) -> list[Cell]:
        """The cells whose files are exported and unchanged."""
        return [cell for cell in self.plan.cells if self._on_disk(cell)]

    def _exported(self, cell: Cell) -> ExportResult:
        """Result of the cell's `Export`; raises `UsageError` if it is damaged in the journal."""
        content = self.journal.done[self.keys.export(cell)]
        result: ExportResult = decode(ExportResult, content, *self._source)
        return result

    @property
    def _source(self) -> tuple[str, str]:
        """The journal's path and the advice for a damaged one, for error messages."""
        return str(self.journal.path), "remove it to start again"

    def _on_disk(self, cell: Cell) -> bool:
        """Whether the files of the cell's export are there: another export may replace them."""
        if self.keys.export(cell) not in self.journal.done:
            return False
        if cell.name not in self._unchanged:
            self._unchanged[cell.name] = all(
                file_digest(self.folder / cell.folder / name) == content
                for name, _, content in self._exported(cell).files
            )
        return self._unchanged[cell.name]

    def _files(self, cell: Cell) -> list[str]:
        """Paths of a cell's files, relative to the output folder."""
        return [f"{cell.folder}/{name}" for name, *_ in self._exported(cell).files]

    def _photos(self, cell: Cell) -> dataset.Dataset:
        plan = self.plan
        assert plan.images is not None  # noqa: S101  (only called if the plan has photos)
        done = self._exported(cell)
        return dataset.load(
            os.path.abspath(plan.images),
            done.classes,
            plan.labels,
            plan.split,
            done.multi_label,
        )

    def _parts(self, cell: Cell) -> list[tuple[str, Accuracy]]:
        plan = self.plan
        total = len(self._photos(cell).photos)
        return [
            (
                self.keys.accuracy(cell, start, self._exported(cell).files),
                Accuracy(
                    root=str(self.folder.absolute()),
                    files=tuple(self._files(cell)),
                    images=os.path.abspath(str(plan.images)),
                    labels=_absolute_labels(plan.labels),
                    split=plan.split,
                    start=start,
                    stop=min(start + PHOTOS, total),
                    threads=self.executor.threads,
                    devices=plan.devices,
                    device_options=tuple(plan.device_options.items()),
                ),
            )
            for start in range(0, total, PHOTOS)
        ]

    def _evaluation(self, cell: Cell) -> Evaluation | None:
        """The evaluation of a cell, with relative file names; None if shards are missing."""
        if self.plan.images is None or cell.name in self._evaluations:
            return self._evaluations.get(cell.name)
        keys = [key for key, _ in self._parts(cell)]
        if not all(key in self.journal.done for key in keys):
            return None
        classes = self._exported(cell).classes
        try:
            shards = [PredictionShard.from_json(self.journal.done[key], classes) for key in keys]
        except (LookupError, TypeError, ValueError, OverflowError) as error:
            path, advice = self._source
            raise UsageError(f"{path} has damaged predictions of {cell.name}; {advice}") from error
        evaluation = evaluate.conclude(shards, self._photos(cell))
        photo_set = replace(evaluation.photo_set, folder=self.plan.images)
        self._evaluations[cell.name] = replace(evaluation, photo_set=photo_set)
        return self._evaluations[cell.name]

    def _within(self, path: str) -> str:
        return os.path.relpath(path, self.folder)

    def _beside(self, path: str) -> str:
        return str(self.folder / path)


def _shared(classes: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The class names common to all evaluations; empty if they differ."""
    return classes[0] if classes and all(each == classes[0] for each in classes) else ()


def _absolute(weights: str) -> str:
    return weights if weights in ("imagenet", "random") else os.path.abspath(weights)


def _absolute_labels(labels: str | None) -> str | None:
    return labels if labels in (None, dataset.NO_LABELS) else os.path.abspath(str(labels))


def _renamed(record: Record, name: Callable[[str], str]) -> Record:
    return record.with_(
        file=name(record.file), reference=record.reference and name(record.reference)
    )
