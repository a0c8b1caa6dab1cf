"""What can go wrong, as one small tree; each error has a builtin base as well.

    EdgeEffNetError                         any of the below; the command line exits with 2
    ├── UsageError         (ValueError)     an argument that makes no sense (unknown variant, ...)
    ├── MissingExtra       (ImportError)    an optional package is not installed; has the pip line
    ├── CheckpointError    (OSError)        weights that are unreadable, hostile, another network's
    ├── ImageError         (OSError)        a photo, or a folder of photos, that cannot be used
    ├── ModelFileError     (OSError)        an exported file that is truncated, altered, incomplete
    ├── OutputError        (OSError)        a result that cannot be written
    ├── QuantizationError  (RuntimeError)   calibration failed, or the quantized network collapsed
    ├── CameraError        (RuntimeError)   a camera, video, stream, display or port
    ├── DeviceError        (RuntimeError)   a machine to measure on that cannot be reached or used
    └── DownloadError      (RuntimeError)   a package of the browser's runtime

Every message says what happened, to which file or layer, and what to do next. Advice that names an
argument is the error's ``hint``, written as Python takes it (``formats=['tflite']``); the command
line writes its own option there (``--formats tflite``).
"""

from __future__ import annotations

import importlib
from types import ModuleType


class EdgeEffNetError(Exception):
    """Base of every error that a user's input can cause.

    Attributes:
        message: What happened, to which file or layer.
        hint: What to do next, with arguments in Python's notation; may be empty.
    """

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(EdgeEffNetError, ValueError):
    """An argument is invalid."""


class MissingExtra(EdgeEffNetError, ImportError):
    """An optional package is needed and not installed."""


class CheckpointError(EdgeEffNetError, OSError):
    """A checkpoint cannot be read, is unsafe to read, or holds another network."""


class ImageError(EdgeEffNetError, OSError):
    """A photo cannot be decoded, or a folder holds no usable photo."""


class ModelFileError(EdgeEffNetError, OSError):
    """An exported file is truncated, altered, or lacks what is needed to run it."""


class OutputError(EdgeEffNetError, OSError):
    """A result cannot be written."""


class QuantizationError(EdgeEffNetError, RuntimeError):
    """Calibration failed, or the quantized network's top-1 agreement with float collapsed."""


class CameraError(EdgeEffNetError, RuntimeError):
    """A camera, video, stream, display or port cannot be used."""


class DeviceError(EdgeEffNetError, RuntimeError):
    """A machine to measure on cannot be reached, lacks what is needed, or was lost."""


class DownloadError(EdgeEffNetError, RuntimeError):
    """A package cannot be fetched, or is not the one that was pinned."""


def reason(error: Exception) -> str:
    """What went wrong, without the number and the path that an `OSError` repeats."""
    return getattr(error, "strerror", None) or str(error)


def require(module: str, extra: str) -> ModuleType:
    """Import ``module``, or raise `MissingExtra` naming the pip line of ``extra``."""
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
