"""state.pt: everything that a fine-tuning needs to go on after an interruption.

The state is written at the end of each epoch under a temporary name and renamed. Randomness is
seeded by epoch, so the state needs no random generators: the resumed training computes the same
weights, bit for bit, as one that was not interrupted.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edge_effnet import reading
from edge_effnet.apps.training import torch_files
from edge_effnet.apps.training.fine_tuning.settings import FineTuneSettings
from edge_effnet.apps.training.samples import TrainingData
from edge_effnet.checkpoints.canonical import in_run_folder
from edge_effnet.errors import ModelFileError, UsageError, require
from edge_effnet.model import Model

require("torch", "train")

import torch  # noqa: E402  (after the check, whose message names the extra)

SCHEMA = 2
State = dict[str, Any]


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write ``state`` atomically; raises `OutputError` if the disk is full."""
    torch_files.write(path, {"schema": SCHEMA, **state})


def load(path: Path, identity: Mapping[str, str]) -> State | None:
    """The state in ``path``; None if there is none.

    Args:
        path: The file.
        identity: `identity` of the present training.

    Raises:
        UsageError: The state belongs to a training with another identity.
        ModelFileError: The file is damaged.
    """
    if not path.exists():
        return None
    try:
        state: State = torch.load(path, map_location="cpu", weights_only=True)
        recorded = dict(state["identity"])
        if state["schema"] != SCHEMA:
            raise ValueError("it was written by another release")
    except Exception as error:  # torch raises many types for damaged files
        raise ModelFileError(
            f"cannot read {path}: {str(error).splitlines()[0] if str(error) else error!r}; "
            "remove it to fine-tune from the head again"
        ) from error
    different = [name for name, value in identity.items() if recorded.get(name) != value]
    if different:
        raise UsageError(
            f"the fine-tuning in {path} was started with other {' and '.join(different)}",
            hint="start a training in a new folder",
        )
    return state


def identity(model: Model, data: TrainingData, settings: FineTuneSettings) -> dict[str, str]:
    """Digest of everything that determines the result, by the words for it in messages.

    The number of epochs does not belong to it, because a training can be extended.
    """
    weights = hashlib.sha256()
    for name in model.graph.parameter_shapes:
        weights.update(name.encode())
        weights.update(np.ascontiguousarray(model.weights[name]).tobytes())
    photos = [[sample.name, sample.label, sample.split] for sample in data.samples]
    choices = {"seed": settings.seed, "balanced": settings.balanced}
    return {
        "classes": _digest(list(data.class_names)),
        "photos": _digest(photos),
        "weights": weights.hexdigest(),
        "recipe": _digest(asdict(settings.training_recipe)),
        "teacher": _teacher(settings.teacher),
        "settings": _digest(choices),
    }


def _teacher(path: str | os.PathLike[str] | None) -> str:
    """Digest of the teacher's file, wherever it lies; the path of a folder of another library."""
    if path is None:
        return ""
    file = in_run_folder(Path(path))
    return reading.sha256(file) if file.is_file() else str(path)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
