"""Int8-aware training of a small network: kept only if better, resumable, reproducible."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch", reason="the extra 'train'")
pytest.importorskip("onnxruntime")
pytest.importorskip("skimage", reason="the photos")

import torch

from edge_effnet.apps.training.int8_aware.network import FakeQuantizedNetwork
from edge_effnet.apps.training.int8_aware.photos import Photos, split
from edge_effnet.apps.training.int8_aware.refine import refine
from edge_effnet.apps.training.int8_aware.refinement import Fidelity, RefineSettings
from edge_effnet.apps.training.metrics import EpochMetrics
from edge_effnet.calibration import fidelity
from edge_effnet.calibration.calibrate import calibrate, correct_openvino_biases
from edge_effnet.calibration.passes.prepare import prepare
from edge_effnet.calibration.plan import QuantPlan
from edge_effnet.calibration.quantized_model import QuantizedModel
from edge_effnet.calibration.samples.photos import read_samples
from edge_effnet.converters.onnx_engine import OnnxEngine
from edge_effnet.errors import UsageError
from edge_effnet.model import Model
from edge_effnet.progress import ignore_progress
from support import tflite_models as small
from support.small_plans import IMAGENET, pair_violations

SETTINGS = RefineSettings(epochs=3, batch=4, scale_rate=0.1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    """24 crops of real photos."""
    folder = tmp_path_factory.mktemp("photos")
    for index, pixels in enumerate(small.photos(24, side=96)):
        Image.fromarray(pixels).save(folder / f"{index:02}.png")
    paths = tuple(sorted(folder.iterdir()))
    return Photos(paths)


@pytest.fixture(scope="module")
def model() -> Model:
    model = small.model_of(small.SWISH)
    return replace(model, info=replace(model.info, preprocess=IMAGENET))


@pytest.fixture(scope="module")
def quantized(model: Model, photos: Photos) -> QuantizedModel:
    """A plan whose activation scales are e times too large, so that there is much to learn."""
    samples = read_samples(photos.paths, model.info.preprocess)
    calibrated = calibrate(model, samples, OnnxEngine(1))
    network = FakeQuantizedNetwork(calibrated)
    with torch.no_grad():
        network.log_scales += 1
    plan = network.quant_plan()
    plan = correct_openvino_biases(calibrated, plan, samples, OnnxEngine(1), ignore_progress)
    return QuantizedModel(prepare(model).model, plan, model.info)


def labelled(photos: Photos) -> Photos:
    return Photos(photos.paths, tuple(index % 3 for index in range(len(photos.paths))))


def plan_of(quantized: QuantizedModel) -> QuantPlan:
    assert isinstance(quantized.plan, QuantPlan)
    return quantized.plan


def same(one: QuantPlan, other: QuantPlan) -> bool:
    layers = all(
        np.array_equal(getattr(layer, part), getattr(other.layers[name], part))
        for name, layer in one.layers.items()
        for part in ("weight", "bias", "scale")
    )
    biases = all(
        np.array_equal(bias, other.biases["openvino"][name])
        for name, bias in one.biases["openvino"].items()
    )
    return layers and biases and one.quant_params == other.quant_params


def test_a_better_network_is_kept_with_biases_for_every_format(
    model: Model, quantized: QuantizedModel, photos: Photos, tmp_path: Path
) -> None:
    train, held_out = split(photos, 0)
    epochs: list[EpochMetrics] = []
    result = refine(quantized, model, train, held_out, SETTINGS, on_epoch=epochs.append)
    assert [epoch.epoch for epoch in epochs] == [1, 2, 3]
    assert epochs[-1].train_loss < epochs[0].train_loss
    divergences = [epoch.val_loss for epoch in epochs if epoch.val_loss is not None]
    assert min(divergences) == pytest.approx(result.after["tflite"].loss, rel=0.05)
    assert result.improved
    assert set(result.before) == set(result.after) == {"tflite", "openvino"}
    for placement, before in result.before.items():
        assert result.after[placement].sqnr_db > before.sqnr_db + 3
    assert str(result) == result.note
    assert result.note.startswith(f"epoch {result.epoch} was kept; on the validation photos")
    assert "TFLite: loss" in result.note
    plan = plan_of(result.quantized)
    assert not same(plan, plan_of(quantized))
    assert pair_violations(quantized.model, plan) == []
    loaded = QuantizedModel.load(result.quantized.save(tmp_path / "refined.safetensors"))
    assert same(plan_of(loaded), plan)


def test_the_given_network_is_returned_unless_training_improves_it(
    model: Model, quantized: QuantizedModel, photos: Photos
) -> None:
    train, held_out = split(photos, 0)
    destructive = replace(SETTINGS, epochs=1, weight_rate=300.0)
    result = refine(quantized, model, train, held_out, destructive)
    assert result.quantized is quantized
    assert not result.improved
    assert "not kept: no epoch lowered the loss" in str(result)


def test_a_network_whose_file_fails_the_fidelity_check_is_not_kept(
    model: Model, quantized: QuantizedModel, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, held_out = split(photos, 0)
    monkeypatch.setattr(fidelity, "LEAST_AGREEMENT", 1.01)
    result = refine(quantized, model, train, held_out, SETTINGS)
    assert result.quantized is quantized
    assert "was not written" in result.reason


def test_an_interrupted_training_resumes_to_the_same_plan(
    model: Model, quantized: QuantizedModel, photos: Photos, tmp_path: Path
) -> None:
    train, held_out = split(photos, 0)
    whole = refine(quantized, model, train, held_out, SETTINGS, state=tmp_path / "whole.pt")

    def interrupt(epoch: EpochMetrics) -> None:
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    state = tmp_path / "state.pt"
    with pytest.raises(KeyboardInterrupt):
        refine(quantized, model, train, held_out, SETTINGS, state=state, on_epoch=interrupt)
    epochs: list[int] = []
    resumed = refine(
        quantized, model, train, held_out, SETTINGS, state=state,
        on_epoch=lambda epoch: epochs.append(epoch.epoch),
    )  # fmt: skip
    assert epochs == [1, 2, 3]  # two of them from the state
    assert same(plan_of(resumed.quantized), plan_of(whole.quantized))


def test_a_state_of_another_training_or_a_damaged_one_is_not_resumed(
    model: Model, quantized: QuantizedModel, photos: Photos, tmp_path: Path
) -> None:
    train, held_out = split(photos, 0)
    once = replace(SETTINGS, epochs=1)
    state = tmp_path / "state.pt"
    epochs: list[EpochMetrics] = []
    for seed in (0, 1):
        settings = replace(once, seed=seed)
        refine(quantized, model, train, held_out, settings, state=state, on_epoch=epochs.append)
    state.write_bytes(b"damaged")
    refine(quantized, model, train, held_out, once, state=state, on_epoch=epochs.append)
    assert [epoch.epoch for epoch in epochs] == [1, 1, 1]


def test_labels_give_an_accuracy(model: Model, quantized: QuantizedModel, photos: Photos) -> None:
    train, held_out = split(labelled(photos), 0)
    result = refine(quantized, model, train, held_out, replace(SETTINGS, epochs=1))
    assert result.before["tflite"].top1 is not None
    without = refine(quantized, model, train, Photos(held_out.paths), replace(SETTINGS, epochs=1))
    assert without.before["tflite"].top1 is None
    assert without.before["tflite"].loss == result.before["tflite"].loss


def test_one_photo_in_four_of_every_class_is_held_out(photos: Photos) -> None:
    photos = labelled(photos)
    train, held_out = split(photos, 3)
    assert len(held_out.paths) == 6
    assert sorted(train.paths + held_out.paths) == sorted(photos.paths)
    assert held_out.labels is not None
    assert [held_out.labels.count(label) for label in range(3)] == [2, 2, 2]
    with pytest.raises(UsageError, match="at least 2 photos"):
        split(Photos(photos.paths[:1]), 0)


def test_a_gain_must_exceed_chance_and_cost_no_accuracy() -> None:
    before = Fidelity(np.full(100, 1.0, np.float32), 20.0, 1.0, top1=0.9)
    lower = Fidelity(np.full(100, 0.9, np.float32), 21.0, 1.0, top1=0.9)
    assert lower.improves_on(before)
    assert not before.improves_on(before)
    assert not replace(lower, top1=0.89).improves_on(before)
    single = before.losses.copy()
    single[0] = 0.5  # one photo of a hundred gains, the others do not change
    assert not replace(before, losses=single).improves_on(before)
    assert not replace(lower, losses=lower.losses[:1]).improves_on(
        replace(before, losses=before.losses[:1])
    )
