"""Export of a model or quantized model to files, each verified before it is written."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from edge_effnet import digest, pairs
from edge_effnet.calibration.passes.fold import fold_batch_norm
from edge_effnet.calibration.passes.prepare import prepare
from edge_effnet.calibration.plan import Plan, QuantPlan, WeightOnlyPlan
from edge_effnet.calibration.quantized_model import QuantizedModel
from edge_effnet.card import ModelCard, ModelInfo, Quantization
from edge_effnet.checkpoints import WeightsLike, as_model
from edge_effnet.converters.artifact import Artifact, file_name
from edge_effnet.converters.formats import further
from edge_effnet.converters.formats.unwritable import check_halves
from edge_effnet.converters.options import FLOAT_BUDGET, QUANTIZED, ExportOptions
from edge_effnet.converters.provenance import refuse_other_checkpoints
from edge_effnet.converters.quantize import (
    OurQuantized,
    Photos,
    Quantized,
    check_calibration,
    check_installed,
    quantize,
    read_calibration,
    write_file,
)
from edge_effnet.converters.verify import FidelityCheck, float_logits
from edge_effnet.errors import UsageError
from edge_effnet.files import make_folder
from edge_effnet.formats import FORMATS
from edge_effnet.graph import Conv, Dense
from edge_effnet.model import Model
from edge_effnet.names import INTEGER, IO, Batch, FormatName, Precision, QuantizerName, RecipeName
from edge_effnet.notices import Notify, warn
from edge_effnet.progress import Progress, ProgressOption, reporting

if TYPE_CHECKING:
    from edge_effnet.calibration.samples.photos import Samples


def export(
    model: Model | QuantizedModel | WeightsLike,
    *,
    formats: FormatName | Sequence[FormatName] = ("tflite", "onnx", "openvino"),
    precisions: Precision | Sequence[Precision] = ("fp32", "int8"),
    calibration: Photos | Samples | QuantPlan | WeightOnlyPlan | None = None,
    out: str | os.PathLike[str] = ".",
    recipe: RecipeName = "default",
    quantizer: QuantizerName = "edge-effnet",
    io: IO = "uint8",
    per_tensor: bool = False,
    max_drop: float | None = None,
    float_budget: float | None = None,
    avx2_safe: bool = True,
    force: bool = False,
    threads: int = 0,
    name: str | None = None,
    overwrite: bool = False,
    batch: Batch = 1,
    contrib_ops: bool = False,
    softmax: bool = False,
    progress: ProgressOption = None,
    notify: Notify | None = None,
) -> list[Path]:
    """Write ``model`` to ``out`` in each of ``formats`` and ``precisions``.

    Args:
        model: A network, or a result of `calibrate`, whose integers all files then contain. Or a
            checkpoint, torch.nn.Module or keras.Model that `load("auto", ...)` accepts.
        formats: tflite, onnx, openvino; in float also coreml, executorch, ncnn; in int8 also
            executorch, and rknn and imx500, whose toolchains are installed into the user's cache.
        precisions: fp32, fp16, w8, dynamic (TFLite), int8, mixed.
        calibration: For the quantized precisions: a folder of photos, paths of photos, `Samples`,
            or a plan. The recipe ``fast`` generates images and needs none.
        out: Output folder; it is created if missing.
        recipe: default, best or fast (`calibration.recipes`).
        quantizer: ``edge-effnet``, or a vendor's quantizer, which writes one format.
        io: Type of the input and output of int8 files: uint8, float32 or, in TFLite, int8. With
            uint8, .onnx and .xml files return float32 logits.
        per_tensor: Whether int8 files have one weight scale per layer, after cross-layer
            equalization.
        max_drop: Largest expected loss of top-1 accuracy of int8 files, in points. Layers stay in
            float to meet this limit (`calibration.sensitivity.mixed_precision`).
        float_budget: Largest share of the multiply-adds that mixed files compute in float, in
            percent; None is 4.
        avx2_safe: Whether weights are restricted so that x86 CPUs without VNNI do not saturate.
        force: Whether to write a file that fails the fidelity check, or files of an adapted
            network that was not trained. Their cards say so.
        threads: Compute threads; 0 is one per core.
        name: First part of the files' names; by default the variant's name.
        overwrite: Whether to replace files of another checkpoint.
        batch: Batch size of .onnx and OpenVINO files, or ``dynamic`` for any. 1 is the fastest for
            single images. TFLite files always have 1.
        contrib_ops: Whether swishes in int8 .onnx files are QuickGelu, an operator of ONNX Runtime
            that OpenVINO reads too: 6 to 11 % faster in ONNX Runtime.
        softmax: Whether the files return float32 probabilities instead of logits, for clients that
            compare the outputs with a threshold.
        progress: Called with (stage, done, total). By default progress bars appear in notebooks
            and terminals; False shows none.
        notify: Called with each warning; None issues Python warnings.

    Returns:
        The paths of the files. Every file is complete or absent.

    Raises:
        UsageError: A name is unknown, options exclude each other, files of another checkpoint
            exist, an adapted network was not trained, or the plan is of another network.
        CheckpointError: A checkpoint cannot be read.
        ImageError: No calibration photo can be used.
        QuantizationError: The network cannot be quantized, or a file fails the fidelity check.
        OutputError: A file cannot be written.
        MissingExtra: A package that a format or quantizer needs is not installed.

    Example:
        >>> files = export(model, calibration="photos/", out="out/")  # doctest: +SKIP
    """
    options = ExportOptions.create(
        formats,
        precisions,
        recipe=recipe,
        quantizer=quantizer,
        io=io,
        per_tensor=per_tensor,
        max_drop=max_drop,
        float_budget=float_budget,
        avx2_safe=avx2_safe,
        force=force,
        threads=threads,
        name=name,
        overwrite=overwrite,
        batch=batch,
        contrib_ops=contrib_ops,
        softmax=softmax,
    )
    say = notify or warn
    if not isinstance(model, QuantizedModel):
        model = as_model(model, say)
    _refuse_untrained(model.info, force, say)
    if softmax and model.info.output_activation == "none":
        raise UsageError(
            f"{model.info.variant} predicts plain numbers, which have no probabilities",
            hint="omit softmax=",
        )
    # Packages, photos and the folder are checked before the first file is written.
    further.check(options.further, options.precisions, say)
    check_installed(options)
    check_calibration(calibration)
    if not overwrite:
        plan = model.plan if isinstance(model, QuantizedModel) else calibration
        names = _file_names(model.info, plan, options)
        refuse_other_checkpoints(Path(out), names, model.info.source)
    folded = fold_batch_norm(model.model if isinstance(model, QuantizedModel) else model)
    further.check_network(options.further, folded)
    if "fp16" in options.precisions:
        check_halves(folded)
    with reporting(progress) as report:
        job = _Job(model, calibration, options, say, report)
        folder = make_folder(out)
        pairs.finish(folder)
        # The formats that other programs convert come first: they may refuse a layer.
        others = further.save(job.model, options.further, options.precisions, folder, report, name)
        compiled = job.save_compiled(folder)
        paths = [artifact.save(folder) for artifact in job.float_artifacts()] + others
        paths += [artifact.save(folder) for artifact in job.quantized_artifacts()] + compiled
    return paths


def _refuse_untrained(info: ModelInfo, force: bool, say: Notify) -> None:
    """Raise `UsageError` for an adapted network that was not trained; with ``force`` only warn."""
    if not info.untrained:
        return
    problem = f"{info.variant} was not trained since its layers were replaced: its predictions"
    if not force:
        raise UsageError(
            f"{problem} would be wrong",
            hint="train it with 'edge-effnet train' first, or give force=True to measure its "
            "latency",
        )
    say(f"{problem} are wrong; measure nothing but latency with its files")


def _check_layers(model: Model, plan: Plan) -> None:
    """Raise `UsageError` if a layer of ``plan`` is missing in ``model`` or has another shape."""
    shapes = {
        node.name: model.weights[f"{node.name}.weight"].shape
        for node in model.graph
        if isinstance(node, (Conv, Dense))
    }
    for name, layer in plan.layers.items():
        if shapes.get(name) != layer.weight.shape:
            raise UsageError(
                f"the plan is of another network: {model.variant.name} has no layer {name} with "
                f"weights of shape {list(layer.weight.shape)}",
                hint="export the result of calibrate(), which holds the network of its plan",
            )


def _file_names(info: ModelInfo, plan: object, options: ExportOptions) -> Iterator[str]:
    """Names of all files that an export may write."""
    for name in options.further:
        for precision in options.precisions:
            yield f"{options.name or info.variant}-{precision}{FORMATS[name].suffix}"
    per_tensor = bool(getattr(plan, "per_tensor", options.per_tensor))
    mixed = options.max_drop is not None or bool(getattr(plan, "float_layers", ()))
    for precision in options.precisions:
        io: IO = options.io if precision in INTEGER else "float32"
        cards = [info.card(precision=precision, probabilities=options.softmax)]
        if precision in QUANTIZED:
            kind = Quantization(options.quantizer, options.recipe, per_tensor=per_tensor)
            kinds = [kind, replace(kind, float_layers=("any",))] if mixed else [kind]
            cards = [replace(cards[0], quantization=each) for each in kinds]
        for name in options.formats_of(precision):
            batch = options.batch_of(name)
            yield from (file_name(card, name, io, options.name, batch) for card in cards)


class _Job:
    """One export. Samples are read at creation; files are generated one by one afterwards."""

    def __init__(
        self,
        model: Model | QuantizedModel,
        calibration: Photos | Samples | QuantPlan | WeightOnlyPlan | None,
        options: ExportOptions,
        say: Notify,
        report: Progress,
    ) -> None:
        self.finished: QuantizedModel | None = None
        if isinstance(model, QuantizedModel):
            if calibration is not None:
                raise UsageError("this model is quantized already", hint="omit calibration=")
            self.finished, model = model, model.model
        elif isinstance(calibration, (QuantPlan, WeightOnlyPlan)):
            prepared = prepare(model).model
            _check_layers(prepared, calibration)
            self.finished = QuantizedModel(prepared, calibration, model.info)
        self.model = model
        self.options, self.say, self.report = options, say, report
        self.samples: Samples | None = None
        if not (options.runnable or options.compiled) or not options.quantized:
            return
        from edge_effnet.converters.onnx_engine import OnnxEngine

        self.engine = OnnxEngine(options.threads)
        if self.finished is not None:
            options.check_plan(self.finished.plan)
        else:
            options.need_photos(calibration)
            photos = cast("Photos | Samples | None", calibration)
            self.samples = read_calibration(model, photos, options.recipe, self.engine, report, say)

    def float_artifacts(self) -> Iterator[Artifact]:
        """Generate the fp32 and fp16 files."""
        folded = fold_batch_norm(self.model)
        for precision in self.options.precisions:
            if precision not in self.options.quantized:
                card = self.model.info.card(
                    precision=precision,
                    probabilities=self.options.softmax,
                    digest=digest.PLACEHOLDER,
                )
                for name in self._formats(precision):
                    batch = self.options.batch_of(name)
                    data, companion = write_file(folded, None, name, card, batch=batch)
                    yield Artifact(self._name(card, name), data, companion, card)

    def quantized_artifacts(self) -> Iterator[Artifact]:
        """Generate the quantized files, each after the fidelity check."""
        if not self.options.runnable or not self.options.quantized:
            return
        quantized = self._quantized
        check = FidelityCheck(
            fold_batch_norm(self.model), self.engine, quantized, self.samples, self.options,
            self.say, self.report,
        )  # fmt: skip
        for precision in self.options.quantized:
            io: IO = self.options.io if precision in INTEGER else "float32"
            info = self.model.info if self.finished is None else self.finished.info
            card = info.card(
                precision=precision,
                input="normalised" if io == "float32" else "pixels",
                quantization=quantized.quantization_info(precision),
                probabilities=self.options.softmax,
                digest=digest.PLACEHOLDER,
            )
            for name in self._formats(precision):
                write = partial(quantized.write, name, io, options=self.options)
                yield check.verified(self._name(card, name, io), card, write)

    def _name(self, card: ModelCard, format_name: str, io: IO = "uint8") -> str:
        batch = self.options.batch_of(format_name)
        return file_name(card, format_name, io, self.options.name, batch)

    def _formats(self, precision: Precision) -> Iterator[str]:
        """Generate the formats of ``precision``; progress advances after each written file."""
        names = self.options.formats_of(precision)
        for index, name in enumerate(names):
            yield name
            self.report(f"write {precision}", index + 1, len(names))

    def save_compiled(self, folder: Path) -> list[Path]:
        """Write the int8 files of the formats for other runtimes."""
        if not self.options.compiled:
            return []
        folded = fold_batch_norm(self.model)

        def logits(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
            return float_logits(folded, self.engine, pixels)

        def ours() -> QuantizedModel:
            return cast(OurQuantized, self._quantized).models["int8"]

        source = further.Int8Source(folded, self.samples, ours, self.report, self.say)
        return further.save_int8(
            source,
            self.options.compiled,
            folder,
            logits,
            name=self.options.name,
            force=self.options.force,
            say=self.say,
        )

    @cached_property
    def _quantized(self) -> Quantized:
        if self.finished is not None:
            return OurQuantized(dict.fromkeys(QUANTIZED, self.finished))
        samples = cast("Samples", self.samples)
        quantized = quantize(self.model, samples, self.engine, self.options, self.report)
        budget = self.options.float_budget or FLOAT_BUDGET
        if "mixed" in self.options.precisions:
            if not quantized.quantization_info("mixed").float_layers:
                self.say(f"no layer fits {budget:g} % of the multiply-adds: mixed files are int8")
            return quantized
        max_drop = self.options.max_drop
        if max_drop is not None and not quantized.quantization_info("int8").float_layers:
            self.say(
                f"the integers alone are expected to lose no more than {max_drop:g} points: no "
                "layer is left in float"
            )
        return quantized
