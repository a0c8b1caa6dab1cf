"""Version number of each operator in a .tflite file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edge_effnet.converters.formats.tflite.flatbuffer import Tensor

#: A version, and the first TensorFlow release that runs it.
Version = tuple[int, str]

#: Operator -> kind of its operands (see `version_of`) -> version.
#: Versions are from op_version.cc and releases from runtime_version.cc, both in TensorFlow's
#: lite/tools/versioning. A runtime refuses a version that it does not support, but silently accepts
#: a version that is too low for the operands. Tests therefore compare this table with TensorFlow's
#: converter.
VERSIONS: dict[str, dict[str, Version]] = {
    "CONV_2D": {
        "float32": (1, "1.5.0"),
        "int8": (3, "1.14.0"),
        "hybrid": (5, "2.4.0"),
        "grouped": (6, "2.9.0"),
    },
    "DEPTHWISE_CONV_2D": {"float32": (1, "1.5.0"), "int8": (3, "1.14.0")},
    "FULLY_CONNECTED": {"float32": (1, "1.5.0"), "int8": (4, "1.14.0"), "hybrid": (12, "2.17.0")},
    "CONCATENATION": {"float32": (1, "1.5.0"), "int8": (2, "1.14.0")},
    "ADD": {"float32": (1, "1.5.0"), "int8": (2, "1.14.0")},
    "MUL": {"float32": (1, "1.5.0"), "int8": (2, "1.14.0")},
    "LOGISTIC": {"float32": (1, "1.14.0"), "int8": (2, "1.14.0")},
    "RELU": {"float32": (1, "1.5.0"), "int8": (2, "2.1.0")},
    "RELU6": {"float32": (1, "1.5.0"), "int8": (2, "1.14.0")},
    "MEAN": {"float32": (1, "1.6.0"), "int8": (2, "1.14.0")},
    "MAX_POOL_2D": {"float32": (1, "1.5.0"), "int8": (2, "1.14.0")},
    "SUB": {"float32": (1, "1.6.0")},
    "RSQRT": {"float32": (1, "1.10.0")},
    "SOFTMAX": {"float32": (1, "1.5.0")},
    "TANH": {"float32": (1, "1.14.0")},
    "HARD_SWISH": {"float32": (1, "1.15.0")},
    "LEAKY_RELU": {"float32": (1, "1.13.1")},
    "GELU": {"float32": (1, "2.9.0")},
    "PAD": {"float32": (1, "1.5.0"), "int8": (2, "1.14.0")},
    "PADV2": {"float32": (1, "1.9.0"), "int8": (2, "1.14.0")},
    "QUANTIZE": {"float32": (1, "1.14.0"), "int8": (1, "1.14.0"), "uint8": (1, "1.14.0")},
    "DEQUANTIZE": {
        "float16": (3, "1.15.0"),
        "int8": (2, "1.14.0"),
        "uint8": (1, "1.13.1"),
        "per channel": (5, "2.7.0"),
    },
}
#: int8 MUL where scale_a * scale_b / scale_out >= 1, which older kernels could not express.
MUL_WIDE: Version = (3, "1.15.0")


def version_of(code: str, inputs: Sequence[Tensor]) -> Version:
    """Version of the operator ``code``, from its kind of operands.

    The kind is the dtype of the first input, or "hybrid" (float32 input, int8 weights), or
    "per channel" (one weight scale per channel), or "grouped" (filters of fewer channels than the
    input has).
    """
    first = inputs[0]
    kind = first.dtype
    if code == "CONV_2D" and first.shape[-1] != inputs[1].shape[-1]:
        kind = "grouped"
    elif kind == "float32" and len(inputs) > 1 and inputs[1].dtype == "int8":
        kind = "hybrid"
    elif code == "DEQUANTIZE" and first.affine is not None and first.affine.scale.size > 1:
        kind = "per channel"
    return VERSIONS[code][kind]


def oldest_runtime(releases: Iterable[str]) -> str:
    """The first TensorFlow release that runs operators of all ``releases``."""
    return max(releases, key=lambda release: [int(part) for part in release.split(".")])
