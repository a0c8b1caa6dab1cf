"""Recipes: named sets of calibration options."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge_effnet.calibration.activations.quantizers import RangeCriterion
from edge_effnet.calibration.activations.sampling import POSITIONS
from edge_effnet.calibration.weights.reconstruction import Method
from edge_effnet.errors import UsageError


@dataclass(frozen=True)
class Recipe:
    """Options of a calibration.

    Attributes:
        name: The recipe's name.
        summary: One line for the help.
        method: The steps of layer reconstruction.
        ranges: The criterion by which clipping ranges are chosen.
        refined_ranges: Whether the ranges of the noisiest tensors are chosen by the noise on the
            logits (`sensitivity.clipping_ranges`).
        positions: Approximate number of sample positions per layer.
        fused_gates: Whether fused sigmoid gating is used (`quantizer_placement.fusable_gates`). On
            V2-B0 it raises the logits' SQNR by 0.9 dB (TFLite) and 1.0 dB (ONNX). Latency grows by
            11 % (TFLite) and 1 % (ONNX).
        channel_groups: Whether large channels of swish networks have scales of their own
            (`passes.channel_groups`).
        photos: Whether calibration photos are required.
        pictures: Number of generated images (dead leaves) that calibrate without photos.
    """

    name: str
    summary: str
    method: Method = field(default_factory=Method)
    ranges: RangeCriterion = "channel-weighted"
    refined_ranges: bool = False
    positions: int = POSITIONS
    fused_gates: bool = False
    channel_groups: bool = False
    photos: bool = True
    pictures: int = 0


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("default", "about a hundred photos, seconds", refined_ranges=True),
        Recipe(
            "best",
            "twice the sample positions, finer scales of squeeze-excite and large channels",
            refined_ranges=True,
            positions=2 * POSITIONS,
            fused_gates=True,
            channel_groups=True,
        ),
        Recipe("fast", "no photos: generated pictures", photos=False, pictures=64),
    )
}


def get(name: str) -> Recipe:
    """The recipe of a name.

    Args:
        name: One of `RECIPES`.

    Raises:
        UsageError: There is no recipe of this name.
    """
    if name not in RECIPES:
        raise UsageError(f"unknown recipe {name!r}; choose from {', '.join(RECIPES)}")
    return RECIPES[name]
