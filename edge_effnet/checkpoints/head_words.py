"""Parser of the argument ``head``, for example ``'batchnorm, linear, relu, linear'``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edge_effnet.errors import UsageError
from edge_effnet.heads import POOLINGS, Pooling
from edge_effnet.variants import ActivationKind

#: Words for layers with parameters.
PARAMETRIC = ("linear", "batchnorm", "layernorm", "cosine")
FUNCTIONS: dict[str, ActivationKind] = {
    "relu": "relu",
    "relu6": "relu6",
    "silu": "swish",
    "swish": "swish",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "gelu": "gelu",
    "hardswish": "hard_swish",
    "leakyrelu": "leaky_relu",
}
#: Words for layers that have no effect at inference, or that turn logits into probabilities.
_NOTHING = ("dropout", "flatten", "identity", "softmax", "logsoftmax")
_LARGEST_SCALE = 1e6
_POOLING = {"avgpool": "avg", "maxpool": "max", "avgmaxpool": "avgmax"}


@dataclass(frozen=True)
class HeadWords:
    """Pooling (None if not given), and the words of all layers that have an effect."""

    words: tuple[str, ...]
    pooling: Pooling | None = None


def parse(text: str) -> HeadWords:
    """The layers listed in ``text``, in execution order.

    Raises `UsageError` for an unknown word, or a list without a linear layer.
    """
    words = [word.replace("_", "") for word in re.split(r"[\s,]+", text.strip().lower()) if word]
    pooling: Pooling | None = None
    if words:
        kinds = "+".join(_POOLING.get(word, "") for word in words[0].split("+"))
        matches = [known for known in POOLINGS if known == kinds]
        if matches:
            pooling, words = matches[0], words[1:]
    layers = tuple(word for word in words if word not in _NOTHING)
    for word in layers:
        if word.partition(":")[0] not in (*PARAMETRIC, *FUNCTIONS):
            known = ", ".join((*PARAMETRIC, *FUNCTIONS, *_NOTHING))
            raise UsageError(
                f"unknown layer {word!r} in the head {text!r}; known: {known}, and first a pooling "
                "(avgpool, maxpool, avgmaxpool, avgpool+maxpool, maxpool+avgpool)"
            )
        if word.startswith("cosine"):
            scale_of(word)
        elif word.startswith(("batchnorm", "layernorm")):
            epsilon_of(word, 0.0)
        elif ":" in word:
            raise UsageError(
                f"{word!r} in the head: only cosine, batchnorm, layernorm have numbers"
            )
    if not any(word.partition(":")[0] in ("linear", "cosine") for word in layers):
        raise UsageError(f"the head {text!r} has no linear layer")
    return HeadWords(layers, pooling)


def scale_of(word: str) -> float:
    """The scale in ``cosine:SCALE``; raises `UsageError` without one."""
    try:
        scale = float(word.partition(":")[2])
    except ValueError:
        scale = 0.0
    if not 0 < scale < _LARGEST_SCALE:
        raise UsageError(
            f"{word!r} in the head says no scale; give the factor that the training multiplies "
            "cosines with, as in cosine:30"
        )
    return scale


def epsilon_of(word: str, usual: float) -> float:
    """The epsilon in ``batchnorm:EPSILON`` or ``layernorm:EPSILON``; ``usual`` without one."""
    _, colon, number = word.partition(":")
    if not colon:
        return usual
    try:
        epsilon = float(number)
    except ValueError:
        epsilon = -1.0
    if not 0 <= epsilon < 1:
        raise UsageError(f"{word!r} in the head: an epsilon is a number from 0 to 1, as in 0.001")
    return epsilon
