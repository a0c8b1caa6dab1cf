"""A tiny network under the name of EfficientNet-B0, so that files of a few kB are read to the end.

Readers of checkpoints compare a file with the released networks. In a process that called
`install`, B0 is a network of 2,500 parameters.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from edge_effnet import variants
from edge_effnet.card import ModelInfo, Source
from edge_effnet.model import Model
from edge_effnet.network import build
from edge_effnet.preprocess import Preprocess

NAME = "efficientnet-b0"
_KEPT = {NAME, "efficientnet-lite0", "efficientnetv2-b0"}
SIDE, CLASSES = 32, 5
LABELS = ("cat", "dog", "fox", "hen", "owl")
_STAGES = (
    variants.Stage("mbconv", 3, 1, 1, 8, 1, 0.25),
    variants.Stage("mbconv", 3, 2, 2, 8, 2, 0.25),
)
VARIANT = replace(
    variants.VARIANTS[NAME],
    stages=_STAGES,
    stem_channels=8,
    head_channels=16,
    resolution=SIDE,
    published=None,
)


def install() -> None:
    """Make B0 the tiny network in this process; most others, which take long to try, are gone."""
    for name in set(variants.VARIANTS) - _KEPT:
        del variants.VARIANTS[name]
    variants.VARIANTS[NAME] = VARIANT


@cache
def model() -> Model:
    """The network with seeded weights."""
    graph = build(VARIANT, classes=CLASSES)
    rng = np.random.default_rng(0)
    weights = {name: _values(rng, name, shape) for name, shape in graph.parameter_shapes.items()}
    info = ModelInfo(
        NAME, Preprocess(SIDE, 0.875, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)),
        LABELS, Source("timm", "tiny.pth", "0" * 64),
    )  # fmt: skip
    return Model(VARIANT, graph, weights, info)


def _values(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    values = rng.normal(0, float(np.prod(shape[1:])) ** -0.5, shape)
    if name.endswith("running_var"):
        values = np.abs(values) + 0.5
    return values.astype(np.float32)
