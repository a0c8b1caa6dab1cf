"""calibrate: whole plans of small networks, and awkward numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_effnet.calibration.activations.quantizers import HEADROOM
from edge_effnet.calibration.activations.statistics import collect_statistics
from edge_effnet.calibration.calibrate import calibrate
from edge_effnet.calibration.plan import QuantParams, QuantPlan
from edge_effnet.calibration.samples.photos import Samples
from edge_effnet.calibration.weights import propagation
from edge_effnet.card import CalibrationRecord
from edge_effnet.errors import QuantizationError
from edge_effnet.graph import Activation, Conv, Dense, GlobalAveragePool, Graph
from edge_effnet.model import Model
from edge_effnet.variants import Variant
from support import tflite_models as small
from support.small_plans import decibels, layers_of, pair_violations, samples_of

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("skimage", reason="the photos")
from edge_effnet.converters.onnx_engine import OnnxEngine


@pytest.fixture(scope="module")
def model() -> Model:
    return small.model_of(small.LITE)


@pytest.fixture(scope="module")
def plan(model: Model) -> QuantPlan:
    return calibrate(model, samples_of(), OnnxEngine(1)).plan


def with_weights(model: Model, **changes: np.ndarray) -> Model:
    named = {name.replace("__", "."): values for name, values in changes.items()}
    assert set(named) <= set(model.weights)
    return replace(model, weights={**model.weights, **named})


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


@pytest.mark.parametrize("few", [0, 10**6], ids=["maps", "blocks"])
@pytest.mark.parametrize("variant", [small.LITE, small.SWISH], ids=["relu6", "swish"])
def test_tensors_computed_anew_in_small_parts_give_the_same_integers(
    variant: Variant, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded by keeping no large tensor, which must not change the plan.

    Samples of a layer come from whole maps, or from blocks that are computed alone.
    """
    swish = small.model_of(variant)
    stored = calibrate(swish, samples_of(), OnnxEngine(1)).plan
    monkeypatch.setattr(propagation, "MOST_STORED", 0)
    monkeypatch.setattr(propagation, "_PART_BYTES", 3 * 4 * 3 * 32 * 32)
    monkeypatch.setattr(propagation, "_FEW", few)
    anew = calibrate(swish, samples_of(), OnnxEngine(1)).plan
    assert anew.quant_params == stored.quant_params
    assert anew.biases.keys() == stored.biases.keys()
    for name, layer in stored.layers.items():
        for part in ("weight", "scale", "bias"):
            assert np.array_equal(getattr(layer, part), getattr(anew.layers[name], part)), name
    for placement, biases in stored.biases.items():
        for name, bias in biases.items():
            assert np.array_equal(bias, anew.biases[placement][name]), name


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


# Biases


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


def test_clipping_networks_have_one_set_of_biases(plan: QuantPlan) -> None:
    assert not plan.biases


def test_quick_gelu_has_biases_of_its_own() -> None:
    """Without a quantized sigmoid the channel means differ; the weights are the same."""
    swish = small.model_of(small.SWISH)
    standard, contrib = (
        calibrate(swish, samples_of(), OnnxEngine(1), contrib_ops=contrib).plan
        for contrib in (False, True)
    )
    assert contrib.biases.keys() - standard.biases.keys() == {"onnx-contrib"}
    of_contrib = contrib.for_format("onnx-contrib")
    for name, layer in standard.layers.items():
        assert np.array_equal(layer.weight, of_contrib.layers[name].weight)
        assert np.array_equal(layer.bias, contrib.for_format("onnx").layers[name].bias)
    moved = [
        not np.array_equal(layer.bias, of_contrib.layers[name].bias)
        for name, layer in standard.layers.items()
    ]
    assert sum(moved) > len(moved) / 2


# Awkward numbers


@pytest.mark.parametrize("tiny", [1e-12, 1e-42, 1e-44])  # 1e-44: max|w| / 127 is 0 in float32
def test_dead_channels_with_large_biases(model: Model, tiny: float) -> None:
    """All-zero weights and a bias that their natural scale could not hold in 32 bits."""
    changes = {}
    for name, channel in (("stem.conv", 3), ("stages.1.blocks.0.depthwise", 5), ("head.conv", 7)):
        weight, bias = (model.weights[f"{name}.{part}"].copy() for part in ("weight", "bias"))
        weight[channel] = 0
        bias[channel] = 4.0
        weight[channel + 1] *= tiny
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


def test_layers_without_biases_and_grouped_convolutions() -> None:
    whole = small.baseline()
    alone = {"add2", "relu3", "add3"}  # relu3 has no int8 form
    nodes = [node for node in whole.graph if node.name not in alone]
    at = [node.name for node in nodes].index("pool3")
    nodes[at] = replace(nodes[at], inputs=("conv5",))
    model = replace(whole, graph=Graph("image", whole.graph.input_shape, tuple(nodes)))
    plan = calibrate(model, samples_of(), OnnxEngine(1)).plan
    assert list(plan.layers) == [node.name for node in layers_of(model)]
    assert decibels(model, plan) > 20


def test_a_node_without_an_int8_form_is_named() -> None:
    with pytest.raises(QuantizationError, match=r"relu3: Activation has no int8 form .* or fp16"):
        calibrate(small.baseline(), samples_of(4), OnnxEngine(1))
