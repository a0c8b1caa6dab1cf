"""Export of foreign .onnx files; the logits of each result are compared with the .onnx file's."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from edge_effnet import digest
from edge_effnet.calibration.fidelity import compare
from edge_effnet.calibration.samples.dead_leaves import dead_leaves
from edge_effnet.calibration.samples.photos import Samples, read_samples
from edge_effnet.card import CARD_KEY, ModelCard, Quantization, Source
from edge_effnet.converters.artifact import Artifact, file_name
from edge_effnet.converters.foreign import onnx_quantizer, tflite
from edge_effnet.converters.foreign.onnx_file import Network, onnx, read
from edge_effnet.converters.foreign.onnx_quantizer import Quantizer
from edge_effnet.converters.formats.model_api import model_info
from edge_effnet.converters.options import check_name
from edge_effnet.converters.provenance import refuse_other_checkpoints
from edge_effnet.converters.quantize import Content, Photos
from edge_effnet.errors import CheckpointError, UsageError
from edge_effnet.files import make_folder
from edge_effnet.labels import interpret
from edge_effnet.names import OutputActivation, Precision
from edge_effnet.notices import Notify, warn
from edge_effnet.preprocess import CropMode, Interpolation, Preprocess
from edge_effnet.progress import Progress
from edge_effnet.runtime.base import Runner
from edge_effnet.runtime.opening import create_runner

FORMATS = ("tflite", "onnx", "openvino")
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
_LEAST_DB = {"fp32": 60.0, "fp16": 30.0}  # least SQNR of the logits against the .onnx file's
_IMAGES = 8  # number of dead-leaves images to compare on without photos
_MOST = 64  # largest number of photos to compare on
_TFLITE_RECIPE = "static_wi8_ai8"

Channels = tuple[float, float, float]  # red, green, blue


@dataclass(frozen=True)
class Preparation:
    """Preprocessing of photos and output activation; unspecified attributes are None.

    ``mean`` and ``std`` are in pixel units, 0..255.
    """

    mean: tuple[float, ...] | float | None = None
    std: tuple[float, ...] | float | None = None
    crop: float | None = None
    interpolation: Interpolation | None = None
    crop_mode: CropMode | None = None
    output_activation: OutputActivation | None = None


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
    quantizer: Quantizer = "nncf",
    force: bool = False,
    name: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    notify: Notify | None = None,
) -> list[Path]:
    """Write the classifier in the .onnx file ``path`` in each supported format and precision.

    A final Softmax is removed, so that files return logits. A file whose logits differ from those
    of the .onnx file is not written.

    Args:
        path: The .onnx file.
        preparation: Preprocessing and output activation.
        resolution: Side of the input in pixels, for files without a fixed side.
        labels: File of class names.
        formats: tflite, onnx, openvino; tflite needs the extra `onnx2tf`.
        precisions: fp32, fp16, int8.
        calibration: Photos, which int8 needs.
        out: Output folder; it is created if missing.
        quantizer: What quantizes .onnx and OpenVINO files to int8: nncf or onnxruntime. TFLite
            files always use ai-edge-quantizer.
        force: Whether to write an int8 file that fails the fidelity check.
        name: First part of the files' names; by default the network's name.
        overwrite: Whether to replace files of another network.
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
    report = progress or (lambda step, done, total: None)
    pairs = _pairs(formats, precisions)
    quantizing = any(precision == "int8" for _, precision in pairs)
    if any(name == "tflite" for name, _ in pairs):
        tflite.check_installed(quantizing)
    if any(name != "tflite" and precision == "int8" for name, precision in pairs):
        onnx_quantizer.check_installed(quantizer)
    if quantizing and calibration is None:
        raise UsageError(
            "int8 needs photos to calibrate on",
            hint="give calibration=DIR, a folder of about 100 photos like those the model will see",
        )
    check_name(name)
    network = read(Path(path), resolution)
    card = _card(network, preparation, labels, say)
    if not overwrite:
        names = [file_name(_file_card(card, f, p, quantizer, None), f, name=name) for f, p in pairs]
        refuse_other_checkpoints(Path(out), names, card.source)
    if ("onnx", "int8") in pairs and onnx_quantizer.latency_warning(network, quantizer):
        say(onnx_quantizer.latency_warning(network, quantizer))
    samples = None
    if calibration is not None:
        samples = read_samples(
            calibration,
            card.preprocess,
            progress=lambda done, total: report("read photos", done, total),
        )
        for warning in samples.warnings:
            say(warning)
    folder = make_folder(out)
    writer = _Writer(network, samples, report)
    paths = []
    for index, (format_name, precision) in enumerate(pairs):
        file_card = _file_card(card, format_name, precision, quantizer, samples)
        target = folder / file_name(file_card, format_name, name=name)
        content = writer.write(format_name, file_card)
        forced = writer.check(target, content, file_card, force, say)
        if forced and file_card.quantization:
            forced_quantization = replace(file_card.quantization, forced=True)
            file_card = replace(file_card, quantization=forced_quantization)
            content = writer.write(format_name, file_card)
        paths.append(Artifact(target.name, *content, file_card).save(folder))
        report("write files", index + 1, len(pairs))
    return paths


def _file_card(
    card: ModelCard,
    format_name: str,
    precision: Precision,
    quantizer: Quantizer,
    samples: Samples | None,
) -> ModelCard:
    """The card of the file in ``precision``."""
    if precision != "int8":
        return replace(card, precision=precision)
    record = samples.record if samples else None
    quantization = Quantization(quantizer, onnx_quantizer.RECIPES[quantizer], record)
    if format_name == "tflite":
        quantization = Quantization("ai-edge-quantizer", _TFLITE_RECIPE, record)
    return replace(card, precision=precision, quantization=quantization)


class _Writer:
    """Writes the files of one network and compares their logits. Conversions are cached."""

    def __init__(self, network: Network, samples: Samples | None, report: Progress) -> None:
        self.network, self.samples, self.report = network, samples, report
        self._tflite: dict[str, bytes] = {}
        self._int8: Any = None  # the graph in QDQ form, for ONNX and OpenVINO
        self._reference: NDArray[np.float32] | None = None

    def write(self, name: str, card: ModelCard) -> Content:
        """The bytes of the file of format ``name``, and of its companion, empty without one."""
        if name == "tflite":
            return tflite.add_card(self._float_or_int8(card), card), b""
        proto = self._graph(card, name)
        if name == "openvino":
            from edge_effnet.converters.formats.openvino import ov, serialise

            return serialise(ov.Core().read_model(proto.SerializeToString()), card)
        onnx.helper.set_model_props(proto, {CARD_KEY: card.to_json(), **model_info(card)})
        return bytes(proto.SerializeToString(deterministic=True)), b""

    def _graph(self, card: ModelCard, name: str) -> Any:
        """The ModelProto for a file of format ``name`` in the precision of ``card``, as a copy.

        For fp16 OpenVINO files the copy is float32, because OpenVINO converts the weights when the
        file is saved. The int8 graph is quantized at the first request.
        """
        if card.precision == "fp16" and name == "onnx":
            return onnx_quantizer.store_half(self.network)
        graph = self.network.proto
        if card.precision == "int8":
            if self._int8 is None:
                self.report("calibrate", 0, 1)
                batches = self._normalised(card, cast(Samples, self.samples))
                quantizer = cast(Quantizer, cast(Quantization, card.quantization).quantizer)
                self._int8 = onnx_quantizer.quantize(self.network, batches, quantizer)
                self.report("calibrate", 1, 1)
            graph = self._int8
        proto = onnx.ModelProto()
        proto.CopyFrom(graph)
        return proto

    def check(
        self, path: Path, content: Content, card: ModelCard, force: bool, say: Notify
    ) -> bool:
        """Compare the file's logits with the .onnx file's.

        Returns:
            Whether the file is an int8 file that failed the fidelity check and is forced.

        Raises:
            QuantizationError: An int8 file fails the fidelity check and ``force`` is off.
            CheckpointError: The logits of a float file differ.
        """
        runner = create_runner(path, *content, threads=os.cpu_count() or 1)
        logits = np.concatenate([runner.run(self._fit(runner, x)) for x in self._inputs(card)])
        if self._reference is None:
            reference_runner = create_runner(
                Path(self.network.file), self.network.original, b"", threads=os.cpu_count() or 1
            )
            self._reference = np.concatenate([reference_runner.run(x) for x in self._inputs(card)])
        fidelity = compare(self._reference, logits, card.info)
        if card.precision == "int8":
            if not fidelity.collapsed:
                return False
            if not force:
                raise fidelity.refusal(path.name)
            say(f"{path.name} collapsed ({fidelity.agreement:.1%} agreement): forced")
            return True
        if not fidelity.sqnr_db >= _LEAST_DB[card.precision]:
            raise CheckpointError(
                f"{path.name} was not written: its logits differ from those of {self.network.file} "
                f"({fidelity.sqnr_db:.1f} dB); the converter changed an operator's result",
                hint="choose others of formats=",
            )
        return False

    def _float_or_int8(self, card: ModelCard) -> bytes:
        if not self._tflite:
            self.report("convert with onnx2tf", 0, 1)
            self._tflite = tflite.convert(self.network)
            self.report("convert with onnx2tf", 1, 1)
        if card.precision == "int8" and "int8" not in self._tflite:
            self.report("calibrate", 0, 1)
            batches = (
                self._channels_last(x) for x in self._normalised(card, cast(Samples, self.samples))
            )
            self._tflite["int8"] = tflite.quantize(self._tflite["fp32"], self.network, batches)
            self.report("calibrate", 1, 1)
        if card.precision not in self._tflite:
            raise CheckpointError(f"onnx2tf wrote no {card.precision} file of {self.network.file}")
        return self._tflite[card.precision]

    def _inputs(self, card: ModelCard) -> Iterator[NDArray[np.float32]]:
        """Inputs of the .onnx file to compare on: the first photos, or dead-leaves images."""
        if self.samples is not None:
            for index, values in enumerate(self._normalised(card, self.samples)):
                if index < _MOST:
                    yield values
            return
        side = self.network.input.size[0]
        # Noise is so unlike photos that rounding errors alone can grow to several percent.
        for pixels in dead_leaves(_IMAGES, side):
            yield self._as_input(card.preprocess.normalise(pixels))

    def _normalised(self, card: ModelCard, samples: Samples) -> Iterator[NDArray[np.float32]]:
        return (self._as_input(card.preprocess.normalise(pixels)) for pixels in samples.pixels)

    def _as_input(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Normalised pixels [side, side, 3] in the layout of the .onnx file, [1, ...]."""
        if self.network.input.layout == "NCHW":
            values = values.transpose(2, 0, 1)
        return np.ascontiguousarray(values[None])

    def _channels_last(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.network.input.layout == "NCHW":
            values = values.transpose(0, 2, 3, 1)
        return np.ascontiguousarray(values)

    def _fit(self, runner: Runner, values: NDArray[np.float32]) -> NDArray[np.generic]:
        """Convert ``values``, an input of the .onnx file, to the layout and type of ``runner``."""
        if runner.input.layout == "NHWC":
            values = self._channels_last(values)
        if runner.input.dtype == "float32" or not runner.input.scale:
            return values
        limits = np.iinfo(runner.input.dtype)
        params = np.rint(values / np.float32(runner.input.scale)) + (runner.input.zero_point or 0)
        return np.asarray(np.clip(params, limits.min, limits.max), runner.input.dtype)


def _pairs(formats: Sequence[str], precisions: Sequence[str]) -> list[tuple[str, Precision]]:
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise UsageError(f"unknown format {unknown[:1]}; choose from {', '.join(FORMATS)}")
    pairs = [(name, p) for p in PRECISIONS for name in formats if p in precisions]
    unsupported = sorted(set(precisions) - set(PRECISIONS))
    if unsupported or not pairs:
        wrong = unsupported[0] if unsupported else "no precision"
        raise UsageError(
            f"a foreign .onnx file cannot be exported in {wrong}",
            hint="choose from precisions=['fp32', 'fp16', 'int8']",
        )
    return pairs


def _card(
    network: Network,
    preparation: Preparation,
    labels: str | os.PathLike[str] | None,
    say: Notify,
) -> ModelCard:
    side, original = network.input.size[0], network.card
    start = original.preprocess if original else None
    if start is None:
        if preparation.mean is None or preparation.std is None:
            raise UsageError(
                f"the preprocessing of {network.file} is unknown",
                hint="give mean= and std= in pixel units (ImageNet's: "
                "mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))",
            )
        start = Preprocess(side, 1.0)
    preprocess = Preprocess(
        side,
        start.crop if preparation.crop is None else preparation.crop,
        preparation.interpolation or start.interpolation,
        _three("mean", preparation.mean, start.mean),
        _three("std", preparation.std, start.std),
        preparation.crop_mode or start.crop_mode,
    )
    known = original if original and original.outputs == network.classes else None
    reading = interpret(
        network.file,
        network.classes,
        preparation.output_activation or (known.output_activation if known else None),
        labels,
        known.labels if known else None,
    )
    for note in reading.notes:
        say(note)
    return ModelCard(
        variant=network.name,
        preprocess=preprocess,
        labels=reading.labels,
        source=Source("onnx", network.file, network.sha256),
        output_activation=reading.activation,
        multi_label=reading.multi_label,
        digest=digest.PLACEHOLDER,
    )


def _three(name: str, value: tuple[float, ...] | float | None, default: Channels) -> Channels:
    if value is None:
        return default
    values = value if isinstance(value, tuple) else (value,) * 3
    if len(values) != 3 or (name == "std" and min(values) <= 0):
        raise UsageError(f"{name} takes one number or three (R, G, B), not {value}")
    red, green, blue = map(float, values)
    return red, green, blue
