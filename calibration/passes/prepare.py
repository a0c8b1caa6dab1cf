"""All passes before quantization, in order: Model -> PreparedModel, once per network."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edge_effnet.calibration.passes.cross_layer_equalization import equalize
from edge_effnet.calibration.passes.dead_channel_reuse import reuse_dead_channels
from edge_effnet.calibration.passes.fold import fold_batch_norm
from edge_effnet.calibration.passes.input_normalization import share_input_normalization
from edge_effnet.errors import QuantizationError
from edge_effnet.graph import Conv, Dense, Graph
from edge_effnet.model import Model


@dataclass(frozen=True)
class PreparedModel:
    """A network ready to be quantized.

    Attributes:
        reference: The float network for calibration statistics, with the original input
            normalisation.
        model: The network to quantize and write. All channels have one input normalisation, so
            that one scale and zero point describe uint8 pixels.
    """

    reference: Model
    model: Model


def prepare(model: Model, *, equalized: bool = False) -> PreparedModel:
    """Fold BatchNorm, equalize (optional), reuse dead channels, share the input normalisation.

    Every layer of the result has a bias.

    Args:
        model: The network, with BatchNorm folded or not.
        equalized: Whether to apply cross-layer equalization, which per-tensor weight scales need.

    Raises:
        QuantizationError: The weights are not finite, or the input normalisation differs between
            channels and no single convolution reads the input.
    """
    folded = _add_biases(fold_batch_norm(model))
    _check_finite(folded)
    if equalized:
        folded = equalize(folded)
    reference = reuse_dead_channels(folded)
    return PreparedModel(reference, share_input_normalization(reference))


def _add_biases(model: Model) -> Model:
    """The same function, with a bias of 0 where a layer has none: quantization corrects biases."""
    nodes, weights = [], dict(model.weights)
    for node in model.graph:
        if isinstance(node, (Conv, Dense)) and not node.bias:
            outputs = len(weights[f"{node.name}.weight"])
            weights[f"{node.name}.bias"] = np.zeros(outputs, np.float32)
            node = replace(node, bias=True)
        nodes.append(node)
    graph = Graph(model.graph.input, model.graph.input_shape, tuple(nodes))
    return replace(
        model, graph=graph, weights={name: weights[name] for name in graph.parameter_shapes}
    )


def _check_finite(model: Model) -> None:
    for name, values in model.weights.items():
        if not np.isfinite(values).all():
            raise QuantizationError(
                f"{name} holds NaN or infinite weights: the checkpoint is damaged or its "
                "training diverged; use another one"
            )
