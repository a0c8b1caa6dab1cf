"""Fine-tuning of a real network on crops of photos: results, interruptions, refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edge_effnet.apps.training.fine_tuning import loop
from edge_effnet.apps.training.fine_tuning.fine_tune import fine_tune, retrain
from edge_effnet.apps.training.fine_tuning.recipes import RECIPES, Recipe
from edge_effnet.apps.training.fine_tuning.settings import FineTuneSettings
from edge_effnet.apps.training.fine_tuning.state import identity
from edge_effnet.apps.training.metrics import EpochMetrics
from edge_effnet.apps.training.samples import TrainingData
from edge_effnet.calibration.passes.fold import fold_batch_norm
from edge_effnet.errors import ImageError, ModelFileError, OutputError, UsageError
from edge_effnet.model import Model
from support.small_training import network, photos


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    return photos(tmp_path_factory.mktemp("photos"))


def settings(**changes: object) -> FineTuneSettings:
    return FineTuneSettings(**{"epochs": 3, "threads": 1, **changes})  # type: ignore[arg-type]


def with_recipe(monkeypatch: pytest.MonkeyPatch, **changes: object) -> Recipe:
    recipe = replace(RECIPES["default"], **changes)  # type: ignore[arg-type]
    monkeypatch.setitem(RECIPES, "default", recipe)
    return recipe


def same_weights(one: Model, other: Model) -> bool:
    return all(np.array_equal(one.weights[name], other.weights[name]) for name in one.weights)


class Stopped(Exception):
    """Stands for Ctrl-C."""


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_training_lowers_the_loss(
    recipe: str, data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RECIPES, recipe, replace(RECIPES[recipe], batch=8, warmup_epochs=0.5))
    rows: list[EpochMetrics] = []
    model = network()
    trained = fine_tune(
        model,
        data,
        settings(recipe=recipe, epochs=4),
        state=tmp_path / "state.pt",
        on_epoch=rows.append,
    )
    assert trained is not model
    assert list(trained.weights) == list(model.graph.parameter_shapes)
    assert [row.epoch for row in rows] == [1, 2, 3, 4]
    # The averages of the papers' recipes, which are what is validated, follow slowly.
    metric = "train_loss" if recipe == "default" else "val_loss"
    assert getattr(rows[-1], metric) < getattr(rows[0], metric)
    sizes = [27, 39, 52, 64] if recipe == "efficientnetv2" else [64] * 4
    assert [row.image_size for row in rows] == sizes
    statistics = [name for name in model.weights if name.endswith("running_mean")]
    equal = all(np.array_equal(model.weights[n], trained.weights[n]) for n in statistics)
    assert equal is (recipe == "default")


@pytest.mark.slow
@pytest.mark.parametrize("frozen", [0, 3])
def test_an_interrupted_training_ends_with_the_same_weights(
    frozen: int, data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_recipe(monkeypatch, frozen_stages=frozen, views=2, drop_connect=0.2, mixup=0.2, batch=8)
    model = network()
    expected = fine_tune(model, data, settings(), state=tmp_path / "whole.pt")
    assert not same_weights(model, expected)
    steps = 3 * 24 // 8
    for last in range(1, steps, 2):  # in the middle of epochs and at their ends

        def stop(step: str, done: int, total: int, last: int = last) -> None:
            if step == loop.STEP and done == last:
                assert total == steps
                raise Stopped

        with pytest.raises(Stopped):
            fine_tune(model, data, settings(), state=tmp_path / "state.pt", progress=stop)
    rows: list[EpochMetrics] = []
    state = tmp_path / "state.pt"
    resumed = fine_tune(model, data, settings(), state=state, on_epoch=rows.append)
    assert same_weights(expected, resumed)
    assert [row.epoch for row in rows] == [1, 2, 3]
    again = fine_tune(model, data, settings(), state=state)  # nothing is left to do
    assert same_weights(expected, again)


@pytest.mark.slow
def test_cached_features_train_as_views_that_are_computed_again(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_recipe(monkeypatch, frozen_stages=3, views=2)
    model = network()
    cached = fine_tune(model, data, settings(), state=tmp_path / "cached.pt")
    monkeypatch.setattr("edge_effnet.apps.training.fine_tuning.frozen_features.BUDGET", 0)
    computed = fine_tune(model, data, settings(), state=tmp_path / "computed.pt")
    for name, weight in cached.weights.items():
        frozen = name.startswith(("stem", "stages.0.", "stages.1.", "stages.2."))
        assert np.array_equal(weight, model.weights[name]) is (frozen or "running" in name), name
        # Features of other batch sizes differ in the last bits, which AdamW amplifies.
        moved = np.linalg.norm(weight - model.weights[name])
        assert np.linalg.norm(weight - computed.weights[name]) <= 0.1 * moved, name
    assert sorted(tmp_path.iterdir()) == [tmp_path / "cached.pt", tmp_path / "computed.pt"]


@pytest.mark.slow
@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_mixed_precision_trains_as_float32_does(
    precision: torch.dtype, data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_recipe(monkeypatch, batch=4)
    model, rows = network(), []
    for kind in (None, precision):  # CPUs compute both too, slowly
        monkeypatch.setattr(loop, "mixed_precision", lambda device, kind=kind: kind)
        state = tmp_path / f"{kind}.pt"
        fine_tune(model, data, settings(epochs=2), state=state, on_epoch=rows.append)
    losses = [row.train_loss for row in rows]
    assert losses[:2] != losses[2:]
    if precision is torch.bfloat16:
        assert losses[:2] == pytest.approx(losses[2:], rel=0.05)
    else:  # the first steps are skipped until gradients scaled by less do not overflow
        assert losses[3] < losses[2] < 1.6 * losses[0]


def test_a_full_disk_is_named(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int, start: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OutputError, match=r"MB of features in .*: No space left on device; free"):
        fine_tune(network(), data, settings(), state=tmp_path / "state.pt")


def test_a_teacher_is_known_by_its_content(data: TrainingData, tmp_path: Path) -> None:
    def of(teacher: Path | None) -> str:
        return identity(network(), data, settings(teacher=teacher))["teacher"]

    first, copy, other = (tmp_path / name for name in ("a.safetensors", "b.safetensors", "c.pth"))
    first.write_bytes(b"weights")
    copy.write_bytes(b"weights")
    other.write_bytes(b"other weights")
    assert of(None) == ""
    assert of(first) == of(copy) == of(tmp_path / "." / ".." / tmp_path.name / "a.safetensors")
    assert len({of(None), of(first), of(other)}) == 3


def test_a_photo_that_disappeared_is_named(tmp_path: Path) -> None:
    data = photos(tmp_path / "photos")
    lost = data.of("train")[-1].path
    lost.unlink()
    with pytest.raises(ImageError, match=f"there is no image {lost}"):
        fine_tune(network(), data, settings(), state=tmp_path / "state.pt")


@pytest.mark.slow
def test_all_epochs_are_repeated_with_the_validation_photos(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_recipe(monkeypatch, batch=6)
    model, state = network(), tmp_path / "state.pt"
    tuned = fine_tune(model, data, settings(), state=state)
    seen_steps: set[tuple[int, int]] = set()
    steps = settings().total_epochs * (24 + 18) // 6

    def stop(step: str, done: int, total: int) -> None:
        if step.startswith(loop.STEP) and (done, total) not in seen_steps:
            seen_steps.add((done, total))
            if len(seen_steps) == 10:  # in the second epoch
                raise Stopped

    with pytest.raises(Stopped):
        retrain(model, tuned, data, settings(), state=state, progress=stop)
    assert len(list(tmp_path.iterdir())) == 2
    final = retrain(model, tuned, data, settings(), state=state, progress=stop)
    assert max(seen_steps) == (steps, steps)
    assert list(tmp_path.iterdir()) == [state]
    assert not same_weights(final, tuned)
    again = retrain(model, tuned, data, settings(), state=state)
    assert same_weights(final, again)
    assert retrain(model, model, data, settings(), state=state) is model
    with_recipe(monkeypatch, retrain=False)
    assert retrain(model, tuned, data, settings(), state=state) is tuned


@pytest.mark.slow
def test_epochs_start_from_another_head_and_are_compared_with_the_model(
    data: TrainingData, tmp_path: Path
) -> None:
    model, classifier = network(), "classifier.weight"
    opposite = replace(model, weights={**model.weights, classifier: -model.weights[classifier]})
    states = {}
    for name, start in (("own", None), ("other", opposite)):
        path = tmp_path / f"{name}.pt"
        fine_tune(model, data, settings(epochs=1), state=path, start=start)
        states[name] = torch.load(path, weights_only=True)
    assert states["own"]["head"] == states["other"]["head"]
    own, other = (
        next(values for key, values in each["network"].items() if key.endswith(classifier))
        for each in states.values()
    )
    assert (own * other).sum() < 0


def test_a_cosine_schedule_is_not_cut_short() -> None:
    """On flowers5 the accuracy rose most in the last epochs, when the learning rate falls."""
    for recipe in RECIPES.values():
        assert recipe.schedule != "cosine" or recipe.patience is None, recipe.name


@pytest.mark.slow
def test_a_training_can_be_extended(data: TrainingData, tmp_path: Path) -> None:
    state, model = tmp_path / "state.pt", network()
    fine_tune(model, data, settings(epochs=2), state=state)
    rows: list[EpochMetrics] = []
    fine_tune(model, data, settings(epochs=4), state=state, on_epoch=rows.append)
    assert [row.epoch for row in rows] == [1, 2, 3, 4]


@pytest.mark.slow
def test_training_stops_when_validation_stops_improving(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_recipe(monkeypatch, patience=1, learning_rate=1e-9)
    monkeypatch.setattr(loop.Progressed, "after", _never_better)
    rows: list[EpochMetrics] = []
    model = network()
    trained = fine_tune(model, data, settings(), state=tmp_path / "state.pt", on_epoch=rows.append)
    assert [row.epoch for row in rows] == [1]
    assert trained is model


def _never_better(
    self: loop.Progressed, row: EpochMetrics, score: object, weights: object
) -> loop.Progressed:
    return replace(self, history=(*self.history, row))


@pytest.mark.slow
def test_a_loss_that_is_not_finite_keeps_the_best_epoch(
    data: TrainingData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with_recipe(monkeypatch, batch=8)
    model, state = network(), tmp_path / "state.pt"
    expected = fine_tune(model, data, settings(epochs=3), state=tmp_path / "other.pt")

    def diverge(step: str, done: int, total: int) -> None:
        if done == 7:  # in the third epoch
            monkeypatch.setattr(torch, "isfinite", lambda values: torch.tensor(False))

    trained = fine_tune(model, data, settings(epochs=4), state=state, progress=diverge)
    assert "the loss of epoch 3 is not a finite number" in capsys.readouterr().err
    assert trained is not model
    assert not same_weights(trained, expected)
    assert len(torch.load(state, weights_only=True)["history"]) == 2


@pytest.mark.slow
def test_folded_networks_can_be_trained(data: TrainingData, tmp_path: Path) -> None:
    model = fold_batch_norm(network())
    trained = fine_tune(model, data, settings(), state=tmp_path / "state.pt")
    assert trained is not model
    assert trained.graph == model.graph
    with pytest.raises(UsageError, match="BatchNorm is folded") as refusal:
        fine_tune(model, data, settings(recipe="efficientnet"), state=tmp_path / "other.pt")
    assert refusal.value.hint == "use recipe='default'"


@pytest.mark.slow
def test_a_teacher_changes_the_result_and_needs_the_same_classes(
    data: TrainingData, tmp_path: Path
) -> None:
    from edge_effnet import save

    model = network()
    trained = fine_tune(model, data, settings(), state=tmp_path / "plain.pt")
    teacher = save(trained, tmp_path / "teacher.safetensors")
    taught = fine_tune(model, data, settings(teacher=teacher), state=tmp_path / "taught.pt")
    assert not same_weights(trained, taught)
    other = save(network(("a", "b", "coffee")), tmp_path / "other.safetensors")
    with pytest.raises(
        UsageError, match=r"other classes than the photos.*lacks astronaut, chelsea"
    ):
        fine_tune(model, data, settings(teacher=other), state=tmp_path / "other.pt")


def test_a_network_of_other_classes_is_refused(data: TrainingData, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has the classes a, b, c, the photos have astronaut"):
        fine_tune(network(tuple("abc")), data, settings(), state=tmp_path / "state.pt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("split", ["train", "val"])
def test_both_splits_are_needed(split: str, data: TrainingData, tmp_path: Path) -> None:
    others = tuple(sample for sample in data.samples if sample.split != split)
    with pytest.raises(UsageError, match=f"no photo is in the split '{split}'"):
        fine_tune(network(), replace(data, samples=others), settings(), state=tmp_path / "s.pt")


@pytest.mark.slow
def test_a_state_of_another_training_is_refused(data: TrainingData, tmp_path: Path) -> None:
    state, model = tmp_path / "state.pt", network()
    fine_tune(model, data, settings(epochs=1), state=state)
    with pytest.raises(UsageError, match="was started with other settings"):
        fine_tune(model, data, settings(seed=1), state=state)
    fewer = replace(data, samples=data.samples[1:])
    with pytest.raises(UsageError, match="was started with other photos and settings"):
        fine_tune(model, fewer, settings(seed=1), state=state)
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(ModelFileError, match=r"cannot read .*state\.pt.*remove it"):
        fine_tune(model, data, settings(epochs=1), state=state)


@pytest.mark.parametrize("device", ["cuda", "tpu", "no device"])
def test_devices_that_are_not_there_are_named(
    device: str, data: TrainingData, tmp_path: Path
) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UsageError, match=device):
        fine_tune(network(), data, settings(device=device), state=tmp_path / "state.pt")


def test_unknown_recipes_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown fine-tuning recipe 'best'; known: default"):
        FineTuneSettings("best")
    with pytest.raises(UsageError, match="epochs must be at least 1"):
        FineTuneSettings(epochs=0)


@pytest.mark.slow
def test_all_layers_of_an_adapted_network_are_trained(data: TrainingData, tmp_path: Path) -> None:
    model = network()
    assert RECIPES["default"].frozen_stages
    adapted = replace(model, info=replace(model.info, untrained=True))
    trained = fine_tune(adapted, data, settings(epochs=1), state=tmp_path / "state.pt")
    assert not trained.info.untrained
    assert not np.array_equal(
        trained.weights["stem.conv.weight"], model.weights["stem.conv.weight"]
    )
