"""Shape arithmetic becomes constant, with the results of ONNX Runtime on the original graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

onnx: Any = pytest.importorskip("onnx")
ort: Any = pytest.importorskip("onnxruntime")

from edge_effnet.converters.foreign.shape_folding import fold_shapes  # noqa: E402

GRAPH = """
<ir_version: 8, opset_import: ["" : 17]>
same (float[1, 3, 33, 33] image) => (float[n, c] y)
<float[4, 3, 3, 3] w, int64[1] one = {1}, int64[1] two = {2}, int64[1] three = {3},
 int64[1] zero = {0}, int64[1] four = {4}, int64[1] rest = {-1},
 int64[2] zeros = {0, 0}, int64 first = {0}>
{
  shape = Shape(image)
  sides = Slice(shape, two, four)
  more = Add(sides, one)
  half = Div(more, two)
  less = Sub(half, one)
  covered = Mul(less, two)
  needed = Add(covered, three)
  missing = Sub(needed, sides)
  total = Max(missing, zero)
  before = Div(total, two)
  after = Sub(total, before)
  pads = Concat <axis = 0> (zeros, before, zeros, after)
  padded = Pad(image, pads)
  x = Conv <strides = [2, 2]> (padded, w)
  pooled = GlobalAveragePool(x)
  now = Shape(pooled)
  batch = Gather(now, first)
  axis = Unsqueeze(batch, zero)
  target = Concat <axis = 0> (axis, rest)
  y = Reshape(pooled, target)
}
"""


def graph() -> Any:
    proto = onnx.parser.parse_model(GRAPH)
    values = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    (weight,) = [t for t in proto.graph.initializer if t.name == "w"] or [
        proto.graph.initializer.add()
    ]
    weight.CopyFrom(onnx.numpy_helper.from_array(values, "w"))
    del proto.graph.value_info[:]
    return proto


def run(proto: Any, image: Any) -> Any:
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image})[0]


def test_computed_padding_is_folded() -> None:
    original = graph()
    image = np.random.default_rng(1).normal(size=(1, 3, 33, 33)).astype(np.float32)
    expected = run(original, image)
    folded = fold_shapes(original)
    assert [n.op_type for n in folded.graph.node] == ["Pad", "Conv", "GlobalAveragePool", "Reshape"]
    assert [d.dim_value for d in folded.graph.output[0].type.tensor_type.shape.dim] == [1, 4]
    names = {tensor.name for tensor in folded.graph.initializer}
    assert names == {"w", "pads", "target"}
    np.testing.assert_array_equal(run(folded, image), expected)


def test_a_graph_without_shape_arithmetic_is_unchanged() -> None:
    proto = fold_shapes(graph())
    again = fold_shapes(proto)
    assert again.SerializeToString() == proto.SerializeToString()


@pytest.mark.parametrize(
    "body",
    [
        "big = ConstantOfShape(huge)",
        "big = Expand(one, huge)",
        "big = Range(start, limit, step)",
    ],
)
def test_no_large_constant_is_computed(body: str) -> None:
    """A stranger's file of a hundred bytes must not cost terabytes."""
    proto = onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : 17]>
    bomb (float[1] image) => (float y)
    <int64[2] huge = {{1000000, 1000000}}, int64[1] one = {{1}}, int64 start = {{0}},
     int64 limit = {{1000000000000}}, int64 step = {{1}}>
    {{
      {body}
      size = Size(big)
      y = Cast <to = 1> (size)
    }}
    """)
    folded = fold_shapes(proto)
    assert "big" not in {tensor.name for tensor in folded.graph.initializer}
