"""Checks of a sweep before its first export: all problems are found at once."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from edge_effnet.benchmarks.accuracy import dataset
from edge_effnet.benchmarks.latency.host import usable_cores
from edge_effnet.benchmarks.sweep.plan import Cell, Plan
from edge_effnet.card import ModelInfo
from edge_effnet.checkpoints import load
from edge_effnet.errors import EdgeEffNetError, UsageError, require
from edge_effnet.files import make_folder
from edge_effnet.formats import FORMATS
from edge_effnet.photo_files import list_images
from edge_effnet.runtime.litert import interpreter_module

#: Modules that the report imports.
_REPORT = ("jinja2", "matplotlib")


class Problems:
    """Errors of independent checks, to be raised together."""

    def __init__(self) -> None:
        self.errors: list[EdgeEffNetError] = []

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Context manager that keeps an error of this project instead of raising it."""
        try:
            yield
        except EdgeEffNetError as error:
            if str(error) not in map(str, self.errors):
                self.errors.append(error)

    def raise_all(self) -> None:
        """Raise the only error, or a `UsageError` that lists all; nothing without errors."""
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            lines = [f"\n  {number}. {error}" for number, error in enumerate(self.errors, start=1)]
            raise UsageError(
                f"{len(self.errors)} problems were found before the first export",
                hint="correct them all:" + "".join(lines),
            )


def check(
    plan: Plan,
    out: str | os.PathLike[str],
    problems: Problems,
    *,
    threads: int | None = None,
) -> Mapping[str, ModelInfo]:
    """Read every checkpoint, photo list, label and package of ``plan`` without exporting.

    Args:
        plan: Networks, formats, precisions and photos.
        out: Output folder; it is created if there is no problem.
        problems: Collects the errors.
        threads: Threads of the latency measurement on this machine; None if it is another's.

    Returns:
        Description of each network that could be read, by `Cell.name`.
    """
    if plan.cells or not problems.errors:
        with problems.collected():
            plan.check()
    for module in _REPORT:
        with problems.collected():
            require(module, "report")
    for name in plan.formats:
        with problems.collected():
            importlib.import_module(FORMATS[name].writer)
            _require_runtime(name)
    if threads is not None and not 1 <= threads <= (cores := len(usable_cores())):
        with problems.collected():
            raise UsageError(
                f"{threads} threads cannot be timed here: this machine has {cores} cores",
                hint=f"give threads= up to {cores}",
            )
    for folder in (plan.calibration, plan.images):
        with problems.collected():
            if folder is not None:
                list_images(folder)
    networks: dict[str, ModelInfo] = {}
    for cell in plan.cells:
        with problems.collected():
            networks[cell.name] = _read(cell, plan)
    _check_labels(plan, networks, problems)
    with problems.collected():
        _check_folder(Path(out), keep=not problems.errors)
    return networks


def _check_folder(folder: Path, *, keep: bool) -> None:
    """Raise `OutputError` if nothing can be written there; a new folder stays only if ``keep``."""
    new = not folder.exists()
    make_folder(folder)
    if new and not keep:
        folder.rmdir()


def _require_runtime(name: str) -> None:
    """Raise `MissingExtra` if the runtime that evaluates files of the format is missing."""
    if name == "tflite":
        interpreter_module()
    else:
        require({"onnx": "onnxruntime"}.get(name, name), name)


def _read(cell: Cell, plan: Plan) -> ModelInfo:
    """The network of a cell; raises the errors that its export would raise."""
    return load(
        cell.variant,
        cell.weights,
        labels=plan.class_names,
        resolution=cell.side,
        output_activation=plan.output_activation,
        notify=lambda text: None,  # the export says it
    ).info


def _check_labels(plan: Plan, networks: Mapping[str, ModelInfo], problems: Problems) -> None:
    """Match the labels with the classes of each network, and look for something to measure."""
    if plan.images is None:
        return
    checked = set()
    for info in networks.values():
        if (info.labels, info.multi_label) in checked:
            continue
        checked.add((info.labels, info.multi_label))
        with problems.collected():
            photos = dataset.load(
                plan.images, info.labels, plan.labels, plan.split, info.multi_label
            )
            match = photos.label_sets if info.multi_label else photos.targets
            match(info.labels)
            if not photos.labelled and plan.precisions and "fp32" not in plan.precisions:
                raise UsageError(
                    f"the photos in {plan.images} have no labels, and there is no float file to "
                    "compare predictions with",
                    hint="give labels=CSV, or add fp32 to precisions=",
                )
