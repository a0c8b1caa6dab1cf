"""timm's networks: config.json, names of released weights, native or tf_."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import edge_effnet
from edge_effnet.checkpoints.pytorch import timm
from edge_effnet.checkpoints.source import SIGN, Checkpoint
from edge_effnet.errors import CheckpointError
from edge_effnet.network import build
from edge_effnet.preprocess import HALVES, IMAGENET_MEAN, IMAGENET_STD, Preprocess
from edge_effnet.registry import get_variant

Tensors = dict[str, np.ndarray]
Save = Callable[..., Path]
COUNTED = {"bn1.num_batches_tracked": np.array(7)}


@pytest.fixture(scope="module")
def b0() -> Tensors:
    """timm's EfficientNet-B0 of four classes, filled with noise."""
    graph, rng = build(get_variant("b0"), classes=4), np.random.default_rng(0)
    return {
        theirs: rng.random(graph.parameter_shapes[ours], np.float32)
        for ours, theirs in timm.names(graph).items()
    }


@pytest.fixture
def save(tmp_path: Path, b0: Tensors) -> Save:
    """Writer of B0, with changed tensors and a config.json beside it."""

    def write(name: str, changes: Tensors | None = None, config: Any = None) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({**b0, **(changes or {})}, path)
        if config is not None:
            path.with_name("config.json").write_text(json.dumps(config))
        return path

    return write


def loaded(path: Path, **options: Any) -> tuple[edge_effnet.Model, list[str]]:
    notes: list[str] = []
    return edge_effnet.load("b0", path, notify=notes.append, **options), notes


def kind(model: edge_effnet.Model) -> str:
    assert model.info.source is not None
    return model.info.source.kind


# config.json

CONFIG = {"input_size": [3, 96, 96], "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}


def config(root: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    record = {**CONFIG, "crop_pct": 0.9, "interpolation": "bilinear", **fields}
    return {"architecture": "efficientnet_b0", "pretrained_cfg": record, **(root or {})}


def test_a_config_is_obeyed(save: Save) -> None:
    labels = {"label_names": {"1": "b", "0": "a", "3": "d", "2": "c"}}
    path = save("model.safetensors", config=config(labels, crop_mode="border"))
    model, notes = loaded(path)
    expected = Preprocess(96, 0.9, "bilinear", (0.0,) * 3, (255.0,) * 3, "border", True)
    assert model.info.preprocess == expected
    assert model.info.labels == ("a", "b", "c", "d")
    assert kind(model) == "timm"
    assert not any("assumed" in note or "taken" in note for note in notes)


def test_the_side_and_crop_of_testing_go_before_those_of_training(save: Save) -> None:
    sides = config(test_input_size=[3, 128, 128], test_crop_pct=1.0)
    preprocess = loaded(save("model.safetensors", config=sides))[0].info.preprocess
    assert (preprocess.size, preprocess.crop) == (128, 1.0)


def test_an_old_config_has_its_fields_at_the_root(save: Save) -> None:
    flat = {"architecture": "tf_efficientnet_b0", **CONFIG, "labels": ["a", "b", "c", "d"]}
    model, _ = loaded(save("model.safetensors", config=flat))
    assert kind(model) == "timm-tf"
    assert (model.info.preprocess.size, model.info.preprocess.std) == (96, (255.0,) * 3)
    assert model.info.labels == ("a", "b", "c", "d")


def test_an_input_that_is_no_square_is_asked_about(save: Save) -> None:
    path = save("model.safetensors", config=config(input_size=[3, 96, 128]))
    with pytest.raises(CheckpointError, match="an input of 96 x 128 pixels") as caught:
        loaded(path)
    assert "resolution=96 or resolution=128" in str(caught.value.hint)
    assert loaded(path, resolution=96)[0].info.preprocess.size == 96


def test_an_unknown_filter_is_said(save: Save) -> None:
    path = save("model.safetensors", config=config(interpolation="lanczos"))
    model, notes = loaded(path)
    assert model.info.preprocess.interpolation == "bicubic"
    assert any("'lanczos', taken here: bicubic" in note for note in notes)


def test_arguments_of_create_model_are_obeyed(save: Save) -> None:
    arguments = {"num_classes": 4, "bn_eps": 1e-4, "pad_type": "same", "act_layer": "silu"}
    path = save("model.safetensors", config=config({"model_args": arguments}))
    same = {"architecture": "tf_efficientnet_b0", "model_args": {"bn_eps": 1e-4}}
    twin = save("twin/model.safetensors", config=config(same))
    graph = loaded(path)[0].graph
    assert graph.nodes == loaded(twin, resolution=96)[0].graph.nodes
    plain = save("plain/model.safetensors", config=config())
    assert graph.nodes != loaded(plain)[0].graph.nodes


def test_an_argument_that_changes_the_network_is_refused(save: Save) -> None:
    path = save("model.safetensors", config=config({"model_args": {"act_layer": "relu"}}))
    with pytest.raises(CheckpointError, match="act_layer='relu' in model_args"):
        loaded(path)


def test_a_grey_config_has_one_mean(save: Save, b0: Tensors) -> None:
    stem = {"conv_stem.weight": np.ascontiguousarray(b0["conv_stem.weight"][:, :1])}
    record = config(input_size=[1, 96, 96], mean=[0.449], std=[0.226])
    preprocess = loaded(save("model.safetensors", stem, record))[0].info.preprocess
    assert preprocess.mean == pytest.approx((255 * 0.449,) * 3)
    assert preprocess.std == pytest.approx((255 * 0.226,) * 3)


# Names of released weights

IMAGENET = (IMAGENET_MEAN, IMAGENET_STD)
INCEPTION = (HALVES, HALVES)


@pytest.mark.parametrize(
    ("name", "source", "size", "crop", "normalisation"),
    [
        ("tf_efficientnet_b0_ap-f262efe1.pth", "timm-tf", 224, 0.875, INCEPTION),
        ("tf_efficientnet_b0_ns-c0e6a31c.pth", "timm-tf", 224, 0.875, IMAGENET),
        ("efficientnet_b0.ra4_e3600_r224_in1k.pth", "timm", 256, 1.0, INCEPTION),
        ("models--timm--efficientnet_b0.ra_in1k/snapshots/a/m.pth", "timm", 224, 0.875, IMAGENET),
        ("1-efficientnet_b0_ra4_e3600_r224_in1k-224/best.pth", "timm", 256, 1.0, INCEPTION),
    ],
)
def test_a_name_gives_the_preprocessing(
    save: Save, name: str, source: str, size: int, crop: float, normalisation: tuple[Any, Any]
) -> None:
    model, notes = loaded(save(name.replace(".pth", ".safetensors"), COUNTED))
    assert kind(model) == source
    assert model.info.preprocess == Preprocess(
        size, crop, "bicubic", *normalisation, resize_first=True
    )
    (note,) = (note for note in notes if "fine-tuned" in note)  # its classifier has four classes
    assert f"{size} px, crop {crop:g} (center), bicubic" in note


def test_an_assumed_preprocessing_is_said(save: Save) -> None:
    _, notes = loaded(save("best.safetensors", COUNTED), source="timm")
    (note,) = (note for note in notes if "assumed" in note)
    assert "assumed: 224 px, crop 0.875 (center), bicubic, ImageNet's mean" in note


# Native or tf_


@pytest.mark.parametrize(
    "name", ["best.safetensors", "efficientnet/model.safetensors", "efficientnet_best.safetensors"]
)
@pytest.mark.parametrize("counters", [COUNTED, {}], ids=["counted", "without counters"])
def test_a_neutral_name_is_asked_about(save: Save, name: str, counters: Tensors) -> None:
    path = save(name, counters)
    with pytest.raises(CheckpointError, match="efficientnet_b0 and tf_efficientnet_b0") as caught:
        loaded(path)
    assert "source='timm'" in str(caught.value.hint)
    incomplete = {n: v for n, v in load_file(path).items() if not n.startswith("conv_head")}
    save_file(incomplete, path)
    with pytest.raises(CheckpointError, match="conv_head"):  # not a question first
        loaded(path)
    save(name, counters)
    assert kind(loaded(path, source="timm-tf")[0]) == "timm-tf"


def test_batches_never_counted_are_those_of_converted_weights(save: Save) -> None:
    model, notes = loaded(save("best.safetensors", {"bn1.num_batches_tracked": np.array(0)}))
    assert kind(model) == "timm-tf"
    assert any("never counted" in note for note in notes)


@pytest.mark.parametrize(
    ("name", "source", "certain"),
    [
        ("tf_efficientnet_b0_flowers.safetensors", "timm-tf", True),
        ("efficientnet_b0_flowers.safetensors", "timm", False),
        ("tf_efficientnet_b0/best.safetensors", "timm-tf", True),
        ("efficientnet_b0/best.safetensors", "timm", False),
    ],
)
def test_names_without_tf_are_a_sign_only(
    save: Save, name: str, source: str, certain: bool
) -> None:
    model, notes = loaded(save(name, COUNTED))
    assert kind(model) == source
    assert any("the tensors alone cannot tell" in note for note in notes) is not certain


def test_the_input_range_tells_released_weights_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Lite0's native and tf_ releases take other ranges; fine-tuned ones take either."""
    monkeypatch.setattr(timm, "range_in", lambda *arguments: "-1..1")
    lite0 = get_variant("lite0")
    released = {**COUNTED, "classifier.weight": np.zeros((1000, 4), np.float32)}
    assert timm.TF.evidence(lite0, Checkpoint(Path("best.pth"), released)).weight == SIGN
    own = {**COUNTED, "classifier.weight": np.zeros((5, 4), np.float32)}
    assert timm.SOURCE.evidence(lite0, Checkpoint(Path("best.pth"), own)).question is not None
