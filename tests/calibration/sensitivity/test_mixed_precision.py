"""Mixed precision: what is left in float, and that the three formats leave the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edge_effnet
from edge_effnet.calibration.calibrate import calibrate
from edge_effnet.calibration.passes.input_normalization import share_input_normalization
from edge_effnet.calibration.passes.prepare import prepare
from edge_effnet.calibration.plan import QuantPlan
from edge_effnet.calibration.quantized_model import QuantizedModel
from edge_effnet.calibration.samples.photos import Samples
from edge_effnet.calibration.sensitivity.measure import Sensitivity, sensitivities
from edge_effnet.calibration.sensitivity.mixed_precision import (
    MOST_FLOAT,
    float_share,
    layers_for_drop,
    layers_within_budget,
    needed_db,
)
from edge_effnet.calibration.sensitivity.units import units
from edge_effnet.card import CalibrationRecord
from edge_effnet.converters.onnx_engine import OnnxEngine
from edge_effnet.converters.options import ExportOptions
from edge_effnet.errors import QuantizationError, UsageError
from edge_effnet.graph import Graph
from edge_effnet.model import Model
from support import tflite_models as small
from support.command import call, refused

DROP = 0.05  # in points: more decibel than the integers have
GATED = "stages.2.blocks.1"


@pytest.fixture(scope="module")
def model() -> Model:
    """A swish network with squeeze-excite, random and small, its BN folded."""
    return small.model_of(small.SWISH)


@pytest.fixture(scope="module")
def samples() -> Samples:
    return Samples(np.stack(small.photos(12)), CalibrationRecord(12, 12, "made"), ())


def costs(graph: Graph, loud: dict[str, float]) -> list[Sensitivity]:
    """Every unit's noise: 1e-9 but for the ``loud`` ones."""
    return [
        Sensitivity(unit.name, unit.kind, (), loud.get(unit.name, 1e-9), 0.0, 0)
        for unit in units(graph)
    ]


def test_less_noise_is_needed_for_a_smaller_drop() -> None:
    needed = [needed_db(drop) for drop in (2.0, 1.0, 0.5)]
    assert np.diff(needed) == pytest.approx([6.02, 6.02], abs=0.01)  # half the noise each time
    assert needed_db(50.0) == 0.0


def test_a_gated_tensor_goes_with_its_product_and_its_convolution(model: Model) -> None:
    graph = model.graph
    loud = f"{GATED}.se.scale"
    float_layers = layers_for_drop(graph, costs(graph, {loud: 1e-2}), 0.1)
    assert float_layers == {loud, f"{GATED}.project"}
    assert 0 < float_share(graph, float_layers) < 0.2


def test_a_layer_goes_with_its_activation_and_what_reads_it(model: Model) -> None:
    graph = model.graph
    float_layers = layers_for_drop(graph, costs(graph, {f"{GATED}.depthwise": 1e-2}), 0.1)
    expected = {"depthwise", "depthwise_act", "se.pool", "se.scale"}
    assert float_layers == {f"{GATED}.{name}" for name in expected}


def test_the_cheaper_of_two_equals_goes_first(model: Model) -> None:
    graph = model.graph
    loud = {"stages.0.blocks.0.fused": 1e-2, "classifier": 1e-2}
    assert layers_for_drop(graph, costs(graph, loud), 0.7) == {"classifier"}


def test_a_network_of_noise_is_refused(model: Model) -> None:
    graph = model.graph
    loud = {unit.name: 1e-2 for unit in units(graph)}
    with pytest.raises(QuantizationError, match=f"more than {MOST_FLOAT:.0%}.*max_drop="):
        layers_for_drop(graph, costs(graph, loud), 0.5)


@pytest.mark.parametrize("budget", [1.0, 4.0, 12.0, 50.0])
def test_a_budget_limits_the_multiply_adds_in_float(model: Model, budget: float) -> None:
    graph = model.graph
    noise = {unit.name: 1e-3 * (1 + number % 5) for number, unit in enumerate(units(graph))}
    measured = costs(graph, noise)
    float_layers = layers_within_budget(graph, measured, budget)
    assert float_share(graph, float_layers) <= budget / 100
    wider = layers_within_budget(graph, measured, 2 * budget)
    assert bool(float_layers) <= bool(wider)


def test_a_budget_is_spent_on_the_noisiest_layer_that_fits(model: Model) -> None:
    graph = model.graph
    share = float_share(graph, frozenset({"classifier"}))
    loud = {"classifier": 1e-2, f"{GATED}.project": 1e-4}
    assert "classifier" in layers_within_budget(graph, costs(graph, loud), 100 * share + 1)
    assert "classifier" not in layers_within_budget(graph, costs(graph, loud), 50 * share)


@pytest.mark.slow
def test_mixed_files_are_int8_files_with_the_same_float_layers_in_all_formats(
    model: Model, samples: Samples, tmp_path: Path
) -> None:
    both = edge_effnet.export(
        model, precisions=["int8", "mixed"], calibration=samples, float_budget=12, out=tmp_path
    )
    alone = edge_effnet.export(
        model, precisions=["int8"], calibration=samples, out=tmp_path / "alone"
    )
    assert [path.read_bytes() for path in both[:3]] == [path.read_bytes() for path in alone]
    pictures = small.photos(12)
    layers, logits = set(), []
    for path in both[3:]:
        classifier = edge_effnet.open(path)
        assert path.stem == "tiny-swish-mixed"
        assert classifier.card.precision == "mixed"
        assert classifier.card.quantization is not None
        assert 0 < classifier.card.quantization.float_share <= 0.12
        layers.add(classifier.card.quantization.float_layers)
        logits.append(np.stack([classifier.logits_of_pixels(image) for image in pictures]))
    assert len(layers) == 1
    assert min(sqnr(logits[0], other) for other in logits[1:]) > 30


def test_a_finished_plan_writes_mixed_files_if_it_has_float_layers(
    model: Model, samples: Samples, tmp_path: Path
) -> None:
    options = {"formats": ["tflite"], "precisions": ["mixed"], "out": tmp_path}
    mixed = edge_effnet.calibrate(model, samples, float_budget=12)
    (path,) = edge_effnet.export(mixed, **options)
    assert edge_effnet.open(path).card.precision == "mixed"
    with pytest.raises(UsageError, match=r"plan is finished.*float_budget="):
        edge_effnet.export(mixed, float_budget=8, **options)
    with pytest.raises(UsageError, match="no layer in float"):
        edge_effnet.export(edge_effnet.calibrate(model, samples), **options)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"float_budget": 4}, "option of mixed files"),
        ({"precisions": "mixed", "float_budget": 0}, "0 percent.*not valid"),
        ({"precisions": "mixed", "float_budget": 51}, "at most 50"),
        ({"precisions": ["int8", "mixed"], "max_drop": 1}, "not a limit of the drop"),
        ({"precisions": "mixed", "per_tensor": True}, "per layer is an option of int8"),
        (
            {"precisions": ["int8", "mixed"], "quantizer": "nncf", "formats": "openvino"},
            "not mixed",
        ),
    ],
)
def test_options_that_contradict_a_budget_are_refused(options: dict, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        ExportOptions.create(**{"formats": "tflite", "precisions": "int8", **options})


@pytest.fixture(scope="module")
def plans(model: Model, samples: Samples) -> tuple[QuantPlan, QuantPlan]:
    """All in integers, and mixed to a drop that those do not keep."""
    engine = OnnxEngine()
    return calibrate(model, samples, engine).plan, calibrate(
        model, samples, engine, max_drop=DROP
    ).plan


def test_the_network_is_quantized_around_the_float_layers(
    model: Model, plans: tuple[QuantPlan, QuantPlan]
) -> None:
    integers, mixed = plans
    assert not integers.float_layers
    assert not integers.weights
    assert mixed.float_layers
    left = {name for name in integers.layers if name in mixed.float_layers}
    assert set(mixed.layers) == set(integers.layers) - left
    assert {name.rpartition(".")[0] for name in mixed.weights} == left
    for name, value in mixed.weights.items():
        assert value.dtype == np.float32
        assert value.shape == model.weights[name].shape


def test_a_mixed_plan_comes_back_from_disk(
    model: Model, plans: tuple[QuantPlan, QuantPlan], tmp_path: Path
) -> None:
    mixed = plans[1]
    path = QuantizedModel(prepare(model).model, mixed, model.info).save(
        tmp_path / "plan.safetensors"
    )
    back = QuantizedModel.load(path).plan
    assert isinstance(back, QuantPlan)
    assert back.float_layers == mixed.float_layers
    assert back.weights.keys() == mixed.weights.keys()
    for name, value in mixed.weights.items():
        assert np.array_equal(back.weights[name], value)


def sqnr(reference: np.ndarray, given: np.ndarray) -> float:
    return float(10 * np.log10((reference**2).sum() / ((reference - given) ** 2).sum()))


def test_files_of_all_formats_are_nearer_to_float_and_say_what_is_in_float(
    model: Model, tmp_path: Path
) -> None:
    pictures = small.photos(12)
    # Fitted to nothing: all noise is rounding, and nothing saturates where there is no VNNI.
    pure = small.min_max_plan(model, pictures, largest=63)
    found = sensitivities(share_input_normalization(model), pure, OnnxEngine(), np.stack(pictures))
    mixed = replace(pure, float_layers=layers_for_drop(model.graph, found, 0.06))
    assert mixed.float_layers

    def logits(path: Path) -> np.ndarray:
        classifier = edge_effnet.open(path)
        return np.stack([classifier.logits_of_pixels(image) for image in pictures])

    float_file = edge_effnet.export(model, formats=["onnx"], precisions=["fp32"], out=tmp_path)
    reference = logits(float_file[0])
    integers, mixtures = (
        edge_effnet.export(model, precisions=["int8"], calibration=plan, out=tmp_path)
        for plan in (pure, mixed)
    )
    given = [logits(path) for path in mixtures]
    for path, before, after in zip(mixtures, integers, given, strict=True):
        assert path.stem == "tiny-swish-int8-mixed"
        assert sqnr(reference, after) > sqnr(reference, logits(before)) + 3
        quantization = edge_effnet.open(path).card.quantization
        assert quantization is not None
        assert set(quantization.float_layers) == mixed.float_layers & pure.layers.keys()
        assert 0 < quantization.float_share < MOST_FLOAT
    for other in given[1:]:
        assert sqnr(given[0], other) > sqnr(reference, given[0])


def test_integers_that_hold_stay_as_they_are_and_it_is_said(
    model: Model, samples: Samples, tmp_path: Path
) -> None:
    said: list[str] = []
    (path,) = edge_effnet.export(
        model,
        formats=["tflite"],
        precisions=["int8"],
        calibration=samples,
        max_drop=40.0,
        out=tmp_path,
        notify=said.append,
    )
    assert path.name == "tiny-swish-int8.tflite"
    assert [text for text in said if "no layer is left in float" in text]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"max_drop": 0.0}, "above 0"),
        ({"max_drop": float("nan")}, "above 0"),
        ({"max_drop": 0.5, "per_tensor": True}, "mixed precision is for int8 files"),
        ({"max_drop": 0.5, "precisions": ["fp16"]}, "mixed precision is for int8 files"),
        (
            {"max_drop": 0.5, "formats": ["onnx"], "quantizer": "onnxruntime"},
            "mixed precision is for",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_first(
    model: Model, samples: Samples, options: dict, reason: str, tmp_path: Path
) -> None:
    chosen = {"precisions": ["int8"], "calibration": samples, "out": tmp_path / "out"} | options
    with pytest.raises(UsageError, match=reason):
        edge_effnet.export(model, **chosen)
    assert not (tmp_path / "out").exists()


def test_a_plan_cannot_be_mixed_afterwards(
    model: Model, plans: tuple[QuantPlan, QuantPlan], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="plan is finished"):
        edge_effnet.export(
            model, precisions=["int8"], calibration=plans[0], max_drop=1.0, out=tmp_path
        )


@pytest.mark.parametrize("option", [["--per-tensor"], ["--max-drop", "0.5"]])
def test_a_foreign_graph_has_neither(option: list[str], tmp_path: Path) -> None:
    done = call("export", "auto", "--weights", tmp_path / "some.onnx", *option)
    assert "omit them" in refused(done)
