"""Model files + photos -> Evaluation: top-1, top-5, agreement with a float file, drop, SQNR."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.benchmarks.accuracy import dataset
from edge_effnet.benchmarks.accuracy.dataset import Dataset, Photo
from edge_effnet.benchmarks.accuracy.predictions import (
    TOP,
    PredictionCounts,
    Predictions,
    PredictionShard,
    joined,
)
from edge_effnet.benchmarks.intervals import paired_difference
from edge_effnet.benchmarks.records import PhotoSet, Record
from edge_effnet.classifier import Classifier, check_one_class_applies
from edge_effnet.errors import ImageError, UsageError
from edge_effnet.files import PathLike, unique_paths
from edge_effnet.formats import format_name, size_bytes
from edge_effnet.preprocess import Preprocess, load_image
from edge_effnet.progress import Progress
from edge_effnet.runtime.opening import open_model
from edge_effnet.statistics import wilson

_CHUNK = 32  # photos in memory at a time


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """What was found: ``answers[i]`` and ``references[i]`` belong to ``records[i]``.

    ``photos`` are those that could be decoded, ``targets`` their class indices, int32 [photos], or
    None without labels. ``references`` holds the answers of each record's reference, or None.
    """

    records: tuple[Record, ...]
    answers: tuple[Predictions, ...]
    references: tuple[Predictions | None, ...]
    photos: tuple[Photo, ...]
    targets: NDArray[np.int32] | None
    classes: tuple[str, ...]
    photo_set: PhotoSet


def evaluate(
    files: Sequence[PathLike],
    images: PathLike,
    labels: PathLike | None = None,
    split: str | None = None,
    reference: PathLike | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    preprocess: Preprocess | None = None,
) -> Evaluation:
    """Run every file over the same photos and compare.

    ``images``, ``labels`` and ``split`` are as in `dataset.load`. Each file is compared with
    ``reference``, or without one with the first fp32 file of its own variant among ``files``; a
    file with neither has no agreement and no drop. ``preprocess`` overrides the cards'; files
    without a card need it. Broken photos are left out and listed in ``photo_set.broken``.

    Photos pass through all files in small chunks, so memory does not grow with their number.
    Raises `ImageError` if no photo can be decoded, `UsageError` for labels that do not fit or files
    that name different classes, and whatever `open_model` raises.
    """
    bench = Bench(files, images, labels, split, reference, threads, preprocess)
    total, parts = len(bench.photos.photos), []
    for start in range(0, total, _CHUNK):
        stop = min(start + _CHUNK, total)
        parts.append(bench.run(start, stop))
        if progress is not None:
            progress("photos", stop, total)
    return conclude(parts, bench.photos)


class Bench:
    """Opened files and the photos to run them on, as the arguments of `evaluate`."""

    def __init__(
        self,
        files: Sequence[PathLike],
        images: PathLike,
        labels: PathLike | None = None,
        split: str | None = None,
        reference: PathLike | None = None,
        threads: int | None = None,
        preprocess: Preprocess | None = None,
    ) -> None:
        models = [
            open_model(path, threads=threads, preprocess=preprocess) for path in unique_paths(files)
        ]
        if not models:
            raise UsageError("no model file to evaluate; give at least one")
        for model in models:
            check_one_class_applies(model.card, model.path, "the evaluation")
        compared = _pair(models, reference, threads, preprocess)
        others = {other.path: other for other in compared if other and other not in models}
        self._measured = len(models)
        self._models = {model.path: model for model in models} | others
        self._compared = {
            model.path: None if other is None else other.path
            for model, other in zip(models, compared, strict=True)
        }
        self.classes = _common_classes(list(self._models.values()))
        self.photos = dataset.load(images, self.classes, labels, split)
        self.photos.targets(self.classes)  # labels that do not fit are refused before the work

    def run(self, start: int, stop: int) -> PredictionShard:
        """What all files answer on the photos ``start`` to ``stop - 1``."""
        tallies = {
            path: PredictionCounts(_facts(model), self._compared.get(path))
            for path, model in self._models.items()
        }
        kept: list[int] = []
        broken: list[tuple[str, str]] = []
        for first in range(start, stop, _CHUNK):
            numbers = range(first, min(first + _CHUNK, stop))
            found, pixels = _decode(self.photos, numbers, list(self._models.values()), broken)
            kept += found
            logits = {
                path: _logits(model, pixels[model.card.preprocess])
                for path, model in self._models.items()
            }
            for path, tally in tallies.items():
                tally.add(logits[path])
                if tally.compared is not None:
                    tally.add_noise(logits[tally.compared], logits[path])
        return PredictionShard(tuple(kept), tuple(broken), tallies, self._measured, self.classes)


def conclude(parts: Sequence[PredictionShard], photos: Dataset) -> Evaluation:
    """The figures of parts that together cover ``photos``, in order.

    Raises `ImageError` if no photo could be decoded.
    """
    kept = [number for part in parts for number in part.kept]
    broken = tuple(item for part in parts for item in part.broken)
    if not kept:
        raise ImageError(
            f"none of the {len(photos.photos)} photos in {photos.folder} can be decoded; "
            f"{broken[0][1]}"
        )
    first = parts[0]
    targets = photos.targets(first.classes)
    truth = None if targets is None else targets[kept]
    found = {path: joined([part.tallies[path] for part in parts]) for path in first.tallies}
    records, own, others = [], [], []
    for path, tally in list(first.tallies.items())[: first.measured]:
        answers, sqnr = found[path]
        other = None if tally.compared is None else found[tally.compared][0]
        shares = _shares(answers, truth, len(first.classes))
        if tally.compared == path:
            shares.update(reference=path, agreement=1.0)
            shares.update({} if truth is None else {"drop": 0.0, "lost": 0, "gained": 0})
        elif other is not None:
            shares.update(_against(answers, other, truth))
            shares.update(reference=tally.compared, sqnr_db=sqnr)
        records.append(tally.record.with_(images=len(kept), **shares))
        own.append(answers)
        others.append(other)
    return Evaluation(
        records=tuple(records),
        answers=tuple(own),
        references=tuple(others),
        photos=tuple(photos.photos[number] for number in kept),
        targets=truth,
        classes=first.classes,
        photo_set=PhotoSet(str(photos.folder), len(kept), photos.labelled, photos.split, broken),
    )


def together(evaluations: Sequence[Evaluation]) -> Evaluation | None:
    """Evaluations of the same photos and classes as one; None where they are of several."""
    first, *others = evaluations
    alike = all(
        (other.photos, other.classes, other.photo_set)
        == (first.photos, first.classes, first.photo_set)
        for other in others
    )
    if not alike:
        return None
    return replace(
        first,
        records=tuple(record for each in evaluations for record in each.records),
        answers=tuple(answers for each in evaluations for answers in each.answers),
        references=tuple(answers for each in evaluations for answers in each.references),
    )


def _pair(
    models: Sequence[Classifier],
    reference: PathLike | None,
    threads: int | None,
    preprocess: Preprocess | None,
) -> list[Classifier | None]:
    """The reference of each model, opened if it is not among them."""
    if reference is not None:
        same = os.path.realpath(reference)
        given = next((model for model in models if os.path.realpath(model.path) == same), None)
        given = given or open_model(reference, threads=threads, preprocess=preprocess)
        return [given] * len(models)
    first: dict[str, Classifier] = {}
    for model in models:
        if model.card.precision == "fp32" and not _is_bare(model):
            first.setdefault(model.card.variant, model)
    return [first.get(model.card.variant) for model in models]


def _common_classes(models: Sequence[Classifier]) -> tuple[str, ...]:
    first = models[0]
    for model in models[1:]:
        if len(model.card.labels) != len(first.card.labels):
            raise UsageError(
                f"{model.path} has {len(model.card.labels)} classes but {first.path} has "
                f"{len(first.card.labels)}: their answers cannot be compared; evaluate them apart"
            )
        if model.card.labels != first.card.labels:
            raise UsageError(
                f"{model.path} and {first.path} name their classes differently: their answers "
                "cannot be compared; evaluate them apart"
            )
    return first.card.labels


def _decode(
    photos: Dataset,
    numbers: range,
    models: Sequence[Classifier],
    broken: list[tuple[str, str]],
) -> tuple[list[int], dict[Preprocess, list[NDArray[np.uint8]]]]:
    """The numbers of the photos that decode, and their pixels once a distinct preprocessing."""
    kept: list[int] = []
    pixels: dict[Preprocess, list[NDArray[np.uint8]]] = {
        model.card.preprocess: [] for model in models
    }
    for number in numbers:
        photo = photos.photos[number]
        try:
            picture = load_image(photo.path)
        except ImageError as error:
            broken.append((photo.name, str(error)))
            continue
        kept.append(number)
        for preprocess, made in pixels.items():
            made.append(preprocess.pixels(picture))
    return kept, pixels


def _logits(model: Classifier, pixels: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    if not pixels:
        return np.empty((0, len(model.card.labels)), np.float32)
    return np.stack([model.logits_of_pixels(picture) for picture in pixels])


def _facts(model: Classifier) -> Record:
    """What a file says of itself, before anything is measured."""
    card, info = model.card, model.runner.info
    return Record(
        file=model.path,
        variant=card.variant,
        format=format_name(model.path),
        precision="unknown" if _is_bare(model) else card.precision,
        quantizer=card.quantization.quantizer if card.quantization else None,
        recipe=card.quantization.recipe if card.quantization else None,
        size_bytes=size_bytes(model.path),
        threads=info.threads,
        runtime=info.name,
        runtime_version=info.version,
        kernels=info.kernels,
    )


def _is_bare(model: Classifier) -> bool:
    """Whether the file carries no card, so that its variant and precision are unknown."""
    return model.runner.card_text() is None


def _shares(answers: Predictions, truth: NDArray[np.int32] | None, classes: int) -> dict[str, Any]:
    """top-1 and top-5 with their intervals; top-5 says nothing of five classes or fewer."""
    if truth is None:
        return {}
    hits = answers.indices == truth[:, None]
    found = _share("top1", hits[:, 0])
    for name, those in (("class_images", truth), ("class_right", truth[hits[:, 0]])):
        found[name] = tuple(np.bincount(those, minlength=classes).tolist())
    return {**found, **_share("top5", hits.any(axis=1))} if classes > TOP else found


def _against(
    answers: Predictions, reference: Predictions, truth: NDArray[np.int32] | None
) -> dict[str, Any]:
    mine, theirs = answers.indices[:, 0], reference.indices[:, 0]
    found = _share("agreement", (mine == theirs) & (mine >= 0))
    if truth is None:
        return found
    lost = int(((theirs == truth) & (mine != truth)).sum())
    gained = int(((mine == truth) & (theirs != truth)).sum())
    low, high = paired_difference(lost, gained, len(truth))
    drop = 100 * (lost - gained) / len(truth)
    return {
        **found,
        "drop": drop,
        "drop_ci": (100 * low, 100 * high),
        "lost": lost,
        "gained": gained,
    }


def _share(name: str, hits: NDArray[np.bool_]) -> dict[str, Any]:
    count, total = int(hits.sum()), len(hits)
    return {name: count / total, f"{name}_ci": wilson(count, total)}
