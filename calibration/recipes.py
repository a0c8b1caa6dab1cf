"""Recipes: the few named ways to quantize, as data."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge_effnet.calibration.activations.quantizers import RangeCriterion
from edge_effnet.calibration.activations.sampling import POSITIONS
from edge_effnet.calibration.weights.reconstruction import Method
from edge_effnet.errors import UsageError


@dataclass(frozen=True)
class Recipe:
    """How a plan is made.

    Layers are solved by ``method`` on about ``positions`` places of their outputs. With
    ``fused_gates``, gates multiply sigmoids first (`placement.fusable_gates`): V2-B0's logits gain
    0.9 dB in TFLite and 1.0 dB in ONNX, for 1.11 and 1.01 times the time. A recipe without
    ``photos`` calibrates on ``pictures`` generated ones where it is given none.
    """

    name: str
    summary: str
    method: Method = field(default_factory=Method)
    ranges: RangeCriterion = "channel-weighted"
    positions: int = POSITIONS
    fused_gates: bool = False
    photos: bool = True
    pictures: int = 0


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("default", "about a hundred photos, seconds"),
        Recipe(
            "best",
            "layers solved on twice the places, gates without the swish's rounding",
            positions=2 * POSITIONS,
            fused_gates=True,
        ),
        Recipe("fast", "no photos: generated pictures", photos=False, pictures=64),
    )
}


def get(name: str) -> Recipe:
    """The recipe called ``name``; raises `UsageError` if there is none."""
    if name not in RECIPES:
        raise UsageError(f"unknown recipe {name!r}; choose from {', '.join(RECIPES)}")
    return RECIPES[name]
