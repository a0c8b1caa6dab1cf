"""The IMX500 writer's request to Sony's toolchain, and the network that its script builds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import edge_effnet
from edge_effnet import forward
from edge_effnet.calibration.plan import WeightOnlyPlan
from edge_effnet.calibration.quantized_model import QuantizedModel
from edge_effnet.card import ModelCard
from edge_effnet.errors import DeviceError, UsageError
from edge_effnet.graph_json import graph_from_json
from edge_effnet.heads import Function, Head, Linear, Normalization, attach, trunk
from edge_effnet.model import Model
from edge_effnet.toolchains import environment, worker
from edge_effnet.toolchains.registry import IMX500, Toolchain
from support import tflite_models as small

pytest.importorskip("onnxruntime", reason="calibration needs the extra 'onnx'")
SCRIPT = Path(worker.__file__).parent / "scripts" / "imx500.py"


@pytest.fixture(params=[small.LITE, small.SWISH], ids=["lite", "swish"])
def model(request: pytest.FixtureRequest) -> Model:
    return small.model_of(request.param)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    from PIL import Image

    folder = tmp_path / "photos"
    folder.mkdir()
    for index, pixels in enumerate(small.photos(4)):
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def script() -> ModuleType:
    spec = spec_from_file_location("imx500_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_network(folder: Path) -> tuple[dict, dict[str, np.ndarray]]:
    graph = json.loads((folder / "network.json").read_text())
    return graph, dict(np.load(folder / "weights.npz"))


def faithful(
    toolchain: Toolchain,
    name: str,
    folder: Path,
    arguments: Sequence[str] = (),
    *,
    seconds: float,
) -> None:
    """In place of the toolchain: the float network's logits of the sensor's input."""
    assert (toolchain, name) == (IMX500, "imx500")
    graph, weights = read_network(folder)
    images = script().planes(np.load(folder / "images.npy"))
    np.save(folder / "logits.npy", forward.logits(graph_from_json(graph), weights, images))
    (folder / "model.imx500.zip").write_bytes(b"compiled")


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "prepared", lambda toolchain: Path("python"))
    monkeypatch.setattr(worker, "run", faithful)


def export(model: Model | QuantizedModel, photos: Path | None, out: Path) -> list[Path]:
    return edge_effnet.export(
        model,
        formats="imx500",
        precisions="int8",
        calibration=photos,
        out=out,
        notify=lambda text: None,
        progress=False,
    )


def test_three_files_are_written(model: Model, photos: Path, tmp_path: Path) -> None:
    (file,) = export(model, photos, tmp_path / "out")
    name = f"{model.variant.name}-int8.imx500"
    suffixes = ("json", "txt", "zip")
    assert sorted(p.name for p in file.parent.iterdir()) == [f"{name}.{s}" for s in suffixes]
    assert file.name == f"{name}.zip"
    card = ModelCard.from_json((file.parent / f"{name}.json").read_text())
    assert (card.precision, card.input) == ("int8", "pixels")
    assert card.quantization is not None
    assert card.quantization.quantizer == "model-compression-toolkit 2.5.1"
    assert (file.parent / f"{name}.txt").read_text().splitlines() == list(card.labels)


def test_the_network_takes_the_sensors_pixels(
    model: Model, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The input is (pixel - 128) / 128; only outputs at the border change, by one pixel value."""
    kept = {}

    def keep(toolchain: Toolchain, name: str, folder: Path, *, seconds: float) -> None:
        kept["network"], kept["images"] = read_network(folder), np.load(folder / "images.npy")
        faithful(toolchain, name, folder, seconds=seconds)

    monkeypatch.setattr(worker, "run", keep)
    export(model, photos, tmp_path / "out")
    (graph, weights), images = kept["network"], kept["images"]
    assert images.dtype == np.uint8
    got = forward.logits(graph_from_json(graph), weights, script().planes(images))
    for pixels, logits in zip(images, got, strict=True):
        expected = small.evaluate(model, small.normalised(model, pixels))[model.graph.output]
        np.testing.assert_allclose(logits, expected, atol=0.05 * np.abs(expected).max())


def test_the_script_builds_the_graph(model: Model, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="the extra 'torch'")
    from edge_effnet.graph_json import graph_to_json

    np.savez(tmp_path / "weights.npz", **dict(model.weights))
    network = script().build(torch, graph_to_json(model.graph), tmp_path)
    images = script().planes(np.stack(small.photos(2)))
    with torch.no_grad():
        got = network(torch.tensor(images)).numpy()
    expected = forward.logits(model.graph, model.weights, images)
    np.testing.assert_allclose(got, expected, atol=1e-4 * np.abs(expected).max())


def test_a_finished_plan_is_refused(model: Model, tmp_path: Path) -> None:
    plan = small.min_max_plan(model, small.photos(2))
    with pytest.raises(UsageError, match="quantized by Sony's toolkit, not from a finished plan"):
        export(QuantizedModel(model, plan, model.info), None, tmp_path)
    assert not list(tmp_path.glob("*.imx500*"))
    assert not isinstance(plan, WeightOnlyPlan)


def test_a_toolchain_that_fails_leaves_nothing(
    model: Model, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise DeviceError("Sony's toolchain failed (the network does not fit)")

    monkeypatch.setattr(worker, "run", fail)
    with pytest.raises(DeviceError, match="does not fit"):
        export(model, photos, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("kind", ["gelu", "norm"])
def test_unsupported_layers_are_refused_before_anything_is_written(
    kind: str, photos: Path, tmp_path: Path
) -> None:
    model = small.model_of(small.LITE)
    features = model.weights["classifier.weight"].shape[1]
    kept = {name: value for name, value in model.weights.items() if "classifier" not in name}
    rng = np.random.default_rng(0)
    last = Linear(rng.normal(0, 0.3, (10, features)).astype(np.float32), np.zeros(10, np.float32))
    norm = Normalization(np.ones(features), np.zeros(features), 1e-3)
    layer = Function("gelu") if kind == "gelu" else norm
    graph, weights = attach(trunk(model.graph), kept, Head((layer, last), "avg"))
    model = replace(model, graph=graph, weights=weights)
    with pytest.raises(UsageError, match="IMX500 has no form of"):
        export(model, photos, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unsupported_layers_end_the_script() -> None:
    torch = pytest.importorskip("torch", reason="the extra 'torch'")
    node = {"type": "LayerNorm", "name": "head.norm", "inputs": ["x"]}
    with pytest.raises(SystemExit, match="no form of LayerNorm"):
        script().layer_of(torch, node, 8)
    node = {"type": "Activation", "name": "act", "inputs": ["x"], "kind": "gelu"}
    with pytest.raises(SystemExit, match="has no gelu"):
        script().layer_of(torch, node, 8)
