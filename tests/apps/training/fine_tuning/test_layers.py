"""Frozen stages, other input sizes and parameter groups."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from edge_effnet.apps.training.fine_tuning.layers import (
    at_size,
    has_batch_statistics,
    is_untrained,
    parameter_groups,
    split,
    train_mode,
    trainable,
)
from edge_effnet.apps.training.fine_tuning.recipes import DEFAULT
from edge_effnet.calibration.passes.fold import fold_batch_norm
from edge_effnet.checkpoints import load
from edge_effnet.converters.frameworks.torch import Network, build
from edge_effnet.network import Padding
from edge_effnet.network import build as build_graph
from edge_effnet.registry import get_variant
from support.small_training import network


@pytest.mark.parametrize("name", ["lite0", "v2-b0", "b1", "resnet50"])
@pytest.mark.parametrize("padding", ["same", "symmetric"])
@pytest.mark.parametrize("side", [75, 96, 139, 224])
def test_a_resized_graph_equals_one_built_for_the_size(
    name: str, padding: Padding, side: int
) -> None:
    variant = get_variant(name)
    graph = build_graph(variant, resolution=224, padding=padding)
    assert at_size(graph, side) == build_graph(variant, resolution=side, padding=padding)


def test_a_resized_network_computes_the_resized_graph() -> None:
    model = network()
    module = build(model)
    graph = at_size(model.graph, 47)
    module.resize(graph)
    image = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 47, 47))).float()
    expected = Network(graph, model.weights, model.variant).eval()(image)
    assert torch.equal(module(image), expected)


@pytest.mark.parametrize("stages", [1, 3, 7])
def test_the_parts_of_a_split_compute_the_whole(stages: int) -> None:
    model = network()
    lower, upper = split(model.graph, stages)
    assert lower is not None
    assert {node.name for node in (*lower, *upper)} == set(model.graph.by_name)
    image = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 64, 64))).float()
    parts = [Network(graph, model.weights, model.variant).eval() for graph in (lower, upper)]
    assert torch.equal(parts[1](parts[0](image)), build(model)(image))


def test_rates_decay_from_the_classifier_to_the_stem() -> None:
    model = network()
    module = trainable(model, model.graph, replace(DEFAULT, layer_decay=0.5))
    groups = parameter_groups(module, replace(DEFAULT, layer_decay=0.5, weight_decay=0.1))
    scales = {}
    for group in groups:
        for parameter in group["params"]:
            name = next(n for n, p in module.named_parameters() if p is parameter)
            scales[name] = group["lr_scale"]
            assert group["weight_decay"] == (0.1 if parameter.ndim > 1 else 0.0), name
    assert len(scales) == len(list(module.parameters()))
    assert scales["classifier.weight"] == 1
    assert scales["head.conv.weight"] == 0.5
    assert scales["stages.6.blocks.0.project.weight"] == 0.25
    assert scales["stem.conv.weight"] == 0.5**18  # 16 blocks, head and classifier follow


def test_batch_norm_keeps_its_statistics_in_training_mode() -> None:
    model = network()
    for batch_statistics in (False, True):
        module = trainable(model, model.graph, DEFAULT)
        train_mode(module, batch_statistics=batch_statistics)
        before = module.get_buffer("stem.bn.running_mean").clone()
        module(torch.ones(2, 3, 64, 64))
        same = torch.equal(module.get_buffer("stem.bn.running_mean"), before)
        assert same is not batch_statistics


def test_folded_networks_have_no_batch_statistics() -> None:
    model = network()
    assert has_batch_statistics(model)
    assert not has_batch_statistics(fold_batch_norm(model))
    identity = {
        **model.weights,
        **{
            name: np.full_like(value, 1 - 1e-3 if name.endswith("var") else 0)
            for name, value in model.weights.items()
            if "running" in name
        },
    }
    folded = replace(model, weights=identity)  # as Keras files of folded networks are read
    assert not has_batch_statistics(folded)
    assert not is_untrained(model)
    assert not is_untrained(fold_batch_norm(model))
    assert not is_untrained(folded)
    for untrained in (
        replace(folded, info=replace(folded.info, untrained=True)),
        load("v2-b0", "random", resolution=64),
    ):
        assert is_untrained(untrained)
        assert has_batch_statistics(untrained)
