"""Structural mutants of .onnx and OpenVINO .xml files: valid syntax, one broken fact each."""

from __future__ import annotations

import random
from collections.abc import Callable
from xml.etree import ElementTree

import onnx

#: Values that sizes, strides, offsets, axes and indices break at.
EXTREMES = (0, -1, -(2**31), 1, 2, 3, 7, 255, 2**31 - 1, 2**40, 2**63 - 1)

Mutator = Callable[[onnx.ModelProto, random.Random], None]


def _node(model: onnx.ModelProto, dice: random.Random) -> onnx.NodeProto:
    return dice.choice(list(model.graph.node))


def _drop_node(model: onnx.ModelProto, dice: random.Random) -> None:
    del model.graph.node[dice.randrange(len(model.graph.node))]


def _swap_nodes(model: onnx.ModelProto, dice: random.Random) -> None:
    nodes = list(model.graph.node)
    dice.shuffle(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _rewire(model: onnx.ModelProto, dice: random.Random) -> None:
    node = _node(model, dice)
    names = [name for other in model.graph.node for name in (*other.input, *other.output)]
    node.input[dice.randrange(len(node.input))] = dice.choice([*names, "no such tensor", ""])


def _drop_input(model: onnx.ModelProto, dice: random.Random) -> None:
    node = _node(model, dice)
    del node.input[dice.randrange(len(node.input))]


def _write_twice(model: onnx.ModelProto, dice: random.Random) -> None:
    _node(model, dice).output[0] = _node(model, dice).output[0]


def _other_operator(model: onnx.ModelProto, dice: random.Random) -> None:
    names = ["Loop", "If", "Scan", "Reshape", "Expand", "NoSuchOperator", "Concat", "Gemm"]
    _node(model, dice).op_type = dice.choice(names)


def _attribute(model: onnx.ModelProto, dice: random.Random) -> None:
    attributes = [a for node in model.graph.node for a in node.attribute if a.ints or a.i]
    attribute = dice.choice(attributes)
    if attribute.ints:
        attribute.ints[dice.randrange(len(attribute.ints))] = dice.choice(EXTREMES)
    else:
        attribute.i = dice.choice(EXTREMES)


def _drop_attributes(model: onnx.ModelProto, dice: random.Random) -> None:
    del dice.choice([node for node in model.graph.node if node.attribute]).attribute[:]


def _dimension(model: onnx.ModelProto, dice: random.Random) -> None:
    tensor = dice.choice([tensor for tensor in model.graph.initializer if tensor.dims])
    tensor.dims[dice.randrange(len(tensor.dims))] = dice.choice(EXTREMES)


def _element_type(model: onnx.ModelProto, dice: random.Random) -> None:
    dice.choice(list(model.graph.initializer)).data_type = dice.randrange(25)


def _short_data(model: onnx.ModelProto, dice: random.Random) -> None:
    tensor = dice.choice(list(model.graph.initializer))
    tensor.raw_data = tensor.raw_data[: len(tensor.raw_data) // 2]


def _extreme_data(model: onnx.ModelProto, dice: random.Random) -> None:
    """Scales of 0, infinity or NaN; zero points and weights at their limits."""
    tensor = dice.choice(list(model.graph.initializer))
    pattern = dice.choice([b"\0\0\0\0", b"\0\0\x80\x7f", b"\0\0\xc0\x7f", b"\xff\xff\xff\xff"])
    size = len(tensor.raw_data)
    tensor.raw_data = (pattern * (size // 4 + 1))[:size]


def _drop_initializer(model: onnx.ModelProto, dice: random.Random) -> None:
    del model.graph.initializer[dice.randrange(len(model.graph.initializer))]


def _external_data(model: onnx.ModelProto, dice: random.Random) -> None:
    tensor = dice.choice(list(model.graph.initializer))
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/hostname")


def _input_shape(model: onnx.ModelProto, dice: random.Random) -> None:
    shape = model.graph.input[0].type.tensor_type.shape
    dice.choice(list(shape.dim)).dim_value = dice.choice(EXTREMES)


def _opset(model: onnx.ModelProto, dice: random.Random) -> None:
    model.opset_import[0].version = dice.choice(EXTREMES)


def _no_output(model: onnx.ModelProto, dice: random.Random) -> None:
    del model.graph.output[:]


ONNX: dict[str, Mutator] = {
    mutator.__name__.lstrip("_"): mutator
    for mutator in (
        _drop_node, _swap_nodes, _rewire, _drop_input, _write_twice, _other_operator, _attribute,
        _drop_attributes, _dimension, _element_type, _short_data, _extreme_data, _drop_initializer,
        _external_data, _input_shape, _opset, _no_output,
    )
}  # fmt: skip


def onnx_mutant(data: bytes, kind: str, seed: int) -> bytes:
    """An .onnx file with one fact of this kind changed."""
    model = onnx.ModelProto.FromString(data)
    ONNX[kind](model, random.Random(f"{kind} {seed}"))
    return model.SerializeToString()


XML = ("attribute", "text", "drop", "repeat", "layer_type", "edge", "weights_range")


def xml_mutant(data: bytes, kind: str, seed: int) -> bytes:
    """An OpenVINO .xml file with one fact of this kind changed; its .bin stays as it is."""
    root = ElementTree.fromstring(data)  # noqa: S314 - our own
    dice = random.Random(f"{kind} {seed}")
    parents = [element for element in root.iter() if len(element)]
    if kind == "drop":
        parent = dice.choice(parents)
        parent.remove(dice.choice(list(parent)))
    elif kind == "repeat":
        parent = dice.choice(parents)
        parent.append(dice.choice(list(parent)))
    elif kind == "text":  # the sides of ports
        dice.choice(list(root.iter("dim"))).text = str(dice.choice(EXTREMES))
    elif kind == "layer_type":
        names = ["Loop", "If", "TensorIterator", "Reshape", "Broadcast", "NoSuchLayer", "Concat"]
        dice.choice(list(root.iter("layer"))).set("type", dice.choice(names))
    elif kind == "edge":
        edge = dice.choice(list(root.iter("edge")))
        edge.set(dice.choice(list(edge.keys())), str(dice.randrange(-1, 300)))
    elif kind == "weights_range":
        constant = dice.choice([e for e in root.iter("data") if "offset" in e.attrib])
        constant.set(dice.choice(["offset", "size"]), str(dice.choice(EXTREMES)))
    else:
        element = dice.choice([e for e in root.iter("data") if e.attrib])
        name = dice.choice(sorted(element.attrib))
        values = [*map(str, EXTREMES), "", "1,-1", "nonsense", "u4", "f64", "string"]
        element.set(name, dice.choice(values))
    return ElementTree.tostring(root)
