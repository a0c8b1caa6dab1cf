"""Card, labels and normalisation in a .tflite file, as other programs read them."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edge_effnet import digest
from edge_effnet.card import ModelCard
from edge_effnet.converters.formats.tflite.metadata import model_metadata
from edge_effnet.converters.formats.tflite.writer import write
from edge_effnet.model import Model
from edge_effnet.preprocess import IMAGENET_MEAN, IMAGENET_STD
from edge_effnet.runtime.litert import LiteRTRunner, read_card
from edge_effnet.runtime.tflite_verifier import check_structure
from support import tflite_models as small

pytest.importorskip("tflite", reason="the extra 'export'")
pytest.importorskip("ai_edge_litert", reason="the extra 'litert'")


def test_card_comes_back(model: Model, files: dict[str, bytes]) -> None:
    text = read_card(files["int8"])
    assert text is not None
    assert ModelCard.from_json(text) == small.card_of(model, precision="int8", input="pixels")


def test_file_can_be_stamped(files: dict[str, bytes]) -> None:
    for data in files.values():
        stamped = digest.stamp(data)
        assert digest.verify(stamped)
        check_structure(stamped)


def test_labels_travel_as_a_zip(model: Model) -> None:
    labels = ("plain", "two words", "comma, and quote'", "ünïcode", "a\nline\r\nbreak", *"fghij")
    data = write(model, None, small.card_of(model).with_(labels=labels))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == ["labels.txt"]
        (entry,) = archive.infolist()
        assert entry.compress_type == zipfile.ZIP_STORED
        lines = archive.read("labels.txt").decode().split("\n")
    assert lines == [
        "plain",
        "two words",
        "comma, and quote'",
        "ünïcode",
        "a line break",
        *"fghij",
        "",
    ]
    LiteRTRunner(data, 1, "file")


def test_without_labels_there_is_no_zip(model: Model) -> None:
    data = write(model, None, small.card_of(model).with_(labels=()))
    assert not zipfile.is_zipfile(io.BytesIO(data))
    assert b"labels.txt" not in data


def test_metadata_follows_the_public_schema(model: Model) -> None:
    """Read back through the schema's slots, as its generated readers do."""
    table = pytest.importorskip("flatbuffers.table")
    number_types = pytest.importorskip("flatbuffers.number_types")
    preprocess = replace(model.info.preprocess, std=(128.0, 127.0, 126.0))
    card = small.card_of(model).with_(preprocess=preprocess)
    data = model_metadata(card, "image", "logits")
    assert data[4:8] == b"M001"

    def child(parent: Any, slot: int, index: int | None = None) -> Any:
        place = parent.Pos + parent.Offset(4 + 2 * slot)
        if index is None:
            return table.Table(data, parent.Indirect(place))
        start = parent.Vector(place - parent.Pos)
        return table.Table(data, parent.Indirect(start + 4 * index))

    def text(parent: Any, slot: int) -> str:
        return parent.String(parent.Pos + parent.Offset(4 + 2 * slot)).decode()

    def floats(parent: Any, slot: int) -> list[float]:
        offset = parent.Offset(4 + 2 * slot)
        start = parent.Vector(offset)
        kind = number_types.Float32Flags
        return [parent.Get(kind, start + 4 * n) for n in range(parent.VectorLen(offset))]

    def byte(parent: Any, slot: int) -> int:
        offset = parent.Offset(4 + 2 * slot)
        return parent.Get(number_types.Int8Flags, parent.Pos + offset)

    root = table.Table(data, int.from_bytes(data[:4], "little"))
    assert text(root, 0) == card.variant
    subgraph = child(root, 3, 0)
    image, scores = child(subgraph, 2, 0), child(subgraph, 3, 0)
    assert (text(image, 0), text(scores, 0)) == ("image", "logits")
    unit = child(image, 4, 0)
    assert byte(unit, 0) == 1  # NormalizationOptions
    options = child(unit, 1)
    assert floats(options, 0) == [127.0]
    assert floats(options, 1) == [128.0, 127.0, 126.0]
    assert byte(child(image, 3), 0) == 2  # ImageProperties
    file = child(scores, 6, 0)
    assert text(file, 0) == "labels.txt"
    assert byte(file, 2) == 2  # TENSOR_AXIS_LABELS


def test_mediapipe_opens_the_files(model: Model, files: dict[str, bytes]) -> None:
    vision = pytest.importorskip("mediapipe.tasks.python.vision")
    mediapipe = pytest.importorskip("mediapipe")
    base = pytest.importorskip("mediapipe.tasks.python").BaseOptions
    pixels = small.photos(1)[0]
    for precision, data in files.items():
        options = vision.ImageClassifierOptions(base(model_asset_buffer=data), max_results=1)
        with vision.ImageClassifier.create_from_options(options) as classifier:
            image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)
            (best,) = classifier.classify(image).classifications[0].categories
        runner = LiteRTRunner(data, 1, "file")
        values = pixels if precision == "int8" else model.info.preprocess.normalise(pixels)
        logits = runner.run(values[None])[0]
        assert best.category_name == model.info.labels[int(logits.argmax())]
        assert best.score == pytest.approx(float(logits.max()), abs=1e-5)


def test_a_normalisation_of_each_colour_moves_into_the_float_file() -> None:
    """MediaPipe knows one mean and one deviation only; the logits are those of the network."""
    model = small.model_of(small.SWISH)
    preprocess = replace(model.info.preprocess, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    model = replace(model, info=replace(model.info, preprocess=preprocess))
    data = write(model, None, small.card_of(model))
    stated = ModelCard.from_json(read_card(data) or "").preprocess
    assert len(set(stated.mean)) == len(set(stated.std)) == 1
    for pixels in small.photos(2):
        expected = small.evaluate(model, small.normalised(model, pixels))[model.graph.output]
        got = LiteRTRunner(data, 1, "file").run(stated.normalise(pixels)[None])[0]
        np.testing.assert_allclose(got, expected, atol=1e-5 * max(1.0, np.abs(expected).max()))
