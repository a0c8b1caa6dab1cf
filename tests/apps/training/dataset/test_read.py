"""Training data of folders with broken, copied, similar, grey, rotated and few photos."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_effnet.apps.training.dataset.inspection import difference_hash, inspect_photo
from edge_effnet.apps.training.dataset.near_duplicates import groups, near_duplicates
from edge_effnet.apps.training.dataset.read import read_training_data
from edge_effnet.apps.training.samples import TrainingData
from edge_effnet.errors import UsageError
from edge_effnet.preprocess import load_image
from support.photo_folders import make_classes, photo


def kinds(data: TrainingData) -> dict[str, tuple[str, ...]]:
    return {finding.kind: finding.files for finding in data.findings}


def message(data: TrainingData, kind: str) -> str:
    return next(finding.message for finding in data.findings if finding.kind == kind)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_classes(tmp_path / "photos", {"a": 24, "b": 24})


def test_good_photos_and_the_same_splits_again(folder: Path) -> None:
    data = read_training_data(folder, side=48)
    assert data == read_training_data(folder, side=48)
    assert data.counts() == (24, 24)
    assert data.counts("val") == data.counts("test") == (4, 4)
    assert {finding.kind for finding in data.findings} == {"split", "tiny-class"}
    assert data.of("train") != read_training_data(folder, seed=1, side=48).of("train")


def test_broken_photos_are_left_out(folder: Path) -> None:
    (folder / "a" / "empty.jpg").write_bytes(b"")
    (folder / "a" / "text.png").write_text("no picture")
    photo(1).resize((400, 400)).save(folder / "b" / "cut.jpg")
    data = (folder / "b" / "cut.jpg").read_bytes()
    (folder / "b" / "cut.jpg").write_bytes(data[: len(data) // 2])
    result = read_training_data(folder)
    assert kinds(result)["broken"] == ("a/empty.jpg", "a/text.png", "b/cut.jpg")
    assert "3 photos cannot be used" in message(result, "broken")
    assert result.counts() == (24, 24)


def test_photos_whose_names_are_not_utf8_are_left_out(folder: Path) -> None:
    shutil.copy(folder / "a" / "0.png", folder / "a" / "caf\udce9.png")
    (folder / "b" / "0.png").rename(folder / "b" / "na\udcefve.png")
    data = read_training_data(folder)
    assert kinds(data)["broken"] == ("a/caf\udce9.png", "b/na\udcefve.png")
    assert "its name is not UTF-8: rename it" in message(data, "broken")
    assert "copy" not in kinds(data)
    assert data.counts() == (24, 23)


def test_copies_and_contradictions_are_left_out(folder: Path) -> None:
    shutil.copy(folder / "a" / "0.png", folder / "a" / "copy.png")
    shutil.copy(folder / "a" / "1.png", folder / "b" / "other.png")
    data = read_training_data(folder)
    assert kinds(data)["copy"] == ("a/copy.png",)
    assert message(data, "copy") == "1 photo is a copy of another and is left out: a/copy.png"
    assert kinds(data)["contradiction"] == ("a/1.png", "b/other.png")
    assert data.counts() == (23, 24)


def test_a_copy_of_a_test_photo_is_not_trained_on(tmp_path: Path) -> None:
    for seed, split in enumerate(("train", "test")):
        make_classes(tmp_path / split, {"a": 6, "b": 6}, seed * 100)
    shutil.copy(tmp_path / "test" / "a" / "0.png", tmp_path / "train" / "a" / "leak.png")
    data = read_training_data(tmp_path)
    assert kinds(data)["copy"] == ("train/a/leak.png",)
    assert sum(data.counts("test")) == 12


def test_near_duplicates_share_a_split_or_are_reported(folder: Path, tmp_path: Path) -> None:
    for number in range(8):
        original = Image.open(folder / "a" / f"{number}.png")
        original.resize((40, 40)).save(folder / "a" / f"{number}-small.jpg", quality=60)
    data = read_training_data(folder, side=32)
    split = {sample.name: sample.split for sample in data.samples}
    assert len({split[f"a/{n}.png"] for n in range(8)}) > 1
    assert all(split[f"a/{n}.png"] == split[f"a/{n}-small.jpg"] for n in range(8))
    assert len(kinds(data)["near-duplicate"]) == 16
    for name in ("train", "test"):
        make_classes(tmp_path / "fixed" / name, {"a": 3, "b": 3}, 500 * (name == "test"))
    leak = Image.open(tmp_path / "fixed" / "test" / "b" / "1.png").resize((64, 64))
    leak.save(tmp_path / "fixed" / "train" / "b" / "leak.png")
    fixed = read_training_data(tmp_path / "fixed")
    assert "2 photos look alike but lie in different splits" in message(fixed, "near-duplicate")


def test_similar_photos_of_two_classes(folder: Path) -> None:
    Image.open(folder / "a" / "3.png").resize((60, 60)).save(folder / "b" / "again.png")
    assert kinds(read_training_data(folder))["similar-classes"] == ("a/3.png", "b/again.png")


def test_grey_rotated_and_small_photos(folder: Path) -> None:
    for number in range(3):
        path = folder / "a" / f"{number}.png"
        Image.open(path).convert("L").save(path)
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(999).save(folder / "b" / "turned.jpg", exif=exif)
    data = read_training_data(folder, side=50)
    assert kinds(data)["grey"] == ("a/0.png", "a/1.png", "a/2.png")
    assert "most in a 3 of 24" in message(data, "grey")
    assert kinds(data)["rotated"] == ("b/turned.jpg",)
    assert len(kinds(data)["small"]) == 49
    assert message(data, "rotated").startswith("1 photo has an EXIF rotation and is turned")
    assert message(data, "small").startswith("49 photos are smaller")


def test_imbalance_tiny_classes_and_spelling(tmp_path: Path) -> None:
    make_classes(tmp_path, {"Daisy": 40, "daisy": 10, "rose": 40})
    data = read_training_data(tmp_path)
    assert "daisy" in message(data, "tiny-class")
    assert "balanced=True" in message(data, "imbalance")
    assert "balanced=True" not in message(read_training_data(tmp_path, balanced=True), "imbalance")
    assert "'Daisy', 'daisy'" in message(data, "spelling")


def break_photos(folder: Path) -> None:
    for path in (folder / "b").iterdir():
        path.write_bytes(b"broken")


def keep_one(folder: Path) -> None:
    for number in range(1, 24):
        (folder / "b" / f"{number}.png").unlink()


@pytest.mark.parametrize(("change", "count"), [(break_photos, 0), (keep_one, 1)])
def test_too_few_photos_are_refused(
    folder: Path, change: Callable[[Path], None], count: int
) -> None:
    change(folder)
    with pytest.raises(UsageError, match=rf"fewer than two usable photos \(b {count}\)"):
        read_training_data(folder)


def test_a_class_without_training_photos_is_refused(tmp_path: Path) -> None:
    make_classes(tmp_path / "train", {"a": 3, "b": 3})
    make_classes(tmp_path / "test", {"a": 3, "c": 3}, 100)
    with pytest.raises(UsageError, match=r"no training photo \(c\)"):
        read_training_data(tmp_path)


def test_the_small_decoding_finds_what_the_full_one_does(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    photo(5).resize((900, 600)).save(tmp_path / "a.jpg", exif=exif)
    facts = inspect_photo(tmp_path / "a.jpg")
    assert (facts.width, facts.height, facts.rotated) == (600, 900, True)
    full = difference_hash(load_image(tmp_path / "a.jpg"))
    assert facts.hash is not None
    assert (facts.hash != full).sum() <= 6
    assert (facts.hash != difference_hash(photo(5).resize((900, 600)))).sum() > 16


def test_groups_are_connected_pairs() -> None:
    hashes = np.random.default_rng(0).random((2100, 128)) < 0.5
    hashes[7] = hashes[2050]
    hashes[2099] = hashes[2050]
    hashes[2099, :10] ^= True
    pairs = near_duplicates(hashes)
    assert pairs == [(7, 2050), (7, 2099), (2050, 2099)]
    numbers = groups(2100, pairs)
    assert numbers[7] == numbers[2050] == numbers[2099] == 7
    assert len(set(numbers)) == 2098
