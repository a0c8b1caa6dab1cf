"""Mutators of .onnx and OpenVINO .xml files: broken facts, and hostile structures."""

from __future__ import annotations

import random
from typing import Any

from fuzz.mutators import EXTREMES
from support import structural_mutants


def onnx_fact(data: bytes, dice: random.Random) -> bytes:
    kind = dice.choice(sorted(structural_mutants.ONNX))
    return structural_mutants.onnx_mutant(data, kind, dice.randrange(10**6))


def onnx_control_flow(data: bytes, dice: random.Random) -> bytes:
    """A loop, branch, scan or function around the network."""
    model = _model(data)
    import onnx

    graph = model.graph
    match dice.randrange(3):
        case 0:
            node = dice.choice(list(graph.node))
            attribute = node.attribute.add(name="body", type=onnx.AttributeProto.GRAPH)
            attribute.g.CopyFrom(onnx.helper.make_graph([], "inner", [], []))
            node.op_type = dice.choice(("Loop", "If", "Scan", node.op_type))
        case 1:
            function = model.functions.add(name=dice.choice(list(graph.node)).op_type, domain="")
            function.node.extend(list(graph.node)[:1])
        case _:
            dice.choice(list(graph.node)).domain = dice.choice(
                ("com.microsoft", "ai.onnx.ml", "x", "../x")
            )
    return bytes(model.SerializeToString())


def onnx_constant(data: bytes, dice: random.Random) -> bytes:
    """A constant of extreme size, made by the runtime itself."""
    model = _model(data)
    import onnx

    graph, sides = model.graph, [dice.choice((1, 1 << 10, 1 << 20, 1 << 31)) for _ in range(2)]
    kind = dice.choice(("ConstantOfShape", "Expand", "Tile", "Range", "Resize", "Pad", "OneHot"))
    shape = onnx.numpy_helper.from_array(__import__("numpy").array(sides, "int64"), "sides")
    graph.initializer.append(shape)
    node = onnx.helper.make_node(kind, ["sides"] * dice.choice((1, 2, 3)), ["large"])
    graph.node.insert(0, node)
    if dice.random() < 0.5:
        target = dice.choice(list(graph.node)[1:])
        target.input[dice.randrange(len(target.input))] = "large"
    return bytes(model.SerializeToString())


def onnx_metadata(data: bytes, dice: random.Random) -> bytes:
    """The card or another entry of the metadata: dropped, doubled, or of another text."""
    model = _model(data)
    entry = dice.choice(list(model.metadata_props))
    match dice.randrange(3):
        case 0:
            model.metadata_props.remove(entry)
        case 1:
            model.metadata_props.append(entry)
        case _:
            entry.key, entry.value = dice.choice(
                ((entry.key, "[" * 9000), ("x", entry.value), ("", ""))
            )
    return bytes(model.SerializeToString())


def xml_fact(data: bytes, dice: random.Random) -> bytes:
    kind = dice.choice(structural_mutants.XML)
    return structural_mutants.xml_mutant(data, kind, dice.randrange(10**6))


def xml_text(data: bytes, dice: random.Random) -> bytes:
    """Entities, doctypes, depth and encodings."""
    end = data.find(b"?>") + 2 if data.startswith(b"<?xml") else 0
    bomb = b'<!DOCTYPE net [<!ENTITY a "aaaaaaaaaa">' + b"".join(
        b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9)
    ) + b"]>"  # fmt: skip
    outside = b'<!DOCTYPE net [<!ENTITY a SYSTEM "file:///etc/hostname">]>'
    match dice.randrange(5):
        case 0:
            return (
                data[:end]
                + dice.choice((bomb, outside))
                + data[end:].replace(b"Parameter", b"&j;", 1)
            )
        case 1:
            depth = dice.choice((100, 5_000, 100_000))
            return data.replace(b"<layers>", b"<a>" * depth + b"</a>" * depth + b"<layers>", 1)
        case 2:
            return data.decode().encode(dice.choice(("utf-16", "latin-1", "utf-8-sig")), "replace")
        case 3:
            return data.replace(b'name="', b'name="' + b"x" * dice.choice((10, 100_000)), 1)
        case _:
            return data.replace(b">", b" a='" + str(dice.choice(EXTREMES)).encode() + b"'>", 3)


def xml_layer(data: bytes, dice: random.Random) -> bytes:
    """The type of one layer, from those that OpenVINO knows."""
    types = (
        "ShapeOf", "Broadcast", "Tile", "Range", "NonMaxSuppression", "If", "Loop",
        "TensorIterator", "Gather",
        "StridedSlice", "Pad", "Interpolate", "OneHot", "TopK", "Reshape", "Squeeze", "Split",
        "Concat", "Assign",
        "ReadValue", "FakeQuantize", "Convert", "Result", "Parameter", "Const", "Softmax",
        "MatMul", "ReduceMean",
    )  # fmt: skip
    parts = data.split(b' type="')
    place = dice.randrange(1, len(parts))
    parts[place] = dice.choice(types).encode() + parts[place][parts[place].index(b'"') :]
    return b' type="'.join(parts)


def _model(data: bytes) -> Any:
    import onnx

    return onnx.ModelProto.FromString(data)


ONNX = (onnx_fact, onnx_fact, onnx_fact, onnx_fact, onnx_control_flow, onnx_constant, onnx_metadata)
XML = (xml_fact, xml_fact, xml_fact, xml_text, xml_layer, xml_layer)
