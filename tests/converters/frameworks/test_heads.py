"""Heads in PyTorch: the same outputs and weights as the graph's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

torch = pytest.importorskip("torch", reason="the extra 'torch' is missing")

from edge_effnet import forward  # noqa: E402
from edge_effnet.converters.frameworks import torch as training  # noqa: E402
from support import random_networks  # noqa: E402


@settings(max_examples=15, suppress_health_check=list(HealthCheck), deadline=None)
@given(random_networks.networks())
def test_torch_computes_the_graph(network: random_networks.RandomNetwork) -> None:
    model = network.model()
    module = training.build(model)
    image = random_networks.normalised(model, network.pixels())[None].astype(np.float32)
    with torch.no_grad():
        outputs = module(torch.from_numpy(image)).numpy()
    expected = forward.logits(model.graph, model.weights, image)
    np.testing.assert_allclose(outputs, expected, rtol=1e-3, atol=1e-3)
    weights = training.to_weights(module)
    assert all(np.array_equal(weights[name], values) for name, values in model.weights.items())
