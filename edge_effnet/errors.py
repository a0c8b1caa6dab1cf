"""Errors of this project, all derived from `EdgeEffNetError` and a builtin exception.

    EdgeEffNetError                         base class; the command line exits with code 2
    ├── UsageError         (ValueError)     an invalid argument (unknown variant, ...)
    ├── MissingExtra       (ImportError)    an optional package is missing; has the pip line
    ├── CheckpointError    (OSError)        an unreadable, unsafe or unsupported checkpoint
    ├── ImageError         (OSError)        an unusable photo or folder of photos
    ├── ModelFileError     (OSError)        a truncated, altered or incomplete exported file
    ├── OutputError        (OSError)        a result that cannot be written
    ├── QuantizationError  (RuntimeError)   calibration failed, or the quantized network collapsed
    ├── CameraError        (RuntimeError)   a camera, video, stream, display or port
    ├── DeviceError        (RuntimeError)   an unreachable or unusable device
    └── DownloadError      (RuntimeError)   a package of the browser's runtime

Every message says what happened, to which file or layer, and what to do next. Advice that names an
argument is in the error's ``hint``, in Python notation (``formats=['tflite']``). The command line
replaces it by the option (``--formats tflite``).
"""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType

from edge_effnet import printable


class EdgeEffNetError(Exception):
    """Base class of all errors that user input can cause.

    Control characters are escaped and long texts are shortened (`printable.message`).

    Attributes:
        message: What happened, to which file or layer.
        hint: What to do next, with arguments in Python's notation; may be empty.
    """

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        self.message, self.hint = printable.message(message), printable.message(hint)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(EdgeEffNetError, ValueError):
    """An argument is invalid."""


class MissingExtra(EdgeEffNetError, ImportError):
    """A required optional package is not installed."""


class CheckpointError(EdgeEffNetError, OSError):
    """A checkpoint cannot be read, is unsafe to read, or is of another network."""


class ImageError(EdgeEffNetError, OSError):
    """A photo cannot be decoded, or a folder holds no usable photo."""


class ModelFileError(EdgeEffNetError, OSError):
    """An exported file is truncated, altered, or lacks data that is needed to run it."""


class OutputError(EdgeEffNetError, OSError):
    """A result cannot be written."""


class QuantizationError(EdgeEffNetError, RuntimeError):
    """Calibration failed, or the quantized network's top-1 agreement with float collapsed."""


class CameraError(EdgeEffNetError, RuntimeError):
    """A camera, video, stream, display or port cannot be used."""


class DeviceError(EdgeEffNetError, RuntimeError):
    """A device for measurements cannot be reached, lacks a requirement, or was disconnected."""


class DownloadError(EdgeEffNetError, RuntimeError):
    """A package cannot be downloaded, or differs from the pinned one."""


def reason(error: Exception) -> str:
    """Message of ``error`` without the errno and the path that an `OSError` adds."""
    return getattr(error, "strerror", None) or str(error)


#: Packages that report to their makers over the network when other packages are imported.
#: openvino and nncf do without openvino_telemetry if it cannot be imported.
_REPORTERS = ("openvino_telemetry",)
#: Environment variable -> value that switches off the reports of ONNX Runtime 1.31 and later. Its
#: native code sends them, and keeps an identifier of the machine in the user's cache.
_REPORTS_OFF = {"ORT_DISABLE_TELEMETRY": "1"}


def silence_reporters() -> None:
    """Switch off the reports of `_REPORTERS` and ONNX Runtime, here and in child processes.

    Only runtimes that are imported later are silenced.
    """
    os.environ.update(_REPORTS_OFF)
    for reporter in _REPORTERS:
        # None makes an import fail, which the type of sys.modules does not tell.
        sys.modules.setdefault(reporter, None)  # type: ignore[arg-type]


def require(module: str, extra: str) -> ModuleType:
    """Import ``module``, or raise `MissingExtra` naming the pip line of ``extra``.

    Nothing is reported to its makers: a program that measures must not open connections by itself.
    """
    silence_reporters()
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if error.name is not None and error.name.split(".")[0] != module.split(".")[0]:
            reason = f"{module} is installed but cannot be imported ({error})"
        else:
            reason = f"the package {module.split('.')[0]} is not installed"
        from edge_effnet.installation import pip_line

        line = pip_line(extra)
        raise MissingExtra(f"{reason}; it comes with the extra '{extra}': {line}") from error
