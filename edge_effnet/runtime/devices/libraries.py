"""Shared libraries of LiteRT's external delegates, by the name of their device."""

from __future__ import annotations

import ctypes
from pathlib import Path

from edge_effnet.runtime.devices.device import Device, Kind

#: Name of the device -> (library, kind, title, what to install).
DELEGATES: dict[str, tuple[str, Kind, str, str]] = {
    "edgetpu": (
        "libedgetpu.so.1",
        "edgetpu",
        "Coral Edge TPU",
        "plug in the Coral accelerator and install libedgetpu1-std",
    ),
    "vx": (
        "libvx_delegate.so",
        "npu",
        "VeriSilicon NPU, vx-delegate",
        "install the board's vx-delegate (NXP i.MX 8M Plus, Amlogic A311D, STM32MP2)",
    ),
    "armnn": (
        "libarmnnDelegate.so",
        "gpu",
        "Arm NN delegate",
        "install Arm NN's delegate",
    ),
    "qnn-delegate": (
        "libQnnTFLiteDelegate.so",
        "npu",
        "Qualcomm QNN delegate",
        "install Qualcomm's AI Engine Direct SDK",
    ),
}
#: USB ids of the Coral accelerator, before and after its firmware is loaded.
_CORAL = {("1a6e", "089a"), ("18d1", "9302")}


def delegates() -> list[Device]:
    """The delegates whose library the dynamic linker finds, and a Coral accelerator."""
    devices = []
    for name, (library, kind, title, _) in DELEGATES.items():
        if loads(library) or (kind == "edgetpu" and has_coral()):
            devices.append(Device(name, kind, "litert", title))
    return devices


def is_library(name: str) -> bool:
    """Whether ``name`` is a shared library's file name or path."""
    path = Path(name)
    return path.suffix in (".so", ".dylib", ".dll") or ".so." in path.name


def loads(library: str) -> bool:
    """Whether the dynamic linker finds and loads ``library``."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def has_coral() -> bool:
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
