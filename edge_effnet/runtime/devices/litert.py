"""Devices for .tflite files: LiteRT's accelerators and delegates, and NPU simulators."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from edge_effnet.errors import DeviceError, require
from edge_effnet.runtime.base import Runner
from edge_effnet.runtime.devices import libraries, simulators, vulkan
from edge_effnet.runtime.devices.device import Device, DeviceOptions

SUFFIX = ".tflite"
SWIFTSHADER = "gpu:swiftshader"
#: What to install, by name or kind of the device.
ADVICE = {
    "gpu": "install the GPU's Vulkan driver and libvulkan1; Chromium brings a software adapter "
    f"for tests, the device {SWIFTSHADER!r}",
    SWIFTSHADER: "install chromium",
    "npu": "give the folder of the vendor's dispatch library: "
    "device_options={'dispatch': 'FOLDER'}",
    **{name: advice for name, (_, _, _, advice) in libraries.DELEGATES.items()},
}


def devices(options: DeviceOptions) -> list[Device]:
    """The accelerators of this machine that LiteRT can use.

    Drivers are loaded to list them: call it in a child process first.
    """
    listed = []
    adapters = vulkan.adapters()
    if adapters:
        best = min(adapters, key=lambda each: each.software)
        listed.append(Device("gpu", "gpu", "litert", best.name, best.software))
    elif sys.platform == "darwin":
        listed.append(Device("gpu", "gpu", "litert", "Apple GPU, Metal"))
    if vulkan.swiftshader() is not None:
        listed.append(Device(SWIFTSHADER, "gpu", "litert", "SwiftShader of Chromium", True))
    dispatch = _dispatch(options)
    if dispatch is not None:
        listed.append(Device("npu", "npu", "litert", dispatch.stem))
    return [*listed, *libraries.delegates(), *simulators.devices()]


def _dispatch(options: DeviceOptions) -> Path | None:
    """The vendor's dispatch library that loads: in the folder ``dispatch``, or in LiteRT's."""
    folders: Sequence[Path]
    if options.get("dispatch"):
        folders = [Path(options["dispatch"])]
    else:
        package = require("ai_edge_litert", "litert").__path__[0]
        folders = sorted(Path(package, "vendors").glob("*/dispatch"))
    candidates = (path for folder in folders for path in sorted(folder.glob("*LiteRtDispatch*")))
    return next((path for path in candidates if libraries.loads(str(path))), None)


def runner(device: Device, data: bytes, name: str, threads: int, options: DeviceOptions) -> Runner:
    """``data`` opened on ``device``.

    Raises:
        DeviceError: The driver cannot be loaded, has no device, or cannot run the file.
        ModelFileError: The file is damaged.
    """
    if libraries.is_library(device.name) or device.name in libraries.DELEGATES:
        return _delegated(device, data, name, threads, options)
    if device.name == simulators.ETHOS_U:
        return simulators.runner(device, data, name)
    from edge_effnet.runtime.litert_accelerator import LiteRTAcceleratorRunner

    title = device.title
    if device.name == SWIFTSHADER:
        vulkan.use_swiftshader()
        title = next((each.name for each in vulkan.adapters()), title)
    elif device.name == "gpu":
        vulkan.adapters()  # loads the Vulkan loader, which LiteRT finds by its soname
    accelerator: Literal["gpu", "npu"] = "npu" if device.name == "npu" else "gpu"
    return LiteRTAcceleratorRunner(
        data, name, accelerator, device.name, title, options, device.software
    )


def _delegated(
    device: Device, data: bytes, name: str, threads: int, options: DeviceOptions
) -> Runner:
    from edge_effnet.runtime.litert import LiteRTRunner, interpreter_module
    from edge_effnet.runtime.silence import silenced

    module, _ = interpreter_module()
    library, _, _, advice = libraries.DELEGATES.get(
        device.name, (device.name, device.kind, "", "check its path, options and driver")
    )
    path = os.fspath(library)
    try:
        with silenced():
            delegate = module.load_delegate(path, dict(options))
    except (AttributeError, OSError, ValueError, RuntimeError) as error:
        why = " ".join(str(error).split()) or "it names no reason"
        raise DeviceError(
            f"the delegate {path} cannot be used ({why}): no device, or not its library; {advice}"
        ) from error
    return LiteRTRunner(data, threads, name, delegate=delegate, device=device.name)
