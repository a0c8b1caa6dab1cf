"""Devices of ONNX Runtime: built-in execution providers, and providers of plug-in packages."""

from __future__ import annotations

import platform
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from edge_effnet.errors import DeviceError, require
from edge_effnet.runtime.base import Runner
from edge_effnet.runtime.devices.device import Device, DeviceOptions, Kind
from edge_effnet.toolchains import environment
from edge_effnet.toolchains.registry import QNN

SUFFIX = ".onnx"
#: Name of the device -> (execution provider, kind, module of the plug-in package or "", what to
#: do to have it).
PROVIDERS: dict[str, tuple[str, Kind, str, str]] = {
    "tensorrt": (
        "TensorrtExecutionProvider",
        "gpu",
        "",
        "pip install onnxruntime-gpu, and install TensorRT",
    ),
    "cuda": ("CUDAExecutionProvider", "gpu", "", "pip install onnxruntime-gpu"),
    "migraphx": ("MIGraphXExecutionProvider", "gpu", "", "pip install onnxruntime-migraphx"),
    "directml": ("DmlExecutionProvider", "gpu", "", "pip install onnxruntime-directml"),
    "webgpu": (
        "WebGpuExecutionProvider",
        "gpu",
        "onnxruntime_ep_webgpu",
        "pip install onnxruntime-ep-webgpu",
    ),
    "qnn": ("QNNExecutionProvider", "npu", "onnxruntime_qnn", "pip install onnxruntime-qnn"),
    "vitisai": ("VitisAIExecutionProvider", "npu", "", "pip install onnxruntime-vitisai"),
    "coreml": ("CoreMLExecutionProvider", "npu", "", "it is part of onnxruntime on macOS"),
    "nnapi": ("NnapiExecutionProvider", "npu", "", "it is part of onnxruntime's build for Android"),
    "openvino": (
        "OpenVINOExecutionProvider",
        "npu",
        "onnxruntime_ep_openvino",
        "pip install onnxruntime-ep-openvino",
    ),
    "xnnpack": ("XnnpackExecutionProvider", "cpu", "", "build onnxruntime with XNNPACK"),
    "acl": ("ACLExecutionProvider", "cpu", "", "build onnxruntime with Arm Compute Library"),
}
ADVICE = {
    **{name: advice for name, (_, _, _, advice) in PROVIDERS.items()},
    "gpu": "pip install onnxruntime-gpu (NVIDIA), onnxruntime-directml (Windows) or "
    "onnxruntime-ep-webgpu",
    "npu": "pip install onnxruntime-qnn (Qualcomm) or onnxruntime-ep-openvino (Intel)",
    "qnn": "pip install onnxruntime-qnn on a Snapdragon; its simulator runs on Linux with x86-64",
}
_X86 = ("x86_64", "AMD64", "i686")


def devices(options: DeviceOptions) -> list[Device]:
    """The execution providers that this or another environment can load, but the CPU's."""
    ort = require("onnxruntime", "onnx")
    available = ort.get_available_providers()
    listed = []
    for name, (provider, kind, module, _) in PROVIDERS.items():
        if module and find_spec(module) is not None:
            for number, item in enumerate(_plugin_devices(ort, provider, module)):
                label = name if number == 0 else f"{name}:{number}"
                listed.append(Device(label, *_described(item, name, kind)))
        elif provider in available:
            listed.append(Device(name, kind, "onnxruntime", provider))
        elif name == QNN.name and environment.is_supported(QNN):
            listed.append(Device(name, kind, "onnxruntime", _title(name), _simulated(name)))
    return listed


def runner(device: Device, data: bytes, name: str, threads: int, options: DeviceOptions) -> Runner:
    """``data`` opened on ``device``.

    Raises:
        DeviceError: The execution provider cannot be loaded.
        ModelFileError: ONNX Runtime refuses the file.
    """
    from edge_effnet.runtime.onnxruntime import OnnxRuntimeRunner, Provider

    ort = require("onnxruntime", "onnx")
    base, _, number = device.name.partition(":")
    provider, _, module, _ = PROVIDERS[base]
    plugin = bool(module) and find_spec(module) is not None
    if base == QNN.name and not plugin:
        from edge_effnet.runtime.served import ServedRunner

        return ServedRunner(environment.prepared(QNN), data, name, device.name, options, threads)
    if not plugin:
        return OnnxRuntimeRunner(data, threads, name, Provider(device, provider, options))
    listed = _plugin_devices(ort, provider, module)
    chosen = int(number or 0)
    if chosen >= len(listed):
        raise DeviceError(
            f"{provider} finds no device {device.name} on this machine; choose one of its "
            f"{len(listed)} devices"
        )
    settings = {**_defaults(base, module), **options}
    return OnnxRuntimeRunner(
        data, threads, name, Provider(device, provider, settings, listed[chosen])
    )


def _plugin_devices(ort: Any, provider: str, module: str) -> list[Any]:
    """The OrtEpDevices of a plug-in package; empty if its library cannot be used."""
    known = [item for item in ort.get_ep_devices() if item.ep_name == provider]
    if known:
        return known
    plugin = import_module(module)
    try:
        ort.register_execution_provider_library(provider, plugin.get_library_path())
    except Exception as error:  # ONNX Runtime's errors have no other common base
        raise DeviceError(
            f"the plug-in {module} cannot be loaded ({str(error).strip()[:300]}); update it "
            "together with onnxruntime"
        ) from error
    return [item for item in ort.get_ep_devices() if item.ep_name == provider]


def _described(item: Any, name: str, kind: Kind) -> tuple[Kind, str, str, bool]:
    """Kind, runtime, title and ``software`` of an OrtEpDevice."""
    hardware = item.device.type.name.lower()
    hardware_kind: Kind = hardware if hardware in ("gpu", "npu") else kind
    title = _title(name)
    if name != "qnn":
        title = f"{item.ep_name} on {item.device.vendor} {hardware.upper()}"
        return hardware_kind if hardware != "cpu" else "cpu", "onnxruntime", title, False
    return hardware_kind, "onnxruntime", title, hardware == "cpu"


def _title(name: str) -> str:
    if name == "qnn":
        return "Qualcomm HTP simulator" if _simulated(name) else "Qualcomm HTP"
    return PROVIDERS[name][0]


def _simulated(name: str) -> bool:
    """Whether the provider computes on the CPU: Qualcomm's HTP library for x86 is a simulator."""
    return name == "qnn" and platform.machine() in _X86


def _defaults(name: str, module: str) -> dict[str, str]:
    if name == "qnn":
        return {"backend_path": str(import_module(module).get_qnn_htp_path())}
    return {}
