"""Operators of a .tflite file that an Arm Ethos-U NPU runs, from Arm's compiler vela.

Vela compiles the file. In the compiled file, the NPU runs the custom operators and the CPU all
others. Vela's estimates of latency and memory are for a reference system, not for a board.
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
from edge_effnet.benchmarks.operator_support.support import OperatorPlacement, OperatorSupport
from edge_effnet.errors import MissingExtra, ModelFileError, require

PACKAGE = "ethos-u-vela"
EXTRA = "ethos-u"
ACCELERATOR = "NPU"
#: Values of vela's ``--accelerator-config``; the number is multiply-adds per cycle.
CONFIGURATIONS = (
    *("ethos-u55-32", "ethos-u55-64", "ethos-u55-128", "ethos-u55-256"),
    *("ethos-u65-256", "ethos-u65-512"),
    *("ethos-u85-128", "ethos-u85-256", "ethos-u85-512", "ethos-u85-1024", "ethos-u85-2048"),
)
DEFAULT = "ethos-u55-256"
_CUSTOM = "ethos-u"  # the custom operator of a subgraph on the NPU
_SECONDS = 900
#: Column of vela's summary -> (unit, factor).
_SUMMARY_COLUMNS = {
    "inference_time": ("ms", 1e3),
    "cycles_total": ("cycles", 1.0),
    "sram_memory_used": ("KiB of SRAM", 1.0),
    "dram_memory_used": ("KiB of DRAM", 1.0),
    "off_chip_flash_memory_used": ("KiB of flash", 1.0),
}


def check(data: bytes, file: str, configuration: str = DEFAULT) -> OperatorSupport:
    """Placement of each operator of a .tflite file, with vela's estimates.

    Args:
        data: Content of the file.
        file: Name of the file.
        configuration: One of `CONFIGURATIONS`.

    Raises:
        MissingExtra: Vela is not installed.
        ModelFileError: The file is damaged, or vela cannot compile it.
    """
    operators = operators_of(data, file)
    try:
        judge = f"{PACKAGE} {version(PACKAGE)}"
    except PackageNotFoundError:
        raise MissingExtra(
            f"the package {PACKAGE}, Arm's compiler, is not installed; it comes with the extra "
            f"'{EXTRA}': {installation.pip_line(EXTRA)}"
        ) from None
    with tempfile.TemporaryDirectory() as folder:
        compiled, summary = _compile(data, file, configuration, Path(folder))
    on_cpu = _outputs_on_cpu(compiled)
    placements = tuple(
        OperatorPlacement(
            operator.name,
            operator.kind,
            "CPU" if operator.name in on_cpu else ACCELERATOR,
            "vela leaves it to the CPU" + _float_type(operator) if operator.name in on_cpu else "",
        )
        for operator in operators
    )
    system = f"Estimates are vela's, for its reference system {summary['system_config']}."
    return OperatorSupport(
        file, configuration, judge, ACCELERATOR, placements, _estimates(summary), (system,)
    )


def _compile(
    data: bytes, file: str, configuration: str, folder: Path
) -> tuple[bytes, dict[str, str]]:
    """The compiled file, and the values of vela's summary by column name."""
    source = folder / "network.tflite"
    source.write_bytes(data)
    command = [sys.executable, "-m", "ethosu.vela", str(source), "--output-dir", str(folder)]
    command += ["--accelerator-config", configuration]
    try:
        process = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, timeout=_SECONDS, cwd=folder, check=False
        )
    except subprocess.TimeoutExpired:
        raise ModelFileError(
            f"vela did not compile {file} within {_SECONDS // 60} minutes; try another target"
        ) from None
    compiled = folder / "network_vela.tflite"
    summaries = list(folder.glob("network_summary_*.csv"))
    if process.returncode or not compiled.is_file() or len(summaries) != 1:
        lines = [line for line in (process.stderr + process.stdout).splitlines() if line.strip()]
        raise ModelFileError(
            f"vela cannot compile {file} for {configuration} "
            f"({lines[-1] if lines else 'no reason'}); export it again as int8"
        )
    with summaries[0].open(newline="") as summary:
        (row,) = csv.DictReader(summary)
    return compiled.read_bytes(), row


def _outputs_on_cpu(compiled: bytes) -> set[str]:
    """Names of the output tensors of operators that the NPU does not run."""
    model: Any = require("tflite", EXTRA).Model.GetRootAs(compiled)
    custom = next(number for number, name in kind_names().items() if name == "CUSTOM")
    graph, outputs = model.Subgraphs(0), set()
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        code = model.OperatorCodes(operator.OpcodeIndex())
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if number == custom and code.CustomCode() == _CUSTOM.encode():
            continue
        outputs |= {graph.Tensors(n).Name().decode() for n in operator.OutputsAsNumpy()}
    return outputs


def _float_type(operator: Any) -> str:
    """Cause of a CPU placement: the operator's float type. Vela's own reports are a page long."""
    floats = {t.dtype for t in (*operator.inputs, *operator.outputs) if t.dtype.startswith("float")}
    return f": it works on {min(floats)}" if floats else ""


def _estimates(summary: dict[str, str]) -> dict[str, float]:
    values = {
        unit: float(summary[column]) * factor for column, (unit, factor) in _SUMMARY_COLUMNS.items()
    }
    return {unit: round(value, 3) for unit, value in values.items() if value}
