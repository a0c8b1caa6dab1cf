"""Vulkan adapters of this machine, for LiteRT's GPU accelerator (WebGPU over Vulkan).

Chromium ships the software adapter SwiftShader and a Vulkan loader. The loader is preloaded if the
system has none: LiteRT finds it by its soname.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_LOADER = "libvulkan.so.1"
_DRIVERS = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")
_CPU_TYPE = 4  # VK_PHYSICAL_DEVICE_TYPE_CPU
_ICD = "vk_swiftshader_icd.json"
#: Folders of Chromium, Chrome and Playwright's Chromium.
_CHROMIUM = (
    *("/usr/lib/chromium", "/usr/lib/chromium-browser", "/usr/lib64/chromium-browser"),
    *("/opt/google/chrome", "/snap/chromium/current/usr/lib/chromium-browser"),
)
_PLAYWRIGHT = "chromium-*/chrome-linux*"


@dataclass(frozen=True)
class Adapter:
    """A Vulkan adapter; ``software`` ones compute on the CPU."""

    name: str
    software: bool


class _InstanceInfo(ctypes.Structure):
    """VkInstanceCreateInfo."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("next", ctypes.c_void_p),
        ("flags", ctypes.c_uint32),
        ("application", ctypes.c_void_p),
        ("layers", ctypes.c_uint32),
        ("layer_names", ctypes.c_void_p),
        ("extensions", ctypes.c_uint32),
        ("extension_names", ctypes.c_void_p),
    )


def adapters() -> tuple[Adapter, ...]:
    """The adapters that the Vulkan loader lists with this process's environment variables."""
    library = _load()
    if library is None:
        return ()
    info, instance = _InstanceInfo(1), ctypes.c_void_p()
    if library.vkCreateInstance(ctypes.byref(info), None, ctypes.byref(instance)) != 0:
        return ()
    try:
        count = ctypes.c_uint32()
        library.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), None)
        handles = (ctypes.c_void_p * count.value)()
        library.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), handles)
        return tuple(_describe(library, handle) for handle in handles if handle is not None)
    finally:
        library.vkDestroyInstance(instance, None)


def use_swiftshader() -> bool:
    """Select Chromium's SwiftShader for this process; False if no Chromium is installed."""
    driver = swiftshader()
    if driver is None:
        return False
    for variable in _DRIVERS:
        os.environ[variable] = str(driver)
    return True


def swiftshader() -> Path | None:
    """Path of SwiftShader's driver description (.json); None without a Chromium."""
    return next((path for path in _swiftshader_paths() if path.is_file()), None)


def _swiftshader_paths() -> Iterable[Path]:
    for variable in _DRIVERS:
        chosen = Path(os.environ.get(variable) or "unset")
        if chosen.name == _ICD:
            yield chosen
    for folder in _CHROMIUM:
        yield Path(folder) / _ICD
    for browser in ("chromium", "google-chrome", "chrome"):
        executable = shutil.which(browser)
        if executable:
            yield Path(executable).resolve().parent / _ICD
    browsers = os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or os.path.expanduser(
        "~/.cache/ms-playwright"
    )
    yield from (folder / _ICD for folder in sorted(Path(browsers).glob(_PLAYWRIGHT), reverse=True))


def _load() -> ctypes.CDLL | None:
    """The Vulkan loader: the system's, or the one beside the selected driver."""
    beside = [
        Path(os.environ[variable]).parent / _LOADER
        for variable in _DRIVERS
        if os.environ.get(variable)
    ]
    for library in (_LOADER, *map(str, beside)):
        try:
            return ctypes.CDLL(library, ctypes.RTLD_GLOBAL)
        except OSError:
            continue
    return None


def _describe(library: ctypes.CDLL, handle: int) -> Adapter:
    properties = ctypes.create_string_buffer(4096)  # VkPhysicalDeviceProperties has 824 bytes
    library.vkGetPhysicalDeviceProperties(ctypes.c_void_p(handle), properties)
    kind = struct.unpack_from("5I", properties.raw)[4]
    name = properties.raw[20:276].split(b"\0")[0].decode("utf-8", "replace")
    return Adapter(name, kind == _CPU_TYPE)
