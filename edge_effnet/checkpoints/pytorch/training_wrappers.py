"""Conversion of state dicts of pruned and QAT networks to float state dicts."""

from __future__ import annotations

import re
from dataclasses import replace

from edge_effnet.checkpoints.source import Checkpoint
from edge_effnet.errors import CheckpointError

_ORIGINAL, _MASK = "_orig", "_mask"
_OBSERVER = re.compile(r"(^|\.)(weight_fake_quant|activation_post_process(_\d+)?)\.")
_REPARAMETRIZED = re.compile(r"(^|\.)parametrizations\.|_(g|v|u)$")
_SAVE = (
    "remove the wrappers before saving: torch.nn.utils.parametrize.remove_parametrizations(module, "
    "'weight') or torch.nn.utils.remove_weight_norm(module)"
)


def without_wrappers(checkpoint: Checkpoint) -> Checkpoint:
    """``checkpoint`` with pruning masks applied and fake quantization removed, with notes.

    Raises `CheckpointError` for other parametrizations of weights.
    """
    tensors = dict(checkpoint.tensors)
    notes = checkpoint.notes
    for name in checkpoint.tensors:
        base = name.removesuffix(_ORIGINAL)
        mask = base + _MASK
        if base != name and mask in tensors and tensors[mask].shape == tensors[name].shape:
            tensors[base] = tensors.pop(name) * tensors.pop(mask)
    observers = [name for name in tensors if _OBSERVER.search(name)]
    if observers:
        tensors = {name: v for name, v in tensors.items() if not _OBSERVER.search(name)}
        file = checkpoint.path.name
        notes = (
            *notes,
            f"{file} is a network in quantization-aware training: its fake quantization is left "
            "out, so outputs are those of its float weights; int8 is calibrated anew",
        )
    odd = [name for name in tensors if _REPARAMETRIZED.search(name)]
    if odd:
        raise CheckpointError(
            f"{checkpoint.path} holds reparametrized weights ({odd[0]}, {len(odd)} in all); {_SAVE}"
        )
    return replace(checkpoint, tensors=tensors, notes=notes)
