"""transformers' files, pruned and quantization-aware state dicts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import edge_effnet
from edge_effnet.checkpoints.naming import blocks_of
from edge_effnet.checkpoints.pytorch import lukemelas, timm, torchvision, transformers
from edge_effnet.errors import CheckpointError
from edge_effnet.graph import Conv
from edge_effnet.network import build
from edge_effnet.registry import get_variant

Tensors = dict[str, np.ndarray]
CONFIG = {
    "model_type": "efficientnet",
    "batch_norm_eps": 0.002,
    "depthwise_padding": [3],
    "hidden_act": "swish",
    "image_size": 64,
    "id2label": {"0": "crow", "1": "dunlin", "2": "eagle"},
    "pooling_type": "mean",
}
PROCESSOR = {
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.5, 0.25, 0.2],
    "rescale_factor": 1 / 255,
    "include_top": True,
    "resample": 2,
}


def noise(names: Any, variant: str, classes: int) -> Tensors:
    graph, rng = build(get_variant(variant), classes=classes), np.random.default_rng(0)
    return {
        theirs: rng.random(graph.parameter_shapes[ours], np.float32)
        for ours, theirs in names(graph).items()
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as ``save_pretrained`` writes it."""
    save_file(noise(transformers.names, "b0", 3), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    return tmp_path


def quiet(path: Path, **options: Any) -> edge_effnet.Model:
    return edge_effnet.load("auto", path, notify=lambda text: None, **options)


def test_transformers_configs_are_obeyed(folder: Path) -> None:
    model = quiet(folder / "model.safetensors")
    assert model.info.source is not None
    assert (model.variant.name, model.info.source.kind) == ("efficientnet-b0", "transformers")
    assert model.info.labels == ("crow", "dunlin", "eagle")
    assert model.graph.input_shape == (3, 64, 64)
    preprocess = model.info.preprocess
    assert (preprocess.crop_mode, preprocess.interpolation) == ("squash", "bilinear")
    np.testing.assert_allclose(preprocess.mean, (127.5, 102, 76.5))
    np.testing.assert_allclose(preprocess.std, (63.75, 15.9375, 10.2), err_msg="divided twice")
    assert {n.eps for n in model.graph if type(n).__name__ == "BatchNorm"} == {0.002}


def test_transformers_padding_is_fixed(folder: Path) -> None:
    """As PyTorch computes it: strided maps of odd sides become smaller than with SAME."""
    model = quiet(folder / "model.safetensors", resolution=72)  # 36, 18, 9, then odd
    pads = {n.name: n.pads for n in model.graph if isinstance(n, Conv)}
    assert pads["stem.conv"] == (0, 0, 1, 1)
    assert pads["stages.1.blocks.0.depthwise"] == (0, 0, 1, 1)
    assert pads["stages.2.blocks.0.depthwise"] == (2, 2, 2, 2), "block 3 is listed"
    assert pads["stages.3.blocks.0.depthwise"] == (0, 0, 1, 1)
    assert pads["stages.5.blocks.0.depthwise"] == (1, 1, 2, 2)
    assert pads["stages.4.blocks.1.depthwise"] == (2, 2, 2, 2)
    assert model.graph.shapes["stages.5.blocks.0.depthwise"][1:] == (2, 2)
    saved = edge_effnet.save(model, folder / "own.safetensors")
    again = quiet(saved)
    assert again.graph == model.graph
    assert again.info.preprocess == model.info.preprocess


def test_transformers_other_activations_are_refused(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(CONFIG | {"hidden_act": "gelu"}))
    with pytest.raises(CheckpointError, match="activation 'gelu'"):
        quiet(folder / "model.safetensors")


def test_transformers_without_configs_says_what_is_assumed(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()
    notes: list[str] = []
    edge_effnet.load("auto", folder / "model.safetensors", notify=notes.append)
    assert any("is not beside model.safetensors" in note for note in notes)


@pytest.fixture(scope="module")
def lite0() -> Tensors:
    return noise(timm.names, "lite0", 4)


def saved(tensors: Tensors, folder: Path) -> Path:
    path = folder / "weights.safetensors"
    save_file({name: np.ascontiguousarray(v) for name, v in tensors.items()}, path)
    return path


def test_pruning_masks_are_applied(lite0: Tensors, tmp_path: Path) -> None:
    mask = np.random.default_rng(1).integers(0, 2, lite0["conv_stem.weight"].shape)
    pruned = {name: v for name, v in lite0.items() if name != "conv_stem.weight"}
    pruned["conv_stem.weight_orig"] = lite0["conv_stem.weight"]
    pruned["conv_stem.weight_mask"] = mask.astype(np.float32)
    model = quiet(saved(pruned, tmp_path), source="timm")
    expected = lite0["conv_stem.weight"] * mask
    assert np.array_equal(model.weights["stem.conv.weight"], expected)


def test_fake_quantization_is_left_out_and_said(lite0: Tensors, tmp_path: Path) -> None:
    observers = {
        "conv_stem.weight_fake_quant.scale": np.ones(32, np.float32),
        "conv_stem.activation_post_process.activation_post_process.min_val": np.array(-1.0),
        "activation_post_process_0.scale": np.ones(1, np.float32),
    }
    notes: list[str] = []
    path = saved(lite0 | observers, tmp_path)
    model = edge_effnet.load("auto", path, source="timm", notify=notes.append)
    assert np.array_equal(model.weights["stem.conv.weight"], lite0["conv_stem.weight"])
    assert any("quantization-aware training" in note for note in notes)


@pytest.mark.parametrize(
    "name", ["conv_stem.weight_v", "conv_stem.parametrizations.weight.original0"]
)
def test_other_reparametrizations_are_named(lite0: Tensors, tmp_path: Path, name: str) -> None:
    path = saved(lite0 | {name: lite0["conv_stem.weight"]}, tmp_path)
    with pytest.raises(CheckpointError, match=r"reparametrized weights .*remove_parametrizations"):
        quiet(path, source="timm")


def test_monai_numbers_stages_before_blocks(tmp_path: Path) -> None:
    own = noise(lukemelas.names, "b0", 4)
    stages = {b.index: b.stage for b in blocks_of(build(get_variant("b0"))).values()}

    def nested(name: str) -> str:
        block = re.match(r"_blocks\.(\d+)\.", name)
        stage = f"_blocks.{stages[int(block[1])]}." if block else ""
        return name.replace("_blocks.", stage) if block else name

    model = quiet(saved({nested(name): v for name, v in own.items()}, tmp_path))
    assert model.info.source is not None
    assert (model.variant.name, model.info.source.kind) == ("efficientnet-b0", "lukemelas")
    expected = own["_blocks.15._bn2.bias"]
    assert np.array_equal(model.weights["stages.6.blocks.0.project_bn.bias"], expected)


@pytest.mark.parametrize("prefix", ["0.0.", "0."])
def test_children_of_torchvisions_network_by_position(tmp_path: Path, prefix: str) -> None:
    own = noise(torchvision.names, "b0", 4)
    head = {"1.weight": own.pop("classifier.1.weight"), "1.bias": own.pop("classifier.1.bias")}
    nested = {name.replace("features.", prefix, 1): values for name, values in own.items()}
    model = quiet(saved(nested | head, tmp_path))
    assert model.info.source is not None
    assert model.info.source.kind == "torchvision"
    assert np.array_equal(model.weights["stem.conv.weight"], own["features.0.0.weight"])
    assert np.array_equal(model.weights["classifier.weight"], head["1.weight"])
