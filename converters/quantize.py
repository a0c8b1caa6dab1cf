"""Quantization for export: photos -> samples -> quantized models, or a vendor's files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Union, cast

from edge_effnet.calibration import recipes
from edge_effnet.calibration.passes.fold import fold_batch_norm
from edge_effnet.calibration.passes.prepare import prepare
from edge_effnet.calibration.plan import WeightOnlyPlan
from edge_effnet.calibration.quantized_model import QuantizedModel
from edge_effnet.card import ModelCard, Quantization
from edge_effnet.checkpoints import WeightsLike, as_model
from edge_effnet.converters.options import DEFAULTS, FLOAT_BUDGET, OURS, ExportOptions
from edge_effnet.errors import UsageError
from edge_effnet.formats import FORMATS
from edge_effnet.graph import multiply_adds
from edge_effnet.model import Model
from edge_effnet.names import INTEGER, IO, Batch, Precision, RecipeName
from edge_effnet.notices import Notify, warn
from edge_effnet.progress import Progress, ProgressOption, reporting

if TYPE_CHECKING:
    from edge_effnet.calibration.plan import Plan, QuantizerPlacement
    from edge_effnet.calibration.samples.photos import Samples
    from edge_effnet.converters.onnx_engine import OnnxEngine

Photos = Union[str, "os.PathLike[str]", Iterable[Path]]
Content = tuple[bytes, bytes]  # a file, and the .bin of an .xml file (else empty)


class Quantized(Protocol):
    """A quantized network that can be written: from our plan, or by a vendor's tool."""

    def write(
        self, name: str, io: IO, card: ModelCard, options: ExportOptions = DEFAULTS
    ) -> Content:
        """The bytes of one file in the format ``name``."""

    def quantization_info(self, precision: Precision) -> Quantization:
        """The quantization entry of the card, for a file in ``precision``."""


@dataclass(frozen=True)
class OurQuantized:
    """Our quantized models, one per precision."""

    models: Mapping[Precision, QuantizedModel]

    def quantization_info(self, precision: Precision) -> Quantization:
        """Quantizer, recipe, calibration set, and the float layers of an int8 file."""
        from edge_effnet.calibration.sensitivity.mixed_precision import float_share

        graph, plan = self.models[precision].model.graph, self.models[precision].plan
        info = Quantization(OURS, plan.recipe, plan.record, per_tensor=plan.per_tensor)
        if isinstance(plan, WeightOnlyPlan):
            return replace(info, avx2_safe=True)
        info = replace(info, avx2_safe=plan.avx2_safe)
        if precision not in INTEGER:
            return info
        layers = [node.name for node in graph if multiply_adds(node, graph.shapes)]
        return replace(
            info,
            float_layers=tuple(name for name in layers if name in plan.float_layers),
            float_share=round(float_share(graph, plan.float_layers), 4),
        )

    def write(
        self, name: str, io: IO, card: ModelCard, options: ExportOptions = DEFAULTS
    ) -> Content:
        """The bytes of one file, by its format's writer."""
        quantized, batch = self.models[card.precision], options.batch_of(name)
        if card.precision in INTEGER:
            contrib_ops = options.contrib_ops and name == "onnx"
            placement = "onnx-contrib" if contrib_ops else name
            for_format = quantized.for_format(cast("QuantizerPlacement", placement))
            content = write_file(for_format.model, for_format.plan, name, card, io, batch)
            if contrib_ops:
                from edge_effnet.converters.formats.onnx_contrib import with_quick_gelu

                return with_quick_gelu(content[0]), b""
            return content
        from edge_effnet.converters.formats.weights_only import weights_only

        depthwise = card.precision != "dynamic"
        return write_file(
            *weights_only(quantized.model, quantized.plan, depthwise=depthwise),
            name,
            card,
            batch=batch,
        )


@dataclass(frozen=True)
class VendorQuantized:
    """A float network with BN folded, and samples; a vendor's tool quantizes it when written."""

    model: Model
    samples: Samples
    quantizer: str

    def quantization_info(self, precision: Precision) -> Quantization:
        """Name of the vendor's tool, and the calibration set."""
        return Quantization(self.quantizer, "the tool's own defaults", self.samples.record)

    def write(
        self, name: str, io: IO, card: ModelCard, options: ExportOptions = DEFAULTS
    ) -> Content:
        """The bytes of the file that the vendor's tool writes."""
        from edge_effnet.converters.vendors import VENDORS

        return VENDORS[self.quantizer].quantize(self.model, self.samples.pixels, card)


def read_calibration(
    model: Model,
    calibration: Photos | Samples | None,
    recipe: str,
    engine: OnnxEngine,
    report: Progress,
    say: Notify,
) -> Samples:
    """Calibration samples for ``model``.

    Args:
        model: The network.
        calibration: Photos to read, `Samples` to use, or None for generated images.
        recipe: The quantization recipe.
        engine: Runs the network to detect a domain shift.
        report: Called with (stage, done, total).
        say: Called with warnings: unreadable photos, few samples, domain shift.

    Raises:
        ImageError: No photo can be read.
        UsageError: The `Samples` have another size than the network's input.
    """
    from edge_effnet.calibration.samples.domain_shift import domain_shift_warnings
    from edge_effnet.calibration.samples.photos import Samples, read_samples

    if isinstance(calibration, Samples):
        samples = calibration
        shape = (*model.graph.input_shape[1:], 3)
        if samples.pixels.shape[1:] != shape:
            raise UsageError(
                f"the calibration samples are uint8 {list(samples.pixels.shape)}, but the input of "
                f"{model.info.variant} needs [n, {', '.join(map(str, shape))}]",
                hint="read them with the network's own preprocessing: "
                "read_samples(photos, model.info.preprocess)",
            )
    elif calibration is None:
        from edge_effnet.calibration.samples.dead_leaves import samples_of_pictures

        samples = samples_of_pictures(recipes.get(recipe).pictures, model.info.preprocess)
    else:
        samples = read_samples(
            calibration,
            model.info.preprocess,
            progress=lambda done, total: report("read photos", done, total),
        )
    shift = domain_shift_warnings(model, samples.pixels, engine) if samples.record.photos else ()
    for warning in (*samples.warnings, *shift):
        say(warning)
    return samples


def calibrate(
    model: Model | WeightsLike,
    calibration: Photos | Samples | None = None,
    *,
    recipe: RecipeName = "default",
    per_tensor: bool = False,
    max_drop: float | None = None,
    float_budget: float | None = None,
    avx2_safe: bool = True,
    contrib_ops: bool = False,
    threads: int = 0,
    progress: ProgressOption = None,
    notify: Notify | None = None,
) -> QuantizedModel:
    """Quantize ``model`` once; `export` writes the result in any format.

    Args:
        model: The float network, or a checkpoint or live network that `load("auto", ...)` accepts.
        calibration: A folder of photos, paths of photos, or `Samples`. None with the recipe
            ``fast``, which generates images.
        recipe: default, best or fast.
        per_tensor: Whether each layer has one weight scale, after cross-layer equalization.
        max_drop: Largest expected loss of top-1 accuracy, in points. Layers stay in float to meet
            this limit.
        float_budget: Largest share of the multiply-adds in float, in percent: the layers that add
            most noise stay in float. `export` writes the result with precisions=["mixed"].
        avx2_safe: Whether weights are restricted so that x86 CPUs without VNNI do not saturate.
        contrib_ops: Whether biases are also corrected for .onnx files with QuickGelu, which
            `export` writes with contrib_ops=True.
        threads: Compute threads; 0 is one per core.
        progress: Called with (stage, done, total). By default progress bars appear in notebooks
            and terminals; False shows none.
        notify: Called with each warning; None issues Python warnings.

    Returns:
        The prepared network with its plan.

    Raises:
        UsageError: The recipe is unknown, or it needs photos.
        ImageError: No photo can be used.
        QuantizationError: The network cannot be quantized.
        MissingExtra: ONNX Runtime is not installed.

    Example:
        >>> quantized = calibrate(model, "photos/")  # doctest: +SKIP
    """
    from edge_effnet.converters.onnx_engine import OnnxEngine

    precision: Precision = "int8" if float_budget is None else "mixed"
    options = ExportOptions.create(
        ("onnx",),
        (precision,),
        recipe=recipe,
        per_tensor=per_tensor,
        max_drop=max_drop,
        float_budget=float_budget,
        avx2_safe=avx2_safe,
        contrib_ops=contrib_ops,
        threads=threads,
    )
    options.need_photos(calibration)
    check_calibration(calibration)
    model = as_model(model, notify)
    engine = OnnxEngine(threads)
    with reporting(progress) as report:
        samples = read_calibration(model, calibration, recipe, engine, report, notify or warn)
        quantized = quantize(model, samples, engine, options, report)
    return cast(OurQuantized, quantized).models[precision]


def quantize(
    model: Model, samples: Samples, engine: OnnxEngine, options: ExportOptions, report: Progress
) -> Quantized:
    """Quantize ``model`` on ``samples`` for every quantized precision of ``options``."""
    if options.quantizer != OURS:
        return VendorQuantized(fold_batch_norm(model), samples, options.quantizer)
    prepared = prepare(model, equalized=options.per_tensor)
    models: dict[Precision, QuantizedModel] = {}
    if "mixed" in options.quantized:
        from edge_effnet.calibration.calibrate import calibrate_mixed

        models["int8"], models["mixed"] = calibrate_mixed(
            prepared,
            samples,
            engine,
            float_budget=options.float_budget or FLOAT_BUDGET,
            recipe=options.recipe,
            avx2_safe=options.avx2_safe,
            progress=report,
            contrib_ops=options.contrib_ops,
        )
    elif "int8" in options.quantized:
        from edge_effnet.calibration.calibrate import calibrate

        models["int8"] = calibrate(
            prepared,
            samples,
            engine,
            recipe=options.recipe,
            avx2_safe=options.avx2_safe,
            progress=report,
            contrib_ops=options.contrib_ops,
            per_tensor=options.per_tensor,
            max_drop=options.max_drop,
        )
    weight_only = [each for each in options.quantized if each not in INTEGER]
    if weight_only:
        from edge_effnet.calibration.weights.weight_only import quantize_weights

        quantized = quantize_weights(
            prepared,
            samples,
            engine,
            recipe=options.recipe,
            progress=lambda done, total: report("quantize weights", done, total),
        )
        models.update(dict.fromkeys(weight_only, quantized))
    return OurQuantized(models)


def check_calibration(calibration: object) -> None:
    """Raise `ImageError` for a missing folder, even if no photos will be read."""
    if isinstance(calibration, (str, os.PathLike)) and not Path(calibration).is_dir():
        from edge_effnet.photo_files import list_images

        list_images(calibration)  # raises the error for this path


def check_installed(options: ExportOptions) -> None:
    """Import the writers and the vendor's tool of ``options``; raises `MissingExtra`."""
    for name in options.runnable:
        import_module(FORMATS[name].writer)
    if options.quantizer != OURS and options.quantized:
        from edge_effnet.converters.vendors import VENDORS

        import_module(VENDORS[options.quantizer].module)


def write_file(
    model: Model,
    plan: Plan | None,
    format_name: str,
    card: ModelCard,
    io: IO = "uint8",
    batch: Batch = 1,
) -> Content:
    """The bytes of one file, by its format's writer."""
    if card.input == "normalised":  # the prepared model may have another normalisation
        card = replace(card, preprocess=model.info.preprocess)
    batched = {"batch": batch} if FORMATS[format_name].batches else {}
    written = import_module(FORMATS[format_name].writer).write(model, plan, card, io, **batched)
    return written if isinstance(written, tuple) else (written, b"")
