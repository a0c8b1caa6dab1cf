"""Operators of an .onnx file that Qualcomm's HTP runs, from the QNN execution provider.

On x86 the provider compiles for its simulator; on a Snapdragon for the HTP itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edge_effnet.benchmarks.operator_support.support import OperatorPlacement, OperatorSupport
from edge_effnet.preprocess import Preprocess
from edge_effnet.runtime.opening import open_model
from edge_effnet.runtime.operators import of_onnx

DEVICE = "qnn"
ACCELERATOR = "HTP"
_WHY = "the QNN execution provider leaves it to the CPU"


def check(path: Path, data: bytes, options: Mapping[str, str]) -> OperatorSupport:
    """Placement of each operator of ``data``, read from ``path``.

    Raises:
        DeviceError: The provider is not installed, or it takes no operator.
        ModelFileError: The file is damaged.
    """
    classifier = open_model(
        path, bare=lambda side: Preprocess(side, 1.0), device=DEVICE, device_options=options
    )
    runner = classifier.runner
    placement, info = runner.placement(), runner.info
    elsewhere = set(placement.fallback)
    operators = []
    for operator in of_onnx(data):
        on_cpu = f"{operator.kind} {operator.name}" in elsewhere
        operators.append(
            OperatorPlacement(
                operator.name,
                operator.kind,
                "CPU" if on_cpu else ACCELERATOR,
                _WHY if on_cpu else "",
            )
        )
    return OperatorSupport(
        str(path),
        DEVICE,
        f"{info.name} {info.version} ({placement.device})",
        ACCELERATOR,
        tuple(operators),
        notes=(f"{placement.share:.1%} of the multiply-adds on the {ACCELERATOR}.",),
        has_integer_input=runner.input.dtype != "float32" and classifier.card.precision == "int8",
    )
