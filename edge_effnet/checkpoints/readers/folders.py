"""The one checkpoint in a folder, for example of Hugging Face's ``save_pretrained``."""

from __future__ import annotations

import os
import re
from pathlib import Path

from edge_effnet import formats
from edge_effnet.errors import CheckpointError, reason

#: Suffixes of checkpoints, in lower case.
SUFFIXES = (
    ".pth",
    ".pt",
    ".pth.tar",
    ".safetensors",
    ".ckpt",
    ".h5",
    ".hdf5",
    ".keras",
    ".bin",
    ".pkl",
)
#: Names that Hugging Face gives to one network in several formats, the preferred first.
_SAME = ("model.safetensors", "pytorch_model.bin", "tf_model.h5")
#: Training state that libraries store beside the network, without suffix.
_STATE = re.compile(
    r"(optimizer|scheduler|scaler|rng_state|random_states|training_args|sampler)(_?\d+)*",
    re.IGNORECASE,
)
_PIECE = re.compile(r"(.+)-\d{5}-of-\d{5}")
_LISTED = 6


def checkpoint_in(folder: Path) -> tuple[Path, str | None]:
    """The path of the one checkpoint in ``folder``, and a note if other files were left out.

    Optimizers' states and exported models are no checkpoints.

    Raises:
        CheckpointError: The folder has no checkpoint or several, or cannot be read.
    """
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise CheckpointError(f"cannot read the folder {folder}: {reason(error)}") from error
    files = [name for name in names if _is_checkpoint(name, names)]
    same = [name for name in _SAME if name in files]
    note = None
    if len(files) > 1 and len(files) == len(same):
        files = same[:1]
        note = (
            f"{folder.name} holds one network in {len(same)} formats: {same[0]} is taken, "
            f"{', '.join(same[1:])} left out"
        )
    if len(files) == 1:
        return folder / files[0], note
    if files and len({_without_number(name) for name in files}) == 1:
        raise CheckpointError(
            f"cannot read {folder}: its network is cut into {len(files)} files ({files[0]}, ...); "
            "save it again in one, with model.save_pretrained(folder, max_shard_size='5GB')"
        )
    if files:
        raise CheckpointError(
            f"cannot read {folder}: it is a folder with several checkpoints, {_listed(files)}; "
            "give the path of one of them"
        )
    models = [name for name in names if name.lower().endswith(formats.SUFFIXES)]
    inside = f" (models: {_listed(models)})" if models else ""
    raise CheckpointError(
        f"cannot read {folder}: it is a folder, and no checkpoint lies in it{inside}; give the "
        "path of one checkpoint file"
    )


def _is_checkpoint(name: str, names: list[str]) -> bool:
    lower = name.lower()
    suffix = next((each for each in SUFFIXES if lower.endswith(each)), None)
    if suffix is None:
        return False
    stem = name[: -len(suffix)]
    openvino = suffix == ".bin" and f"{stem}.xml" in names
    return not openvino and _STATE.fullmatch(stem) is None


def _without_number(name: str) -> str:
    """``name`` without the number of a piece: model-00001-of-00002.safetensors."""
    match = _PIECE.match(name)
    return match[1] if match else name


def _listed(names: list[str]) -> str:
    rest = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {rest} more" if rest > 0 else "")
