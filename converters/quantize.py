"""How quantized files come about: by our plan, or through a vendor's tool."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Union, cast

from edge_effnet.calibration import recipes
from edge_effnet.card import IO, ModelCard, Precision, Quantization
from edge_effnet.converters.options import OURS
from edge_effnet.errors import UsageError
from edge_effnet.formats import FORMATS
from edge_effnet.graph import multiply_adds
from edge_effnet.model import Model
from edge_effnet.progress import Progress

if TYPE_CHECKING:  # calibration is needed for int8 alone
    from edge_effnet.calibration.plan import Placement, QuantPlan
    from edge_effnet.calibration.samples.photos import Samples
    from edge_effnet.converters.onnx_engine import OnnxEngine

#: Precisions that take a plan.
QUANTIZED: tuple[Precision, ...] = ("w8", "dynamic", "int8")

Photos = Union[str, "os.PathLike[str]", Iterable[Path]]
Content = tuple[bytes, bytes]  # the file, and its companion (an .xml's .bin, else empty)
Writer = Callable[[str, IO, ModelCard], Content]  # (format, io, card) -> content


@dataclass(frozen=True)
class Quantized:
    """How int8 files are made: ``write`` goes by our plan or through a vendor's tool.

    ``told`` is what the card of a precision says of it, ``plan`` the one of int8 files, if there is
    one of ours.
    """

    write: Writer
    told: Callable[[Precision], Quantization]
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
    from edge_effnet.calibration.plan import QuantPlan
    from edge_effnet.calibration.samples.domain_shift import domain_shift_warnings
    from edge_effnet.calibration.samples.photos import Samples, read_samples

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
        from edge_effnet.calibration.samples.dead_leaves import samples_of_pictures

        samples = samples_of_pictures(recipes.get(recipe).pictures, model.card.preprocess)
    else:
        samples = read_samples(
            calibration,
            model.card.preprocess,
            progress=lambda done, total: report("read photos", done, total),
        )
    strange = domain_shift_warnings(model, samples.pixels, engine) if samples.record.photos else ()
    for warning in (*samples.warnings, *strange):
        say(warning)
    return samples


@dataclass(frozen=True)
class ExportOptions:
    """The choices that decide the integers."""

    recipe: str
    quantizer: str
    per_tensor: bool
    avx2_safe: bool
    max_drop: float | None


def quantize(
    model: Model,
    engine: OnnxEngine,
    material: Samples | QuantPlan,
    how: ExportOptions,
    precisions: Sequence[Precision],
    report: Progress,
) -> Quantized:
    """Solve what ``precisions`` need, or hand the photos to a vendor's tool."""
    from edge_effnet.calibration.calibrate import calibrate
    from edge_effnet.calibration.passes.dead_channel_reuse import reuse_dead_channels
    from edge_effnet.calibration.passes.input_normalization import share_input_normalization
    from edge_effnet.calibration.plan import QuantPlan
    from edge_effnet.calibration.weights.weight_only import plan_weights

    if isinstance(material, QuantPlan):
        return by_plan(model, dict.fromkeys(QUANTIZED, material), None)
    samples = material
    if how.quantizer == OURS:
        if how.per_tensor:
            from edge_effnet.calibration.passes.cross_layer_equalization import equalize

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
                max_drop=how.max_drop,
            )
        light = [precision for precision in precisions if precision != "int8"]
        if light:
            plan = plan_weights(
                share_input_normalization(reuse_dead_channels(model)),
                samples,
                engine,
                recipe=how.recipe,
                progress=lambda done, total: report("round weights", done, total),
            )
            plans.update(dict.fromkeys(light, plan))
        return by_plan(model, plans, samples)
    from edge_effnet.converters.vendors import VENDORS

    vendor = VENDORS[how.quantizer]
    return Quantized(
        write=lambda name, io, card: vendor.quantize(model, samples.pixels, card),
        told=lambda precision: Quantization(
            how.quantizer, "the tool's own defaults", samples.record
        ),
        samples=samples,
    )


def by_plan(
    model: Model, plans: Mapping[Precision, QuantPlan], samples: Samples | None
) -> Quantized:
    """Files of ``model`` (BN folded) by the plan of each precision."""
    from edge_effnet.calibration.passes.dead_channel_reuse import reuse_dead_channels
    from edge_effnet.calibration.passes.input_normalization import share_input_normalization
    from edge_effnet.calibration.sensitivity.mixed_precision import float_share

    model = share_input_normalization(reuse_dead_channels(model))

    def told(precision: Precision) -> Quantization:
        plan = plans[precision]
        made = Quantization(
            OURS, plan.recipe, plan.record, plan.avx2_safe, per_tensor=plan.per_tensor
        )
        if precision != "int8":
            return made
        layers = [node for node in model.graph if multiply_adds(node, model.graph.shapes)]
        return replace(
            made,
            float_layers=tuple(node.name for node in layers if node.name in plan.float_layers),
            float_share=round(float_share(model.graph, plan.float_layers), 4),
        )

    def write(name: str, io: IO, card: ModelCard) -> Content:
        plan = plans[card.precision]
        if card.precision == "int8":
            plan = plan.for_format(cast("Placement", name))
            fitted = replace(model, weights={**model.weights, **plan.weights})
            return write_file(fitted, plan, name, card, io)
        from edge_effnet.converters.formats.weights_only import weights_only

        light = weights_only(model, plan, depthwise=card.precision != "dynamic")
        return write_file(*light, name, card)

    return Quantized(write=write, told=told, samples=samples, plan=plans.get("int8"))


def write_file(
    model: Model, plan: QuantPlan | None, name: str, card: ModelCard, io: IO = "uint8"
) -> Content:
    """The bytes of one file, by its format's module."""
    if card.input == "normalised":  # the plan's model may be normalised otherwise
        card = replace(card, preprocess=model.card.preprocess)
    written = import_module(FORMATS[name].writer).write(model, plan, card, io)
    return written if isinstance(written, tuple) else (written, b"")
