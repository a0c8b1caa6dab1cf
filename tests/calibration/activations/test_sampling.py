"""Sampled positions: inputs and targets of a layer are sampled at the same positions."""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np
import pytest

from edge_effnet.calibration.activations.sampling import POSITIONS, sample_positions
from edge_effnet.graph import Conv, Graph, same_pads
from edge_effnet.model import Model
from edge_effnet.network import build
from edge_effnet.registry import get_variant
from support import tflite_models as small

PHOTOS, ZERO_POINT = 5, 37


def layer(
    kernel: int, stride: int, size: tuple[int, int], groups: int = 1, symmetric: bool = False
) -> tuple[Graph, Conv]:
    shape = (4, *size)
    half = kernel // 2
    pads = (half,) * 4 if symmetric else same_pads(shape, kernel, stride)
    conv = Conv(
        name=f"conv{kernel}", inputs=("x",), channels=4 if groups > 1 else 6, kernel=kernel,
        stride=stride, pads=pads, groups=groups, bias=True,
    )  # fmt: skip
    return Graph("x", shape, (conv,)), conv


def compute(graph: Graph, inputs: np.ndarray) -> np.ndarray:
    """The graph over a batch, by the tests' numpy reference, with weights that are always alike."""
    rng = np.random.default_rng(3)
    weights = {
        name: rng.normal(size=shape).astype(np.float32)
        for name, shape in graph.parameter_shapes.items()
    }
    model = Model(small.LITE, graph, weights, small.model_of(small.LITE).info)
    return np.stack([small.evaluate(model, row)[graph.output] for row in inputs])


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "size", "groups"),
    [
        (1, 1, (7, 5), 1),
        (3, 1, (9, 9), 1),
        (3, 2, (11, 8), 1),
        (5, 2, (12, 12), 4),
        (5, 1, (6, 7), 4),
        (3, 2, (4, 4), 4),  # outputs smaller than a block
        (1, 1, (1, 1), 1),
    ],
)
def test_a_block_of_inputs_gives_the_block_of_outputs(
    kernel: int, stride: int, size: tuple[int, int], groups: int, symmetric: bool
) -> None:
    graph, conv = layer(kernel, stride, size, groups, symmetric)
    maps = np.random.default_rng(0).integers(0, 256, (PHOTOS, 4, *size), np.uint8)
    values = (maps.astype(np.float32) - ZERO_POINT) * 0.1
    sampled = sample_positions(graph, conv, PHOTOS)
    targets = sampled.targets(compute(graph, values), 0)

    blocks = sampled.read_by(conv).cut(maps, ZERO_POINT).astype(np.float32)
    blocks = (blocks - ZERO_POINT) * np.float32(0.1)
    side = (sampled.side - 1) * stride + kernel
    assert blocks.shape[1:] == (4, side, side)
    outputs = compute(Graph("x", (4, side, side), (replace(conv, pads=(0, 0, 0, 0)),)), blocks)
    assert (
        outputs.shape == targets.shape == (len(blocks), conv.channels, sampled.side, sampled.side)
    )
    np.testing.assert_allclose(outputs, targets, rtol=1e-4, atol=1e-4)


def test_targets_come_photo_by_photo() -> None:
    graph, conv = layer(3, 1, (9, 9))
    sampled = sample_positions(graph, conv, PHOTOS)
    maps = np.random.default_rng(1).normal(size=(PHOTOS, 6, 9, 9)).astype(np.float32)
    at_once = sampled.targets(maps, 0)
    in_chunks = [sampled.targets(maps[start : start + 2], start) for start in range(0, PHOTOS, 2)]
    assert np.array_equal(np.concatenate(in_chunks), at_once)
    top, left = sampled.top[1, 2], sampled.left[1, 2]
    number = sampled.top.shape[1] + 2
    assert np.array_equal(at_once[number], maps[1, :, top : top + 4, left : left + 4])


def test_positions_depend_on_the_layer_alone() -> None:
    graph, conv = layer(3, 1, (40, 40))
    one, other = sample_positions(graph, conv, 100), sample_positions(graph, conv, 100)
    assert np.array_equal(one.top, other.top)
    assert np.array_equal(one.left, other.left)
    renamed = Conv(**{**vars(conv), "name": "another"})
    third = sample_positions(Graph("x", (4, 40, 40), (renamed,)), renamed, 100)
    assert zlib.crc32(b"another") != zlib.crc32(conv.name.encode())
    assert not np.array_equal(one.top, third.top)


@pytest.mark.parametrize("photos", [1, 8, 125])
def test_there_are_enough_positions_and_all_lie_inside(photos: int) -> None:
    graph = build(get_variant("lite0"))
    for conv in graph:
        if not isinstance(conv, Conv):
            continue
        sampled = sample_positions(graph, conv, photos)
        _, height, width = graph.shapes[conv.name]
        assert sampled.top.shape == sampled.left.shape
        assert len(sampled.top) == photos
        assert sampled.top.min() >= 0
        assert sampled.left.min() >= 0
        assert sampled.top.max() + sampled.side <= height
        assert sampled.left.max() + sampled.side <= width
        positions = sampled.top.size * sampled.side**2
        assert positions <= max(POSITIONS * 1.3, photos * sampled.side**2)
        assert positions >= min(POSITIONS // 2, photos * height * width)


def test_small_maps_are_taken_whole_and_once() -> None:
    graph, conv = layer(1, 1, (3, 2))
    sampled = sample_positions(graph, conv, 4)
    for photo in range(4):
        positions = set(zip(sampled.top[photo].tolist(), sampled.left[photo].tolist(), strict=True))
        assert positions == {(y, x) for y in range(3) for x in range(2)}
