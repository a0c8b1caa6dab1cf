"""heads: the nodes of a head compute what its layers are defined as."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_effnet.errors import UsageError
from edge_effnet.graph import Activation, Conv, Dense, Graph
from edge_effnet.graph_json import nodes_from_json, nodes_to_json
from edge_effnet.heads import (
    Affine,
    Function,
    Head,
    Linear,
    attach,
    head_nodes,
    is_plain,
    simplified,
    trunk,
    with_head_nodes,
)
from edge_effnet.network import build
from edge_effnet.registry import get_variant
from support import numpy_network, random_heads

FEATURES, SIDE, CLASSES = 6, 4, 3
CONV = Conv(name="head.conv", inputs=("image",), channels=FEATURES, kernel=1)
TRUNK = Graph("image", (3, SIDE, SIDE), (CONV,))


def linear(*shape: int) -> Linear:
    rng = np.random.default_rng(sum(shape))
    return Linear(rng.normal(size=shape).astype(np.float32), np.ones(shape[0], np.float32))


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(random_heads.heads(), st.integers(0, 2**32 - 1))
def test_nodes_compute_the_layers(given_head: random_heads.RandomHead, seed: int) -> None:
    rng = np.random.default_rng(seed)
    head = given_head.head(FEATURES, CLASSES, rng)
    weights = {"head.conv.weight": rng.normal(size=(FEATURES, 3, 1, 1)).astype(np.float32)}
    graph, weights = attach(TRUNK, weights, head)
    image = rng.normal(size=(3, SIDE, SIDE))
    tensors = numpy_network.run(graph, weights, image)
    assert graph.output == "classifier"
    assert list(weights) == list(graph.parameter_shapes)
    expected = random_heads.value(head, tensors["head.conv"])
    np.testing.assert_allclose(tensors[graph.output], expected, rtol=2e-5, atol=2e-5)


def test_normalisations_and_superfluous_layers_are_folded() -> None:
    norm = Affine(np.full(FEATURES, 2.0), np.ones(FEATURES))
    wide, last = linear(1000, FEATURES), linear(CLASSES, 1000)
    assert len(simplified(Head((norm, wide, last))).layers) == 1
    narrow = simplified(Head((norm, linear(1, FEATURES), linear(CLASSES, 1))))
    assert len(narrow.layers) == 2, "a product of narrow layers would be larger than both"


def test_an_activation_on_the_features_follows_a_layer() -> None:
    """Calibration computes an activation with the layer before it."""
    head = Head((Function("relu"), linear(CLASSES, FEATURES)))
    graph, _ = attach(TRUNK, {"head.conv.weight": np.ones((FEATURES, 3, 1, 1), np.float32)}, head)
    (activation,) = (node for node in graph if isinstance(node, Activation))
    assert isinstance(graph.by_name[activation.inputs[0]], Conv)


def test_a_normalisation_between_activations_is_a_diagonal_layer() -> None:
    norm = Affine(np.full(CLASSES, 2.0), np.ones(CLASSES))
    layers = (linear(CLASSES, FEATURES), Function("relu"), norm, Function("relu"))
    head = simplified(Head((*layers, linear(2, CLASSES))))
    assert isinstance(head.layers[2], Linear)
    assert np.array_equal(head.layers[2].weight, 2 * np.eye(CLASSES))


def test_what_has_no_nodes_is_refused() -> None:
    with pytest.raises(UsageError, match="directly before a linear layer"):
        attach(TRUNK, {}, Head((Function("relu"), linear(2, 2 * FEATURES)), "avg+max"))


def test_a_recorded_head_fits_another_side() -> None:
    base = build(get_variant("lite0"), classes=CLASSES)
    assert is_plain(base)
    head = Head((linear(CLASSES, 2 * 1280),), "max+avg")
    graph, _ = attach(trunk(base), dict.fromkeys(base.parameter_shapes, np.ones(1)), head)
    assert not is_plain(graph)
    nodes = nodes_from_json(nodes_to_json(head_nodes(graph)))
    assert nodes == head_nodes(graph)
    smaller = with_head_nodes(trunk(build(get_variant("lite0"), resolution=96)), nodes)
    assert smaller.shapes["classifier"] == (CLASSES,)
    assert smaller.shapes["head.pool.max.largest"] == (1280, 1, 1)
    assert trunk(smaller) == trunk(build(get_variant("lite0"), resolution=96))
    assert any(isinstance(node, Dense) for node in nodes)
