"""The export verb: a Model to files on disk, quantized once, each checked before it is kept."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Union, cast, get_args

import numpy as np
from numpy.typing import NDArray

from edge_effnet import digest
from edge_effnet.card import ModelCard, Precision, Quantization
from edge_effnet.errors import UsageError
from edge_effnet.files import make_folder, replacing
from edge_effnet.model import Model, fold_batch_norm

if TYPE_CHECKING:  # calibration is needed for int8 alone
    from edge_effnet.calibration.gate import Fidelity
    from edge_effnet.calibration.photos import Samples
    from edge_effnet.calibration.plan import QuantPlan
    from edge_effnet.converters.execute import OnnxEngine
    from edge_effnet.converters.vendors import Vendor

#: Format -> the suffix of its file.
FORMATS = {"tflite": ".tflite", "onnx": ".onnx", "openvino": ".xml"}
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
RECIPES = ("default",)
OURS = "edge-effnet"
_GATE_SAMPLES = 128  # enough to tell a collapse, at under a second a file

Progress = Callable[[str, int, int], None]
Photos = Union[str, "os.PathLike[str]", Iterable[Path]]
Content = tuple[bytes, bytes]  # the file, and its companion (an .xml's .bin, else empty)
Writer = Callable[[str, ModelCard], Content]  # (format, card) -> content


def export(
    model: Model,
    *,
    formats: Sequence[str] = tuple(FORMATS),
    precisions: Sequence[str] = ("fp32", "int8"),
    calibration: Photos | Samples | QuantPlan | None = None,
    out: str | os.PathLike[str] = ".",
    recipe: str = "default",
    quantizer: str = OURS,
    avx2_safe: bool = True,
    force: bool = False,
    threads: int = 0,
    progress: Progress | None = None,
    notify: Callable[[str], None] | None = None,
) -> list[Path]:
    """Write ``model`` in each of ``formats`` and ``precisions`` to ``out``; returns the paths.

    int8 needs ``calibration``: a folder of photos, their paths, `Samples`, or a `QuantPlan` made
    before. ``avx2_safe`` keeps the weights within what x86 machines without VNNI compute exactly.
    A quantized file that disagrees with its float network is refused unless ``force``.
    ``quantizer`` other than our own runs a vendor's, in the one format that it writes. ``threads``
    0 is one a core. ``progress`` is told (step, done, total), ``notify`` what a user should know
    (by default a Python warning).

    Raises `UsageError`, `ImageError`, `QuantizationError`, `OutputError` or `MissingExtra`; files
    are complete or absent.
    """
    formats = _choices("format", formats, tuple(FORMATS))
    chosen = cast("tuple[Precision, ...]", _choices("precision", precisions, PRECISIONS))
    _choices("recipe", [recipe], RECIPES)
    _check_quantizer(quantizer, formats, chosen)
    if "int8" in chosen and calibration is None:
        raise UsageError(
            "int8 needs photos to calibrate on: give a folder of about 100 photos like those the "
            "model will see (--calibration DIR), or export fp32 and fp16 only (--precisions)"
        )
    say = notify or (lambda text: warnings.warn(text, stacklevel=3))
    report = progress or (lambda step, done, total: None)
    folder = make_folder(out)
    folded = fold_batch_norm(model)
    base = replace(model.card, digest=digest.PLACEHOLDER)
    paths = []
    for precision in chosen:
        if precision == "int8":
            continue
        for name in formats:
            card = replace(base, precision=precision)
            paths.append(_keep(folder, name, card, _write(folded, None, name, card)))
            report(f"write {precision}", len(paths), len(formats))
    if "int8" in chosen:
        assert calibration is not None
        paths += _export_int8(
            folded,
            base,
            folder,
            formats,
            calibration,
            recipe,
            quantizer,
            avx2_safe,
            force,
            threads,
            report,
            say,
        )
    return paths


def file_name(card: ModelCard, format_name: str) -> str:
    """``<variant>-<precision>.<ext>``; another quantizer's file has its name before the suffix."""
    stem = f"{card.variant}-{card.precision}"
    if card.quantization is not None and card.quantization.quantizer != OURS:
        stem += f"-{card.quantization.quantizer}"
    return stem + FORMATS[format_name]


def _export_int8(
    model: Model,
    base: ModelCard,
    folder: Path,
    formats: Sequence[str],
    calibration: Photos | Samples | QuantPlan,
    recipe: str,
    quantizer: str,
    avx2_safe: bool,
    force: bool,
    threads: int,
    report: Progress,
    say: Callable[[str], None],
) -> list[Path]:
    from edge_effnet.calibration.gate import check
    from edge_effnet.calibration.photos import Samples, read_samples
    from edge_effnet.calibration.plan import QuantPlan
    from edge_effnet.calibration.quantize import calibrate
    from edge_effnet.converters.execute import OnnxEngine

    engine = OnnxEngine(threads)
    samples: Samples | None = None
    plan: QuantPlan | None = None
    if isinstance(calibration, QuantPlan):
        plan = calibration
    elif isinstance(calibration, Samples):
        samples = calibration
    else:
        samples = read_samples(
            calibration, base.preprocess, progress=lambda *count: report("read photos", *count)
        )
    if samples is not None:
        for warning in samples.warnings:
            say(warning)
        if quantizer == OURS:
            plan = calibrate(
                model, samples, engine, recipe=recipe, avx2_safe=avx2_safe, progress=report
            )
    write: Writer
    if quantizer == OURS:
        write = lambda name, card: _write(model, plan, name, card)  # noqa: E731
    else:
        pixels = cast("Samples", samples).pixels
        write = lambda name, card: _vendor(quantizer).quantize(model, pixels, card)  # noqa: E731
    record = samples.record if samples is not None else cast("QuantPlan", plan).record
    quantization = Quantization(
        quantizer=quantizer,
        recipe=plan.recipe if plan is not None else "the tool's own defaults",
        calibration=record,
        avx2_safe=plan is not None and plan.avx2_safe,
    )
    card = replace(base, precision="int8", input="pixels", quantization=quantization)
    reference = _float_logits(model, engine, samples) if samples is not None else None
    paths = []
    for index, name in enumerate(formats):
        content = write(name, card)
        if samples is not None and reference is not None and not _random(model):
            found = _fidelity(name, content, card, samples.pixels, reference, threads)
            if found.collapsed and not force:
                check(found, file_name(card, name))
            elif found.collapsed:
                say(f"{file_name(card, name)} collapsed ({found.agreement:.1%} agreement); forced")
                marked = replace(card, quantization=replace(quantization, forced=True))
                content = write(name, marked)
        paths.append(_keep(folder, name, card, content))
        report("write int8", index + 1, len(formats))
    return paths


def _write(model: Model, plan: QuantPlan | None, name: str, card: ModelCard) -> Content:
    """The bytes of one file; each format's module is imported when it is first written."""
    written = importlib.import_module(f"edge_effnet.converters.{name}").write(model, plan, card)
    return written if isinstance(written, tuple) else (written, b"")


def _keep(folder: Path, name: str, card: ModelCard, content: Content) -> Path:
    """Stamp the digest and put the file, with its companion, in place."""
    data, companion = content
    path = folder / file_name(card, name)
    stamped = digest.stamp(data, companion)
    with replacing(path) as temporary:
        if companion:
            with replacing(path.with_suffix(".bin")) as beside:
                beside.write_bytes(companion)
        temporary.write_bytes(stamped)
    return path


def _float_logits(model: Model, engine: OnnxEngine, samples: Samples) -> NDArray[np.float32]:
    output = model.graph.output
    run = engine.floats(model.graph, model.weights, [output])
    values = model.card.preprocess.normalise(samples.pixels[:_GATE_SAMPLES]).transpose(0, 3, 1, 2)
    return np.concatenate([run(np.ascontiguousarray(value[None]))[output] for value in values])


def _fidelity(
    name: str,
    content: Content,
    card: ModelCard,
    pixels: NDArray[np.uint8],
    reference: NDArray[np.float32],
    threads: int,
) -> Fidelity:
    """Run the very bytes that would be written and compare them with the float network."""
    from edge_effnet.calibration.gate import compare
    from edge_effnet.classifier import Classifier
    from edge_effnet.runtime.opening import create_runner

    path = Path(file_name(card, name))
    runner = create_runner(path, *content, threads=threads or os.cpu_count() or 1)
    own = runner.card_text()  # a vendor's file may take another input than was asked for
    classifier = Classifier(runner, card if own is None else ModelCard.from_json(own), str(path))
    logits = [classifier.logits_of_pixels(image) for image in pixels[: len(reference)]]
    return compare(reference, np.stack(logits))


def _vendor(quantizer: str) -> Vendor:
    from edge_effnet.converters.vendors import VENDORS

    return VENDORS[quantizer]


def _check_quantizer(
    quantizer: str, formats: Sequence[str], precisions: Sequence[Precision]
) -> None:
    if quantizer == OURS:
        return
    from edge_effnet.converters.vendors import VENDORS

    (quantizer,) = _choices("quantizer", [quantizer], (OURS, *VENDORS))
    makes = VENDORS[quantizer].format
    if "int8" in precisions and set(formats) != {makes}:
        raise UsageError(
            f"the quantizer {quantizer} writes {makes} files only: add --formats {makes}"
        )


def _choices(what: str, given: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """``given`` without repeats, in the order known; raises `UsageError` for one unknown."""
    unknown = [item for item in given if item not in known]
    if unknown or not given:
        name = repr(unknown[0]) if unknown else "none given"
        raise UsageError(f"unknown {what} {name}; choose from {', '.join(known)}")
    return tuple(item for item in known if item in given)


def _random(model: Model) -> bool:
    """Random weights answer at random: there is nothing that could agree."""
    return model.card.source is not None and model.card.source.kind == "random"
