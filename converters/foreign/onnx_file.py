"""Reader of foreign .onnx files: a checked `Network` with fixed input size and logits.

Before anything runs, the file is checked. It must be a float32 image classifier of standard
operators. All weights must be in the file, or in one data file in the same folder.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_effnet import reading
from edge_effnet.card import CARD_KEY, ModelCard
from edge_effnet.converters.foreign.external_data import read_external_data
from edge_effnet.converters.foreign.shape_folding import fold_shapes
from edge_effnet.errors import CheckpointError, ModelFileError, UsageError, require
from edge_effnet.names import OutputActivation
from edge_effnet.runtime.base import InputSpec, input_spec

onnx: Any = require("onnx", "export")

LARGEST = 1 << 30  # bytes; a protocol buffer has at most 2 GiB
#: Large classifiers have 5,000 nodes. Converters copy each name some fifty times.
_MOST_NODES, _LONGEST_NAME = 20_000, 1000
_FLOAT = onnx.TensorProto.FLOAT
_STANDARD = {"", "ai.onnx"}
_ACTIVATIONS: dict[str, OutputActivation] = {"Softmax": "softmax", "Sigmoid": "sigmoid"}
_NAME = re.compile(r"[^A-Za-z0-9._-]+")


#: Operators whose outputs are drawn at random.
_RANDOM = {
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}


@dataclass(frozen=True)
class Network:
    """A foreign network: ``proto`` maps float32 ``input`` of batch 1 to ``classes`` logits.

    ``original`` is the graph before shape arithmetic was folded; its logits are the reference for
    exported files. ``card`` is the card if this package exported the .onnx file, else None.
    ``activation`` is the final Softmax or Sigmoid, which was removed; None without one.
    """

    name: str
    file: str
    sha256: str
    proto: Any
    original: bytes
    tensor: str
    input: InputSpec
    classes: int
    card: ModelCard | None
    activation: OutputActivation | None = None


def read(path: Path, resolution: int | None = None) -> Network:
    """Read the .onnx file ``path``.

    Args:
        path: The file.
        resolution: Side of the input in pixels, for files without a fixed side.

    Raises:
        CheckpointError: The file is unreadable, or not a float32 image classifier.
        UsageError: The file does not accept the resolution.
    """
    try:
        size = reading.check_regular(path)
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
        if not proto.graph.node:
            raise CheckpointError(f"{path} is not an .onnx file, or is empty; export it again")
        external = read_external_data(path, proto, LARGEST - size)
        _check_extent(path, proto)
        _check_operators(path, proto)
        _check_inference(path, proto)
        onnx.checker.check_model(proto)
        _fix_input(path, proto, resolution)
        activation = _end_in_logits(proto)
        card = _card(proto)
        del proto.graph.value_info[:], proto.metadata_props[:]
        original = proto.SerializeToString()
        proto = fold_shapes(proto)
    except (CheckpointError, UsageError):
        raise
    except Exception as error:  # errors of protobuf, onnx and shape inference have no common base
        message = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{path} is not a valid .onnx file ({message}); export it again"
        ) from error
    tensor = _inputs(proto)[0]
    shape = [side.dim_value for side in tensor.type.tensor_type.shape.dim]
    return Network(
        name=_NAME.sub("-", path.stem).strip("-.") or "network",
        file=path.name,
        sha256=hashlib.sha256(data + external).hexdigest(),
        proto=proto,
        original=original,
        tensor=tensor.name,
        input=input_spec(str(path), "float32", shape),
        classes=_classes(path, proto),
        card=card,
        activation=activation,
    )


def _check_inference(path: Path, proto: Any) -> None:
    """Raise `CheckpointError` for a network in training mode, whose outputs are random."""
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t

    def trains(node: Any) -> bool:
        if node.op_type == "Dropout" and len(node.input) > 2:  # ratio and training_mode
            mode = constants.get(node.input[2])
            return mode is not None and bool(onnx.numpy_helper.to_array(mode).any())
        modes = [attribute.i for attribute in node.attribute if attribute.name == "training_mode"]
        return node.op_type in _RANDOM or any(modes)

    random = sorted({node.op_type for node in proto.graph.node if trains(node)})
    if random:
        raise CheckpointError(
            f"{path} is a network in training mode ({', '.join(random)}), so its outputs are "
            "random; call model.eval() before torch.onnx.export"
        )


def _check_extent(path: Path, proto: Any) -> None:
    """Raise `CheckpointError` for more nodes or longer names than classifiers have."""
    names = (name for node in proto.graph.node for name in (node.name, *node.input, *node.output))
    longest = max(map(len, names), default=0)
    if len(proto.graph.node) > _MOST_NODES or longest > _LONGEST_NAME:
        raise CheckpointError(
            f"{path} has {len(proto.graph.node):,} nodes, and names of up to {longest:,} "
            f"characters; classifiers of up to {_MOST_NODES:,} nodes and names of up to "
            f"{_LONGEST_NAME:,} characters can be converted"
        )


def _check_operators(path: Path, proto: Any) -> None:
    """Raise `CheckpointError` for non-standard operators."""
    odd = sorted({f"{n.domain}.{n.op_type}" for n in proto.graph.node if n.domain not in _STANDARD})
    if odd or proto.functions:
        operators = ", ".join(odd[:4]) or "local functions"
        raise CheckpointError(
            f"{path} uses {operators}, which are not standard; export it with standard ONNX "
            "operators only"
        )


def _inputs(proto: Any) -> list[Any]:
    """The inputs of the graph without the weights, which old files list as inputs too."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    return [value for value in proto.graph.input if value.name not in weights]


def _fix_input(path: Path, proto: Any, resolution: int | None) -> None:
    """Set batch 1 and the side; raise unless the input is a square float32 RGB image."""
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
    if kind.elem_type != _FLOAT or not colours or fixed[0] not in (None, 1):
        raise CheckpointError(
            f"the input of {path} is {onnx.TensorProto.DataType.Name(kind.elem_type)} "
            f"{[s.dim_value or s.dim_param or '?' for s in sides]}; float32 [1, 3, side, side] or "
            "[1, side, side, 3] is needed"
            + (": call model.float() before exporting" if kind.elem_type != _FLOAT else "")
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


def _end_in_logits(proto: Any) -> OutputActivation | None:
    """Remove a final Softmax or Sigmoid, so that the network returns logits.

    Shape inference sets the output's shape again, because the old shape may name an open batch.

    Returns:
        The activation; None without one.
    """
    graph = proto.graph
    output = graph.output[0]
    makers = {name: node for node in graph.node for name in node.output}
    last = makers.get(output.name)
    name, activation = output.name, None
    if last is not None and last.op_type in _ACTIVATIONS:
        name, activation = last.input[0], _ACTIVATIONS[last.op_type]
        graph.node.remove(last)
    value = onnx.helper.make_tensor_value_info(name, output.type.tensor_type.elem_type, None)
    del graph.output[:]
    graph.output.append(value)
    return activation


def _classes(path: Path, proto: Any) -> int:
    kind = proto.graph.output[0].type.tensor_type
    shape = [side.dim_value for side in kind.shape.dim]
    classes = max(shape, default=0)
    product = 1
    for side in shape:
        product *= side
    if kind.elem_type != onnx.TensorProto.FLOAT or classes < 1 or product != classes:
        raise CheckpointError(
            f"the output of {path} is {shape or 'of unknown shape'}; one float32 value per class, "
            "[1, classes], is required"
        )
    return int(classes)


def _card(proto: Any) -> ModelCard | None:
    for entry in proto.metadata_props:
        if entry.key == CARD_KEY:
            try:
                return ModelCard.from_json(entry.value)
            except ModelFileError:
                return None
    return None
