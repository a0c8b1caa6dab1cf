"""Further float formats for other runtimes: Core ML, ExecuTorch, ncnn.

Every module has `write(model, card, folder)`. The function writes files named ``model`` with the
format's suffixes into an empty folder. A module may need an extra.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from edge_effnet.calibration.passes.fold import fold_batch_norm
from edge_effnet.card import ModelCard
from edge_effnet.errors import EdgeEffNetError, OutputError, UsageError
from edge_effnet.files import make_folder
from edge_effnet.formats import FORMATS
from edge_effnet.model import Model
from edge_effnet.names import Precision

#: Names of the formats that have no Runner and run in other programs only.
FURTHER = tuple(name for name, each in FORMATS.items() if not each.runs)


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
        import_module(FORMATS[name].writer)


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
            if precision in FORMATS[format_name].precisions:
                card = model.info.card(precision=precision)
                base = folder / f"{name or card.variant}-{precision}"
                paths.append(_save(format_name, folded, card, base))
        if progress is not None:
            progress("write further formats", index + 1, len(names))
    return paths


def _save(name: str, model: Model, card: ModelCard, base: Path) -> Path:
    """Write the files ``<base><suffix>`` atomically and return the first path."""
    paths = [Path(f"{base}{suffix}") for suffix in FORMATS[name].suffixes]
    try:
        with tempfile.TemporaryDirectory(prefix=".", suffix=".part", dir=base.parent) as temporary:
            module = import_module(FORMATS[name].writer)
            module.write(model, card, Path(temporary))
            for path, suffix in zip(paths, FORMATS[name].suffixes, strict=True):
                if path.is_dir():
                    shutil.rmtree(path)
                os.replace(Path(temporary) / f"model{suffix}", path)
    except EdgeEffNetError:
        raise
    except OSError as error:
        raise OutputError(
            f"cannot write {paths[0]}: {error.strerror or error}; free some space or choose "
            "another folder"
        ) from error
    return paths[0]
