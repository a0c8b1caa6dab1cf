"""The export verb: a Model to files on disk, quantized once, each checked before it is kept."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Union, cast, get_args

import numpy as np
from numpy.typing import NDArray

from edge_effnet import digest
from edge_effnet.calibration import recipes
from edge_effnet.card import IO, ModelCard, Precision, Quantization
from edge_effnet.converters import targets
from edge_effnet.converters.forms import OURS, check_forms, check_plan
from edge_effnet.errors import UsageError
from edge_effnet.files import make_folder, replacing
from edge_effnet.model import Model, fold_batch_norm

if TYPE_CHECKING:  # calibration is needed for int8 alone
    from edge_effnet.calibration.gate import Fidelity
    from edge_effnet.calibration.photos import Samples
    from edge_effnet.calibration.plan import QuantPlan
    from edge_effnet.converters.execute import OnnxEngine

#: Format -> the suffix of its file.
FORMATS = {"tflite": ".tflite", "onnx": ".onnx", "openvino": ".xml"}
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
#: Those that take a plan; `IO` is a choice for int8 alone.
QUANTIZED: tuple[Precision, ...] = ("w8", "dynamic", "int8")
IOS: tuple[IO, ...] = get_args(IO)
_GATE_SAMPLES = 128  # enough to tell a collapse, at under a second a file

Progress = Callable[[str, int, int], None]
Photos = Union[str, "os.PathLike[str]", Iterable[Path]]
Content = tuple[bytes, bytes]  # the file, and its companion (an .xml's .bin, else empty)
Writer = Callable[[str, IO, ModelCard], Content]  # (format, io, card) -> content


def export(
    model: Model,
    *,
    formats: Sequence[str] = tuple(FORMATS),
    precisions: Sequence[str] = ("fp32", "int8"),
    calibration: Photos | Samples | QuantPlan | None = None,
    out: str | os.PathLike[str] = ".",
    recipe: str = "default",
    quantizer: str = OURS,
    io: IO = "uint8",
    per_tensor: bool = False,
    avx2_safe: bool = True,
    force: bool = False,
    threads: int = 0,
    progress: Progress | None = None,
    notify: Callable[[str], None] | None = None,
) -> list[Path]:
    """Write ``model`` in each of ``formats`` and ``precisions`` to ``out``; returns the paths.

    int8, w8 and dynamic need ``calibration``: a folder of photos, their paths, `Samples`, or a
    `QuantPlan` made before, whose integers all three then hold; from photos, w8 and dynamic have
    integers of their own, for they compute in float (`calibration.weights`). The ``recipe``
    ``fast`` makes do without: it generates pictures. Dynamic files are TFLite only. ``io`` is
    what int8 files take and give: uint8 (.onnx and .xml give float32 logits), float32, or, in
    TFLite, int8. ``per_tensor`` gives each layer of int8 files one weight scale, for accelerators
    that take nothing else, after `calibration.equalize`. ``avx2_safe`` keeps the weights within
    what x86 machines without VNNI compute exactly.
    A quantized file that disagrees with its float network is refused unless ``force``.
    ``quantizer`` other than our own runs a vendor's, in the one format that it writes. ``threads``
    0 is one a core. ``progress`` is told (step, done, total), ``notify`` what a user should know
    (by default a Python warning).

    Raises `UsageError`, `ImageError`, `QuantizationError`, `OutputError` or `MissingExtra`; files
    are complete or absent.
    """
    formats, chosen = choose(formats, precisions, (*FORMATS, *targets.TARGETS))
    say = notify or (lambda text: warnings.warn(text, stacklevel=3))
    further = targets.among(formats, chosen, say)
    formats = [name for name in formats if name in FORMATS]
    if not formats:
        return targets.save(model, further, chosen, out, progress)
    _choices("kind of input and output", [io], IOS)
    _check_quantizer(quantizer, formats, chosen)
    check_forms(formats, chosen, io, per_tensor, quantizer)
    need_photos(chosen, calibration, recipe)
    quantized = [precision for precision in chosen if precision in QUANTIZED]
    report = progress or (lambda step, done, total: None)
    # All that may be refused comes before the first file: packages, photos, the folder.
    for name in formats:
        import_module(f"edge_effnet.converters.{name}")
    material = None
    if quantized:
        from edge_effnet.converters.execute import OnnxEngine

        engine = OnnxEngine(threads)
        material = material_of(model, calibration, recipe, quantizer, engine, report, say)
        check_plan(material, chosen, per_tensor)
    folder = make_folder(out)
    folded = fold_batch_norm(model)
    base = replace(model.card, digest=digest.PLACEHOLDER)
    paths = []
    for precision in chosen:
        if precision in QUANTIZED:
            continue
        for index, name in enumerate(formats):
            card = replace(base, precision=precision)
            paths.append(keep(folder / file_name(card, name), _write(folded, None, name, card)))
            report(f"write {precision}", index + 1, len(formats))
    if further:
        paths += targets.save(model, further, chosen, folder, progress)
    if material is not None:
        how = _How(recipe, quantizer, per_tensor, avx2_safe)
        made = _quantize(folded, engine, material, how, quantized, report)
        gate = _Gate(folded, engine, made, threads, force, say, report)
        for precision in quantized:
            card = replace(base, precision=precision, quantization=made.quantization)
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
    formats: Sequence[str], precisions: Sequence[str], known: Sequence[str] = tuple(FORMATS)
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

    Before the suffix: ``-per-tensor`` of one with a single weight scale a layer, ``-io-float32`` or
    ``-io-int8`` of an int8 file that does not take uint8; or another quantizer's name.
    """
    stem = f"{card.variant}-{card.precision}"
    if card.quantization is None:
        return stem + FORMATS[format_name]
    if card.quantization.quantizer != OURS:
        return f"{stem}-{card.quantization.quantizer}{FORMATS[format_name]}"
    if card.quantization.per_tensor:
        stem += "-per-tensor"
    if card.precision == "int8" and io != "uint8":
        stem += f"-io-{io}"
    return stem + FORMATS[format_name]


@dataclass(frozen=True)
class _Quantized:
    """How int8 files are made: ``write`` goes by our plan or through a vendor's tool.

    ``plan`` is the one of int8 files, if there is one of ours.
    """

    write: Writer
    quantization: Quantization
    samples: Samples | None
    plan: QuantPlan | None = None


def material_of(
    model: Model,
    calibration: Photos | Samples | QuantPlan | None,
    recipe: str,
    quantizer: str,
    engine: OnnxEngine,
    report: Progress,
    say: Callable[[str], None],
) -> Samples | QuantPlan:
    """What to quantize with: a plan as it is, photos as samples, with what is odd about them."""
    from edge_effnet.calibration.domain import oddities
    from edge_effnet.calibration.photos import Samples, read_samples
    from edge_effnet.calibration.plan import QuantPlan

    if quantizer != OURS:
        from edge_effnet.converters.vendors import VENDORS

        if isinstance(calibration, QuantPlan):
            raise UsageError(f"the quantizer {quantizer} needs photos, not a plan of ours")
        import_module(VENDORS[quantizer].module)
    if isinstance(calibration, QuantPlan):
        return calibration
    if isinstance(calibration, Samples):
        samples = calibration
    elif calibration is None:
        from edge_effnet.calibration.synthetic import samples_of_pictures

        samples = samples_of_pictures(recipes.get(recipe).pictures, model.card.preprocess)
    else:
        samples = read_samples(
            calibration,
            model.card.preprocess,
            progress=lambda done, total: report("read photos", done, total),
        )
    strange = oddities(model, samples.pixels, engine) if samples.record.photos else ()
    for warning in (*samples.warnings, *strange):
        say(warning)
    return samples


@dataclass(frozen=True)
class _How:
    """The choices that decide the integers."""

    recipe: str
    quantizer: str
    per_tensor: bool
    avx2_safe: bool


def _quantize(
    model: Model,
    engine: OnnxEngine,
    material: Samples | QuantPlan,
    how: _How,
    precisions: Sequence[Precision],
    report: Progress,
) -> _Quantized:
    from edge_effnet.calibration.pixels import with_common_input
    from edge_effnet.calibration.plan import QuantPlan
    from edge_effnet.calibration.quantize import calibrate
    from edge_effnet.calibration.spare import with_spare_channels
    from edge_effnet.calibration.weights import plan_weights

    if isinstance(material, QuantPlan):
        return _by_plan(model, dict.fromkeys(QUANTIZED, material), None)
    samples = material
    if how.quantizer == OURS:
        if how.per_tensor:
            from edge_effnet.calibration.equalize import equalize

            model = equalize(model)
        plans: dict[Precision, QuantPlan] = {}
        if "int8" in precisions:
            plans["int8"] = calibrate(
                model,
                samples,
                engine,
                recipe=how.recipe,
                avx2_safe=how.avx2_safe,
                progress=report,
                per_tensor=how.per_tensor,
            )
        light = [precision for precision in precisions if precision != "int8"]
        if light:
            plan = plan_weights(
                with_common_input(with_spare_channels(model)),
                samples,
                engine,
                recipe=how.recipe,
                progress=lambda done, total: report("round weights", done, total),
            )
            plans.update(dict.fromkeys(light, plan))
        return _by_plan(model, plans, samples)
    from edge_effnet.converters.vendors import VENDORS

    vendor = VENDORS[how.quantizer]
    return _Quantized(
        write=lambda name, io, card: vendor.quantize(model, samples.pixels, card),
        quantization=Quantization(how.quantizer, "the tool's own defaults", samples.record),
        samples=samples,
    )


def _by_plan(
    model: Model, plans: Mapping[Precision, QuantPlan], samples: Samples | None
) -> _Quantized:
    from edge_effnet.calibration.pixels import with_common_input
    from edge_effnet.calibration.spare import with_spare_channels

    model = with_common_input(with_spare_channels(model))

    def write(name: str, io: IO, card: ModelCard) -> Content:
        plan = plans[card.precision]
        if card.precision == "int8":
            return _write(model, plan, name, card, io)
        from edge_effnet.converters.weights_only import weights_only

        return _write(*weights_only(model, plan, depthwise=card.precision != "dynamic"), name, card)

    plan = next(iter(plans.values()))
    return _Quantized(
        write=write,
        quantization=Quantization(
            OURS, plan.recipe, plan.record, plan.avx2_safe, per_tensor=plan.per_tensor
        ),
        samples=samples,
        plan=plans.get("int8"),
    )


@dataclass(frozen=True)
class _Gate:
    """Runs the very bytes that would be kept and compares them with the float network."""

    model: Model
    engine: OnnxEngine
    made: _Quantized
    threads: int
    force: bool
    say: Callable[[str], None]
    report: Progress

    def checked(
        self, path: Path, card: ModelCard, write: Callable[[ModelCard], Content]
    ) -> Content:
        """The bytes of ``path``. Raises `QuantizationError` if it collapsed, unless forced.

        A plan that comes without photos was checked when it was made, and random weights have no
        answers that could agree: such files pass.
        """
        content = write(card)
        source = self.model.card.source
        if self.made.samples is None or (source is not None and source.kind == "random"):
            return content
        found = self._fidelity(path, card, content)
        if not found.collapsed:
            return content
        if not self.force:
            at_fault = self._at_fault if card.precision == "int8" else ""
            raise found.refusal(path.name, card.variant, at_fault)
        self.say(f"{path.name} collapsed ({found.agreement:.1%} agreement): forced")
        quantization = replace(cast(Quantization, card.quantization), forced=True)
        return write(replace(card, quantization=quantization))

    def _fidelity(self, path: Path, card: ModelCard, content: Content) -> Fidelity:
        from edge_effnet.calibration.gate import compare
        from edge_effnet.classifier import Classifier
        from edge_effnet.runtime.opening import create_runner

        runner = create_runner(path, *content, threads=self.threads or os.cpu_count() or 1)
        own = runner.card_text()  # a vendor's file may take another input than was asked for
        card = card if own is None else ModelCard.from_json(own)
        classifier = Classifier(runner, card, path.name)
        logits = [classifier.logits_of_pixels(image) for image in self._pixels]
        return compare(self._reference, np.stack(logits))

    @cached_property
    def _pixels(self) -> NDArray[np.uint8]:
        return cast("Samples", self.made.samples).pixels[:_GATE_SAMPLES]

    @cached_property
    def _at_fault(self) -> str:
        """The layers that cost the logits most, in words; nothing for a vendor's file."""
        if self.made.plan is None:
            return ""
        from edge_effnet.calibration.analysis import worst
        from edge_effnet.converters.analyze import costs

        pixels, report = self._pixels, self.report
        return worst(costs(self.model, self.made.plan, self.engine, pixels, "tflite", report))

    @cached_property
    def _reference(self) -> NDArray[np.float32]:
        output = self.model.graph.output
        run = self.engine.floats(self.model.graph, self.model.weights, [output])
        values = self.model.card.preprocess.normalise(self._pixels).transpose(0, 3, 1, 2)
        return np.concatenate([run(np.ascontiguousarray(value[None]))[output] for value in values])


def _write(
    model: Model, plan: QuantPlan | None, name: str, card: ModelCard, io: IO = "uint8"
) -> Content:
    """The bytes of one file, by its format's module."""
    if card.input == "normalised":  # the plan's model may be normalised otherwise
        card = replace(card, preprocess=model.card.preprocess)
    written = import_module(f"edge_effnet.converters.{name}").write(model, plan, card, io)
    return written if isinstance(written, tuple) else (written, b"")


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
