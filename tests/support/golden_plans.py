"""Digests of plans that the calibration solves, to compare two states on one machine.

Unlike the golden files they depend on the processor: floating-point sums differ in their last bits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.calibrate import calibrate
from edge_effnet.calibration.passes.dead_channel_reuse import reuse_dead_channels
from edge_effnet.calibration.passes.fold import fold_batch_norm
from edge_effnet.calibration.passes.input_normalization import share_input_normalization
from edge_effnet.calibration.plan import QuantPlan, WeightOnlyPlan
from edge_effnet.calibration.samples.dead_leaves import samples_of_pictures
from edge_effnet.calibration.samples.photos import Samples
from edge_effnet.calibration.weights.weight_only import quantize_weights
from edge_effnet.converters.onnx_engine import OnnxEngine
from edge_effnet.errors import QuantizationError
from edge_effnet.model import Model

from .golden_files import LITE, SWISH, hashed, lite0, model_of


def pictures(count: int, side: int) -> NDArray[np.uint8]:
    """Hashed blocks of several sizes, one over the other: uint8 [count, side, side, 3]."""
    total = np.zeros((count, side, side, 3), np.int64)
    blocks = (1, 4, 16, 32)
    for block in blocks:
        grid = hashed(f"pictures {block}", (count, side // block, side // block, 3))
        total += grid.astype(np.int64).repeat(block, 1).repeat(block, 2)
    return np.clip(128 + total // 2, 0, 255).astype(np.uint8)


def digest_of(plan: QuantPlan | WeightOnlyPlan) -> str:
    """sha256 over all that the plan decides; not over what it was calibrated on."""
    if isinstance(plan, WeightOnlyPlan):
        plan = QuantPlan(plan.layers, {}, plan.recipe)
    content = hashlib.sha256()

    def add(name: str, array: NDArray[np.generic]) -> None:
        content.update(f"{name} {array.dtype} {array.shape}\n".encode())
        content.update(np.ascontiguousarray(array).tobytes())

    for name, layer in sorted(plan.layers.items()):
        for part in ("weight", "scale", "bias"):
            add(f"{name}.{part}", getattr(layer, part))
    for name, params in sorted(plan.quant_params.items()):
        content.update(f"{name} {params.scale.hex()} {params.zero_point}\n".encode())
    for name, array in sorted(plan.weights.items()):
        add(name, array)
    for placement, biases in sorted(plan.biases.items()):
        for name, array in sorted(biases.items()):
            add(f"{placement} {name}", array)
    content.update(
        repr([sorted(plan.float_layers), sorted(plan.fused_gates), plan.avx2_safe]).encode()
    )
    return content.hexdigest()


def solved(model: Model, samples: Samples, engine: OnnxEngine) -> Iterator[tuple[str, QuantPlan]]:
    generated = samples_of_pictures(24, model.info.preprocess)
    yield "default", calibrate(model, samples, engine).plan
    yield "best", calibrate(model, samples, engine, recipe="best").plan
    yield "fast", calibrate(model, generated, engine, recipe="fast").plan
    yield "no avx2", calibrate(model, samples, engine, avx2_safe=False).plan
    yield "per tensor", calibrate(model, samples, engine, per_tensor=True).plan
    whole = share_input_normalization(reuse_dead_channels(model))
    yield "weights", quantize_weights(whole, samples, engine).plan
    for drop in (0.3, 0.1, 0.03):
        try:
            yield f"max drop {drop}", calibrate(model, samples, engine, max_drop=drop).plan
        except QuantizationError:
            return


def samples_of(count: int, side: int) -> Samples:
    return Samples(pictures(count, side), None)  # type: ignore[arg-type]  # the plan's record is None


def plans() -> dict[str, str]:
    """``network, recipe`` -> the digest of its plan."""
    engine = OnnxEngine()
    found = {}
    for variant in (LITE, SWISH):
        model = fold_batch_norm(model_of(variant))
        for name, plan in solved(model, samples_of(24, variant.resolution), engine):
            note = (
                f" ({len(plan.float_layers)} nodes in float)"
                if isinstance(plan, QuantPlan) and name.startswith("max")
                else ""
            )
            found[f"{variant.name}, {name}{note}"] = digest_of(plan)
    model = fold_batch_norm(lite0())
    plan = calibrate(model, samples_of(8, model.info.preprocess.size), engine).plan
    found["lite0, default"] = digest_of(plan)
    return found
