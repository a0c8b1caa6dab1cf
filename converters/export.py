"""The export verb: a Model to files on disk, quantized once, each checked before it is kept."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray

from edge_effnet import digest
from edge_effnet.calibration import gate
from edge_effnet.calibration.photos import Samples, read_samples
from edge_effnet.calibration.plan import QuantPlan
from edge_effnet.card import ModelCard, Precision, Quantization
from edge_effnet.classifier import Classifier
from edge_effnet.errors import UsageError
from edge_effnet.files import make_folder, replacing
from edge_effnet.model import Model, fold_batch_norm

#: Format -> the suffix of its file.
FORMATS = {"tflite": ".tflite", "onnx": ".onnx", "openvino": ".xml"}
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
RECIPES = ("default",)
OURS = "edge-effnet"

Progress = Callable[[str, int, int], None]
Content = tuple[bytes, bytes]  # the file, and its companion (an .xml's .bin, else empty)


@dataclass(frozen=True)
class _Job:
    """What one call exports; validated."""

    model: Model
    formats: tuple[str, ...]
    precisions: tuple[Precision, ...]
    recipe: str
    quantizer: str
    avx2_safe: bool
    force: bool
    threads: int
    progress: Progress


def export(
    model: Model,
    *,
    formats: Sequence[str] = tuple(FORMATS),
    precisions: Sequence[str] = ("fp32", "int8"),
    calibration: str | os.PathLike[str] | Iterable[Path] | Samples | QuantPlan | None = None,
    out: str | os.PathLike[str] = ".",
    recipe: str = "default",
    quantizer: str = OURS,
    avx2_safe: bool = True,
    force: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
    notify: Callable[[str], None] | None = None,
) -> list[Path]:
    """Write ``model`` in each of ``formats`` and ``precisions`` to ``out``; returns the paths.

    int8 needs ``calibration``: a folder of photos, their paths, `Samples`, or a `QuantPlan` made
    before. ``avx2_safe`` keeps the weights within what x86 machines without VNNI compute exactly.
    A quantized file that disagrees with its float network is refused unless ``force``. ``progress``
    is told (step, done, total), ``notify`` what a user should know (default: Python warnings).
    Raises `UsageError`, `ImageError`, `QuantizationError`, `OutputError` or `MissingExtra`; files
    are complete or absent.
    """
    job = _Job(
        model=fold_batch_norm(model),
        formats=_choices("format", formats, FORMATS),
        precisions=cast("tuple[Precision, ...]", _choices("precision", precisions, PRECISIONS)),
        recipe=_choices("recipe", [recipe], RECIPES)[0],
        quantizer=quantizer,
        avx2_safe=avx2_safe,
        force=force,
        threads=threads or os.cpu_count() or 1,
        progress=progress or (lambda step, done, total: None),
    )
    _check_vendor(job)
    folder = make_folder(out)
    paths = []
    floats = [precision for precision in job.precisions if precision != "int8"]
    for precision in floats:
        card = model.card.with_(precision=precision, digest=digest.PLACEHOLDER)
        for name in job.formats:
            paths.append(_keep(job, folder, name, card, _write(job.model, None, card, name)))
    if "int8" in job.precisions:
        say = notify or (lambda text: warnings.warn(text, stacklevel=3))
        paths += _export_int8(job, folder, calibration, say)
    return paths


def _export_int8(job: _Job, folder: Path, calibration: Any, say: Callable[[str], None]) -> list[Path]:
    from edge_effnet.converters.execute import OnnxEngine

    engine = OnnxEngine(job.threads)
    samples, plan = _calibration(job, calibration, say)
    vendor = None
    if job.quantizer != OURS:
        from edge_effnet.converters.vendors import VENDORS

        vendor = VENDORS[job.quantizer]
    elif plan is None:
        from edge_effnet.calibration.quantize import calibrate

        plan = calibrate(
            job.model,
            cast(Samples, samples),
            engine,
            recipe=job.recipe,
            avx2_safe=job.avx2_safe,
            progress=job.progress,
        )
    reference = _float_logits(job, engine, samples) if samples is not None else None
    record = samples.record if samples is not None else plan.record if plan is not None else None
    paths = []
    for name in job.formats:
        card = job.model.card.with_(
            precision="int8",
            input="pixels",
            digest=digest.PLACEHOLDER,
            quantization=Quantization(
                quantizer=job.quantizer,
                recipe=plan.recipe if plan is not None else job.quantizer,
                calibration=record,
                avx2_safe=plan.avx2_safe if plan is not None else False,
            ),
        )
        if vendor is not None:
            write = lambda c: vendor.quantize(job.model, cast(Samples, samples).pixels, c)  # noqa: E731
        else:
            write = lambda c, name=name: _write(job.model, plan, c, name)  # noqa: E731
        content = write(card)
        if reference is not None and samples is not None:
            fidelity = _fidelity(job, name, content, card, samples.pixels, reference)
            if fidelity.collapsed and not job.force:
                gate.check(fidelity, file_name(card, name))
    return paths
