"""Bad model files and options given to the command: exit code 2, one message, nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support import command
from support.command import (
    DESCRIBED,
    SUFFIXES,
    call,
    contents,
    copy_of,
    file,
    photos,
    refused,
    run,
    verbs,
)

for module in ("openvino", "onnxruntime", "ai_edge_litert", "tflite"):
    pytest.importorskip(module, reason="the command is tried with every format")

VERBS = tuple(verbs("", Path()))


@pytest.mark.slow
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("verb", VERBS)
def test_a_damaged_file_given_to_every_command(verb: str, suffix: str, tmp_path: Path) -> None:
    path = copy_of(file("int8", suffix), tmp_path / f"net{suffix}")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    message = refused(run(*verbs(path, photos())[verb], cwd=tmp_path))
    assert f"{path} was altered or damaged" in message
    assert "copy it again or export it anew" in message
    assert not (tmp_path / "report").exists() or contents(tmp_path / "report") == []


@pytest.mark.parametrize("verb", ["info", "evaluate", "benchmark", "compare"])
def test_a_damaged_digest(verb: str, tmp_path: Path) -> None:
    """A card whose digest nobody finds is no file of another toolkit."""
    path = copy_of(file("int8", ".tflite"), tmp_path / "net.tflite")
    path.write_bytes(command.without_digest(path.read_bytes()))
    message = refused(run(*verbs(path, photos())[verb], cwd=tmp_path))
    assert f"{path} carries a model card without its digest" in message


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("verb", ["classify", "benchmark"])
def test_the_first_half_of_a_file(verb: str, suffix: str, tmp_path: Path) -> None:
    path = copy_of(file("fp32", suffix), tmp_path / f"net{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    message = refused(run(*verbs(path, photos())[verb], cwd=tmp_path))
    assert str(path) in message
    assert "copy" in message


@pytest.mark.parametrize("verb", VERBS)
def test_a_file_that_is_not_there(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    message = refused(call(*verbs("none.tflite", photos())[verb]))
    assert "there is no file none.tflite" in message
    assert contents(tmp_path) == []


@pytest.mark.parametrize("verb", ["classify", "evaluate", "benchmark", "compare"])
def test_files_that_are_no_models(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    message = refused(call(*verbs("notes.txt", photos())[verb]))
    assert "notes.txt is none of .tflite, .onnx, .xml" in message


def test_a_folder_without_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for verb in ("evaluate", "benchmark", "compare"):
        message = refused(call(*verbs(tmp_path, photos())[verb]))
        assert f"the folder {tmp_path} holds no model file" in message


@pytest.mark.parametrize("verb", ["classify", "info", "evaluate", "compare"])
def test_a_file_without_a_card_asks_for_a_description(verb: str, tmp_path: Path) -> None:
    path = command.without_card(file("fp32", ".tflite"), tmp_path / "net.tflite")
    message = refused(run(*verbs(path, photos())[verb], cwd=tmp_path))
    assert "net.tflite carries no model card" in message
    assert "--resolution, --mean and --std" in message


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["classify", "evaluate", "compare"])
def test_a_described_file_without_a_card(verb: str, tmp_path: Path) -> None:
    path = command.without_card(file("fp32", ".tflite"), tmp_path / "net.tflite")
    reference = () if verb == "classify" else ("--reference", file("fp32", ".onnx"))
    words = (*verbs(path, photos())[verb], *reference, *DESCRIBED)
    assert command.done(run(*words, cwd=tmp_path))


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
    message = refused(run(*verbs(path, photos())[verb], cwd=tmp_path, blocked=missing))
    assert message.endswith(f"[{extra}]'")


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib"])
def test_a_missing_report(missing: str, tmp_path: Path) -> None:
    arguments = verbs(file("fp32", ".onnx"), photos())["compare"]
    message = refused(run(*arguments, cwd=tmp_path, blocked=[missing]))
    assert message.endswith("[report]'")
    assert contents(tmp_path) == []


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib", "skimage", "sklearn"])
def test_a_missing_part_of_the_demo(missing: str, tmp_path: Path) -> None:
    message = refused(run("demo", "--out", "report", cwd=tmp_path, blocked=[missing]))
    assert message.endswith("[demo]'")
    assert contents(tmp_path) == []


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
