"""Live Keras models: read by the file that they save, compared with themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import edge_effnet
from edge_effnet.errors import CheckpointError
from support.keras_models import SIDE, answers, application, keras, pixels
from support.onnx_logits import relative, run


@pytest.fixture(scope="module")
def b0() -> Any:
    return application("EfficientNetB0", classes=7)


def test_a_model_is_read_and_left_as_it_was(b0: Any) -> None:
    before = [np.asarray(value) for value in b0.get_weights()]
    model = edge_effnet.load("auto", weights=b0)
    assert all(map(np.array_equal, before, b0.get_weights()))
    assert (model.variant.short_name, model.classes) == ("b0", 7)
    assert model.graph.input_shape == (3, SIDE, SIDE)
    assert model.info.source is not None
    assert model.info.source.file == "the Keras model 'efficientnetb0'"
    assert relative(run(model, pixels()), answers(b0, pixels())) < 1e-4


def test_what_cannot_be_read_is_refused_under_the_models_name(b0: Any) -> None:
    image = keras.Input((SIDE, SIDE, 3))
    cube = keras.layers.Lambda(lambda x: x**3 / 255**2, name="cube")(image)
    with pytest.raises(CheckpointError, match=r"the Keras model 'mine'.*'cube' is a Lambda"):
        edge_effnet.load("auto", weights=keras.Model(image, b0(cube), name="mine"))
