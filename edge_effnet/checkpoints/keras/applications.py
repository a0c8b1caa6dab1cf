"""Keras Applications' EfficientNets: B0-B7 and V2-B0..B3, S, M, L, from .keras and .h5 files.

Layers are identified by class and order (``conv2d_3``, numbered as in Keras's files), so their
names do not matter. Operations before the first convolution become the preprocessing.

Facts, from keras/applications/efficientnet.py and efficientnet_v2.py: SAME padding, BN epsilon
1e-3. B0-B7 and V2-B0..B3 take (pixel / 255 - mean) / std of ImageNet; V2-S, M and L take pixel /
128 - 1. Crop and interpolation are those of the weights' TensorFlow training.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet import json_text
from edge_effnet.checkpoints.input_range import NORMALISATIONS, trained_range
from edge_effnet.checkpoints.keras.files import is_keras, read_file
from edge_effnet.checkpoints.keras.front import affine
from edge_effnet.checkpoints.keras.resizing import Resizing
from edge_effnet.checkpoints.keras.weights import KerasCheckpoint, checkpoint_of, numbered
from edge_effnet.checkpoints.keras.weights_head import WHOLE
from edge_effnet.checkpoints.readers.damage import DAMAGE
from edge_effnet.checkpoints.source import Checkpoint, Facts, Question, Reader, Source
from edge_effnet.errors import CheckpointError, MissingExtra
from edge_effnet.graph import BatchNorm, Conv, Graph
from edge_effnet.preprocess import Preprocess, tensorflow_crop
from edge_effnet.variants import BN_EPS_TENSORFLOW, Variant

_MEAN = np.array((0.485, 0.456, 0.406))  # IMAGENET_MEAN_RGB, IMAGENET_STDDEV_RGB
_STD = np.array((0.229, 0.224, 0.225))
#: For a network without an input size, Keras computes ZeroPadding2D for even feature maps. It
#: equals SAME padding at multiples of this.
_EVEN = 32
_HALVED = {f"efficientnetv2-{size}" for size in "sml"}  # pixels / 128 - 1
_CONV_PARTS = {"weight": "kernel", "bias": "bias"}
_PARTS = {
    "conv2d": _CONV_PARTS,
    "depthwise_conv2d": _CONV_PARTS,
    "dense": _CONV_PARTS,
    "batch_normalization": {
        "weight": "gamma",
        "bias": "beta",
        "running_mean": "moving_mean",
        "running_var": "moving_variance",
    },
}


def names(graph: Graph) -> dict[str, str]:
    """Canonical parameter -> ``conv2d_3/kernel``: class and number of the layer, and variable."""
    counts: Counter[str] = Counter()
    layers: dict[str, str] = {}
    entries = {}
    for parameter in graph.parameter_shapes:
        name, _, part = parameter.rpartition(".")
        node = graph.by_name[name]
        if isinstance(node, Conv):
            kind = "depthwise_conv2d" if node.depthwise else "conv2d"
        else:
            kind = "batch_normalization" if isinstance(node, BatchNorm) else "dense"
        if name not in layers:
            layers[name] = numbered(kind, counts)
        entries[parameter] = f"{layers[name]}/{_PARTS[kind][part]}"
    return entries


def layout(parameter: str, values: NDArray[Any]) -> NDArray[Any]:
    """HWIO -> OIHW (depthwise: HWCM -> CMHW), [in, out] -> [out, in]; vectors are unchanged."""
    if values.ndim == 4:
        stays = parameter.endswith(".depthwise.weight")
        return values.transpose((2, 3, 0, 1) if stays else (3, 2, 0, 1))
    return values.T if values.ndim == 2 else values


def facts(variant: Variant, checkpoint: Checkpoint) -> Facts:
    """Facts from the file's graph; for a weights-only file, those of Keras Applications."""
    if not isinstance(checkpoint, KerasCheckpoint):
        checkpoint = KerasCheckpoint(checkpoint.path, checkpoint.tensors)
    described, note = checkpoint.described, None
    mean: Any
    std: Any
    if described is not None and described.activation != variant.activation:
        raise CheckpointError(
            f"the convolutions in {checkpoint.path} are followed by {described.activation}, and "
            f"those of {variant.name} by {variant.activation}; it is a network of another kind"
        )
    if described is not None and described.front.mean is not None:
        mean, std = described.front.mean, described.front.std
    elif checkpoint.normalises or _is_open(variant, checkpoint):
        mean, std = _usual_normalisation(variant, checkpoint)
        if checkpoint.hidden:
            note = (
                f"{checkpoint.path.name} holds weights alone, which do not show arithmetic on the "
                f"pixels before the network: none is assumed; to be sure, {WHOLE}"
            )
    else:
        mean, std, note = _bare_normalisation(variant, checkpoint)
    resizing = described.front.resizing if described else None
    return Facts(
        padding="same",
        bn_eps=described.bn_eps if described else BN_EPS_TENSORFLOW,
        preprocess=lambda size: _preprocess(variant, size, mean, std, resizing),
        resolution=described.front.side if described else None,
        note=note,
        output_activation=described.head.output_activation if described else None,
        activation_guessed=described is None,
        resizing_assumed=resizing is None,
        question=_question(variant, checkpoint),
        step=_EVEN if described and described.padded and described.front.side is None else 1,
    )


def _is_open(variant: Variant, checkpoint: KerasCheckpoint) -> bool:
    """Whether the file does not show if the graph normalises its input.

    A legacy weights file of a nested V2 does not show it, because V2's normalisation has no
    weights. For B0-B7 the file contains the normalisation's statistics.
    """
    return checkpoint.normalises is None and variant.name.startswith("efficientnetv2")


def _question(variant: Variant, checkpoint: KerasCheckpoint) -> Question | None:
    """Question to the user about a layer before the network; None if it is clear.

    The layer's settings are not in the file, or it resizes with another filter than `Preprocess`.
    """
    if checkpoint.unknown is not None:
        return Question(
            ("mean", "std"),
            f"a file of weights does not tell what its layer {checkpoint.unknown} before the "
            "network does to the pixels",
            "give the whole model (model.save('model.keras')), or the mean= and std= of both "
            "together, that layer and the network's own normalisation: "
            f"{_after_rescaling(variant, checkpoint)} for Rescaling(1/255) before it",
        )
    if _is_open(variant, checkpoint):
        mean, std = (
            tuple(float(f"{value:.6g}") for value in values)
            for values in _usual_normalisation(variant, checkpoint)
        )
        return Question(
            ("mean", "std"),
            "this file of weights does not tell whether its network normalises pixels itself",
            f"give the whole model (model.save('model.keras')), or mean={mean} and std={std} for "
            "keras.applications' default, or mean=127.5 and std=127.5 for "
            "include_preprocessing=False",
        )
    front = checkpoint.described.front if checkpoint.described else None
    if front is not None and front.problem is not None:
        return Question(
            ("resolution", "crop_mode"),
            f"{front.problem}; photos are resized here before the network",
            f"give resolution={front.side}, crop_mode='squash' (or 'center', for photos that were "
            "cropped to squares) and interpolation='keras-bilinear' (or 'bilinear' for a filter "
            "that antialiases): answers differ a little; or save the model without the layer",
        )
    return None


def _after_rescaling(variant: Variant, checkpoint: KerasCheckpoint) -> str:
    """Mean and std of keras.applications' normalisation of pixels divided by 255, as arguments."""
    mean, std = (
        tuple(float(f"{255 * value:.6g}") for value in values)
        for values in _usual_normalisation(variant, checkpoint)
    )
    return f"mean={mean} and std={std}"


def _preprocess(
    variant: Variant, size: int, mean: Any, std: Any, resizing: Resizing | None
) -> Preprocess:
    """Preprocessing of the file's own layers (``resizing``), or of the weights' evaluation.

    Source of the latter: google/automl, efficientnetv2/preprocessing.py. V2-S, M and L use bilinear
    resizing, and no margin from 320 pixels on. All others use the preprocessing of V1.
    """
    if resizing is not None:
        return Preprocess(
            size, resizing.crop, resizing.interpolation, mean, std,
            resizing.crop_mode, resizing.resize_first,
        )  # fmt: skip
    if variant.name in _HALVED:
        crop = tensorflow_crop(size) if size < 320 else 1.0
        return Preprocess(size, crop, "bilinear", mean, std)
    return Preprocess(size, tensorflow_crop(size), "bicubic", mean, std)


def read(path: Path) -> KerasCheckpoint:
    """The weights and the config in a .keras or .h5 file; raises `CheckpointError`."""
    try:
        layers, config = read_file(path)
        return checkpoint_of(path, layers, json_text.parse(config) if config else None)
    except CheckpointError as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    except MissingExtra:
        raise
    except OSError as error:
        raise CheckpointError(
            f"cannot read {path}: {error.strerror}; fetch it or save it again"
        ) from error
    except MemoryError as error:
        raise CheckpointError(
            f"cannot read {path}: it needs more memory than there is; use a larger machine"
        ) from error
    except DAMAGE as error:
        raise CheckpointError(
            f"cannot read {path}: its structure is broken; fetch it or save it again"
        ) from error


def recognises(path: Path, start: bytes) -> bool:
    """Whether the file is HDF5, or a zip file with the members of a .keras file."""
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return True
    if not start.startswith(b"PK\x03\x04"):
        return False
    if path.suffix == ".keras":
        return True
    return is_keras(path)


def _usual_normalisation(variant: Variant, checkpoint: KerasCheckpoint) -> tuple[Any, Any]:
    """Mean and std of Keras Applications' normalisation, from the file's statistics or the default.

    The ImageNet weights of B0-B7 store the standard deviation in place of the variance. Their graph
    corrects this by a second Rescaling by 1 / sqrt(std) (tensorflow/tensorflow issue 49930).
    """
    scale, offset = np.full(3, 1 / 255.0), np.zeros(3)
    if checkpoint.statistics:
        mean, variance = (v.astype(np.float64).reshape(-1) for v in checkpoint.statistics[0])
        if not mean.size == variance.size in (1, 3):
            raise CheckpointError(
                f"its Normalization layer has {mean.size} means and {variance.size} variances "
                "instead of one or three of each; fetch the file or save it again"
            )
        std = np.sqrt(variance)
        if checkpoint.rescalings > 1 or np.allclose(variance, _STD, rtol=1e-5):
            std = std * np.sqrt(_STD)
    elif variant.name in _HALVED or checkpoint.grey:  # V2 normalises grey as S, M and L
        return (128.0,) * 3, (128.0,) * 3
    else:
        mean, std = _MEAN, _STD
    normalisation: tuple[Any, Any] = affine(scale / std, (offset - mean) / std)
    return normalisation


def _bare_normalisation(variant: Variant, checkpoint: KerasCheckpoint) -> tuple[Any, Any, str]:
    """Mean, standard deviation and a note for the user, for a graph that does not normalise.

    They come from the first layer's statistics. If these are unclear, they are the libraries'
    documented inputs: -1..1 for V2 with ``include_preprocessing=False``, ImageNet's mean and
    deviation for B0-B7. Only the PyPI package "efficientnet" builds B0-B7 without normalisation.
    """
    kernel = checkpoint.tensors.get("conv2d/kernel")
    variance = checkpoint.tensors.get("batch_normalization/moving_variance")
    trained = None
    if kernel is not None and variance is not None and kernel.ndim == 4:
        trained = trained_range(layout("stem.conv.weight", kernel), variance)
    reason = "as the statistics of its first layer say"
    if trained is None:
        halves = variant.name.startswith("efficientnetv2") or "lite" in variant.name
        trained = "-1..1" if halves else "ImageNet's"
        reason = "the usual one"
    mean, std = NORMALISATIONS[trained]
    if trained == "-1..1" and "lite" in variant.name:
        mean, std = (127.0,) * 3, (128.0,) * 3
    note = (
        f"the graph of {checkpoint.path.name} does not normalise its input: taken for {trained} "
        f"range, {reason}; if it was trained otherwise, say mean= and std="
    )
    return mean, std, note


SOURCE = Source(
    kind="keras",
    summary="a Keras application",
    variants=frozenset(
        [f"efficientnet-b{number}" for number in range(8)]
        + [f"efficientnet-lite{number}" for number in range(5)]
        + [f"efficientnetv2-{size}" for size in ("b0", "b1", "b2", "b3", "s", "m", "l")]
    ),
    names=names,
    facts=facts,
    layout=layout,
)
READER = Reader(recognises, read)
