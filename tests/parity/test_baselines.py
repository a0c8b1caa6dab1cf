"""ResNet and MobileNetV2 of torchvision against ours, and the counts that other tests rely on."""

from __future__ import annotations

import json

import numpy as np
import pytest
import timm
import torch
import torchvision

from edge_effnet.card import ModelCard
from edge_effnet.model import Model
from edge_effnet.network import build
from edge_effnet.preprocess import Preprocess
from edge_effnet.registry import get_variant
from parity.zoo import CLASSES, Case, create, difference, images, reference, run
from support import RECORDED

TOLERANCE = 1e-4
COUNTS = json.loads((RECORDED / "library_counts.json").read_text())
COUNTED = [
    (entry, count)
    for counts in COUNTS["params"].values()
    for entry, count in counts.items()
    if not entry.startswith("keras:")
]


@pytest.mark.parametrize(
    ("theirs", "ours", "side"),
    [
        ("resnet50", "resnet-50", 224),
        ("resnet152", "resnet-152", 161),
        ("mobilenet_v2", "mobilenet-v2", 224),
    ],
)
def test_logits_are_torchvisions(theirs: str, ours: str, side: int) -> None:
    network = create(Case("torchvision", theirs, ours, "", side))
    batch = np.concatenate([images(side, seed) for seed in (1, 2)])
    expected = reference(network, batch)
    assert np.isfinite(expected).all()
    variant = get_variant(ours)
    graph = build(variant, classes=CLASSES, resolution=side, padding="symmetric", bn_eps=1e-5)
    state = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    values = (np.ascontiguousarray(value.numpy()) for value in state.values())
    weights = dict(zip(graph.parameter_shapes, values, strict=True))  # both in order of running
    assert {name: value.shape for name, value in weights.items()} == graph.parameter_shapes
    labels = tuple(str(n) for n in range(CLASSES))
    model = Model(variant, graph, weights, ModelCard(ours, Preprocess(side, 1.0), labels))
    assert difference(run(model, batch), expected) < TOLERANCE


@pytest.mark.parametrize(("entry", "count"), COUNTED, ids=lambda value: str(value))
def test_the_libraries_still_count_so(entry: str, count: int) -> None:
    library, name = entry.split(":")
    with torch.device("meta"):
        network = (
            timm.create_model(name)
            if library == "timm"
            else torchvision.models.get_model(name, weights=None)
        )
    assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize("name", COUNTS["gflops"]["entries"])
def test_torchvision_still_prints_so(name: str) -> None:
    entry = COUNTS["gflops"]["entries"][name]
    network, kind = entry["weights"].split(":")
    weights = torchvision.models.get_model_weights(network)[kind]
    assert weights.meta["_ops"] == entry["gflops"]
    assert weights.transforms().crop_size == [entry["side"]]
