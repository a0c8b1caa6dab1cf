"""Out to the training frameworks and back: the same network, trained, saved, loaded again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import edge_effnet
from edge_effnet.calibration.passes.fold import fold_batch_norm
from edge_effnet.checkpoints import load
from edge_effnet.converters.formats import onnx
from edge_effnet.converters.frameworks.stochastic_depth import drop_rates
from edge_effnet.model import Model
from edge_effnet.network import build
from edge_effnet.registry import get_variant

ort = pytest.importorskip("onnxruntime")
SIDE, CLASSES = 64, 5
VARIANTS = (
    "lite0",
    "edgetpu-s",
    *(pytest.param(n, marks=pytest.mark.slow) for n in ("b0", "v2-b0")),
)


def network(name: str, **changes: float) -> Model:
    """A small-sided network with random weights and moved batch statistics."""
    variant = replace(get_variant(name), **changes)  # type: ignore[arg-type]
    graph = build(variant, classes=CLASSES, resolution=SIDE)
    start = load(name, "random", resolution=SIDE)
    rng = np.random.default_rng(0)
    weights = {}
    for parameter, shape in graph.parameter_shapes.items():
        if parameter.endswith((".running_var", "bn.weight")):
            weights[parameter] = rng.uniform(0.7, 1.3, shape).astype(np.float32)
        elif parameter.startswith("classifier"):
            weights[parameter] = rng.normal(0, 0.05, shape).astype(np.float32)
        else:
            weights[parameter] = np.asarray(start.weights[parameter])
    card = replace(start.info, labels=tuple("abcde"))
    return Model(variant, graph, weights, card)


def pictures(count: int = 4) -> NDArray[np.float32]:
    """Normalised pictures NCHW."""
    coarse = np.random.default_rng(1).uniform(-1, 1, (count, 3, 8, 8)).astype(np.float32)
    return coarse.repeat(8, 2).repeat(8, 3)


def run(model: Model, batch: NDArray[np.float32]) -> Any:
    folded = fold_batch_norm(model)
    proto = onnx.build(folded.graph, folded.weights, batch="n")
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {folded.graph.input: batch})[0]


def relative(got: Any, wanted: Any) -> float:
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


def torch_training(model: Model, batch: NDArray[np.float32]) -> tuple[Any, Any, Any]:
    """Answers before and after some steps of training, and the trained weights."""
    torch = pytest.importorskip("torch")
    from edge_effnet.converters.frameworks import torch as converter

    torch.manual_seed(0)
    module, images = converter.build(model), torch.from_numpy(batch)
    with torch.no_grad():
        before = module(images).numpy()
    optimizer = torch.optim.SGD(module.train().parameters(), 0.005)
    for _ in range(2):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(images), torch.arange(len(batch))).backward()
        optimizer.step()
    with torch.no_grad():
        after = module.eval()(images).numpy()
    return before, after, converter.to_weights(module)


def keras_training(model: Model, batch: NDArray[np.float32]) -> tuple[Any, Any, Any]:
    """The same in Keras."""
    pytest.importorskip("tensorflow")
    keras: Any = pytest.importorskip("keras")
    from edge_effnet.converters.frameworks import keras as converter

    keras.utils.set_random_seed(0)
    module, images = converter.build(model), batch.transpose(0, 2, 3, 1)
    before = np.asarray(module(images, training=False))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    module.compile(keras.optimizers.SGD(0.005), loss, run_eagerly=True)  # no minute of tracing
    module.fit(images, np.arange(len(batch)), epochs=2, verbose=0)
    after = np.asarray(module(images, training=False))
    return before, after, converter.to_weights(module, model.graph)


@pytest.mark.parametrize("train", [torch_training, keras_training])
@pytest.mark.parametrize("name", VARIANTS)
def test_out_and_back(name: str, train: Any, tmp_path: Path) -> None:
    model, batch = network(name), pictures()
    before, after, weights = train(model, batch)
    assert relative(run(model, batch), before) < 1e-4
    assert np.abs(after - before).max() > 1e-3, "training changes the answers"
    path = edge_effnet.save(replace(model, weights=weights), tmp_path / "trained.safetensors")
    again = edge_effnet.load("auto", path)
    assert again.variant.name == model.variant.name
    assert again.info.labels == model.info.labels
    assert not np.array_equal(
        again.weights["stem.bn.running_mean"], model.weights["stem.bn.running_mean"]
    )
    assert relative(run(again, batch), after) < 1e-4


@pytest.mark.parametrize("name", ["lite0", "edgetpu-s"])
def test_keras_has_the_papers_rates(name: str) -> None:
    pytest.importorskip("tensorflow")
    keras: Any = pytest.importorskip("keras")
    from edge_effnet.converters.frameworks import keras as converter

    model = network(name)
    module = converter.build(model)
    dropouts = {x.name: x.rate for x in module.layers if isinstance(x, keras.layers.Dropout)}
    assert dropouts.pop("classifier.dropout") == model.variant.dropout
    wanted = {f"{n}.drop": rate for n, rate in drop_rates(model.graph, 0.2).items() if rate}
    assert dropouts == pytest.approx(wanted)
    assert len(dropouts) == {"lite0": 9, "edgetpu-s": 12}[name]


def test_keras_drops_whole_samples_while_training_alone() -> None:
    """One picture many times: batch statistics are the same for all, only dropping differs.

    Batches differ by up to 0.006 by rounding alone (on a processor without AVX-512), by 2.9 to 4.5
    where something is dropped. A layer that drops at rate 0 would bring the two together.
    """
    pytest.importorskip("tensorflow")
    keras: Any = pytest.importorskip("keras")
    from edge_effnet.converters.frameworks import keras as converter

    same = np.tile(pictures(1).transpose(0, 2, 3, 1), (32, 1, 1, 1))
    spreads = []
    for changes in ({"drop_connect": 0.9, "dropout": 0.0}, {"drop_connect": 0.0, "dropout": 0.5}):
        keras.utils.set_random_seed(0)
        module = converter.build(network("lite0", **changes))
        assert np.ptp(np.asarray(module(same, training=False)), axis=0).max() < 1e-5
        spreads.append(np.ptp(np.asarray(module(same, training=True)), axis=0).max())
    assert min(spreads) > 1
    still = converter.build(network("lite0", drop_connect=0.0, dropout=0.0))
    assert np.ptp(np.asarray(still(same, training=True)), axis=0).max() < 0.1
    layer = keras.layers.Dropout(0.25, (None, 1, 1, 1))
    dropped = np.asarray(layer(np.ones((4000, 3, 3, 2), np.float32), training=True))
    assert set(np.unique(dropped).round(5)) == {0.0, np.float32(1 / 0.75).round(5)}
    assert np.array_equal(dropped.max((1, 2, 3)), dropped.min((1, 2, 3)))
