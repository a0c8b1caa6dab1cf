"""Diagnosis of an exported file: which known preprocessing gives the best accuracy.

Wrong preprocessing costs tens of points of top-1 without any error message, and is often mistaken
for quantization loss. The same labelled photos are therefore evaluated with the preprocessing of
every common training framework. One factor is varied at a time: normalisation and colour order,
crop, interpolation, then class indices that are off by one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from edge_effnet.benchmarks.accuracy import dataset
from edge_effnet.benchmarks.accuracy.conventions import NORMALISATIONS, Convention, Step
from edge_effnet.benchmarks.intervals import paired_difference
from edge_effnet.card import ModelCard
from edge_effnet.classifier import Classifier, check_classes, class_logits, sigmoid, softmax
from edge_effnet.errors import ImageError, UsageError
from edge_effnet.files import PathLike
from edge_effnet.preprocess import (
    INTERPOLATIONS,
    CropMode,
    Preprocess,
    load_image,
    tensorflow_crop,
)
from edge_effnet.progress import Progress
from edge_effnet.runtime.opening import open_model
from edge_effnet.statistics import wilson

PHOTOS = 100  # enough to detect 5 points of top-1 within seconds
_OFF = "a background class too many or too few"
_NEAR_CHANCE = 0.1  # top-1; if no convention exceeds it, preprocessing is not the cause


@dataclass(frozen=True)
class Trial:
    """Accuracy with one convention: ``top1`` is a fraction, ``loss`` the mean cross-entropy."""

    step: Step
    convention: Convention
    users: str
    top1: float
    loss: float
    right: NDArray[np.bool_]


@dataclass(frozen=True)
class Diagnosis:
    """All trials, in order of evaluation.

    ``declared`` is the trial with the card's preprocessing, None without a card. ``chance`` is the
    accuracy of random guesses. ``measure`` is the name of the accuracy measure.
    """

    file: str
    photos: int
    trials: tuple[Trial, ...]
    declared: Trial | None
    best: Trial
    chance: float
    measure: str = "top-1"

    @property
    def near_chance(self) -> bool:
        """Whether even the best convention is close to guessing."""
        low, _ = wilson(int(self.best.right.sum()), self.photos)
        return self.best.top1 < _NEAR_CHANCE or low <= self.chance

    @property
    def declared_fits(self) -> bool:
        """Whether no convention is significantly better (95 %) than the card's preprocessing."""
        return self.best is self.declared

    @property
    def summary(self) -> str:
        """The conclusion in one sentence."""
        top1 = f"{self.best.top1:.1%}"
        if self.near_chance:
            return (
                f"no known preprocessing makes sense of the file (best: {top1} {self.measure}): "
                "look at its weights and at the labels, not at the preprocessing"
            )
        if self.declared_fits:
            return (
                f"the file's own preprocessing fits: {top1} {self.measure}, and none is clearly "
                "better"
            )
        convention = self.best.convention
        instead = "" if self.declared is None else f" against {self.declared.top1:.1%} with its own"
        sentences = [f"{convention.describe()} fits: {top1} {self.measure}{instead}"]
        if convention.shift:
            sentences.append(
                "all predictions are one class off: export it again with the right names"
            )
        if convention.bgr:
            sentences.append("it wants its colours as BGR: export it again from its checkpoint")
        elif convention.kind == "normalised":
            sentences.append(f"open it with {convention.options()}")
        return "; ".join(sentences)

    def as_json(self) -> dict[str, Any]:
        """The trials and the conclusion as plain data."""
        return {
            "file": self.file,
            "photos": self.photos,
            "trials": [_as_json(trial) for trial in self.trials],
            "own": None if self.declared is None else _as_json(self.declared),
            "best": _as_json(self.best),
            "own_fits": self.declared_fits,
            "senseless": self.near_chance,
            "verdict": self.summary,
        }


def diagnose(
    file: PathLike,
    images: PathLike,
    labels: PathLike | None = None,
    split: str | None = None,
    *,
    photos: int = PHOTOS,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Diagnosis:
    """Evaluate ``file`` with every known preprocessing.

    Args:
        file: Exported model file.
        images: Folder of labelled photos.
        labels: CSV of their labels, as in `dataset.load`.
        split: Use the photos of this split only.
        photos: Largest number of photos, taken at regular intervals.
        threads: Compute threads; by default one per core.
        progress: Called with (trial, photos done, number of photos).

    Returns:
        The trials, and the best of them.

    Raises:
        UsageError: The photos have no labels.
        ImageError: No photo can be decoded.
        ModelFileError: The file cannot be opened.
    """
    classifier = open_model(file, threads=threads, bare=_usual)
    card = classifier.card
    check_classes(card, classifier.path, "the doctor")
    described = classifier.runner.card_text() is not None
    data = dataset.load(images, card.labels, labels, split, card.multi_label)
    truth = _truth(data, card)
    if truth is None:
        raise UsageError(
            f"the photos in {images} have no labels; the diagnosis needs the true class of "
            "each photo",
            hint="give labels=CSV, or one folder a class",
        )
    usable = np.flatnonzero(truth.any(axis=1))  # photos with at least one label
    chosen = usable[
        np.unique(np.linspace(0, len(usable) - 1, min(photos, len(usable))).astype(int))
    ]
    pictures, decoded = [], []
    for number in chosen:
        try:
            pictures.append(load_image(data.photos[number].path))
        except ImageError:
            continue
        decoded.append(number)
    if not pictures:
        raise ImageError(
            f"none of the {len(chosen)} photos tried in {images} can be decoded; give JPEG or PNG "
            "files"
        )
    bench = _Bench(classifier, pictures, truth[decoded], progress)
    declared = Convention(classifier.card.preprocess, classifier.card.input)
    bench.run(declared, described)
    return Diagnosis(
        str(file),
        len(pictures),
        tuple(bench.trials),
        bench.declared,
        bench.best(),
        float(truth[decoded].mean()),
        "photos whose most likely label applies" if card.multi_label else "top-1",
    )


def _truth(data: dataset.Dataset, card: ModelCard) -> NDArray[np.bool_] | None:
    """Which classes are right for each photo, bool [photos, classes]."""
    if card.multi_label:
        return data.label_sets(card.labels)
    targets = data.targets(card.labels)
    return None if targets is None else np.eye(len(card.labels), dtype=np.bool_)[targets]


class _Bench:
    """Runs the trials and holds their results.

    A convention is skipped if an earlier one gave the same input tensor.
    """

    def __init__(
        self,
        classifier: Classifier,
        pictures: Sequence[Image],
        truth: NDArray[np.bool_],
        progress: Progress | None,
    ) -> None:
        self.classifier, self.pictures, self.truth = classifier, pictures, truth
        self.progress = progress
        self.trials: list[Trial] = []
        self.declared: Trial | None = None
        self._tensors: set[bytes] = set()
        self._least_square = max(pictures, key=lambda picture: abs(math.log(_aspect(picture))))
        self._off: list[Trial] = []  # the same conventions with class indices off by one

    def best(self) -> Trial:
        """The trial with the card's preprocessing, unless another is significantly better.

        Without a card, the trial with the highest accuracy.
        """
        first = min(self.trials + self._off, key=lambda trial: (-trial.top1, trial.loss))
        return first if self.declared is None or _better(first, self.declared) else self.declared

    def best_convention(self) -> Convention:
        """The convention of `best`, but with the class indices of the card."""
        return replace(self.best().convention, shift=0)

    def run(self, start: Convention, described: bool) -> None:
        """Run the trials: vary one factor after another from the convention ``start``.

        ``described`` tells whether ``start`` is the preprocessing of the file's card.
        """
        self._try("normalisation", start, "the file's own" if described else "")
        self.declared = self.trials[0] if described else None
        for known in NORMALISATIONS:
            for bgr in (False, True):
                pre = replace(start.preprocess, mean=known.mean, std=known.std)
                self._try("normalisation", Convention(pre, "normalised", bgr), known.users)
        if self.classifier.runner.input.dtype != "float32":
            for bgr in (False, True):
                self._try(
                    "normalisation", Convention(start.preprocess, "pixels", bgr), "camera bytes"
                )
        best = self.best_convention()
        size = best.preprocess.size
        crops: tuple[tuple[CropMode, float, str], ...] = (
            ("center", tensorflow_crop(size), "TensorFlow"),
            ("center", 0.875, "torchvision, timm"),
            ("center", 1.0, "no margin"),
            ("squash", 1.0, "Keras's image_dataset_from_directory, Resize((h, w))"),
            ("border", 1.0, "letterbox"),
        )
        for mode, crop, users in crops:
            self._try("crop", _with(best, crop=crop, crop_mode=mode), users)
        best = self.best_convention()
        for interpolation in INTERPOLATIONS:
            users = "Keras's Resizing layer and data sets" if "keras" in interpolation else ""
            self._try("interpolation", _with(best, interpolation=interpolation), users)
        best = self.best_convention()
        self.trials += [trial for trial in self._off if replace(trial.convention, shift=0) == best]

    def _try(self, step: Step, convention: Convention, users: str) -> None:
        first = self._tensor(convention, self._least_square).tobytes()
        if first in self._tensors:
            return
        self._tensors.add(first)
        runner = self.classifier.runner
        rows = []
        for number, picture in enumerate(self.pictures, start=1):
            outputs = np.asarray(runner.run(self._tensor(convention, picture))[0], np.float32)
            rows.append(class_logits(self.classifier.card, outputs))
            if self.progress is not None:
                self.progress(f"{step} {len(self.trials) + 1}", number, len(self.pictures))
        logits = np.nan_to_num(np.stack(rows))
        self.trials.append(self._trial(step, convention, users, logits))
        for shift in (-1, 1):
            off = replace(convention, shift=shift)
            self._off.append(self._trial("classes", off, _OFF, logits))

    def _tensor(self, convention: Convention, picture: Image) -> NDArray[np.generic]:
        pre = convention.preprocess
        pixels = pre.exact_pixels(picture)
        if convention.bgr:
            pixels = np.ascontiguousarray(pixels[..., ::-1])
            pre = replace(pre, mean=pre.mean[::-1], std=pre.std[::-1])
        card = self.classifier.card.with_(preprocess=pre, input=convention.kind)
        return replace(self.classifier, card=card).tensor(pixels)

    def _trial(
        self, step: Step, convention: Convention, users: str, logits: NDArray[np.float32]
    ) -> Trial:
        wanted = np.zeros_like(self.truth)
        shift, classes = convention.shift, wanted.shape[1]
        wanted[:, max(shift, 0) : classes + shift] = self.truth[:, max(-shift, 0) : classes - shift]
        right = wanted[np.arange(len(wanted)), logits.argmax(axis=1)]
        if self.classifier.card.multi_label:
            shares = np.where(wanted, sigmoid(logits), sigmoid(-logits))
        else:
            shares = (softmax(logits) * wanted).sum(axis=1)
        loss = float(-np.log(np.maximum(shares, 1e-12)).mean())
        return Trial(step, convention, users, float(right.mean()), loss, right)


def _aspect(picture: Image) -> float:
    return picture.width / picture.height


def _usual(size: int) -> Preprocess:
    return Preprocess(size, tensorflow_crop(size))


def _with(convention: Convention, **changes: Any) -> Convention:
    return replace(convention, preprocess=replace(convention.preprocess, **changes))


def _better(trial: Trial, other: Trial) -> bool:
    lost = int((trial.right & ~other.right).sum())
    gained = int((other.right & ~trial.right).sum())
    return paired_difference(lost, gained, len(trial.right))[0] > 0


def _as_json(trial: Trial) -> dict[str, Any]:
    pre = trial.convention.preprocess
    return {
        "step": trial.step,
        "description": trial.convention.describe(),
        "used_by": trial.users,
        "input": trial.convention.kind,
        "mean": list(pre.mean),
        "std": list(pre.std),
        "order": "BGR" if trial.convention.bgr else "RGB",
        "crop": pre.crop,
        "crop_mode": pre.crop_mode,
        "interpolation": pre.interpolation,
        "class_shift": trial.convention.shift,
        "top1": trial.top1,
        "loss": trial.loss,
    }
