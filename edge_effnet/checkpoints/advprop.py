"""Detection of AdvProp training from the input range: -1..1 instead of ImageNet's normalisation.

The tensors' names and shapes are the same with and without AdvProp.
"""

from __future__ import annotations

from collections.abc import Callable

from edge_effnet.checkpoints.input_range import Range
from edge_effnet.checkpoints.source import NONE, SIGN, Checkpoint, Evidence
from edge_effnet.variants import Variant

Told = tuple[bool, Evidence]  # (whether the network was trained with AdvProp, evidence)
Judge = Callable[[Variant, Checkpoint], Evidence]


def told_by_range(trained: Range | None, otherwise: str) -> Told:
    """Whether the input range ``trained`` is AdvProp's, and the evidence.

    If ``trained`` is unclear, the result is False with the reason ``otherwise``.
    """
    if trained in ("-1..1", "ImageNet's"):
        reason = f"the statistics of its first layer are those of inputs in {trained} range"
        return trained == "-1..1", Evidence(SIGN, reason)
    return False, Evidence(SIGN, otherwise)


def judges(tell: Callable[[Checkpoint], Told]) -> tuple[Judge, Judge]:
    """The functions `Source.evidence` of the source without and of the source with AdvProp.

    Args:
        tell: Function that decides whether a checkpoint was trained with AdvProp.
    """

    def usual(variant: Variant, checkpoint: Checkpoint) -> Evidence:
        advprop, evidence = tell(checkpoint)
        return NONE if advprop else evidence

    def advprop(variant: Variant, checkpoint: Checkpoint) -> Evidence:
        advprop, evidence = tell(checkpoint)
        return evidence if advprop else NONE

    return usual, advprop
