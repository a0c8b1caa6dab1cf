"""Bad photos and label tables given to the command: left out and named, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support import command
from support.command import call, contents, file, photos, refused, run, verbs

for module in ("openvino", "onnxruntime", "ai_edge_litert", "tflite"):
    pytest.importorskip(module, reason="the command is tried with every format")

EXPORT = ("export", "lite0", "--resolution", "32", "--formats", "onnx")


# To calibrate on


def test_a_calibration_folder_that_is_empty_missing_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "readme.txt").write_text("no photos here")
    (tmp_path / "photo.jpg").write_bytes(b"")
    for name, message in {
        "empty": "the folder empty holds no images",
        "notes": "the folder notes holds no images",
        "none": "the photo folder none does not exist",
        "photo.jpg": "the photo folder photo.jpg is not a folder",
    }.items():
        options = ("--precisions", "int8", "--weights", "random", "--calibration", name)
        found = refused(call(*EXPORT, *options, "--out", "out"))
        assert message in found
        assert "give a folder of photos" in found
        assert contents(tmp_path / "out") == []


def test_photos_that_are_all_broken(tmp_path: Path) -> None:
    broken = tmp_path / "photos"
    broken.mkdir()
    whole = (photos() / "photo-0.jpg").read_bytes()
    (broken / "short.jpg").write_bytes(whole[: len(whole) // 2])
    (broken / "text.png").write_bytes(b"not a photo")
    (broken / "empty.gif").write_bytes(b"")
    options = ("--precisions", "int8", "--weights", "random", "--calibration", broken)
    message = refused(run(*EXPORT, *options, "--out", tmp_path / "out"))
    assert message.startswith("none of the 3 calibration photos can be used: ")
    assert all(name in message for name in ("short.jpg", "text.png", "empty.gif"))
    assert contents(tmp_path / "out") == []


def save_every_kind(folder: Path) -> tuple[set[str], set[str]]:
    """One photo of each kind; the names of those that can be used, and of those that cannot."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8))
    deep = Image.fromarray(rng.integers(0, 65536, (60, 80), dtype=np.uint16))
    rgb.save(folder / "rgb.jpg")
    rgb.convert("L").save(folder / "grey.png")
    rgb.convert("1").save(folder / "bits.png")
    rgb.convert("CMYK").save(folder / "cmyk.jpg")
    rgb.convert("P").save(folder / "palette.gif")
    rgb.convert("RGBA").save(folder / "transparent.webp")
    rgb.convert("LA").save(folder / "grey transparent.png")
    deep.save(folder / "deep.png")
    deep.save(folder / "deep.tif")
    rgb.save(folder / "moving.gif", save_all=True, append_images=[rgb.rotate(90)])
    rgb.save(folder / "moving.webp", save_all=True, append_images=[rgb.rotate(90)])
    (folder / "unter ördner").mkdir()
    rgb.save(folder / "unter ördner" / "Фото 1.JPG")
    usable = set(contents(folder))
    whole = (folder / "rgb.jpg").read_bytes()
    (folder / "short.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "short.png").write_bytes((folder / "deep.png").read_bytes()[:-2000])
    (folder / "text.jpg").write_bytes(b"not a photo")
    (folder / "empty.jpg").write_bytes(b"")
    return usable, set(contents(folder)) - usable


@pytest.mark.slow
def test_every_kind_of_photo(tmp_path: Path) -> None:
    """The broken ones are named and left out; the rest calibrates."""
    usable, broken = save_every_kind(tmp_path / "photos")
    assert len(usable) == 12
    assert len(broken) == 4
    options = ("--precisions", "int8", "--weights", "random", "--formats", "tflite")
    result = run(*EXPORT, *options, "--calibration", "photos", "--out", "out", cwd=tmp_path)
    assert command.done(result) == "out/efficientnet-lite0-int8.tflite  4.97 MB\n"
    lines = result.stderr.splitlines()
    left_out = [line for line in lines if "left out" in line]
    few = lines[-1]
    assert {line.split(": ")[1].removeprefix("left out ") for line in left_out} == broken
    assert few.startswith("note: only 12 calibration samples: at least 100 photos")
    card = json.loads(
        command.done(run("info", tmp_path / "out/efficientnet-lite0-int8.tflite", "--json", "-"))
    )["card"]
    record = card["quantization"]["calibration"]
    assert (record["photos"], record["samples"]) == (12, 12)
    assert {name for name, _ in record["manifest"]} == usable


# To classify and to judge by


def test_a_broken_photo_among_good_ones(tmp_path: Path) -> None:
    good = command.save_photos(tmp_path / "photos", 2)
    (good / "broken.jpg").write_bytes((good / "photo-0.jpg").read_bytes()[:300])
    result = run("classify", file("int8", ".tflite"), good, tmp_path / "none.jpg", "--json", "-")
    answers = json.loads(command.done(result))
    assert [answer["file"] for answer in answers] == [
        str(good / "photo-0.jpg"),
        str(good / "photo-1.jpg"),
    ]
    notes = result.stderr.splitlines()
    assert len(notes) == 2
    assert notes[0].startswith("note: left out: ")
    assert "broken.jpg" in notes[0]
    assert "none.jpg" in notes[1]


def test_nothing_but_broken_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"no")
    message = refused(call("classify", file("int8", ".tflite"), "a.jpg", "b.jpg"))
    assert message.startswith("nothing to classify: a.jpg is not an image")
    assert message.endswith(", and 1 more; give other photos")


@pytest.mark.parametrize("verb", ["evaluate", "compare"])
def test_photo_folders_that_cannot_be_used(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    path = file("fp32", ".onnx")
    for name, message in (("none", "does not exist"), ("empty", "holds no images")):
        assert message in refused(call(*verbs(path, Path(name))[verb]))
    (tmp_path / "empty" / "a.png").write_bytes(b"no")
    message = refused(call(*verbs(path, Path("empty"))[verb]))
    assert "none of the 1 photos in empty can be decoded" in message


@pytest.mark.parametrize("verb", ["evaluate", "compare"])
def test_broken_photos_are_named(verb: str, tmp_path: Path) -> None:
    command.save_photos(tmp_path / "photos", 2)
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no")
    path = file("fp32", ".onnx")
    result = run(*verbs(path, Path("photos"))[verb], cwd=tmp_path)
    assert command.done(result)
    (note,) = [line for line in result.stderr.splitlines() if "left out" in line]
    assert note.startswith("note: left out broken.jpg: ")


def test_label_tables_that_cannot_be_used(tmp_path: Path) -> None:
    evaluate = ("evaluate", file("fp32", ".onnx"), "--images", photos())
    table = tmp_path / "labels.csv"
    for content, message in (
        ("", "has no column 'file'"),
        ("photo-0.jpg,3\n", "has no column 'file'"),
        ("file,label\nphoto-0.jpg,99\n", "the label '99' of photo-0.jpg is out of range"),
        ("file,label\nphoto-0.jpg,zebra\n", "the label 'zebra' of photo-0.jpg is neither"),
        ("file,label\nnone.jpg,1\n", "none.jpg"),
    ):
        table.write_text(content)
        assert message in refused(call(*evaluate, "--labels", table))
    table.unlink()
    nearby = tmp_path / "label.csv"
    nearby.write_text("file,label\n")
    message = refused(call(*evaluate, "--labels", table))
    assert f"there is no file {table}; did you mean {nearby}?" in message
    nearby.unlink()
    assert "needs a labels CSV" in refused(call(*evaluate, "--split", "test"))
