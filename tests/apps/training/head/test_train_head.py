"""Features and the head of a real network on real photos."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edge_effnet
from edge_effnet import forward
from edge_effnet.apps.training.dataset.read import read_training_data
from edge_effnet.apps.training.head.features import photo_features
from edge_effnet.apps.training.head.train_head import START_C, train_head
from edge_effnet.apps.training.metrics import EpochMetrics
from edge_effnet.checkpoints.canonical import save
from edge_effnet.errors import ImageError, OutputError
from edge_effnet.model import Model
from edge_effnet.progress import ignore_progress
from support import tflite_models as small
from support.photo_folders import make_classes


@pytest.fixture(scope="module")
def model() -> Model:
    return small.model_of(small.LITE)


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    return sorted(make_classes(tmp_path / "photos", {"a": 5, "b": 5}).rglob("*.png"))


def features_of(model: Model, photos: list[Path], cache: Path) -> np.ndarray:
    return photo_features(model, photos, cache, threads=1, progress=ignore_progress)


def test_features_are_what_the_classifier_reads(
    model: Model, photos: list[Path], tmp_path: Path
) -> None:
    features = features_of(model, photos, tmp_path)
    weight, bias = (model.weights[f"classifier.{part}"] for part in ("weight", "bias"))
    for path, (upright, mirrored) in zip(photos[:2], features, strict=False):
        pixels = model.info.preprocess.pixels(path)
        for view, row in ((pixels, upright), (pixels[:, ::-1], mirrored)):
            batch = model.info.preprocess.normalise(view)[None].transpose(0, 3, 1, 2)
            expected = forward.logits(model.graph, model.weights, batch)
            assert np.allclose(row @ weight.T + bias, expected[0], atol=1e-3)


def test_cached_features_are_not_computed_again(
    model: Model, photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    expected = features_of(model, photos[:7], cache)
    (file,) = cache.iterdir()
    size = file.stat().st_size // 7
    with file.open("ab") as stream:  # a process that was killed while it wrote
        stream.write(b"x" * (size // 2))
    assert np.array_equal(features_of(model, photos, cache)[:7], expected)
    assert file.stat().st_size == 10 * size
    monkeypatch.setattr("edge_effnet.converters.onnx_engine.OnnxEngine", None)
    assert np.array_equal(features_of(model, photos, cache)[:7], expected)
    monkeypatch.undo()
    other = replace(
        model,
        weights={**model.weights, "stem.conv.weight": model.weights["stem.conv.weight"] * 1.1},
    )
    assert not np.array_equal(features_of(other, photos, cache)[:7], expected)
    assert len(list(cache.iterdir())) == 2


def test_a_missing_photo_and_a_full_disk_are_named(
    model: Model, photos: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(ImageError, match=r"gone\.png"):
        features_of(model, [tmp_path / "gone.png"], tmp_path)
    if Path("/dev/full").exists():
        features_of(model, photos[:1], tmp_path / "cache")
        (file,) = (tmp_path / "cache").iterdir()
        file.unlink()
        file.symlink_to("/dev/full")
        with pytest.raises(OutputError, match="No space left"):
            features_of(model, photos, tmp_path / "cache")


def test_the_head_is_an_ordinary_checkpoint(tmp_path: Path) -> None:
    model = edge_effnet.load("lite0", "imagenet", resolution=64)
    folder = make_classes(tmp_path / "photos", {"grün, blau": 12, "rot": 12})
    data = read_training_data(folder, side=64)
    epochs: list[EpochMetrics] = []
    trained = [
        train_head(
            model,
            data,
            cache=tmp_path / f"cache{attempt}",
            threads=1,
            on_epoch=epochs.append,
            progress=ignore_progress,
        )
        for attempt in range(2)
    ]
    assert [row.epoch for row in epochs[: len(epochs) // 2]] == list(range(1, len(epochs) // 2 + 1))
    paths = [save(each.final, tmp_path / f"{i}.safetensors") for i, each in enumerate(trained)]
    first, second = (hashlib.sha256(path.read_bytes()).digest() for path in paths)
    assert first == second
    loaded = edge_effnet.load(model.variant, paths[0])
    assert loaded.info.labels == ("grün, blau", "rot")
    assert loaded.info.preprocess == model.info.preprocess
    batch = model.info.preprocess.normalise(model.info.preprocess.pixels(data.of("test")[0].path))[
        None
    ].transpose(0, 3, 1, 2)
    scores = forward.logits(loaded.graph, loaded.weights, batch)[0]
    assert scores.argmax() == data.of("test")[0].label
    first_head = trained[0]
    chosen, start = (
        np.linalg.norm(each.weights["classifier.weight"])
        for each in (first_head.model, first_head.start)
    )
    assert first_head.c > START_C  # else both are the same
    assert start < chosen
