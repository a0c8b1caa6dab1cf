"""Mutators of .tflite files: facts of the network by the schema, and offsets of the buffer."""

from __future__ import annotations

import random
import struct
from typing import Any

from fuzz.mutators import EXTREMES

_Slot = tuple[Any, str]  # an object of the schema, and the name of an attribute


def fact(data: bytes, dice: random.Random) -> bytes:
    """A number, text, list or table of the network replaced; the buffer stays well formed."""
    model = _model(data)
    holder, name = dice.choice(slots(model))
    setattr(holder, name, other(getattr(holder, name), dice))
    return _pack(model)


def tensor(data: bytes, dice: random.Random) -> bytes:
    """Type, shape, buffer, scale or zero point of one tensor."""
    model = _model(data)
    each = dice.choice(model.subgraphs[0].tensors)
    match dice.randrange(6):
        case 0:
            each.type = dice.randrange(-1, 20)
        case 1:
            shape = list(each.shape)
            shape[dice.randrange(len(shape))] = dice.choice(EXTREMES[:-5])
            each.shape = shape
        case 2:
            each.shape = dice.choice(([], [1], [1] * 9, [*each.shape, 1], list(each.shape)[1:]))
        case 3:
            each.buffer = dice.choice((0, 1, dice.randrange(len(model.buffers)), 2**31))
        case 4:
            each.quantization = dice.choice(model.subgraphs[0].tensors).quantization
        case _:
            quantization = each.quantization
            scales = (0.0, -1.0, 1e-38, 1e38, float("nan"), float("inf"))
            match dice.randrange(4):
                case 0:
                    quantization.scale = [dice.choice(scales)] * len(quantization.scale)
                case 1:
                    quantization.scale = list(quantization.scale)[:-1] or [0.5, 0.5]
                case 2:
                    quantization.zeroPoint = [dice.choice(EXTREMES[:20])] * len(quantization.scale)
                case _:
                    quantization.quantizedDimension = dice.choice((-1, 1, 3, 4, 2**31 - 1))
    return _pack(model)


def operator(data: bytes, dice: random.Random) -> bytes:
    """Kind, wiring, order or number of operators."""
    model = _model(data)
    graph = model.subgraphs[0]
    each = dice.choice(graph.operators)
    match dice.randrange(6):
        case 0:
            code = dice.choice(model.operatorCodes)
            code.builtinCode = dice.randrange(0, 210)
            code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        case 1:
            each.opcodeIndex = dice.choice((*range(len(model.operatorCodes)), 99))
        case 2:
            inputs = list(each.inputs)
            inputs[dice.randrange(len(inputs))] = dice.choice(
                (-1, -2, 999, dice.randrange(len(graph.tensors)))
            )
            each.inputs = inputs
        case 3:
            each.inputs = dice.choice((list(each.inputs)[:-1], list(each.inputs) * 2, []))
        case 4:
            each.outputs = dice.choice(
                ([], [dice.randrange(len(graph.tensors))], list(each.inputs))
            )
        case _:
            dice.shuffle(graph.operators)
    return _pack(model)


def graph(data: bytes, dice: random.Random) -> bytes:
    """Inputs, outputs, subgraphs and buffers of the network."""
    model = _model(data)
    main = model.subgraphs[0]
    match dice.randrange(5):
        case 0:
            main.inputs = dice.choice(
                ([], [dice.randrange(len(main.tensors))], list(main.inputs) * 2)
            )
        case 1:
            main.outputs = dice.choice(
                ([], [dice.randrange(len(main.tensors))], list(main.outputs) * 2)
            )
        case 2:
            model.subgraphs = dice.choice(([], [main, main]))
        case 3:
            place = dice.choice([n for n, b in enumerate(model.buffers) if b.data is not None])
            content = bytes(model.buffers[place].data)
            model.buffers[place].data = list(dice.choice((b"", content[:-1], content * 2)))
        case _:
            del main.tensors[dice.randrange(len(main.tensors))]
    return _pack(model)


def offset(data: bytes, dice: random.Random) -> bytes:
    """An offset of the buffer that points to another table, vector or text of it."""
    words = range(0, len(data) - 8, 4)
    near = [n for n in words if 0 < struct.unpack_from("<I", data, n)[0] < len(data) - n]
    place, other = dice.choice(near), dice.choice(near)
    target = other + struct.unpack_from("<I", data, other)[0]
    return data[:place] + struct.pack("<I", (target - place) % 2**32) + data[place + 4 :]


def vector_length(data: bytes, dice: random.Random) -> bytes:
    """A small word, which may be the length of a vector or a place in a vtable."""
    small = [n for n in range(0, len(data) - 4, 2) if 0 < data[n] < 64 and not data[n + 1]]
    place = dice.choice(small)
    value = dice.choice((0, 1, data[place] + 1, data[place] * 2, 0xFFFF))
    return data[:place] + struct.pack("<H", value) + data[place + 2 :]


def other(value: Any, dice: random.Random) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return dice.choice((0, 1, 2, 3, 4, 17, 255, -1, 2**31 - 1))
    if isinstance(value, float):
        return dice.choice((0.0, -1.0, float("nan"), float("inf"), 1e-40))
    if isinstance(value, (bytes, str)):
        return dice.choice(("", "x" * 2000, "\x1b[31m", "a\nb", "serving_default"))
    if isinstance(value, list):
        shortened = value[:-1]
        return dice.choice((None, [], shortened, value * 2, list(reversed(value))))
    if hasattr(value, "tolist"):
        return other(value.tolist(), dice)
    return None


def slots(model: Any) -> list[_Slot]:
    """All attributes of the tables below ``model`` that are not None."""
    found: list[_Slot] = []
    pending, visited = [model], set()
    while pending:
        each = pending.pop()
        if id(each) in visited:
            continue
        visited.add(id(each))
        for name, value in vars(each).items():
            if value is None:
                continue
            found.append((each, name))
            items = value if isinstance(value, list) else [value]
            pending.extend(item for item in items if hasattr(item, "__dict__"))
    return found


def _model(data: bytes) -> Any:
    from ai_edge_litert.schema_py_generated import ModelT

    return ModelT.InitFromPackedBuf(data, 0)


def _pack(model: Any) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


MUTATORS = (
    fact,
    fact,
    tensor,
    tensor,
    tensor,
    operator,
    operator,
    graph,
    offset,
    offset,
    vector_length,
)
