"""Tasks of a sweep, `Export` and `Accuracy`: they run in any process and return plain data.

A task is a frozen dataclass that can be sent to any process or machine with the same files. `run`
executes the task there. An error becomes part of the result; other tasks continue.
"""

from __future__ import annotations

import os
import threading
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol, cast

from edge_effnet.errors import EdgeEffNetError

if TYPE_CHECKING:
    from edge_effnet.benchmarks.accuracy.evaluate import Bench
    from edge_effnet.names import FormatName, OutputActivation, Precision


class Task(Protocol):
    """Work that any process with the same files can do; frozen data."""

    def do(self) -> dict[str, Any]:
        """The result as plain data; errors are raised."""


@dataclass(frozen=True)
class ExportResult:
    """Result of an `Export`.

    Attributes:
        files: Name, size in bytes and digest of each file.
        classes: Names of the classes.
        multi_label: Whether any number of labels may apply to a photo.
        notes: Notes for the user.
    """

    files: tuple[tuple[str, int, str], ...]
    classes: tuple[str, ...]
    multi_label: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Export:
    """Export of a checkpoint at ``side`` pixels (None: the variant's default) into ``out``."""

    variant: str
    weights: str
    side: int | None
    formats: tuple[str, ...]
    precisions: tuple[str, ...]
    calibration: str | None
    out: str
    threads: int
    class_names: str | None = None
    output_activation: OutputActivation | None = None

    def do(self) -> dict[str, Any]:
        """`ExportResult` as plain data."""
        from edge_effnet.benchmarks.sweep.fingerprints import file_digest
        from edge_effnet.checkpoints import load
        from edge_effnet.converters.export import export
        from edge_effnet.formats import size_bytes

        notes: list[str] = []
        model = load(
            self.variant,
            self.weights,
            labels=self.class_names,
            resolution=self.side,
            output_activation=self.output_activation,
            notify=notes.append,
        )
        quantized = any(name not in ("fp32", "fp16") for name in self.precisions)
        paths = export(
            model,
            formats=cast("tuple[FormatName, ...]", self.formats),
            precisions=cast("tuple[Precision, ...]", self.precisions),
            calibration=self.calibration if quantized else None,
            out=self.out,
            threads=self.threads,
            overwrite=True,  # only the sweep writes to this folder
            progress=False,
            notify=notes.append,
        )
        files = tuple((path.name, size_bytes(path), str(file_digest(path))) for path in paths)
        info = model.info
        return asdict(ExportResult(files, info.labels, info.multi_label, tuple(notes)))


@dataclass(frozen=True)
class Accuracy:
    """Predictions of ``files``, relative to ``root``, on the photos ``start`` to ``stop - 1``.

    Each file runs on each of the ``devices`` that can take it.
    """

    root: str
    files: tuple[str, ...]
    images: str
    labels: str | None
    split: str | None
    start: int
    stop: int
    threads: int
    devices: tuple[str, ...] = ("cpu",)
    device_options: tuple[tuple[str, str], ...] = ()

    def do(self) -> dict[str, Any]:
        """`PredictionShard.as_json`; file names are relative to ``root``, as in ``files``."""
        shard = self._bench().run(self.start, self.stop).as_json()
        for item in shard["files"]:
            item["record"]["file"] = os.path.relpath(item["record"]["file"], self.root)
            item["compared"] = item["compared"] and os.path.relpath(item["compared"], self.root)
        return shard

    def _bench(self) -> Bench:
        """The opened files; reused from this thread's previous task if the files are the same."""
        from edge_effnet.benchmarks.accuracy.evaluate import Bench
        from edge_effnet.benchmarks.devices import on_devices

        key = replace(self, start=0, stop=0)
        if getattr(_OPENED, "key", None) != key:
            _OPENED.bench = None  # closes the previous files first
            _OPENED.key = None
            paths = [os.path.join(self.root, name) for name in self.files]
            options = dict(self.device_options)
            _OPENED.bench = Bench(
                on_devices(paths, self.devices, options),
                self.images,
                self.labels,
                self.split,
                threads=self.threads,
                device_options=options,
            )
            _OPENED.key = key
        bench: Bench = _OPENED.bench
        return bench


_OPENED = threading.local()  # runners are not shared between threads


def run(task: Task) -> dict[str, Any]:
    """Result of the task with its ``seconds``, or the error as ``failed``."""
    start = perf_counter()
    try:
        result = task.do()
    except EdgeEffNetError as error:
        result = {"failed": str(error)}
    except Exception as error:  # runtimes and tools raise any exception
        result = {"failed": f"{type(error).__name__}: {error}"}
    return {**result, "seconds": round(perf_counter() - start, 3)}


def look(token: str) -> str:
    """Text of a file, to check whether this process sees the same folders."""
    return Path(token).read_text("utf-8")
