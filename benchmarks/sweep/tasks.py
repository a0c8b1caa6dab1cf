"""The steps of a sweep that may run in any process: Export and Accuracy, each to plain data.

A step is a frozen dataclass that can be sent to another process or machine which sees the same
files; `run` does it there. What goes wrong in a step is its result, not an exception: the others go
on.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

from edge_effnet.errors import EdgeEffNetError

if TYPE_CHECKING:
    from edge_effnet.benchmarks.accuracy.evaluate import Bench
    from edge_effnet.names import FormatName, Precision


@dataclass(frozen=True)
class Export:
    """A checkpoint of ``variant`` at ``side`` pixels (None: its own) to files in ``out``."""

    variant: str
    weights: str
    side: int | None
    formats: tuple[str, ...]
    precisions: tuple[str, ...]
    calibration: str | None
    out: str
    threads: int

    def do(self) -> dict[str, Any]:
        """The names of the files written with their bytes, the classes, what a user should know."""
        from edge_effnet.checkpoints import load
        from edge_effnet.converters.export import export
        from edge_effnet.formats import size_bytes

        notes: list[str] = []
        model = load(self.variant, self.weights, resolution=self.side, notify=notes.append)
        quantized = any(name not in ("fp32", "fp16") for name in self.precisions)
        paths = export(
            model,
            formats=cast("tuple[FormatName, ...]", self.formats),
            precisions=cast("tuple[Precision, ...]", self.precisions),
            calibration=self.calibration if quantized else None,
            out=self.out,
            threads=self.threads,
            progress=False,
            notify=notes.append,
        )
        return {
            "files": [[path.name, size_bytes(path)] for path in paths],
            "classes": model.info.labels,
            "notes": notes,
        }


@dataclass(frozen=True)
class Accuracy:
    """What ``files``, paths within ``root``, answer on the photos ``start`` to ``stop - 1``."""

    root: str
    files: tuple[str, ...]
    images: str
    labels: str | None
    split: str | None
    start: int
    stop: int
    threads: int

    def do(self) -> dict[str, Any]:
        """`PredictionShard.as_json`, the files named as in ``files``."""
        part = self._bench().run(self.start, self.stop).as_json()
        for item in part["files"]:
            item["record"]["file"] = os.path.relpath(item["record"]["file"], self.root)
            item["compared"] = item["compared"] and os.path.relpath(item["compared"], self.root)
        return part

    def _bench(self) -> Bench:
        """The files, opened; those of this thread's last step if they are the same."""
        from edge_effnet.benchmarks.accuracy.evaluate import Bench

        key = (self.root, self.files, self.images, self.labels, self.split, self.threads)
        if getattr(_OPENED, "key", None) != key:
            _OPENED.bench = None  # what was open gives way first
            _OPENED.key = None
            paths = [os.path.join(self.root, name) for name in self.files]
            _OPENED.bench = Bench(paths, self.images, self.labels, self.split, threads=self.threads)
            _OPENED.key = key
        bench: Bench = _OPENED.bench
        return bench


Step = Export | Accuracy
_OPENED = threading.local()  # runners are not shared between threads


def run(step: Step) -> dict[str, Any]:
    """What the step gives and its ``seconds``, or ``failed``: why there is nothing."""
    start = perf_counter()
    try:
        found = step.do()
    except EdgeEffNetError as error:
        found = {"failed": str(error)}
    except Exception as error:  # a runtime's or a tool's own: this step's result
        found = {"failed": f"{type(error).__name__}: {error}"}
    return {**found, "seconds": round(perf_counter() - start, 3)}


def look(token: str) -> str:
    """The text of a file, to learn whether this process sees the same folders."""
    return Path(token).read_text("utf-8")
