"""Source: what is known of one kind of checkpoint, as data and one naming function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edge_effnet.graph import Graph
from edge_effnet.network import Padding
from edge_effnet.preprocess import Preprocess


@dataclass(frozen=True)
class Source:
    """One kind of checkpoint.

    ``names`` maps every canonical parameter of a graph to the checkpoint's name for it;
    ``preprocess`` gives the input pipeline for a side in pixels; ``ignored`` are suffixes of
    tensors that carry no parameter. ``padding`` and ``bn_eps`` are the training framework's.
    """

    kind: str
    summary: str
    names: Callable[[Graph], Mapping[str, str]]
    preprocess: Callable[[int], Preprocess]
    padding: Padding
    bn_eps: float
    ignored: tuple[str, ...] = (".num_batches_tracked",)
