"""Variants x formats x precisions -> files, accuracy, latency and the report; resumable.

Exports and accuracy run in a pool of processes or on a cluster; latency afterwards, on this machine
or a device, with nothing beside it. Every finished step is a line of the journal in the output
folder: the same command again, after a kill or with further variants, does what is left.
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

from edge_effnet.benchmarks import compare
from edge_effnet.benchmarks.accuracy import dataset, evaluate
from edge_effnet.benchmarks.accuracy.evaluate import Evaluation
from edge_effnet.benchmarks.accuracy.predictions import PredictionShard
from edge_effnet.benchmarks.decoding import decode
from edge_effnet.benchmarks.latency import conditions, host
from edge_effnet.benchmarks.records import Record, Results, timestamp, write_results
from edge_effnet.benchmarks.reporting import formatting
from edge_effnet.benchmarks.sweep.executors import Pool
from edge_effnet.benchmarks.sweep.journal import Journal
from edge_effnet.benchmarks.sweep.plan import MODELS_NAME, Cell, Plan
from edge_effnet.benchmarks.sweep.tasks import Accuracy, Export, Step
from edge_effnet.errors import ModelFileError, UsageError, require
from edge_effnet.files import make_folder
from edge_effnet.progress import Progress

JOURNAL_NAME = "journal.jsonl"
#: Photos of one step: some seconds of work, which is what a kill may cost.
PHOTOS = 64

Measure = Callable[[Sequence[str]], Results]


@dataclass(frozen=True)
class Outcome:
    """What a sweep gave: its results, (what, why) of the steps that failed, and where time went.

    ``steps`` counts what was done now and ``before`` what the journal held. ``work_s`` adds up the
    seconds of the steps done now, ``bookkeeping_s`` those of this process between them.
    """

    results: Results
    failures: tuple[tuple[str, str], ...]
    steps: int
    before: int
    work_s: float
    bookkeeping_s: float


def sweep(
    plan: Plan,
    out: str | os.PathLike[str],
    pool: Pool,
    measure: Measure,
    *,
    timing: Mapping[str, Any],
    progress: Progress | None = None,
    notify: Callable[[str], None] | None = None,
) -> Outcome:
    """Do what is left of ``plan`` in ``out``: the journal, models/, results.json and report.html.

    ``pool`` runs exports and accuracy; ``measure`` times the files of one network, and ``timing``
    says how and where (a sweep cannot go on with other settings). A step that fails is told and
    left to the next time; the others go on. Raises `UsageError` for a plan or a folder that cannot
    be used, `MissingExtra` without the packages of the report, and what ``pool`` raises when it is
    lost: what was done is kept.
    """
    from edge_effnet.benchmarks.reporting import page

    plan.check()
    for module in ("jinja2", "matplotlib"):
        require(module, "report")
    folder = make_folder(out)
    with Journal(folder / JOURNAL_NAME, {**plan.settings(), **timing}) as journal:
        run = _Run(plan, folder, journal, pool, progress or (lambda step, done, total: None))
        _clear(folder)
        try:
            run.export(notify or (lambda text: None))
            _clear(folder)
            run.answer()
            run.time(measure)
        except BaseException:
            run.write()  # what there is, whatever ended it
            raise
        found, evaluation = run.write()
        page.write(found, folder / compare.REPORT_NAME, evaluation)
        return run.outcome(found)


def _clear(folder: Path) -> None:
    """Remove what processes left that were killed while they wrote, in this run or before."""
    ours = (f"{MODELS_NAME}/**/", f".{compare.RESULTS_NAME}", f".{compare.REPORT_NAME}")
    for name in ours:
        for left in folder.glob(f"{name}.*.part"):
            left.unlink()


class _Run:
    """One call of `sweep`: ``cells`` are those whose files exist."""

    def __init__(
        self, plan: Plan, folder: Path, journal: Journal, pool: Pool, progress: Progress
    ) -> None:
        self.plan, self.folder, self.journal, self.pool = plan, folder, journal, pool
        self.progress = progress
        self.machine = host.describe()  # before: its load must not be our own
        self.failures: dict[str, str] = {}
        self.before = len(journal.done)
        self.work_s = self.waited_s = 0.0
        self._evaluations: dict[str, Evaluation] = {}
        self.start = perf_counter()

    def export(self, notify: Callable[[str], None]) -> None:
        """The files of every cell."""
        plan = self.plan
        self._pooled(
            "export",
            {
                _key("export", cell): Export(
                    cell.variant,
                    _absolute(cell.weights),
                    cell.side,
                    plan.formats,
                    plan.precisions,
                    plan.calibration and os.path.abspath(plan.calibration),
                    str(self.folder.absolute() / cell.folder),
                    self.pool.threads,
                )
                for cell in plan.cells
            },
        )
        for cell in plan.cells:
            done = self.journal.done.get(_key("export", cell))
            for note in done["notes"] if done else ():
                notify(f"{cell.name}: {note}")
            for name in self._files(cell):
                if not (self.folder / name).is_file():
                    raise UsageError(
                        f"{self.folder / name} is gone, which this sweep had exported; bring it "
                        f"back, or take {self.journal.path} away to start anew"
                    )

    def answer(self) -> None:
        """The answers of every file."""
        if self.plan.images is None:
            return
        self._pooled("accuracy", {key: s for cell in self._cells() for key, s in self._parts(cell)})

    def time(self, measure: Measure) -> None:
        """The latency of every file, cell by cell, the files of a cell interleaved."""
        cells = self._cells()
        for number, cell in enumerate(cells):
            key = _key("latency", cell)
            if key not in self.journal.done:
                start = perf_counter()
                try:
                    found = measure([str(self.folder / name) for name in self._files(cell)])
                except ModelFileError as error:  # a device that is lost ends the sweep
                    self.failures[f"latency of {cell.name}"] = str(error)
                    continue
                finally:
                    seconds = perf_counter() - start
                    self.waited_s += seconds
                    self.work_s += seconds
                records = tuple(_renamed(r, self._within) for r in found.records)
                self.journal.append(key, json.loads(replace(found, records=records).to_json()))
                self.write()
            self.progress("latency", number + 1, len(cells))

    def write(self) -> tuple[Results, Evaluation | None]:
        """results.json of what is known so far."""
        evaluations, timings = [], []
        records: list[Record] = []
        for cell in self._cells():
            evaluation = self._evaluation(cell)
            timing = self.journal.done.get(_key("latency", cell))
            timed = decode(Results, timing) if timing else None
            found = {} if timed is None else {record.file: record for record in timed.records}
            if timed is not None:
                timings.append(timed)
            if evaluation is not None:
                merged = tuple(
                    compare.merged(r, found[r.file]) if r.file in found else r
                    for r in evaluation.records
                )
                found.update({record.file: record for record in merged})
                evaluations.append(evaluation)
            records += [_renamed(record, self._beside) for record in found.values()]
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
        )
        write_results(done, self.folder / compare.RESULTS_NAME)
        return done, together

    def outcome(self, found: Results) -> Outcome:
        """How it went."""
        return Outcome(
            results=found,
            failures=tuple(self.failures.items()),
            steps=len(self.journal.done) - self.before,
            before=self.before,
            work_s=round(self.work_s, 3),
            bookkeeping_s=round(perf_counter() - self.start - self.waited_s, 3),
        )

    def _pooled(self, what: str, steps: Mapping[str, Step]) -> None:
        """Do those of ``steps`` that the journal does not hold."""
        left = {key: step for key, step in steps.items() if key not in self.journal.done}
        done = len(steps) - len(left)
        self.progress(what, done, len(steps))
        if not left:
            return
        with closing(self.pool.run(left)) as finished:
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
                done += 1
                self.progress(what, done, len(steps))

    def _cells(self) -> list[Cell]:
        return [c for c in self.plan.cells if _key("export", c) in self.journal.done]

    def _files(self, cell: Cell) -> list[str]:
        """Paths within the folder."""
        done = self.journal.done.get(_key("export", cell))
        return [f"{cell.folder}/{name}" for name, _ in done["files"]] if done else []

    def _photos(self, cell: Cell) -> dataset.Dataset:
        plan = self.plan
        assert plan.images is not None  # noqa: S101  (asked for with photos alone)
        classes = self.journal.done[_key("export", cell)]["classes"]
        return dataset.load(os.path.abspath(plan.images), classes, plan.labels, plan.split)

    def _parts(self, cell: Cell) -> list[tuple[str, Accuracy]]:
        plan = self.plan
        total = len(self._photos(cell).photos)
        return [
            (
                f"{_key('accuracy', cell)} {start}",
                Accuracy(
                    root=str(self.folder.absolute()),
                    files=tuple(self._files(cell)),
                    images=os.path.abspath(str(plan.images)),
                    labels=_absolute_labels(plan.labels),
                    split=plan.split,
                    start=start,
                    stop=min(start + PHOTOS, total),
                    threads=self.pool.threads,
                ),
            )
            for start in range(0, total, PHOTOS)
        ]

    def _evaluation(self, cell: Cell) -> Evaluation | None:
        """The figures of a cell whose parts are all there; files named within the folder."""
        if self.plan.images is None or cell.name in self._evaluations:
            return self._evaluations.get(cell.name)
        keys = [key for key, _ in self._parts(cell)]
        if not all(key in self.journal.done for key in keys):
            return None
        classes = self.journal.done[_key("export", cell)]["classes"]
        parts = [PredictionShard.from_json(self.journal.done[key], classes) for key in keys]
        found = evaluate.conclude(parts, self._photos(cell))
        given = replace(found.photo_set, folder=self.plan.images)
        self._evaluations[cell.name] = replace(found, photo_set=given)
        return self._evaluations[cell.name]

    def _within(self, path: str) -> str:
        return os.path.relpath(path, self.folder)

    def _beside(self, path: str) -> str:
        return str(self.folder / path)


def _shared(classes: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The classes that all have; none where they are of several kinds."""
    return classes[0] if classes and all(each == classes[0] for each in classes) else ()


def _key(what: str, cell: Cell) -> str:
    """A step's name in the journal; other weights make other steps."""
    return f"{what} {cell.name}={cell.weights}"


def _absolute(weights: str) -> str:
    return weights if weights in ("imagenet", "random") else os.path.abspath(weights)


def _absolute_labels(labels: str | None) -> str | None:
    return labels if labels in (None, dataset.NO_LABELS) else os.path.abspath(str(labels))


def _renamed(record: Record, name: Callable[[str], str]) -> Record:
    return record.with_(
        file=name(record.file), reference=record.reference and name(record.reference)
    )
