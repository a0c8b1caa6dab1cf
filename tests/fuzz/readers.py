"""Readers: functions that open a mutant as the commands do, and use what it holds."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from edge_effnet import limits
from edge_effnet.errors import EdgeEffNetError
from edge_effnet.preprocess import Preprocess
from fuzz import tiny

PHOTO = np.random.default_rng(5).integers(0, 256, (tiny.SIDE, tiny.SIDE, 3), np.uint8)
PREPROCESS = Preprocess(tiny.SIDE, 0.875)


class Differs(Exception):
    """The child process computes other logits than the calling process."""


def checkpoint(path: Path) -> None:
    from edge_effnet.checkpoints import load

    load("auto", path, notify=_ignore)


def quantized(path: Path) -> None:
    from edge_effnet.calibration.quantized_model import QuantizedModel

    QuantizedModel.load(path).for_format("onnx")


def model(path: Path) -> None:
    """Open and run a model file, in this process and in a child."""
    ours = logits(path)
    size = sum(each.stat().st_size for each in path.parent.iterdir() if each.is_file())
    done = limits.run("fuzz.logits", (str(path),), size)
    theirs = (
        np.frombuffer(done.stdout, np.float32).reshape(ours.shape) if not done.returncode else None
    )
    if theirs is None or not np.array_equal(ours, theirs, equal_nan=True):
        raise Differs(f"{ours.tolist()} here, {theirs} in a child: {done.stderr[-500:]!r}")


def logits(path: Path) -> np.ndarray:
    """Logits [1, classes] of `PHOTO`."""
    from edge_effnet.runtime.opening import open_model

    opened = open_model(path, threads=1, bare=lambda size: Preprocess(size, 0.875))
    side = opened.card.preprocess.size
    return np.ascontiguousarray(opened.logits([PHOTO[:side, :side]]))


def foreign(path: Path) -> None:
    """Convert an .onnx file of another toolkit."""
    from edge_effnet.converters.foreign.export import export
    from edge_effnet.converters.foreign.preparation import Preparation

    out = path.parent / "out"
    export(path, Preparation(127.5, 127.5, 0.9), out=out, notify=_ignore)
    shutil.rmtree(out)


def photo(path: Path) -> None:
    PREPROCESS.pixels(path)


def card(path: Path) -> None:
    """Read a card and use every part of it."""
    from edge_effnet.card import ModelCard
    from edge_effnet.classifier import class_logits, probabilities

    read = ModelCard.from_json(path.read_text("utf-8", "replace"))
    read.to_json()
    pixels = read.preprocess.pixels(PHOTO)
    read.preprocess.denormalise(read.preprocess.normalise(pixels))
    probabilities(read, class_logits(read, np.zeros((1, read.outputs), np.float32)))


def results(path: Path) -> None:
    """Read results and render them as a table and a page."""
    import io

    from rich.console import Console

    from edge_effnet.benchmarks.records import read_results
    from edge_effnet.benchmarks.reporting import page, table

    read = read_results(path)
    read.to_json()
    Console(file=io.StringIO(), width=100).print(table.render(read))
    page.render(read)


def latency_model(path: Path) -> None:
    from edge_effnet.benchmarks.prediction.latency_model import load_latency_model

    read = load_latency_model(path)
    for runtime in read.runtimes:
        read.latency(tiny.VARIANT, None, runtime.format, runtime.precision)


def journal(path: Path) -> None:
    from edge_effnet.benchmarks.sweep.journal import Journal

    with Journal(path) as opened:
        opened.append("k1", {"files": []})


def class_names(path: Path) -> None:
    from edge_effnet.labels import read_labels

    read_labels(path)


def photo_labels(path: Path) -> None:
    """Read labels of photos beside the table, for classification and for several labels."""
    from edge_effnet.benchmarks.accuracy import dataset

    for number in range(6):
        (path.parent / f"photo-{number}.png").touch()
    errors = []
    for multi_label in (False, True):
        try:
            photos = dataset.load(path.parent, tiny.LABELS, path, multi_label=multi_label)
            photos.label_sets(tiny.LABELS) if multi_label else photos.targets(tiny.LABELS)
        except EdgeEffNetError as error:
            errors.append(error)
    if len(errors) == 2:
        raise errors[0]


def training(path: Path) -> None:
    """Read every record of a training."""
    from edge_effnet.apps.training.run import Run

    run = Run.open(path.parent)
    run.data()
    run.metrics()
    run.epochs()
    run.predictions()


def _ignore(text: str) -> None:
    """Notes on sound files."""
