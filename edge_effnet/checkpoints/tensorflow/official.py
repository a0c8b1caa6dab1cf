"""Official TensorFlow releases: tensorflow/tpu (B, Lite, EdgeTPU) and google/automl (V2).

A checkpoint is given by its prefix (``model.ckpt``), by one of its files, or by its folder. If a
variable has an average (``.../ExponentialMovingAverage``), the average is used, as in the releases'
evaluation. Variables of optimizers are not read. Facts:
  names        tf.layers numbers the layers of a block in the order of calls: conv2d, conv2d_1,
               tpu_batch_normalization, ..._1, ..._2; V2 uses the same names (effnetv2_model.py)
  input        B: ImageNet's mean and deviation, or 2x / 255 - 1 if trained with AdvProp
               (eval_ckpt_main.py); Lite, EdgeTPU: (x - 127) / 128; V2-B: like B; V2-S to XL:
               (x - 128) / 128, no margin from 320 pixels on, bilinear (preprocessing.py)
  EdgeTPU      the projection carries the stride of a Fused-MBConv (efficientnet_model.py,
               MBConvBlockWithoutDepthwise), and class 0 is the background
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from edge_effnet.checkpoints.advprop import Told, judges, told_by_range
from edge_effnet.checkpoints.input_range import trained_range
from edge_effnet.checkpoints.keras.applications import layout
from edge_effnet.checkpoints.keras.saved_model import STEM, of_bundle
from edge_effnet.checkpoints.naming import blocks_of
from edge_effnet.checkpoints.readers.damage import DAMAGE
from edge_effnet.checkpoints.source import (
    SURE,
    Checkpoint,
    Evidence,
    Facts,
    Reader,
    Source,
    Tensors,
)
from edge_effnet.checkpoints.tensorflow.bundle import open_bundle
from edge_effnet.errors import CheckpointError
from edge_effnet.graph import BatchNorm, Conv, Graph
from edge_effnet.preprocess import HALVES, IMAGENET_MEAN, IMAGENET_STD, Preprocess, tensorflow_crop
from edge_effnet.variants import BN_EPS_TENSORFLOW, VARIANTS, Variant

_STEM = "stem/conv2d/kernel"
_AVERAGE = "/ExponentialMovingAverage"
_NORM_PARTS = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
_PARTS = {*_NORM_PARTS.values(), "kernel", "depthwise_kernel", "bias"}
_UNSQUARED = {f"efficientnetv2-{size}" for size in ("s", "m", "l", "xl")}
_SMALL = 320  # input side in pixels from which V2 is evaluated without a margin
_DATA = re.compile(r"\.data-\d{5}-of-\d{5}$")
_LATEST = re.compile(r'^model_checkpoint_path:\s*"([^"\n]+)"', re.MULTILINE)
_B = frozenset(name for name in VARIANTS if re.fullmatch(r"efficientnet-(b\d|l2)", name))


def names(graph: Graph) -> dict[str, str]:
    """Canonical parameter -> variable, such as ``blocks_3/conv2d_1/kernel``, without model name."""
    blocks = blocks_of(graph)
    counts: Counter[str] = Counter()
    layers: dict[str, str] = {}
    renamed = {}
    for parameter in graph.parameter_shapes:
        name, _, part = parameter.rpartition(".")
        node = graph.by_name[name]
        where = ".".join(name.split(".")[:4])
        scope = f"blocks_{blocks[where].index}" if where in blocks else name.split(".")[0]
        if isinstance(node, Conv):
            kind = "depthwise_conv2d" if node.depthwise else "conv2d"
            part = {"weight": "depthwise_kernel" if node.depthwise else "kernel"}.get(part, part)
        elif isinstance(node, BatchNorm):
            kind, part = "tpu_batch_normalization", _NORM_PARTS[part]
        else:
            scope, kind, part = "head", "dense", {"weight": "kernel"}.get(part, part)
        if ".se." in name:
            scope += "/se"
        if name not in layers:
            number = counts[f"{scope}/{kind}"]
            counts[f"{scope}/{kind}"] += 1
            layers[name] = f"{scope}/{kind}_{number}" if number else f"{scope}/{kind}"
        renamed[parameter] = f"{layers[name]}/{part}"
    return renamed


def read(path: Path) -> Checkpoint:
    """The network's variables, averaged if the file has averages; raises `CheckpointError`."""
    try:
        bundle = open_bundle(_index(path))
        if STEM in bundle.entries:
            return of_bundle(path, bundle)
        stems = [name for name in bundle.entries if name.endswith(_STEM)]
        if len(stems) != 1:
            number = f"{len(stems)} of them" if stems else "none"
            raise CheckpointError(
                f"it should hold one {_STEM} and holds {number}; is it an EfficientNet of "
                "tensorflow/tpu, google/automl or Keras 2? Weights of Keras 3: load them into the "
                "model, then model.save('model.keras')"
            )
        scope = stems[0].removesuffix(_STEM)
        tensors = {}
        for name in bundle.entries:
            inner = name.removeprefix(scope)
            if not name.startswith(scope) or inner.rpartition("/")[2] not in _PARTS:
                continue
            average = name + _AVERAGE
            tensors[inner] = bundle.array(average if average in bundle.entries else name)
        words = {"model": scope.rstrip("/")}
        return Checkpoint(path, tensors, words, bundle.files)
    except CheckpointError as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    except OSError as error:
        raise CheckpointError(
            f"cannot read {path}: {error.strerror}; give the prefix or the folder of a checkpoint"
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
    """Whether the path is a folder with a checkpoint, a prefix, an index or a data file."""
    if path.is_dir():
        return (path / "checkpoint").is_file() or any(path.glob("*.index"))
    if path.suffix == ".index" or _DATA.search(path.name):
        return True
    return not path.exists() and path.with_name(path.name + ".index").is_file()


def _index(path: Path) -> Path:
    """The ``.index`` file of the checkpoint ``path``."""
    if path.is_dir():
        return _latest(path)
    name = _DATA.sub("", path.name).removesuffix(".index")
    return path.with_name(name + ".index")


def _latest(folder: Path) -> Path:
    """Newest checkpoint of a folder: the one named in the file ``checkpoint``, or the only one.

    The file ``checkpoint`` often has a path of the training machine; only its last component is
    used.
    """
    record = folder / "checkpoint"
    if record.is_file() and record.stat().st_size < 1 << 20:
        match = _LATEST.search(record.read_text("utf-8", "replace"))
        named = re.split(r"[/\\]", match[1])[-1] if match else ""
        if named and (folder / f"{named}.index").is_file():
            return folder / f"{named}.index"
    indexes = sorted(folder.glob("*.index"))
    if len(indexes) != 1:
        listed = ", ".join(path.name for path in indexes) or "none"
        raise CheckpointError(f"it holds not one checkpoint but {listed}; give one by its name")
    return indexes[0]


def _unsupported(tensors: Tensors) -> str | None:
    if any("cond_conv2d" in name for name in tensors):
        return "an EfficientNet-CondConv, whose kernels depend on the image"
    if any("super_pixel" in name for name in tensors):
        return "an EfficientNet-X with super pixels"
    if any("group_normalization" in name for name in tensors):
        return "an EfficientNetV2 with group normalisation"
    return None


def _facts(variant: Variant, advprop: bool) -> Facts:
    def preprocess(size: int) -> Preprocess:
        crop = tensorflow_crop(size)
        if "lite" in variant.name or "edgetpu" in variant.name:
            return Preprocess(size, crop, "bicubic", (127.0,) * 3, (128.0,) * 3)
        if variant.name in _UNSQUARED:
            crop = crop if size < _SMALL else 1.0
            return Preprocess(size, crop, "bilinear", (128.0,) * 3, (128.0,) * 3)
        mean, std = (HALVES, HALVES) if advprop else (IMAGENET_MEAN, IMAGENET_STD)
        return Preprocess(size, crop, "bicubic", mean, std)

    return Facts(
        padding="same",
        bn_eps=BN_EPS_TENSORFLOW,
        preprocess=preprocess,
        fused_stride="project" if "edgetpu" in variant.name else "expand",
    )


def _tell(checkpoint: Checkpoint) -> Told:
    """Whether the network was trained with AdvProp, and the evidence."""
    parts = [part.lower() for part in checkpoint.path.absolute().parts[-3:]]
    if any("advprop" in part for part in parts):
        return True, Evidence(SURE, "its path says so")
    kernel = checkpoint.tensors.get(_STEM)
    variance = checkpoint.tensors.get("stem/tpu_batch_normalization/moving_variance")
    trained = None
    if kernel is not None and variance is not None and kernel.ndim == 4:
        trained = trained_range(layout("stem.conv.weight", kernel), variance)
    return told_by_range(trained, "its path does not mention AdvProp")


_usual_evidence, _advprop_evidence = judges(_tell)


SOURCE = Source(
    kind="tensorflow",
    summary="TensorFlow's own release",
    variants=frozenset(VARIANTS),
    names=names,
    facts=lambda variant, checkpoint: _facts(variant, advprop=False),
    evidence=_usual_evidence,
    layout=layout,
    unsupported=_unsupported,
)
ADVPROP = Source(
    kind="tensorflow-advprop",
    summary="TensorFlow's own release trained with AdvProp",
    variants=_B,
    names=names,
    facts=lambda variant, checkpoint: _facts(variant, advprop=True),
    evidence=_advprop_evidence,
    layout=layout,
)
READER = Reader(recognises, read)
