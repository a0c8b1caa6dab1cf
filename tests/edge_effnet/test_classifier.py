"""A Classifier: photos in, names and probabilities out, the same whatever the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import edge_effnet
from edge_effnet.card import InputKind, ModelCard
from edge_effnet.classifier import Classifier, softmax
from edge_effnet.errors import ImageError, ModelFileError
from edge_effnet.preprocess import Preprocess
from edge_effnet.runtime.base import InputSpec, RuntimeInfo, class_rows
from support import command
from support.command import SIDE, SUFFIXES, file

for module in ("openvino", "onnxruntime", "ai_edge_litert"):
    pytest.importorskip(module, reason="all three runtimes are compared")

EVERY_FILE = [(precision, suffix) for precision in ("fp32", "int8") for suffix in SUFFIXES]


@pytest.fixture(scope="module")
def photo() -> Path:
    return command.photos() / "photo-0.jpg"


class Recorder:
    """A Runner that keeps what it is given and answers with fixed logits."""

    def __init__(self, spec: InputSpec, logits: list[float]) -> None:
        self.input = spec
        self.info = RuntimeInfo("none", "0", 1, "none")
        self.logits = np.array([logits], np.float32)
        self.batch: NDArray[np.generic] = np.empty(0)

    def card_text(self) -> str | None:
        return None

    def run(self, batch: NDArray[np.generic]) -> NDArray[np.float32]:
        self.batch = batch
        return self.logits


def classifier(
    spec: InputSpec, kind: InputKind, logits: tuple[float, ...] = (0, 2, 1)
) -> Classifier:
    preprocess = Preprocess(4, 1.0, mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0))
    labels = tuple(f"label {n}" for n in range(3))
    card = ModelCard(
        "net", preprocess, labels, input="pixels" if kind == "pixels" else "normalised"
    )
    return Classifier(Recorder(spec, list(logits)), card, "net.file")


def ramp() -> NDArray[np.uint8]:
    return np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5


@pytest.mark.parametrize(("precision", "suffix"), EVERY_FILE)
def test_paths_pictures_and_arrays_answer_alike(precision: str, suffix: str, photo: Path) -> None:
    classify = edge_effnet.open(file(precision, suffix), threads=1)
    with Image.open(photo) as opened:
        picture = opened.convert("RGB")
    array = np.asarray(picture)
    rows = classify.logits([photo, str(photo), picture, array])
    assert rows.shape == (4, 10)
    assert rows.dtype == np.float32
    assert (rows == rows[0]).all()
    best = classify(photo)
    assert best == classify(picture) == classify(array)
    assert len(best) == 5
    assert [label for label, _ in best] == [
        classify.card.labels[n] for n in np.argsort(-rows[0], kind="stable")[:5]
    ]


def test_every_format_answers_alike() -> None:
    photos = sorted(command.photos().iterdir())
    first, *others = (edge_effnet.open(file("fp32", s)).logits(photos) for s in SUFFIXES)
    for other in others:
        np.testing.assert_allclose(other, first, rtol=0, atol=1e-3)


def test_probabilities_are_of_all_classes(photo: Path) -> None:
    classify = edge_effnet.open(file("fp32", ".onnx"))
    everything = classify(photo, top=10)
    assert sum(probability for _, probability in everything) == pytest.approx(1)
    assert [p for _, p in everything] == sorted((p for _, p in everything), reverse=True)
    assert classify(photo, top=3) == everything[:3]
    assert classify(photo, top=99) == everything
    assert classify(photo, top=0) == []
    assert all(type(p) is float and type(label) is str for label, p in everything)


def test_no_images_are_no_rows() -> None:
    rows = edge_effnet.open(file("fp32", ".onnx")).logits([])
    assert rows.shape == (0, 10)
    assert rows.dtype == np.float32


def test_the_card_says_what_the_file_is() -> None:
    card = edge_effnet.open(file("int8", ".tflite")).card
    assert isinstance(card, edge_effnet.ModelCard)
    assert (card.variant, card.precision, card.input) == ("tiny-lite", "int8", "pixels")
    assert card.preprocess.size == SIDE
    assert card.quantization is not None
    assert card.quantization.quantizer == "edge-effnet"
    assert card.quantization.calibration is not None
    assert card.quantization.calibration.photos == 4


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((1, 8, 8, 3), np.uint8),
        "no-such-photo.jpg",
    ],
)
def test_what_is_no_image(image: NDArray[np.uint8] | str) -> None:
    classify = edge_effnet.open(file("fp32", ".onnx"))
    with pytest.raises(ImageError, match=r"an array must be uint8|there is no image no-such"):
        classify.logits([image])


def test_arrays_need_not_be_contiguous() -> None:
    classify = edge_effnet.open(file("fp32", ".onnx"))
    array = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    mirrored = array[:, ::-1]
    assert (classify.logits([mirrored]) == classify.logits([mirrored.copy()])).all()
    array.setflags(write=False)
    assert classify.logits([array]).shape == (1, 10)


def test_pixels_go_in_as_they_are() -> None:
    made = classifier(InputSpec("uint8", "NHWC", (4, 4)), "pixels")
    assert (made.tensor(ramp()) == ramp()[None]).all()
    assert made.tensor(ramp()).dtype == np.uint8
    planes = classifier(InputSpec("uint8", "NCHW", (4, 4)), "pixels").tensor(ramp())
    assert (planes == ramp().transpose(2, 0, 1)[None]).all()
    assert planes.flags.c_contiguous
    signed = classifier(InputSpec("int8", "NHWC", (4, 4)), "pixels").tensor(ramp())
    assert signed.dtype == np.int8
    assert (signed.astype(int) == ramp()[None].astype(int) - 128).all()
    floats = classifier(InputSpec("float32", "NHWC", (4, 4)), "pixels").tensor(ramp())
    assert floats.dtype == np.float32
    assert (floats == ramp()[None]).all()


def test_normalised_input_is_quantized_with_the_files_own_scale() -> None:
    spec = InputSpec("int8", "NHWC", (4, 4), scale=1 / 128, zero_point=-1)
    expected = ramp()[None].astype(int) - 127 - 1  # (p - 127) / 128 * 128 - 1
    assert (classifier(spec, "normalised").tensor(ramp()) == expected).all()
    narrow = InputSpec("uint8", "NHWC", (4, 4), scale=0.5 / 128, zero_point=3)
    expected = np.clip(2 * (ramp()[None].astype(int) - 127) + 3, 0, 255)
    assert (classifier(narrow, "normalised").tensor(ramp()) == expected).all()
    unknown = classifier(InputSpec("int8", "NHWC", (4, 4)), "normalised")
    with pytest.raises(ModelFileError, match=r"net\.file takes int8 input but does not state"):
        unknown.tensor(ramp())


def test_ties_go_to_the_lower_index() -> None:
    made = classifier(InputSpec("uint8", "NHWC", (4, 4)), "pixels", (1, 1, 1))
    assert [label for label, _ in made(ramp())] == ["label 0", "label 1", "label 2"]


def test_as_many_labels_as_logits() -> None:
    made = classifier(InputSpec("uint8", "NHWC", (4, 4)), "pixels", (0, 1))
    with pytest.raises(ModelFileError, match=r"gives \[2\] values but names 3 labels"):
        made(ramp())


def test_softmax_of_large_logits() -> None:
    found = softmax(np.array([[1e4, 1e4 - 1, -1e4], [0, 0, 0]], np.float32))
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-6)
    np.testing.assert_allclose(found[0, :2], [0.7310586, 0.26894143], rtol=1e-5)
    assert found.dtype == np.float32


@pytest.mark.parametrize("shape", [(1, 7), (7,), (1, 7, 1, 1), (1, 1, 1, 7)])
def test_outputs_of_one_row(shape: tuple[int, ...]) -> None:
    row = class_rows("net", np.arange(7, dtype=np.int64).reshape(shape))
    assert row.dtype == np.float32
    assert (row == np.arange(7)[None]).all()


@pytest.mark.parametrize(
    "output", [np.zeros((2, 7)), np.zeros((1, 7, 2)), np.zeros((1, 0)), np.array(["a"]), [{"a": 1}]]
)
def test_other_outputs(output: object) -> None:
    with pytest.raises(ModelFileError, match=r"the output of net is .*\[1, classes\] are needed"):
        class_rows("net", output)
