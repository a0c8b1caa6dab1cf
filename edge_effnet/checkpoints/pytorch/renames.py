"""Renaming of tensors of libraries that nest a known network in other modules.

fastai's learners store the children of torchvision's network by position (``0.0.1.0.block...``);
MONAI's EfficientNetBN numbers stages before blocks (``_blocks.1.2._bn0``).
"""

from __future__ import annotations

import re
from dataclasses import replace

from edge_effnet.checkpoints.source import Checkpoint

_STEM, _FIRST = "0.0.weight", "1.0.block.0.0.weight"  # torchvision's features.0.0, features.1.0
_MONAI = re.compile(r"^((?:.*\.)?_blocks)\.\d+\.(\d+)\.")
_MONAI_FIRST = re.compile(r"(^|\.)_blocks\.0\.0\._depthwise_conv\.weight$")


def renamed(checkpoint: Checkpoint) -> Checkpoint:
    """``checkpoint`` with torchvision's and lukemelas' names, if it is from such a library."""
    tensors = checkpoint.tensors
    for name in tensors:
        prefix = name.removesuffix(_STEM)
        nested = prefix != name and f"{prefix}{_FIRST}" in tensors
        if nested and not prefix.endswith("features."):
            renamed = {_features(key, prefix): values for key, values in tensors.items()}
            return replace(checkpoint, tensors=renamed)
    if any(_MONAI_FIRST.search(name) for name in tensors):
        renamed = {_MONAI.sub(r"\1.\2.", name): values for name, values in tensors.items()}
        return replace(checkpoint, tensors=renamed)
    return checkpoint


def _features(name: str, prefix: str) -> str:
    return f"features.{name[len(prefix) :]}" if name.startswith(prefix) else name
