"""The float input with one mean and deviation: an ADD over rows, and factors in the weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_effnet.checkpoints import load
from edge_effnet.converters.formats.tflite.input import common_input
from edge_effnet.errors import QuantizationError
from edge_effnet.forward import logits
from edge_effnet.graph import Graph
from edge_effnet.preprocess import Preprocess

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
IMAGENET = Preprocess(64, 0.875, mean=MEAN, std=STD)


def test_one_mean_and_deviation_need_no_conversion() -> None:
    assert common_input(replace(IMAGENET, mean=(127.0,) * 3, std=(128.0,) * 3)) is None


def test_shift_and_factor_give_the_normalisation() -> None:
    common = common_input(IMAGENET)
    assert common is not None
    pixels = np.random.default_rng(0).integers(0, 256, (1, 5, 7, 3)).astype(np.float64)
    given = (pixels - common.preprocess.mean) / common.preprocess.std
    expected = (pixels - MEAN) / np.array(STD)
    assert np.allclose((given + common.shift) * common.factor, expected, rtol=0, atol=1e-12)
    rows = common.rows(7)
    assert rows.shape == (1, 1, 7, 3)
    assert np.allclose((given + rows) * common.factor, expected, rtol=0, atol=1e-6)


def test_a_convolution_takes_the_factors_over() -> None:
    model = load("lite0", "random", resolution=64)
    common = common_input(IMAGENET)
    assert common is not None
    weights = common.fold(model.graph, model.weights)
    assert [name for name in weights if weights[name] is not model.weights[name]] == [
        "stem.conv.weight"
    ]
    shifted = np.random.default_rng(0).standard_normal((1, 3, 64, 64)).astype(np.float32)
    factor = common.factor.astype(np.float32)[:, None, None]
    # The borders too: padding with zeros comes after the addition.
    stem = Graph(model.graph.input, model.graph.input_shape, model.graph.nodes[:1])
    for graph in (stem, model.graph):
        expected = logits(graph, model.weights, shifted * factor)
        folded = logits(graph, weights, shifted)
        assert np.abs(folded - expected).max() < 1e-5 * np.abs(expected).max()


def test_another_reader_of_the_input_is_refused() -> None:
    model = load("lite0", "random", resolution=64)
    common = common_input(IMAGENET)
    assert common is not None
    first = next(iter(model.graph))
    with pytest.raises(QuantizationError, match="only an ungrouped convolution"):
        common.fold(replace(model.graph, nodes=(replace(first, groups=3), *model.graph.nodes[1:])),
                    model.weights)  # fmt: skip
