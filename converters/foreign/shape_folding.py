"""Folding of shape arithmetic: padding and shapes that an .onnx file computes become constants.

PyTorch exports SAME padding and dynamic axes as operators on shapes. With a fixed input size the
results are constant, and quantizers and onnx2tf require constants.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.errors import require

onnx: Any = require("onnx", "export")
reference: Any = require("onnx.reference", "export")

#: Largest number of elements of a folded constant: shapes and padding, no weights.
_MOST = 1024
_MOST_ROUNDS = 200
#: Operators whose result is at most as large as their inputs' product.
# fmt: off
_OPERATORS = frozenset(
    (
        "Abs", "Add", "And", "Cast", "Ceil", "Clip", "Concat", "ConstantOfShape", "Div", "Equal",
        "Expand", "Floor", "Gather", "Greater", "GreaterOrEqual", "Identity", "Less", "LessOrEqual",
        "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow", "Range", "ReduceMax", "ReduceMin",
        "ReduceProd", "ReduceSum", "Reshape", "Round", "Slice", "Split", "Sqrt", "Squeeze", "Sub",
        "Transpose", "Unsqueeze", "Where",
    )
)
# fmt: on

Constants = dict[str, NDArray[Any]]


def fold_shapes(proto: Any) -> Any:
    """``proto`` with all shapes inferred and small constant expressions folded.

    Nodes that depend only on constants and on static shapes become initializers. The order and
    names of all other nodes are unchanged.
    """
    graph = proto.graph
    changed = False
    for _ in range(_MOST_ROUNDS):
        shapes = _static_shapes(proto)
        constants = _small_constants(graph)
        folded: Constants = {}
        nodes = []
        for node in graph.node:
            results = _evaluate(node, constants, shapes, proto.opset_import)
            if results is None:
                nodes.append(node)
                continue
            for name, value in zip(node.output, results, strict=True):
                constants[name] = folded[name] = value
        if not folded:
            break
        changed = True
        del graph.node[:]
        graph.node.extend(nodes)
        graph.initializer.extend(onnx.numpy_helper.from_array(v, n) for n, v in folded.items())
    if changed:
        _remove_unused(graph)
    return onnx.shape_inference.infer_shapes(proto, strict_mode=True)


def _static_shapes(proto: Any) -> dict[str, tuple[int, ...]]:
    """Fully known shapes, from inference without the content of large weights."""
    light = onnx.ModelProto()
    _copy_light(proto, light)
    # data_prop stays off, because onnx would then compute Range outputs of any length.
    inferred = onnx.shape_inference.infer_shapes(light).graph
    shapes = {}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        kind = value.type.tensor_type
        if not kind.HasField("shape"):
            continue
        sides = [side.dim_value if side.HasField("dim_value") else -1 for side in kind.shape.dim]
        if min(sides, default=0) >= 0:
            shapes[value.name] = tuple(sides)
    for tensor in proto.graph.initializer:
        shapes[tensor.name] = tuple(tensor.dims)
    return shapes


def _copy_light(proto: Any, light: Any) -> None:
    """Copy ``proto`` into ``light``, with inputs in place of large initializers."""
    light.ir_version = max(proto.ir_version, 4)
    light.opset_import.extend(proto.opset_import)
    source, graph = proto.graph, light.graph
    graph.name = source.name
    graph.node.extend(source.node)
    graph.output.extend(source.output)
    graph.input.extend(source.input)
    inputs = {value.name for value in source.input}
    for tensor in source.initializer:
        if math.prod(tensor.dims) <= _MOST:
            graph.initializer.append(tensor)
        elif tensor.name not in inputs:
            graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )


def _small_constants(graph: Any) -> Constants:
    """Values of small initializers and Constant nodes."""
    constants: Constants = {}
    for tensor in graph.initializer:
        if math.prod(tensor.dims) <= _MOST:
            constants[tensor.name] = onnx.numpy_helper.to_array(tensor)
    for node in graph.node:
        if node.op_type != "Constant" or len(node.attribute) != 1:
            continue
        attribute = node.attribute[0]
        if attribute.name == "value" and math.prod(attribute.t.dims) <= _MOST:
            constants[node.output[0]] = onnx.numpy_helper.to_array(attribute.t)
        elif attribute.name in ("value_int", "value_ints"):
            value = onnx.helper.get_attribute_value(attribute)
            constants[node.output[0]] = np.asarray(value, np.int64)
    return constants


def _evaluate(
    node: Any, constants: Constants, shapes: dict[str, tuple[int, ...]], opsets: Any
) -> list[NDArray[Any]] | None:
    """Values of the outputs of ``node``; None unless all outputs are small constants."""
    if not all(node.output):
        return None
    if node.op_type in ("Shape", "Size"):
        shape = shapes.get(node.input[0])
        if shape is None:
            return None
        if node.op_type == "Size":
            return [np.asarray(math.prod(shape), np.int64)]
        limits = {each.name: each.i for each in node.attribute}
        return [np.asarray(shape[limits.get("start", 0) : limits.get("end")], np.int64)]
    names = [name for name in node.input if name]
    if node.op_type not in _OPERATORS or not all(name in constants for name in names):
        return None
    values = {name: constants[name] for name in names}
    if _size(node, [constants.get(name) for name in node.input]) > _MOST:
        return None
    empty = onnx.helper.make_empty_tensor_value_info
    graph = onnx.helper.make_graph(
        [node], "fold", [empty(name) for name in values], [empty(name) for name in node.output]
    )
    with np.errstate(all="ignore"):
        evaluator = reference.ReferenceEvaluator(
            onnx.helper.make_model(graph, opset_imports=opsets)
        )
        results = [np.asarray(result) for result in evaluator.run(None, values)]
    return results if all(result.size <= _MOST for result in results) else None


def _size(node: Any, values: list[NDArray[Any] | None]) -> float:
    """Number of elements of the result of ``node``, which may depend on input values."""
    if node.op_type == "ConstantOfShape" and values[0] is not None:
        return math.prod(abs(int(side)) for side in values[0].ravel())
    if node.op_type == "Expand" and values[0] is not None and values[1] is not None:
        return values[0].size * math.prod(abs(int(side)) for side in values[1].ravel())
    if node.op_type == "Range":
        start, limit, step = (float(value.ravel()[0]) for value in values if value is not None)
        return abs(limit - start) / abs(step) if step else math.inf
    return 0


def _remove_unused(graph: Any) -> None:
    """Remove initializers and Constant nodes that nothing reads any more."""
    used = {name for node in _all_nodes(graph) for name in node.input}
    used |= {value.name for value in graph.output}
    for node in [n for n in graph.node if n.op_type == "Constant" and n.output[0] not in used]:
        graph.node.remove(node)
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)


def _all_nodes(graph: Any) -> list[Any]:
    """The nodes of a graph and of its subgraphs, which read its tensors too."""
    nodes = list(graph.node)
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                nodes += _all_nodes(inner)
    return nodes
