"""Sequential quantization: each layer is quantized on inputs from the already quantized layers.

`quantize_layers` reconstructs every layer with int8 weights, for TFLite's quantizer placement.
`correct_biases` keeps the weights and corrects the biases for another placement.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.activation_functions import ActivationFunction
from edge_effnet.calibration.activations.statistics import CalibrationStatistics
from edge_effnet.calibration.engine import Floats, return_free_memory
from edge_effnet.calibration.plan import LayerPlan, QuantParams, QuantPlan
from edge_effnet.calibration.quantizer_placement import activation_of
from edge_effnet.calibration.weights import gptq
from edge_effnet.calibration.weights.im2col import from_matrix, im2col, to_matrix
from edge_effnet.calibration.weights.layer_inputs import LayerInputs
from edge_effnet.calibration.weights.propagation import PropagatedTensors
from edge_effnet.calibration.weights.readers import Tensor
from edge_effnet.calibration.weights.reconstruction import (
    LayerReconstruction,
    Method,
    QuantizedLayer,
    bias_correction,
    fit_float_layer,
    quantize_layer,
)
from edge_effnet.graph import Conv, Dense, Graph, Node

Progress = Callable[[int, int], None]
#: Positions over which `correct_biases` averages outputs.
_BIAS_POSITIONS = 2048
#: Blocks of sampled positions computed together.
_BLOCKS = 256
#: Largest |bias| in int32. A larger bias leaves no room for the sum of products in an int32
#: accumulator. The margin of 2**10 covers float32 rounding of the enlarged scale in `_layer_plan`.
BIAS_LIMIT = 2**30 - 2**10


def quantize_layers(
    tensors: PropagatedTensors,
    statistics: CalibrationStatistics,
    method: Method,
    *,
    avx2_safe: bool,
    progress: Progress,
) -> tuple[dict[str, LayerPlan], dict[str, Floats]]:
    """Reconstruct every layer of a network in its order.

    Args:
        tensors: Propagated tensors that hold only the network's input.
        statistics: Float targets and sampled positions of every layer.
        method: The steps of layer reconstruction.
        avx2_safe: Whether the pair rule applies (`calibration.weights.gptq`).
        progress: Called with nodes done and nodes in all.

    Returns:
        The quantized layers by name, and the float parameters of the float layers by name.

    Raises:
        QuantizationError: A node has no int8 form.
    """
    graph, float_layers = tensors.model.graph, tensors.float_layers
    layers: dict[str, LayerPlan] = {}
    weights: dict[str, Floats] = {}
    for index, node in enumerate(graph):
        if not _is_layer(node):
            tensors.propagate(node)
        elif node.name in float_layers:
            parts = _reconstructions(node, tensors, statistics, avx2_safe)
            fitted = zip(*(fit_float_layer(part, method) for part in parts), strict=True)
            weight, bias = (np.concatenate(arrays) for arrays in fitted)
            shape = tensors.model.weights[f"{node.name}.weight"].shape
            parameters = _parameters(node, from_matrix(weight, shape), bias)
            weights |= parameters
            tensors.propagate_layer(node, parameters)
        else:
            parts = _reconstructions(node, tensors, statistics, avx2_safe)
            quantized = QuantizedLayer.of_groups([quantize_layer(part, method) for part in parts])
            shape = tensors.model.weights[f"{node.name}.weight"].shape
            layers[node.name] = _layer_plan(quantized, shape, tensors.quant_params[node.inputs[0]])
            return_free_memory(tensors.engine)
            tensors.propagate_layer(node, layers[node.name])
        progress(index + 1, len(graph.nodes))
    return layers, weights


def correct_biases(
    tensors: PropagatedTensors,
    statistics: CalibrationStatistics,
    method: Method,
    fixed_weights: QuantPlan,
    progress: Progress,
) -> dict[str, NDArray[Any]]:
    """Bias correction of every layer with fixed weights, in the network's order.

    Args:
        tensors: Propagated tensors that hold only the network's input, with the quantizer
            placement for which biases are corrected.
        statistics: Float targets and sampled positions of every layer.
        method: Whether biases are corrected.
        fixed_weights: The plan whose weights are kept.
        progress: Called with nodes done and nodes in all.

    Returns:
        Biases by layer name: int32 for quantized layers, float32 for float layers.

    Raises:
        QuantizationError: A node has no int8 form.
    """
    graph = tensors.model.graph
    biases: dict[str, NDArray[Any]] = {}
    for index, node in enumerate(graph):
        if not _is_layer(node):
            tensors.propagate(node)
        else:
            layer = fixed_weights.layers.get(node.name)
            name = f"{node.name}.weight"
            weight = fixed_weights.weights[name] if layer is None else layer.float_weight()
            bias = tensors.model.weights[f"{node.name}.bias"]
            if method.bias_correction:
                bias = bias + _fixed_weight_correction(node, weight, tensors, statistics)
            biases[node.name] = bias
            if layer is not None:
                scale = tensors.quant_params[node.inputs[0]].scale
                unit = np.float64(np.float32(scale)) * layer.scale
                limited = np.clip(np.rint(bias / unit), -BIAS_LIMIT, BIAS_LIMIT)
                biases[node.name] = limited.astype(np.int32)
                bias = replace(layer, bias=biases[node.name]).float_bias(scale)
            return_free_memory(tensors.engine)
            tensors.propagate_layer(node, _parameters(node, weight, bias))
        progress(index + 1, len(graph.nodes))
    return biases


def _is_layer(node: Node) -> TypeGuard[Conv | Dense]:
    """Whether the node has weights."""
    return isinstance(node, (Conv, Dense))


def _parameters(node: Conv | Dense, weight: Floats, bias: Floats) -> dict[str, Floats]:
    return {f"{node.name}.weight": weight, f"{node.name}.bias": bias}


def _reconstructions(
    node: Conv | Dense, tensors: PropagatedTensors, statistics: CalibrationStatistics, avx2: bool
) -> list[LayerReconstruction]:
    """The reconstruction of a layer on its propagated inputs; of each group if it is grouped.

    ``avx2`` applies the pair rule.
    """
    model, blocks = tensors.model, _inputs(node, tensors, statistics)
    weight, bias = (model.weights[f"{node.name}.{part}"] for part in ("weight", "bias"))
    groups = node.groups if isinstance(node, Conv) and not node.depthwise else 1
    of_inputs, of_outputs = blocks.shape[1] // groups, len(weight) // groups
    reconstructions = []
    for group in range(groups):
        read = slice(group * of_inputs, (group + 1) * of_inputs)
        written = slice(group * of_outputs, (group + 1) * of_outputs)
        rows = im2col(node, blocks[:, read])
        inputs = LayerInputs.of(rows, partial(tensors.values, name=node.inputs[0]))
        reconstruction = LayerReconstruction(
            inputs=inputs,
            targets=statistics.targets[node.name][written],
            weight=to_matrix(weight[written]),
            bias=bias[written],
            function=ActivationFunction.of(activation_of(model.graph, node.name)),
            pairs=gptq.pair_stride(weight.shape[1]) if avx2 and not inputs.depthwise else 0,
        )
        reconstructions.append(reconstruction)
    return reconstructions


def _fixed_weight_correction(
    node: Conv | Dense,
    weight: Floats,
    tensors: PropagatedTensors,
    statistics: CalibrationStatistics,
) -> NDArray[np.float32]:
    """Bias correction [out] of a layer with dequantized ``weight`` on its propagated inputs."""
    model, source = tensors.model, node.inputs[0]
    inputs = _inputs(node, tensors, statistics)
    unpadded = replace(node, pads=(0, 0, 0, 0)) if isinstance(node, Conv) else node
    graph = Graph(source, inputs.shape[1:], (unpadded,))
    parameters = _parameters(node, weight, model.weights[f"{node.name}.bias"])
    run = tensors.engine.compile_float(graph, parameters, [node.name])
    parts = []
    for start in range(0, len(inputs), _BLOCKS):
        blocks = run(tensors.values(inputs[start : start + _BLOCKS], source))[node.name]
        parts.append(np.moveaxis(blocks, 1, 0).reshape(blocks.shape[1], -1))
    outputs = np.concatenate(parts, axis=1)
    subsample = slice(None, None, max(1, outputs.shape[1] // _BIAS_POSITIONS))
    return bias_correction(
        outputs[:, subsample],
        statistics.targets[node.name][:, subsample],
        ActivationFunction.of(activation_of(model.graph, node.name)),
    )


def _inputs(
    node: Conv | Dense, tensors: PropagatedTensors, statistics: CalibrationStatistics
) -> Tensor:
    """The layer's inputs at its sampled positions, [n, k] for dense layers.

    For convolutions, padded blocks [n, channels, t, t] with t as in `SampledPositions.read_by`.
    """
    source, parts = node.inputs[0], []
    for part in tensors.parts():
        if isinstance(node, Conv):
            blocks = statistics.sampled[node.name].of(part).read_by(node)
            parts.append(tensors.read_blocks(source, node, part, blocks))
        else:
            parts.append(tensors.read(source, node, part))
    return np.concatenate(parts)


def _layer_plan(layer: QuantizedLayer, shape: tuple[int, ...], params: QuantParams) -> LayerPlan:
    """The layer's plan: int32 bias, and weight in ``shape``, OIHW or [out, in].

    With the tiny weight scale of a dead channel, the bias would overflow int32. The scale is then
    multiplied by a factor, and the channel's integer weights are divided by it and rounded. If the
    bias's scale is below float32's range, the weights are 0 and the weight scale is 1.
    """
    bias = layer.bias
    vanishing = np.float32(params.scale) * layer.scale == 0
    scale = np.where(vanishing, np.float32(1), layer.scale)
    integers = np.where(vanishing[:, None], np.int8(0), layer.integers)
    unit = np.float32(params.scale) * scale
    growth = np.maximum(np.abs(bias) / (unit * np.float32(BIAS_LIMIT)), 1).astype(np.float32)
    scale = (scale * growth).astype(np.float32)
    matrix = np.rint(integers / growth[:, None]).astype(np.int8)
    biases = np.rint(bias.astype(np.float64) / (np.float32(params.scale) * scale))
    return LayerPlan(from_matrix(matrix, shape), scale, biases.astype(np.int32))
