"""Edge TPU support of the operators of a .tflite file, by the compiler's published rules.

The Edge TPU compiler is closed-source and not on PyPI. Its other limits (size of feature maps,
operator versions) are not checked. Sources: "TensorFlow models on the Edge TPU"
(coral.ai/docs/edgetpu/models-intro), model requirements and Table 1 with its known limitations;
"Edge TPU Compiler" (coral.ai/docs/edgetpu/compiler) for parameter caching.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from edge_effnet.benchmarks.operator_support.operators import Operator, operators_of
from edge_effnet.benchmarks.operator_support.support import OperatorPlacement, OperatorSupport

JUDGE = "Coral's published rules"
ACCELERATOR = "Edge TPU"
#: On-chip memory for cached parameters ("about 8 MB"), in bytes. The executable occupies part of
#: it.
CACHE = 8 * 2**20
_SOFTMAX_MOST = 16_000
_INTEGERS = ("int8", "uint8")

_AFTER = "follows an operator on the CPU: the compiler maps a single contiguous subgraph"
_HELP = (
    "The rules are Coral's published ones; only edgetpu_compiler decides, also on too large maps."
)


def check(data: bytes, file: str) -> OperatorSupport:
    """Placement of each operator of a .tflite file.

    Raises:
        ModelFileError: The file is damaged.
    """
    operators = operators_of(data, file)
    placements, cut = [], False
    for index, operator in enumerate(operators):
        why = refusal(operator) or (_AFTER if cut else "")
        # Float inputs are allowed: the CPU quantizes them before the Edge TPU's subgraph.
        cut = cut or (bool(why) and not (index == 0 and operator.kind == "QUANTIZE"))
        placements.append(
            OperatorPlacement(operator.name, operator.kind, "CPU" if why else ACCELERATOR, why)
        )
    return OperatorSupport(
        file,
        "edgetpu",
        JUDGE,
        ACCELERATOR,
        tuple(placements),
        notes=(*_caching(operators, placements), _HELP),
    )


def refusal(operator: Operator) -> str:
    """Why the Edge TPU does not support an operator; empty if it does."""
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


def _caching(operators: list[Operator], placements: list[OperatorPlacement]) -> tuple[str, ...]:
    constants = {
        tensor.name: tensor.bytes
        for operator, placement in zip(operators, placements, strict=True)
        if placement.where == ACCELERATOR
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


#: Operators of Table 1 that occur in image classifiers, with their limitations.
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
