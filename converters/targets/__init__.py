"""Further formats, each for the library that runs it: Core ML, ExecuTorch, ncnn.

Every module has `write(model, card, folder)`, which makes the parts of a file in an empty folder,
all named ``model`` and their suffix; needs its own extra, if any; and is imported by name here.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from edge_effnet.card import ModelCard, Precision
from edge_effnet.errors import OutputError
from edge_effnet.model import Model


@dataclass(frozen=True)
class Target:
    """A format: the suffixes of its parts, the one to open first, and the precisions it has."""

    suffixes: tuple[str, ...]
    precisions: tuple[Precision, ...]


TARGETS = {
    "coreml": Target((".mlpackage",), ("fp32", "fp16")),
    "executorch": Target((".pte",), ("fp32",)),
    "ncnn": Target((".ncnn.param", ".ncnn.bin", ".ncnn.json"), ("fp32", "fp16")),
}


def load(name: str) -> None:
    """Raise `MissingExtra` now rather than after the first file if a package is missing."""
    import_module(f"edge_effnet.converters.targets.{name}")


def left_out(name: str, precisions: Sequence[Precision]) -> list[Precision]:
    """Those of ``precisions`` that the format does not have."""
    return [each for each in precisions if each not in TARGETS[name].precisions]


def save(name: str, model: Model, card: ModelCard, folder: Path) -> Path:
    """Write ``<variant>-<precision><suffix>`` for every part; returns the path of the first.

    ``model`` has its BN folded. Each part is complete or absent. Raises `OutputError`.
    """
    stem = folder / f"{card.variant}-{card.precision}"
    paths = [Path(f"{stem}{suffix}") for suffix in TARGETS[name].suffixes]
    try:
        with tempfile.TemporaryDirectory(prefix=".", suffix=".part", dir=folder) as temporary:
            module = import_module(f"edge_effnet.converters.targets.{name}")
            module.write(model, card, Path(temporary))
            for path, suffix in zip(paths, TARGETS[name].suffixes, strict=True):
                if path.is_dir():
                    shutil.rmtree(path)
                os.replace(Path(temporary) / f"model{suffix}", path)
    except OSError as error:
        raise OutputError(
            f"cannot write {paths[0]}: {error.strerror or error}; free some space or choose "
            "another folder"
        ) from error
    return paths[0]
