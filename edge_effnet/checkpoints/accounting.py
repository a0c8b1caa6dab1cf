"""Separation of tensors that affect a network's outputs from training state."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from edge_effnet.checkpoints.source import Tensors
from edge_effnet.errors import CheckpointError
from edge_effnet.preprocess import Preprocess

#: Words in tensor names that mark training state: losses, metrics, copies of the weights.
_TRAINING = frozenset(
    """
    loss losses criterion criteria objective
    metric metrics accuracy acc acc1 acc5 f1 f1score f1 auroc auc confmat precision recall
    ema averaged avg teacher
    optimizer optimizers scheduler schedulers scaler n_averaged num_batches_tracked
    """.split()  # noqa: SIM905
)
_NORMALISATION = ("mean", "std", "pixel_mean", "pixel_std", "image_mean", "image_std")
_RGB = 3
_UNIT = 1.5  # upper bound of means and deviations for pixels in 0..1
_MOST_NAMES = 12

#: Advice for networks that no reader supports; appended to error messages.
ONNX_WAY = (
    "any network converts as .onnx: torch.onnx.export(model.eval(), torch.zeros(1, 3, SIDE, SIDE), "
    "'model.onnx', dynamo=False), then 'edge-effnet export auto --weights model.onnx'"
)

#: The same advice for Keras and TensorFlow.
KERAS_ONNX_WAY = (
    "any Keras model converts as .onnx: model.export('saved_model'), then 'pip install tf2onnx' "
    "and 'python -m tf2onnx.convert --saved-model saved_model --output model.onnx', then "
    "'edge-effnet export auto --weights model.onnx'"
)


def onnx_way(tensors: Tensors) -> str:
    """The way by .onnx for the framework with ``tensors``; TensorFlow's names have slashes."""
    return KERAS_ONNX_WAY if any("/" in name for name in tensors) else ONNX_WAY


def relevant(tensors: Tensors, features: int = 0) -> list[str]:
    """Names of the tensors that a network's outputs may depend on, in order.

    Counters (integers), losses, metrics and averaged copies are excluded. Exception: a loss's
    matrix with ``features`` input features may be the classifier (ArcFace), so it is included.
    """
    names = []
    normalisation = input_normalisation(tensors)
    for name, values in tensors.items():
        if values.dtype.kind != "f" or not values.size or name in normalisation:
            continue
        if is_training_state(name) and not (values.ndim == 2 and features in values.shape):
            continue
        names.append(name)
    return names


def is_training_state(name: str) -> bool:
    """Whether a part of ``name`` marks training state."""
    words = set(re.split(r"[._]", name.lower())) | set(re.split(r"[._\d]+", name.lower()))
    return bool(words & _TRAINING)


def input_normalisation(tensors: Tensors) -> list[str]:
    """Names of buffers with which a module normalises its input."""
    return [
        name
        for name, values in tensors.items()
        if name.rpartition(".")[2].lstrip("_").lower() in _NORMALISATION and values.size == _RGB
    ]


def listed(tensors: Tensors, names: Iterable[str]) -> str:
    """Text with ``names`` and the shapes of their tensors, at most twelve."""
    shown = [f"{name} {list(tensors[name].shape)}" for name in names]
    rest = len(shown) - _MOST_NAMES
    return ", ".join(shown[:_MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def unread(file: object, tensors: Tensors, names: Iterable[str]) -> CheckpointError:
    """The error for tensors that belong to no known layer."""
    return CheckpointError(
        f"{file} holds tensors that no layer of the network is known to read: "
        f"{listed(tensors, names)}. If its outputs do not depend on them, save the state dict "
        f"without them; else {ONNX_WAY}"
    )


def check_normalisation(file: object, tensors: Tensors, preprocess: Preprocess) -> None:
    """Raise `CheckpointError` if the file's normalisation differs from ``preprocess``."""
    names = input_normalisation(tensors)
    for name in names:
        values = tensors[name].reshape(-1).astype(np.float64)
        values = values * (255.0 if np.abs(values).max() <= _UNIT else 1.0)
        expected = preprocess.std if "std" in name.rpartition(".")[2] else preprocess.mean
        if not np.allclose(values, expected, rtol=1e-3, atol=0.1):
            raise CheckpointError(
                f"{file} holds a normalisation of its own, {listed(tensors, names)}, which is not "
                f"the one assumed (mean {_numbers(preprocess.mean)}, std "
                f"{_numbers(preprocess.std)} in pixel units)",
                hint="give mean= and std= in pixel units (0 to 255) of what reaches the network",
            )


def _numbers(values: Iterable[float]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"
