"""Files of one foreign network: their bytes in each format, precision and quantizer, and logits."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.fidelity import Fidelity, compare
from edge_effnet.calibration.samples.dead_leaves import dead_leaves
from edge_effnet.calibration.samples.photos import Samples
from edge_effnet.card import CARD_KEY, ModelCard, ModelInfo
from edge_effnet.classifier import Classifier, class_logits, log_probabilities
from edge_effnet.converters.foreign import onnx_quantizer, tflite
from edge_effnet.converters.foreign.graph.partial_graph import UnknownLayerError
from edge_effnet.converters.foreign.graph.reader import read_model
from edge_effnet.converters.foreign.onnx_file import Network, onnx
from edge_effnet.converters.formats.model_api import model_info
from edge_effnet.converters.onnx_engine import OnnxEngine
from edge_effnet.converters.options import OURS, ExportOptions
from edge_effnet.converters.quantize import Content, OurQuantized, quantize, write_file
from edge_effnet.errors import CheckpointError, EdgeEffNetError, QuantizationError
from edge_effnet.model import Model
from edge_effnet.progress import Progress
from edge_effnet.runtime.opening import create_runner

_IMAGES = 8  # number of dead-leaves images to compare on without photos
_MOST_ERROR = 1e-4  # of a graph that was read, relative to the largest logit


@contextmanager
def _converting(file: str, target: str) -> Iterator[None]:
    """Context in which a converter's own error becomes `CheckpointError`."""
    try:
        yield
    except EdgeEffNetError:
        raise
    except Exception as error:  # errors of converters have no other common base
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(
            f"{file} cannot be converted to {target} ({reason})", hint="choose others of formats="
        ) from error


class ForeignFiles:
    """The files of one network. Conversions and quantized graphs are cached.

    Attributes:
        network: The foreign network.
        info: Its description.
        model: The network as this package's `Model`; None if it has an unknown layer.
        unknown: The layer that our writers and quantizer do not know; empty if there is none.
        options: Batch size and output of the files.
    """

    def __init__(
        self,
        network: Network,
        info: ModelInfo,
        report: Progress,
        options: ExportOptions | None = None,
    ) -> None:
        self.network, self.info, self.report = network, info, report
        self.options = options or ExportOptions.create(("tflite",), ("fp32",))
        self._graphs: dict[str, Any] = {}  # int8 graphs in QDQ form, by quantizer
        self._tflite: dict[str, bytes] = {}  # by precision
        with _converting(network.file, "a network"):
            self.model, self.unknown = self._read_model()

    @property
    def rewritten(self) -> bool:
        """Whether float .onnx and OpenVINO files are written anew, not as copies of the graph."""
        return self.options.batch != 1 or self.options.softmax

    def write(self, format_name: str, card: ModelCard, samples: Samples | None) -> Content:
        """The bytes of a file, and of its companion, empty without one.

        Args:
            format_name: The format.
            card: The card of the file; its precision and quantizer decide the content.
            samples: Calibration samples; an int8 file needs them.

        Raises:
            QuantizationError: A quantizer fails.
            CheckpointError: The network cannot be converted.
        """
        with _converting(self.network.file, f"{format_name} {card.precision}"):
            return self._write(format_name, card, samples)

    def _write(self, format_name: str, card: ModelCard, samples: Samples | None) -> Content:
        if card.quantization and card.quantization.quantizer == OURS:
            models = self._our_models(cast(Samples, samples))
            return models.write(format_name, "uint8", card, self.options)
        if self.rewritten:
            batch = self.options.batch_of(format_name)
            return write_file(cast(Model, self.model), None, format_name, card, "float32", batch)
        if format_name == "tflite":
            if card.precision == "int8":
                return tflite.add_card(self._ai_edge_int8(cast(Samples, samples)), card), b""
            if self.model is not None:
                return write_file(self.model, None, format_name, card, "float32")
            return tflite.add_card(self._onnx2tf(card.precision), card), b""
        proto = self._graph(card, format_name, samples)
        if format_name == "openvino":
            from edge_effnet.converters.formats.openvino import ov, serialise

            return serialise(ov.Core().read_model(proto.SerializeToString()), card)
        onnx.helper.set_model_props(proto, {CARD_KEY: card.to_json(), **model_info(card)})
        return bytes(proto.SerializeToString(deterministic=True)), b""

    def compare(
        self, path: Path, content: Content, card: ModelCard, pixels: NDArray[np.uint8] | None
    ) -> Fidelity:
        """Compare the logits of a file with those of the .onnx file.

        Args:
            path: Name of the file.
            content: Its bytes.
            card: Its card.
            pixels: uint8 photos [n, side, side, 3]; None compares on dead-leaves images.
        """
        if pixels is None:
            pixels = self._images
        runner = create_runner(path, *content, threads=_threads())
        if path.suffix == ".tflite":  # whose writer may move a part of the normalisation
            card = ModelCard.from_json(cast(str, runner.card_text()))
        classifier = Classifier(runner, card, path.name)
        logits = np.stack([classifier.logits_of_pixels(image) for image in pixels])
        reference = class_logits(self.info, self._reference_of(pixels))
        if card.probabilities and card.output_activation == "softmax":
            reference = log_probabilities(reference)
        return compare(reference, logits, self.info)

    # References

    @cached_property
    def _images(self) -> NDArray[np.uint8]:
        # Noise is so unlike photos that rounding errors alone can grow to several percent.
        return dead_leaves(_IMAGES, self.network.input.size[0])

    @cached_property
    def _reference(self) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
        runner = create_runner(
            Path(self.network.file), self.network.original, b"", threads=_threads()
        )
        return runner.run

    def _reference_of(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits of the .onnx file, [n, classes]."""
        return np.concatenate([self._reference(x) for x in self._inputs(pixels)])

    def _inputs(self, pixels: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        """Normalised pixels [1, ...] in the layout of the .onnx file."""
        for image in pixels:
            values = self.info.preprocess.normalise(image)
            if self.network.input.layout == "NCHW":
                values = values.transpose(2, 0, 1)
            yield np.ascontiguousarray(values[None])

    # The network as our Model

    def _read_model(self) -> tuple[Model | None, str]:
        """The network as a `Model` with the same logits, or None and the layer that is unknown."""
        try:
            model = read_model(self.network, self.info)
        except UnknownLayerError as unknown:
            return None, str(unknown)
        output = model.graph.output
        run = OnnxEngine(_threads()).compile_float(model.graph, model.weights, [output])
        values = [self.info.preprocess.normalise(x).transpose(2, 0, 1)[None] for x in self._images]
        logits = np.concatenate([run(np.ascontiguousarray(x))[output] for x in values])
        reference = self._reference_of(self._images)
        error = np.abs(logits - reference).max() / max(np.abs(reference).max(), 1e-30)
        if not error <= _MOST_ERROR:
            return None, f"a layer that this package computes otherwise (error {error:.1e})"
        return model, ""

    def _our_models(self, samples: Samples) -> OurQuantized:
        if OURS not in self._graphs:
            options = ExportOptions.create(("tflite",), ("int8",))
            engine = OnnxEngine(0)
            model = cast(Model, self.model)
            try:
                self._graphs[OURS] = quantize(model, samples, engine, options, self.report)
            except EdgeEffNetError:
                raise
            except Exception as error:  # a structure that no network of the family has
                raise QuantizationError(
                    f"the quantizer {OURS} failed on {self.network.file} "
                    f"({type(error).__name__}: {error})",
                    hint="export precisions=['fp16'] instead",
                ) from error
        return cast(OurQuantized, self._graphs[OURS])

    # Vendors

    def _graph(self, card: ModelCard, format_name: str, samples: Samples | None) -> Any:
        """The ModelProto for a file in the precision of ``card``, as a copy.

        For fp16 OpenVINO files the copy is float32, because OpenVINO converts the weights when the
        file is saved.
        """
        if card.precision == "fp16" and format_name == "onnx":
            return onnx_quantizer.store_half(self.network)
        graph = self.network.proto
        if card.quantization is not None:
            quantizer = cast(onnx_quantizer.Quantizer, card.quantization.quantizer)
            if quantizer not in self._graphs:
                self.report(f"quantize with {quantizer}", 0, 1)
                batches = self._inputs(cast(Samples, samples).pixels)
                self._graphs[quantizer] = onnx_quantizer.quantize(self.network, batches, quantizer)
                self.report(f"quantize with {quantizer}", 1, 1)
            graph = self._graphs[quantizer]
        proto = onnx.ModelProto()
        proto.CopyFrom(graph)
        return proto

    def _onnx2tf(self, precision: str) -> bytes:
        if not self._tflite:
            self.report("convert with onnx2tf", 0, 1)
            self._tflite = tflite.convert(self.network)
            self.report("convert with onnx2tf", 1, 1)
        if precision not in self._tflite:
            raise CheckpointError(
                f"onnx2tf wrote no {precision} file of {self.network.file}; choose another "
                "precision or format"
            )
        return self._tflite[precision]

    def _ai_edge_int8(self, samples: Samples) -> bytes:
        if "int8" not in self._tflite:
            if self.model is not None:
                plain = self.info.card()
                float_file, _ = write_file(self.model, None, "tflite", plain, "float32")
            else:
                float_file = self._onnx2tf("fp32")
            self.report("quantize with ai-edge-quantizer", 0, 1)
            batches = (self.info.preprocess.normalise(x)[None] for x in samples.pixels)
            self._tflite["int8"] = tflite.quantize(float_file, self.network.file, batches)
            self.report("quantize with ai-edge-quantizer", 1, 1)
        return self._tflite["int8"]


def _threads() -> int:
    return os.cpu_count() or 1
