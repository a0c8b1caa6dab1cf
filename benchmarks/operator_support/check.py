"""The check verb: a file and a target -> Placement."""

from __future__ import annotations

import os
from pathlib import Path

from edge_effnet import digest
from edge_effnet.benchmarks.operator_support import ethosu
from edge_effnet.benchmarks.operator_support.placement import Placement
from edge_effnet.errors import UsageError
from edge_effnet.runtime.opening import read_model_files

#: Names of ``--target``; an Ethos-U may also be named by its configuration.
TARGETS = ("cpu", "edgetpu", "ethos-u")


def check(path: str | os.PathLike[str], target: str) -> Placement:
    """Where each operator of an exported file runs on ``target``.

    ``cpu`` is this machine's runtime and takes all formats; ``edgetpu``, ``ethos-u`` (which is
    `ethosu.DEFAULT`) and `ethosu.CONFIGURATIONS` take .tflite files. Raises `UsageError` for
    another target or format, `ModelFileError` for a missing, damaged or altered file,
    `MissingExtra` where a package lacks.
    """
    if target not in (*TARGETS, *ethosu.CONFIGURATIONS):
        known = ", ".join((*TARGETS, *ethosu.CONFIGURATIONS))
        raise UsageError(f"unknown target {target!r}; choose from {known}")
    path = Path(path)
    data, companion = read_model_files(path)
    if target != "cpu" and path.suffix.lower() != ".tflite":
        raise UsageError(f"{target} takes .tflite files, not {path.name}: export it as TFLite int8")
    digest.verify(data, companion, str(path))
    if target == "cpu":
        from edge_effnet.benchmarks.operator_support import cpu

        return cpu.check(path, data)
    if target == "edgetpu":
        from edge_effnet.benchmarks.operator_support import edgetpu

        return edgetpu.check(data, str(path))
    configuration = ethosu.DEFAULT if target == "ethos-u" else target
    return ethosu.check(data, str(path), configuration)
