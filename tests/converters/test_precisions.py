"""Other precisions and ends of int8 files: the plan's one set of weights in every form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edge_effnet
from edge_effnet.calibration.passes.fold import fold_batch_norm
from edge_effnet.calibration.plan import QuantPlan, WeightOnlyPlan
from edge_effnet.calibration.samples.photos import Samples
from edge_effnet.card import CalibrationRecord
from edge_effnet.converters.formats.weights_only import weights_only
from edge_effnet.errors import UsageError
from edge_effnet.graph import Conv
from edge_effnet.model import Model
from edge_effnet.runtime.tflite_verifier import parse
from support import command
from support import tflite_models as small
from support.command import call, contents, refused

for module in ("openvino", "onnxruntime", "onnx", "ai_edge_litert", "tflite"):
    pytest.importorskip(module, reason="exporting needs the extra 'export'")

import onnx  # noqa: E402

LITE0 = ("export", "lite0", "--weights", "random", "--resolution", "32")
INT8 = 9  # enum TensorType
PICTURES = small.photos(6)


@pytest.fixture(scope="module")
def model() -> Model:
    return small.model_of(small.LITE)


@pytest.fixture(scope="module")
def plan(model: Model) -> QuantPlan:
    return small.min_max_plan(fold_batch_norm(model), PICTURES)


@pytest.fixture(scope="module")
def folder(model: Model, plan: QuantPlan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every form there is, from one plan."""
    out = tmp_path_factory.mktemp("forms")
    precisions = ["fp32", "w8", "dynamic", "int8"]
    edge_effnet.export(model, precisions=precisions, calibration=plan, out=out)
    edge_effnet.export(model, precisions=["int8"], io="float32", calibration=plan, out=out)
    edge_effnet.export(
        model, formats="tflite", precisions=["int8"], io="int8", calibration=plan, out=out
    )
    return out


def logits(path: Path) -> np.ndarray:
    classify = edge_effnet.open(path, threads=1)
    return np.stack([classify.logits_of_pixels(picture) for picture in PICTURES])


def test_what_is_written(folder: Path) -> None:
    everywhere = ("fp32", "w8", "int8", "int8-io-float32")
    names = [f"{name}{end}" for name in everywhere for end in (".tflite", ".onnx", ".xml", ".bin")]
    names += ["dynamic.tflite", "int8-io-int8.tflite"]
    assert contents(folder) == sorted(f"tiny-lite-{name}" for name in names)


@pytest.mark.parametrize(
    ("name", "dtype", "kind"),
    [
        ("w8.tflite", "float32", "normalised"),
        ("w8.onnx", "float32", "normalised"),
        ("w8.xml", "float32", "normalised"),
        ("dynamic.tflite", "float32", "normalised"),
        ("int8-io-float32.tflite", "float32", "normalised"),
        ("int8-io-float32.onnx", "float32", "normalised"),
        ("int8-io-float32.xml", "float32", "normalised"),
        ("int8-io-int8.tflite", "int8", "pixels"),
        ("int8.tflite", "uint8", "pixels"),
        ("int8.onnx", "uint8", "pixels"),
        ("int8.xml", "uint8", "pixels"),
    ],
)
def test_every_form_opens_and_answers_as_float(
    folder: Path, name: str, dtype: str, kind: str
) -> None:
    path = folder / f"tiny-lite-{name}"
    classify = edge_effnet.open(path, threads=1)
    assert classify.runner.input.dtype == dtype
    assert classify.card.input == kind
    assert classify.card.precision == name.split(".")[0].split("-")[0]
    assert classify.card.quantization is not None
    expected, got = logits(folder / "tiny-lite-fp32.tflite"), logits(path)
    assert np.corrcoef(expected.ravel(), got.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("suffix", [".tflite", ".onnx", ".xml"])
def test_the_ends_change_nothing_inside(folder: Path, suffix: str) -> None:
    expected = logits(folder / f"tiny-lite-int8{suffix}")
    np.testing.assert_allclose(
        logits(folder / f"tiny-lite-int8-io-float32{suffix}"), expected, atol=1e-6
    )
    if suffix == ".tflite":
        np.testing.assert_allclose(
            logits(folder / "tiny-lite-int8-io-int8.tflite"), expected, atol=1e-6
        )


def tflite_weights(path: Path) -> dict[str, np.ndarray]:
    """Layer -> its int8 weights, flat and in their file's layout."""
    model = parse(path.read_bytes())
    found = {}
    for tensor in model["subgraphs"][0]["tensors"]:
        name = tensor["name"].removesuffix(".int8")
        if name.endswith(".weight") and tensor["type"] == INT8:
            found[name] = model["buffers"][tensor["buffer"]]["data"].view(np.int8)
    return found


def test_all_forms_hold_the_plans_integers(folder: Path, model: Model, plan: QuantPlan) -> None:
    whole = tflite_weights(folder / "tiny-lite-int8.tflite")
    assert set(whole) == {f"{name}.weight" for name in plan.layers}
    for name in ("w8", "dynamic", "int8-io-float32", "int8-io-int8"):
        found = tflite_weights(folder / f"tiny-lite-{name}.tflite")
        for layer, values in found.items():
            np.testing.assert_array_equal(values, whole[layer])
        depthwise = {
            f"{node.name}.weight"
            for node in model.graph
            if isinstance(node, Conv) and node.depthwise
        }
        left_out = depthwise if name == "dynamic" else set()
        assert set(found) == set(whole) - left_out
    for name in ("w8", "int8-io-float32"):
        proto = onnx.load(folder / f"tiny-lite-{name}.onnx")
        arrays = {i.name: onnx.numpy_helper.to_array(i) for i in proto.graph.initializer}
        for layer, planned in plan.layers.items():
            np.testing.assert_array_equal(arrays[f"{layer}.weight"], planned.weight)


def test_operators_of_the_float_forms(folder: Path) -> None:
    """No activation is ever quantized; versions are those of TensorFlow's converter."""

    def kinds(name: str) -> set[tuple[int, int]]:
        codes = parse((folder / f"tiny-lite-{name}.tflite").read_bytes())["operator_codes"]
        return {(max(code["old_code"], code["code"]), code["version"]) for code in codes}

    quantize, dequantize = 114, 6
    assert quantize not in {code for code, _ in kinds("w8") | kinds("dynamic")}
    assert (dequantize, 5) in kinds("w8")
    assert {(3, 5), (9, 12), (4, 1), (dequantize, 3)} <= kinds("dynamic")
    for name, kernels in (
        ("w8", "XNNPACK float32 with int8 weights"),
        ("dynamic", "XNNPACK int8 with dynamically quantized inputs"),
    ):
        info = edge_effnet.open(folder / f"tiny-lite-{name}.tflite").runner.info
        assert info.kernels == kernels


@pytest.fixture(scope="module")
def per_tensor(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """int8 files with one weight scale a layer."""
    out = tmp_path_factory.mktemp("per_tensor")
    edge_effnet.export(
        model,
        precisions=["int8"],
        per_tensor=True,
        calibration=samples(),
        out=out,
        notify=lambda text: None,
    )
    edge_effnet.export(model, formats="onnx", precisions=["fp32"], out=out)
    return out


def samples() -> Samples:
    record = CalibrationRecord(photos=len(PICTURES), samples=len(PICTURES), digest="")
    return Samples(np.stack(PICTURES), record)


def test_one_scale_for_each_layer(per_tensor: Path) -> None:
    """In all three formats, with the same integers; weights and biases alike."""
    stem = "tiny-lite-int8-per-tensor"
    assert {f"{stem}{suffix}" for suffix in (".tflite", ".onnx", ".xml", ".bin")} <= set(
        contents(per_tensor)
    )
    parsed = parse((per_tensor / f"{stem}.tflite").read_bytes())
    stored = {
        tensor["name"]: tensor["quantization"]
        for tensor in parsed["subgraphs"][0]["tensors"]
        if tensor["name"].endswith((".weight", ".bias"))
    }
    assert stored
    assert {quantization["scale"].size for quantization in stored.values()} == {1}
    proto = onnx.load(per_tensor / f"{stem}.onnx")
    arrays = {i.name: onnx.numpy_helper.to_array(i) for i in proto.graph.initializer}
    scales = [array for name, array in arrays.items() if name.endswith("/scale")]
    assert len(scales) > 10
    assert {array.shape for array in scales} == {()}
    integers = tflite_weights(per_tensor / f"{stem}.tflite")
    for name in ("stem.conv.weight", "classifier.weight"):
        assert sorted(integers[name].ravel()) == sorted(arrays[name].ravel())


def test_a_plan_of_another_network_is_refused(model: Model, tmp_path: Path) -> None:
    plan = small.min_max_plan(small.model_of(small.SWISH), PICTURES)
    with pytest.raises(UsageError, match=r"another network: tiny-lite has no layer stages\.0"):
        edge_effnet.export(model, precisions=["int8"], calibration=plan, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_samples_of_another_size_are_refused(model: Model, tmp_path: Path) -> None:
    few = Samples(np.zeros((3, 32, 32, 3), np.uint8), CalibrationRecord(3, 3, ""))
    with pytest.raises(UsageError, match=r"uint8 \[3, 32, 32, 3\].* needs \[n, 64, 64, 3\]"):
        edge_effnet.export(model, precisions=["int8"], calibration=few, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("suffix", [".tflite", ".onnx", ".xml"])
def test_one_scale_for_each_layer_answers_as_float(per_tensor: Path, suffix: str) -> None:
    path = per_tensor / f"tiny-lite-int8-per-tensor{suffix}"
    quantization = edge_effnet.open(path).card.quantization
    assert quantization is not None
    assert quantization.per_tensor
    expected, got = logits(per_tensor / "tiny-lite-fp32.onnx"), logits(path)
    assert np.corrcoef(expected.ravel(), got.ravel())[0, 1] > 0.95


def test_plans_keep_their_granularity(model: Model, plan: QuantPlan, tmp_path: Path) -> None:
    assert not plan.per_tensor
    with pytest.raises(UsageError, match="a scale for each channel"):
        edge_effnet.export(
            model, precisions=["int8"], per_tensor=True, calibration=plan, out=tmp_path
        )
    single = replace(
        plan,
        layers={
            name: replace(layer, scale=np.full_like(layer.scale, layer.scale.max()))
            for name, layer in plan.layers.items()
        },
    )
    assert single.per_tensor
    with pytest.raises(UsageError, match="no float weights for dynamic files"):
        edge_effnet.export(model, precisions=["dynamic"], calibration=single, out=tmp_path)
    (path,) = edge_effnet.export(
        model, formats="tflite", precisions=["int8"], calibration=single, out=tmp_path
    )
    assert path.name == "tiny-lite-int8-per-tensor.tflite"


def test_onnxruntime_widens_weights_once(folder: Path, tmp_path: Path) -> None:
    """After its fusions w8 is the network of fp32: nothing is dequantized in an inference."""
    import onnxruntime as ort

    kinds = {}
    for precision in ("fp32", "w8"):
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(tmp_path / f"{precision}.onnx")
        ort.InferenceSession(folder / f"tiny-lite-{precision}.onnx", options)
        graph = onnx.load(tmp_path / f"{precision}.onnx").graph
        kinds[precision] = [node.op_type for node in graph.node]
    assert kinds["w8"] == kinds["fp32"]


def test_weights_only_takes_the_plans_biases(model: Model, plan: QuantPlan) -> None:
    folded = fold_batch_norm(model)
    changed, reduced = weights_only(folded, plan, depthwise=False)
    assert isinstance(reduced, WeightOnlyPlan)
    for node in folded.graph:
        if node.name not in plan.layers:
            continue
        kept = not (isinstance(node, Conv) and node.depthwise)
        assert (node.name in reduced.layers) == kept
        name = f"{node.name}.bias"
        expected = plan.layers[node.name].float_bias(plan.quant_params[node.inputs[0]].scale)
        np.testing.assert_array_equal(
            changed.weights[name], expected if kept else folded.weights[name]
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--precisions", "w8"), "w8 needs photos to calibrate on"),
        (("--precisions", "dynamic", "--formats", "onnx"), "dynamic files are TFLite only"),
        (
            ("--precisions", "fp32", "--io", "int8"),
            "int8 are an option of int8 files; add int8 to --precisions",
        ),
        (("--precisions", "int8", "--io", "int8"), "TFLite only; give --formats tflite"),
        (("--precisions", "fp32", "--per-tensor"), "with --per-tensor give --precisions int8"),
        (("--precisions", "w8,int8", "--per-tensor"), "with --per-tensor give --precisions int8"),
        (
            ("--precisions", "int8", "--io", "int4"),
            "'int4' is not one of 'uint8', 'int8', 'float32'",
        ),
        (
            ("--precisions", "w8", "--quantizer", "nncf"),
            "the quantizer nncf writes int8 files",
        ),
        (
            (
                *("--precisions", "int8", "--formats", "openvino"),
                "--quantizer=nncf",
                "--io=float32",
            ),
            "the quantizer nncf has its own input and output type",
        ),
    ],
)
def test_what_makes_no_sense(options: tuple[str, ...], message: str, tmp_path: Path) -> None:
    assert message in refused(call(*LITE0, *options, "--out", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_command(tmp_path: Path) -> None:
    given = ("--calibration", command.photos(), "--out", tmp_path, "--formats", "tflite")
    result = call(*LITE0, *given, "--precisions", "dynamic,int8", "--io", "int8")
    assert command.done(result)
    assert contents(tmp_path) == [
        "efficientnet-lite0-dynamic.tflite",
        "efficientnet-lite0-int8-io-int8.tflite",
    ]
