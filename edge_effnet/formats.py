"""Registry of file formats: suffixes, display name, precisions and writer.

It also knows companion files: OpenVINO stores the weights of an .xml in a .bin beside it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
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
        runs: Whether a Runner exists for the format.
        batches: Whether batch sizes other than 1 are possible.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    precisions: tuple[Precision, ...]
    writer: str
    runs: bool = True
    batches: bool = False

    @property
    def suffix(self) -> str:
        """The suffix of the file to open."""
        return self.suffixes[0]


_WRITERS = "edge_effnet.converters.formats"
_WITHOUT_DYNAMIC: tuple[Precision, ...] = ("fp32", "fp16", "w8", "int8")

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
        Format("executorch", "ExecuTorch", (".pte",), ("fp32",), f"{_WRITERS}.executorch", False),
        Format(
            "ncnn",
            "ncnn",
            (".ncnn.param", ".ncnn.bin", ".ncnn.json"),
            ("fp32", "fp16"),
            f"{_WRITERS}.ncnn",
            runs=False,
        ),
    )
}
#: Names of the formats that have a Runner.
RUNNABLE = tuple(name for name, each in FORMATS.items() if each.runs)
#: Suffixes of the files to open, for formats that have a Runner.
SUFFIXES = tuple(FORMATS[name].suffix for name in RUNNABLE)


def format_of(path: str | os.PathLike[str]) -> Format | None:
    """Format of a file by suffix; None if no Runner opens it."""
    suffix = Path(path).suffix.lower()
    return next((FORMATS[name] for name in RUNNABLE if FORMATS[name].suffix == suffix), None)


def companion_path(path: str | os.PathLike[str]) -> Path | None:
    """Path of the companion file (the .bin of an .xml); None if there is none."""
    file_format = format_of(path)
    return (
        Path(path).with_suffix(file_format.suffixes[1])
        if file_format and file_format.suffixes[1:]
        else None
    )


def format_name(path: str | os.PathLike[str]) -> str:
    """``tflite``, ``onnx`` or ``openvino`` by the file's suffix; ``unknown`` for others."""
    file_format = format_of(path)
    return "unknown" if file_format is None else file_format.name


def size_bytes(path: str | os.PathLike[str]) -> int:
    """Size of a file on disk in bytes, including its companion file."""
    parts = (Path(path), companion_path(path))
    return sum(part.stat().st_size for part in parts if part is not None)


def title_of(name: str) -> str:
    """Display name of the format ``name``; ``name`` itself if unknown."""
    return FORMATS[name].title if name in FORMATS else name
