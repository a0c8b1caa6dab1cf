"""What can go wrong, as one small tree.

    EdgeEffNetError          any of the below; the command line prints it and exits with 2
    ├── UsageError           an argument that makes no sense (unknown variant, format, recipe, ...)
    ├── MissingExtra         an optional package is not installed; names the exact pip line
    ├── CheckpointError      weights that are unreadable, hostile, or of another network
    ├── ImageError           a photo, or a folder of photos, that cannot be used
    ├── QuantizationError    calibration failed, or the quantized network collapsed
    ├── ModelFileError       an exported file that is truncated, altered, or does not tell enough
    ├── CameraError          a camera, video, stream, display or port that cannot be used
    ├── DeviceError          a machine to measure on that cannot be reached or used
    ├── DownloadError        a package of the browser's runtime that cannot be fetched
    └── OutputError          a result that cannot be written

Every message says what happened, to which file or layer, and what to do next.
"""

from __future__ import annotations

import importlib
from types import ModuleType


class EdgeEffNetError(Exception):
    """Base of every error that a user's input can cause."""


class UsageError(EdgeEffNetError):
    """An argument is outside what the command or function accepts."""


class MissingExtra(EdgeEffNetError):
    """An optional package is needed and not installed."""


class CheckpointError(EdgeEffNetError):
    """A checkpoint cannot be read, is unsafe to read, or holds another network."""


class ImageError(EdgeEffNetError):
    """A photo cannot be decoded, or a folder holds no usable photo."""


class QuantizationError(EdgeEffNetError):
    """Calibration failed, or the quantized network no longer agrees with the float one."""


class ModelFileError(EdgeEffNetError):
    """An exported file is truncated, altered, or lacks what is needed to run it."""


class CameraError(EdgeEffNetError):
    """A camera, video, stream, display or port cannot be used."""


class DeviceError(EdgeEffNetError):
    """A machine to measure on cannot be reached, lacks what is needed, or was lost."""


class DownloadError(EdgeEffNetError):
    """A package cannot be fetched, or is not the one that was pinned."""


class OutputError(EdgeEffNetError):
    """A result cannot be written."""


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
