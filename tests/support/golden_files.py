"""Exported files whose bytes must not change; all calls that make them are in this module.

Weights come from hashes and quantization plans from integer arithmetic on them. Nothing here is
summed in floating point, so the bytes are the same on every processor. Files are written with a
constant text in place of the card, and without the project's version; the card's own JSON is kept
beside the bytes, so that a renamed key of the card leaves the network's digest as it is.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

import edge_effnet
from edge_effnet import digest, network
from edge_effnet.calibration.passes.fold import fold_batch_norm
from edge_effnet.calibration.plan import (
    SIGMOID_PARAMS,
    LayerPlan,
    QuantParams,
    QuantPlan,
    WeightOnlyPlan,
)
from edge_effnet.calibration.quantizer_placement import fusable_gates
from edge_effnet.card import ModelCard, ModelInfo
from edge_effnet.graph import Activation, Add, Conv, Dense, Graph, MaxPool
from edge_effnet.model import Model
from edge_effnet.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from edge_effnet.variants import Stage, Variant

OURS = ("tflite", "onnx", "openvino")
CARD = json.dumps({"card": digest.PLACEHOLDER})
SIDE, CLASSES = 64, 10

LITE = Variant(
    "golden-lite",
    (Stage("mbconv", 3, 1, 1, 8, 1), Stage("mbconv", 5, 2, 6, 16, 2)),
    SIDE,
    stem_channels=16,
    head_channels=32,
    activation="relu6",
    fixed_stem_head=True,
)
SWISH = Variant(
    "golden-swish",
    (
        Stage("fused", 3, 1, 1, 8, 1),
        Stage("fused", 3, 2, 4, 16, 2),
        Stage("mbconv", 3, 2, 4, 24, 2, 0.25),
    ),
    SIDE,
    stem_channels=16,
    head_channels=32,
)
RESNET = Variant(
    "golden-resnet",
    (
        Stage("bottleneck", 3, 1, 4, 32, 1),
        Stage("bottleneck", 3, 2, 4, 64, 2),
        Stage("bottleneck", 3, 2, 4, 64, 1, early_stride=True),
    ),
    SIDE,
    stem_channels=16,
    stem_kernel=7,
    stem_pool=True,
    head_channels=0,
    activation="relu",
    bn_eps=1e-5,
)
MOBILENET = Variant(
    "golden-mobilenet",
    (Stage("separable", 3, 1, 1, 16, 1), Stage("separable", 3, 2, 1, 32, 2)),
    SIDE,
    stem_channels=16,
    head_channels=0,
    activation="relu6",
)
#: Float layers of the swish network, each with its activation and what must go with it.
INSIDE = frozenset(
    f"stages.2.blocks.1.{name}" for name in ("depthwise", "depthwise_act", "se.pool", "se.scale")
)
AT_THE_END = INSIDE | {"head.conv", "head.act", "head.pool", "classifier"}


@dataclass(frozen=True)
class Golden:
    """The bytes of one file, an .xml's .bin or ncnn's other parts included, and its card's JSON."""

    data: bytes
    card: str


# Networks


def hashed(name: str, shape: Sequence[int]) -> NDArray[np.int8]:
    """Integers -128..127 that depend on the name alone."""
    count = int(np.prod(shape))
    return np.frombuffer(hashlib.shake_256(name.encode()).digest(count), np.int8).reshape(shape)


def parameter(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Whole multiples of a power of two: exact in float32."""
    values = hashed(name, shape).astype(np.float32)
    if len(shape) > 1:
        fan_in = int(np.prod(shape[1:]))
        return values * np.float32(2.0 ** (-5 - fan_in.bit_length() // 2))
    if name.endswith("bias"):
        return values / np.float32(512)
    return 1 + values / np.float32(256)  # what BatchNorm multiplies by, and its statistics


def model_of(
    variant: Variant, *, padding: network.Padding = "same", graph: Graph | None = None
) -> Model:
    """A model with hashed weights; networks with swish normalise each colour by its own mean."""
    if graph is None:
        graph = network.build(variant, classes=CLASSES, padding=padding)
    weights = {name: parameter(name, shape) for name, shape in graph.parameter_shapes.items()}
    preprocess = Preprocess(graph.input_shape[1], 0.875)
    if variant.activation == "swish":
        preprocess = replace(preprocess, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    labels = tuple(f"class {n}" for n in range(graph.shapes[graph.output][0]))
    return Model(variant, graph, weights, ModelInfo(variant.name, preprocess, labels))


def odd_graph() -> Graph:
    """Groups, uneven padding, sums of one tensor with itself, two dense layers."""
    from . import tflite_models

    return tflite_models.baseline().graph


def lite0() -> Model:
    return edge_effnet.load("lite0")


# Plans


def plan_of(model: Model, *, per_tensor: bool = False) -> QuantPlan:
    """Weights by the largest of each channel, activations on steps that the tensor's name gives."""
    model = fold_batch_norm(model)
    quant_params = grids_of(model.graph)
    layers = {}
    for node in model.graph:
        if isinstance(node, (Conv, Dense)):
            weight = model.weights[f"{node.name}.weight"]
            peaks = np.abs(weight).reshape(len(weight), -1).max(axis=1)
            peaks = np.maximum(np.full_like(peaks, peaks.max()) if per_tensor else peaks, 2.0**-20)
            scale = peaks / np.float32(127)
            levels = np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1)))
            bias = model.weights.get(f"{node.name}.bias", np.zeros(len(weight), np.float32))
            step = scale.astype(np.float64) * quant_params[node.inputs[0]].scale
            steps = np.clip(np.rint(bias / step), -(2**30), 2**30)
            layers[node.name] = LayerPlan(levels.astype(np.int8), scale, steps.astype(np.int32))
    return QuantPlan(layers, quant_params, "default")


def grids_of(graph: Graph) -> dict[str, QuantParams]:
    quant_params = {graph.input: QuantParams(1 / 128, 127)}
    for node in graph:
        readers = graph.consumers[node.name]
        clipped = len(readers) == 1 and getattr(readers[0], "kind", "") in ("relu", "relu6")
        if isinstance(node, (Conv, Dense, Add)) and clipped:
            continue
        (byte,) = hashed(node.name, [1]).tolist()
        if isinstance(node, MaxPool):
            quant_params[node.name] = quant_params[node.inputs[0]]
        elif isinstance(node, Activation) and node.kind == "sigmoid":
            quant_params[node.name] = SIGMOID_PARAMS
        elif isinstance(node, Activation) and node.kind == "relu6":
            quant_params[node.name] = QuantParams(float(np.float32(6 / 255)), 0)
        elif isinstance(node, Activation):
            zero = 0 if node.kind == "relu" else 12
            quant_params[node.name] = QuantParams((192 + byte) / 8192, zero)
        else:
            quant_params[node.name] = QuantParams((192 + byte) / 4096, 128 + byte // 2)
    return quant_params


def mixed(model: Model, plan: QuantPlan, float_layers: frozenset[str]) -> QuantPlan:
    """``plan`` with ``float_layers`` in float, with weights and OpenVINO biases of their own."""
    folded = fold_batch_norm(model)
    parameters = {
        name: values * np.float32(1.25)
        for name, values in folded.weights.items()
        if name.rpartition(".")[0] in float_layers
    }
    layers = {name: layer for name, layer in plan.layers.items() if name not in float_layers}
    biases = {name: layer.bias + hashed(name, layer.bias.shape) for name, layer in layers.items()}
    return replace(
        plan,
        layers=layers,
        float_layers=float_layers,
        weights=parameters,
        biases={"openvino": biases},
    )


def weights_only(plan: QuantPlan) -> WeightOnlyPlan:
    """A plan for networks that compute in float: no activations' steps, float biases."""
    layers = {
        name: replace(layer, bias=hashed(name, layer.bias.shape) / np.float32(64))
        for name, layer in plan.layers.items()
    }
    return WeightOnlyPlan(layers, plan.recipe, plan.record)


# Files


@contextmanager
def constant_card() -> Iterator[list[str]]:
    """Writers store `CARD`; the JSON that they would have stored is in the list."""
    cards: list[str] = []
    to_json, card = ModelCard.to_json, ModelInfo.card

    def of_no_version(info: ModelInfo, **fields: object) -> ModelCard:
        return card(info, **{"toolkit": "edge-effnet", **fields})

    def constant(card: ModelCard) -> str:
        cards.append(to_json(card))
        return CARD

    with ExitStack() as stack:
        stack.enter_context(patch.object(ModelCard, "to_json", constant))
        stack.enter_context(patch.object(ModelInfo, "card", of_no_version))
        stack.enter_context(patch("edge_effnet.converters.formats.onnx.VERSION", "0"))
        yield cards


def written(write: Callable[[Path], object]) -> Golden:
    """All parts, in the order of their names, of the one file that ``write`` leaves in a folder."""
    with tempfile.TemporaryDirectory() as folder, constant_card() as cards:
        write(Path(folder))
        parts = sorted(path for path in Path(folder).iterdir() if path.is_file())
        return Golden(b"".join(path.read_bytes() for path in parts), cards[-1])


def export(
    label: str,
    model: Model,
    formats: Sequence[str],
    precisions: Sequence[str],
    plan: QuantPlan | WeightOnlyPlan | None = None,
    **options: object,
) -> dict[str, Golden]:
    """``label/precision.format`` -> the file, one for each of ``formats`` and ``precisions``."""
    return {
        f"{label}/{precision}.{name}": written(
            lambda out, name=name, precision=precision: edge_effnet.export(
                model,
                formats=[name],
                precisions=[precision],
                calibration=plan,
                out=out,
                notify=lambda text: None,
                **options,
            )
        )
        for precision in precisions
        for name in formats
    }


def lite0_files() -> dict[str, Golden]:
    """The nine files of the packaged checkpoint."""
    model = lite0()
    return export("lite0", model, OURS, ("fp32", "fp16", "int8"), plan_of(model))


def lite_files() -> dict[str, Golden]:
    model = model_of(LITE)
    one_scale = plan_of(model, per_tensor=True)
    return {
        **export("lite", model, OURS, ("int8", "w8"), plan_of(model)),
        **export("lite", model, ("tflite",), ("dynamic",), plan_of(model)),
        **export("lite per tensor", model, OURS, ("int8",), one_scale, per_tensor=True),
    }


def swish_files() -> dict[str, Golden]:
    model = model_of(SWISH)
    plan = plan_of(model)
    best = replace(plan, fused_gates=fusable_gates(fold_batch_norm(model).graph), recipe="best")
    light = weights_only(plan)
    return {
        **export("swish", model, OURS, ("fp32", "fp16", "int8"), plan),
        **export("swish best", model, OURS, ("int8",), best),
        **export("swish weights", model, OURS, ("w8",), light),
        **export("swish weights", model, ("tflite",), ("dynamic",), light),
        **export("swish mixed", model, OURS, ("int8",), mixed(model, best, INSIDE)),
        **export("swish mixed end", model, OURS, ("int8",), mixed(model, plan, AT_THE_END)),
        **export("swish io float32", model, OURS, ("int8",), plan, io="float32"),
        **export("swish io int8", model, ("tflite",), ("int8",), plan, io="int8"),
    }


def padding_files() -> dict[str, Golden]:
    model = model_of(SWISH, padding="symmetric")
    return export("swish symmetric", model, OURS, ("fp32", "int8"), plan_of(model))


def baseline_files() -> dict[str, Golden]:
    networks = {
        "resnet": model_of(RESNET, padding="symmetric"),
        "mobilenet": model_of(MOBILENET),
        "odd": model_of(replace(LITE, name="golden-odd"), graph=odd_graph()),
    }
    return {
        name: golden
        for label, model in networks.items()
        for name, golden in export(label, model, OURS, ("fp32", "int8"), plan_of(model)).items()
    }


def ncnn_files() -> dict[str, Golden]:
    return {
        **export("lite", model_of(LITE), ("ncnn",), ("fp32", "fp16")),
        **export("swish", model_of(SWISH), ("ncnn",), ("fp32", "fp16")),
    }


def foreign_files() -> dict[str, Golden]:
    """Files of an .onnx classifier that says nothing of where it came from."""
    import onnx

    from edge_effnet.converters.foreign.export import export as export_foreign
    from edge_effnet.converters.foreign.preparation import Preparation
    from edge_effnet.converters.formats.onnx import build

    model = fold_batch_norm(model_of(LITE))
    made = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "someone.onnx"
        with constant_card():
            onnx.save(build(model.graph, model.weights), path)
        for name, precision in (("onnx", "fp32"), ("openvino", "fp32"), ("openvino", "fp16")):
            made[f"foreign/{precision}.{name}"] = written(
                lambda out, name=name, precision=precision: export_foreign(
                    path, Preparation(127.0, 128.0), formats=[name], precisions=[precision], out=out
                )
            )
    return made


GROUPS: Mapping[str, Callable[[], dict[str, Golden]]] = {
    "lite0": lite0_files,
    "lite": lite_files,
    "swish": swish_files,
    "padding": padding_files,
    "baselines": baseline_files,
    "ncnn": ncnn_files,
    "foreign": foreign_files,
}
