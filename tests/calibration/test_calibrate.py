"""calibrate: whole plans of small networks, and awkward numbers."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_effnet.calibration.activation_functions import CLIPS, ActivationFunction
from edge_effnet.calibration.activations.quantizers import HEADROOM
from edge_effnet.calibration.activations.statistics import collect_statistics
from edge_effnet.calibration.calibrate import calibrate
from edge_effnet.calibration.passes.input_normalization import (
    input_quant_params,
    share_input_normalization,
)
from edge_effnet.calibration.plan import (
    FUSED_SIGMOID_PARAMS,
    SIGMOID_PARAMS,
    LayerPlan,
    QuantParams,
    QuantPlan,
)
from edge_effnet.calibration.quantizer_placement import fusable_gates
from edge_effnet.calibration.samples.photos import Samples
from edge_effnet.calibration.weights.gptq import pair_stride
from edge_effnet.calibration.weights.propagation import PropagatedTensors, activation_table
from edge_effnet.calibration.weights.reconstruction import channel_bias_correction
from edge_effnet.card import CalibrationRecord
from edge_effnet.errors import QuantizationError
from edge_effnet.graph import Activation, Conv, Dense, GlobalAveragePool, Graph, Mul
from edge_effnet.model import Model
from edge_effnet.preprocess import Preprocess
from support import tflite_models as small
from support.pairs import worst_pair

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("skimage", reason="the photos")
from edge_effnet.calibration.passes.prepare import prepare
from edge_effnet.calibration.quantized_model import QuantizedModel
from edge_effnet.converters.artifact import Artifact
from edge_effnet.converters.formats.onnx import build
from edge_effnet.converters.onnx_engine import OnnxEngine
from edge_effnet.converters.quantize import OurQuantized
from edge_effnet.runtime.opening import open_model

SUFFIXES = {"tflite": ".tflite", "onnx": ".onnx", "openvino": ".xml"}

COUNT = 18


def samples_of(count: int = COUNT) -> Samples:
    pictures = small.photos(6)
    flips = [picture[:, ::-1] for picture in pictures]
    turned = [picture[::-1] for picture in pictures]
    pixels = np.stack([*pictures, *flips, *turned])[:count]
    return Samples(pixels, CalibrationRecord(len(pixels), len(pixels), "0" * 64))


@pytest.fixture(scope="module")
def model() -> Model:
    return small.model_of(small.LITE)


@pytest.fixture(scope="module")
def plan(model: Model) -> QuantPlan:
    return calibrate(model, samples_of(), OnnxEngine(1)).plan


def layers_of(model: Model) -> list[Conv | Dense]:
    return [node for node in model.graph if isinstance(node, (Conv, Dense))]


def with_weights(model: Model, **changes: np.ndarray) -> Model:
    named = {name.replace("__", "."): values for name, values in changes.items()}
    assert set(named) <= set(model.weights)
    return replace(model, weights={**model.weights, **named})


def decibels(model: Model, plan: QuantPlan) -> float:
    """How near the integers' logits are to the float ones, by the tests' own simulation."""
    signal = noise = 0.0
    for pixels in samples_of(6).pixels:
        expected = small.evaluate(model, small.normalised(model, pixels))[model.graph.output]
        signal += float((expected**2).sum())
        noise += float(((small.simulate(model, plan, pixels) - expected) ** 2).sum())
    return 10 * np.log10(signal / noise)


# The plan


def test_every_layer_and_every_stored_tensor_is_planned(model: Model, plan: QuantPlan) -> None:
    assert list(plan.layers) == [node.name for node in layers_of(model)]
    for node in layers_of(model):
        layer = plan.layers[node.name]
        assert layer.weight.shape == model.weights[f"{node.name}.weight"].shape
        assert layer.weight.dtype == np.int8
        assert layer.scale.dtype == np.float32
        assert layer.bias.dtype == np.int32
        assert layer.scale.shape == layer.bias.shape == (len(layer.weight),)
        assert layer.weight.min() >= -127
    clipped = {node.name for node in layers_of(model) if f"{node.name}_act" in model.graph.by_name}
    clipped |= {"stem.conv", "head.conv"}
    assert set(plan.quant_params) == set(model.graph.shapes) - clipped


def test_quant_params_fit_their_tensors(model: Model, plan: QuantPlan) -> None:
    assert plan.quant_params["image"] == QuantParams(1 / 128, 127)
    statistics = collect_statistics(model, samples_of().pixels, OnnxEngine(1))
    for name, params in plan.quant_params.items():
        made = model.graph.by_name.get(name)
        clipped = isinstance(made, Activation)
        seen_in = statistics.histograms[made.inputs[0] if clipped else name]
        low, high = seen_in.low, seen_in.high
        assert params.low >= min(low, 0) - params.scale
        room = HEADROOM * (high - low) if name == "classifier" else 0
        assert params.high <= max(high, 0) + room + params.scale or name == "image"
        if name.endswith("act"):
            assert params.zero_point == 0
            assert params.high <= 6 * 1.001


def test_the_record_and_the_recipe_are_kept(plan: QuantPlan) -> None:
    assert (plan.record, plan.recipe, plan.avx2_safe) == (samples_of().record, "default", True)


def test_integers_are_near_the_float_network(model: Model, plan: QuantPlan) -> None:
    pictures = list(samples_of().pixels)
    simple = decibels(model, small.min_max_plan(model, pictures))
    ours = decibels(model, plan)
    assert ours > 22
    assert ours > simple + 1


def test_sums_are_those_of_one_thread_on_any_number_of_cores(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    from threadpoolctl import threadpool_info, threadpool_limits

    def threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    seen: list[set[int]] = []
    floats = OnnxEngine.compile_float

    def watched(*args, **kwargs):  # type: ignore[no-untyped-def]
        seen.append(threads())
        return floats(*args, **kwargs)

    monkeypatch.setattr(OnnxEngine, "compile_float", watched)
    with threadpool_limits(2, user_api="blas"):
        before = threads()
        calibrate(model, samples_of(), OnnxEngine(1))
        assert threads() == before
    assert seen[0] == {1} != before


def test_calibrating_twice_gives_identical_integers(model: Model, plan: QuantPlan) -> None:
    again = calibrate(model, samples_of(), OnnxEngine(1)).plan
    assert again.quant_params == plan.quant_params
    for name, layer in plan.layers.items():
        other = again.layers[name]
        for part in ("weight", "scale", "bias"):
            assert np.array_equal(getattr(layer, part), getattr(other, part)), (name, part)


def pair_violations(model: Model, plan: QuantPlan) -> list[str]:
    """Layers with a pair that would saturate; integers in the order in which kernels accumulate."""
    found = []
    for node in layers_of(model):
        if isinstance(node, Conv) and node.depthwise:
            continue
        weight = plan.layers[node.name].weight
        matrix = weight if weight.ndim == 2 else weight.transpose(0, 2, 3, 1)
        if worst_pair(matrix.reshape(len(weight), -1), pair_stride(weight.shape[1])) > 128:
            found.append(node.name)
    return found


def test_the_pair_rule_holds_in_every_layer(model: Model, plan: QuantPlan) -> None:
    assert pair_violations(model, plan) == []


def test_the_pair_rule_can_be_lifted(model: Model) -> None:
    lifted = calibrate(model, samples_of(), OnnxEngine(1), avx2_safe=False).plan
    assert lifted.avx2_safe is False
    assert len(pair_violations(model, lifted)) > 5


@pytest.mark.parametrize("count", [1, 2])
def test_very_few_samples_still_make_a_plan(model: Model, count: int) -> None:
    plan = calibrate(model, samples_of(count), OnnxEngine(1)).plan
    assert decibels(model, plan) > 10


# Awkward numbers


def test_dead_channels_with_large_biases(model: Model) -> None:
    """All-zero weights and a bias that their natural scale could not hold in 32 bits."""
    changes = {}
    for name, channel in (("stem.conv", 3), ("stages.1.blocks.0.depthwise", 5), ("head.conv", 7)):
        weight, bias = (model.weights[f"{name}.{part}"].copy() for part in ("weight", "bias"))
        weight[channel] = 0
        bias[channel] = 4.0
        weight[channel + 1] *= 1e-12
        bias[channel + 1] = -3.0
        changes |= {f"{name}.weight": weight, f"{name}.bias": bias}
    dead = replace(model, weights={**model.weights, **changes})
    plan = calibrate(dead, samples_of(), OnnxEngine(1)).plan
    for name, layer in plan.layers.items():
        assert np.isfinite(layer.scale).all(), name
        assert (layer.scale > 0).all(), name
        assert np.abs(layer.bias.astype(np.int64)).max() <= 2**30, name
    stem = plan.layers["stem.conv"]
    assert not stem.weight[3].any()
    value = stem.float_bias(plan.quant_params["image"].scale)[3]
    assert value == pytest.approx(4.0, abs=0.01)
    assert decibels(dead, plan) > 18


def test_a_bias_never_overflows_its_accumulator() -> None:
    """A bias that dwarfs the weights takes a wider scale, and the sum still fits 32 bits."""
    model = small.model_of(small.LITE)
    bias = model.weights["classifier.bias"] + np.float32(1e6)
    plan = calibrate(with_weights(model, classifier__bias=bias), samples_of(), OnnxEngine(1)).plan
    layer = plan.layers["classifier"]
    assert np.abs(layer.bias.astype(np.int64)).max() < 2**30 * 1.001
    params = plan.quant_params["head.pool"]
    assert layer.float_bias(params.scale) == pytest.approx(bias, rel=1e-3)
    products = 255 * np.abs(layer.weight.astype(np.int64)).sum(axis=1)
    assert (products + np.abs(layer.bias.astype(np.int64)) < 2**31).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["stem.conv.bias", "stages.1.blocks.0.project.weight"])
def test_weights_that_are_not_finite_are_named(model: Model, name: str, value: float) -> None:
    broken = model.weights[name].copy()
    broken.flat[-1] = value
    damaged = replace(model, weights={**model.weights, name: broken})
    with pytest.raises(QuantizationError, match=f"{name} holds NaN or infinite weights"):
        calibrate(damaged, samples_of(), OnnxEngine(1))


def test_black_photos_are_harmless(model: Model) -> None:
    pixels = np.zeros((4, small.SIDE, small.SIDE, 3), np.uint8)
    plan = calibrate(model, Samples(pixels, CalibrationRecord(4, 4, "")), OnnxEngine(1)).plan
    assert all(np.isfinite(layer.scale).all() for layer in plan.layers.values())
    assert all(0 < params.scale < np.inf for params in plan.quant_params.values())


def test_a_node_without_an_int8_form_is_named() -> None:
    with pytest.raises(QuantizationError, match=r"conv2: Conv has no int8 form .* fp32 or fp16"):
        calibrate(small.baseline(), samples_of(4), OnnxEngine(1))


def test_progress_tells_both_steps(model: Model) -> None:
    calls: list[tuple[str, int, int]] = []
    calibrate(model, samples_of(9), OnnxEngine(1), progress=lambda *call: calls.append(call))
    assert [call for call in calls if call[0] == "collect statistics"] == [
        ("collect statistics", 8, 9),
        ("collect statistics", 9, 9),
    ]
    total = len(model.graph.nodes)
    quantized = [call for call in calls if call[0] == "quantize"]
    assert quantized == [("quantize", done, total) for done in range(1, total + 1)]


# Bias correction


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**31),
    st.floats(-2, 2),  # beyond a deviation of the targets, Newton's few steps can go astray
    st.sampled_from(["relu6", "relu"]),
)
def test_bias_correction_matches_the_mean_after_the_clip(
    seed: int, offset: float, kind: str
) -> None:
    rng = np.random.default_rng(seed)
    targets = rng.normal(1, 2, (3, 4000)).astype(np.float32)
    outputs = (targets + rng.normal(0, 0.1, targets.shape) + offset).astype(np.float32)
    clip = CLIPS[kind]
    shift = channel_bias_correction(outputs, targets, ActivationFunction(kind))
    goal = np.clip(targets, *clip)
    before = ((np.clip(outputs, *clip) - goal) ** 2).mean(axis=1)
    after = ((np.clip(outputs + shift[:, None], *clip) - goal) ** 2).mean(axis=1)
    assert (after <= before + 1e-7).all()
    gap = np.abs(np.clip(outputs + shift[:, None], *clip).mean(axis=1) - goal.mean(axis=1))
    assert (gap < 0.02 + 0.1 * abs(offset) ** 2).all()


def test_bias_correction_leaves_channels_that_are_always_clipped() -> None:
    outputs = np.full((1, 50), -4.0, np.float32)
    assert channel_bias_correction(outputs, outputs - 1, ActivationFunction("relu6")).tolist() == [
        0.0
    ]


def channel_means(model: Model, plan: QuantPlan | None) -> dict[str, np.ndarray]:
    """Mean of every activation's channels over the samples, float or as the integers give them."""

    def fake_quantize(name: str, value: np.ndarray) -> np.ndarray:
        if plan is None or name not in plan.quant_params:
            return value
        return plan.quant_params[name].dequantize(plan.quant_params[name].quantize(value))

    names = [node.name for node in model.graph if isinstance(node, Activation)]
    found = []
    for picture in samples_of().pixels:
        tensors = small.evaluate(model, small.normalised(model, picture), fake_quantize, plan)
        found.append({name: tensors[name].mean(axis=(1, 2)) for name in names})
    return {name: np.mean([means[name] for means in found], axis=0) for name in names}


def test_corrected_biases_match_the_means(model: Model, plan: QuantPlan) -> None:
    layers = {}
    for node in layers_of(model):
        layer = plan.layers[node.name]
        unit = np.float32(plan.quant_params[node.inputs[0]].scale) * layer.scale
        bias = np.rint(model.weights[f"{node.name}.bias"] / unit).astype(np.int32)
        layers[node.name] = replace(layer, bias=bias)
    wanted = channel_means(model, None)
    gaps = []
    for candidate in (plan, replace(plan, layers=layers)):
        found = channel_means(model, candidate)
        gaps.append(np.mean([np.abs(found[name] - wanted[name]).mean() for name in wanted]))
    corrected, uncorrected = gaps
    assert corrected < 0.4 * uncorrected


def test_padding_is_the_zero_point_of_the_input() -> None:
    """Were it index 0, the border would be black, and the bias would make up for that."""
    conv = Conv(name="conv", inputs=("image",), channels=4, kernel=5, pads=(2, 2, 2, 2), bias=True)
    pool = GlobalAveragePool(name="pool", inputs=("conv",))
    graph = Graph("image", (3, 8, 8), (conv, pool, Dense(name="fc", inputs=("pool",), units=3)))
    model = small.random_model(small.LITE, graph)
    pixels = np.random.default_rng(0).integers(100, 156, (8, 8, 8, 3), np.uint8)
    plan = calibrate(model, Samples(pixels, CalibrationRecord(8, 8, "")), OnnxEngine(1)).plan
    bias = plan.layers["conv"].float_bias(plan.quant_params["image"].scale)
    np.testing.assert_allclose(bias, model.weights["conv.bias"], atol=5e-3)


# The input's quantization parameters


def test_the_input_parameters_are_the_normalisation() -> None:
    assert input_quant_params(Preprocess(8, 1.0)) == QuantParams(1 / 128, 127)
    params = input_quant_params(Preprocess(8, 1.0, mean=(0.0,) * 3, std=(255.0,) * 3))
    assert params == QuantParams(float(np.float32(1 / 255)), 0)


IMAGENET = Preprocess(small.SIDE, 0.875, mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4))


def test_channels_normalised_apart_share_parameters() -> None:
    """The first layer takes over the rest: equal outputs away from the padded border."""
    model = small.model_of(small.SWISH)
    model = replace(model, info=replace(model.info, preprocess=IMAGENET))
    common = share_input_normalization(model)
    params = input_quant_params(IMAGENET)
    assert params == input_quant_params(common.info.preprocess)
    assert 103 <= params.zero_point <= 124
    pixels = small.photos(1)[0]
    expected = small.evaluate(model, small.normalised(model, pixels))
    found = small.evaluate(common, small.normalised(common, pixels))
    np.testing.assert_allclose(
        params.dequantize(pixels.transpose(2, 0, 1)), found["image"], atol=1e-5
    )
    np.testing.assert_allclose(  # SAME pads the bottom and the right alone
        found["stem.conv"][:, :-1, :-1], expected["stem.conv"][:, :-1, :-1], atol=1e-4
    )
    logits = model.graph.output
    noise = np.square(found[logits] - expected[logits]).sum()
    assert noise < 1e-3 * np.square(expected[logits]).sum()


def test_an_input_normalised_alike_stays_as_it_is(model: Model) -> None:
    assert share_input_normalization(model) is model


def test_a_mean_between_two_pixel_values_is_made_up_for() -> None:
    model = small.model_of(small.LITE)
    halves = replace(model.info.preprocess, mean=(127.5,) * 3, std=(127.5,) * 3)
    model = replace(model, info=replace(model.info, preprocess=halves))
    common = share_input_normalization(model)
    assert set(common.info.preprocess.mean) <= {127.0, 128.0}
    pixels = small.photos(1)[0]
    one = small.evaluate(model, small.normalised(model, pixels))["stem.conv"]
    other = small.evaluate(common, small.normalised(common, pixels))["stem.conv"]
    np.testing.assert_allclose(one[:, :-1, :-1], other[:, :-1, :-1], atol=1e-4)


# Swish and squeeze-excite


@pytest.fixture(scope="module")
def swish() -> Model:
    made = small.model_of(small.SWISH)
    return replace(made, info=replace(made.info, preprocess=IMAGENET))


@pytest.fixture(scope="module")
def swish_plan(swish: Model) -> QuantPlan:
    return calibrate(swish, samples_of(), OnnxEngine(1)).plan


def test_swish_networks_are_planned_whole(swish: Model, swish_plan: QuantPlan) -> None:
    plan = swish_plan
    assert list(plan.layers) == [node.name for node in layers_of(swish)]
    assert set(plan.quant_params) == set(swish.graph.shapes)
    assert pair_violations(swish, plan) == []
    common = share_input_normalization(swish)
    simple = small.min_max_plan(common, list(samples_of().pixels))
    simple = replace(
        simple, quant_params={**simple.quant_params, "image": input_quant_params(IMAGENET)}
    )
    ours = decibels(common, plan)
    assert ours > 18
    assert ours > decibels(common, simple)


@pytest.fixture(scope="module")
def best_plan(swish: Model) -> QuantPlan:
    return calibrate(swish, samples_of(), OnnxEngine(1), recipe="best").plan


def our_files(model: Model, plan: QuantPlan) -> OurQuantized:
    return OurQuantized({"int8": QuantizedModel(prepare(model).model, plan, model.info)})


def logits(swish: Model, plan: QuantPlan, format: str, folder: Path) -> np.ndarray:
    """What a file of ``format`` says about the samples, in the format's own runtime."""
    write = our_files(swish, plan).write
    card = small.card_of(swish, precision="int8", input="pixels")
    name = f"tiny-int8{SUFFIXES[format]}"
    path = Artifact(name, *write(format, "uint8", card), card).save(folder)
    opened = open_model(path, threads=1)
    return np.stack([opened.logits_of_pixels(pixels) for pixels in samples_of().pixels])


@pytest.mark.parametrize("recipe", ["default", "best"])
def test_onnx_and_tflite_compute_a_swish_alike(
    swish: Model, swish_plan: QuantPlan, best_plan: QuantPlan, recipe: str, tmp_path: Path
) -> None:
    """Same integers, same tables: what is left is where a product's rounding ties."""
    pytest.importorskip("ai_edge_litert")
    plan = {"default": swish_plan, "best": best_plan}[recipe]
    lite, onnx = (logits(swish, plan, name, tmp_path) for name in ("tflite", "onnx"))
    step = plan.quant_params[swish.graph.output].scale
    assert np.abs(lite - onnx).max() <= 3 * step
    assert np.abs(lite - onnx).mean() <= step


def test_best_multiplies_the_gates_first(
    swish: Model, swish_plan: QuantPlan, best_plan: QuantPlan, tmp_path: Path
) -> None:
    """In TFLite and ONNX, once more per gate; OpenVINO keeps the swish it computes in float."""
    pytest.importorskip("ai_edge_litert")
    pytest.importorskip("openvino")
    scales = {node.name for node in swish.graph if isinstance(node, Mul)}
    assert not swish_plan.fused_gates
    assert best_plan.fused_gates == fusable_gates(swish.graph) == scales
    assert not best_plan.for_format("openvino").fused_gates
    plain = replace(best_plan, fused_gates=frozenset())
    expected = float_logits(swish)

    def error(plan: QuantPlan, format: str) -> float:
        return float(np.square(logits(swish, plan, format, tmp_path) - expected).mean())

    for name in ("tflite", "onnx"):
        assert error(best_plan, name) != error(plain, name)
    assert error(best_plan, "openvino") == error(plain, "openvino")
    written = our_files(swish, best_plan).write
    card = small.card_of(swish, precision="int8", input="pixels")
    for name in ("tflite", "onnx"):
        data = written(name, "uint8", card)[0]
        for scale in scales:
            assert f"{scale}.gate".encode() in data or f"{scale}/gate".encode() in data


@given(st.floats(0.5, 40), st.floats(0.3, 12), st.floats(0.01, 40))
@settings(max_examples=15, deadline=None)
def test_fused_sigmoid_gating_equals_integer_kernels(high: float, low: float, top: float) -> None:
    """Propagation against ONNX Runtime's kernels, for every uint8 value.

    A tie of a rounding may go either way, and each of the sigmoids' is a step of their product.
    """
    conv = Conv(name="conv", inputs=("image",), channels=256, kernel=1, groups=256, bias=True)
    act = Activation(name="act", inputs=("conv",), kind="swish")
    pool = GlobalAveragePool(name="pool", inputs=("image",), keepdims=True)
    gate = Activation(name="gate", inputs=("pool",), kind="sigmoid")
    scale = Mul(name="scale", inputs=("act", "gate"))
    graph = Graph("image", (256, 1, 1), (conv, act, pool, gate, scale))
    assert fusable_gates(graph) == {"scale"}
    assert not fusable_gates(graph, frozenset({"conv", "act"}))
    params = QuantParams.of_range(-low, high)
    quant_params = dict.fromkeys(("image", "conv", "act", "pool"), params)
    quant_params |= {"gate": SIGMOID_PARAMS, "scale": QuantParams.of_range(-0.28, top)}
    ones = np.ones(256, np.float32)
    layer = LayerPlan(np.ones((256, 1, 1, 1), np.int8), ones, np.zeros(256, np.int32))
    plan = QuantPlan({"conv": layer}, quant_params, "", fused_gates=frozenset({"scale"}))
    proto = build(graph, {}, plan, placement="tflite", integer_output=True)
    session = import_module("onnxruntime").InferenceSession(proto.SerializeToString())
    every = np.arange(256, dtype=np.uint8).reshape(1, 256, 1, 1)
    (found,) = session.run(None, {"image": every})
    propagated = PropagatedTensors(
        Model(small.LITE, graph, {}, small.model_of(small.LITE).info),
        OnnxEngine(1),
        quant_params,
        np.zeros((1, 1, 1, 256), np.uint8),
        fused_gates=plan.fused_gates,
    )
    sigmoids = SIGMOID_PARAMS.quantize(ActivationFunction("sigmoid")(params.dequantize(every)))
    propagated.tensors = {"act": every, "gate": sigmoids}
    propagated.swish_inputs["act"] = every
    propagated.propagate(scale)
    apart = np.abs(found.reshape(-1).astype(int) - propagated.tensors["scale"].reshape(-1))
    step = (
        np.abs(params.dequantize(every.reshape(-1)))
        * FUSED_SIGMOID_PARAMS.scale
        / quant_params["scale"].scale
    )
    assert (apart <= 1 + 2 * step).all()
    assert (apart > 0).mean() < 0.05


def float_logits(model: Model) -> np.ndarray:
    common = share_input_normalization(model)
    return np.stack(
        [
            small.evaluate(common, small.normalised(common, pixels))[common.graph.output]
            for pixels in samples_of().pixels
        ]
    )


def test_openvino_has_biases_of_its_own_that_match_the_means(
    swish: Model, swish_plan: QuantPlan, tmp_path: Path
) -> None:
    pytest.importorskip("openvino")
    expected = float_logits(swish)
    shared = replace(swish_plan, biases={})
    own, others = (
        np.abs((logits(swish, plan, "openvino", tmp_path) - expected).mean(axis=0)).mean()
        for plan in (swish_plan, shared)
    )
    assert own < others


def test_clipping_networks_have_one_set_of_biases(plan: QuantPlan) -> None:
    assert not plan.biases


@given(st.floats(0.5, 40), st.floats(0.3, 12), st.floats(0.3, 40))
@settings(max_examples=15, deadline=None)
def test_the_table_of_a_swish_is_what_integer_kernels_make(
    high: float, low: float, top: float
) -> None:
    """Against ONNX Runtime's kernels, for every index; a tie of a rounding may go either way."""
    act = Activation(name="act", inputs=("conv",), kind="swish")
    conv = Conv(name="conv", inputs=("image",), channels=3, kernel=1, bias=True)
    graph = Graph("image", (3, 4, 64), (conv, act))
    params = QuantParams.of_range(-low, high)
    weight = np.eye(3, dtype=np.int8).reshape(3, 3, 1, 1)
    layer = LayerPlan(weight, np.ones(3, np.float32), np.zeros(3, np.int32))
    quant_params = {"image": params, "conv": params, "act": QuantParams.of_range(-0.28, top)}
    plan = QuantPlan({"conv": layer}, quant_params, "")
    proto = build(graph, {}, plan, placement="tflite", integer_output=True)
    session = import_module("onnxruntime").InferenceSession(proto.SerializeToString())
    every = np.broadcast_to(np.arange(256, dtype=np.uint8).reshape(1, 1, 4, 64), (1, 3, 4, 64))
    (found,) = session.run(None, {"image": np.ascontiguousarray(every)})
    table = np.frombuffer(
        activation_table("swish", quant_params["conv"], quant_params["act"]), np.uint8
    )
    apart = np.abs(found[0, 0].reshape(-1).astype(int) - table)
    assert apart.max() <= 1
    assert (apart > 0).mean() < 0.05
