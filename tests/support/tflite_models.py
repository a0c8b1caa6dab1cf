"""Small networks, random weights, and a numpy reference to judge what runtimes compute."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet import digest, network
from edge_effnet.calibration.passes.fold import fold_batch_norm
from edge_effnet.calibration.plan import LayerPlan, QuantParams, QuantPlan
from edge_effnet.calibration.quantizer_placement import fused_activation
from edge_effnet.card import ModelCard, ModelInfo
from edge_effnet.converters.formats.tflite.writer import write
from edge_effnet.graph import (
    Activation,
    Add,
    Conv,
    Dense,
    GlobalAveragePool,
    Graph,
    MaxPool,
    Mul,
    Node,
)
from edge_effnet.model import Model
from edge_effnet.preprocess import Preprocess
from edge_effnet.variants import Stage, Variant

Array = NDArray[np.float32]
CLASSES = 10
SIDE = 64

LITE = Variant(
    name="tiny-lite",
    stages=(
        Stage("mbconv", 3, 1, 1, 8, 1),
        Stage("mbconv", 5, 2, 6, 16, 2),
        Stage("mbconv", 3, 2, 6, 24, 2),
    ),
    resolution=SIDE,
    stem_channels=16,
    head_channels=64,
    activation="relu6",
    fixed_stem_head=True,
)
SWISH = Variant(
    name="tiny-swish",
    stages=(
        Stage("fused", 3, 1, 1, 8, 1),
        Stage("fused", 3, 2, 4, 16, 2),
        Stage("mbconv", 3, 2, 4, 24, 2, 0.25),
    ),
    resolution=SIDE,
    stem_channels=16,
    head_channels=64,
)

HARD_SWISH = replace(SWISH, name="tiny-hard-swish", activation="hard_swish")


def model_of(
    variant: Variant, *, padding: network.Padding = "same", classes: int = CLASSES
) -> Model:
    """``variant`` with random weights, BatchNorm folded."""
    return random_model(variant, network.build(variant, classes=classes, padding=padding))


def random_model(variant: Variant, graph: Graph) -> Model:
    rng = np.random.default_rng(7)
    weights = {name: _parameter(rng, name, shape) for name, shape in graph.parameter_shapes.items()}
    side = graph.input_shape[1]
    classes = graph.shapes[graph.output][0]
    labels = tuple(f"class {n}" for n in range(classes))
    info = ModelInfo(variant.name, Preprocess(side, 0.875), labels)
    return fold_batch_norm(Model(variant, graph, weights, info))


def card_of(model: Model, **fields: Any) -> ModelCard:
    """The card of a file that can be stamped."""
    return model.info.card(digest=digest.PLACEHOLDER, **fields)


def _parameter(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> Array:
    if name.endswith("running_var"):
        return rng.uniform(0.5, 2.0, shape).astype(np.float32)
    if len(shape) > 1:
        return (rng.normal(size=shape) * np.sqrt(2.0 / np.prod(shape[1:]))).astype(np.float32)
    centre = 1.0 if name.endswith("weight") else 0.0
    return (centre + rng.normal(size=shape) * 0.1).astype(np.float32)


def baseline() -> Model:
    """What EfficientNets do not have: max pools, symmetric padding, relu, Add + relu, groups."""
    layer = partial(Conv, kernel=3, bias=True)
    nodes: tuple[Node, ...] = (
        layer(name="conv1", inputs=("image",), channels=16, kernel=7, stride=2, pads=(3, 3, 3, 3)),
        Activation(name="relu1", inputs=("conv1",), kind="relu"),
        MaxPool(name="pool1", inputs=("relu1",), kernel=3, stride=2, pads=(1, 1, 1, 1)),
        layer(name="conv2", inputs=("pool1",), channels=16, pads=(1, 1, 1, 1), groups=2),
        layer(name="conv3", inputs=("conv2",), channels=16, pads=(0, 2, 2, 0)),
        Add(name="add", inputs=("conv3", "pool1")),
        Activation(name="relu2", inputs=("add",), kind="relu"),
        MaxPool(name="pool2", inputs=("relu2",), kernel=2, stride=2),
        layer(name="conv4", inputs=("pool2",), channels=24, stride=2, bias=False),
        Activation(name="relu6", inputs=("conv4",), kind="relu6"),
        layer(name="conv5", inputs=("relu6",), channels=24, kernel=1),
        Add(name="add2", inputs=("conv5", "conv5")),  # two readers: the relu is its own operator
        Activation(name="relu3", inputs=("conv5",), kind="relu"),
        Add(name="add3", inputs=("relu3", "add2")),
        GlobalAveragePool(name="pool3", inputs=("add3",)),
        Dense(name="fc1", inputs=("pool3",), units=32),
        Activation(name="relu4", inputs=("fc1",), kind="relu"),
        Dense(name="fc2", inputs=("relu4",), units=CLASSES, bias=False),
    )  # fmt: skip
    return random_model(replace(LITE, name="baseline"), Graph("image", (3, SIDE, SIDE), nodes))


#: The small networks by name.
MODELS = {
    "lite": lambda: model_of(LITE),
    "lite-symmetric": lambda: model_of(LITE, padding="symmetric"),
    "swish": lambda: model_of(SWISH),
    "hard-swish": lambda: model_of(HARD_SWISH),
    "baseline": baseline,
}


def int8_file(model: Model, plan: QuantPlan) -> bytes:
    """The .tflite file of a plan; it takes uint8 pixels."""
    return write(model, plan, card_of(model, precision="int8", input="pixels"))


def photos(count: int, side: int = SIDE) -> list[NDArray[np.uint8]]:
    """Real colour photos from the scikit-image wheel, each cropped to [side, side, 3]."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    names = (
        "astronaut.png",
        "coffee.png",
        "chelsea.png",
        "rocket.jpg",
        "motorcycle_left.png",
        "ihc.png",
    )
    crops = [Preprocess(side, crop) for crop in (0.9, 0.6, 0.4, 0.2)]
    pixels = [crop.pixels(folder / name) for crop in crops for name in names[:count]]
    return pixels[:count]


Hook = Callable[[str, Array], Array]


def evaluate(
    model: Model, x: Array, hook: Hook = lambda _, value: value, plan: QuantPlan | None = None
) -> dict[str, Array]:
    """Every tensor of the graph for one input [C, H, W], in float64 sums.

    ``hook`` may replace each tensor; with ``plan`` layers compute with what its integers stand for.
    """
    graph = model.graph
    tensors = {graph.input: hook(graph.input, x)}
    for node in graph:
        inputs = [tensors[name] for name in node.inputs]
        weight = model.weights.get(f"{node.name}.weight")
        bias = model.weights.get(f"{node.name}.bias")
        if plan is not None and node.name in plan.layers:
            layer = plan.layers[node.name]
            weight = layer.float_weight()
            bias = layer.float_bias(grid_of(model, plan, node.inputs[0]).scale)
        tensors[node.name] = hook(node.name, _step(node, inputs, weight, bias).astype(np.float32))
    return tensors


def _step(
    node: Node, inputs: list[Array], weight: Array | None, bias: Array | None
) -> NDArray[np.floating]:
    x = inputs[0].astype(np.float64)
    if isinstance(node, Conv):
        assert weight is not None
        windows = _windows(x, node.kernel, node.stride, node.pads, 0.0)
        grouped = windows.reshape(node.groups, -1, *windows.shape[1:])
        kernels = weight.reshape(node.groups, -1, *weight.shape[1:])
        y = np.einsum("gchwij,gocij->gohw", grouped, kernels, optimize=True)
        y = y.reshape(node.channels, *y.shape[2:])
        return y if bias is None else y + bias[:, None, None]
    if isinstance(node, Dense):
        y = weight @ x.reshape(-1)
        return y if bias is None else y + bias
    if isinstance(node, MaxPool):
        return _windows(x, node.kernel, node.stride, node.pads, -np.inf).max(axis=(-2, -1))
    if isinstance(node, GlobalAveragePool):
        return x.mean(axis=(1, 2), keepdims=node.keepdims)
    if isinstance(node, (Add, Mul)):
        return x + inputs[1] if isinstance(node, Add) else x * inputs[1]
    assert isinstance(node, Activation)
    if node.kind in ("relu", "relu6"):
        return np.clip(x, 0.0, 6.0 if node.kind == "relu6" else None)
    if node.kind == "hard_swish":
        return x * np.clip(x + 3, 0, 6) / 6
    sigmoid = 1.0 / (1.0 + np.exp(-x))
    return sigmoid if node.kind == "sigmoid" else x * sigmoid


def _windows(
    x: NDArray[np.float64], kernel: int, stride: int, pads: tuple[int, ...], value: float
) -> NDArray[np.float64]:
    top, left, bottom, right = pads
    wide = np.pad(x, ((0, 0), (top, bottom), (left, right)), constant_values=value)
    windows = np.lib.stride_tricks.sliding_window_view(wide, (kernel, kernel), axis=(1, 2))
    return windows[:, ::stride, ::stride]


def normalised(model: Model, pixels: NDArray[np.uint8]) -> Array:
    """Pixels [H, W, 3] as the graph's input [3, H, W]."""
    return model.info.preprocess.normalise(pixels).transpose(2, 0, 1)


def min_max_plan(
    model: Model, pictures: Iterable[NDArray[np.uint8]], largest: int = 127
) -> QuantPlan:
    """The simplest plan: ranges as seen, weights rounded to integers up to ``largest``.

    With 63 no kernel of a processor without VNNI saturates.
    """
    ranges: dict[str, tuple[float, float]] = {}
    for picture in pictures:
        for name, value in evaluate(model, normalised(model, picture)).items():
            low, high = ranges.get(name, (0.0, 0.0))
            ranges[name] = min(low, float(value.min())), max(high, float(value.max()))
    quant_params = {name: QuantParams.of_range(*bounds) for name, bounds in ranges.items()}
    quant_params[model.graph.input] = QuantParams(1 / 128, 127)
    plan = QuantPlan({}, quant_params, "min-max")
    layers = {}
    for node in model.graph:
        if isinstance(node, (Conv, Dense)):
            weight = model.weights[f"{node.name}.weight"].astype(np.float64)
            peak = np.abs(weight).reshape(len(weight), -1).max(axis=1)
            scale = (np.maximum(peak, 1e-6) / largest).astype(np.float32)
            levels = np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1)))
            bias = model.weights.get(f"{node.name}.bias", np.zeros(len(weight), np.float32))
            steps = np.rint(
                bias / (grid_of(model, plan, node.inputs[0]).scale * scale.astype(float))
            )
            layers[node.name] = LayerPlan(levels.astype(np.int8), scale, steps.astype(np.int32))
    return replace(plan, layers=layers)


def grid_of(model: Model, plan: QuantPlan, name: str) -> QuantParams:
    """The grid on which int8 runtimes store the tensor ``name``."""
    node = model.graph.by_name.get(name)
    if isinstance(node, Activation) and node.kind == "sigmoid":
        return QuantParams(1 / 256, 0)
    return plan.quant_params[name]


def simulate(model: Model, plan: QuantPlan, pixels: NDArray[np.uint8]) -> Array:
    """Logits of the quantized network, every stored tensor rounded to its grid."""

    def to_grid(name: str, value: Array) -> Array:
        if fused_activation(model.graph, name):
            return value
        grid = grid_of(model, plan, name)
        return grid.dequantize(grid.quantize(value))

    return evaluate(model, normalised(model, pixels), to_grid, plan)[model.graph.output]
