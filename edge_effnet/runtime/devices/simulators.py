"""Simulators in environments of their own, as devices; none is installed before it is used."""

from __future__ import annotations

from importlib.util import find_spec

from edge_effnet.runtime.base import Runner
from edge_effnet.runtime.devices.device import Device
from edge_effnet.toolchains import environment
from edge_effnet.toolchains.registry import QNN, TOSA, Toolchain

ETHOS_U = "ethos-u"
_QNN_PLUGIN = "onnxruntime_qnn"
_TOOLCHAINS: dict[str, Toolchain] = {ETHOS_U: TOSA}
_TITLES = {ETHOS_U: "Arm Ethos-U, by the TOSA reference model"}


def devices() -> list[Device]:
    """The simulators for .tflite files that run on this machine."""
    return [
        Device(name, "npu", toolchain.name, _TITLES[name], software=True)
        for name, toolchain in _TOOLCHAINS.items()
        if environment.is_supported(toolchain)
    ]


def is_ready(name: str) -> bool:
    """Whether a device needs no installation before its first use."""
    toolchain = QNN if name == QNN.name else _TOOLCHAINS.get(name)
    plugin = name == QNN.name and find_spec(_QNN_PLUGIN) is not None
    return toolchain is None or plugin or environment.is_ready(toolchain)


def prepare(name: str) -> None:
    """Install the toolchain of the simulator ``name``; nothing for other devices.

    Raises:
        MissingExtra: It cannot be installed.
    """
    if name.lower() in _TOOLCHAINS:
        environment.prepared(_TOOLCHAINS[name.lower()])
    if name.lower() == QNN.name and find_spec(_QNN_PLUGIN) is None:
        environment.prepared(QNN)


def runner(device: Device, data: bytes, name: str) -> Runner:
    """``data``, a .tflite file, opened on a simulator.

    Raises:
        ModelFileError: The file is damaged, or the simulated device cannot run it.
    """
    from edge_effnet.runtime.devices.tosa import TosaRunner

    return TosaRunner(data, name, device.name)
