"""Selection of a device by name for a file, and the file opened on it in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

from edge_effnet.errors import DeviceError, UsageError
from edge_effnet.runtime.base import Runner
from edge_effnet.runtime.devices import libraries, litert, onnxruntime, openvino
from edge_effnet.runtime.devices.device import AUTO, CPU, Device, DeviceOptions

_RUNTIMES: Mapping[str, ModuleType] = {
    each.SUFFIX: each for each in (litert, onnxruntime, openvino)
}


def devices(suffix: str, options: DeviceOptions | None = None) -> list[Device]:
    """The devices for files with this suffix, but the CPU; drivers are loaded in this process."""
    module = _RUNTIMES.get(suffix)
    listed: list[Device] = [] if module is None else module.devices(options or {})
    return listed


def find(name: str, path: Path, options: DeviceOptions | None = None) -> Device:
    """The device that ``name`` selects for the file ``path``.

    Args:
        name: An exact name, in any case; a kind ("gpu", "npu", "edgetpu") for the first hardware
            device of the kind; the path of a delegate's library for a .tflite file; or a virtual
            device of OpenVINO for an .xml file.
        path: The file.
        options: Settings of the driver.

    Raises:
        DeviceError: There is no such device; the message lists the devices.
    """
    suffix = path.suffix.lower()
    listed = devices(suffix, options)
    device = match(name, suffix, listed)
    if device is None:
        raise absent(name, path, listed)
    return device


def kind_of(name: str) -> str:
    """Kind of a device by its name: "cpu", "gpu", "npu" or "edgetpu"; the name itself if unknown.

    AUTO and HETERO of OpenVINO have no kind.
    """
    base = name.partition(":")[0].lower()
    if base in libraries.DELEGATES:
        return libraries.DELEGATES[base][1]
    if base in onnxruntime.PROVIDERS:
        return onnxruntime.PROVIDERS[base][1]
    return base.partition(".")[0]


def match(name: str, suffix: str, listed: Sequence[Device]) -> Device | None:
    """As `find`, among the ``listed`` devices; None if ``name`` selects none of them."""
    for device in listed:
        if device.name.lower() == name.lower():
            return device
    for device in listed:
        if device.kind == name.lower() and not device.software:
            return device
    if suffix == litert.SUFFIX and libraries.is_library(name):
        return Device(name, "npu", "litert", f"delegate {Path(name).name}")
    return openvino.virtual(name) if suffix == openvino.SUFFIX else None


def absent(name: str, path: Path, listed: Sequence[Device]) -> DeviceError:
    """The error for a name that selects no device: it says what is there and what to install."""
    suffix = path.suffix.lower()
    here = ", ".join([CPU, *map(str, listed)])
    advice: dict[str, str] = _RUNTIMES[suffix].ADVICE if suffix in _RUNTIMES else {}
    kinds = [kind for kind in ("gpu", "npu", "edgetpu") if kind in advice]
    install = advice.get(name.lower()) or "; ".join(f"{kind}: {advice[kind]}" for kind in kinds)
    return DeviceError(
        f"there is no device {name!r} for {path.name}; this machine has {here} for {suffix} files",
        hint=install,
    )


def open_here(
    path: str,
    data: bytes,
    device: str,
    options: DeviceOptions,
    threads: int,
    companion: bytes = b"",
    precision: str = "f32",
) -> Runner:
    """A file opened in this process on the device that ``device`` selects.

    Raises:
        DeviceError: There is no such device, or it cannot run the file.
        ModelFileError: The file is damaged.
        UsageError: ``device`` is "auto", or options are given for the CPU.
    """
    if device in (CPU, AUTO):
        raise UsageError(f"driver settings are for an accelerator; {device!r} has none")
    file = Path(path)
    chosen = find(device, file, options)
    if file.suffix.lower() == litert.SUFFIX:
        return litert.runner(chosen, data, path, threads, options)
    if file.suffix.lower() == onnxruntime.SUFFIX:
        return onnxruntime.runner(chosen, data, path, threads, options)
    return openvino.runner(chosen, data, companion, path, threads, precision, options)
