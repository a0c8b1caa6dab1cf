"""An exported file + labelled photos -> Diagnosis: which known preprocessing fits it.

Wrong preprocessing is often read as quantization loss: it takes tens of points, and no error tells.
Here the same photos are prepared in every way that frameworks train with, and the answers are
counted. One thing is varied at a time: normalisation and colour order, then the crop, then the
interpolation, then whether all answers are one class off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_effnet.benchmarks.accuracy import dataset
from edge_effnet.benchmarks.intervals import paired_difference
from edge_effnet.card import InputKind
from edge_effnet.classifier import Classifier, check_one_class_applies, softmax
from edge_effnet.errors import ImageError, UsageError
from edge_effnet.files import PathLike
from edge_effnet.preprocess import Preprocess, load_image, tensorflow_crop
from edge_effnet.progress import Progress
from edge_effnet.runtime.opening import open_model
from edge_effnet.statistics import wilson

Step = Literal["normalisation", "crop", "interpolation", "classes"]
Triple = tuple[float, float, float]

PHOTOS = 100  # tells 5 points apart, in seconds
_OFF = "a background class too many or too few"
_SENSELESS = 0.1  # a file that answers fewer photos, whatever is done, fails for another reason


@dataclass(frozen=True)
class Normalisation:
    """input = (pixel - mean) / std, RGB; ``users`` train with it."""

    mean: Triple
    std: Triple
    users: str


#: What EfficientNets are trained with. Sources: tensorflow/tpu efficientnet (preprocessing.py,
#: lite/efficientnet_lite_builder.py: MEAN_RGB 127, STDDEV_RGB 128), google/automl efficientnetv2
#: (preprocessing.py: (image - 128) / 128), timm (data/constants.py), keras.applications
#: (imagenet_utils.preprocess_input, and EfficientNets that normalise inside the graph).
NORMALISATIONS = (
    Normalisation((127.0,) * 3, (128.0,) * 3, "EfficientNet-Lite, EdgeTPU"),
    Normalisation((128.0,) * 3, (128.0,) * 3, "EfficientNetV2 of google/automl"),
    Normalisation((127.5,) * 3, (127.5,) * 3, "timm (0.5, 0.5), AdvProp, Keras 'tf'"),
    Normalisation((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), "ImageNet mean and std"),
    Normalisation((0.0,) * 3, (255.0,) * 3, "0 to 1"),
    Normalisation((0.0,) * 3, (1.0,) * 3, "raw pixels, normalised in the graph"),
    Normalisation((123.68, 116.779, 103.939), (1.0,) * 3, "Keras 'caffe'"),
)


@dataclass(frozen=True)
class Way:
    """One way to prepare photos and read answers.

    ``bgr`` swaps the colours after normalisation, ``shift`` is added to the true class.
    """

    preprocess: Preprocess
    kind: InputKind = "normalised"
    bgr: bool = False
    shift: int = 0

    def describe(self, step: Step | None = None) -> str:
        """In words: all that it does, or what is varied in ``step``."""
        pre = self.preprocess
        if self.kind == "pixels":
            formula = "pixels as they are"
        else:
            formula = f"(x - {_words(pre.mean)}) / {_words(pre.std)}"
        parts: dict[Step, str] = {
            "normalisation": f"{formula}, {'BGR' if self.bgr else 'RGB'}",
            "crop": f"crop {pre.crop:.3f}",
            "interpolation": pre.interpolation,
            "classes": f"classes {self.shift:+d}",
        }
        if step is not None:
            return parts[step]
        return ", ".join(part for key, part in parts.items() if key != "classes" or self.shift)


@dataclass(frozen=True)
class Trial:
    """``way`` was tried: ``top1`` is a share; ``loss`` the mean -log probability of the truth."""

    step: Step
    way: Way
    users: str
    top1: float
    loss: float
    right: NDArray[np.bool_]


@dataclass(frozen=True)
class Diagnosis:
    """All trials in order, the first of them the file's ``own`` way if its card tells one."""

    file: str
    photos: int
    trials: tuple[Trial, ...]
    own: Trial | None
    best: Trial
    classes: int

    @property
    def senseless(self) -> bool:
        """Whether even the best way is near guessing."""
        low, _ = wilson(int(self.best.right.sum()), self.photos)
        return self.best.top1 < _SENSELESS or low <= 1 / self.classes

    @property
    def own_fits(self) -> bool:
        """Whether no other way is better than the file's own by more than chance (95 %)."""
        return self.best is self.own

    @property
    def verdict(self) -> str:
        """What follows, in a sentence."""
        top1 = f"{self.best.top1:.1%}"
        if self.senseless:
            return (
                f"no known preprocessing makes sense of the file (best: {top1} top-1): look at its "
                "weights and at the labels, not at the preprocessing"
            )
        if self.own_fits:
            return f"the file's own preprocessing fits: {top1} top-1, and none is clearly better"
        way = self.best.way
        instead = "" if self.own is None else f" against {self.own.top1:.1%} with its own"
        said = [f"{way.describe()} fits: {top1} top-1{instead}"]
        if way.shift:
            said.append("all answers are one class off: export it again with the right names")
        if way.bgr:
            said.append("it wants its colours as BGR: export it again from its checkpoint")
        elif way.kind == "normalised":
            said.append(f"open it with {_options(way)}")
        return "; ".join(said)

    def as_json(self) -> dict[str, Any]:
        """The trials and the verdict as plain data."""
        return {
            "file": self.file,
            "photos": self.photos,
            "trials": [_as_json(trial) for trial in self.trials],
            "own": None if self.own is None else _as_json(self.own),
            "best": _as_json(self.best),
            "own_fits": self.own_fits,
            "senseless": self.senseless,
            "verdict": self.verdict,
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
    """Try every known preprocessing of ``file`` on at most ``photos`` labelled photos.

    ``images``, ``labels`` and ``split`` are as in `dataset.load`; photos are taken evenly from the
    whole. Raises `UsageError` for photos without labels, and what `open_model` raises.
    """
    classifier = open_model(file, threads=threads, bare=_usual)
    check_one_class_applies(classifier.card, classifier.path, "the doctor")
    described = classifier.runner.card_text() is not None
    data = dataset.load(images, classifier.card.labels, labels, split)
    truth = data.targets(classifier.card.labels)
    if truth is None:
        raise UsageError(
            f"the photos in {images} have no labels, and only answers that can be checked tell "
            "which preprocessing fits",
            hint="give labels=CSV, or one folder a class",
        )
    chosen = np.unique(np.linspace(0, len(truth) - 1, min(photos, len(truth))).astype(int))
    pictures, kept = [], []
    for number in chosen:
        try:
            pictures.append(load_image(data.photos[number].path))
        except ImageError:
            continue
        kept.append(number)
    if not pictures:
        raise ImageError(f"none of the {len(chosen)} photos tried in {images} can be decoded")
    bench = _Bench(classifier, pictures, truth[kept], progress)
    own = Way(classifier.card.preprocess, classifier.card.input)
    bench.run(own, described)
    return Diagnosis(
        str(file),
        len(pictures),
        tuple(bench.trials),
        bench.own,
        bench.best(),
        len(classifier.card.labels),
    )


class _Bench:
    """Runs ways over the photos; a way whose first input tensor was seen before is left out."""

    def __init__(
        self,
        classifier: Classifier,
        pictures: Sequence[Any],
        truth: NDArray[np.int32],
        progress: Progress | None,
    ) -> None:
        self.classifier, self.pictures, self.truth = classifier, pictures, truth
        self.progress = progress
        self.trials: list[Trial] = []
        self.own: Trial | None = None
        self._seen: set[bytes] = set()
        self._off: list[Trial] = []  # the same ways, read one class off

    def best(self) -> Trial:
        """The file's own way unless another is better by more than chance; else the top one."""
        first = min(self.trials + self._off, key=lambda trial: (-trial.top1, trial.loss))
        return first if self.own is None or _better(first, self.own) else self.own

    def best_way(self) -> Way:
        """That of `best`, whatever its classes."""
        return replace(self.best().way, shift=0)

    def run(self, start: Way, described: bool) -> None:
        """Try one thing after the other; ``described`` if ``start`` is what the file says."""
        self._try("normalisation", start, "the file's own" if described else "")
        self.own = self.trials[0] if described else None
        for known in NORMALISATIONS:
            for bgr in (False, True):
                pre = replace(start.preprocess, mean=known.mean, std=known.std)
                self._try("normalisation", Way(pre, "normalised", bgr), known.users)
        if self.classifier.runner.input.dtype != "float32":
            for bgr in (False, True):
                self._try("normalisation", Way(start.preprocess, "pixels", bgr), "camera bytes")
        best = self.best_way()
        size = best.preprocess.size
        crops = {tensorflow_crop(size): "TensorFlow", 0.875: "torchvision, timm", 1.0: "no margin"}
        for crop, users in crops.items():
            self._try("crop", _with(best, crop=crop), users)
        best = self.best_way()
        for interpolation in ("bicubic", "bilinear", "nearest"):
            self._try("interpolation", _with(best, interpolation=interpolation), "")
        best = self.best_way()
        self.trials += [trial for trial in self._off if replace(trial.way, shift=0) == best]

    def _try(self, step: Step, way: Way, users: str) -> None:
        first = self._tensor(way, self.pictures[0]).tobytes()
        if first in self._seen:
            return
        self._seen.add(first)
        runner = self.classifier.runner
        rows = []
        for number, picture in enumerate(self.pictures, start=1):
            rows.append(runner.run(self._tensor(way, picture))[0])
            if self.progress is not None:
                self.progress(f"{step} {len(self.trials) + 1}", number, len(self.pictures))
        logits = np.nan_to_num(np.stack(rows))
        self.trials.append(self._trial(step, way, users, logits))
        for shift in (-1, 1):
            off = replace(way, shift=shift)
            self._off.append(self._trial("classes", off, _OFF, logits))

    def _tensor(self, way: Way, picture: Any) -> NDArray[np.generic]:
        pre = way.preprocess
        pixels = pre.pixels(picture)
        if way.bgr:
            pixels = np.ascontiguousarray(pixels[..., ::-1])
            pre = replace(pre, mean=pre.mean[::-1], std=pre.std[::-1])
        card = self.classifier.card.with_(preprocess=pre, input=way.kind)
        return replace(self.classifier, card=card).tensor(pixels)

    def _trial(self, step: Step, way: Way, users: str, logits: NDArray[np.float32]) -> Trial:
        wanted = self.truth + way.shift
        inside = (wanted >= 0) & (wanted < logits.shape[1])
        right = (logits.argmax(axis=1) == wanted) & inside
        shares = softmax(logits)[np.arange(len(wanted)), np.where(inside, wanted, 0)]
        loss = float(-np.log(np.maximum(np.where(inside, shares, 0), 1e-12)).mean())
        return Trial(step, way, users, float(right.mean()), loss, right)


def _usual(size: int) -> Preprocess:
    return Preprocess(size, tensorflow_crop(size))


def _with(way: Way, **changes: Any) -> Way:
    return replace(way, preprocess=replace(way.preprocess, **changes))


def _better(trial: Trial, other: Trial) -> bool:
    lost = int((trial.right & ~other.right).sum())
    gained = int((other.right & ~trial.right).sum())
    return paired_difference(lost, gained, len(trial.right))[0] > 0


def _words(values: Triple) -> str:
    return (
        f"{values[0]:g}"
        if len(set(values)) == 1
        else "[" + " ".join(map("{:g}".format, values)) + "]"
    )


def _options(way: Way) -> str:
    """The way as the options of classify, evaluate and compare."""
    pre = way.preprocess
    mean, std = (",".join(f"{value:g}" for value in values) for values in (pre.mean, pre.std))
    return (
        f"--size {pre.size} --crop {math.floor(pre.crop * 1e4) / 1e4:g} --mean {mean} --std {std}"
    )


def _as_json(trial: Trial) -> dict[str, Any]:
    pre = trial.way.preprocess
    return {
        "step": trial.step,
        "description": trial.way.describe(),
        "used_by": trial.users,
        "input": trial.way.kind,
        "mean": list(pre.mean),
        "std": list(pre.std),
        "order": "BGR" if trial.way.bgr else "RGB",
        "crop": pre.crop,
        "interpolation": pre.interpolation,
        "class_shift": trial.way.shift,
        "top1": trial.top1,
        "loss": trial.loss,
    }
