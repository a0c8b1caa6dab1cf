"""open(path): damaged, altered and foreign files are refused or explained, and nothing crashes."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_effnet import open as open_file
from edge_effnet.errors import EdgeEffNetError, MissingExtra, ModelFileError, UsageError
from edge_effnet.preprocess import Preprocess
from edge_effnet.runtime import opening
from edge_effnet.runtime.base import input_spec
from support import command
from support.command import SIDE, SUFFIXES, copy_of, file, without_card, without_digest

pytest.importorskip("openvino", reason="the files are opened by all three runtimes")
pytest.importorskip("onnxruntime")
pytest.importorskip("ai_edge_litert")

DESCRIBED = Preprocess(SIDE, 0.875)
PRECISIONS = ("fp32", "int8")

Damage = Callable[[bytes], bytes]

DAMAGES: dict[str, Damage] = {
    "first half": lambda data: data[: len(data) // 2],
    "all but the last byte": lambda data: data[:-1],
    "first 100 bytes": lambda data: data[:100],
    "first byte": lambda data: data[:1],
    "one byte more": lambda data: data + b"\0",
    "one bit": lambda data: flipped(data, len(data) // 2),
    "one bit near the start": lambda data: flipped(data, 30),
    "one bit of the digest": lambda data: flipped(data, data.index(b"sha256:") + 12),
    "zeros in the middle": lambda data: data[:2000] + bytes(2000) + data[4000:],
    "twice": lambda data: data * 2,
    "garbage": lambda data: bytes(range(256)) * 40,
    "zeros": lambda data: bytes(5000),
    "text": lambda data: b"404: not found\n",
}


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]


def damaged(suffix: str, damage: Damage, folder: Path) -> Path:
    path = copy_of(file("int8", suffix), folder / f"net{suffix}")
    path.write_bytes(damage(path.read_bytes()))
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_file_alone_suffices(precision: str, suffix: str, tmp_path: Path) -> None:
    path = copy_of(file(precision, suffix), tmp_path / f"renamed, mövéd {suffix}")
    classifier = open_file(path)
    assert classifier.card.precision == precision
    assert classifier.card.labels == tuple(f"class {n}" for n in range(10))
    assert len(classifier(command.photos() / "photo-0.jpg", top=3)) == 3


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_told_before_a_runtime_sees_it(suffix: str, damage: str, tmp_path: Path) -> None:
    path = damaged(suffix, DAMAGES[damage], tmp_path)
    with pytest.raises(ModelFileError, match=r"copy|export") as caught:
        open_file(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_empty_file(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="is empty; export it again"):
        open_file(damaged(suffix, lambda data: b"", tmp_path))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_card_without_its_digest_is_refused(suffix: str, tmp_path: Path) -> None:
    path = damaged(suffix, without_digest, tmp_path)
    with pytest.raises(ModelFileError, match="carries a model card without its digest"):
        open_file(path)
    with pytest.raises(ModelFileError, match="carries a model card without its digest"):
        open_file(path, preprocess=DESCRIBED)  # saying how to prepare photos does not help


def test_the_weights_are_covered_by_the_digest(tmp_path: Path) -> None:
    path = copy_of(file("int8", ".xml"), tmp_path / "net.xml")
    weights = path.with_suffix(".bin")
    whole = weights.read_bytes()
    other = file("fp32", ".xml").with_suffix(".bin").read_bytes()
    for content in (b"", whole[:-1], flipped(whole, 1000), other):
        weights.write_bytes(content)
        with pytest.raises(ModelFileError, match=r"net\.xml was altered or damaged"):
            open_file(path)
    weights.unlink()
    with pytest.raises(ModelFileError, match=r"net\.xml is one of two files and .*net\.bin is mis"):
        open_file(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_any_flipped_bit_of_any_byte(suffix: str, tmp_path: Path) -> None:
    whole = file("int8", suffix).read_bytes()
    path = copy_of(file("int8", suffix), tmp_path / f"net{suffix}")
    dice = random.Random(0)
    marker = whole.index(b"edge-effnet:sha256:")
    elsewhere = [n for n in range(len(whole)) if not marker <= n < marker + 19]
    for place in dice.sample(elsewhere, 40):  # without its marker: the test above
        path.write_bytes(flipped(whole, place))
        with pytest.raises(ModelFileError, match="was altered or damaged"):
            open_file(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_damage_to_a_file_without_a_card_ends_a_child_at_most(
    suffix: str, share: float, tmp_path: Path
) -> None:
    path = without_card(file("int8", suffix), tmp_path / f"net{suffix}")
    data = bytearray(path.read_bytes())
    start = int(share * len(data))
    data[start : start + 200] = b"\xff" * 200
    path.write_bytes(data)
    message = ""
    try:
        opened = open_file(path, preprocess=DESCRIBED)
        shape = opened.logits([np.zeros((SIDE, SIDE, 3), np.uint8)]).shape
    except EdgeEffNetError as error:
        message = str(error)
    if message:
        assert str(path) in message
        assert "\n" not in message
    else:  # damage to weights or names alone leaves a network that runs
        assert shape == (1, 10)


def test_a_child_that_crashes_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = without_card(file("fp32", ".onnx"), tmp_path / "net.onnx")
    crash = [sys.executable, "-c", "import os; os.abort()"]
    monkeypatch.setattr(opening.subprocesses, "command", lambda *arguments: crash)
    with pytest.raises(ModelFileError, match=r"net\.onnx crashes its runtime \(exit -6\)"):
        open_file(path, preprocess=DESCRIBED)


def test_a_child_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = without_card(file("fp32", ".onnx"), tmp_path / "net.onnx")
    hang = [sys.executable, "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr(opening.subprocesses, "command", lambda *arguments: hang)
    monkeypatch.setattr(opening, "_PROBE_SECONDS", 0.5)
    with pytest.raises(ModelFileError, match="did not open within"):
        open_file(path, preprocess=DESCRIBED)


def test_what_the_child_misses_is_a_missing_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = without_card(file("fp32", ".onnx"), tmp_path / "net.onnx")
    monkeypatch.setenv("PYTHONPATH", str(command._blocker()))
    monkeypatch.setenv("BLOCKED", "onnxruntime")
    with pytest.raises(MissingExtra, match=r"pip install .*\[onnx\]'"):
        open_file(path, preprocess=DESCRIBED)


@pytest.mark.parametrize(
    ("precision", "suffix"),
    [("fp32", ".tflite"), ("int8", ".tflite"), ("fp32", ".xml"), ("int8", ".onnx")],
)
def test_a_file_without_a_card_runs_as_described(
    precision: str, suffix: str, tmp_path: Path
) -> None:
    path = without_card(file(precision, suffix), tmp_path / f"net{suffix}")
    photos = sorted(command.photos().iterdir())
    bare, whole = open_file(path, preprocess=DESCRIBED), open_file(file(precision, suffix))
    np.testing.assert_allclose(bare.logits(photos), whole.logits(photos), rtol=0, atol=1e-5)
    assert bare.card.variant == "unknown"
    assert bare.card.labels == whole.card.labels


def test_a_file_without_a_card_needs_a_description(tmp_path: Path) -> None:
    path = without_card(file("fp32", ".onnx"), tmp_path / "net.onnx")
    with pytest.raises(ModelFileError, match=r"carries no model card.*preprocess=Preprocess"):
        open_file(path)
    named = open_file(path, preprocess=DESCRIBED, labels=list("abcdefghij"))
    assert named(command.photos() / "photo-0.jpg", top=1)[0][0] in "abcdefghij"


def test_the_size_must_be_the_files_own() -> None:
    with pytest.raises(
        ModelFileError, match=r"takes 64 x 64 pixels but .* makes 32 x 32; .*preprocess="
    ):
        open_file(file("fp32", ".onnx"), preprocess=Preprocess(32, 1.0))


def test_labels_must_be_as_many_as_the_outputs() -> None:
    classifier = open_file(file("fp32", ".onnx"), labels=["a", "b"])
    with pytest.raises(ModelFileError, match=r"gives \[10\] values but names 2 labels"):
        classifier(command.photos() / "photo-0.jpg")


@pytest.mark.parametrize(
    ("content", "suffix"), [(a, b) for a in SUFFIXES for b in SUFFIXES if a != b]
)
def test_a_wrong_suffix(content: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"net{suffix}"
    path.write_bytes(file("fp32", content).read_bytes())
    path.with_suffix(".bin").write_bytes(b"")
    with pytest.raises(ModelFileError, match=r"net\."):
        open_file(path)


@pytest.mark.parametrize("name", ["net.pth", "net", "net.bin", "net.tflite.gz", ".onnx"])
def test_other_suffixes(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UsageError, match=r"is none of \.tflite, \.onnx, \.xml"):
        open_file(tmp_path / name)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_file_and_a_folder(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"there is no file .*; check the path"):
        open_file(tmp_path / f"none{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(ModelFileError, match=r"cannot read .*Is a directory"):
        open_file(tmp_path / f"folder{suffix}")


def test_upper_case_suffixes(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        path = tmp_path / f"NET{suffix.upper()}"
        path.write_bytes(file("fp32", suffix).read_bytes())
    (tmp_path / "NET.bin").write_bytes(file("fp32", ".xml").with_suffix(".bin").read_bytes())
    for path in tmp_path.glob("NET.[!b]*"):
        assert open_file(path).card.precision == "fp32"


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_out_of_range(threads: int) -> None:
    with pytest.raises(UsageError, match="at least 1 thread"):
        open_file(file("fp32", ".onnx"), threads=threads)


def foreign(
    folder: Path,
    shape: list[int | str],
    dtype: str = "FLOAT",
    *,
    inputs: int = 1,
    pooled: bool = True,
    flat: bool = True,
) -> Path:
    """Another toolkit's .onnx: pooled colours to seven classes."""
    onnx = pytest.importorskip("onnx")
    make, kinds = onnx.helper, onnx.TensorProto
    weights = np.random.default_rng(0).standard_normal((7, 3, 1, 1)).astype(np.float32)
    constant = onnx.numpy_helper.from_array(weights, "w")
    nodes, name = [make.make_node("Cast", ["x"], ["float"], to=kinds.FLOAT)], "float"
    if shape[-1] == 3:
        nodes.append(make.make_node("Transpose", [name], ["planes"], perm=[0, 3, 1, 2]))
        name = "planes"
    if pooled:
        nodes.append(make.make_node("GlobalAveragePool", [name], ["pooled"]))
        name = "pooled"
    nodes.append(make.make_node("Conv", [name, "w"], ["scores"]))
    nodes.append(make.make_node("Flatten" if flat else "Identity", ["scores"], ["y"]))
    entries = [make.make_tensor_value_info("x", getattr(kinds, dtype), shape)]
    entries += [make.make_tensor_value_info(f"x{n}", kinds.FLOAT, [1]) for n in range(1, inputs)]
    if not inputs:
        nodes, entries = [make.make_node("Identity", ["w"], ["y"])], []
    output = make.make_tensor_value_info("y", kinds.FLOAT, None)
    graph = make.make_graph(nodes, "foreign", entries, [output], [constant])
    opset = [make.make_opsetid("", 13)]
    path = folder / "foreign.onnx"
    onnx.save(make.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def as_openvino(path: Path) -> Path:
    import openvino as ov

    target = path.with_suffix(".xml")
    ov.save_model(ov.Core().read_model(path), target, compress_to_fp16=False)
    return target


@pytest.mark.parametrize(
    ("shape", "dtype", "flat", "converted"),
    [
        ([1, 3, 32, 32], "FLOAT", False, False),  # [1, 7, 1, 1]
        (["N", 3, 32, 32], "FLOAT", True, False),
        (["N", 3, 32, 32], "FLOAT", True, True),
        ([1, 32, 32, 3], "FLOAT", True, False),
        ([2, 3, 32, 32], "FLOAT", False, False),
        ([2, 3, 32, 32], "FLOAT", True, True),
        ([1, 32, 32, 3], "UINT8", True, False),
        ([1, 32, 32, 3], "UINT8", True, True),
    ],
)
def test_other_toolkits_files(
    shape: list[int | str], dtype: str, flat: bool, converted: bool, tmp_path: Path
) -> None:
    path = foreign(tmp_path, shape, dtype, flat=flat)
    path = as_openvino(path) if converted else path
    preprocess = Preprocess(32, 1.0)
    classifier = open_file(path, preprocess=preprocess)
    assert classifier.card.labels == tuple(f"class {n}" for n in range(7))
    picture = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    values = picture.astype(np.float32) if dtype == "UINT8" else preprocess.normalise(picture)
    weights = np.random.default_rng(0).standard_normal((7, 3, 1, 1)).astype(np.float32)
    expected = weights[:, :, 0, 0] @ values.mean((0, 1))
    np.testing.assert_allclose(classifier.logits([picture])[0], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("converted", [False, True], ids=["onnx", "openvino"])
@pytest.mark.parametrize(
    ("shape", "dtype", "options", "message"),
    [
        ([1, 3, "H", "W"], "FLOAT", {}, "has no fixed size"),
        ([1, 3, 32, 32], "FLOAT16", {}, r"is f(loat)?16 \[1, 3, 32, 32\]"),
        ([1, 3, 32, 32], "INT64", {}, r"is i(nt)?64 \[1, 3, 32, 32\]"),
        ([1, 3, 32, 32], "FLOAT", {"inputs": 0}, "has 0 inputs; an image classifier has one"),
        (
            [1, 3, 32, 32],
            "FLOAT",
            {"pooled": False, "flat": False},
            r"the output of .* is float32 \[1, 7, 32, 32\]",
        ),
    ],
)
def test_files_that_are_no_image_classifiers(
    shape: list[int | str],
    dtype: str,
    options: dict[str, bool],
    message: str,
    converted: bool,
    tmp_path: Path,
) -> None:
    path = foreign(tmp_path, shape, dtype, **options)
    path = as_openvino(path) if converted else path
    content = opening.read_model_files(path)
    with pytest.raises(ModelFileError, match=message):  # as the child process would
        opening._blank_run(opening.create_runner(path, *content, threads=1))


@pytest.mark.parametrize(("height", "width"), [(32, 48), (48, 48)])
def test_sizes_that_the_description_does_not_fit(height: int, width: int, tmp_path: Path) -> None:
    path = foreign(tmp_path, [1, 3, height, width])
    with pytest.raises(ModelFileError, match=f"takes {height} x {width} pixels but .* 32 x 32"):
        open_file(path, preprocess=Preprocess(32, 1.0))


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        ("float32", [1, 1, 32, 32]),  # grey
        ("float32", [1, 32, 32, 4]),
        ("float32", [3, 32, 32]),
        ("float32", [1, 3, 3, 32, 32]),
        ("float32", []),
        ("float32", [1, "h", "w", 3]),
        ("float16", [1, 3, 32, 32]),
    ],
)
def test_inputs_that_are_no_image(dtype: str, shape: list[object]) -> None:
    with pytest.raises(ModelFileError, match=r"the input of net\.onnx"):
        input_spec("net.onnx", dtype, shape)


def test_two_inputs(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="has 2 inputs; an image classifier has one"):
        open_file(foreign(tmp_path, [1, 3, 32, 32], inputs=2), preprocess=Preprocess(32, 1.0))


def test_the_users_own_modules_are_left_alone(tmp_path: Path) -> None:
    """A child process must not import, and so run, what lies in the user's folder."""
    without_card(file("fp32", ".tflite"), tmp_path / "net.tflite")
    for name in ("numpy", "json", "edge_effnet", "ai_edge_litert", "runpy"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w'); raise SystemExit(9)")
    photo = command.photos() / "photo-0.jpg"
    result = command.run("classify", "net.tflite", photo, *command.DESCRIBED, cwd=tmp_path)
    assert "class" in command.done(result)
    assert command.done(command.run("benchmark", "net.tflite", "--runs", "1", cwd=tmp_path))
    assert not (tmp_path / "ran").exists()


def test_the_child_imports_what_we_would() -> None:
    code = opening.subprocesses.command("edge_effnet.version")
    assert code[:2] == [sys.executable, "-c"]
    shown = "import sys; print(sys.path)"
    path = subprocess.run(
        [*code[:2], code[2].split("; import runpy")[0] + "; " + shown],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert path.strip() == str(sys.path)
