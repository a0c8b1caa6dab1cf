"""Choice of a foreign network's quantizer: each is compared on photos that are held out.

Which quantizer keeps the most accuracy depends on the network. Of the int8 files that pass the
fidelity check, the one with the highest SQNR of the logits against the float .onnx file is kept.
The SQNR decides, because the top-1 agreement of a few photos has a standard error of several
percent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from edge_effnet import appearance
from edge_effnet.calibration.fidelity import Fidelity
from edge_effnet.calibration.samples.photos import Samples
from edge_effnet.card import QuantizerResult
from edge_effnet.converters.foreign.onnx_quantizer import RECIPES
from edge_effnet.converters.options import OURS
from edge_effnet.converters.vendors.common import GOOGLE_QUANTIZER

_GRAPH_RECIPES: dict[str, str] = {str(name): recipe for name, recipe in RECIPES.items()}
#: The quantizers of each format, with their recipes in the card.
QUANTIZERS: dict[str, dict[str, str]] = {
    "onnx": {OURS: "default", **_GRAPH_RECIPES},
    "openvino": {OURS: "default", **_GRAPH_RECIPES},
    "tflite": {OURS: "default", "ai-edge-quantizer": "static_wi8_ai8"},
}
_MODULES = {
    "nncf": ("nncf",),
    "onnxruntime": ("onnxruntime",),
    "ai-edge-quantizer": GOOGLE_QUANTIZER,
}
_EACH = 5  # one photo in so many is held out
_FEWEST = 5 * _EACH  # photos; fewer are not divided


def candidates(format_name: str, requested: str | None, all_known: bool) -> list[str]:
    """The quantizers to compare for a format: installed, and able to read the network.

    Args:
        format_name: The format.
        requested: The quantizer that the user wants; used alone where it writes the format.
        all_known: Whether our quantizer knows all layers of the network.
    """
    known = QUANTIZERS[format_name]
    if requested in known:
        return [str(requested)]
    return [
        name
        for name in known
        if (all_known if name == OURS else any(map(find_spec, _MODULES[name])))
    ]


def divide(samples: Samples) -> tuple[Samples, NDArray[np.uint8]]:
    """Samples to calibrate on, and the pixels of the others, which quantizers are compared on.

    Every fifth photo is held out. With fewer than 25 photos, all serve for both.
    """
    count = len(samples.pixels)
    if count < _FEWEST:
        return samples, samples.pixels
    calibrates = np.arange(count) % _EACH != _EACH - 1
    pixels, record = samples.pixels[calibrates], samples.record
    manifest = tuple(
        entry for entry, keep in zip(record.manifest, calibrates, strict=False) if keep
    )
    record = replace(
        record,
        photos=len(pixels),
        samples=len(pixels),
        digest=hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest(),
        manifest=manifest,
        appearance=appearance.quantiles(appearance.measure(pixels)),
    )
    return replace(samples, pixels=pixels, record=record), samples.pixels[~calibrates]


def best(fidelities: Mapping[str, Fidelity]) -> str:
    """The quantizer with the highest SQNR, among those that pass the fidelity check if any does."""
    return max(
        fidelities, key=lambda name: (not fidelities[name].collapsed, fidelities[name].sqnr_db)
    )


def result(quantizer: str, fidelity: Fidelity) -> QuantizerResult:
    """The comparison of one quantizer, for the card."""
    return QuantizerResult(
        quantizer, round(fidelity.agreement, 4), round(fidelity.sqnr_db, 1), fidelity.samples
    )


def sentence(name: str, chosen: str, results: tuple[QuantizerResult, ...], held_out: bool) -> str:
    """Which quantizer was chosen for the file ``name``, with the values of all."""
    ranked = sorted(results, key=lambda each: -each.sqnr_db)
    comparison = "; ".join(
        f"{each.quantizer} {each.sqnr_db:.1f} dB, {each.agreement:.1%}" for each in ranked
    )
    where = "photos not calibrated on" if held_out else "calibration photos"
    return (
        f"{name}: quantized by {chosen}. SQNR and top-1 agreement with the .onnx file on "
        f"{ranked[0].photos} {where}: {comparison}"
    )
