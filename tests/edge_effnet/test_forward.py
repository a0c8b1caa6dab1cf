"""forward.logits: the definitions in float32, for every kind of node."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings

from edge_effnet import forward, graph
from support import numpy_network
from support.random_networks import RandomNetwork, networks


@settings(max_examples=25, deadline=None)
@given(networks())
def test_logits_are_those_of_the_definitions(network: RandomNetwork) -> None:
    model = network.model()
    pixels = np.stack([network.pixels(), network.pixels()[::-1]])
    batch = model.info.preprocess.normalise(pixels).transpose(0, 3, 1, 2)
    got = forward.logits(model.graph, model.weights, batch)
    for image, logits in zip(batch, got, strict=True):
        wanted = numpy_network.run(model.graph, model.weights, image)[model.graph.output]
        assert np.abs(logits - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_every_kind_of_node_is_computed() -> None:
    kinds = {kind for kind in vars(graph).values() if isinstance(kind, type)}
    assert set(forward._COMPUTE) == {
        kind for kind in kinds if issubclass(kind, graph.Node) and kind is not graph.Node
    }
