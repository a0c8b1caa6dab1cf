"""Measurement of one network: export, accuracy and latency of its files, with a journal.

Each exported group of files, each evaluated range of photos and each timed format is a line of the
journal in the network's folder. A killed measurement therefore continues at its unfinished task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any, cast

from edge_effnet import pairs
from edge_effnet.benchmarks.accuracy import evaluate
from edge_effnet.benchmarks.accuracy.predictions import PredictionShard
from edge_effnet.benchmarks.compare import merged
from edge_effnet.benchmarks.latency import host
from edge_effnet.benchmarks.latency.conditions import Monitor, together
from edge_effnet.benchmarks.latency.measure import measure_latency
from edge_effnet.benchmarks.records import Conditions, Host, Record, Results, timestamp
from edge_effnet.benchmarks.suite.results.network_results import Method, NetworkResults
from edge_effnet.benchmarks.suite.results.random_network import random_network
from edge_effnet.benchmarks.suite.results.settings import (
    FLOAT,
    QUANTIZED,
    RANDOM,
    RANDOM_PHOTOS,
    Settings,
)
from edge_effnet.benchmarks.sweep.executors import Processes
from edge_effnet.benchmarks.sweep.fingerprints import digest, file_digest
from edge_effnet.benchmarks.sweep.journal import Journal
from edge_effnet.benchmarks.sweep.plan import Cell
from edge_effnet.benchmarks.sweep.sweep import JOURNAL_NAME, PHOTOS
from edge_effnet.benchmarks.sweep.tasks import Accuracy, Task
from edge_effnet.benchmarks.sweep.tasks import run as run_task
from edge_effnet.calibration.samples.photos import Samples, read_samples
from edge_effnet.checkpoints import load
from edge_effnet.converters.export import export
from edge_effnet.converters.vendors import VENDORS
from edge_effnet.converters.vendors.common import GOOGLE_QUANTIZER
from edge_effnet.decoding import decode
from edge_effnet.errors import EdgeEffNetError, MissingExtra, ModelFileError, QuantizationError
from edge_effnet.files import make_folder
from edge_effnet.formats import format_name
from edge_effnet.model import Model
from edge_effnet.names import FormatName, Precision, QuantizerName, RecipeName
from edge_effnet.progress import Progress, describe
from edge_effnet.runtime.silence import silenced

#: Import names of the vendors' packages, where they differ from the quantizer's name.
_PACKAGES = {"ai-edge-quantizer": GOOGLE_QUANTIZER, "nncf-histogram": ("nncf",)}
_REFERENCE = "float"


@dataclass(frozen=True)
class _Group:
    """Files that one export writes; ``quantizer`` is a vendor's, None for ours."""

    name: str
    formats: tuple[str, ...]
    precisions: tuple[Precision, ...]
    recipe: str = "default"
    quantizer: str | None = None

    @property
    def evaluated_as(self) -> str:
        """Name of the files that are evaluated together: those of all vendors are."""
        return self.name if self.quantizer is None else "vendors"


class NetworkRun:
    """Measurement of one network in a subfolder of ``out``, which has the network's name."""

    def __init__(
        self,
        cell: Cell,
        settings: Settings,
        out: Path,
        progress: Progress,
        notify: Callable[[str], None],
    ) -> None:
        """Load the network and read the lists of photos.

        Raises:
            CheckpointError: The checkpoint cannot be read.
            ImageError: There are no photos.
            UsageError: The labels do not fit the network.
        """
        self.cell, self.settings = cell, settings
        self.progress, self.notify = progress, notify
        self.trained = cell.weights != RANDOM
        network = load(cell.variant, cell.weights, resolution=cell.side, notify=notify)
        self.network: Model | None = network if self.trained else None
        self.info = network.info
        photos = settings.photos(self.info.labels)
        self.photos = (
            photos if self.trained else replace(photos, photos=photos.photos[:RANDOM_PHOTOS])
        )
        self.calibration = settings.calibration_photos(self.info.labels, cell)
        self.samples: Samples | None = None
        self.folder = make_folder(out / cell.name)
        pairs.finish(self.folder)
        self.left_out: dict[str, str] = {}
        self.packages: dict[str, str] = {}
        self.conditions: list[Conditions] = []
        self.host: Host = host.describe()

    def run(self, command: str) -> NetworkResults:
        """Do all tasks that are not in the journal, and write results.json.

        Args:
            command: The command line that repeats the measurement.
        """
        groups = self._groups()
        formats = self.settings.formats if self.trained and self.settings.timing else ()
        total = len(groups) + 1 + len(formats)
        files: dict[str, list[list[Any]]] = {}
        with Journal(self.folder / JOURNAL_NAME) as self.journal:
            for done, group in enumerate(groups):
                self._advance(done, total, group.name)
                files.setdefault(group.evaluated_as, []).extend(self._export(group))
            self._advance(len(groups), total, "accuracy")
            records = self._evaluate(files)
            timed: dict[str, Record] = {}
            for done, name in enumerate(formats, start=len(groups) + 1):
                self._advance(done, total, f"latency, {name}")
                timed |= self._time([each for each in records if each.format == name])
            self._advance(total, total, "")
        records = [merged(each, timed[each.file]) if each.file in timed else each
                   for each in records]  # fmt: skip
        results = self._results(tuple(records), bool(timed), command)
        results.save(self.folder)
        return results

    def _groups(self) -> list[_Group]:
        """The exports: float files first, because all other files are compared with these."""
        chosen = self.settings.precisions
        floats = tuple(name for name in FLOAT if name == "fp32" or name in chosen)
        quantized = tuple(name for name in QUANTIZED if name in chosen)
        formats = self.settings.formats
        groups = [_Group(_REFERENCE, formats, floats)]
        for name in self.settings.recipes if quantized else ():
            groups.append(_Group(name, formats, quantized, name))
            quantized = tuple(precision for precision in quantized if precision != "w8")
        groups += [
            _Group(name, (VENDORS[name].format,), ("int8",), quantizer=name)
            for name in self.settings.quantizers
            if VENDORS[name].format in formats
        ]
        return groups

    def _advance(self, done: int, total: int, text: str) -> None:
        self.progress("tasks", done, total)
        describe("tasks", f"{self.cell.name} {text}".strip())

    def _export(self, group: _Group) -> list[list[Any]]:
        """Path below the folder, size and digest of each file; empty for a vendor without files."""
        source = asdict(self.info.source) if self.info.source else None
        package = "" if group.quantizer is None else _package(group.quantizer)
        described = [asdict(group), source, self.info.preprocess.size, package]
        photos = self.settings.fingerprint(self.calibration)
        key = f"export {group.name} {digest([described, photos])}"
        result = self.journal.done.get(key)
        if result is None or not self._unchanged(result["files"]):
            try:
                result = self._write(group)
            except MissingExtra as error:
                if group.quantizer is None:
                    raise
                self._leave_out(group.quantizer, f"not installed ({error})")
                return []
            self.journal.append(key, result)
        if result["failed"]:
            self._leave_out(str(group.quantizer), result["failed"])
        elif group.quantizer is not None:
            self.packages[group.quantizer] = package
        files: list[list[Any]] = result["files"]
        return files

    def _write(self, group: _Group) -> dict[str, Any]:
        """Export the files of ``group``; only a vendor's quantizer may fail."""
        options: dict[str, Any] = {}
        if group.quantizer is not None:
            options["quantizer"] = cast(QuantizerName, group.quantizer)
        if group.name != _REFERENCE:
            options["calibration"] = self._samples()
        model = self._model()
        # Native libraries of the vendors write on standard output and error.
        muted = silenced(1, 2) if group.quantizer else nullcontext()
        try:
            with muted:
                paths = export(
                    model,
                    formats=cast("Sequence[FormatName]", group.formats),
                    precisions=group.precisions,
                    recipe=cast(RecipeName, group.recipe),
                    out=self.folder / group.name,
                    overwrite=True,  # only the benchmark writes to this folder
                    force=True,  # low agreement is a valid result
                    progress=self._export_progress,
                    notify=lambda text: None,
                    **options,
                )
        except QuantizationError as error:
            if group.quantizer is None:
                raise
            return {"files": [], "failed": str(error)}
        files = [
            [f"{group.name}/{path.name}", path.stat().st_size, file_digest(path)] for path in paths
        ]
        return {"files": files, "failed": ""}

    def _export_progress(self, step: str, done: int, total: int) -> None:
        self.progress("quantize", done, total)
        describe("quantize", step)

    def _leave_out(self, quantizer: str, reason: str) -> None:
        self.left_out[quantizer] = reason
        self.notify(f"{self.cell.name}: {quantizer} is left out: {reason}")

    def _unchanged(self, files: Sequence[Sequence[Any]]) -> bool:
        return all(file_digest(self.folder / name) == content for name, _, content in files)

    def _samples(self) -> Samples:
        if self.samples is None:
            self.samples = read_samples(self.calibration, self.info.preprocess)
        return self.samples

    def _model(self) -> Model:
        """The network; a random one gets its BatchNorm statistics on the calibration samples."""
        if self.network is None:
            pixels = self._samples().pixels
            self.network = random_network(self.cell.variant, self.cell.side, pixels)
        return self.network

    def _evaluate(self, files: Mapping[str, list[list[Any]]]) -> list[Record]:
        """Records of all files, compared with the first fp32 file.

        Args:
            files: Files that are evaluated together, as of `_export`, by a name.
        """
        reference = files[_REFERENCE][0]
        evaluated = self.settings.fingerprint([photo.path for photo in self.photos.photos])
        total = len(self.photos.photos)
        keys: dict[str, list[str]] = {}
        pending: dict[str, Task] = {}
        for group, entries in files.items():
            content = [[*entries, reference], self.photos.split, self.settings.labels is None]
            names = dict.fromkeys(str(name) for name, *_ in (reference, *entries))
            for start in range(0, total, PHOTOS):
                stop = min(start + PHOTOS, total)
                key = f"accuracy {group} {start}-{stop} {digest([content, evaluated])}"
                keys.setdefault(group, []).append(key)
                if entries and key not in self.journal.done:
                    pending[key] = self._accuracy(tuple(names), start, stop)
        self._predict(pending, sum(map(len, keys.values())))
        records: list[Record] = []
        for group, entries in files.items():
            if not entries:
                continue
            done = [self.journal.done[key] for key in keys[group]]
            shards = [PredictionShard.from_json(each, self.info.labels) for each in done]
            evaluation = evaluate.conclude(shards, self.photos)
            if group == _REFERENCE:
                self.photo_set = evaluation.photo_set
            wanted = {name for name, *_ in entries}
            records += map(self._judged, (r for r in evaluation.records if r.file in wanted))
        for file, reason in self.photo_set.broken:
            self.notify(f"{self.cell.name}: left out {file}: {reason}")
        return records

    def _accuracy(self, files: tuple[str, ...], start: int, stop: int) -> Accuracy:
        labels = self.settings.labels
        return Accuracy(
            root=str(self.folder.absolute()),
            files=files,
            images=str(self.photos.folder.absolute()),
            labels=labels and str(Path(labels).absolute()),
            split=self.photos.split,
            start=start,
            stop=stop,
            threads=1,
        )

    def _predict(self, pending: Mapping[str, Task], total: int) -> None:
        """Run the tasks, in this process or in several; results go to the journal.

        Raises:
            EdgeEffNetError: A task failed.
        """
        workers = min(self.settings.workers, len(pending))
        finished: Iterable[tuple[str, dict[str, Any]]]
        if workers > 1:
            finished = Processes(workers).run(pending)
        else:
            finished = ((key, run_task(task)) for key, task in pending.items())
        for done, (key, result) in enumerate(finished, start=total - len(pending) + 1):
            if "failed" in result:
                raise EdgeEffNetError(f"evaluating {self.cell.name} failed: {result['failed']}")
            self.journal.append(key, result)
            self.progress("evaluate photos", done, total)

    def _judged(self, record: Record) -> Record:
        """The record without counts per class; for random weights with the SQNR alone."""
        record = record.with_(class_images=(), class_right=())
        if self.trained:
            return record
        unknown: dict[str, Any] = dict.fromkeys(
            ("top1", "top1_ci", "top5", "top5_ci", "agreement", "agreement_ci", "drop", "drop_ci",
             "lost", "gained")
        )  # fmt: skip
        return record.with_(**unknown)

    def _time(self, records: Sequence[Record]) -> dict[str, Record]:
        """Latency of files of one format by path, in one interleaved run."""
        settings = self.settings
        paths = [self.folder / record.file for record in records]
        digests = [file_digest(path) for path in paths]
        described = [digests, settings.threads, settings.runs, settings.rounds]
        key = f"latency {format_name(paths[0])} {digest(described)}"
        if key not in self.journal.done:
            monitor = Monitor()
            try:
                timed = measure_latency(
                    paths,
                    settings.threads,
                    settings.runs,
                    rounds=settings.rounds,
                    progress=lambda step, done, total: self.progress("time files", done, total),
                    monitor=monitor,
                )
            except ModelFileError as error:
                self.notify(f"{self.cell.name}: not timed: {error}")
                return {}
            conditions = asdict(monitor.conditions) if monitor.conditions else None
            content = [asdict(record) for record in timed]
            self.journal.append(key, {"records": content, "conditions": conditions})
        result = self.journal.done[key]
        if result["conditions"]:
            self.conditions.append(decode(Conditions, result["conditions"]))
        decoded = map(partial(decode, Record), result["records"])
        return {record.file: each for record, each in zip(records, decoded, strict=True)}

    def _results(self, records: tuple[Record, ...], timed: bool, command: str) -> NetworkResults:
        settings = self.settings
        method = Method(
            network=self.cell.name,
            weights=Path(self.cell.weights).name,
            calibration_photos=len(self.calibration),
            resolution=self.info.preprocess.size,
            packages=self.packages,
            left_out=self.left_out,
            threads=settings.threads if timed else None,
            runs=settings.runs if timed else 0,
            rounds=settings.rounds if timed else 0,
        )
        results = Results(
            host=self.host,
            records=records,
            photos=self.photo_set,
            conditions=together(self.conditions) if self.conditions else None,
            created=timestamp(),
            command=command,
        )
        return NetworkResults(method, results)


def _package(quantizer: str) -> str:
    """Name and version of the package of a vendor's quantizer; empty if it is not installed."""
    known = packages_distributions()
    for name in _PACKAGES.get(quantizer, (quantizer,)):
        for distribution in known.get(name, ()):
            return f"{distribution} {version(distribution)}"
    return ""
