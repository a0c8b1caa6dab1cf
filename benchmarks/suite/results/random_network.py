"""Random networks with an SQNR like that of trained ones, to compare quantizers without weights.

With He-normal weights alone, activations of deep networks vanish or explode, and each layer
amplifies the quantization noise of those before it. Here each BatchNorm has the mean and the
variance of its input on photos, as training would leave them, residual branches have a small scale,
and activations work where they are nearly linear.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.checkpoints import load
from edge_effnet.converters.formats.onnx import build
from edge_effnet.errors import require
from edge_effnet.graph import Activation, Add, BatchNorm, Graph
from edge_effnet.model import Model

#: Photos that the statistics are computed on, as one batch.
_PHOTOS = 32
_SEED = 0


def random_network(variant: str, resolution: int | None, pixels: NDArray[np.uint8]) -> Model:
    """A network of ``variant`` with seeded random weights.

    BatchNorm scales are uniform in 0.8 to 1.2, biases normal with a deviation of 0.2 around 0,
    around 1 before an activation. At the end of the network's n residual branches both are divided
    by sqrt(n), as BatchNorm does at initialisation (De and Smith 2020, arXiv:2002.10444). The mean
    logit of each class over the photos is 0, so that SQNR counts differences between photos.

    Args:
        variant: Name of the variant.
        resolution: Input side in pixels; None for the variant's own.
        pixels: Samples, uint8 [n, side, side, 3]; the first 32 are used.
    """
    model = load(variant, "random", resolution=resolution)
    rng = np.random.default_rng(_SEED)
    weights = dict(model.weights)
    activated = {node.inputs[0] for node in model.graph if isinstance(node, Activation)}
    residual = _residual_norms(model.graph)
    for node in model.graph:
        if isinstance(node, BatchNorm):
            shape = weights[f"{node.name}.weight"].shape
            scale = rng.uniform(0.8, 1.2, shape)
            bias = rng.normal(float(node.name in activated), 0.2, shape)
            share = 1 / math.sqrt(len(residual)) if node.name in residual else 1.0
            weights[f"{node.name}.weight"] = (share * scale).astype(np.float32)
            weights[f"{node.name}.bias"] = (share * bias).astype(np.float32)
    model = replace(model, weights=weights)
    statistics, logits = _statistics(model, pixels[:_PHOTOS])
    classifier_bias = f"{model.graph.output}.bias"
    centred = {classifier_bias: weights[classifier_bias] - logits.mean(axis=0)}
    return replace(model, weights={**weights, **statistics, **centred})


def _residual_norms(graph: Graph) -> set[str]:
    """The last BatchNorm of each residual branch."""
    nodes = {node.name: node for node in graph}
    names: set[str] = set()
    for add in graph:
        if isinstance(add, Add):
            node = nodes[add.inputs[0]]
            while not isinstance(node, BatchNorm):
                node = nodes[node.inputs[0]]
            names.add(node.name)
    return names


def _statistics(
    model: Model, pixels: NDArray[np.uint8]
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]:
    """Running mean and variance of every BatchNorm, and the logits with these, [n, classes].

    Each BatchNorm of the graph takes mean and variance from its own input, so one run suffices.
    """
    onnx, ort = require("onnx", "export"), require("onnxruntime", "export")
    proto = build(model.graph, model.weights, batch="n")
    nodes: list[Any] = []
    outputs: dict[str, str] = {}
    for node in proto.graph.node:
        if node.op_type == "BatchNormalization":
            value, prefix = node.input[0], node.output[0]
            mean, variance = f"{prefix}/batch_mean", f"{prefix}/batch_variance"
            nodes += _batch_statistics(onnx, value, prefix, mean, variance)
            outputs |= {node.input[3]: mean, node.input[4]: variance}
            node.input[3], node.input[4] = mean, variance
        nodes.append(node)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    for name in outputs.values():
        info = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["c"])
        proto.graph.output.append(info)
    options = ort.SessionOptions()
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4  # the initial statistics are unused
    session = ort.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    batch = np.stack([model.info.preprocess.normalise(each) for each in pixels])
    feed = {model.graph.input: np.ascontiguousarray(batch.transpose(0, 3, 1, 2), np.float32)}
    logits, *values = session.run(None, feed)
    return dict(zip(outputs, values, strict=True)), logits


def _batch_statistics(
    onnx: Any, value: str, prefix: str, mean: str, variance: str
) -> tuple[Any, ...]:
    """Nodes that compute ``mean`` and ``variance`` per channel of the tensor ``value``."""
    make, axes = onnx.helper.make_node, [0, 2, 3]
    wide, centred, squares = f"{prefix}/wide_mean", f"{prefix}/centred", f"{prefix}/squares"
    return (
        make("ReduceMean", [value], [mean], axes=axes, keepdims=0),
        make("ReduceMean", [value], [wide], axes=axes, keepdims=1),
        make("Sub", [value, wide], [centred]),
        make("Mul", [centred, centred], [squares]),
        make("ReduceMean", [squares], [variance], axes=axes, keepdims=0),
    )
