"""Mutators of .pte files: facts of the program by its schema, and the delegates' blobs.

A .pte file is a FlatBuffers program with a header (magic ``eh00``) after its identifier, padding,
and segments. XNNPACK's blob is a segment of a header (``XH00``), a FlatBuffers graph and constants.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from fuzz.mutators import EXTREMES, Mutator, flatbuffers, raw

_HEADER = struct.Struct("<4sIQQQ")  # magic, length, size of the program, base and size of segments
_BLOB_HEADER = struct.Struct("<4s4sHIIIQ")  # zeros, magic, length, graph, its size, constants, size
_ALIGNMENT, _SEGMENT_ALIGNMENT = 16, 128


@dataclass(frozen=True)
class _Parts:
    """The program without the header, and the segments."""

    program: bytes
    segments: bytes


def fact(data: bytes, dice: random.Random) -> bytes:
    """A number, text, list or table of the program replaced; the buffer stays well formed."""
    parts = _split(data)
    program = _program(parts.program)
    holder, name = dice.choice(flatbuffers.slots(program))
    setattr(holder, name, flatbuffers.other(getattr(holder, name), dice))
    return _joined(_packed(program), parts.segments)


def index(data: bytes, dice: random.Random) -> bytes:
    """An index of a value, operator, delegate, segment or instruction."""
    parts = _split(data)
    program = _program(parts.program)
    holder, name = dice.choice(list(_indices(program)))
    value = getattr(holder, name)
    if isinstance(value, int):
        setattr(holder, name, _changed(value, dice))
    else:
        value = [int(each) for each in value]
        place = dice.randrange(len(value))
        value[place] = _changed(value[place], dice)
        setattr(holder, name, value)
    return _joined(_packed(program), parts.segments)


def tensor(data: bytes, dice: random.Random) -> bytes:
    """Type, sizes, order, memory or constant of a tensor."""
    parts = _split(data)
    program = _program(parts.program)
    each = dice.choice(
        [
            value.val
            for plan in program.executionPlan
            for value in plan.values
            if type(value.val).__name__ == "TensorT"
        ]
    )
    match dice.randrange(6):
        case 0:
            each.scalarType = dice.randrange(-1, 30)
        case 1:
            sizes = [int(size) for size in each.sizes]
            sizes[dice.randrange(len(sizes))] = dice.choice(EXTREMES[:17])
            each.sizes = sizes
        case 2:
            each.dimOrder = [dice.randrange(256) for _ in each.dimOrder]
        case 3:
            each.sizes = [*each.sizes, 1][dice.randrange(2) :]
        case 4:
            each.dataBufferIdx = _changed(each.dataBufferIdx, dice)
        case _:
            each.allocationInfo.memoryOffsetLow = dice.choice(EXTREMES) % 2**32
    return _joined(_packed(program), parts.segments)


def instruction(data: bytes, dice: random.Random) -> bytes:
    """Instructions swapped, dropped, repeated, or turned into a jump."""
    parts = _split(data)
    program = _program(parts.program)
    chain = dice.choice([chain for plan in program.executionPlan for chain in plan.chains or ()])
    listed = list(chain.instructions)
    match dice.randrange(4):
        case 0:
            dice.shuffle(listed)
        case 1:
            del listed[dice.randrange(len(listed))]
        case 2:
            listed.insert(dice.randrange(len(listed)), dice.choice(listed))
        case _:
            listed.insert(dice.randrange(len(listed)), _jump(dice))
    chain.instructions = listed
    return _joined(_packed(program), parts.segments)


def in_program(mutator: Mutator) -> Mutator:
    """``mutator`` on the bytes of the program, behind its header."""

    def change(data: bytes, dice: random.Random) -> bytes:
        parts = _split(data)
        return _joined(mutator(parts.program, dice), parts.segments)

    return change


def in_graph(mutator: Mutator) -> Mutator:
    """``mutator`` on the bytes of XNNPACK's graph."""

    def change(data: bytes, dice: random.Random) -> bytes:
        parts = _split(data)
        at = parts.segments.index(b"XH00") - 4
        header = list(_BLOB_HEADER.unpack_from(parts.segments, at))
        start, size = at + header[3], header[4]
        graph = mutator(parts.segments[start : start + size], dice)[:size].ljust(size, b"\0")
        segments = parts.segments[:start] + graph + parts.segments[start + size :]
        return _joined(parts.program, segments)

    return change


def blob_header(data: bytes, dice: random.Random) -> bytes:
    """An offset or a size in the header of XNNPACK's blob."""
    parts = _split(data)
    at = parts.segments.index(b"XH00") - 4
    header = list(_BLOB_HEADER.unpack_from(parts.segments, at))
    place = dice.randrange(2, 7)
    width = (16, 32, 32, 32, 64)[place - 2]
    header[place] = _changed(header[place], dice) % 2**width
    segments = bytearray(parts.segments)
    _BLOB_HEADER.pack_into(segments, at, *header)
    return _joined(parts.program, bytes(segments))


def file_header(data: bytes, dice: random.Random) -> bytes:
    """A size or an offset in the header of the file."""
    header = list(_HEADER.unpack_from(data, 8))
    place = dice.randrange(1, 5)
    header[place] = _changed(header[place], dice) % 2 ** (32 if place == 1 else 64)
    changed = bytearray(data)
    _HEADER.pack_into(changed, 8, *header)
    return bytes(changed)


def _changed(value: int, dice: random.Random) -> int:
    near = value + dice.choice((-16, -2, -1, 1, 2, 16))
    return dice.choice((near, near, dice.randrange(40), dice.choice(EXTREMES[:17])))


def _indices(program: Any) -> Iterator[tuple[Any, str]]:
    names = {
        "opIndex", "args", "delegateIndex", "moveFrom", "moveTo", "condValueIndex", "inputs",
        "outputs", "destinationInstruction", "valueIndex", "index", "segmentIndex", "items",
        "offsets", "offset", "size", "dataBufferIdx", "memoryId", "nonConstBufferSizes",
    }  # fmt: skip
    for holder, name in flatbuffers.slots(program):
        value = getattr(holder, name)
        if name in names and (isinstance(value, int) or (value is not None and len(value))):
            yield holder, name


def _jump(dice: random.Random) -> Any:
    from executorch.exir._serialize.generated.executorch_flatbuffer import (
        Instruction,
        InstructionArguments,
        JumpFalseCall,
    )

    jump = JumpFalseCall.JumpFalseCallT()
    jump.condValueIndex = dice.randrange(20)
    jump.destinationInstruction = dice.choice((0, 1, 2, -1, 99))
    made = Instruction.InstructionT()
    made.instrArgsType = InstructionArguments.InstructionArguments.JumpFalseCall
    made.instrArgs = jump
    return made


def _split(data: bytes) -> _Parts:
    magic, length, size, base, _ = _HEADER.unpack_from(data, 8)
    if magic != b"eh00":
        raise ValueError("there is no header")
    room = -(-length // _ALIGNMENT) * _ALIGNMENT
    (root,) = struct.unpack_from("<I", data)
    program = struct.pack("<I", root - room) + data[4:8] + data[8 + room : size]
    return _Parts(program, data[base:])


def _joined(program: bytes, segments: bytes) -> bytes:
    room = -(-_HEADER.size // _ALIGNMENT) * _ALIGNMENT
    size = len(program) + room
    base = -(-size // _SEGMENT_ALIGNMENT) * _SEGMENT_ALIGNMENT
    header = _HEADER.pack(b"eh00", _HEADER.size, size, base, len(segments)).ljust(room, b"\0")
    (root,) = struct.unpack_from("<I", program)
    start = struct.pack("<I", (root + room) % 2**32) + program[4:8] + header + program[8:]
    return start.ljust(base, b"\0") + segments


def _program(data: bytes) -> Any:
    from executorch.exir._serialize import _flatbuffer_program

    _flatbuffer_program._patch_generated_flatbuffer_aliases()
    return _flatbuffer_program.ProgramT.InitFromPackedBuf(data, 0)


def _packed(program: Any) -> bytes:
    from flatbuffers import Builder

    builder = Builder(1024)
    builder.Finish(program.Pack(builder), b"ET12")
    return bytes(builder.Output())


_BYTES: tuple[Callable[..., bytes], ...] = (
    flatbuffers.offset,
    flatbuffers.vector_length,
    raw.extreme_word,
    raw.add_to_word,
)
MUTATORS = (
    fact,
    fact,
    index,
    index,
    index,
    tensor,
    tensor,
    instruction,
    file_header,
    blob_header,
    *map(in_program, _BYTES),
    *map(in_graph, _BYTES),
    *map(in_graph, _BYTES),
)
