"""Reading .tflite files: the runner, the card, and what happens to damaged files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_effnet.card import CARD_KEY
from edge_effnet.converters.formats.tflite.flatbuffer import (
    Affine,
    Network,
    Operator,
    Options,
    Tensor,
    serialise,
)
from edge_effnet.converters.formats.tflite.writer import write
from edge_effnet.errors import MissingExtra, ModelFileError
from edge_effnet.runtime.litert import LiteRTRunner, read_card
from edge_effnet.runtime.tflite_verifier import check_structure, parse
from support import PATH
from support import tflite_models as small

pytest.importorskip("tflite", reason="the extra 'export'")
pytest.importorskip("ai_edge_litert", reason="the extra 'litert'")


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    lite, swish = small.model_of(small.LITE), small.model_of(small.SWISH)
    plan = small.min_max_plan(swish, small.photos(3))
    card = small.card_of(swish, precision="int8", input="pixels")
    return {
        "fp32": write(lite, None, small.card_of(lite)),
        "fp16": write(lite, None, small.card_of(lite, precision="fp16")),
        "int8": write(swish, plan, card),
    }


# A small sound network to break, one thing at a time

CONV = (
    ("Padding", 0),
    ("StrideW", 1),
    ("StrideH", 1),
    ("DilationWFactor", 1),
    ("DilationHFactor", 1),
    ("FusedActivationFunction", 0),
)


def affine(*scales: float, zero_point: int = 0, axis: int = 0) -> Affine:
    points = np.full(len(scales), zero_point, np.int64)
    return Affine(np.array(scales, np.float32), points, axis)


KERNEL = np.ones((1, 3, 3, 3), np.int8)
SOUND = Network(
    tensors=(
        Tensor("image", (1, 8, 8, 3), "int8", affine=affine(0.1)),
        Tensor("weight", KERNEL.shape, "int8", KERNEL, affine(0.1, 0.2, 0.3, axis=3)),
        Tensor("bias", (3,), "int32", np.zeros(3, np.int32), affine(0.01, 0.02, 0.03)),
        Tensor("map", (1, 8, 8, 3), "int8", affine=affine(0.2)),
        Tensor("axes", (2,), "int32", np.array([1, 2], np.int32)),
        Tensor("scores", (1, 3), "int8", affine=affine(0.2)),
    ),
    operators=(
        Operator(
            "DEPTHWISE_CONV_2D", 3, (0, 1, 2), (3,),
            Options("DepthwiseConv2DOptions", (*CONV, ("DepthMultiplier", 1))),
        ),
        Operator("MEAN", 2, (3, 4), (5,), Options("ReducerOptions", (("KeepDims", 0),))),
    ),
    input=0,
    output=5,
)  # fmt: skip


def tensor(index: int, **changes: Any) -> Network:
    tensors = list(SOUND.tensors)
    tensors[index] = replace(tensors[index], **changes)
    return replace(SOUND, tensors=tuple(tensors))


def operator(index: int, **changes: Any) -> Network:
    operators = list(SOUND.operators)
    operators[index] = replace(operators[index], **changes)
    return replace(SOUND, operators=tuple(operators))


def conv_options(**changes: int) -> Options:
    fields = {**dict(CONV), "DepthMultiplier": 1, **changes}
    return Options("DepthwiseConv2DOptions", tuple(fields.items()))


def file_of(network: Network, **metadata: bytes) -> bytes:
    return serialise(network, "a test", metadata)


BROKEN: dict[str, tuple[Network, str]] = {
    "no bias": (operator(0, inputs=(0, 1)), "lacks an input"),
    "optional bias": (operator(0, inputs=(0, 1, -1)), "lacks an input"),
    "input index": (operator(0, inputs=(0, 1, 99)), "reads what nothing made"),
    "output index": (operator(0, outputs=(99,)), "writes what it must not"),
    "writes a constant": (operator(0, outputs=(1,)), "writes what it must not"),
    "writes its input": (operator(0, outputs=(0,)), "writes what it must not"),
    "reads ahead": (replace(SOUND, operators=SOUND.operators[::-1]), "reads what nothing made"),
    "no options": (operator(0, options=None), "lacks its options"),
    "other options": (operator(0, options=Options("PadOptions")), "lacks its options"),
    "stride 0": (operator(0, options=conv_options(StrideW=0)), "stride_w of 0"),
    "dilation -1": (operator(0, options=conv_options(DilationHFactor=-1)), "dilation_h of -1"),
    "no output": (operator(1, outputs=()), "has no output"),
    "nothing makes the output": (replace(SOUND, operators=SOUND.operators[:1]), "makes the output"),
    "input is a constant": (replace(SOUND, input=1), "is a constant"),
    "short data": (tensor(2, data=np.zeros(2, np.int32)), "data of another size"),
    "long shape": (tensor(1, shape=(1, 3, 3, 4)), "data of another size"),
    "negative shape": (tensor(3, shape=(1, -8, 8, 3)), "negative size"),
    "huge shape": (tensor(3, shape=(1, 2**16, 2**16, 3)), "too large"),
    "scale 0": (tensor(3, affine=affine(0.0)), "broken scale"),
    "scale nan": (tensor(3, affine=affine(float("nan"))), "broken scale"),
    "tiny scale": (tensor(3, affine=affine(1e-38)), "broken scale"),
    "scales do not fit": (tensor(3, affine=affine(1e-6)), "scales that do not fit"),
    "few scales": (tensor(1, affine=affine(0.1, 0.2, axis=3)), "scales for another shape"),
    "wrong axis": (tensor(1, affine=affine(0.1, 0.2, 0.3, axis=7)), "scales for another shape"),
    "zero point": (tensor(3, affine=affine(0.2, zero_point=128)), "broken zero point"),
    "bias zero point": (tensor(2, affine=affine(1.0, 1.0, 1.0, zero_point=1)), "broken zero point"),
}


def test_the_sound_network_is_taken() -> None:
    runner = LiteRTRunner(file_of(SOUND), 1, "file")
    assert runner.run(np.ones((1, 8, 8, 3), np.int8)).shape == (1, 3)
    assert (runner.input.scale, runner.input.zero_point) == (pytest.approx(0.1), 0)


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_network_is_refused(case: str) -> None:
    network, complaint = BROKEN[case]
    with pytest.raises(ModelFileError, match=rf"broken\.tflite is not a sound.*{complaint}"):
        LiteRTRunner(file_of(network), 1, "broken.tflite")


@pytest.mark.parametrize("end", ["inputs", "outputs"])
@pytest.mark.parametrize("index", [6, -1])
def test_an_end_that_is_no_tensor_is_refused(end: str, index: int) -> None:
    data = file_of(SOUND)
    (subgraph,) = parse(data)["subgraphs"]
    place = position(subgraph[end], data)
    broken = data[:place] + index.to_bytes(4, "little", signed=True) + data[place + 4 :]
    with pytest.raises(ModelFileError, match="is no tensor"):
        check_structure(broken)


def position(view: np.ndarray, data: Any) -> int:
    """Where in ``data`` the array that `parse` gave begins."""
    start = np.frombuffer(data, np.uint8).__array_interface__["data"][0]
    return int(view.__array_interface__["data"][0] - start)


# The card


def test_card_is_read_without_a_runtime(files: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(files["int8"])
    script = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['ai_edge_litert', 'tflite', 'flatbuffers']))\n"
        "from edge_effnet.runtime.litert import read_card\n"
        "print(read_card(open(sys.argv[1], 'rb').read()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["precision"] == "int8"


def test_runner_gives_the_card(files: dict[str, bytes]) -> None:
    for data in files.values():
        assert LiteRTRunner(data, 1, "file").card_text() == read_card(data)


def test_a_file_of_others_has_no_card() -> None:
    assert read_card(file_of(SOUND)) is None
    assert read_card(file_of(SOUND, other=b"{}")) is None
    assert read_card(file_of(SOUND, **{CARD_KEY: b"{}"})) == "{}"
    assert LiteRTRunner(file_of(SOUND), 1, "file").card_text() is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"TFL3",
        b"\0" * 64,
        b"\x1c\0\0\0TFL3",
        b"PK\3\4" * 99,
        b"\xff\xff\xff\xffTFL3" + b"\xff" * 99,
    ],
)
def test_garbage_is_refused(data: bytes) -> None:
    for read in (read_card, check_structure, parse):
        with pytest.raises(ModelFileError, match=r"not a sound \.tflite file"):
            read(data)


def test_tables_that_share_vectors_do_not_take_forever() -> None:
    """A few kilobytes whose tables all point at one vector of tables would be read n * n times."""
    count = 3000
    vector = np.full(count, 0, "<u4")
    # root, vtable of Model (slot 2: subgraphs at 4), vtable of SubGraph (slot 0: tensors at 4)
    head = bytearray(64)
    head[0:8] = (24).to_bytes(4, "little") + b"TFL3"
    head[8:18] = np.array([10, 8, 0, 0, 4], "<u2").tobytes()
    head[18:24] = np.array([6, 8, 4], "<u2").tobytes()
    head[24:32] = np.array([24 - 8, 64 - 28], "<u4").tobytes()
    subgraph = 64 + 4 + 4 * count
    vector = subgraph - (68 + 4 * np.arange(count))
    body = np.array([count, *vector], "<u4").tobytes()
    tensors = subgraph + 8
    table = np.array([subgraph - 18, 4], "<u4").tobytes()
    tensor = tensors + 4 + 4 * count
    offsets = tensor - (tensors + 4 + 4 * np.arange(count))
    # each tensor is a table with SubGraph's short vtable read as Tensor's: its shape is empty
    end = np.array([tensor - 18, 4, 0], "<u4").tobytes()
    data = bytes(head) + body + table + np.array([count, *offsets], "<u4").tobytes() + end
    with pytest.raises(ModelFileError, match="too many tables"):
        parse(data)


# Damaged files


def test_truncated_files_are_refused(files: dict[str, bytes]) -> None:
    for data in files.values():
        model_end = data.rindex(
            b"PK\3\4"
        )  # behind it lies the zip of labels, which no runtime reads
        for length in [*range(0, 200, 7), *np.linspace(200, model_end - 20, 60).astype(int)]:
            with pytest.raises(ModelFileError):
                LiteRTRunner(data[:length], 1, "truncated")


CHILD = """
import sys
sys.path[:0] = sys.argv[4:]
import numpy as np
from edge_effnet.errors import EdgeEffNetError
from edge_effnet.runtime.litert import LiteRTRunner
from support.mutants import mutant
data, end, count = open(sys.argv[1], "rb").read(), int(sys.argv[2]), int(sys.argv[3])
refused = 0
for seed in range(count):
    print(seed, flush=True)
    try:
        runner = LiteRTRunner(mutant(data, end, seed), 1, "mutant")
        spec = runner.input
        runner.run(np.zeros((1, *spec.size, 3), spec.dtype))
    except EdgeEffNetError:
        refused += 1
print("refused", refused)
"""


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_mutants_never_end_the_process(
    precision: str, files: dict[str, bytes], tmp_path: Path
) -> None:
    """Structural ones: everything before the first buffer's data is offsets, indices, options."""
    data = files[precision]
    places = [position(b["data"], data) for b in parse(data)["buffers"] if b["data"].size]
    path = tmp_path / "model.tflite"
    path.write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(path), str(min(places)), "250", *PATH],
        capture_output=True,
        text=True,
        check=False,
    )
    *seeds, last = done.stdout.splitlines()
    assert done.returncode == 0, f"mutant {last} ended the process: {done.stderr[-500:]}"
    assert len(seeds) == 250
    assert int(last.removeprefix("refused ")) > 100


# The runner


def test_runner_describes_itself(files: dict[str, bytes]) -> None:
    runner = LiteRTRunner(files["int8"], 2, "file")
    assert (runner.input.dtype, runner.input.layout, runner.input.size) == (
        "uint8",
        "NHWC",
        (64, 64),
    )
    assert (runner.input.scale, runner.input.zero_point) == (1 / 128, 127)
    assert (runner.info.threads, runner.info.name) == (2, "ai-edge-litert")
    assert runner.info.version[0].isdigit()
    assert runner.info.kernels == "XNNPACK int8 and 2 built-in kernels"
    for precision in ("fp32", "fp16"):
        runner = LiteRTRunner(files[precision], 1, "file")
        assert (runner.input.dtype, runner.input.scale) == ("float32", None)
        assert runner.info.kernels == "XNNPACK float32"


def test_outputs_are_float_and_repeatable(files: dict[str, bytes]) -> None:
    for data in files.values():
        runner = LiteRTRunner(data, 1, "file")
        x = np.full((1, 64, 64, 3), 100, runner.input.dtype)
        first = runner.run(x)
        assert (first.dtype, first.shape) == (np.float32, (1, small.CLASSES))
        other = runner.run(np.zeros_like(x))
        assert not np.array_equal(first, other)
        np.testing.assert_array_equal(runner.run(x), first)


def test_threads_do_not_change_the_result(files: dict[str, bytes]) -> None:
    x = small.photos(1)[0][None]
    one, two = (LiteRTRunner(files["int8"], threads, "file").run(x) for threads in (1, 2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((1, 32, 32, 3), "uint8"), ((1, 64, 64, 3), "float32")]
)
def test_another_input_is_refused(
    files: dict[str, bytes], shape: tuple[int, ...], dtype: str
) -> None:
    with pytest.raises(ValueError, match="tensor"):
        LiteRTRunner(files["int8"], 1, "file").run(np.zeros(shape, dtype))


def test_nothing_is_printed(files: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(files["fp32"])
    script = (
        "import sys; from edge_effnet.runtime.litert import LiteRTRunner\n"
        "LiteRTRunner(open(sys.argv[1], 'rb').read(), 1, 'file'); print('said', file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("", "said\n")


def test_runner_works_without_standard_error(files: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(files["fp32"])
    script = (
        "import sys, os; from edge_effnet.runtime.litert import LiteRTRunner\n"
        "data = open(sys.argv[1], 'rb').read(); sys.stderr = None; os.close(2)\n"
        "print(LiteRTRunner(data, 1, 'file').input.dtype)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, check=True
    )
    assert done.stdout.strip() == b"float32"


NOT_CLASSIFIERS: dict[str, Callable[[], Network]] = {
    "no batch of 1": lambda: tensor(0, shape=(2, 8, 8, 3)),
    "a map comes out": lambda: replace(SOUND, operators=SOUND.operators[:1], output=3),
}


@pytest.mark.parametrize("case", NOT_CLASSIFIERS)
def test_other_networks_are_no_classifiers(case: str) -> None:
    with pytest.raises(ModelFileError, match=r"other\.tflite"):
        LiteRTRunner(file_of(NOT_CLASSIFIERS[case]()), 1, "other.tflite")


def test_a_file_that_the_runtime_refuses_is_explained() -> None:
    future = operator(1, version=99)
    with pytest.raises(ModelFileError, match=r"cannot run new\.tflite.*pip install -U"):
        LiteRTRunner(file_of(future), 1, "new.tflite")


def test_without_a_runtime_the_extra_is_named(
    files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("ai_edge_litert", "tflite_runtime"):
        monkeypatch.setitem(sys.modules, module, None)
        monkeypatch.setitem(sys.modules, f"{module}.interpreter", None)
    with pytest.raises(MissingExtra, match=r".*\[litert\]"):
        LiteRTRunner(files["fp32"], 1, "file")
