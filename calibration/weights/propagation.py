"""Propagation of quantized tensors through a network, node by node.

A tensor that the file format stores quantized is held as uint8 values with quantization parameters.
All other tensors are held in float. The caller passes the weights of each layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_effnet import forward
from edge_effnet.calibration.activation_functions import ActivationFunction
from edge_effnet.calibration.activations.sampling import SampledPositions
from edge_effnet.calibration.engine import Engine, Floats, Indices
from edge_effnet.calibration.plan import (
    FUSED_SIGMOID_PARAMS,
    SIGMOID_PARAMS,
    LayerPlan,
    QuantizerPlacement,
    QuantParams,
    QuantPlan,
)
from edge_effnet.calibration.quantizer_placement import activation_of, quantized_tensors
from edge_effnet.calibration.weights.activation_tables import (
    activation_table,
    looked_up,
    quantized_sigmoids,
)
from edge_effnet.calibration.weights.im2col import windows
from edge_effnet.calibration.weights.readers import BlockReader, Reader, Tensor, stored_values
from edge_effnet.errors import QuantizationError
from edge_effnet.graph import (
    Activation,
    Add,
    Concat,
    Conv,
    Dense,
    GlobalAveragePool,
    Graph,
    LayerNorm,
    MaxPool,
    Mul,
    Node,
)
from edge_effnet.model import Model, Weights

_Run = Callable[[Tensor], Tensor]
#: Largest number of elements (bytes in uint8) of a stored tensor of all samples. Larger ones are
#: computed anew for each reader.
#: Outputs of blocks are stored whatever their size. Lite0's tensors with 96 channels take 154 MB.
MOST_STORED = 128 * 2**20
#: Largest number of samples computed at a time, and bytes of their largest tensor in float32.
_CHUNK = 16
_PART_BYTES = 16 * 2**20
_HALF_MAX = 65504.0  # the largest float16
#: Largest fraction of a map that is computed in blocks.
_FEW = 0.25


class PropagatedTensors:
    """The tensors [n, ...] that later nodes read, for n samples.

    ``tensors`` holds a reader of each tensor by name. `propagate` and `propagate_layer` add a
    node's output and drop the tensors that no later node reads. Memory is bounded: a large tensor
    within a block is computed anew whenever a part of it is read. `read_blocks` computes such a
    tensor only where a layer samples it.
    """

    def __init__(
        self,
        model: Model,
        engine: Engine,
        quant_params: Mapping[str, QuantParams],
        pixels: NDArray[np.uint8],
        *,
        placement: QuantizerPlacement = "tflite",
        float_layers: frozenset[str] = frozenset(),
        fused_gates: frozenset[str] = frozenset(),
    ) -> None:
        """Begin with the pixels as the input tensor.

        Args:
            model: Network with BN folded and the same input mean and deviation for all channels.
            engine: Compiles single layers.
            quant_params: Quantization parameters by tensor name.
            pixels: uint8 samples [n, size, size, 3].
            placement: The format whose quantizer placement applies.
            float_layers: Nodes that compute in float.
            fused_gates: Names of the Mul nodes with fused sigmoid gating, z * (sigmoid(z) * gate).
        """
        graph = model.graph
        plan = QuantPlan({}, quant_params, "", float_layers=float_layers)
        self.model = model
        self.engine = engine
        self.quant_params = quant_params
        self.float_layers = float_layers
        self.fused_gates = fused_gates
        self.stored = quantized_tensors(graph, plan, placement)
        self._exact_swish = placement == "onnx-contrib"
        self.count = len(pixels)
        maps = pixels.transpose(0, 3, 1, 2)
        self.tensors: dict[str, Reader] = {
            graph.input: lambda part: np.ascontiguousarray(maps[part])
        }
        # Fused sigmoid gating reads the inputs of swishes: stored by the name of the swish.
        self._swishes = frozenset(graph.by_name[name].inputs[0] for name in fused_gates)
        self.swish_inputs: dict[str, Reader] = {}
        largest = 4 * max(math.prod(shape) for shape in graph.shapes.values())
        self._step = max(1, min(_CHUNK, _PART_BYTES // largest))
        self._last_reader = {name: node.name for node in graph for name in node.inputs}
        self._blocks: dict[str, BlockReader] = {}  # of tensors that are not stored

    def parts(self) -> Iterator[slice]:
        """Slices of the samples that are computed together, in order."""
        for start in range(0, self.count, self._step):
            yield slice(start, min(start + self._step, self.count))

    def read(self, name: str, reader: Node, part: slice) -> Tensor:
        """The samples ``part`` of the tensor ``name`` as ``reader`` reads them.

        If ``reader`` is quantized and the format stores the tensor quantized, the result is uint8.
        Otherwise it is uint8 or float16, as the tensor was stored.
        """
        return self._reader(name, reader)(part)

    def read_blocks(self, name: str, reader: Conv, part: slice, blocks: SampledPositions) -> Tensor:
        """As `read`, blocks of the tensor: [samples * blocks, channels, side, side].

        Args:
            name: The tensor.
            reader: The convolution that reads the blocks.
            part: The samples.
            blocks: The blocks; values outside the map are padding.
        """
        return self._block_reader(name, reader)(part, blocks)

    def _reader(self, name: str, node: Node) -> Reader:
        """Reads the tensor ``name`` as ``node`` reads it, also after the tensor was dropped."""
        tensor = self.tensors[name]
        return lambda part: self._as_read(tensor(part), name, node)

    def _block_reader(self, name: str, node: Node) -> BlockReader:
        """As `_reader`, of blocks: computed alone if they are a small part of the map."""
        read, read_blocks = self._reader(name, node), self._blocks.get(name)
        map_size = math.prod(self.model.graph.shapes[name][1:])

        def read_as_stored(part: slice, blocks: SampledPositions) -> Tensor:
            if read_blocks is not None and blocks.count <= _FEW * len(blocks.top) * map_size:
                return self._as_read(read_blocks(part, blocks), name, node)
            values = read(part)
            return blocks.cut(values, self._padding(values, name))

        return read_as_stored

    def _as_read(self, values: Tensor, name: str, node: Node) -> Tensor:
        """``values`` of the tensor ``name``, quantized if ``node`` reads it quantized."""
        quantized = node.name not in self.float_layers and name in self.stored
        if not quantized or values.dtype == np.uint8:
            return values
        return self.quant_params[name].quantize(values.astype(np.float32))

    def _padding(self, values: Tensor, name: str) -> int:
        """The value of padding among ``values`` of the tensor ``name``."""
        return self.quant_params[name].zero_point if values.dtype == np.uint8 else 0

    def values(self, tensor: Tensor, name: str) -> Floats:
        """Dequantized values of ``tensor``, which is the tensor ``name`` or a part of it."""
        if tensor.dtype == np.uint8:
            return self.quant_params[name].dequantize(tensor)
        return tensor.astype(np.float32)

    def propagate(self, node: Node) -> None:
        """Compute a node that has no weights.

        Raises:
            QuantizationError: The node has no int8 form.
        """
        if isinstance(node, (Add, Concat, Mul, GlobalAveragePool, LayerNorm)):
            self._add(self._output_name(node), *self._elementwise(node))
        elif isinstance(node, MaxPool):
            self._add(node.name, self._max_pool(node))
        elif not (isinstance(node, Activation) and node.name in self.tensors):
            # An activation is computed with the layer or sum before it.
            raise QuantizationError(
                f"{node.name}: {type(node).__name__} has no int8 form yet; export fp32 or fp16"
            )
        self._release_inputs(node)

    def propagate_layer(self, node: Conv | Dense, layer: LayerPlan | Weights) -> None:
        """Compute a layer and its activation.

        Args:
            node: The layer.
            layer: The layer's plan, for integer kernels. Or float weight and bias by parameter
                name, for float arithmetic on the dequantized inputs.
        """
        if node.name != self.model.graph.output:
            self._add_layer(node, layer)
        self._release_inputs(node)

    def _add(self, name: str, compute: Reader, compute_blocks: BlockReader | None = None) -> None:
        """Add the tensor ``name``: its values, or ``compute`` if they take too much memory."""
        self.tensors[name] = self._held(name, compute)
        if self.tensors[name] is compute and compute_blocks is not None:
            self._blocks[name] = compute_blocks

    def _held(self, name: str, compute: Reader) -> Reader:
        """A reader of stored values of the tensor ``name``, or ``compute`` itself."""
        node = self.model.graph.by_name[name]
        within_block = isinstance(node, (Activation, Concat, Mul, MaxPool))
        size = self.count * math.prod(self.model.graph.shapes[name])
        if within_block and size > MOST_STORED:
            return compute
        return stored_values(compute, self.count, self.parts())

    def _output_name(self, node: Node) -> str:
        """Name of the output of the activation after ``node``; without one, ``node``'s own name."""
        activation = activation_of(self.model.graph, node.name)
        return node.name if activation is None else activation.name

    def _release_inputs(self, node: Node) -> None:
        for name in node.inputs:
            if self._last_reader[name] == node.name:
                self.tensors.pop(name, None)
                self._blocks.pop(name, None)
                self.swish_inputs.pop(name, None)

    def _add_layer(self, node: Conv | Dense, layer: LayerPlan | Weights) -> None:
        """Add the output of a layer, or of the activation after it."""
        activation = activation_of(self.model.graph, node.name)
        source = node.inputs[0]
        # On quantized tensors, an activation that does not clip is a lookup table.
        table = None
        if (
            activation is not None
            and node.name in self.stored
            and node.name not in self.float_layers
        ):
            params = (self.quant_params[name] for name in (node.name, activation.name))
            exact = self._exact_swish and activation.name not in self._swishes
            table = activation_table(activation.kind, *params, exact_swish=exact)
        nodes = (node,) if activation is None or table is not None else (node, activation)
        graph = Graph(source, self.model.graph.shapes[source], nodes)
        run, read = self._compile(graph, node, layer), self._reader(source, node)

        def compute(part: slice) -> Tensor:
            return run(read(part))

        blocks = self._layer_blocks(graph, node, layer) if isinstance(node, Conv) else None
        output = self._output_name(node)
        if table is None:
            self._add(output, compute, blocks)
            return
        before: Reader = compute
        if output in self._swishes:
            before = self.swish_inputs[output] = self._held(output, compute)
        activated = blocks and self._activated_blocks(blocks, table, output)
        self._add(output, lambda part: looked_up(before(part), table), activated)

    def _layer_blocks(self, graph: Graph, node: Conv, layer: LayerPlan | Weights) -> BlockReader:
        """Computes blocks of the output of ``graph``, which begins with ``node``."""
        source = node.inputs[0]
        read = self._block_reader(source, node)
        unpadded = (replace(node, pads=(0, 0, 0, 0)), *graph.nodes[1:])
        shape = graph.shapes[graph.output]
        compiled: dict[int, _Run] = {}  # by side

        def compute(part: slice, blocks: SampledPositions) -> Tensor:
            inputs = blocks.read_by(node)
            if blocks.side not in compiled:
                input_shape = (graph.input_shape[0], inputs.side, inputs.side)
                block_graph = Graph(source, input_shape, unpadded)
                compiled[blocks.side] = self._compile(block_graph, node, layer)
            values = compiled[blocks.side](read(part, inputs))
            return blocks.pad(values, shape, self._padding(values, graph.output))

        return compute

    def _activated_blocks(self, read: BlockReader, table: bytes, name: str) -> BlockReader:
        """Looks up the blocks of ``read`` in ``table``: blocks of the tensor ``name``."""
        shape, padding = self.model.graph.shapes[name], self.quant_params[name].zero_point

        def compute(part: slice, blocks: SampledPositions) -> Tensor:
            return blocks.pad(looked_up(read(part, blocks), table), shape, padding)

        return compute

    def _compile(self, graph: Graph, node: Conv | Dense, layer: LayerPlan | Weights) -> _Run:
        """Compile ``graph``, which begins with ``node``, to a function from its input to output."""
        if isinstance(layer, LayerPlan):
            plan = QuantPlan({node.name: layer}, self.quant_params, "")
            return self.engine.compile_integer(graph, plan)
        if graph.input in self.stored and node.name not in self.float_layers:
            names = {graph.input, graph.output} & self.stored
            params = {name: self.quant_params[name] for name in sorted(names)}
            run_layer = self.engine.compile_float_layer(graph, layer, params)

            def run_on_integers(part: Tensor) -> Tensor:
                values = run_layer(part)
                return values if graph.output in params else self._store(values, graph.output, node)

            return run_on_integers
        run = self.engine.compile_float(graph, layer, [graph.output])

        def run_float(part: Tensor) -> Tensor:
            values = run(self.values(part, graph.input))[graph.output]
            return self._store(values, graph.output, node)

        return run_float

    def _store(self, values: Floats, name: str, producer: Node) -> Tensor:
        """``values`` of the tensor ``name``, quantized to uint8 or converted to float16.

        float16 is used if ``producer`` is a float layer or the format stores the tensor in float.
        """
        if producer.name in self.float_layers or name not in self.stored:
            return np.clip(values, -_HALF_MAX, _HALF_MAX).astype(np.float16)
        return self.quant_params[name].quantize(values)

    def _elementwise(
        self, node: Add | Concat | Mul | GlobalAveragePool | LayerNorm
    ) -> tuple[Reader, BlockReader | None]:
        """Computes a node without quantized weights, and its activation, on dequantized inputs."""
        if node.name in self.fused_gates:
            return self._fused_sigmoid_gating(node), None
        function = ActivationFunction.of(activation_of(self.model.graph, node.name))
        output = self._output_name(node)
        inputs = [(name, self._reader(name, node)) for name in node.inputs]

        def compute(part: slice) -> Tensor:
            return combine([self.values(read(part), name) for name, read in inputs])

        def combine(values: list[Floats]) -> Tensor:
            if isinstance(node, Add):
                value = values[0] + values[1]
            elif isinstance(node, Mul):
                value = values[0] * values[1]
            elif isinstance(node, Concat):
                value = np.concatenate(values, axis=1)
            elif isinstance(node, LayerNorm):
                value = forward.layer_norm(node, values[0], self.model.weights)
            else:
                value = values[0].mean(axis=(2, 3), keepdims=node.keepdims)
            return self._store(function(value), output, node)

        shapes = self.model.graph.shapes
        if not isinstance(node, Mul) or shapes[node.inputs[1]][1:] != (1, 1):
            return compute, None
        read_map, read_gate = self._block_reader(node.inputs[0], node), inputs[1][1]

        def compute_blocks(part: slice, blocks: SampledPositions) -> Tensor:
            """The second factor, a gate, has one value per channel: the same for all blocks."""
            gate = np.repeat(read_gate(part), blocks.top.shape[1], axis=0)
            factors = (read_map(part, blocks), gate)
            named = zip(factors, node.inputs, strict=True)
            values = combine([self.values(factor, name) for factor, name in named])
            return blocks.pad(values, shapes[output], self._padding(values, output))

        return compute, compute_blocks

    def _fused_sigmoid_gating(self, node: Node) -> Reader:
        """Computes the squeeze-excite product z * (sigmoid(z) * gate), z being a swish's input.

        The factor sigmoid(z) * gate is quantized with `FUSED_SIGMOID_PARAMS`.
        """
        swish, gate = node.inputs
        read_input, read_gate = self.swish_inputs[swish], self._reader(gate, node)
        params = self.quant_params[self.model.graph.by_name[swish].inputs[0]]
        sigmoids = quantized_sigmoids(params)

        def compute(part: slice) -> Indices:
            z = read_input(part)
            product = sigmoids[z] * SIGMOID_PARAMS.dequantize(read_gate(part))
            fused = FUSED_SIGMOID_PARAMS.dequantize(FUSED_SIGMOID_PARAMS.quantize(product))
            return self.quant_params[node.name].quantize(params.dequantize(z) * fused)

        return compute

    def _max_pool(self, node: MaxPool) -> Reader:
        """Computes the largest value of each window, requantized unless the input is float16."""
        top, left, bottom, right = node.pads
        margins = ((0, 0), (0, 0), (top, bottom), (left, right))
        before, after = self.quant_params[node.inputs[0]], self.quant_params[node.name]
        read = self._reader(node.inputs[0], node)

        def compute(part: slice) -> Tensor:
            values = read(part)
            quantized = values.dtype == np.uint8
            padded = np.pad(values, margins, constant_values=0 if quantized else -np.inf)
            largest = windows(padded, node.kernel, node.stride).max(axis=(4, 5))
            if before == after or not quantized:
                return np.ascontiguousarray(largest)
            return after.quantize(before.dequantize(largest))

        return compute
