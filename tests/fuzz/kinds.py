"""Kinds of files: seeds, mutators, the reader, and the share of a run."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from fuzz import readers
from fuzz.mutators import (
    Mutator,
    archives,
    bundles,
    executorch,
    flatbuffers,
    hdf5,
    json_values,
    mutated,
    networks,
    pickles,
    pictures,
    protobufs,
    raw,
    safetensors,
    tables,
)
from fuzz.seeds import Seed, checkpoints, models, photos, texts

Seeds = Callable[[], Sequence[Seed]]


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    Attributes:
        seeds: Function that returns sound files.
        mutators: Pairs of the end of a file's name ("": any), and mutators for it.
        read: Reader.
        share: Number of mutants per hundred of the fastest kind.
        finish: Function that makes a mutant consistent again: a digest.
    """

    seeds: Seeds
    mutators: Sequence[tuple[str, Sequence[Mutator]]]
    read: Callable[[Path], None]
    share: int = 100
    finish: Callable[[Seed], Seed] = dict

    def mutant(self, dice: random.Random) -> Seed:
        """A seed with one of its files changed."""
        seed = dict(dice.choice(_cached(self.seeds)))
        fitting = [
            (name, mutators)
            for name in seed
            for end, mutators in self.mutators
            if name.endswith(end)
        ]
        name, mutators = dice.choice(fitting)
        seed[name] = mutated(seed[name], (*mutators, *mutators, *raw.ANY), dice)
        try:
            return self.finish(seed)
        except ValueError:  # the digest's marker is broken
            return seed


@cache
def _cached(seeds: Seeds) -> Sequence[Seed]:
    return seeds()


_PICKLE = ("data.pkl", (*pickles.MUTATORS, *raw.ANY))
_ZIPPED_PICKLE = (*archives.MUTATORS, *[archives.members([_PICKLE])] * 9)
_ZIPPED_KERAS = (
    *archives.MUTATORS,
    *[archives.members([("config.json", json_values.MUTATORS), ("config.json", raw.ANY)])] * 9,
    *[archives.members([("model.weights.h5", (hdf5.change,))])] * 4,
)
_TEXT = [("", (*json_values.MUTATORS, *json_values.MUTATORS))]
_TABLE = [("", (*tables.MUTATORS, *tables.MUTATORS))]


def _photos(seeds: Seeds, *mutators: Mutator) -> Kind:
    return Kind(seeds, [("", (*mutators * 8,))], readers.photo)


def _model(suffix: str, mutators: Sequence[Mutator], share: int, *, sealed: bool) -> Kind:
    seeds = partial(models.sealed if sealed else models.bare, suffix)
    ends: list[tuple[str, Sequence[Mutator]]] = [(suffix, tuple(mutators) * 3)]
    if suffix == ".xml":
        ends = ends * 6 + [(".bin", raw.ANY)]
    return Kind(seeds, ends, readers.model, share, models.redigested if sealed else dict)


_BUNDLE = [
    (".index", bundles.MUTATORS * 3),
    ("-00001", raw.ANY),
    ("keras_metadata.pb", protobufs.MUTATORS),
]
_ONNX = (*networks.ONNX, *protobufs.MUTATORS)

KINDS: dict[str, Kind] = {
    "pickle-zip": Kind(checkpoints.pytorch_zip, [("", _ZIPPED_PICKLE)], readers.checkpoint),
    "pickle-legacy": Kind(
        checkpoints.pytorch_legacy, [("", pickles.MUTATORS * 3)], readers.checkpoint
    ),
    "safetensors": Kind(
        checkpoints.safetensors,
        [(".safetensors", safetensors.MUTATORS * 3), (".json", json_values.MUTATORS * 3)],
        readers.checkpoint,
    ),
    "tensorflow": Kind(checkpoints.tensorflow, _BUNDLE, readers.checkpoint),
    "hdf5": Kind(checkpoints.hdf5, [("", (hdf5.change,) * 60)], readers.checkpoint, 40),
    "keras": Kind(checkpoints.keras, [("", _ZIPPED_KERAS)], readers.checkpoint, 40),
    "quantized": Kind(models.quantized, [("", safetensors.MUTATORS * 3)], readers.quantized, 60),
    "tflite": _model(".tflite", flatbuffers.MUTATORS, 70, sealed=False),
    "tflite-redigested": _model(".tflite", flatbuffers.MUTATORS, 70, sealed=True),
    "onnx": _model(".onnx", _ONNX, 60, sealed=False),
    "onnx-redigested": _model(".onnx", _ONNX, 60, sealed=True),
    "openvino": _model(".xml", networks.XML, 12, sealed=False),
    "openvino-redigested": _model(".xml", networks.XML, 12, sealed=True),
    "onnx-foreign": Kind(
        partial(models.bare, ".onnx"), [("", _ONNX * 3)], readers.foreign, 4
    ),
    "jpeg": _photos(photos.jpeg, pictures.jpeg_segment),
    "png": _photos(photos.png, pictures.png_chunk),
    "webp": _photos(photos.webp, pictures.riff_chunk),
    "avif": _photos(photos.avif, pictures.box),
    "tiff": _photos(photos.tiff, pictures.tiff_entry),
    "gif": _photos(photos.gif, pictures.gif_block),
    "bitmaps": _photos(photos.others, pictures.header_number),
    "card": Kind(texts.card, _TEXT, readers.card),
    "results": Kind(texts.results, _TEXT, readers.results, 30),
    "latency-model": Kind(texts.latency_model, _TEXT, readers.latency_model),
    "journal": Kind(
        texts.journal, [("", (*tables.MUTATORS, *[json_values.line] * 9))], readers.journal
    ),
    "class-names": Kind(
        texts.class_names,
        [(".json", _TEXT[0][1]), *((end, _TABLE[0][1]) for end in (".txt", ".csv", ".tsv"))],
        readers.class_names,
    ),
    "photo-labels": Kind(texts.photo_labels, _TABLE, readers.photo_labels),
    "training": Kind(
        texts.training, [(".json", _TEXT[0][1]), (".csv", _TABLE[0][1])], readers.training
    ),
}  # fmt: skip
if models.WITH_EXECUTORCH:
    KINDS |= {
        "pte": _model(".pte", executorch.MUTATORS, 20, sealed=False),
        "pte-redigested": _model(".pte", executorch.MUTATORS, 20, sealed=True),
    }


def mutant(kind: str, number: int, seed: int) -> Seed:
    """Mutant ``number`` of ``kind``; the same for the same ``seed``."""
    return KINDS[kind].mutant(random.Random(f"{seed} {kind} {number}"))


def shares(total: int) -> dict[str, int]:
    """Number of mutants of each kind, ``total`` in all."""
    weights = {name: kind.share for name, kind in KINDS.items()}
    counts = {name: total * weight // sum(weights.values()) for name, weight in weights.items()}
    for name in list(counts)[: total - sum(counts.values())]:
        counts[name] += 1
    return counts
