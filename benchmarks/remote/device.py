"""Description of a machine: hardware, installed runtimes, and accelerators that work.

An accelerator works if a small network ran on it and the runtime confirms this. Each accelerator is
tested in its own process because drivers can crash.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from edge_effnet import json_text, subprocesses
from edge_effnet.benchmarks.latency import host
from edge_effnet.environment import RUNTIMES, version_of
from edge_effnet.errors import require

_SECONDS = 60.0
#: One Relu, float32 [1, 3, 8, 8], ONNX opset 13 (written by the onnx package).
_RELU = base64.b64decode(
    "CAg6SwoMCgF4EgF5IgRSZWx1EgFnWhsKAXgSFgoUCAESEAoCCAEKAggDCgIICAoCCAhiGwoBeRIWChQIARIQCgIIAQoC"
    "CAMKAggICgIICEIECgAQDQ=="
)
#: Shared libraries of LiteRT's delegates, by accelerator.
_DELEGATES = {
    "Edge TPU": "libedgetpu.so.1",
    "GPU": "libtensorflowlite_gpu_delegate.so",
    "Ethos-N": "libarmnn_delegate.so",
}
#: USB ids of the Coral accelerator, before and after its firmware is loaded.
_CORAL = {("1a6e", "089a"), ("18d1", "9302")}


def describe() -> dict[str, Any]:
    """``host`` as in results.json, ``governors`` of all cores, ``runtimes`` and ``accelerators``.

    An accelerator's entry has ``name``, ``runtime``, ``ran`` (whether a network ran on it), and
    ``detail`` (the accelerator's full name, or the error).
    """
    return {
        "host": asdict(host.describe()),
        "governors": _governors(),
        "runtimes": [
            {
                "name": name,
                "version": version_of(name),
                "installed": _is_installed(module.split(".")[0]),
            }
            for name, module in RUNTIMES.items()
        ],
        "accelerators": accelerators(),
    }


def accelerators() -> list[dict[str, Any]]:
    """All accelerators that an installed runtime lists, each tested with a small network."""
    tried = []
    for runtime, module in (
        ("openvino", "openvino"),
        ("onnxruntime", "onnxruntime"),
        ("litert", "ai_edge_litert"),
    ):
        if not _is_installed(module):
            continue
        for name in _ask(["list", runtime]) or []:
            result = _ask(["try", runtime, name])
            if not isinstance(result, dict):
                result = {"ran": False, "detail": "its driver crashed or hung"}
            tried.append({"name": name, "runtime": runtime, **result})
    return tried


def sheet(description: dict[str, Any]) -> str:
    """`describe` as lines of text."""
    machine = description["host"]
    lines = [
        f"processor     {machine['cpu']} ({machine['machine']}), {machine['cores']} cores",
        f"8-bit units   {', '.join(machine['features']) or 'none known'}",
        f"governor      {', '.join(description['governors']) or 'unknown'}",
        f"memory        {machine['memory_mb'] or '?'} MiB",
        f"system        {machine['system']}, Python {machine['python']}",
    ]
    for runtime in description["runtimes"]:
        state = runtime["version"] or "installed" if runtime["installed"] else "not installed"
        lines.append(f"runtime       {runtime['name']} {state}")
    for item in description["accelerators"]:
        state = "runs" if item["ran"] else "does NOT run"
        lines.append(f"accelerator   {item['name']} ({item['runtime']}) {state}: {item['detail']}")
    if not description["accelerators"]:
        lines.append("accelerator   no installed runtime lists one: everything runs on the CPU")
    return "\n".join(lines) + "\n"


def _governors() -> list[str]:
    paths = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    return sorted({path.read_text("ascii").strip() for path in paths})


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _ask(arguments: list[str]) -> Any:
    """Run this module in a child process and return its result; None after a crash or timeout."""
    try:
        done = subprocess.run(  # noqa: S603
            subprocesses.command(__name__, *arguments),
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
        return json_text.parse(done.stdout.strip().rpartition(b"\n")[2])
    except (subprocess.TimeoutExpired, ValueError):
        return None


def _openvino_list() -> list[str]:
    ov: Any = require("openvino", "openvino")
    return [name for name in ov.Core().available_devices if name != "CPU"]


def _openvino_try(name: str) -> dict[str, Any]:
    import numpy as np

    ov: Any = require("openvino", "openvino")
    core = ov.Core()
    compiled = core.compile_model(core.read_model(_RELU), name)
    compiled(np.zeros((1, 3, 8, 8), np.float32))
    on = [str(device) for device in compiled.get_property("EXECUTION_DEVICES")]
    full = str(core.get_property(name, "FULL_DEVICE_NAME"))
    ran = all(device.startswith(name) for device in on)
    return {"ran": ran, "detail": full if ran else f"it fell back to {', '.join(on)}"}


def _onnxruntime_list() -> list[str]:
    ort: Any = import_module("onnxruntime")
    # skipped: Azure's provider calls a server.
    ours = ("CPUExecutionProvider", "AzureExecutionProvider")
    return [name for name in ort.get_available_providers() if name not in ours]


def _onnxruntime_try(name: str) -> dict[str, Any]:
    import tempfile

    import numpy as np

    ort: Any = import_module("onnxruntime")
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.enable_profiling = True
        options.profile_file_prefix = f"{folder}/p"
        session = ort.InferenceSession(_RELU, options, providers=[name, "CPUExecutionProvider"])
        session.run(None, {"x": np.zeros((1, 3, 8, 8), np.float32)})
        events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    on = {event["args"]["provider"] for event in events if event.get("args", {}).get("provider")}
    ran = on == {name}
    return {"ran": ran, "detail": "every node ran there" if ran else f"it fell back to {on}"}


def _litert_list() -> list[str]:
    import ctypes

    available = []
    for name, library in _DELEGATES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            if name == "Edge TPU" and _coral():
                available.append(name)
            continue
        available.append(name)
    return available


def _litert_try(name: str) -> dict[str, Any]:
    interpreter: Any = import_module("ai_edge_litert.interpreter")
    library = _DELEGATES[name]
    try:
        interpreter.load_delegate(library)
    except (OSError, ValueError) as error:
        return {"ran": False, "detail": f"{library} cannot be used ({error or 'no device'})"}
    # Delegates run only operators compiled for them, so a small network does not test them.
    detail = (
        f"{library} loads, but no network was run there: benchmark a file that was compiled for it"
    )
    return {"ran": False, "detail": detail}


def _coral() -> bool:
    """Whether a Coral accelerator is present, by USB id or PCIe device."""
    if Path("/dev/apex_0").exists():
        return True
    for folder in Path("/sys/bus/usb/devices").glob("*"):
        try:
            ids = tuple((folder / n).read_text("ascii").strip() for n in ("idVendor", "idProduct"))
        except OSError:
            continue
        if ids in _CORAL:
            return True
    return False


_LIST: dict[str, Callable[[], list[str]]] = {
    "openvino": _openvino_list,
    "onnxruntime": _onnxruntime_list,
    "litert": _litert_list,
}
_TRY: dict[str, Callable[[str], dict[str, Any]]] = {
    "openvino": _openvino_try,
    "onnxruntime": _onnxruntime_try,
    "litert": _litert_try,
}


def _main(arguments: list[str]) -> None:
    command, runtime, *name = arguments
    try:
        result: Any = _LIST[runtime]() if command == "list" else _TRY[runtime](name[0])
    except Exception as error:  # drivers raise anything
        lines = str(error).strip().splitlines()
        result = None if command == "list" else {"ran": False, "detail": lines[-1] if lines else ""}
    print(json.dumps(result))


if __name__ == "__main__":
    _main(sys.argv[1:])
