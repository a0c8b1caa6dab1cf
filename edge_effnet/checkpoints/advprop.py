"""Detection of AdvProp training: equal tensor layout, but another range of the inputs."""

from __future__ import annotations

from collections.abc import Callable

from edge_effnet.checkpoints.input_range import Range
from edge_effnet.checkpoints.source import NONE, SIGN, Checkpoint, Evidence
from edge_effnet.variants import Variant

Told = tuple[bool, Evidence]  # (whether the network was trained with AdvProp, evidence)
Judge = Callable[[Variant, Checkpoint], Evidence]


def told_by_range(trained: Range | None, otherwise: str) -> Told:
    """Decision by the input range of the training; ``otherwise`` is the reason if it is unclear."""
    if trained in ("-1..1", "ImageNet's"):
        reason = f"the statistics of its first layer are those of inputs in {trained} range"
        return trained == "-1..1", Evidence(SIGN, reason)
    return False, Evidence(SIGN, otherwise)


def judges(tell: Callable[[Checkpoint], Told]) -> tuple[Judge, Judge]:
    """Evidence functions of the usual source and of the AdvProp source, from ``tell``."""

    def usual(variant: Variant, checkpoint: Checkpoint) -> Evidence:
        advprop, evidence = tell(checkpoint)
        return NONE if advprop else evidence

    def advprop(variant: Variant, checkpoint: Checkpoint) -> Evidence:
        advprop, evidence = tell(checkpoint)
        return evidence if advprop else NONE

    return usual, advprop
