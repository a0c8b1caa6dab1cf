"""The export verb: a Model to files on disk, quantized once, each checked before it is kept."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from edge_effnet import digest
from edge_effnet.calibration import recipes
from edge_effnet.card import IO, IOS, PRECISIONS, ModelCard, Precision
from edge_effnet.converters.formats import further as targets
from edge_effnet.converters.options import OURS, check_forms, check_plan
from edge_effnet.converters.quantize import (
    QUANTIZED,
    Content,
    ExportOptions,
    Photos,
    material_of,
    quantize,
    write_file,
)
from edge_effnet.converters.verify import Gate
from edge_effnet.errors import UsageError
from edge_effnet.files import make_folder, replacing
from edge_effnet.formats import FORMATS, RUNNABLE
from edge_effnet.model import Model, fold_batch_norm
from edge_effnet.progress import Progress

if TYPE_CHECKING:  # calibration is needed for int8 alone
    from edge_effnet.calibration.plan import QuantPlan
    from edge_effnet.calibration.samples.photos import Samples


def export(
    model: Model,
    *,
    formats: Sequence[str] = RUNNABLE,
    precisions: Sequence[str] = ("fp32", "int8"),
    calibration: Photos | Samples | QuantPlan | None = None,
    out: str | os.PathLike[str] = ".",
    recipe: str = "default",
    quantizer: str = OURS,
    io: IO = "uint8",
    per_tensor: bool = False,
    max_drop: float | None = None,
    avx2_safe: bool = True,
    force: bool = False,
    threads: int = 0,
    progress: Progress | None = None,
    notify: Callable[[str], None] | None = None,
) -> list[Path]:
    """Write ``model`` in each of ``formats`` and ``precisions`` to ``out``; returns the paths.

    int8, w8 and dynamic need ``calibration``: a folder of photos, their paths, `Samples`, or a
    `QuantPlan` made before, whose integers all three then hold; from photos, w8 and dynamic have
    integers of their own, for they compute in float (`calibration.weights.weight_only`). The ``recipe``
    ``fast`` makes do without: it generates pictures. Dynamic files are TFLite only. ``io`` is
    what int8 files take and give: uint8 (.onnx and .xml give float32 logits), float32, or, in
    TFLite, int8. ``per_tensor`` gives each layer of int8 files one weight scale, for accelerators
    that take nothing else, after `calibration.passes.cross_layer_equalization`. ``max_drop``, in points of top-1, leaves
    in float what it takes to lose no more (`calibration.sensitivity.mixed_precision`). ``avx2_safe`` keeps the weights
    within what x86 machines without VNNI compute exactly.
    A quantized file that disagrees with its float network is refused unless ``force``.
    ``quantizer`` other than our own runs a vendor's, in the one format that it writes. ``threads``
    0 is one a core. ``progress`` is told (step, done, total), ``notify`` what a user should know
    (by default a Python warning).

    Raises `UsageError`, `ImageError`, `QuantizationError`, `OutputError` or `MissingExtra`; files
    are complete or absent.
    """
    formats, chosen = choose(formats, precisions, tuple(FORMATS))
    say = notify or (lambda text: warnings.warn(text, stacklevel=3))
    further = targets.among(formats, chosen, say)
    formats = [name for name in formats if name in RUNNABLE]
    if not formats:
        return targets.save(model, further, chosen, out, progress)
    _choices("kind of input and output", [io], IOS)
    _check_quantizer(quantizer, formats, chosen)
    check_forms(formats, chosen, io, per_tensor, quantizer, max_drop)
    need_photos(chosen, calibration, recipe)
    quantized = [precision for precision in chosen if precision in QUANTIZED]
    report = progress or (lambda step, done, total: None)
    # All that may be refused comes before the first file: packages, photos, the folder.
    for name in formats:
        import_module(FORMATS[name].writer)
    material = None
    if quantized:
        from edge_effnet.converters.onnx_engine import OnnxEngine

        engine = OnnxEngine(threads)
        material = material_of(model, calibration, recipe, quantizer, engine, report, say)
        check_plan(material, chosen, per_tensor, max_drop)
    folder = make_folder(out)
    folded = fold_batch_norm(model)
    base = replace(model.card, digest=digest.PLACEHOLDER)
    paths = []
    for precision in chosen:
        if precision in QUANTIZED:
            continue
        for index, name in enumerate(formats):
            card = replace(base, precision=precision)
            paths.append(keep(folder / file_name(card, name), write_file(folded, None, name, card)))
            report(f"write {precision}", index + 1, len(formats))
    if further:
        paths += targets.save(model, further, chosen, folder, progress)
    if material is not None:
        how = ExportOptions(recipe, quantizer, per_tensor, avx2_safe, max_drop)
        made = quantize(folded, engine, material, how, quantized, report)
        if max_drop is not None and made.plan is not None and not made.plan.float_layers:
            say(
                f"the integers alone are expected to lose no more than {max_drop:g} points: "
                "no layer is left in float"
            )
        gate = Gate(folded, engine, made, threads, force, say, report)
        for precision in quantized:
            card = replace(base, precision=precision, quantization=made.told(precision))
            ends: IO = io if precision == "int8" else "float32"
            if ends != "float32":
                card = replace(card, input="pixels")
            names = [name for name in formats if precision != "dynamic" or name == "tflite"]
            for index, name in enumerate(names):
                path = folder / file_name(card, name, ends)
                paths.append(keep(path, gate.checked(path, card, partial(made.write, name, ends))))
                report(f"write {precision}", index + 1, len(names))
    return paths


def choose(
    formats: Sequence[str], precisions: Sequence[str], known: Sequence[str] = RUNNABLE
) -> tuple[tuple[str, ...], tuple[Precision, ...]]:
    """Both without repeats and in order; raises `UsageError` for unknown ones."""
    formats = _choices("format", formats, known)
    return formats, cast("tuple[Precision, ...]", _choices("precision", precisions, PRECISIONS))


def need_photos(
    precisions: Sequence[Precision], calibration: object, recipe: str = "default"
) -> None:
    """Raise `UsageError` if a precision wants photos by ``recipe`` and ``calibration`` is None."""
    photos = recipes.get(recipe).photos
    quantized = [precision for precision in precisions if precision in QUANTIZED]
    if quantized and calibration is None and photos:
        raise UsageError(
            f"{quantized[0]} needs photos to calibrate on: give a folder of about 100 photos like "
            "those the model will see (--calibration DIR), or export fp32 and fp16 only "
            "(--precisions), or let --recipe fast generate pictures"
        )


def file_name(card: ModelCard, format_name: str, io: IO = "uint8") -> str:
    """``<variant>-<precision>.<ext>``.

    Before the suffix: ``-per-tensor`` of one with a single weight scale a layer, ``-mixed`` of one
    with layers in float, ``-io-float32`` or
    ``-io-int8`` of an int8 file that does not take uint8; or another quantizer's name.
    """
    stem = f"{card.variant}-{card.precision}"
    if card.quantization is None:
        return stem + FORMATS[format_name].suffix
    if card.quantization.quantizer != OURS:
        return f"{stem}-{card.quantization.quantizer}{FORMATS[format_name].suffix}"
    if card.quantization.per_tensor:
        stem += "-per-tensor"
    if card.quantization.float_layers:
        stem += "-mixed"
    if card.precision == "int8" and io != "uint8":
        stem += f"-io-{io}"
    return stem + FORMATS[format_name].suffix


def keep(path: Path, content: Content) -> Path:
    """Stamp the digest and put the file, with its companion, in place."""
    data, companion = content
    stamped = digest.stamp(data, companion)
    with replacing(path) as temporary:
        temporary.write_bytes(stamped)
        if companion:
            with replacing(path.with_suffix(".bin")) as beside:
                beside.write_bytes(companion)
    return path


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
    given = [given] if isinstance(given, str) else given
    unknown = [item for item in given if item not in known]
    if unknown or not given:
        problem = f"unknown {what} {unknown[0]!r}" if unknown else f"no {what} was given"
        raise UsageError(f"{problem}; choose from {', '.join(known)}")
    return tuple(item for item in known if item in given)
