"""Reader of foreign graphs: a `Network` whose operators this package has becomes a `Model`.

A network of convolutions, dense layers, pooling, sums, gates and known activation functions can
then be quantized by this package, and written to TFLite without another converter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edge_effnet.card import ModelInfo
from edge_effnet.converters.foreign.graph import elementwise, layers
from edge_effnet.converters.foreign.graph.partial_graph import Attributes, PartialGraph, title
from edge_effnet.converters.foreign.graph.simplify import simplify, single_reader_of_input
from edge_effnet.converters.foreign.onnx_file import Network, onnx
from edge_effnet.converters.formats.tflite.input import common_input
from edge_effnet.model import Model
from edge_effnet.variants import Variant

_READERS: dict[str, Callable[[PartialGraph, Any, Attributes], None]] = {
    "Add": elementwise.arithmetic,
    "AveragePool": layers.average_pool,
    "BatchNormalization": layers.batch_norm,
    "Clip": elementwise.clip,
    "Concat": elementwise.concat,
    "Constant": elementwise.constant,
    "Conv": layers.conv,
    "Div": elementwise.arithmetic,
    "Dropout": elementwise.identity,
    "Flatten": elementwise.reshape,
    "Gelu": elementwise.gelu,
    "Gemm": layers.dense,
    "GlobalAveragePool": layers.global_average_pool,
    "HardSigmoid": elementwise.hard_sigmoid,
    "HardSwish": elementwise.hard_swish,
    "Identity": elementwise.identity,
    "LayerNormalization": layers.layer_norm,
    "LeakyRelu": elementwise.leaky_relu,
    "MatMul": layers.dense,
    "MaxPool": layers.max_pool,
    "Mul": elementwise.arithmetic,
    "Pad": layers.pad,
    "ReduceMean": layers.reduce_mean,
    "Relu": elementwise.relu,
    "Reshape": elementwise.reshape,
    "Sigmoid": elementwise.sigmoid,
    "Squeeze": elementwise.reshape,
    "Sub": elementwise.arithmetic,
    "Swish": elementwise.swish,
    "Tanh": elementwise.tanh,
    "Transpose": elementwise.transpose,
    "Unsqueeze": elementwise.reshape,
}


def read_model(network: Network, info: ModelInfo) -> Model:
    """``network`` as a `Model` with the description ``info``; BatchNorm is folded.

    Raises:
        UnknownLayerError: `Graph` cannot express a layer of the network.
    """
    partial_graph = PartialGraph(network)
    for node in network.proto.graph.node:
        partial_graph.current = f"{node.op_type} {title(node)}"
        reader = _READERS.get(node.op_type)
        if reader is None:
            raise partial_graph.unknown()
        attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        reader(partial_graph, node, attributes)
    partial_graph.current = "the output"
    graph = partial_graph.graph(network.proto.graph.output[0].name)
    graph, weights = simplify(graph, partial_graph.weights)
    if common_input(info.preprocess) is not None:
        graph, weights = single_reader_of_input(graph, weights)
    return Model(Variant(network.name, (), network.input.size[0]), graph, weights, info)
