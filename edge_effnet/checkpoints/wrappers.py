"""A network inside another one's state dict -> the network's tensors alone.

Training scripts wrap networks: ``model.conv_stem.weight`` beside a Lightning module's metrics,
``backbone.conv_stem.weight`` beside a head. The first convolution's name, which every source has,
tells the prefix.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from edge_effnet.checkpoints.source import Checkpoint

_AVERAGED = "ema"  # averaged weights are the better ones


def unwrap(checkpoint: Checkpoint, stems: Collection[str]) -> tuple[Checkpoint, str | None]:
    """Take the prefix off the network's tensors; the others become ``outside``.

    ``stems`` are the names that a first convolution has in the sources. The second value tells the
    user of another network in the file that was left out.
    """
    names = checkpoint.tensors
    if any(stem in names for stem in stems):
        return checkpoint, None
    prefixes = {name[: -len(stem)] for name in names for stem in stems if name.endswith("." + stem)}
    if not prefixes:
        return checkpoint, None
    averaged = [prefix for prefix in prefixes if _AVERAGED in prefix.lower()]
    chosen = min(averaged or prefixes, key=lambda prefix: (len(prefix), prefix))
    inside = {n[len(chosen) :]: t for n, t in names.items() if n.startswith(chosen)}
    outside = {n: t for n, t in names.items() if not n.startswith(chosen)}
    note = None
    if len(prefixes) > 1:
        others = ", ".join(sorted(prefix.rstrip(".") for prefix in prefixes - {chosen}))
        note = (
            f"{checkpoint.path.name} holds {len(prefixes)} networks: {chosen.rstrip('.')} is "
            f"taken, {others} left out"
        )
    return replace(checkpoint, tensors=inside, outside=outside), note
