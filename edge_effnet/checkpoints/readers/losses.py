"""Losses of independent labels in a file: a sign that the network is multi-label."""

from __future__ import annotations

from collections import deque

from edge_effnet.checkpoints.readers.objects import attributes
from edge_effnet.checkpoints.readers.values import Opaque

#: Last components of loss classes whose targets are 0 or 1 for each output.
_BINARY = {"BCELoss", "BCEWithLogitsLoss", "MultiLabelSoftMarginLoss", "MultiLabelMarginLoss"}
_POSITIVE = "pos_weight"  # buffer of BCEWithLogitsLoss
_DEEPEST, _MOST = 4, 2_000  # levels and containers that are searched


def binary_loss(tree: object) -> str | None:
    """Path in the structure ``tree`` of the first loss of independent labels; None without one."""
    pending: deque[tuple[str, object, int]] = deque([("", tree, 0)])
    visited: set[int] = set()
    while pending and len(visited) < _MOST:
        path, node, depth = pending.popleft()
        if id(node) in visited:
            continue
        visited.add(id(node))
        if isinstance(node, Opaque):
            if node.name.rpartition(".")[2] in _BINARY:
                return path
            node = attributes(node)
        for key, value in node.items() if isinstance(node, dict) else ():
            if key.rpartition(".")[2] == _POSITIVE:
                return f"{path}.{key}" if path else key
            if depth < _DEEPEST:
                pending.append((f"{path}.{key}" if path else key, value, depth + 1))
    return None
