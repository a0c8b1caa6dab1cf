"""Devices of OpenVINO: CPU, GPU and NPU plug-ins, and its virtual devices AUTO and HETERO."""

from __future__ import annotations

from typing import Any

from edge_effnet.errors import require
from edge_effnet.runtime.base import Runner
from edge_effnet.runtime.devices.device import Device, DeviceOptions, Kind

SUFFIX = ".xml"
ADVICE = {
    "gpu": "install Intel's GPU driver (intel-opencl-icd)",
    "npu": "install Intel's NPU driver (intel-npu-driver)",
}
#: Devices of OpenVINO that distribute work among others.
_VIRTUAL = ("AUTO", "HETERO", "MULTI", "BATCH")


def devices(options: DeviceOptions) -> list[Device]:
    """The devices that OpenVINO lists, but the CPU; and AUTO."""
    core = require("openvino", "openvino").Core()
    listed = [
        Device(name, _kind(name), "openvino", str(core.get_property(name, "FULL_DEVICE_NAME")))
        for name in core.available_devices
        if name != "CPU"
    ]
    return [*listed, Device("AUTO", "cpu", "openvino", "OpenVINO's choice of device")]


def virtual(name: str) -> Device | None:
    """The device of a name such as HETERO:GPU,CPU; None if it is not virtual."""
    first = name.partition(":")[0]
    if first not in _VIRTUAL:
        return None
    return Device(name, "cpu", "openvino", f"OpenVINO's {first}")


def _kind(name: str) -> Kind:
    first = name.partition(".")[0]
    return "gpu" if first == "GPU" else "npu" if first == "NPU" else "cpu"


def runner(
    device: Device,
    data: bytes,
    companion: bytes,
    name: str,
    threads: int,
    precision: str,
    options: DeviceOptions,
) -> Runner:
    """The file opened on ``device``; raises `ModelFileError` if OpenVINO refuses it."""
    from edge_effnet.runtime.openvino import OpenVinoRunner

    settings: dict[str, Any] = {key.upper(): value for key, value in options.items()}
    return OpenVinoRunner(
        data, companion, threads, name, precision, device=device.name, settings=settings
    )
