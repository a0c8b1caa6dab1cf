"""Fidelity check of a trained plan: the files that `export` would write, in every format."""

from __future__ import annotations

from functools import partial

from edge_effnet import digest
from edge_effnet.calibration.passes.fold import fold_batch_norm
from edge_effnet.calibration.quantized_model import QuantizedModel
from edge_effnet.calibration.samples.photos import Samples
from edge_effnet.converters.artifact import file_name
from edge_effnet.converters.onnx_engine import OnnxEngine
from edge_effnet.converters.options import ExportOptions
from edge_effnet.converters.quantize import OurQuantized
from edge_effnet.converters.verify import FidelityCheck
from edge_effnet.formats import RUNNABLE
from edge_effnet.model import Model
from edge_effnet.notices import warn
from edge_effnet.progress import Progress


def verify_files(
    quantized: QuantizedModel,
    reference: Model,
    samples: Samples,
    engine: OnnxEngine,
    threads: int,
    report: Progress,
) -> None:
    """Generate the int8 file of every format and compare its logits with the float network's.

    Args:
        quantized: The trained network.
        reference: The float network.
        samples: Samples to compare on.
        engine: Computes the logits of the float network.
        threads: Compute threads of the files' runtimes.
        report: Called with (step, done, total).

    Raises:
        QuantizationError: A file fails the check.
        MissingExtra: The runtime of a format is not installed.
    """
    options = ExportOptions.create(tuple(RUNNABLE), ("int8",), threads=threads)
    ours = OurQuantized({"int8": quantized})
    folded = fold_batch_norm(reference)
    check = FidelityCheck(folded, engine, ours, samples, options, warn, report)
    card = reference.info.card(
        precision="int8",
        input="pixels",
        quantization=ours.quantization_info("int8"),
        digest=digest.PLACEHOLDER,
    )
    for index, name in enumerate(options.runnable):
        check.verified(file_name(card, name, "uint8"), card, partial(ours.write, name, "uint8"))
        report("check int8 files", index + 1, len(options.runnable))
