"""Training from photos to files that classify, interrupted, continued, and with bad input."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edge_effnet
from edge_effnet.apps.training.metrics import Metrics
from edge_effnet.apps.training.run import Run
from edge_effnet.apps.training.settings import Settings
from edge_effnet.checkpoints.canonical import save
from edge_effnet.errors import CheckpointError, OutputError, UsageError
from support.command import SCRIPT, call, done, refused, run
from support.flowers import few_flowers
from support.shared import shared

CLASSES = ("daisy", "roses", "sunflowers")
SIDE = 96


@pytest.fixture(scope="module")
def photos() -> Path:
    return shared("few-flowers", lambda folder: few_flowers(folder, CLASSES, 12))


@pytest.fixture(scope="module")
def head_run(photos: Path) -> Path:
    return shared("head-run", lambda folder: trained(photos, folder / "run")) / "run"


def trained(photos: Path, out: Path, **options: Any) -> Run:
    settings = {"recipe": "head", "resolution": SIDE, "threads": 1, **options}
    settings.setdefault("notify", lambda text: None)
    return edge_effnet.train(photos, out=out, progress=False, **settings)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_from_photos_to_a_file_that_classifies(photos: Path, tmp_path: Path) -> None:
    """Three commands, as the README shows them."""
    out = tmp_path / "run"
    text = done(
        run(
            "train", photos, "--recipe", "head", "--resolution", SIDE, "--out", out,
            "--threads", 1, "--json", tmp_path / "train.json", cwd=tmp_path,
        )
    )  # fmt: skip
    assert f"next: edge-effnet export {out} --out out/" in text
    content = json.loads((tmp_path / "train.json").read_text())
    assert content["class_names"] == list(CLASSES)
    assert content["photos"] == {"train": 24, "val": 6, "test": 6}
    done(run("export", out, "--formats", "onnx", "--out", tmp_path / "out", "--threads", 1))
    files = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in files] == [
        "efficientnet-lite0-fp32.onnx",
        "efficientnet-lite0-int8.onnx",
    ]
    card = edge_effnet.open(files[1]).card
    assert card.labels == CLASSES
    assert card.quantization is not None
    assert card.quantization.calibration is not None
    assert card.quantization.calibration.photos == 24
    data = Run.open(out).data()
    for file in files:
        predictions = edge_effnet.open(file).logits([s.path for s in data.samples]).argmax(axis=1)
        right = (predictions == [s.label for s in data.samples]).mean()
        assert right >= 0.9, file  # 30 of the 36 photos are those that the head was fitted to
    done(call("classify", files[1], data.samples[0].path))
    assert "classes          3: daisy, roses, sunflowers" in done(call("info", out))


def test_equal_arguments_give_equal_files(photos: Path, head_run: Path, tmp_path: Path) -> None:
    again = trained(photos, tmp_path / "again")
    for name in ("data.csv", "head.safetensors", "model.safetensors", "predictions.csv"):
        assert digest(again.folder / name) == digest(head_run / name), name


def test_the_accuracy_of_each_split_is_recorded(head_run: Path) -> None:
    opened = Run.open(head_run)
    metrics = opened.metrics()
    assert {(each.split, each.n) for each in metrics.splits} == {
        ("train", 24), ("val", 6), ("test", 6),
    }  # fmt: skip
    assert len(opened.predictions()) == 36
    for each in metrics.splits:
        rows = [row for row in opened.predictions() if row.split == each.split]
        assert sum(row.prediction == row.label for row in rows) / len(rows) == each.top1
    assert [row.epoch for row in opened.epochs()] == list(range(1, 9))
    assert opened.state.stage == "done"
    assert opened.page_file.is_file()


def test_the_head_needs_no_torch(photos: Path, tmp_path: Path) -> None:
    """Without timm the default recipe ends after the head and names the extra."""
    script = (
        "import sys; sys.modules['timm'] = None\n"
        "import edge_effnet\n"
        f"edge_effnet.train({str(photos)!r}, out={str(tmp_path / 'run')!r}, resolution={SIDE})\n"
        "print([name for name in ('torch', 'tensorflow') if name in sys.modules])\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=400
    )
    assert result.stdout == "[]\n"
    assert "only the head was trained: fine-tuning needs the extra 'train'" in result.stderr
    assert Run.open(tmp_path / "run").state.stage == "done"
    result = run(
        "train", photos, "--recipe", "efficientnet", "--out", tmp_path / "other", blocked=["timm"]
    )
    assert "fine-tuning needs timm of the extra 'train'" in refused(result)
    assert not (tmp_path / "other").exists()
    result = run("train", "--out", tmp_path / "run", "--more", 2, blocked=["timm"])
    assert refused(result).endswith("'")  # the line for pip; --recipe head is no alternative
    assert Run.open(tmp_path / "run").state.stage == "done"


@pytest.mark.slow
def test_a_killed_training_goes_on(photos: Path, head_run: Path, tmp_path: Path) -> None:
    """Killed after each file that appears in its folder, then resumed: the same bytes."""
    out = tmp_path / "run"
    command = [
        str(SCRIPT), "train", str(photos), "--recipe", "head", "--resolution", str(SIDE),
        "--threads", "1", "--out", str(out),
    ]  # fmt: skip
    kills = 0
    for name in ("run.json", "data.csv", "features", "head.safetensors", "metrics.json"):
        resume = ["--resume"] if (out / "run.json").exists() else []
        process = subprocess.Popen([*command, *resume], stderr=subprocess.DEVNULL)
        while process.poll() is None and not (out / name).exists():
            time.sleep(0.002)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills >= 3
    done(run(*command[1:], "--resume"))
    for name in ("data.csv", "model.safetensors", "predictions.csv"):
        assert digest(out / name) == digest(head_run / name), name


def test_resuming_checks_settings_and_classes(
    photos: Path, copies: tuple[Path, Path], tmp_path: Path
) -> None:
    out, other = copies
    with pytest.raises(UsageError, match="holds a training already"):
        trained(photos, out)
    with pytest.raises(UsageError, match="started with seed=0, not 3"):
        trained(photos, out, resume=True, seed=3)
    with pytest.raises(UsageError, match="has no epochs"):
        trained(photos, out, more=2)
    (other / "roses").rename(other / "tulips")
    with pytest.raises(UsageError, match=r"tulips added, roses missing.*restore the photos"):
        trained(other, out, resume=True)
    shutil.copytree(photos / "roses", other / "roses")
    with pytest.raises(UsageError, match="tulips added; give more=EPOCHS"):
        trained(other, out, resume=True)
    shutil.rmtree(other / "roses")
    with pytest.raises(UsageError, match="lack classes"):
        trained(other, out, more=2)
    with pytest.raises(UsageError, match="there is no folder"):
        trained(photos, tmp_path / "nothing", resume=True)


def test_moved_photos_are_found_again(photos: Path, head_run: Path, tmp_path: Path) -> None:
    out, moved = tmp_path / "run", tmp_path / "moved"
    shutil.copytree(head_run, out)
    shutil.copytree(photos, moved)
    content = json.loads((out / "run.json").read_text())
    content["state"]["stage"] = "head"
    content["settings"]["photos"] = str(tmp_path / "gone")
    (out / "run.json").write_text(json.dumps(content))
    run_again = trained(moved, out, resume=True)
    assert run_again.settings.photos == str(moved)
    assert digest(out / "model.safetensors") == digest(head_run / "model.safetensors")


@pytest.fixture
def copies(photos: Path, head_run: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A finished run, and a folder with its photos, that a test may change."""
    return shutil.copytree(head_run, tmp_path / "run"), shutil.copytree(photos, tmp_path / "photos")


def test_refused_photos_of_an_added_class_leave_the_run_as_it_was(
    copies: tuple[Path, Path], tmp_path: Path
) -> None:
    out, more = copies
    (more / "tulips").mkdir()
    (more / "tulips" / "broken.jpg").write_bytes(b"no photo")
    before = {path.name: digest(path) for path in out.iterdir() if path.is_file()}
    notes: list[str] = []

    def extend(**options: Any) -> None:
        edge_effnet.train(more, out=out, more=1, threads=1, notify=notes.append, **options)

    with pytest.raises(UsageError, match="tulips"):
        extend(progress=False)
    few_flowers(tmp_path / "new", ("tulips",), 12)
    shutil.copytree(tmp_path / "new" / "tulips", more / "tulips", dirs_exist_ok=True)

    def interrupt(step: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extend(progress=interrupt)
    assert notes[-1] == f"the training in {out} is as it was before: extend it again"
    assert {path.name: digest(path) for path in out.iterdir() if path.is_file()} == before
    assert Run.open(out).state.stage == "done"


def test_added_classes_keep_the_rows_of_the_others(
    copies: tuple[Path, Path], tmp_path: Path
) -> None:
    out, more = copies
    few_flowers(tmp_path / "new", ("dandelion",), 12)
    (tmp_path / "new" / "dandelion").rename(more / "dandelion")
    run = Run.open(out)
    replace(run, settings=replace(run.settings, teacher=str(tmp_path / "teacher.pth"))).write()
    shutil.copy(run.model_file, run.teacher_file)
    before = run.model()
    notes: list[str] = []
    result = edge_effnet.train(more, out=out, more=1, threads=1, progress=False,
                               notify=notes.append)  # fmt: skip
    assert "dandelion added to 3 classes" in notes
    after = result.model()
    assert after.info.labels == ("daisy", "dandelion", "roses", "sunflowers")
    metrics = result.metrics()
    assert metrics.class_names == after.info.labels
    assert result.settings.keep_rows
    assert result.settings.teacher is None  # it has the old classes
    assert not result.teacher_file.exists()
    assert "the teacher does not know the added classes and is not used any more" in notes
    # The rows of old classes point where they did, unlike that of the new class.
    old, new = (each.weights["classifier.weight"] for each in (before, after))
    for index, name in enumerate(CLASSES):
        row, kept = old[index], new[after.info.labels.index(name)]
        assert row @ kept > 0.9 * (row @ row) ** 0.5 * (kept @ kept) ** 0.5


def test_weights_of_another_run(photos: Path, head_run: Path, tmp_path: Path) -> None:
    result = trained(photos, tmp_path / "run", weights=head_run, resolution=None)
    assert result.settings.keep_rows
    assert result.model().graph.input_shape[1] == SIDE


def test_a_run_among_the_photos_and_names_of_a_file(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    names = tmp_path / "names.txt"
    names.write_text("sunflowers\nroses\ndaisy\n")
    first = trained(folder, folder / "run", class_names=names)
    assert first.class_names == ("sunflowers", "roses", "daisy")
    assert trained(folder, folder / "run", resume=True).class_names == first.class_names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": "none"}, "needs labels"),
        ({"recipe": "best"}, "unknown training recipe"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"variant": "b99"}, "b99"),
        ({"variant": "b0"}, "no package with ImageNet weights .*efficientnet_b0.*variant='lite0'"),
        ({"resume": True, "more": 3}, "not both at once"),
        ({"more": 0}, "there is no folder"),
    ],
)
def test_bad_options_leave_no_folder(
    photos: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        trained(photos, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_photos_that_cannot_be_trained_on(tmp_path: Path) -> None:
    few = few_flowers(tmp_path / "photos", ("roses", "tulips"), 1)
    message = refused(call("train", few, "--resolution", SIDE, "--out", tmp_path / "run"))
    assert message.startswith("2 of 2 classes have fewer than two usable photos")
    assert (
        refused(call("train", "--out", tmp_path / "run")) == "a training needs a folder of photos"
    )
    assert "does not exist" in refused(call("train", tmp_path / "x", "--out", tmp_path / "y"))
    assert not (tmp_path / "run").exists()
    # A run that was killed before its photos were accepted holds nothing, and may be replaced.
    settings = Settings(str(few), "efficientnet-lite0", "imagenet")
    (tmp_path / "run").mkdir()
    Run(tmp_path / "run", settings).write()
    shutil.rmtree(few)
    few_flowers(few, ("roses", "tulips"), 8)
    assert trained(few, tmp_path / "run").state.stage == "done"


def test_damaged_weights_are_refused(photos: Path, head_run: Path, tmp_path: Path) -> None:
    """NaN is refused before anything is written, an overflow before a classifier is fitted."""
    model = Run.open(head_run).model()
    name = next(name for name in model.weights if name.endswith("project_bn.weight"))
    for value, message in ((np.nan, "cannot be trained from: NaN"), (3e38, "not finite numbers")):
        weights = {**model.weights, name: np.full_like(model.weights[name], value)}
        damaged = save(replace(model, weights=weights), tmp_path / "damaged.safetensors")
        with pytest.raises(CheckpointError, match=message):
            trained(photos, tmp_path / "run", weights=damaged, resolution=None)


def test_a_full_disk_keeps_the_run(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills up while the checkpoint is written; the run goes on when there is space."""

    def full(path: Path, data: bytes) -> None:
        raise OutputError(f"cannot write {path}: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("edge_effnet.checkpoints.canonical.write_bytes", full)
        notes: list[str] = []
        with pytest.raises(OutputError, match="No space left"):
            trained(photos, tmp_path / "run", notify=notes.append)
        assert notes[-1].endswith(f"the training in {tmp_path / 'run'} goes on with resume=True")
    assert Run.open(tmp_path / "run").state.stage == "head"
    finished = trained(photos, tmp_path / "run", resume=True)
    assert isinstance(finished.metrics(), Metrics)


def test_a_removed_network_is_trained_again(photos: Path, head_run: Path, tmp_path: Path) -> None:
    shutil.copytree(head_run, tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").unlink()
    again = trained(photos, tmp_path / "run", resume=True)
    assert digest(again.model_file) == digest(Run.open(head_run).model_file)


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(
        [str(SCRIPT), "train", str(photos), "--recipe", "head", "--out", str(out)],
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not (out / "features").exists():
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=400)
    assert process.returncode == 130
    assert f"note: the training in {out} goes on with --resume" in errors
    assert Run.open(out).state.stage == "head"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_fine_tuning_then_more_epochs(tmp_path: Path) -> None:
    photos, out = few_flowers(tmp_path / "photos", CLASSES[:2], 6), tmp_path / "run"
    small: dict[str, Any] = {"resolution": 64, "recipe": "default", "int8_aware": False}
    first = trained(photos, out, **small, epochs=1)
    assert set(first.state.improved) == {"head", "fine_tuning"}
    more = trained(photos, out, **small, more=1)
    epochs = [row.epoch for row in more.epochs() if row.stage == "fine_tuning"]
    assert epochs == [1, 2]
    assert more.settings.more == 1
    assert all(stage.seconds > 0 for stage in more.metrics().stages)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_int8_aware_epochs_after_an_interruption(tmp_path: Path) -> None:
    """As if the training had been killed after fine-tuning, in which no epoch was better."""
    photos, out = few_flowers(tmp_path / "photos", CLASSES[:2], 6), tmp_path / "run"
    trained(photos, out, resolution=64)
    content = json.loads((out / "run.json").read_text())
    content["settings"]["recipe"] = "default"
    content["state"]["stage"] = "int8_aware"
    content["state"]["improved"]["fine_tuning"] = False
    (out / "run.json").write_text(json.dumps(content))
    resumed = trained(photos, out, resolution=64, recipe="default", resume=True)
    assert resumed.state.stage == "done"
    assert resumed.quantized_file.exists() is resumed.state.improved["int8_aware"]
    assert [row.stage for row in resumed.metrics().stages][-1] == "int8_aware"
    note = resumed.state.notes["int8_aware"]
    assert note == "no epoch lowered the loss" or "on the validation photos" in note
