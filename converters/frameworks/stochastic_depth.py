"""Stochastic depth as in EfficientNet's training (Huang et al. 2016, arXiv 1603.09382)."""

from __future__ import annotations

import re

from edge_effnet.graph import Graph

_BLOCK_ADD = re.compile(r"(stages\.\d+\.blocks\.\d+)\.add")
_BLOCK = re.compile(r"stages\.\d+\.blocks\.\d+")


def drop_rates(graph: Graph, drop_connect: float) -> dict[str, float]:
    """Drop rate of each residual Add: ``drop_connect`` * block index / number of blocks.

    Blocks without an Add count too, as for ``survival_prob`` in efficientnet_model.py of
    tensorflow/tpu.
    """
    blocks = list(dict.fromkeys(m.group() for node in graph if (m := _BLOCK.match(node.name))))
    return {
        node.name: drop_connect * blocks.index(match.group(1)) / len(blocks)
        for node in graph
        if (match := _BLOCK_ADD.fullmatch(node.name))
    }
