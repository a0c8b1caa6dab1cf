"""TensorFlow's own converter as a second witness: same operators, versions, shapes and logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_effnet.converters.formats.tflite.writer import write
from edge_effnet.model import Model
from edge_effnet.runtime.litert import LiteRTRunner
from edge_effnet.runtime.tflite_verifier import check_structure, parse
from support import tflite_models as small

pytestmark = pytest.mark.slow

tf = pytest.importorskip("tensorflow", reason="the witness is TensorFlow's converter")
tflite = pytest.importorskip("tflite")

MODELS = {
    "lite": lambda: small.model_of(small.LITE),
    "lite-symmetric": lambda: small.model_of(small.LITE, padding="symmetric"),
    "swish": lambda: small.model_of(small.SWISH),
}


def convert(model: Model, pictures: list[np.ndarray] | None = None, half: bool = False) -> bytes:
    """What TensorFlow makes of the model; full int8 if there are ``pictures``."""
    from edge_effnet.converters.frameworks.keras import build as keras_build

    converter = tf.lite.TFLiteConverter.from_keras_model(keras_build(model, batch=1))
    if half:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    if pictures is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
        normalise = model.info.preprocess.normalise
        converter.representative_dataset = lambda: ([normalise(p)[None]] for p in pictures)
    return bytes(converter.convert())


def operators(data: bytes) -> list[tuple[Any, ...]]:
    """Code, version, options and (type, shape, scales) of each operand, in the file's order."""
    names = {v: k for k, v in vars(tflite.BuiltinOperator).items() if not k.startswith("_")}
    model = parse(data)
    (subgraph,) = model["subgraphs"]

    def operand(index: int) -> tuple[Any, ...]:
        tensor = subgraph["tensors"][index]
        quantization = tensor["quantization"]
        scales = 0 if quantization is None else quantization["scale"].size
        axis = quantization["dimension"] if scales > 1 else None
        return tensor["type"], tuple(tensor["shape"].tolist()), scales, axis

    found = []
    for operator in subgraph["operators"]:
        code = model["operator_codes"][operator["code"]]
        number = max(code["old_code"], code["code"])
        operands = [operand(index) for index in (*operator["inputs"], *operator["outputs"])]
        found.append((names[number], code["version"], operator["options"], operands))
    return found


def requirement(data: bytes) -> bytes:
    model = parse(data)
    (entry,) = [entry for entry in model["metadata"] if entry["name"] == "min_runtime_version"]
    return model["buffers"][entry["buffer"]]["data"].tobytes()


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> Model:
    return MODELS[request.param]()


@pytest.fixture(scope="module")
def float_file(model: Model) -> bytes:
    """The converter's."""
    return convert(model)


def test_float_file_is_the_converters(model: Model, float_file: bytes) -> None:
    theirs, ours = float_file, write(model, None, small.card_of(model))
    assert operators(ours) == operators(theirs)
    assert requirement(ours) == requirement(theirs)
    runners = [LiteRTRunner(data, 1, "file") for data in (theirs, ours)]
    for picture in small.photos(4):
        x = model.info.preprocess.normalise(picture)[None]
        expected, got = (runner.run(x) for runner in runners)
        np.testing.assert_allclose(got, expected, atol=1e-4)


def test_half_file_has_the_converters_operators(model: Model) -> None:
    """The converter halves biases too, so only the kinds are compared, and the weights' types."""
    theirs = convert(model, half=True)
    ours = write(model, None, small.card_of(model, precision="fp16"))
    kinds = [{(code, version) for code, version, *_ in operators(data)} for data in (theirs, ours)]
    assert kinds[0] == kinds[1]
    assert requirement(ours) == requirement(theirs)


@pytest.mark.slow
def test_int8_file_has_the_converters_operators(model: Model) -> None:
    pictures = small.photos(8)
    theirs = convert(model, pictures)
    plan = small.min_max_plan(model, pictures)
    ours = write(model, plan, small.card_of(model, precision="int8", input="pixels"))
    assert operators(ours) == operators(theirs)
    assert requirement(ours) == requirement(theirs)
    runners = [LiteRTRunner(data, 1, "file") for data in (theirs, ours)]
    for picture in pictures[:4]:
        expected, got = (runner.run(picture[None]) for runner in runners)
        assert np.abs(got - expected).max() < 0.1 * np.abs(expected).max()


def test_converters_files_pass_the_structural_check(model: Model, float_file: bytes) -> None:
    check_structure(float_file)
    check_structure(convert(model, small.photos(2)))
