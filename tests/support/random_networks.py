"""Small random networks of every kind that `Variant` describes; their signals stay alive."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_effnet import network
from edge_effnet.calibration.passes.input_normalization import input_quant_params
from edge_effnet.calibration.plan import SIGMOID_PARAMS, LayerPlan, QuantParams, QuantPlan
from edge_effnet.card import ModelInfo
from edge_effnet.graph import Activation, Add, Conv, Dense, Graph, LayerNorm, MaxPool
from edge_effnet.heads import attach, trunk
from edge_effnet.model import Model
from edge_effnet.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from edge_effnet.variants import Stage, Variant
from support import numpy_network
from support.random_heads import RandomHead, heads

FAMILY = ("mbconv", "fused")
CLIPPING = ("relu", "relu6")
_LEVELS = 63


@st.composite
def stages(draw: st.DrawFn, operator: str) -> Stage:
    """One stage of at most two blocks, any kernel, stride and width."""
    expansion = draw(st.integers(1, 4))
    channels = draw(st.integers(3, 17))
    if operator == "bottleneck":
        expansion = draw(st.sampled_from((1, 2, 4)))
        channels = expansion * draw(st.integers(2, 6))
    return Stage(
        operator,  # type: ignore[arg-type]
        kernel=draw(st.sampled_from((3, 5, 7))),
        stride=draw(st.sampled_from((1, 2))),
        expansion=expansion,
        channels=channels,
        repeats=draw(st.integers(1, 2)),
        se_ratio=draw(st.sampled_from((0.0, 0.25, 1.0))) if operator in FAMILY else 0.0,
        skip=draw(st.booleans()),
        early_stride=draw(st.booleans()),
    )


@dataclass(frozen=True)
class RandomNetwork:
    """All choices behind one network; ``colours`` normalises each channel by a mean of its own."""

    variant: Variant
    classes: int
    padding: network.Padding
    fused_stride: network.FusedStride
    colours: bool
    seed: int
    head: RandomHead | None = None

    def model(self) -> Model:
        graph = network.build(
            self.variant,
            classes=self.classes,
            padding=self.padding,
            fused_stride=self.fused_stride,
        )
        rng = np.random.default_rng(self.seed)
        weights = {name: _parameter(rng, name, shape) for name, shape in _shapes(graph)}
        preprocess = Preprocess(graph.input_shape[1], 1.0, "bicubic", (127.0,) * 3, (128.0,) * 3)
        if self.colours:
            preprocess = replace(preprocess, mean=IMAGENET_MEAN, std=IMAGENET_STD)
        if self.head is not None:
            features = graph.shapes["head.pool"][0]
            own = self.head.head(features, self.classes, rng)
            graph, weights = attach(trunk(graph), weights, own)
        labels = tuple(f"class {n}" for n in range(self.classes))
        return Model(self.variant, graph, weights, ModelInfo("random", preprocess, labels))

    def pixels(self) -> NDArray[np.uint8]:
        """A smooth random image [side, side, 3]."""
        side = self.variant.resolution
        coarse = np.random.default_rng(self.seed).uniform(0, 255, (8, 8, 3))
        repeats = -(-side // 8)
        return np.kron(coarse, np.ones((repeats, repeats, 1)))[:side, :side].astype(np.uint8)


@st.composite
def networks(draw: st.DrawFn) -> RandomNetwork:
    """At most three stages at 32 to 45 pixels."""
    operator = draw(st.sampled_from(("family", "family", "separable", "bottleneck")))
    kinds = FAMILY if operator == "family" else (operator,)
    rows = [draw(stages(draw(st.sampled_from(kinds)))) for _ in range(draw(st.integers(1, 3)))]
    variant = Variant(
        "random",
        tuple(rows),
        resolution=draw(st.integers(32, 45)),
        stem_channels=draw(st.integers(3, 12)),
        stem_kernel=draw(st.sampled_from((3, 5, 7))),
        stem_pool=operator == "bottleneck" and draw(st.booleans()),
        head_channels=draw(st.sampled_from((0, 5, 16))),
        activation=draw(st.sampled_from(("relu", "relu6", "swish", "hard_swish"))),
        bn_eps=draw(st.sampled_from((1e-5, 1e-3))),
    )
    return RandomNetwork(
        variant,
        classes=draw(st.integers(2, 7)),
        padding=draw(st.sampled_from(("same", "symmetric"))),
        fused_stride=draw(st.sampled_from(("expand", "project"))),
        colours=draw(st.booleans()),
        seed=draw(st.integers(0, 2**32 - 1)),
        head=draw(st.none() | heads()),
    )


def _shapes(graph: Graph) -> Any:
    return graph.parameter_shapes.items()


def _parameter(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    if name.endswith("running_var"):
        values = rng.uniform(0.5, 2.0, shape)
    elif len(shape) > 1:
        values = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
    elif name.endswith("weight"):
        values = rng.uniform(0.5, 1.5, shape)
    else:
        values = rng.normal(0, 0.3, shape)
    return values.astype(np.float32)


def normalised(model: Model, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The network's input [3, side, side]."""
    mean, std = (np.array(part) for part in (model.info.preprocess.mean, model.info.preprocess.std))
    return ((pixels - mean) / std).transpose(2, 0, 1)


def naive_plan(model: Model, pixels: NDArray[np.uint8]) -> QuantPlan:
    """Largest weights and activations of one image set the ranges; ``model`` has no BatchNorm.

    Weights take 7 bits: on x86 without VNNI a pair of larger ones saturates in ONNX Runtime.
    """
    tensors = numpy_network.run(model.graph, model.weights, normalised(model, pixels))
    quant_params = {model.graph.input: input_quant_params(model.info.preprocess)}
    for node in model.graph:
        readers = model.graph.consumers[node.name]
        clipped = len(readers) == 1 and getattr(readers[0], "kind", "") in CLIPPING
        if isinstance(node, (Conv, Dense, Add)) and clipped:
            continue
        if isinstance(node, LayerNorm) and any(
            isinstance(reader, Activation) for reader in readers
        ):
            continue
        values = tensors[node.name]
        if isinstance(node, MaxPool):
            quant_params[node.name] = quant_params[node.inputs[0]]
        elif isinstance(node, Activation) and node.kind == "sigmoid":
            quant_params[node.name] = SIGMOID_PARAMS
        else:
            quant_params[node.name] = QuantParams.of_range(values.min(), max(values.max(), 0.05))
    layers = {
        node.name: _layer(model, node, quant_params[node.inputs[0]].scale)
        for node in model.graph
        if isinstance(node, (Conv, Dense))
    }
    return QuantPlan(layers, quant_params, "default")


def _layer(model: Model, node: Conv | Dense, input_scale: float) -> LayerPlan:
    weight = model.weights[f"{node.name}.weight"]
    columns = (-1,) + (1,) * (weight.ndim - 1)
    scale = np.maximum(np.abs(weight).reshape(len(weight), -1).max(axis=1), 1e-6) / np.float32(
        _LEVELS
    )
    bias = model.weights.get(f"{node.name}.bias", np.zeros(len(weight), np.float32))
    return LayerPlan(
        np.rint(weight / scale.reshape(columns)).astype(np.int8),
        scale,
        np.rint(np.clip(bias / (scale.astype(np.float64) * input_scale), -(2**30), 2**30)).astype(
            np.int32
        ),
    )
