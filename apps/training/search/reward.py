"""Rewards of the papers: accuracy times powers of latency and size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: mnasnet: ACC * (LATENCY / T)^w with w = -0.07, above and below the target T (Tan et al. 2019,
#: arXiv 1807.11626, section 3: the soft constraint). EfficientNet uses it with FLOPs.
#: mnasnet-hard: w = 0 below the target and -1 above (the hard constraint there).
#: efficientnetv2: A * S^w * P^v with w = -0.07, v = -0.05 (Tan & Le 2021, arXiv 2104.00298, section
#: 3.2). S is the latency relative to the target, in place of the time of a training step. P is the
#: number of parameters relative to the base network's.
Objective = Literal["mnasnet", "mnasnet-hard", "efficientnetv2"]
LATENCY_EXPONENT = -0.07
HARD_EXPONENT = -1.0
SIZE_EXPONENT = -0.05


@dataclass(frozen=True)
class Reward:
    """The reward of a network, relative to a latency target and the base network.

    Attributes:
        objective: The formula.
        target_ms: The latency target T.
        base_params: Number of parameters of the base network.
    """

    objective: Objective
    target_ms: float
    base_params: int

    def __call__(self, top1: float, latency_ms: float, params: int) -> float:
        """The reward; ``top1`` is a fraction."""
        ratio = latency_ms / self.target_ms
        if self.objective == "mnasnet-hard":
            return float(top1 * (1.0 if ratio <= 1 else ratio**HARD_EXPONENT))
        reward = top1 * ratio**LATENCY_EXPONENT
        if self.objective == "efficientnetv2":
            reward *= (params / self.base_params) ** SIZE_EXPONENT
        return float(reward)
