"""A foreign .onnx file -> `Network`: checked, of one fixed input size, ending in logits.

Nothing in the file is run before it is known to be one float32 image classifier of standard
operators that holds all its weights itself.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_effnet.card import CARD_KEY, ModelCard
from edge_effnet.errors import CheckpointError, ModelFileError, UsageError, require
from edge_effnet.runtime.base import InputSpec, input_spec

onnx: Any = require("onnx", "onnx2tf")

LARGEST = 1 << 30  # bytes; a protocol buffer ends at 2 GiB
_STANDARD = {"", "ai.onnx"}
_NAME = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Network:
    """A foreign network: ``proto`` takes float32 of batch 1 at ``input`` and gives ``classes``.

    ``own`` is the card of a file that was exported here.
    """

    name: str
    file: str
    sha256: str
    proto: Any
    tensor: str
    input: InputSpec
    classes: int
    own: ModelCard | None


def read(path: Path, resolution: int | None = None) -> Network:
    """Read ``path``; ``resolution`` sets a side that the file leaves open.

    Raises `CheckpointError` for a file that is unreadable or no such classifier, `UsageError` for a
    resolution that the file does not take.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise CheckpointError(
                f"{path} has {size / 1e9:.1f} GB; .onnx files of up to 1 GB can be converted"
            )
        data = path.read_bytes()
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(
            f"cannot read {path}: {error.strerror}; give an .onnx file"
        ) from error
    try:
        proto = onnx.load_model_from_string(data)
        _refuse_outside(path, proto)
        onnx.checker.check_model(proto)
        _fix_input(path, proto, resolution)
        _end_in_logits(path, proto)
        own = _own_card(proto)
        del proto.graph.value_info[:], proto.metadata_props[:]
        proto = onnx.shape_inference.infer_shapes(proto, strict_mode=True)
    except (CheckpointError, UsageError):
        raise
    except Exception as error:  # protobuf's, onnx's and its shape inference's share no base
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{path} is no sound .onnx file ({reason}); export it again"
        ) from error
    tensor = _inputs(proto)[0]
    shape = [side.dim_value for side in tensor.type.tensor_type.shape.dim]
    return Network(
        name=_NAME.sub("-", path.stem).strip("-.") or "network",
        file=path.name,
        sha256=hashlib.sha256(data).hexdigest(),
        proto=proto,
        tensor=tensor.name,
        input=input_spec(str(path), "float32", shape),
        classes=_classes(path, proto),
        own=own,
    )


def _refuse_outside(path: Path, proto: Any) -> None:
    """Raise `CheckpointError` for weights in other files and operators of other libraries."""
    if not proto.graph.node:
        raise CheckpointError(f"{path} is no .onnx file, or an empty one; export it again")
    tensors = list(proto.graph.initializer)
    for node in proto.graph.node:
        tensors += [a.t for a in node.attribute if a.HasField("t")]
    if any(t.external_data or t.data_location == onnx.TensorProto.EXTERNAL for t in tensors):
        raise CheckpointError(
            f"the weights of {path} lie in other files, which are never opened here; save it as "
            "one file: onnx.save(onnx.load(FILE), NEW) with save_as_external_data=False"
        )
    odd = sorted({f"{n.domain}.{n.op_type}" for n in proto.graph.node if n.domain not in _STANDARD})
    if odd or proto.functions:
        what = ", ".join(odd[:4]) or "functions of its own"
        raise CheckpointError(
            f"{path} uses {what}, which no standard describes; export it with standard ONNX "
            "operators only"
        )


def _inputs(proto: Any) -> list[Any]:
    """The inputs that are no weights (old files list those too)."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    return [value for value in proto.graph.input if value.name not in weights]


def _fix_input(path: Path, proto: Any, resolution: int | None) -> None:
    """Set batch 1 and the side; raises where it is no square RGB image in float32."""
    inputs = _inputs(proto)
    if len(inputs) != 1 or len(proto.graph.output) != 1:
        raise CheckpointError(
            f"{path} has {len(inputs)} inputs and {len(proto.graph.output)} outputs; an image "
            "classifier has one of each"
        )
    kind = inputs[0].type.tensor_type
    sides = list(kind.shape.dim)
    fixed = [side.dim_value or None for side in sides]
    colours = [axis for axis in (1, 3) if len(sides) == 4 and fixed[axis] == 3]
    if kind.elem_type != onnx.TensorProto.FLOAT or not colours or fixed[0] not in (None, 1):
        raise CheckpointError(
            f"the input of {path} is {onnx.TensorProto.DataType.Name(kind.elem_type)} "
            f"{[s.dim_value or s.dim_param or '?' for s in sides]}; float32 [1, 3, side, side] or "
            "[1, side, side, 3] is needed"
        )
    axes = (2, 3) if colours[0] == 1 else (1, 2)
    open_axes = [axis for axis in axes if fixed[axis] is None]
    if open_axes and resolution is None:
        raise UsageError(f"{path} leaves the size of its input open", hint="give resolution=SIDE")
    for axis in axes:
        side = fixed[axis] or resolution
        if resolution is not None and side != resolution:
            raise UsageError(
                f"{path} takes {side} pixels, not {resolution}", hint="omit resolution="
            )
        sides[axis].dim_value = side
    if sides[axes[0]].dim_value != sides[axes[1]].dim_value:
        raise CheckpointError(f"the input of {path} is no square; only squares can be converted")
    sides[0].dim_value = 1


def _end_in_logits(path: Path, proto: Any) -> None:
    """Leave out a last Softmax: probabilities are made of logits when they are shown.

    The output's shape is left to be inferred, for it may name an open batch. Raises
    `CheckpointError` for a last Sigmoid.
    """
    graph = proto.graph
    output = graph.output[0]
    makers = {name: node for node in graph.node for name in node.output}
    last = makers.get(output.name)
    name = output.name
    if last is not None and last.op_type == "Sigmoid":
        raise CheckpointError(
            f"{path} ends in a Sigmoid: its outputs are no classes of which one applies",
            hint="convert the checkpoint that it was made from, with output_activation='sigmoid'",
        )
    if last is not None and last.op_type == "Softmax":
        name = last.input[0]
        graph.node.remove(last)
    value = onnx.helper.make_tensor_value_info(name, output.type.tensor_type.elem_type, None)
    del graph.output[:]
    graph.output.append(value)


def _classes(path: Path, proto: Any) -> int:
    kind = proto.graph.output[0].type.tensor_type
    shape = [side.dim_value for side in kind.shape.dim]
    whole = max(shape, default=0)
    product = 1
    for side in shape:
        product *= side
    if kind.elem_type != onnx.TensorProto.FLOAT or whole < 2 or product != whole:
        raise CheckpointError(
            f"the output of {path} is {shape or 'of unknown shape'}; one float32 value a class, "
            "[1, classes], is needed"
        )
    return int(whole)


def _own_card(proto: Any) -> ModelCard | None:
    for entry in proto.metadata_props:
        if entry.key == CARD_KEY:
            try:
                return ModelCard.from_json(entry.value)
            except ModelFileError:
                return None
    return None
