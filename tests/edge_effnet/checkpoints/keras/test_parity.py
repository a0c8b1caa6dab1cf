"""Every EfficientNet of keras.applications: its file, read, folded, written as ONNX, against it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_effnet.checkpoints import load
from edge_effnet.converters.frameworks import keras as converter
from support import keras_models
from support.keras_models import APPLICATIONS, answers, application, pixels
from support.onnx_logits import relative, run

ort = pytest.importorskip("onnxruntime")
QUICK = ("EfficientNetB0",)
SLOW = ("EfficientNetB2", "EfficientNetV2B0", "EfficientNetV2S")


@pytest.mark.parametrize(
    "name",
    [
        *QUICK,
        *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW),
        *(
            pytest.param(name, marks=pytest.mark.exhaustive)
            for name in APPLICATIONS
            if name not in (*QUICK, *SLOW)
        ),
    ],
)
def test_logits_are_those_of_keras(name: str, tmp_path: Path) -> None:
    reference = application(name)
    path = tmp_path / "model.keras"
    reference.save(path)
    model = load("auto", path)
    assert model.variant.short_name == APPLICATIONS[name]
    assert model.graph.input_shape == (3, keras_models.SIDE, keras_models.SIDE)
    trainable = sum(int(np.prod(w.shape)) for w in reference.trainable_weights)
    statistics = sum(v.size for n, v in model.weights.items() if ".running_" in n)
    assert sum(v.size for v in model.weights.values()) - statistics == trainable
    images = pixels()
    wanted = answers(reference, images)
    error = relative(run(model, images), wanted)
    assert error < 1e-4
    assert error < relative(wanted[0], wanted[1]) / 20, "the pictures themselves must matter"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["EfficientNetB0", "EfficientNetV2B0"])
def test_the_keras_model_that_is_built_answers_the_same(name: str, tmp_path: Path) -> None:
    reference = application(name)
    reference.save(tmp_path / "model.keras")
    model = load("auto", tmp_path / "model.keras")
    built = converter.build(model)
    images = pixels()
    got = np.asarray(built(model.info.preprocess.normalise(images), training=False))
    assert relative(got, answers(reference, images)) < 1e-4
    for name_, values in converter.to_weights(built, model.graph).items():
        assert np.array_equal(values, model.weights[name_]), name_
