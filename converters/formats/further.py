"""Further formats for other runtimes: Core ML, ExecuTorch, ncnn, RKNN, IMX500.

A module for float files has `write(model, card, folder)`. The function writes files named ``model``
with the format's suffixes into an empty folder. A module for int8 files has
`write_int8(source, card, folder)`, which also returns the logits of a simulation, and
`quantization(source)`. A module may need an extra, or a toolchain (`check_installed`), and may
refuse a network (`check_network`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet import temporary
from edge_effnet.calibration.fidelity import compare
from edge_effnet.calibration.passes.fold import fold_batch_norm
from edge_effnet.calibration.quantized_model import QuantizedModel
from edge_effnet.calibration.samples.photos import Samples
from edge_effnet.card import ModelCard, ModelInfo
from edge_effnet.classifier import class_logits
from edge_effnet.errors import EdgeEffNetError, OutputError, UsageError
from edge_effnet.files import make_folder
from edge_effnet.formats import FORMATS
from edge_effnet.model import Model
from edge_effnet.names import Precision

#: Names of the formats that have no Runner and run in other programs only.
FURTHER = tuple(name for name, each in FORMATS.items() if not each.runs)

_MOST_JUDGED = 64  # photos of the fidelity check


def check(
    formats: Sequence[str], precisions: Sequence[Precision], say: Callable[[str], None]
) -> None:
    """Check that ``formats``, names of `FURTHER`, can be written.

    Args:
        formats: The formats.
        precisions: The chosen precisions.
        say: Called with the precisions that a format does not support.

    Raises:
        UsageError: A format supports none of the precisions.
        MissingExtra: A package is missing.
    """
    for name in formats:
        known = FORMATS[name].precisions
        missing = [each for each in precisions if each not in known]
        if len(missing) == len(precisions):
            raise UsageError(
                f"there is no {missing[0]} for {name}",
                hint=f"choose precisions= from {', '.join(known)}",
            )
        if missing:
            say(f"{name} files come in {', '.join(known)}: {', '.join(missing)} is left out")
        module = import_module(FORMATS[name].writer)
        if hasattr(module, "check_installed"):
            module.check_installed()


def check_network(formats: Sequence[str], folded: Model) -> None:
    """Raise `UsageError` if one of ``formats`` cannot hold ``folded``, whose BN is folded."""
    for name in formats:
        module = import_module(FORMATS[name].writer)
        if hasattr(module, "check_network"):
            module.check_network(folded)


@dataclass(frozen=True)
class Int8Source:
    """What an int8 file for another runtime is written from.

    Attributes:
        model: The float network with BN folded.
        samples: The calibration photos; None if a finished plan is exported.
        quantized: Computes our quantized network, or returns the finished one.
        report: Called with (stage, done, total).
        say: Called with warnings.
    """

    model: Model
    samples: Samples | None
    quantized: Callable[[], QuantizedModel]
    report: Callable[[str, int, int], None]
    say: Callable[[str], None]

    @property
    def judged(self) -> NDArray[np.uint8]:
        """Pixels [n, height, width, 3] of the photos of the fidelity check, at most 64."""
        if self.samples is None:
            side = self.model.info.preprocess.size
            return np.zeros((0, side, side, 3), np.uint8)
        return self.samples.pixels[:_MOST_JUDGED]


def save_int8(
    source: Int8Source,
    names: Sequence[str],
    out: Path,
    reference: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    *,
    name: str | None,
    force: bool,
    say: Callable[[str], None],
) -> list[Path]:
    """Write an int8 file in each format of ``names``, after the fidelity check of its simulation.

    Args:
        source: The network and the photos.
        names: Names of `FURTHER`.
        out: Output folder.
        reference: Computes the float network's logits [n, classes] of pixels [n, h, w, 3].
        name: First part of the files' names; by default the variant's name.
        force: Whether to write a file that fails the check. It is then written twice, because its
            card must say so.
        say: Called with warnings about forced files.

    Raises:
        QuantizationError: A file fails the check and ``force`` is off.
        UsageError: The format needs photos, or cannot hold the network.
        OutputError: A file cannot be written.
    """
    paths = []
    for format_name in names:
        module = import_module(FORMATS[format_name].writer)
        info, quantization = source.model.info, module.quantization(source)
        card = info.card(precision="int8", input="pixels", quantization=quantization)
        marked = replace(card, quantization=replace(quantization, forced=True))
        base = out / f"{name or card.variant}-int8"
        check = _check(base.name + FORMATS[format_name].suffix, source, reference, info, force, say)

        write = partial(_write_checked, module, source, card, marked, check)
        paths.append(_replace(format_name, base, write))
    return paths


def _write_checked(
    module: Any,
    source: Int8Source,
    card: ModelCard,
    marked: ModelCard,
    check: Callable[[NDArray[np.float32]], bool],
    folder: Path,
) -> None:
    """Fill ``folder`` with the files of ``card``; with those of ``marked`` if they are forced."""
    forced = check(module.write_int8(source, card, folder))
    if forced:
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        module.write_int8(source, marked, folder)


def _check(
    file: str,
    source: Int8Source,
    reference: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    info: ModelInfo,
    force: bool,
    say: Callable[[str], None],
) -> Callable[[NDArray[np.float32]], bool]:
    """A function of the simulated logits: whether ``file`` collapsed and is forced.

    Without ``force`` the function raises `QuantizationError` if the file collapsed.
    """

    def check(logits: NDArray[np.float32]) -> bool:
        random = info.source is not None and info.source.kind == "random"
        if not len(source.judged) or random:
            return False
        fidelity = compare(reference(source.judged), class_logits(info, logits), info)
        if fidelity.collapsed and not force:
            raise fidelity.refusal(file, info.variant)
        if fidelity.collapsed:
            say(f"{file} collapsed ({fidelity.agreement:.1%} agreement): forced")
        return fidelity.collapsed

    return check


def save(
    model: Model,
    names: Sequence[str],
    precisions: Sequence[Precision],
    out: str | os.PathLike[str],
    progress: Callable[[str, int, int], None] | None = None,
    name: str | None = None,
) -> list[Path]:
    """Write each format of ``names`` in each supported precision of ``precisions``.

    Args:
        model: The network with BN folded.
        names: Names of `FURTHER`.
        precisions: The chosen precisions.
        out: Output folder.
        progress: Called with (stage, done, total).
        name: First part of the files' names; by default the variant's name.

    Raises:
        OutputError: A file cannot be written.
    """
    folder, folded, paths = make_folder(out), fold_batch_norm(model), []
    for index, format_name in enumerate(names):
        for precision in precisions:
            if precision != "int8" and precision in FORMATS[format_name].precisions:
                card = model.info.card(precision=precision)
                base = folder / f"{name or card.variant}-{precision}"
                paths.append(_save(format_name, folded, card, base))
        if progress is not None:
            progress("write further formats", index + 1, len(names))
    return paths


def _save(name: str, model: Model, card: ModelCard, base: Path) -> Path:
    """Write the files ``<base><suffix>`` atomically and return the first path."""
    module = import_module(FORMATS[name].writer)
    return _replace(name, base, lambda folder: module.write(model, card, folder))


def _replace(name: str, base: Path, write: Callable[[Path], None]) -> Path:
    """Let ``write`` fill a folder, then move its files to ``<base><suffix>``."""
    paths = [Path(f"{base}{suffix}") for suffix in FORMATS[name].suffixes]
    try:
        with temporary.beside(paths[0], folder=True) as folder:
            write(folder)
            for path, suffix in zip(paths, FORMATS[name].suffixes, strict=True):
                if path.is_dir():
                    shutil.rmtree(path)
                os.replace(folder / f"model{suffix}", path)
    except EdgeEffNetError:
        raise
    except OSError as error:
        raise OutputError(
            f"cannot write {paths[0]}: {error.strerror or error}; free some space or choose "
            "another folder"
        ) from error
    return paths[0]
