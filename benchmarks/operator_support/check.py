"""Operator placement of an exported file on a target."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from edge_effnet import digest
from edge_effnet.benchmarks.operator_support import ethosu
from edge_effnet.benchmarks.operator_support.support import OperatorSupport
from edge_effnet.errors import UsageError
from edge_effnet.runtime.opening import read_model_files

#: Values of ``--target``. For an Ethos-U, a configuration is accepted too.
TARGETS = ("cpu", "edgetpu", "ethos-u", "qnn", "imx500")


def check(
    path: str | os.PathLike[str], target: str, device_options: Mapping[str, str] | None = None
) -> OperatorSupport:
    """Placement of each operator of an exported file on ``target``.

    Args:
        path: Exported model file.
        target: ``cpu`` is this machine's runtime and accepts all formats. ``edgetpu``, ``ethos-u``
            (`ethosu.DEFAULT`) and `ethosu.CONFIGURATIONS` accept .tflite files, ``qnn`` .onnx
            files, ``imx500`` .imx500.zip files.
        device_options: Settings of the driver of ``qnn``.

    Returns:
        The operators in the order of the file, with the unit that each runs on.

    Raises:
        UsageError: The target is unknown or does not accept the format.
        ModelFileError: The file is missing, damaged or altered.
        MissingExtra: A package of the target is not installed.
    """
    if target not in (*TARGETS, *ethosu.CONFIGURATIONS):
        known = ", ".join((*TARGETS, *ethosu.CONFIGURATIONS))
        raise UsageError(f"unknown target {target!r}; choose from {known}")
    path = Path(path)
    if target == "imx500":
        from edge_effnet.benchmarks.operator_support import imx500

        if not path.name.lower().endswith(".imx500.zip"):
            raise UsageError(
                f"imx500 takes .imx500.zip files, not {path.name}: export it as imx500"
            )
        return imx500.check(path)
    data, companion = read_model_files(path)
    if target == "qnn":
        from edge_effnet.benchmarks.operator_support import qnn

        if path.suffix.lower() != ".onnx":
            raise UsageError(f"qnn takes .onnx files, not {path.name}: export it as ONNX int8")
        return qnn.check(path, data, device_options or {})
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
