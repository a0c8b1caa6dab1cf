"""Registry of file formats: suffixes, display name, precisions and writer.

It also knows companion files: OpenVINO stores the weights of an .xml in a .bin beside it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from edge_effnet.card import PRECISIONS
from edge_effnet.names import Precision


@dataclass(frozen=True)
class Format:
    """One file format.

    Attributes:
        name: Name of the format in ``--formats``.
        title: Display name of the format.
        suffixes: Suffixes of the format's files. The first is the suffix of the file to open.
        precisions: Precisions that the writer supports.
        writer: Module whose function ``write`` writes the format.
        runs: Whether a Runner exists for the format, whose package is in the extra ``export``.
        runtime: Module of a Runner whose package is in an extra of its own; empty without one.
        batches: Whether batch sizes other than 1 are possible.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    precisions: tuple[Precision, ...]
    writer: str
    runs: bool = True
    runtime: str = ""
    batches: bool = False

    @property
    def suffix(self) -> str:
        """The suffix of the file to open."""
        return self.suffixes[0]


_WRITERS = "edge_effnet.converters.formats"
_WITHOUT_DYNAMIC: tuple[Precision, ...] = ("fp32", "fp16", "w8", "int8", "mixed")

#: All formats by name, in display order.
FORMATS = {
    each.name: each
    for each in (
        Format("tflite", "TFLite", (".tflite",), PRECISIONS, f"{_WRITERS}.tflite.writer"),
        Format("onnx", "ONNX", (".onnx",), _WITHOUT_DYNAMIC, f"{_WRITERS}.onnx", batches=True),
        Format(
            "openvino",
            "OpenVINO",
            (".xml", ".bin"),
            _WITHOUT_DYNAMIC,
            f"{_WRITERS}.openvino",
            batches=True,
        ),
        Format(
            "coreml", "Core ML", (".mlpackage",), ("fp32", "fp16"), f"{_WRITERS}.coreml", runs=False
        ),
        Format(
            "executorch",
            "ExecuTorch",
            (".pte",),
            ("fp32", "int8"),
            f"{_WRITERS}.executorch",
            runs=False,
            runtime="executorch",
        ),
        Format(
            "ncnn",
            "ncnn",
            (".ncnn.param", ".ncnn.bin", ".ncnn.json"),
            ("fp32", "fp16"),
            f"{_WRITERS}.ncnn",
            runs=False,
        ),
        Format(
            "rknn",
            "RKNN",
            (".rk3588.rknn", ".rk3576.rknn", ".rk3566.rknn", ".rknn.json"),
            ("int8",),
            f"{_WRITERS}.rknn",
            runs=False,
        ),
        Format(
            "imx500",
            "IMX500",
            (".imx500.zip", ".imx500.json", ".imx500.txt"),
            ("int8",),
            f"{_WRITERS}.imx500",
            runs=False,
        ),
    )
}
#: Names of the formats that every installation with the extra ``export`` runs.
RUNNABLE = tuple(name for name, each in FORMATS.items() if each.runs)
_OPENED = tuple(each for each in FORMATS.values() if each.runs or each.runtime)
#: Suffixes of the files to open, for formats that have a Runner.
SUFFIXES = tuple(each.suffix for each in _OPENED)


def format_of(path: str | os.PathLike[str]) -> Format | None:
    """Format of a file by suffix; None if no Runner opens it."""
    suffix = Path(path).suffix.lower()
    return next((each for each in _OPENED if each.suffix == suffix), None)


def not_a_model(path: str | os.PathLike[str]) -> str:
    """Error message for a ``path`` that exists but is not a model file."""
    fault = "is a folder" if Path(path).is_dir() else f"is none of {', '.join(SUFFIXES)}"
    return f"{path} {fault}; give an exported model file"


def is_runnable(path: str | os.PathLike[str]) -> bool:
    """Whether a Runner opens the file by its suffix, and the Runner's own package is installed."""
    kind = format_of(path)
    return kind is not None and (not kind.runtime or find_spec(kind.runtime) is not None)


def companion_path(path: str | os.PathLike[str]) -> Path | None:
    """Path of the companion file (the .bin of an .xml); None if there is none."""
    file_format = format_of(path)
    return (
        Path(path).with_suffix(file_format.suffixes[1])
        if file_format and file_format.suffixes[1:]
        else None
    )


def format_name(path: str | os.PathLike[str]) -> str:
    """Name of the format by the file's suffix, such as ``onnx``; ``unknown`` for others."""
    file_format = format_of(path)
    return "unknown" if file_format is None else file_format.name


def size_bytes(path: str | os.PathLike[str]) -> int:
    """Size of a file on disk in bytes, including its companion file."""
    parts = (Path(path), companion_path(path))
    return sum(part.stat().st_size for part in parts if part is not None)


def title_of(name: str) -> str:
    """Display name of the format ``name``; ``name`` itself if unknown."""
    return FORMATS[name].title if name in FORMATS else name
