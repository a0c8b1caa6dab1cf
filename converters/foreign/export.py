"""Export of foreign .onnx files; the logits of each result are compared with the .onnx file's."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

from edge_effnet.calibration.fidelity import Fidelity
from edge_effnet.calibration.samples.photos import Samples, read_samples
from edge_effnet.card import InputKind, ModelCard, Quantization
from edge_effnet.converters.artifact import Artifact, file_name
from edge_effnet.converters.foreign import choice, onnx_quantizer, probe, tflite
from edge_effnet.converters.foreign.files import ForeignFiles
from edge_effnet.converters.foreign.onnx_file import read
from edge_effnet.converters.foreign.preparation import Preparation, describe
from edge_effnet.converters.options import OURS, ExportOptions, check_name
from edge_effnet.converters.provenance import refuse_other_checkpoints
from edge_effnet.converters.quantize import Photos
from edge_effnet.errors import CheckpointError, MissingExtra, QuantizationError, UsageError
from edge_effnet.files import make_folder
from edge_effnet.installation import pip_line
from edge_effnet.names import Batch, FormatName, Precision
from edge_effnet.notices import Notify, warn
from edge_effnet.progress import Progress, ignore_progress

FORMATS = ("tflite", "onnx", "openvino")
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
_LEAST_DB = {"fp32": 60.0, "fp16": 30.0}  # least SQNR of the logits against the .onnx file's
_MOST = 64  # largest number of photos to compare on


def export(
    path: str | os.PathLike[str],
    preparation: Preparation,
    *,
    resolution: int | None = None,
    labels: str | os.PathLike[str] | None = None,
    formats: Sequence[str] = FORMATS,
    precisions: Sequence[str] = ("fp32",),
    calibration: Photos | None = None,
    out: str | os.PathLike[str] = ".",
    quantizer: str | None = None,
    force: bool = False,
    name: str | None = None,
    overwrite: bool = False,
    batch: Batch = 1,
    softmax: bool = False,
    progress: Progress | None = None,
    notify: Notify | None = None,
) -> list[Path]:
    """Write the classifier in the .onnx file ``path`` in each supported format and precision.

    A final Softmax or Sigmoid is removed, so that files return logits, and stated in the cards. A
    file whose logits differ from those of the .onnx file is not written.

    Args:
        path: The .onnx file.
        preparation: Preprocessing and output activation.
        resolution: Side of the input in pixels, for files without a fixed side.
        labels: File of class names.
        formats: tflite, onnx, openvino. A network with a layer that the TFLite writer does not
            know needs the extra `onnx2tf`.
        precisions: fp32, fp16, int8.
        calibration: Photos, which int8 needs.
        out: Output folder; it is created if missing.
        quantizer: The quantizer of the int8 files whose format it writes: edge-effnet, nncf,
            onnxruntime or ai-edge-quantizer. By default all that are installed are compared on
            photos that they were not calibrated on, and the most accurate one is used.
        force: Whether to write an int8 file that fails the fidelity check.
        name: First part of the files' names; by default the network's name.
        overwrite: Whether to replace files of another network.
        batch: Batch size of .onnx and OpenVINO files, or ``dynamic`` for any. With another size
            than 1, and with ``softmax``, this package writes the graph anew and quantizes it, so
            it must know all layers.
        softmax: Whether the files return float32 probabilities instead of logits.
        progress: Called with (stage, done, total).
        notify: Called with each warning.

    Returns:
        The paths of the files.

    Raises:
        CheckpointError: The file cannot be converted.
        UsageError: An argument does not fit the file, or files of another network exist.
        MissingExtra: A tool is not installed.
        QuantizationError: Quantization fails, or the int8 file fails the fidelity check.
        OutputError: A file cannot be written.
    """
    say = notify or warn
    report = progress or ignore_progress
    pairs = _pairs(formats, precisions)
    quantized_formats = [name for name, precision in pairs if precision == "int8"]
    _check_quantizer(quantizer, quantized_formats)
    if quantized_formats and calibration is None:
        raise UsageError(
            "int8 needs photos to calibrate on",
            hint="give calibration=DIR, a folder of about 100 photos like those the model will see",
        )
    check_name(name)
    options = ExportOptions.create(
        cast("Sequence[FormatName]", formats),
        cast("Sequence[Precision]", precisions),
        batch=batch,
        softmax=softmax,
    )
    probe.check(Path(path), resolution, formats)
    network = read(Path(path), resolution)
    card = replace(describe(network, preparation, labels, say), probabilities=softmax)
    if softmax and card.output_activation == "none":
        raise UsageError(f"{network.file} predicts plain numbers", hint="omit softmax=")
    if not overwrite:
        names = _file_names(card, pairs, name, options)
        refuse_other_checkpoints(Path(out), names, card.source)
    files = ForeignFiles(network, card.info, report, options)
    if files.rewritten:
        quantizer = _check_rewritten(files, quantizer)
    _check_tools(files, pairs, quantizer)
    samples = None
    if calibration is not None:
        samples = read_samples(
            calibration,
            card.preprocess,
            progress=lambda done, total: report("read photos", done, total),
        )
        for warning in samples.warnings:
            say(warning)
    # Our quantizer then calibrates on the same photos for all formats.
    compares = any(
        len(choice.candidates(each, quantizer, not files.unknown)) > 1 for each in quantized_formats
    )
    job = _Job(files, card, samples, quantizer, compares, force, name, say)
    folder = make_folder(out)
    paths = []
    for index, (format_name, precision) in enumerate(pairs):
        write = job.int8 if precision == "int8" else job.float
        paths.append(write(format_name, precision).save(folder))
        report("write files", index + 1, len(pairs))
    return paths


@dataclass(frozen=True)
class _Job:
    """Builds the files of one export: `float` the float files, `int8` the quantized ones.

    ``compares`` is whether quantizers are compared, on photos kept out of calibration.
    """

    files: ForeignFiles
    card: ModelCard
    samples: Samples | None
    quantizer: str | None
    compares: bool
    force: bool
    name: str | None
    say: Notify

    def float(self, format_name: str, precision: Precision) -> Artifact:
        """A float file, whose logits are compared with the .onnx file's.

        Raises:
            CheckpointError: The logits differ.
        """
        card = replace(self.card, precision=precision)
        target = self._path(card, format_name)
        content = self.files.write(format_name, card, None)
        pixels = None if self.samples is None else self.samples.pixels[:_MOST]
        fidelity = self.files.compare(target, content, card, pixels)
        if not fidelity.sqnr_db >= _LEAST_DB[precision]:
            raise CheckpointError(
                f"{target} was not written: its logits differ from those of "
                f"{self.files.network.file} ({fidelity.sqnr_db:.1f} dB); the converter changed an "
                "operator's result",
                hint="choose others of formats=",
            )
        return Artifact(target.name, *content, card)

    def int8(self, format_name: str, precision: Precision) -> Artifact:
        """The int8 file of the most accurate quantizer, with the comparison in its card.

        Raises:
            QuantizationError: Every quantizer fails, or the file fails the fidelity check.
        """
        samples = cast(Samples, self.samples)
        names = choice.candidates(format_name, self.quantizer, not self.files.unknown)
        pixels = samples.pixels[:_MOST]
        if self.compares:
            samples, pixels = choice.divide(samples)
        fidelities, errors = {}, []
        for quantizer in names:
            card = self._int8_card(format_name, quantizer, samples)
            target = self._path(card, format_name)
            try:
                content = self.files.write(format_name, card, samples)
                fidelity = self.files.compare(target, content, card, pixels)
            except QuantizationError as failure:
                errors.append(failure)
                continue
            if np.isfinite(fidelity.sqnr_db) or len(names) == 1:
                fidelities[quantizer] = fidelity
        if not fidelities:
            raise (
                errors[0]
                if errors
                else QuantizationError(f"no quantizer of {', '.join(names)} keeps finite logits")
            )
        for error in errors:
            self.say(str(error))
        best = choice.best(fidelities)
        card = self._int8_card(format_name, best, samples)
        target = self._path(card, format_name)
        forced = self._check(target, fidelities[best])
        quantization = replace(cast(Quantization, card.quantization), forced=forced)
        if len(names) > 1:
            results = tuple(choice.result(*each) for each in fidelities.items())
            quantization = replace(quantization, compared=results)
            held_out = len(samples.pixels) < len(cast(Samples, self.samples).pixels)
            self.say(choice.sentence(target.name, best, results, held_out))
        warning = onnx_quantizer.latency_warning(self.files.network, best)
        if format_name == "onnx" and warning:
            self.say(warning)
        card = replace(card, quantization=quantization)
        return Artifact(target.name, *self.files.write(format_name, card, samples), card)

    def _path(self, card: ModelCard, format_name: str) -> Path:
        batch = self.files.options.batch_of(format_name)
        return Path(file_name(card, format_name, name=self.name, batch=batch))

    def _int8_card(self, format_name: str, quantizer: str, samples: Samples) -> ModelCard:
        recipe = choice.QUANTIZERS[format_name][quantizer]
        quantization = Quantization(quantizer, recipe, samples.record, avx2_safe=quantizer == OURS)
        kind: InputKind = "pixels" if quantizer == OURS else "normalised"
        return replace(self.card, precision="int8", input=kind, quantization=quantization)

    def _check(self, target: Path, fidelity: Fidelity) -> bool:
        """Whether the file failed the fidelity check and is forced.

        Raises:
            QuantizationError: The file failed, and ``force`` is off.
        """
        if not fidelity.collapsed:
            return False
        if not self.force:
            raise fidelity.refusal(target.name)
        self.say(f"{target.name} collapsed ({fidelity.agreement:.1%} agreement): forced")
        return True


def _check_quantizer(quantizer: str | None, formats: Sequence[str]) -> None:
    """Raise `UsageError` if no int8 file can be made by the requested quantizer."""
    known = {name for quantizers in choice.QUANTIZERS.values() for name in quantizers}
    if quantizer is not None and quantizer not in known:
        raise UsageError(
            f"foreign .onnx files are not quantized by {quantizer}",
            hint=f"choose from {', '.join(sorted(known))}, or omit quantizer= to compare them",
        )
    if quantizer and formats and not any(quantizer in choice.QUANTIZERS[f] for f in formats):
        raise UsageError(
            f"{quantizer} makes no int8 file in {', '.join(formats)}",
            hint="omit quantizer= to compare those that do",
        )


def _check_rewritten(files: ForeignFiles, quantizer: str | None) -> str:
    """Raise `UsageError` unless this package can write and quantize the network itself.

    Returns:
        The only quantizer that writes other batch sizes and probabilities: ours.
    """
    if files.model is None:
        raise UsageError(
            f"batch= and softmax= need a network whose layers this package knows; "
            f"{files.network.file} has {files.unknown}",
            hint="omit them",
        )
    if quantizer not in (None, OURS):
        raise UsageError(
            f"the quantizer {quantizer} writes files of batch 1 that return logits",
            hint="omit quantizer=, or batch= and softmax=",
        )
    return OURS


def _check_tools(
    files: ForeignFiles, pairs: Sequence[tuple[str, Precision]], quantizer: str | None
) -> None:
    """Check that each file has a converter and a quantizer, before any work.

    Raises:
        MissingExtra: A package is not installed.
        UsageError: Our quantizer is requested and does not know a layer of the network.
    """
    if files.model is None and any(name == "tflite" for name, _ in pairs):
        tflite.check_installed(files.unknown)
    for format_name, precision in pairs:
        if precision != "int8":
            continue
        names = choice.candidates(format_name, quantizer, not files.unknown)
        if names == [OURS] and files.unknown:
            raise UsageError(
                f"{OURS} cannot quantize {files.network.file}: it does not know {files.unknown}",
                hint="omit quantizer= to compare the quantizers that can",
            )
        if not names:  # only TFLite: the packages of others come with the format
            raise MissingExtra(
                f"ai-edge-quantizer is not installed: {pip_line('ai-edge-quantizer')}",
                hint="or choose others of formats=",
            )
        if names == ["nncf"]:
            onnx_quantizer.check_nncf()


def _file_names(
    card: ModelCard,
    pairs: Sequence[tuple[str, Precision]],
    name: str | None,
    options: ExportOptions,
) -> Iterator[str]:
    """Names of all files that an export may write."""
    for format_name, precision in pairs:
        plain = replace(card, precision=precision)
        recipes = choice.QUANTIZERS[format_name] if precision == "int8" else {}
        quantizations: list[Quantization | None] = [Quantization(*each) for each in recipes.items()]
        for quantization in quantizations or [None]:
            written = replace(plain, quantization=quantization)
            batch = options.batch_of(format_name)
            yield file_name(written, format_name, name=name, batch=batch)


def _pairs(formats: Sequence[str], precisions: Sequence[str]) -> list[tuple[str, Precision]]:
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        message = f"unknown format {unknown[0]!r}" if unknown else "no format was given"
        raise UsageError(f"{message}; choose from {', '.join(FORMATS)}")
    pairs = [(name, p) for p in PRECISIONS for name in formats if p in precisions]
    unsupported = sorted(set(precisions) - set(PRECISIONS))
    if unsupported or not pairs:
        wrong = unsupported[0] if unsupported else "no precision"
        raise UsageError(
            f"a foreign .onnx file cannot be exported in {wrong}",
            hint="choose from precisions=['fp32', 'fp16', 'int8']",
        )
    return pairs
