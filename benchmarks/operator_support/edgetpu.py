"""A .tflite file -> what Coral's Edge TPU takes of it, by the rules that its compiler publishes.

The compiler itself is closed and no package; what it may still decide otherwise (a map too large, a
version it does not know) shows only there. Source of the rules: "TensorFlow models on the Edge TPU"
(coral.ai/docs/edgetpu/models-intro), model requirements and Table 1 with its known limitations; and
"Edge TPU Compiler" (coral.ai/docs/edgetpu/compiler) for parameter caching.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from edge_effnet.benchmarks.operator_support.operators import Operator, operators_of
from edge_effnet.benchmarks.operator_support.placement import Placed, Placement

JUDGE = "Coral's published rules"
PLACE = "Edge TPU"
#: On-chip memory that caches parameters ("about 8 MB"), in bytes; the program takes some of it.
CACHE = 8 * 2**20
_SOFTMAX_MOST = 16_000
_INTEGERS = ("int8", "uint8")

_AFTER = "follows one that stays on the CPU: the compiler maps a single stretch"
_HELP = (
    "The rules are Coral's; edgetpu_compiler has the last word, also on maps that are too large."
)


def check(data: bytes, file: str) -> Placement:
    """Where each operator of a .tflite file runs. Raises `ModelFileError` for a damaged one."""
    found = operators_of(data, file)
    placed, cut = [], False
    for index, operator in enumerate(found):
        why = refusal(operator) or (_AFTER if cut else "")
        # Float inputs are allowed: the CPU quantizes them, and the stretch begins after that.
        cut = cut or (bool(why) and not (index == 0 and operator.kind == "QUANTIZE"))
        placed.append(Placed(operator.name, operator.kind, "CPU" if why else PLACE, why))
    return Placement(
        file, "edgetpu", JUDGE, PLACE, tuple(placed), notes=(*_caching(found, placed), _HELP)
    )


def refusal(operator: Operator) -> str:
    """Why an operator is not for the Edge TPU by itself; empty if it is."""
    if operator.kind not in _RULES:
        return "not among the supported operators"
    for tensor in (*operator.inputs, *operator.outputs):
        constant = tensor.values is not None
        if tensor.dtype not in _INTEGERS and not (constant and tensor.dtype == "int32"):
            return f"works on {tensor.dtype}: every tensor must be int8 or uint8"
        if not constant and tensor.rank > 3:
            return "more than the three innermost dimensions are larger than 1"
        if any(size <= 0 for size in tensor.shape):
            return "a size is not constant"
    return next((why for rule in _RULES[operator.kind] if (why := rule(operator))), "")


def _caching(found: list[Operator], placed: list[Placed]) -> tuple[str, ...]:
    constants = {
        tensor.name: tensor.bytes
        for operator, where in zip(found, placed, strict=True)
        if where.where == PLACE
        for tensor in operator.inputs
    }
    total = sum(constants.values())
    if not total:
        return ()
    size = f"{total / 2**20:.2f} of {CACHE / 2**20:.0f} MiB of on-chip memory"
    if total <= CACHE:
        return (f"Parameters: {size}, all cached there.",)
    return (f"Parameters: {size}; the rest is streamed from the host at every inference.",)


Rule = Callable[[Operator], str]


def _no_activation(operator: Operator) -> str:
    return "has a fused activation" if operator.options.get("activation") else ""


def _same_dilation(operator: Operator) -> str:
    options = operator.options
    return "" if options["dilation_w"] == options["dilation_h"] else "dilated unequally"


def _default_weights(operator: Operator) -> str:
    return "its weights are not in the default format" if operator.options["weights_format"] else ""


def _vector_out(operator: Operator) -> str:
    return "its output has more than one dimension" if operator.outputs[0].rank > 1 else ""


def _axes(operator: Operator) -> list[int]:
    rank = len(operator.inputs[0].shape)
    return [axis % rank for axis in operator.inputs[1].integers()]


def _no_batch_reduction(operator: Operator) -> str:
    return "reduces the batch" if 0 in _axes(operator) else ""


def _depth_by_four(operator: Operator) -> str:
    shape = operator.inputs[0].shape
    if len(shape) - 1 in _axes(operator) and shape[-1] % 4:
        return "reduces a depth that is no multiple of 4"
    return ""


def _no_batch_padding(operator: Operator) -> str:
    return "pads the batch" if any(operator.inputs[1].integers()[:2]) else ""


def _short_vector(operator: Operator) -> str:
    tensor = operator.inputs[0]
    if tensor.rank > 1:
        return "its input has more than one dimension"
    return "has more than 16,000 inputs" if math.prod(tensor.shape) > _SOFTMAX_MOST else ""


#: What an image classifier may hold of Table 1, with its limitations.
_RULES: dict[str, tuple[Rule, ...]] = {
    "ADD": (),
    "AVERAGE_POOL_2D": (_no_activation,),
    "CONV_2D": (_same_dilation,),
    "DEPTHWISE_CONV_2D": (_same_dilation,),
    "EXPAND_DIMS": (),
    "FULLY_CONNECTED": (_default_weights, _vector_out),
    "LOGISTIC": (),
    "MAXIMUM": (),
    "MAX_POOL_2D": (_no_activation,),
    "MEAN": (_no_batch_reduction, _depth_by_four),
    "MINIMUM": (),
    "MUL": (),
    "PAD": (_no_batch_padding,),
    "QUANTIZE": (),
    "RELU": (),
    "RELU6": (),
    "RELU_N1_TO_1": (),
    "RESHAPE": (),
    "SOFTMAX": (_short_vector,),
    "SUB": (),
    "SUM": (_no_batch_reduction,),
    "TANH": (),
}
