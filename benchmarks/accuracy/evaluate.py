"""Evaluation of model files on photos: top-1, top-5, top-1 agreement with float, drop, SQNR."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet import appearance
from edge_effnet.answers import THRESHOLD, check_threshold
from edge_effnet.benchmarks.accuracy import class_accuracy, dataset, label_sets
from edge_effnet.benchmarks.accuracy.dataset import Dataset, Photo
from edge_effnet.benchmarks.accuracy.domain_shift import calibration_of, shift_warnings
from edge_effnet.benchmarks.accuracy.opened import device_of, facts, is_bare, key_of
from edge_effnet.benchmarks.accuracy.predictions import (
    PredictionCounts,
    Predictions,
    PredictionShard,
    joined,
)
from edge_effnet.benchmarks.devices import FileOnDevice, unique
from edge_effnet.benchmarks.records import PhotoSet, Record
from edge_effnet.classifier import Classifier, check_classes
from edge_effnet.errors import ImageError, UsageError
from edge_effnet.files import PathLike
from edge_effnet.label_files import name_key
from edge_effnet.preprocess import Pixels, Preprocess, load_image
from edge_effnet.progress import Progress
from edge_effnet.runtime.devices.device import CPU
from edge_effnet.runtime.opening import open_model

_CHUNK = 32  # photos in memory at a time


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """Accuracy of files on the same photos.

    Attributes:
        records: One record per file.
        predictions: Predictions of each record's file.
        references: Predictions of each record's reference, None without one.
        photos: The photos that could be decoded.
        targets: Class index of each photo, int32 [photos]; None without labels.
        label_sets: Labels of each photo for multi-label networks, bool [photos, labels].
        threshold: Probability from which a multi-label network predicts a label.
        classes: Names of the classes.
        photo_set: Folder and number of the photos, and the skipped photos.
    """

    records: tuple[Record, ...]
    predictions: tuple[Predictions, ...]
    references: tuple[Predictions | None, ...]
    photos: tuple[Photo, ...]
    targets: NDArray[np.int32] | None
    classes: tuple[str, ...]
    photo_set: PhotoSet
    label_sets: NDArray[np.bool_] | None = None
    threshold: float = THRESHOLD


def evaluate(
    files: Sequence[PathLike | FileOnDevice],
    images: PathLike,
    labels: PathLike | None = None,
    split: str | None = None,
    reference: PathLike | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    preprocess: Preprocess | None = None,
    threshold: float = THRESHOLD,
    device_options: Mapping[str, str] | None = None,
) -> Evaluation:
    """Accuracy of every file on the same photos, and its agreement with the float file.

    All files process the photos in small chunks, so memory does not grow with the photo count.

    Args:
        files: Model files, each on the CPU or on the device of its `FileOnDevice`. References run
            on the CPU.
        images: Folder of photos, as in `dataset.load`.
        labels: CSV of their labels.
        split: Use the photos of this split only.
        reference: Model file that agreement and drop refer to; by default the first fp32 file of
            the same variant in ``files``. Without a reference, agreement and drop are None.
        threads: Compute threads; by default one per core.
        progress: Called with ("evaluate photos", done, total).
        preprocess: Replaces the preprocessing of the files' cards. Required for files without a
            card.
        threshold: Probability from which a multi-label network predicts a label.
        device_options: Settings of the devices' drivers.

    Returns:
        Records and predictions. Photos that cannot be decoded are listed in ``photo_set.broken``.

    Raises:
        ImageError: No photo can be decoded.
        UsageError: A label matches no class, the files have different classes, or there are neither
            labels nor a float file.
        ModelFileError: A file cannot be opened.
        DeviceError: A device cannot run a file.
    """
    check_threshold(threshold)
    bench = Bench(files, images, labels, split, reference, threads, preprocess, device_options)
    if not bench.measures:
        raise UsageError(
            f"nothing can be measured on {images}: the photos have no labels, and there is no fp32 "
            "file to compare predictions with",
            hint="give reference=FILE or labels=CSV, or use 'edge-effnet benchmark' for latency "
            "alone",
        )
    total, parts = len(bench.photos.photos), []
    for start in range(0, total, _CHUNK):
        stop = min(start + _CHUNK, total)
        parts.append(bench.run(start, stop))
        if progress is not None:
            progress("evaluate photos", stop, total)
    return conclude(parts, bench.photos, threshold)


class Bench:
    """Opened files and the photos to evaluate them on; the arguments are those of `evaluate`."""

    def __init__(
        self,
        files: Sequence[PathLike | FileOnDevice],
        images: PathLike,
        labels: PathLike | None = None,
        split: str | None = None,
        reference: PathLike | None = None,
        threads: int | None = None,
        preprocess: Preprocess | None = None,
        device_options: Mapping[str, str] | None = None,
    ) -> None:
        models = [
            open_model(
                each.path,
                threads=threads,
                preprocess=preprocess,
                device=each.device,
                device_options=None if each.device == CPU else device_options,
            )
            for each in unique(files)
        ]
        if not models:
            raise UsageError("no model file to evaluate; give at least one")
        for model in models:
            check_classes(model.card, model.path, "the evaluation")
        compared = _pair(models, reference, threads, preprocess)
        others = {key_of(other): other for other in compared if other and other not in models}
        self._measured = len(models)
        self._models = {key_of(model): model for model in models} | others
        self._compared = {
            key_of(model): None if other is None else key_of(other)
            for model, other in zip(models, compared, strict=True)
        }
        self.classes = _common_classes(list(self._models.values()))
        self.multi_label = models[0].card.multi_label
        self.photos = dataset.load(images, self.classes, labels, split, self.multi_label)
        _targets(self.photos, self.classes, self.multi_label)  # reject wrong labels early

    @property
    def measures(self) -> bool:
        """Whether there is anything to compare predictions with: labels or another file."""
        return self.photos.labelled or any(self._compared.values())

    def run(self, start: int, stop: int) -> PredictionShard:
        """Predictions of all files on the photos ``start`` to ``stop - 1``."""
        counts = {
            path: PredictionCounts(
                facts(model),
                self._compared.get(path),
                multi_label=self.multi_label,
                calibration=calibration_of(model.card),
            )
            for path, model in self._models.items()
        }
        decoded: list[int] = []
        broken: list[tuple[str, str]] = []
        for first in range(start, stop, _CHUNK):
            numbers = range(first, min(first + _CHUNK, stop))
            numbers_decoded, pixels = _decode(
                self.photos, numbers, list(self._models.values()), broken
            )
            decoded += numbers_decoded
            logits = {
                path: _logits(model, pixels[model.card.preprocess])
                for path, model in self._models.items()
            }
            for path, count in counts.items():
                count.add(logits[path])
                if count.calibration is not None:
                    photos = pixels[self._models[path].card.preprocess]
                    count.appearance.append(appearance.measure(np.asarray(photos)))
                if count.compared is not None:
                    count.add_noise(logits[count.compared], logits[path])
        return PredictionShard(tuple(decoded), tuple(broken), counts, self._measured, self.classes)


def conclude(
    shards: Sequence[PredictionShard], photos: Dataset, threshold: float = THRESHOLD
) -> Evaluation:
    """Evaluation from shards that together cover ``photos``, in their order.

    Args:
        shards: Predictions on consecutive ranges of the photos.
        photos: All photos.
        threshold: Probability from which a multi-label network predicts a label.

    Raises:
        ImageError: No photo could be decoded.
    """
    decoded = [number for shard in shards for number in shard.decoded]
    broken = tuple(item for shard in shards for item in shard.broken)
    if not decoded:
        raise ImageError(
            f"none of the {len(photos.photos)} photos in {photos.folder} can be decoded; "
            f"{broken[0][1]}"
        )
    first = shards[0]
    multi_label = any(counts.multi_label for counts in first.counts.values())
    targets = _targets(photos, first.classes, multi_label)
    truth = None if targets is None else targets[decoded]
    predictions_of = {
        path: joined([shard.counts[path] for shard in shards]) for path in first.counts
    }
    records, predictions, references = [], [], []
    notes = [*photos.notes, *shift_warnings(shards)]
    for path, counts in list(first.counts.items())[: first.measured]:
        own_predictions, sqnr = predictions_of[path]
        reference = None if counts.compared is None else predictions_of[counts.compared][0]
        against = None if counts.compared == path else reference
        if multi_label:
            shares = label_sets.accuracy_fields(own_predictions, _sets(truth), threshold, against)
        else:
            shares = class_accuracy.accuracy_fields(
                own_predictions, _indices(truth), len(first.classes), against
            )
        if counts.compared == path:
            shares.update(reference=path, agreement=1.0)
            shares.update({} if truth is None else {"drop": 0.0, "lost": 0, "gained": 0})
        elif reference is not None:
            shares.update(reference=counts.compared, sqnr_db=sqnr)
        records.append(counts.record.with_(images=len(decoded), **shares))
        predictions.append(own_predictions)
        references.append(reference)
    return Evaluation(
        records=tuple(records),
        predictions=tuple(predictions),
        references=tuple(references),
        photos=tuple(photos.photos[number] for number in decoded),
        targets=None if multi_label else _indices(truth),
        label_sets=_sets(truth) if multi_label else None,
        threshold=threshold,
        classes=first.classes,
        photo_set=PhotoSet(
            str(photos.folder), len(decoded), photos.labelled, photos.split, broken, tuple(notes)
        ),
    )


def _targets(
    photos: Dataset, classes: Sequence[str], multi_label: bool
) -> NDArray[np.int32] | NDArray[np.bool_] | None:
    """Class indices, or sets of labels, of all photos."""
    return photos.label_sets(classes) if multi_label else photos.targets(classes)


def _sets(truth: NDArray[Any] | None) -> NDArray[np.bool_] | None:
    return None if truth is None else truth.astype(np.bool_)


def _indices(truth: NDArray[Any] | None) -> NDArray[np.int32] | None:
    return None if truth is None else truth.astype(np.int32)


def together(evaluations: Sequence[Evaluation]) -> Evaluation | None:
    """Several evaluations merged into one; None if their photos or classes differ."""
    first, *others = evaluations
    alike = all(
        (other.photos, other.classes, replace(other.photo_set, notes=()))
        == (first.photos, first.classes, replace(first.photo_set, notes=()))
        for other in others
    )
    if not alike:
        return None
    notes = dict.fromkeys(note for each in evaluations for note in each.photo_set.notes)
    return replace(
        first,
        photo_set=replace(first.photo_set, notes=tuple(notes)),
        records=tuple(record for each in evaluations for record in each.records),
        predictions=tuple(predictions for each in evaluations for predictions in each.predictions),
        references=tuple(predictions for each in evaluations for predictions in each.references),
    )


def _pair(
    models: Sequence[Classifier],
    reference: PathLike | None,
    threads: int | None,
    preprocess: Preprocess | None,
) -> list[Classifier | None]:
    """Reference classifier of each model, in their order; None for a model without one.

    References run on the CPU: a file is opened there if ``models`` have it on other devices only,
    or if it is the file ``reference`` and not among them.
    """
    on_cpu = [model for model in models if device_of(model) == CPU]
    if reference is not None:
        same = os.path.realpath(reference)
        opened = next((model for model in on_cpu if os.path.realpath(model.path) == same), None)
        opened = opened or open_model(reference, threads=threads, preprocess=preprocess)
        return [opened] * len(models)
    first: dict[str, Classifier] = {}
    for model in (*on_cpu, *models):
        if model.card.precision == "fp32" and not is_bare(model):
            if model.card.variant not in first and model not in on_cpu:
                model = open_model(model.path, threads=threads, preprocess=preprocess)
            first.setdefault(model.card.variant, model)
    return [first.get(model.card.variant) for model in models]


def _common_classes(models: Sequence[Classifier]) -> tuple[str, ...]:
    first = models[0]
    for model in models[1:]:
        if model.card.multi_label != first.card.multi_label:
            sets, one = (model, first) if model.card.multi_label else (first, model)
            raise UsageError(
                f"{sets.path} predicts sets of labels and {one.path} one class: their predictions "
                "cannot be compared; evaluate them apart"
            )
        if len(model.card.labels) != len(first.card.labels):
            raise UsageError(
                f"{model.path} has {len(model.card.labels)} classes but {first.path} has "
                f"{len(first.card.labels)}: their predictions cannot be compared; evaluate them "
                "apart"
            )
        if [*map(name_key, model.card.labels)] != [*map(name_key, first.card.labels)]:
            raise UsageError(
                f"{model.path} and {first.path} name their classes differently: their "
                "predictions cannot be compared; evaluate them apart"
            )
    return first.card.labels


def _decode(
    photos: Dataset,
    numbers: range,
    models: Sequence[Classifier],
    broken: list[tuple[str, str]],
) -> tuple[list[int], dict[Preprocess, list[Pixels]]]:
    """Indices of the photos that decode, and their pixels for each distinct preprocessing."""
    decoded: list[int] = []
    pixels: dict[Preprocess, list[Pixels]] = {model.card.preprocess: [] for model in models}
    for number in numbers:
        photo = photos.photos[number]
        try:
            picture = load_image(photo.path)
        except ImageError as error:
            broken.append((photo.name, str(error)))
            continue
        decoded.append(number)
        for preprocess, rows in pixels.items():
            rows.append(preprocess.exact_pixels(picture))
        del picture  # before the next one is decoded
    return decoded, pixels


def _logits(model: Classifier, pixels: Sequence[Pixels]) -> NDArray[np.float32]:
    if not pixels:
        return np.empty((0, len(model.card.labels)), np.float32)
    return model.logits_of_batch(pixels)
