"""QuantizedModel: from memory to disk and back, and what damaged files give."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load, save

import edge_effnet
from edge_effnet.calibration.passes.prepare import prepare
from edge_effnet.calibration.plan import QuantPlan, WeightOnlyPlan
from edge_effnet.calibration.quantized_model import QuantizedModel
from edge_effnet.card import CalibrationRecord
from edge_effnet.errors import ModelFileError
from support import command
from support.golden_files import LITE, SWISH, mixed, model_of, plan_of, weights_only

Arrays = NDArray[Any]
RECORD = CalibrationRecord(2, 8, "3" * 64, (("a.jpg", "1" * 64), ("below/b.jpg", "2" * 64)), 5)


def quantized(kind: str = "int8") -> QuantizedModel:
    model = model_of(LITE if kind == "int8" else SWISH)
    plan = replace(plan_of(model), record=RECORD)
    if kind == "weight-only":
        return QuantizedModel(prepare(model).model, weights_only(plan), model.info)
    if kind == "mixed":
        inside = frozenset({next(iter(plan.layers))})
        return QuantizedModel(prepare(model).model, mixed(model, plan, inside), model.info)
    return QuantizedModel(prepare(model).model, plan, model.info)


@pytest.mark.parametrize("kind", ["int8", "mixed", "weight-only"])
def test_save_and_load(tmp_path: Path, kind: str) -> None:
    before = quantized(kind)
    path = before.save(tmp_path / "lite.safetensors")
    after = QuantizedModel.load(path)
    assert after.model.graph == before.model.graph
    assert after.model.variant == before.model.variant
    assert after.model.info == before.model.info
    assert after.info == before.info
    assert type(after.plan) is type(before.plan)
    assert (after.plan.recipe, after.plan.record) == (before.plan.recipe, RECORD)
    assert list(after.plan.layers) == list(before.plan.layers)
    for name, layer in before.plan.layers.items():
        for part in ("weight", "scale", "bias"):
            one, other = getattr(layer, part), getattr(after.plan.layers[name], part)
            assert one.dtype == other.dtype
            assert np.array_equal(one, other)
    for name, values in before.model.weights.items():
        assert np.array_equal(values, after.model.weights[name])
    if isinstance(before.plan, QuantPlan) and isinstance(after.plan, QuantPlan):
        assert after.plan.quant_params == before.plan.quant_params
        assert after.plan.float_layers == before.plan.float_layers
        assert after.plan.biases.keys() == before.plan.biases.keys()
        assert after.plan.weights.keys() == before.plan.weights.keys()


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    one, other = (quantized().save(tmp_path / name) for name in ("a", "b"))
    assert one.read_bytes() == other.read_bytes()


def test_its_repr_is_a_line() -> None:
    for kind in ("int8", "weight-only"):
        text = repr(quantized(kind))
        assert re.fullmatch(rf"QuantizedModel\(.*, {kind}, recipe .*, \d+ layers\)", text)
        assert len(repr(quantized(kind).plan)) < 100
        assert len(repr(quantized(kind).model)) < 100


def edited(path: Path, key: str, value: object) -> Path:
    """The file with one entry of its record replaced; ``key`` is a path of names."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    record = json.loads(header["__metadata__"]["edge_effnet_quantized"])
    *parents, last = key.split(".")
    inner = record
    for name in parents:
        inner = inner[name]
    inner[last] = value
    path.write_bytes(save(load(data), {"edge_effnet_quantized": json.dumps(record)}))
    return path


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema", 2),
        ("graph", []),
        ("graph.nodes", [{"type": "Eval", "name": "a", "inputs": []}]),
        ("graph.input_shape", [4, 64, 64]),
        ("variant.stages", 3),
        ("info.preprocess", {}),
        ("plan.layers", ["stem.conv", "gone"]),
        ("plan.layers", 3),
        ("plan.quant_params", {"image": {"scale": 1.0}}),
        ("plan.quant_params", {"image": {"scale": float("nan"), "zero_point": 0}}),
        ("plan.quant_params", {"image": {"scale": 1.0, "zero_point": 300}}),
        ("plan.quant_params", {"gone": {"scale": 1.0, "zero_point": 0}}),
        ("plan.record", {"photos": 1}),
        ("plan.record", 7),
    ],
)
def test_records_that_contradict_themselves(tmp_path: Path, key: str, value: object) -> None:
    path = edited(quantized().save(tmp_path / "p"), key, value)
    with pytest.raises(ModelFileError, match=r"cannot be read .*; calibrate again"):
        QuantizedModel.load(path)


def of_other_type(values: Arrays) -> Arrays:
    return values.astype(np.float64)


def of_other_shape(values: Arrays) -> Arrays:
    return values[:-1]


def not_finite(values: Arrays) -> Arrays:
    return np.full_like(values, np.nan)


def zero(values: Arrays) -> Arrays:
    return np.zeros_like(values)


@pytest.mark.parametrize(
    ("part", "damage"),
    [
        *((part, of_other_shape) for part in ("weight", "scale", "bias")),
        *((part, of_other_type) for part in ("weight", "scale", "bias")),
        ("scale", not_finite),
        ("scale", zero),
    ],
)
def test_integers_that_do_not_fit_the_graph(
    tmp_path: Path, part: str, damage: Callable[[Arrays], Arrays]
) -> None:
    """Such a plan ended in a traceback, or gave files with wrong answers, when it was written."""
    path = quantized().save(tmp_path / "p")
    arrays, data = load(path.read_bytes()), path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    name = next(key for key in arrays if key.startswith("layer/") and key.endswith(part))
    path.write_bytes(save(arrays | {name: damage(arrays[name])}, header["__metadata__"]))
    with pytest.raises(ModelFileError, match=r"cannot be read .*; calibrate again"):
        QuantizedModel.load(path)


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff\xfe{}", b"[]", b"\0" * 64])
def test_damaged_files(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "p"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"the quantized model .*p cannot be read"):
        QuantizedModel.load(path)


def test_truncated_files(tmp_path: Path) -> None:
    data = quantized().save(tmp_path / "p").read_bytes()
    for length in range(0, len(data), len(data) // 40):
        (tmp_path / "p").write_bytes(data[:length])
        with pytest.raises(ModelFileError):
            QuantizedModel.load(tmp_path / "p")


def test_a_format_has_its_own_biases() -> None:
    both = quantized("mixed")
    assert isinstance(both.plan, QuantPlan)
    there = both.for_format("openvino")
    name = next(iter(both.plan.layers))
    assert not np.array_equal(there.plan.layers[name].bias, both.plan.layers[name].bias)
    assert there.plan.layers[name].weight is both.plan.layers[name].weight
    light = quantized("weight-only")
    assert isinstance(light.plan, WeightOnlyPlan)
    assert light.for_format("openvino") is light


def test_calibrate_once_and_export_twice(tmp_path: Path) -> None:
    """The public verbs: one quantized model gives the bytes that one export from photos gives."""
    pytest.importorskip("ai_edge_litert")
    pytest.importorskip("onnxruntime")
    model, photos = model_of(LITE), command.photos()
    with pytest.warns(UserWarning, match="calibration samples"):
        quantized = edge_effnet.calibrate(model, photos)
    saved = edge_effnet.QuantizedModel.load(quantized.save(tmp_path / "lite.safetensors"))
    formats = ["tflite", "onnx"]
    ours = edge_effnet.export(saved, formats=formats, precisions=["int8"], out=tmp_path / "a")
    with pytest.warns(UserWarning, match="calibration samples"):
        whole = edge_effnet.export(
            model, formats=formats, precisions="int8", calibration=photos, out=tmp_path / "b"
        )
    assert [path.read_bytes() for path in ours] == [path.read_bytes() for path in whole]
    with pytest.raises(edge_effnet.EdgeEffNetError, match="needs photos"):
        edge_effnet.calibrate(model, None)
