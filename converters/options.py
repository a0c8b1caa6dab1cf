"""ExportOptions: the options of an export, validated once for Python and the command line."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from edge_effnet.calibration import recipes
from edge_effnet.calibration.plan import Plan, QuantPlan, WeightOnlyPlan
from edge_effnet.card import IOS, PRECISIONS
from edge_effnet.converters.vendors import VENDORS
from edge_effnet.errors import UsageError
from edge_effnet.formats import FORMATS, RUNNABLE
from edge_effnet.names import INTEGER, IO, Batch, Precision
from edge_effnet.threads import check_threads

#: Our own quantizer's name.
OURS = "edge-effnet"
#: Larger batch sizes are refused as typing errors: the float input at 224 pixels exceeds 600 MB.
LARGEST_BATCH = 1024
#: Precisions that are quantized, in the order in which they are written.
QUANTIZED: tuple[Precision, ...] = ("w8", "dynamic", "int8", "mixed")
#: Share of the multiply-adds that files of the precision ``mixed`` compute in float, in percent.
FLOAT_BUDGET = 4.0


@dataclass(frozen=True)
class ExportOptions:
    """Options of one export; `create` validates them.

    Attributes:
        formats: Names of formats, in the order of `FORMATS`.
        precisions: Names of precisions, in the order of `PRECISIONS`.
        recipe: The quantization recipe.
        quantizer: `OURS`, or a vendor's quantizer.
        io: Type of the input and output tensors of int8 files.
        per_tensor: Whether int8 files have one weight scale per layer.
        max_drop: Largest expected loss of top-1 accuracy of int8 files, in points. Layers stay in
            float to meet this limit.
        float_budget: Largest share of the multiply-adds that ``mixed`` files compute in float, in
            percent; None is `FLOAT_BUDGET`.
        avx2_safe: Whether weights are restricted so that x86 CPUs without VNNI do not saturate.
        force: Whether to write a file that fails the fidelity check, marked in its card.
        threads: Compute threads; 0 is one per core.
        name: First part of the files' names; None uses the variant's name.
        overwrite: Whether to replace files of another checkpoint.
        batch: Batch size of .onnx and OpenVINO files; TFLite files always have 1.
        contrib_ops: Whether swishes in int8 .onnx files are ONNX Runtime's QuickGelu.
        softmax: Whether the files apply the output activation and return float32 probabilities.
    """

    formats: tuple[str, ...]
    precisions: tuple[Precision, ...]
    recipe: str = "default"
    quantizer: str = OURS
    io: IO = "uint8"
    per_tensor: bool = False
    max_drop: float | None = None
    float_budget: float | None = None
    avx2_safe: bool = True
    force: bool = False
    threads: int = 0
    name: str | None = None
    overwrite: bool = False
    batch: Batch = 1
    contrib_ops: bool = False
    softmax: bool = False

    @classmethod
    def create(
        cls,
        formats: str | Sequence[str],
        precisions: str | Sequence[str],
        *,
        recipe: str = "default",
        quantizer: str = OURS,
        io: str = "uint8",
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
    ) -> ExportOptions:
        """Validated options, without duplicates and in canonical order.

        Raises:
            UsageError: A name is unknown, or options exclude each other.
        """
        recipes.get(recipe)
        choose("quantizer", quantizer, (OURS, *VENDORS))
        check_threads(threads, least=0)
        choose("kind of input and output", io, IOS)
        options = cls(
            choose("format", formats, tuple(FORMATS)),
            cast("tuple[Precision, ...]", choose("precision", precisions, PRECISIONS)),
            recipe,
            quantizer,
            cast(IO, io),
            per_tensor,
            max_drop,
            float_budget,
            avx2_safe,
            force,
            threads,
            name,
            overwrite,
            batch,
            contrib_ops,
            softmax,
        )
        check_name(name)
        options._check_batch()
        options._check_quantizer()
        options._check_combination()
        options._check_mixed()
        options._check_softmax()
        return options

    @property
    def runnable(self) -> tuple[str, ...]:
        """The chosen formats that have a Runner."""
        return tuple(name for name in self.formats if name in RUNNABLE)

    @property
    def further(self) -> tuple[str, ...]:
        """The chosen formats for other runtimes."""
        return tuple(name for name in self.formats if name not in RUNNABLE)

    @property
    def compiled(self) -> tuple[str, ...]:
        """The chosen formats for other runtimes that int8 files are written in."""
        if "int8" not in self.precisions:
            return ()
        return tuple(name for name in self.further if "int8" in FORMATS[name].precisions)

    @property
    def quantized(self) -> tuple[Precision, ...]:
        """The chosen quantized precisions."""
        return tuple(precision for precision in self.precisions if precision in QUANTIZED)

    def formats_of(self, precision: Precision) -> tuple[str, ...]:
        """The chosen formats with a Runner that support ``precision``."""
        return tuple(name for name in self.runnable if precision in FORMATS[name].precisions)

    def need_photos(self, calibration: object) -> None:
        """Raise `UsageError` if a chosen precision needs photos and ``calibration`` is None."""
        if (self.runnable or self.compiled) and self.quantized and calibration is None:
            need_photos(self.quantized[0], self.recipe)

    def check_plan(self, plan: Plan) -> None:
        """Raise `UsageError` for options that contradict a finished ``plan``."""
        if self.quantizer != OURS:
            raise UsageError(f"the quantizer {self.quantizer} needs photos, not a plan of ours")
        if self.recipe not in ("default", plan.recipe):
            raise UsageError(
                f"this plan has the recipe {plan.recipe}",
                hint=f"calibrate on photos with recipe='{self.recipe}'",
            )
        for option in ("max_drop", "float_budget"):
            if getattr(self, option) is not None:
                raise UsageError(
                    "this plan is finished: its float layers are fixed",
                    hint=f"calibrate on photos with {option}=",
                )
        if self.per_tensor and not plan.per_tensor:
            raise UsageError("this plan has a scale for each channel: calibrate on photos instead")
        if isinstance(plan, WeightOnlyPlan) and set(INTEGER) & set(self.precisions):
            raise UsageError(
                "this plan quantizes weights only: int8 files need one with quantization parameters"
            )
        if "mixed" in self.precisions and not getattr(plan, "float_layers", ()):
            raise UsageError(
                "this plan keeps no layer in float",
                hint="calibrate on photos with precisions=['mixed'], or calibrate(float_budget=4)",
            )
        if self.contrib_ops and _lacks_contrib_biases(plan):
            raise UsageError(
                "this plan has no biases for .onnx files with QuickGelu",
                hint="calibrate on photos with contrib_ops=True",
            )
        if plan.per_tensor and "dynamic" in self.precisions:
            raise UsageError(
                "a per-tensor plan has no float weights for dynamic files",
                hint="omit dynamic in precisions=",
            )

    def batch_of(self, format_name: str) -> Batch:
        """The batch size of files of one format."""
        return self.batch if FORMATS[format_name].batches else 1

    def _check_batch(self) -> None:
        number = not isinstance(self.batch, str) and 1 <= self.batch <= LARGEST_BATCH
        if not number and self.batch != "dynamic":
            raise UsageError(
                f"{self.batch!r} is not a batch size: give a number from 1 to {LARGEST_BATCH}, or "
                "dynamic"
            )
        if self.batch == 1:
            return
        if not any(FORMATS[name].batches for name in self.formats):
            raise UsageError(
                "only ONNX and OpenVINO files have another batch size than 1",
                hint="omit batch=, or add onnx or openvino to formats=",
            )
        if self.quantizer != OURS:
            raise UsageError(f"the quantizer {self.quantizer} writes batch 1", hint="omit batch=")

    def _check_softmax(self) -> None:
        if not self.softmax:
            return
        if set(self.further) - {"coreml"}:
            raise UsageError(
                f"only TFLite, ONNX and OpenVINO files can return probabilities, not "
                f"{', '.join(sorted(set(self.further) - {'coreml'}))}",
                hint="omit softmax=, or export those formats separately",
            )
        if self.quantizer != OURS:
            raise UsageError(
                f"the quantizer {self.quantizer} writes files that return logits",
                hint="omit softmax= or quantizer=",
            )

    def _check_quantizer(self) -> None:
        if self.quantizer == OURS:
            return
        output = VENDORS[self.quantizer].format
        if "int8" not in self.precisions:
            raise UsageError(
                f"the quantizer {self.quantizer} writes int8 files",
                hint="add int8 to precisions=, or omit quantizer=",
            )
        if {*self.runnable, *self.compiled} != {output}:
            raise UsageError(
                f"the quantizer {self.quantizer} writes {output} files only",
                hint=f"give formats=['{output}']",
            )

    def _check_mixed(self) -> None:
        if "mixed" in self.precisions and self.max_drop is not None:
            raise UsageError(
                "mixed files have a budget of float layers, not a limit of the drop",
                hint="omit max_drop=, or mixed in precisions=",
            )
        if self.float_budget is None:
            return
        if "mixed" not in self.precisions:
            raise UsageError(
                "a budget of float layers is an option of mixed files",
                hint="add mixed to precisions=, or omit float_budget=",
            )
        if not 0 < self.float_budget <= 50:
            raise UsageError(
                f"a budget of {self.float_budget:g} percent of the multiply-adds is not valid",
                hint="give more than 0 and at most 50, for example float_budget=4",
            )

    def _check_combination(self) -> None:
        int8 = "int8" in self.precisions and bool(self.runnable)
        ours = self.quantizer == OURS
        weight_only = [each for each in self.quantized if each != "int8"]
        integer = bool(set(INTEGER) & set(self.precisions)) and bool(self.runnable)
        if self.runnable and "dynamic" in self.precisions and "tflite" not in self.formats:
            raise UsageError("dynamic files are TFLite only", hint="add tflite to formats=")
        if weight_only and not ours:
            raise UsageError(
                f"the quantizer {self.quantizer} writes int8 only, not {weight_only[0]}",
                hint=f"omit {weight_only[0]} in precisions=",
            )
        if self.per_tensor and (weight_only or not int8):
            raise UsageError(
                "one weight scale per layer is an option of int8 files",
                hint="with per_tensor=True give precisions=['int8'], and fp32 or fp16 if wanted",
            )
        if self.per_tensor and not ours:
            raise UsageError(
                f"one weight scale per layer is for our own quantizer, not {self.quantizer}",
                hint="omit per_tensor=",
            )
        if self.max_drop is not None:
            if not 0 < self.max_drop < math.inf:
                raise UsageError(
                    f"a drop of {self.max_drop:g} points is not a valid limit",
                    hint="give a number above 0, for example max_drop=0.5",
                )
            if self.per_tensor or not int8 or not ours:
                raise UsageError(
                    "mixed precision is for int8 files of our own quantizer with a scale per "
                    "channel",
                    hint="with max_drop= add int8 to precisions=, omit per_tensor= and quantizer=",
                )
        if self.contrib_ops and not (integer and ours and "onnx" in self.formats):
            raise UsageError(
                "operators of ONNX Runtime are an option of int8 and mixed .onnx files of our own "
                "quantizer",
                hint="with contrib_ops=True add onnx to formats= and int8 to precisions=, and omit "
                "quantizer=",
            )
        if self.io == "uint8":
            return
        if not integer:
            raise UsageError(
                f"input and output in {self.io} are an option of int8 files",
                hint="add int8 to precisions=, or omit io=",
            )
        if not ours:
            raise UsageError(
                f"the quantizer {self.quantizer} has its own input and output type",
                hint="omit io=",
            )
        if self.io == "int8" and set(self.runnable) != {"tflite"}:
            raise UsageError(
                "input and output in int8 are for TFLite only", hint="give formats=['tflite']"
            )


#: Options of a file that is written alone.
DEFAULTS = ExportOptions((), ())


def choose(subject: str, names: str | Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """``names`` without duplicates, in the order of ``known``.

    Raises:
        UsageError: A name is unknown, or there is none.
    """
    names = [names] if isinstance(names, str) else list(names)
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        message = f"unknown {subject} {unknown[0]!r}" if unknown else f"no {subject} was given"
        raise UsageError(f"{message}; choose from {', '.join(known)}")
    return tuple(name for name in known if name in names)


def _lacks_contrib_biases(plan: Plan) -> bool:
    """Whether QuickGelu files of ``plan`` need biases that calibration did not compute."""
    return (
        isinstance(plan, QuantPlan)
        and "openvino" in plan.biases  # a network of clipping activations needs neither
        and "onnx-contrib" not in plan.biases
    )


def check_name(name: str | None) -> None:
    """Raise `UsageError` for a ``name`` that cannot begin a file's name."""
    if name is not None and not re.fullmatch(r"[^\W_][^/\\\x00-\x1f]{0,99}", name):
        raise UsageError(
            f"{name!r} cannot begin the names of files",
            hint="give a name= without folders that begins with a letter or digit, as name='birds'",
        )


def need_photos(precision: Precision, recipe: str) -> None:
    """Raise `UsageError` if ``recipe`` cannot quantize to ``precision`` without photos."""
    if recipes.get(recipe).photos:
        raise UsageError(
            f"{precision} needs photos to calibrate on",
            hint="give calibration=DIR, a folder of about 100 photos like those the model will "
            "see, or precisions=['fp32', 'fp16'], or let recipe='fast' generate pictures",
        )
