"""TFLite Metadata: normalisation and class names for clients that do not know edge-effnet.

The schema is "M001" (1.5.0), mediapipe/tasks/metadata/metadata_schema.fbs. Slot numbers and union
members below are from this schema. The class names are in a zip archive appended to the model.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_effnet.card import ModelCard
from edge_effnet.errors import require
from edge_effnet.preprocess import Preprocess

flatbuffers: Any = require("flatbuffers", "export")

NAME = "TFLITE_METADATA"
LABEL_FILE = "labels.txt"
_IDENTIFIER = b"M001"
_MIN_PARSER_VERSION = "1.0.0"  # schema version that introduced the newest field used here
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # oldest date of the zip format; a fixed date fixes the bytes
_UNIX = 3

_IMAGE_PROPERTIES, _FEATURE_PROPERTIES = 2, 1  # union ContentProperties
_NORMALIZATION_OPTIONS = 1  # union ProcessUnitOptions
_RGB = 1  # enum ColorSpaceType
_TENSOR_AXIS_LABELS = 2  # enum AssociatedFileType


def model_metadata(card: ModelCard, input_name: str, output_name: str) -> bytes:
    """The ModelMetadata buffer."""
    builder = flatbuffers.Builder(1024)
    subgraph = _table(
        builder,
        offsets={
            2: _vector(builder, [_image(builder, input_name, card.preprocess)]),
            3: _vector(builder, [_scores(builder, output_name, card)]),
        },
    )
    root = _table(
        builder,
        offsets={
            0: builder.CreateString(card.variant),
            1: builder.CreateString(
                f"Image classifier; the output holds one {_value(card)} a class."
            ),
            3: _vector(builder, [subgraph]),
            7: builder.CreateString(_MIN_PARSER_VERSION),
        },
    )
    builder.Finish(root, _IDENTIFIER)
    return bytes(builder.Output())


def append_labels(data: bytes, labels: Sequence[str]) -> bytes:
    """``data`` with the labels, one per line, in an appended uncompressed zip.

    Without labels ``data`` is unchanged. The zip's offsets count from the start of the .tflite
    file, so every zip reader opens the file.
    """
    if not labels:
        return data
    lines = "".join(" ".join(label.splitlines()) + "\n" for label in labels)
    file = io.BytesIO(data)
    file.seek(0, io.SEEK_END)
    entry = zipfile.ZipInfo(LABEL_FILE, _ZIP_EPOCH)
    entry.create_system = _UNIX
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(entry, lines)
    return file.getvalue()


#: Crop mode -> text that tells clients how to make the image square.
_CROPS = {
    "center": "cropped to a square",
    "squash": "resized to a square without keeping its aspect ratio",
    "border": "between borders that make it square",
}


def _image(builder: Any, name: str, preprocess: Preprocess) -> int:
    """TensorMetadata of the input; quantized files state the float model's normalisation too."""
    properties = _table(builder, bytes_={0: _RGB})
    content = _table(builder, bytes_={0: _IMAGE_PROPERTIES}, offsets={1: properties})
    normalisation = _table(
        builder,
        offsets={0: _floats(builder, preprocess.mean), 1: _floats(builder, preprocess.std)},
    )
    unit = _table(builder, bytes_={0: _NORMALIZATION_OPTIONS}, offsets={1: normalisation})
    return _table(
        builder,
        offsets={
            0: builder.CreateString(name),
            1: builder.CreateString(f"RGB image, upright, {_CROPS[preprocess.crop_mode]}."),
            3: content,
            4: _vector(builder, [unit]),
        },
    )


def _value(card: ModelCard) -> str:
    return "probability" if card.probabilities else "logit"


def _scores(builder: Any, name: str, card: ModelCard) -> int:
    """TensorMetadata of the output."""
    content = _table(builder, bytes_={0: _FEATURE_PROPERTIES}, offsets={1: _table(builder)})
    fields = {
        0: builder.CreateString(name),
        1: builder.CreateString(
            "Probabilities, one a class." if card.probabilities else "Logits, one a class."
        ),
        3: content,
    }
    if card.labels:
        file = _table(
            builder,
            bytes_={2: _TENSOR_AXIS_LABELS},
            offsets={
                0: builder.CreateString(LABEL_FILE),
                1: builder.CreateString("Names of the classes, one a line."),
            },
        )
        fields[6] = _vector(builder, [file])
    return _table(builder, offsets=fields)


def _table(
    builder: Any, *, bytes_: dict[int, int] | None = None, offsets: dict[int, int] | None = None
) -> int:
    """A FlatBuffers table of 8-bit values and offsets of written objects, both by slot."""
    bytes_, offsets = bytes_ or {}, offsets or {}
    builder.StartObject(max((*bytes_, *offsets), default=-1) + 1)
    for slot, target in offsets.items():
        builder.PrependUOffsetTRelativeSlot(slot, target, 0)
    for slot, value in bytes_.items():
        builder.PrependInt8Slot(slot, value, 0)
    table: int = builder.EndObject()
    return table


def _vector(builder: Any, tables: Sequence[int]) -> int:
    builder.StartVector(4, len(tables), 4)
    for table in reversed(tables):
        builder.PrependUOffsetTRelative(table)
    vector: int = builder.EndVector()
    return vector


def _floats(builder: Any, values: Sequence[float]) -> int:
    """A vector of floats; a single float, which readers broadcast, if all channels are equal."""
    distinct = values[:1] if len(set(values)) == 1 else values
    vector: int = builder.CreateNumpyVector(np.array(distinct, np.float32))
    return vector
