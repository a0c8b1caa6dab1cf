"""Accuracy of candidates without training: the family's published curve, less for imbalance.

The curve gives the top-1 of networks whose depth, width and resolution grow together. Networks that
are scaled in one dimension only are worse at the same number of multiply-adds (Tan & Le 2019,
arXiv 1905.11946, table 7). Kernels and expansions count by their multiply-adds alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from edge_effnet.apps.training.search.search import AccuracyEstimate
from edge_effnet.apps.training.search.space import Space
from edge_effnet.benchmarks.prediction.accuracy_curve import AccuracyCurve
from edge_effnet.network import build
from edge_effnet.scaling import B0_COEFFICIENTS
from edge_effnet.variants import Variant

#: Points of top-1 lost per squared octave of imbalance (`imbalance`). Least-squares fit to table 7
#: of the paper: B0 with depth 4 has 79.0 %, with width 2 78.9 %, with resolution 2 79.1 %, against
#: 81.1 % of the compound scaling with the same multiply-adds; rms error of the fit: 0.3 points.
POINTS_PER_SQUARED_OCTAVE = 0.75


def imbalance(depth: float, width: float, resolution: float) -> float:
    """Squared distance from compound scaling with the same multiply-adds, in squared octaves.

    The three coordinates are the factors of the multiply-adds that depth, width and resolution
    cause, as powers of 2. Compound scaling has the paper's ratio of the three.

    Args:
        depth: Factor of the repeats.
        width: Factor of the channels.
        resolution: Factor of the input side.
    """
    octaves = (math.log2(depth), 2 * math.log2(width), 2 * math.log2(resolution))
    coefficients = B0_COEFFICIENTS
    compound = (
        math.log2(coefficients.alpha),
        2 * math.log2(coefficients.beta),
        2 * math.log2(coefficients.gamma),
    )
    share = sum(octaves) / sum(compound)
    return sum((ours - share * theirs) ** 2 for ours, theirs in zip(octaves, compound, strict=True))


def from_curve(space: Space, curve: AccuracyCurve) -> AccuracyEstimate:
    """ImageNet top-1 of candidates if they were trained like the published networks.

    Args:
        space: The search space; imbalance is relative to its base.
        curve: Published accuracies of the base's family.
    """
    base = space.base

    def estimate(variants: Mapping[str, Variant]) -> dict[str, float]:
        top1 = {}
        for name, variant in variants.items():
            factors = (
                variant.depth / base.depth,
                variant.width / base.width,
                variant.resolution / base.resolution,
            )
            lost = POINTS_PER_SQUARED_OCTAVE * imbalance(*factors)
            top1[name] = max(0.0, curve.top1(build(variant).multiply_adds) - lost) / 100
        return top1

    return estimate
