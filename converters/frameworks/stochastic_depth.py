"""Stochastic depth as in EfficientNet's training (Huang et al. 2016, arXiv 1603.09382)."""

from __future__ import annotations

import re

from edge_effnet.graph import Graph

_BLOCK_ADD = re.compile(r"(stages\.\d+\.blocks\.\d+)\.add")
_BLOCK = re.compile(r"stages\.\d+\.blocks\.\d+")


def drop_rates(graph: Graph, drop_connect: float) -> dict[str, float]:
    """Drop rate of each residual Add by name: ``drop_connect`` * index of the block / all blocks.

    Blocks without an Add count too (survival_prob of tensorflow/tpu, efficientnet_model.py).
    """
    blocks = list(dict.fromkeys(m.group() for node in graph if (m := _BLOCK.match(node.name))))
    return {
        node.name: drop_connect * blocks.index(match.group(1)) / len(blocks)
        for node in graph
        if (match := _BLOCK_ADD.fullmatch(node.name))
    }
