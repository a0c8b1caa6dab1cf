"""Core ML writer: an .mlpackage that classifies an RGB image.

The network is built operator by operator in coremltools' intermediate language, so no training
framework is needed. The input is an RGB image; the package contains the normalisation. Outputs are
``classLabel`` and the probabilities by class name, as Vision and Xcode's previews expect. The card
is in the user-defined metadata. Packages can be written on Linux, but run on Apple systems only.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np

from edge_effnet.card import CARD_KEY, ModelCard
from edge_effnet.converters.formats.unwritable import check_layers, layer_kind
from edge_effnet.errors import UsageError, require
from edge_effnet.forward import LEAKY_SLOPE
from edge_effnet.graph import (
    Activation,
    Add,
    Conv,
    Dense,
    GlobalAveragePool,
    LayerNorm,
    MaxPool,
    Mul,
    Node,
)
from edge_effnet.model import Model

logging.getLogger("coremltools").setLevel(logging.ERROR)  # hides warnings about missing Mac parts
ct: Any = require("coremltools", "coreml")
_mil: Any = require("coremltools.converters.mil", "coreml")
_mb: Any = _mil.Builder

OUTPUT = "probabilities"
_OPERATORS = {
    **{"swish": _mb.silu, "sigmoid": _mb.sigmoid, "relu": _mb.relu, "relu6": _mb.relu6},
    **{"tanh": _mb.tanh, "gelu": _mb.gelu},
}


def check_network(model: Model) -> None:
    """Raise `UsageError` if Core ML cannot hold ``model``, whose BN is folded."""
    info = model.info
    if info.output_activation != "softmax":
        raise UsageError(
            f"a Core ML classifier takes the softmax of its outputs; {info.variant} needs "
            f"{info.output_activation}",
            hint="omit coreml from formats=",
        )
    check_layers(model.graph, "Core ML", _holds)


def _holds(node: Node) -> bool:
    if isinstance(node, Activation):
        return node.kind in {*_OPERATORS, "leaky_relu", "hard_swish"}
    if isinstance(node, LayerNorm):
        return node.center
    return isinstance(node, (Conv, Dense, Add, Mul, GlobalAveragePool, MaxPool))


def write(model: Model, card: ModelCard, folder: Path) -> None:
    """Write ``model.mlpackage`` of a model with BN folded; it runs on iOS 15, macOS 12 and newer.

    fp16 stores and computes in float16, which the Neural Engine needs; fp32 runs on CPU and GPU.
    """
    shape = (1, *model.graph.input_shape)
    name = model.graph.input

    def network(image: Any) -> Any:
        return _network(model, image)

    specification = [_mb.TensorSpec(shape=shape)]
    program = _mb.program(input_specs=specification, opset_version=ct.target.iOS15)(network)
    half = card.precision == "fp16"
    with warnings.catch_warnings(), redirect_stderr(io.StringIO()):  # coremltools' progress bars
        warnings.simplefilter("ignore")
        converted = ct.convert(
            program,
            source="milinternal",
            convert_to="mlprogram",
            inputs=[ct.ImageType(name=name, shape=shape, color_layout=ct.colorlayout.RGB)],
            classifier_config=ct.ClassifierConfig(_distinct(card.labels)),
            compute_precision=ct.precision.FLOAT16 if half else ct.precision.FLOAT32,
            minimum_deployment_target=ct.target.iOS15,
            skip_model_load=True,
        )
    converted.short_description = f"{card.variant}, {card.precision}, by {card.toolkit}"
    converted.user_defined_metadata[CARD_KEY] = card.to_json()
    converted.save(str(folder / "model.mlpackage"))


def _network(model: Model, image: Any) -> Any:
    """Append the operators of the graph, from RGB pixels 0..255 to probabilities."""
    preprocess = model.info.preprocess
    mean, std = (
        np.asarray(each, np.float32).reshape(1, 3, 1, 1)
        for each in (preprocess.mean, preprocess.std)
    )
    centred = _mb.sub(x=image, y=mean, name="centred")
    values = {model.graph.input: _mb.mul(x=centred, y=1 / std, name="normalised")}
    for node in model.graph:
        values[node.name] = _operator(model, node, [values[name] for name in node.inputs])
    return _mb.softmax(x=values[model.graph.output], axis=-1, name=OUTPUT)


def _operator(model: Model, node: Node, inputs: Sequence[Any]) -> Any:
    weights, x, name = model.weights, inputs[0], node.name
    if isinstance(node, Conv):
        top, left, bottom, right = node.pads
        return _mb.conv(
            x=x,
            weight=weights[f"{name}.weight"],
            bias=weights[f"{name}.bias"] if node.bias else None,
            strides=[node.stride] * 2,
            pad_type="custom",
            pad=[top, bottom, left, right],
            groups=node.groups,
            name=name,
        )
    if isinstance(node, Dense):
        bias = weights[f"{name}.bias"] if node.bias else None
        return _mb.linear(x=x, weight=weights[f"{name}.weight"], bias=bias, name=name)
    if isinstance(node, LayerNorm) and node.center:
        gamma, beta = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return _mb.layer_norm(x=x, axes=[-1], gamma=gamma, beta=beta, epsilon=node.eps, name=name)
    if isinstance(node, Activation) and node.kind in _OPERATORS:
        return _OPERATORS[node.kind](x=x, name=name)
    if isinstance(node, Activation) and node.kind == "leaky_relu":
        return _mb.leaky_relu(x=x, alpha=LEAKY_SLOPE, name=name)
    if isinstance(node, Activation) and node.kind == "hard_swish":
        gate = _mb.sigmoid_hard(x=x, alpha=1 / 6, beta=0.5, name=f"{name}.gate")
        return _mb.mul(x=x, y=gate, name=name)
    if isinstance(node, Add):
        return _mb.add(x=x, y=inputs[1], name=name)
    if isinstance(node, Mul):
        return _mb.mul(x=x, y=inputs[1], name=name)
    if isinstance(node, GlobalAveragePool):
        return _mb.reduce_mean(x=x, axes=[2, 3], keep_dims=node.keepdims, name=name)
    if isinstance(node, MaxPool):
        top, left, bottom, right = node.pads
        return _mb.max_pool(
            x=x,
            kernel_sizes=[node.kernel] * 2,
            strides=[node.stride] * 2,
            pad_type="custom",
            pad=[top, bottom, left, right],
            name=name,
        )
    raise TypeError(f"{name}: Core ML has no {layer_kind(node)}, which `check_network` refuses")


def _distinct(labels: Sequence[str]) -> list[str]:
    """Labels with duplicates renamed, because Core ML looks classes up by name."""
    names: dict[str, None] = {}
    for index, label in enumerate(labels):
        while label in names:
            label = f"{label} ({index})"
        names[label] = None
    return list(names)
