"""A .tflite file -> what an Arm Ethos-U NPU takes of it, as Arm's own compiler vela places it.

Vela compiles the file; what it leaves to the CPU stands in its result beside the NPU's stretches.
Its estimates are for the reference system that it assumes, not for a board.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edge_effnet import installation
from edge_effnet.benchmarks.operator_support.operators import kind_names, operators_of
from edge_effnet.benchmarks.operator_support.placement import Placed, Placement
from edge_effnet.errors import MissingExtra, ModelFileError, require

PACKAGE = "ethos-u-vela"
EXTRA = "ethos-u"
PLACE = "NPU"
#: Vela's ``--accelerator-config``; the number is multiply-adds a cycle.
CONFIGURATIONS = (
    *("ethos-u55-32", "ethos-u55-64", "ethos-u55-128", "ethos-u55-256"),
    *("ethos-u65-256", "ethos-u65-512"),
    *("ethos-u85-128", "ethos-u85-256", "ethos-u85-512", "ethos-u85-1024", "ethos-u85-2048"),
)
DEFAULT = "ethos-u55-256"
_CUSTOM = "ethos-u"  # the operator that stands for a stretch of the NPU's
_SECONDS = 900
#: Column of vela's summary -> (unit, factor).
_FIGURES = {
    "inference_time": ("ms", 1e3),
    "cycles_total": ("cycles", 1.0),
    "sram_memory_used": ("KiB of SRAM", 1.0),
    "dram_memory_used": ("KiB of DRAM", 1.0),
    "off_chip_flash_memory_used": ("KiB of flash", 1.0),
}


def check(data: bytes, file: str, configuration: str = DEFAULT) -> Placement:
    """Where each operator of a .tflite file runs on ``configuration``, one of `CONFIGURATIONS`.

    Raises `MissingExtra` without vela, `ModelFileError` for a file that is damaged or that vela
    cannot compile.
    """
    found = operators_of(data, file)
    try:
        judge = f"{PACKAGE} {version(PACKAGE)}"
    except PackageNotFoundError:
        raise MissingExtra(
            f"the package {PACKAGE}, Arm's compiler, is not installed; it comes with the extra "
            f"'{EXTRA}': {installation.pip_line(EXTRA)}"
        ) from None
    with tempfile.TemporaryDirectory() as folder:
        compiled, summary = _compile(data, file, configuration, Path(folder))
    left = _left_to_cpu(compiled)
    placed = tuple(
        Placed(
            operator.name,
            operator.kind,
            "CPU" if operator.name in left else PLACE,
            "vela leaves it to the CPU" + _reason(operator) if operator.name in left else "",
        )
        for operator in found
    )
    system = f"Estimates are vela's, for its reference system {summary['system_config']}."
    return Placement(file, configuration, judge, PLACE, placed, _figures(summary), (system,))


def _compile(
    data: bytes, file: str, configuration: str, folder: Path
) -> tuple[bytes, dict[str, str]]:
    """The compiled file and the one row of vela's summary."""
    source = folder / "network.tflite"
    source.write_bytes(data)
    command = [sys.executable, "-m", "ethosu.vela", str(source), "--output-dir", str(folder)]
    command += ["--accelerator-config", configuration]
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, timeout=_SECONDS, cwd=folder, check=False
        )
    except subprocess.TimeoutExpired:
        raise ModelFileError(
            f"vela did not compile {file} within {_SECONDS // 60} minutes; try another target"
        ) from None
    compiled = folder / "network_vela.tflite"
    summaries = list(folder.glob("network_summary_*.csv"))
    if done.returncode or not compiled.is_file() or len(summaries) != 1:
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise ModelFileError(
            f"vela cannot compile {file} for {configuration} ({said[-1] if said else 'no reason'});"
            " export it again as int8"
        )
    with summaries[0].open(newline="") as lines:
        (row,) = csv.DictReader(lines)
    return compiled.read_bytes(), row


def _left_to_cpu(compiled: bytes) -> set[str]:
    """Names of the tensors that operators outside the NPU's make."""
    model: Any = require("tflite", EXTRA).Model.GetRootAs(compiled)
    custom = next(number for number, name in kind_names().items() if name == "CUSTOM")
    graph, left = model.Subgraphs(0), set()
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        code = model.OperatorCodes(operator.OpcodeIndex())
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if number == custom and code.CustomCode() == _CUSTOM.encode():
            continue
        left |= {graph.Tensors(n).Name().decode() for n in operator.OutputsAsNumpy()}
    return left


def _reason(operator: Any) -> str:
    """What is plain to see: vela's own reasons are a page long."""
    floats = {t.dtype for t in (*operator.inputs, *operator.outputs) if t.dtype.startswith("float")}
    return f": it works on {min(floats)}" if floats else ""


def _figures(summary: dict[str, str]) -> dict[str, float]:
    made = {unit: float(summary[column]) * factor for column, (unit, factor) in _FIGURES.items()}
    return {unit: round(value, 3) for unit, value in made.items() if value}
