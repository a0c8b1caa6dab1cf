"""Channel groups: a block with a few large channels becomes the sum of two parallel blocks.

In networks with swish, some channels of a wide tensor are ten times larger than the others. All
channels share one scale, so 8 bits are too coarse for most of them. On B0, rounding the first
layer's output alone limits the logits' SQNR to 16 dB, and rounding it with one scale per channel
to 36 dB. No runtime has such scales for activations.

A block (expansion, depthwise convolution, squeeze-excite, projection) treats its channels apart
from each other, except in squeeze-excite's first layer and in the projection, which are sums over
channels. The block therefore equals the sum of two blocks, each with a part of the channels. Large
channels form a group of their own, with its own scales. The float function and the number of
multiply-adds are unchanged. Two elementwise additions come on top.

Only large feature maps are divided: their many positions give ranges that hold on other photos. On
small maps some channels are large on rare photos only, and the range of a group clips them. A block
is divided only if rounding its wide tensor alone disturbs the logits, because the parts are slower.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.engine import Engine
from edge_effnet.calibration.fidelity import sqnr_db
from edge_effnet.calibration.passes.prepare import PreparedModel
from edge_effnet.calibration.plan import QuantParams, QuantPlan
from edge_effnet.calibration.segments import compile_segments, run_segments
from edge_effnet.graph import Activation, Add, Conv, GlobalAveragePool, Graph, Mul, Node
from edge_effnet.model import Model

#: Smallest side of a feature map that is divided, in pixels.
_SMALLEST_SIDE = 28
#: Largest ratio of the rounding noise with two groups to that with one.
_WORTHWHILE = 0.5
#: Group sizes are multiples of this: CPU kernels compute eight channels at once.
_MULTIPLE = 8
#: SQNR of the logits, in dB, with one rounded tensor, above which its block is left alone.
_GOOD_SQNR = 25.0
#: Number of calibration samples that determine the channels' ranges, that determine the SQNR, and
#: per call.
_SAMPLES, _JUDGED, _CHUNK = 32, 8, 4
_SUFFIX = "_large"
#: Nodes of squeeze-excite.
_GATE = (GlobalAveragePool, Conv, Activation, Conv, Activation, Mul)

Floats = NDArray[np.float32]
Range = tuple[Floats, Floats]  # smallest and largest value of each channel


@dataclass(frozen=True)
class _Block:
    """Nodes of one block; ``gate`` are squeeze-excite's, from the pooling to the product."""

    expand: Conv
    expand_act: Activation
    depthwise: Conv
    depthwise_act: Activation
    gate: tuple[Node, ...]
    project: Conv


def divide_channels(
    prepared: PreparedModel, pixels: NDArray[np.uint8], engine: Engine
) -> PreparedModel:
    """Divide the blocks whose large channels set the scale of all others.

    Args:
        prepared: The network, with BN folded.
        pixels: Calibration samples, uint8 [n, height, width, channels].
        engine: Compiles the network.

    Returns:
        An equivalent network; ``prepared`` itself if no block gains.
    """
    graph = prepared.reference.graph
    blocks = [
        block
        for block in _blocks(graph)
        if min(graph.shapes[block.expand_act.name][1:]) >= _SMALLEST_SIDE
    ]
    if not blocks:
        return prepared
    float_model = prepared.reference
    names = [block.expand_act.name for block in blocks]
    ranges = _channel_ranges(float_model, names, pixels[:_SAMPLES], engine)
    for block in blocks:
        name = block.expand_act.name
        filters = float_model.weights[f"{block.depthwise.name}.weight"]
        gain = np.square(filters.astype(np.float64)).sum(axis=(1, 2, 3))
        large = large_channels(ranges[name], gain)
        low, high = ranges[name][0].min(), ranges[name][1].max()
        if not large.any():
            continue
        params = {name: QuantParams.of_range(low, high)}
        if _sqnr(float_model, params, pixels[:_JUDGED], engine) < _GOOD_SQNR:
            prepared = PreparedModel(
                _divide(prepared.reference, block, large), _divide(prepared.model, block, large)
            )
    return prepared


def large_channels(channel_range: Range, gain: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The channels that form a group of their own; none if the noise does not fall by half.

    Args:
        channel_range: Smallest and largest value of each channel.
        gain: Noise gain of each channel: the sum of the squared weights that read it.
    """
    low, high = (values.astype(np.float64) for values in channel_range)
    low, high = np.minimum(low, 0), np.maximum(high, 0)
    order = np.argsort(high - low, kind="stable")

    def noise(group: NDArray[np.intp]) -> float:
        return float(gain[group].sum() * (high[group].max() - low[group].min()) ** 2)

    large = np.zeros(len(order), np.bool_)
    least = _WORTHWHILE * noise(order)
    for size in range(_MULTIPLE, len(order) // 2 + 1, _MULTIPLE):
        total = noise(order[:-size]) + noise(order[-size:])
        if total < least:
            least = total
            large[:] = False
            large[order[-size:]] = True
    return large


def _channel_ranges(
    model: Model, names: list[str], pixels: NDArray[np.uint8], engine: Engine
) -> dict[str, Range]:
    """Smallest and largest value of each channel of the float tensors ``names``."""
    segments = compile_segments(model.graph, model.weights, engine, names, _CHUNK)
    ranges: dict[str, Range] = {}
    for batch in _batches(model, pixels):
        for _, tensors in run_segments(segments, batch, engine):
            for name in tensors.keys() & {*names}:
                values = tensors[name]
                low, high = values.min(axis=(0, 2, 3)), values.max(axis=(0, 2, 3))
                if name in ranges:
                    low, high = np.minimum(low, ranges[name][0]), np.maximum(high, ranges[name][1])
                ranges[name] = low, high
            del tensors  # frees memory before the next step
    return ranges


def _sqnr(
    model: Model, params: Mapping[str, QuantParams], pixels: NDArray[np.uint8], engine: Engine
) -> float:
    """SQNR of the logits in dB if only the tensors of ``params`` are rounded."""
    output = model.graph.output
    run = engine.compile_float(model.graph, model.weights, [output])
    plan = QuantPlan({}, params, "")
    rounded = engine.compile_fake_quantized(model.graph, model.weights, plan, [output])
    signal = noise = 0.0
    for batch in _batches(model, pixels):
        logits = run(batch)[output].astype(np.float64)
        noise += float(np.square(rounded(batch)[output] - logits).sum())
        signal += float(np.square(logits - logits.mean(axis=1, keepdims=True)).sum())
    return sqnr_db(noise, signal)


def _batches(model: Model, pixels: NDArray[np.uint8]) -> Iterator[Floats]:
    """The normalised samples [n, channels, height, width], a few at a time."""
    for start in range(0, len(pixels), _CHUNK):
        batch = model.info.preprocess.normalise(pixels[start : start + _CHUNK])
        yield np.ascontiguousarray(batch.transpose(0, 3, 1, 2), np.float32)


def _blocks(graph: Graph) -> Iterator[_Block]:
    """Blocks of convolution, swish, depthwise convolution, swish, (squeeze-excite,) projection."""
    for depthwise in graph:
        if not (isinstance(depthwise, Conv) and depthwise.depthwise and depthwise.bias):
            continue
        expand_act = graph.by_name.get(depthwise.inputs[0])
        depthwise_act = _only_reader(graph, depthwise)
        if not (_is_swish(expand_act) and _is_swish(depthwise_act)):
            continue
        expand = graph.by_name.get(expand_act.inputs[0])
        rest = _rest(graph, depthwise_act)
        if (
            isinstance(expand, Conv)
            and expand.groups == 1
            and expand.bias
            and _only_reader(graph, expand) is expand_act
            and _only_reader(graph, expand_act) is depthwise
            and rest is not None
        ):
            yield _Block(expand, expand_act, depthwise, depthwise_act, *rest)


def _rest(graph: Graph, depthwise_act: Node) -> tuple[tuple[Node, ...], Conv] | None:
    """Squeeze-excite (possibly none) and projection after a depthwise layer's activation."""
    gate: tuple[Node, ...] = ()
    readers = graph.consumers[depthwise_act.name]
    if len(readers) == 2:
        chain: list[Node] = [node for node in readers if isinstance(node, GlobalAveragePool)]
        while chain and len(chain) < len(_GATE) and (reader := _only_reader(graph, chain[-1])):
            chain.append(reader)
        if tuple(map(type, chain)) != _GATE or chain[-1] not in readers:
            return None
        gate, readers = tuple(chain), graph.consumers[chain[-1].name]
    project = readers[0] if len(readers) == 1 else None
    if isinstance(project, Conv) and project.kernel == project.groups == 1 and project.bias:
        return gate, project
    return None


def _only_reader(graph: Graph, node: Node) -> Node | None:
    readers = graph.consumers[node.name]
    return readers[0] if len(readers) == 1 else None


def _is_swish(node: Node | None) -> TypeGuard[Activation]:
    return isinstance(node, Activation) and node.kind == "swish"


def _divide(model: Model, block: _Block, large: NDArray[np.bool_]) -> Model:
    """The network with ``block`` as the sum of two blocks: of other channels, and of ``large``."""
    parts = {"": np.flatnonzero(~large), _SUFFIX: np.flatnonzero(large)}
    weights = dict(model.weights)
    apart = {node.name for node in (block.expand_act, block.depthwise_act, *block.gate[:1])}
    summed = {node.name for node in (*block.gate[1:2], block.project)}
    outputs = {node.name for node in (block.expand, block.depthwise, *block.gate[3:4])}
    apart |= outputs | {node.name for node in block.gate[4:]}
    nodes: list[Node] = []
    for node in model.graph:
        if node.name in apart:
            nodes += [
                _part(node, suffix, len(channels), apart) for suffix, channels in parts.items()
            ]
        elif node.name in summed:
            terms = [_term(node, suffix) for suffix in parts]
            nodes += [*terms, Add(name=node.name, inputs=tuple(term.name for term in terms))]
        else:
            nodes.append(node)
    for name in (*outputs, *summed):
        weight, bias = (weights.pop(f"{name}.{kind}") for kind in ("weight", "bias"))
        for suffix, channels in parts.items():
            if name in outputs:
                values, key = (weight[channels], bias[channels]), f"{name}{suffix}"
            else:
                once = bias if suffix == "" else np.zeros_like(bias)
                values, key = (weight[:, channels], once), _term_name(name, suffix)
            weights[f"{key}.weight"] = np.ascontiguousarray(values[0])
            weights[f"{key}.bias"] = values[1]
    return replace(model, graph=replace(model.graph, nodes=tuple(nodes)), weights=weights)


def _part(node: Node, suffix: str, channels: int, apart: set[str]) -> Node:
    """The node for one group of channels."""
    inputs = tuple(name + suffix if name in apart else name for name in node.inputs)
    part = replace(node, name=node.name + suffix, inputs=inputs)
    if isinstance(part, Conv):
        part = replace(part, channels=channels, groups=channels if part.groups > 1 else 1)
    return part


def _term(node: Node, suffix: str) -> Node:
    """The convolution that sums over one group of channels."""
    return replace(node, name=_term_name(node.name, suffix), inputs=(node.inputs[0] + suffix,))


def _term_name(name: str, suffix: str) -> str:
    return f"{name}_of{suffix or '_others'}"
