"""Graph: shapes, SAME padding, and what a network costs."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_effnet.graph import (
    Activation,
    Add,
    BatchNorm,
    Conv,
    Dense,
    GlobalAveragePool,
    Graph,
    MaxPool,
    Mul,
    Node,
    output_shape,
    same_pads,
)

# 3x11x7 -> stride-2 convolution, depthwise, squeeze-excite, residual, pool, classifier
NODES: tuple[Node, ...] = (
    Conv(name="stem", inputs=("image",), channels=8, kernel=3, stride=2, pads=(1, 1, 1, 1)),
    BatchNorm(name="bn", inputs=("stem",), eps=1e-3),
    Activation(name="act", inputs=("bn",), kind="swish"),
    Conv(name="depthwise", inputs=("act",), channels=8, kernel=5, pads=(2, 2, 2, 2), groups=8),
    GlobalAveragePool(name="squeeze", inputs=("depthwise",), keepdims=True),
    Conv(name="excite", inputs=("squeeze",), channels=8, kernel=1, bias=True),
    Activation(name="gate", inputs=("excite",), kind="sigmoid"),
    Mul(name="scale", inputs=("depthwise", "gate")),
    Add(name="add", inputs=("scale", "act")),
    MaxPool(name="max", inputs=("add",), kernel=2, stride=2),
    Conv(name="grouped", inputs=("max",), channels=4, kernel=1, groups=2),
    GlobalAveragePool(name="pool", inputs=("grouped",)),
    Dense(name="classifier", inputs=("pool",), units=5),
)
GRAPH = Graph("image", (3, 11, 7), NODES)


def test_shapes() -> None:
    assert GRAPH.shapes == {
        "image": (3, 11, 7),
        **dict.fromkeys(("stem", "bn", "act", "depthwise"), (8, 6, 4)),
        **dict.fromkeys(("squeeze", "excite", "gate"), (8, 1, 1)),
        **dict.fromkeys(("scale", "add"), (8, 6, 4)),
        "max": (8, 3, 2),
        "grouped": (4, 3, 2),
        "pool": (4,),
        "classifier": (5,),
    }
    assert GRAPH.output == "classifier"
    assert tuple(GRAPH) == NODES


def test_parameters() -> None:
    statistics = ("weight", "bias", "running_mean", "running_var")
    assert GRAPH.parameter_shapes == {
        "stem.weight": (8, 3, 3, 3),
        **{f"bn.{name}": (8,) for name in statistics},
        "depthwise.weight": (8, 1, 5, 5),
        "excite.weight": (8, 8, 1, 1),
        "excite.bias": (8,),
        "grouped.weight": (4, 4, 1, 1),
        "classifier.weight": (5, 4),
        "classifier.bias": (5,),
    }
    assert GRAPH.params == 8 * 27 + 2 * 8 + 8 * 25 + 64 + 8 + 16 + 20 + 5


def test_multiply_adds() -> None:
    """Outputs times the products behind each; activations, sums and pools are free."""
    stem, depthwise = 6 * 4 * 8 * 27, 6 * 4 * 8 * 25
    excite, grouped, classifier = 8 * 8, 3 * 2 * 4 * 4, 4 * 5
    assert GRAPH.multiply_adds == stem + depthwise + excite + grouped + classifier


def test_readers_of_each_tensor() -> None:
    readers = {name: [node.name for node in nodes] for name, nodes in GRAPH.consumers.items()}
    assert readers["act"] == ["depthwise", "add"]
    assert readers["depthwise"] == ["squeeze", "scale"]
    assert readers["classifier"] == []
    assert set(readers) == set(GRAPH.shapes)


def test_depthwise_means_one_group_a_channel() -> None:
    kinds = {node.name: node.depthwise for node in NODES if isinstance(node, Conv)}
    assert [name for name, depthwise in kinds.items() if depthwise] == ["depthwise"]
    assert not Conv(name="c", inputs=("x",), channels=1, kernel=3, groups=1).depthwise


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 7), st.integers(1, 3))
def test_same_pads_give_the_ceiling_and_no_pixel_more(
    height: int, width: int, kernel: int, stride: int
) -> None:
    top, left, bottom, right = pads = same_pads((4, height, width), kernel, stride)
    node = Conv(name="c", inputs=("x",), channels=2, kernel=kernel, stride=stride, pads=pads)
    outputs = math.ceil(height / stride), math.ceil(width / stride)
    assert output_shape(node, [(4, height, width)]) == (2, *outputs)
    assert bottom - top in (0, 1)  # an odd pixel goes to the end
    assert right - left in (0, 1)
    for size, before, after, count in (
        (height, top, bottom, outputs[0]),
        (width, left, right, outputs[1]),
    ):
        needed = (count - 1) * stride + kernel
        assert min(before, after) >= 0
        assert before + after == 0 or size + before + after == needed


def test_same_pads_depend_on_the_size() -> None:
    assert same_pads((3, 224, 224), 3, 2) == (0, 0, 1, 1)
    assert same_pads((3, 225, 225), 3, 2) == (1, 1, 1, 1)
    assert same_pads((3, 224, 225), 5, 2) == (1, 2, 2, 2)
    assert same_pads((3, 14, 14), 1, 2) == (0, 0, 0, 0)


def test_peak_memory_of_a_residual_block() -> None:
    """While the wide map is made from the narrow one, the shortcut is the same narrow one."""
    nodes = (
        Conv(name="expand", inputs=("x",), channels=24, kernel=1),
        Activation(name="act", inputs=("expand",), kind="relu6"),  # in place
        Conv(name="depthwise", inputs=("act",), channels=24, kernel=1, groups=24),
        Conv(name="project", inputs=("depthwise",), channels=4, kernel=1),
        Add(name="add", inputs=("project", "x")),
    )
    pixels = 100
    graph = Graph("x", (4, 10, 10), nodes)
    assert graph.peak_activation_elements == (4 + 24 + 24) * pixels
    without_shortcut = Graph("x", (4, 10, 10), nodes[:-1])
    assert without_shortcut.peak_activation_elements == (24 + 24) * pixels


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Chains of convolutions, activations and sums that reach back; every tensor is read."""
    shape = (draw(st.integers(1, 6)), draw(st.integers(2, 6)), draw(st.integers(2, 6)))
    shapes, nodes = {"x": shape}, []
    last = "x"
    for index in range(draw(st.integers(1, 8))):
        name = f"n{index}"
        alike = [other for other in shapes if shapes[other] == shapes[last]]
        kind = draw(st.sampled_from(["conv", "strided", "act", "add"]))
        node: Node
        if kind == "act":
            node = Activation(name=name, inputs=(last,), kind="relu")
        elif kind == "add":
            node = Add(name=name, inputs=(last, draw(st.sampled_from(alike))))
        else:
            channels, stride = draw(st.integers(1, 6)), 2 if kind == "strided" else 1
            node = Conv(name=name, inputs=(last,), channels=channels, kernel=1, stride=stride)
        shapes[name] = output_shape(node, [shapes[i] for i in node.inputs])
        nodes.append(node)
        last = name
    return Graph("x", shape, tuple(nodes))


@given(graphs())
def test_peak_memory_is_that_of_the_worst_moment(graph: Graph) -> None:
    """Tensor by tensor: alive from the node that makes it to the last one that reads it."""
    names = [graph.input, *(node.name for node in graph)]
    size = {name: math.prod(shape) for name, shape in graph.shapes.items()}
    made = {name: index - 1 for index, name in enumerate(names)}
    dies = {
        name: max((i for i, node in enumerate(graph) if name in node.inputs), default=len(names))
        for name in names
    }
    moments = [size[graph.input]]
    for now, node in enumerate(graph):
        alive = sum(size[name] for name in names if made[name] <= now <= dies[name])
        overwritten = [n for n in node.inputs if dies[n] == now and size[n] == size[node.name]]
        pointwise = isinstance(node, (Activation, Add))
        moments.append(alive - (size[node.name] if pointwise and overwritten else 0))
    assert graph.peak_activation_elements == max(moments)


def test_a_gate_cannot_be_overwritten_by_the_map() -> None:
    """Mul writes over the map, not over the (channels, 1, 1) gate."""
    nodes = (
        GlobalAveragePool(name="gate", inputs=("x",), keepdims=True),
        Mul(name="scaled", inputs=("x", "gate")),
        Add(name="sum", inputs=("scaled", "scaled")),
    )
    graph = Graph("x", (4, 5, 5), nodes)
    assert graph.peak_activation_elements == 4 * 25 + 4


@pytest.mark.parametrize("keepdims", [True, False])
def test_pools_keep_or_drop_the_map(keepdims: bool) -> None:
    node = GlobalAveragePool(name="p", inputs=("x",), keepdims=keepdims)
    assert output_shape(node, [(7, 3, 3)]) == ((7, 1, 1) if keepdims else (7,))
