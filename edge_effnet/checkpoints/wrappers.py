"""Extraction of a network's tensors from the state dict of a wrapper.

Training scripts wrap networks. Examples: ``model.conv_stem.weight`` beside a Lightning module's
metrics, ``backbone.conv_stem.weight`` beside a head. The wrapper's prefix is found from the name of
the first convolution, which is known for every source.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from edge_effnet.checkpoints.source import Checkpoint
from edge_effnet.errors import CheckpointError

_AVERAGED = "ema"  # averaged weights are usually more accurate
_COPIES = ("teacher", "momentum", "target")


def unwrap(checkpoint: Checkpoint, stems: Collection[str]) -> Checkpoint:
    """Remove the prefix of the network's tensors; all other tensors become ``outside``.

    A second copy of the network in the file is omitted with a note.

    Args:
        checkpoint: The tensors of the file.
        stems: Names of the first convolution's weight in all sources.

    Raises:
        CheckpointError: The file contains several different networks.
    """
    names = checkpoint.tensors
    if any(stem in names for stem in stems):
        return checkpoint
    prefixes = {name[: -len(stem)] for name in names for stem in stems if name.endswith("." + stem)}
    if not prefixes:
        return checkpoint
    averaged = [prefix for prefix in prefixes if _AVERAGED in prefix.lower()]
    plain = [prefix for prefix in prefixes if not any(word in prefix for word in _COPIES)]
    chosen = min(averaged or plain or prefixes, key=lambda prefix: (len(prefix), prefix))
    others = sorted(prefixes - {chosen})
    independent = [p for p in others if not averaged and p in plain]
    if independent:
        both = ", ".join(prefix.rstrip(".") for prefix in (chosen, *independent))
        raise CheckpointError(
            f"{checkpoint.path} holds {1 + len(independent)} networks ({both}), and one file runs "
            "one: save the state dict of each, and convert them one by one"
        )
    inside = {n[len(chosen) :]: t for n, t in names.items() if n.startswith(chosen)}
    rest = {
        name: values for name, values in names.items() if not name.startswith((chosen, *others))
    }
    notes = checkpoint.notes
    if others:
        copies = ", ".join(prefix.rstrip(".") for prefix in others)
        notes = (
            *notes,
            f"{checkpoint.path.name} holds {len(prefixes)} networks: {chosen.rstrip('.')} is "
            f"taken, {copies} left out",
        )
    outside = {**rest, **checkpoint.outside}
    return replace(checkpoint, tensors=inside, outside=outside, prefix=chosen, notes=notes)
