"""Description of a machine: hardware, installed runtimes, and accelerators that work.

An accelerator works if a small network ran on it and the runtime confirms this. Each accelerator is
tested in its own process because drivers can crash.
"""

from __future__ import annotations

import importlib.util
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_effnet.benchmarks.latency import host
from edge_effnet.environment import RUNTIMES, version_of
from edge_effnet.errors import EdgeEffNetError
from edge_effnet.runtime.devices import listing, simulators, small_network, trial
from edge_effnet.runtime.devices.device import Device

#: Name of a runtime -> its module, and the suffix of its files.
_RUNTIMES = {
    "openvino": ("openvino", ".xml"),
    "onnxruntime": ("onnxruntime", ".onnx"),
    "litert": ("ai_edge_litert", ".tflite"),
}


def describe() -> dict[str, Any]:
    """``host`` as in results.json, ``governors`` of all cores, ``runtimes`` and ``accelerators``.

    An accelerator's entry has ``name`` (for ``device=``), ``runtime``, ``kind``, ``software``,
    ``ran`` (whether a network ran on it), and ``detail`` (its full name, or the error).
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
    """All devices of installed runtimes beside the CPU, each tried with a small network."""
    tried = []
    with tempfile.TemporaryDirectory() as folder:
        for runtime, (module, suffix) in _RUNTIMES.items():
            if not _is_installed(module):
                continue
            path = small_network.write(suffix, Path(folder))
            for device in listing.devices(suffix):
                if device.name == "AUTO":  # no device of its own
                    continue
                item = {"name": device.name, "runtime": runtime, "kind": device.kind}
                tried.append({**item, "software": device.software, **_try(path, device)})
    return tried


def _try(path: Path, device: Device) -> dict[str, Any]:
    """Whether the device ran the network, and its full name or the error."""
    if not simulators.is_ready(device.name):
        return {"ran": False, "detail": f"{device.title}: installed when it is first used"}
    try:
        placement = trial.attempt(path, device.name, {}, 1).placement
    except EdgeEffNetError as error:
        return {"ran": False, "detail": str(error).replace(str(path), "a small network")}
    if not placement.complete:
        return {"ran": False, "detail": f"it fell back: {placement.fallback_text()}"}
    return {"ran": True, "detail": placement.device}


def sheet(description: dict[str, Any]) -> str:
    """`describe` as lines of text."""
    machine = description["host"]
    lines = [
        f"processor     {machine['cpu']} ({machine['machine']}), {machine['cores']} cores",
        f"instructions  {', '.join(machine['features']) or 'none known'}",
        f"governor      {', '.join(description['governors']) or 'unknown'}",
        f"memory        {machine['memory_mb'] or '?'} MiB",
        f"system        {machine['system']}, Python {machine['python']}",
    ]
    for runtime in description["runtimes"]:
        state = runtime["version"] or "installed" if runtime["installed"] else "not installed"
        lines.append(f"runtime       {runtime['name']} {state}")
    for item in description["accelerators"]:
        state = "runs" if item["ran"] else "does NOT run"
        kind = ", software" if item["software"] else ""
        lines.append(
            f"accelerator   {item['name']} ({item['runtime']}{kind}) {state}: {item['detail']}"
        )
    if not description["accelerators"]:
        lines.append("accelerator   no installed runtime lists one: everything runs on the CPU")
    return "\n".join(lines) + "\n"


def _governors() -> list[str]:
    paths = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    return sorted({path.read_text("ascii").strip() for path in paths})


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
