"""timm (pytorch-image-models): native networks, and networks from TensorFlow (``tf_``).

Native and ``tf_`` networks have the same tensor names. Native networks have symmetric padding and
BN epsilon 1e-5. ``tf_`` networks have SAME padding and BN epsilon 1e-3 (timm 1.0,
timm/models/efficientnet.py).

The preprocessing comes from the first available source. First: timm's ``config.json`` beside the
weights (`timm_config`). Second: the record of the released weight named by the file or its folder
(`timm_records`). Last: the usual preprocessing of the architecture, with the normalisation
estimated from the first layer's statistics.
"""

from __future__ import annotations

import re
from dataclasses import replace

from edge_effnet.checkpoints.input_range import range_in
from edge_effnet.checkpoints.naming import Block, rename
from edge_effnet.checkpoints.pytorch import timm_config
from edge_effnet.checkpoints.pytorch.structure import same_padding
from edge_effnet.checkpoints.pytorch.timm_records import WeightRecord, named_record
from edge_effnet.checkpoints.source import (
    NONE,
    SIGN,
    SURE,
    Checkpoint,
    Evidence,
    Facts,
    Question,
    Source,
    Tensors,
)
from edge_effnet.graph import Graph
from edge_effnet.network import Padding
from edge_effnet.preprocess import (
    HALVES,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Interpolation,
    Preprocess,
)
from edge_effnet.variants import BN_EPS_TENSORFLOW, VARIANTS, Variant

_BN_EPS_TORCH = 1e-5  # default of torch.nn.BatchNorm2d
_ENDS = {
    "stem.conv": "conv_stem",
    "stem.bn": "bn1",
    "head.conv": "conv_head",
    "head.bn": "bn2",
    "classifier": "classifier",
}
_SE = {"se.reduce": "se.conv_reduce", "se.expand": "se.conv_expand"}
# Batch normalisations of a block are numbered; names of convolutions depend on the kind of block.
_INVERTED = {
    **{"expand": "conv_pw", "expand_bn": "bn1", "depthwise": "conv_dw", "depthwise_bn": "bn2"},
    **{"project": "conv_pwl", "project_bn": "bn3", **_SE},
}
_SEPARABLE = {
    **{"depthwise": "conv_dw", "depthwise_bn": "bn1", "project": "conv_pw", "project_bn": "bn2"},
    **_SE,
}
_EDGE = {
    **{"expand": "conv_exp", "expand_bn": "bn1", "project": "conv_pwl", "project_bn": "bn2"},
    **_SE,
}
_PLAIN = {"fused": "conv", "fused_bn": "bn1"}

#: Variants with native weights from timm. All other variants have only ``tf_`` weights.
_NATIVE = frozenset(
    [
        *(f"efficientnet-b{number}" for number in range(6)),
        *(f"efficientnet-edgetpu-{size}" for size in "sml"),
        "efficientnet-lite0",
    ]
)
#: ``tf_`` variants whose default weights need Inception's normalisation, not ImageNet's.
_TF_HALVES = re.compile(r"efficientnet-(b8|lite\d|edgetpu-[sml])|efficientnetv2-(b3|s|m|l|xl)")
#: Crop fraction if not 1: TensorFlow's ``size / (size + 32)``, with timm's rounding.
_CROPS = {
    **{"efficientnet-b0": 0.875, "efficientnet-b1": 0.882, "efficientnet-b2": 0.89},
    **{"efficientnet-b3": 0.904, "efficientnet-b4": 0.922, "efficientnet-b5": 0.934},
    **{"efficientnet-b6": 0.942, "efficientnet-b7": 0.949, "efficientnet-b8": 0.954},
    **{"efficientnet-l2": 0.96, "efficientnet-edgetpu-s": 0.875, "efficientnet-edgetpu-m": 0.882},
    **{"efficientnet-edgetpu-l": 0.904, "efficientnet-lite0": 0.875, "efficientnet-lite1": 0.882},
    **{"efficientnet-lite2": 0.89, "efficientnet-lite3": 0.904, "efficientnet-lite4": 0.92},
    **{"efficientnetv2-b0": 0.875, "efficientnetv2-b1": 0.882, "efficientnetv2-b2": 0.89},
    **{"efficientnetv2-b3": 0.9},
}
#: ``tf_`` weights trained for another input side than the variant's default; all use bilinear
#: resizing.
_TF_SIDES = {"efficientnet-lite3": 300, "efficientnet-lite4": 380}
_ADVPROP = re.compile(r"efficientnet_b\d[._]ap\b|efficientnet_b\d[._]ap[-_]")
_RA4 = re.compile(r"[._]ra4_")
_NAME = re.compile(
    r"(tf_)?efficientnet(?:v2)?_(?:b\d|l2|lite\d|e[sml]|s|m|l|xl)(?![a-z0-9])", re.IGNORECASE
)
_IMAGENET_CLASSES = 1000
_POOLINGS = {"catavgmax": "avg+max"}  # timm's name -> this project's, if different

# Unsupported timm networks with similar tensors: (pattern of a tensor name, description).
_UNSUPPORTED = (
    (re.compile(r"\.routing_fn\."), "a CondConv EfficientNet (tf_efficientnet_cc_*)"),
    (re.compile(r"\.se\.conv_attn\."), "gc_efficientnetv2_rw_t"),
    (re.compile(r"\.conv_dw\.\d+\.weight$"), "a MixNet"),
)
_RW_HEADS = {
    1024: "efficientnetv2_rw_t",
    1792: "efficientnetv2_rw_s",
    2152: "efficientnetv2_rw_m",
}


def names(graph: Graph) -> dict[str, str]:
    """Canonical parameter -> name in the checkpoint, for every parameter of ``graph``."""
    return rename(graph, _ENDS, _block)


def _block(block: Block) -> dict[str, str]:
    if "fused" in block.layers:
        table = _PLAIN
    elif "depthwise" not in block.layers:
        table = _EDGE
    else:
        table = _INVERTED if "expand" in block.layers else _SEPARABLE
    prefix = f"blocks.{block.stage}.{block.place}"
    return {layer: f"{prefix}.{table.get(layer, layer)}" for layer in block.layers}


def unsupported(tensors: Tensors) -> str | None:
    """Description of a timm network that is not supported; None for others."""
    if "conv_stem.weight" not in tensors:
        return None
    for pattern, description in _UNSUPPORTED:
        if any(pattern.search(name) for name in tensors):
            return description
    if "bn1.running_mean" not in tensors and "bn1.weight" in tensors:
        return "a network with group or layer normalisation in place of batch normalisation"
    head = tensors.get("conv_head.weight")
    fused = "blocks.0.0.conv.weight" in tensors
    if fused and head is not None and head.shape[0] in _RW_HEADS:
        return f"{_RW_HEADS[head.shape[0]]}, a network of timm's own"
    return None


def facts(tensorflow: bool, variant: Variant, checkpoint: Checkpoint) -> Facts:
    """Facts of a native network or, if ``tensorflow``, of a ``tf_`` network."""
    return replace(_facts(tensorflow, variant, checkpoint), pooling=_pooling(checkpoint))


def _facts(tensorflow: bool, variant: Variant, checkpoint: Checkpoint) -> Facts:
    padding: Padding = "same" if tensorflow else "symmetric"
    eps = BN_EPS_TENSORFLOW if tensorflow else _BN_EPS_TORCH
    root = timm_config.read(checkpoint)
    usual = Facts(padding, eps, lambda size: Preprocess(size, _CROPS.get(variant.name, 1.0)))
    usual = timm_config.with_arguments(usual, root, variant, checkpoint)
    if isinstance(root.get("pretrained_cfg"), dict):
        return timm_config.facts(root, usual, _CROPS.get(variant.name, 1.0))
    texts = [*_path_names(checkpoint), *_recorded(checkpoint)]
    record = named_record(texts, variant.name, tensorflow)
    if record is not None:
        note = _fine_tuned(record, checkpoint)
        return replace(usual, preprocess=record.preprocess, resolution=record.size, note=note)
    return _assumed(tensorflow, variant, checkpoint, usual)


def _fine_tuned(record: WeightRecord, checkpoint: Checkpoint) -> str | None:
    """A note if the classifier's size differs from that of the released weights ``record``."""
    classifier = checkpoint.tensors.get("classifier.weight")
    if classifier is not None and len(classifier) == record.classes:
        return None
    return (
        f"{checkpoint.path.name} is taken for {record.name}, fine-tuned with its preprocessing: "
        f"{_described(record.preprocess(record.size))}; if photos were prepared in another way, "
        "give resolution=, crop=, mean= and std="
    )


def _assumed(tensorflow: bool, variant: Variant, checkpoint: Checkpoint, usual: Facts) -> Facts:
    """``usual`` with the usual preprocessing of the architecture, and a note on the assumption."""
    trained = range_in(checkpoint.tensors, _ENDS["stem.conv"], _ENDS["stem.bn"])
    if (_ADVPROP if tensorflow else _RA4).search(
        " ".join([*_recorded(checkpoint), *_path_names(checkpoint)])
    ):
        halves = True
    elif trained in ("-1..1", "ImageNet's"):
        halves = trained == "-1..1"
    else:
        halves = tensorflow and bool(_TF_HALVES.fullmatch(variant.name))
    side = _TF_SIDES.get(variant.name) if tensorflow else None
    interpolation: Interpolation = "bilinear" if side else "bicubic"
    mean, std = (HALVES, HALVES) if halves else (IMAGENET_MEAN, IMAGENET_STD)
    crop = _CROPS.get(variant.name, 1.0)

    def preprocess(size: int) -> Preprocess:
        return Preprocess(size, crop, interpolation, mean, std, resize_first=True)

    def note(size: int) -> str:
        return (
            f"{checkpoint.path.name} does not say how photos were prepared; assumed: "
            f"{_described(preprocess(size))}. Keep timm's config.json or the released "
            "name of the weights beside the file, or give resolution=, crop=, mean= and std="
        )

    assumed = _pools_once(checkpoint)
    return replace(
        usual, preprocess=preprocess, resolution=side, note=note, pooling_assumed=assumed
    )


def _pools_once(checkpoint: Checkpoint) -> bool:
    """Whether timm's classifier reads one unnamed pooling: the average or the maximum."""
    classifier = checkpoint.tensors.get("classifier.weight")
    last = checkpoint.tensors.get("conv_head.weight")
    if classifier is None or last is None or checkpoint.structure or classifier.ndim != 2:
        return False
    return bool(classifier.shape[1] == last.shape[0])


def _described(preprocess: Preprocess) -> str:
    """The preprocessing as short text."""
    whose = "mean and deviation 0.5" if preprocess.mean == HALVES else "ImageNet's mean"
    return (
        f"{preprocess.size} px, crop {preprocess.crop:.3g} ({preprocess.crop_mode}), "
        f"{preprocess.interpolation}, {whose}"
    )


def _pooling(checkpoint: Checkpoint) -> str:
    """Pooling of the network, from its pickled module or timm's config.json; else average."""
    record = checkpoint.structure.get(f"{checkpoint.prefix}global_pool")
    named = timm_config.read(checkpoint).get("global_pool") if record is None else None
    if record is not None:
        named = record.attributes.get("pool_type")
    name = str(named or "avg").removeprefix("fast")
    return _POOLINGS.get(name, name)


def _recorded(checkpoint: Checkpoint) -> list[str]:
    """Texts in the file or its config.json that may name the architecture."""
    return [
        str(timm_config.read(checkpoint).get("architecture", "")),
        *checkpoint.words.values(),
    ]


def _path_names(checkpoint: Checkpoint) -> list[str]:
    """Names of the file and of the three folders above it, nearest first."""
    return [checkpoint.path.name, *reversed(checkpoint.path.parts[-4:-1])]


def _tell(variant: Variant, checkpoint: Checkpoint) -> tuple[bool, Evidence]:
    """Whether the checkpoint is of a ``tf_`` network, and the evidence."""
    same = same_padding(checkpoint.structure)
    if same is None and checkpoint.padding is not None:
        same = checkpoint.padding == "same"
    if same is not None:
        return same, Evidence(SURE, "its convolutions pad as they do")
    for text in _recorded(checkpoint):
        if match := _NAME.search(text):
            return bool(match[1]), Evidence(SURE, f"{match[0]} is written with it")
    names = _path_names(checkpoint)
    matches = [match for text in names if (match := _NAME.search(text))]
    for match in matches:
        if match[1]:
            return True, Evidence(SURE, f"its file or folder is called {match[0]}")
    if named_record(names, variant.name, tensorflow=False):
        return False, Evidence(SURE, "its file or folder names a released native weight")
    counters = [v for k, v in checkpoint.tensors.items() if k.endswith(".num_batches_tracked")]
    counted = any(counter.any() for counter in counters)
    classifier = checkpoint.tensors.get("classifier.weight")
    fine_tuned = counted and (classifier is None or len(classifier) != _IMAGENET_CLASSES)
    trained = range_in(checkpoint.tensors, _ENDS["stem.conv"], _ENDS["stem.bn"])
    by_range = _told_by_range(variant) and not fine_tuned  # fine-tuning may change the range
    if trained in ("-1..1", "ImageNet's") and not matches and by_range:
        evidence = f"the statistics of its first layer are those of inputs in {trained} range"
        return trained == "-1..1", Evidence(SIGN, evidence)
    if counters and not counted:
        return True, Evidence(SIGN, "its batches were never counted, so PyTorch did not train it")
    if matches:
        return False, Evidence(SIGN, f"its file or folder is called {matches[0][0]} without tf_")
    if variant.name not in _NATIVE:
        return True, Evidence(SIGN, "timm publishes no other weights of this variant")
    return False, Evidence(0, "nothing tells", _native_or_tf(variant))


def _native_or_tf(variant: Variant) -> Question:
    name = variant.name.replace("edgetpu-", "e").replace("-", "_")
    return Question(
        ("source",),
        f"timm's {name} and tf_{name} have the same tensors but pad differently. Neither the "
        "file, its name nor a config.json beside it tells which one this is, and the wrong one "
        "costs points of accuracy",
        f"give source='timm' if it was made with timm.create_model('{name}'), source='timm-tf' if "
        f"with 'tf_{name}'",
    )


def _told_by_range(variant: Variant) -> bool:
    """Whether native and ``tf_`` weights of ``variant`` differ in their input normalisation."""
    return variant.name in _NATIVE and bool(_TF_HALVES.fullmatch(variant.name))


def _native_evidence(variant: Variant, checkpoint: Checkpoint) -> Evidence:
    tensorflow, evidence = _tell(variant, checkpoint)
    return NONE if tensorflow else evidence


def _tf_evidence(variant: Variant, checkpoint: Checkpoint) -> Evidence:
    tensorflow, evidence = _tell(variant, checkpoint)
    return evidence if tensorflow else NONE


SOURCE = Source(
    kind="timm",
    summary="timm's native network (symmetric padding, BN epsilon 1e-5)",
    variants=frozenset(VARIANTS),
    names=names,
    facts=lambda variant, checkpoint: facts(False, variant, checkpoint),
    evidence=_native_evidence,
    unsupported=unsupported,
)
TF = Source(
    kind="timm-tf",
    summary="timm's tf_ network (SAME padding, BN epsilon 1e-3)",
    variants=frozenset(VARIANTS),
    names=names,
    facts=lambda variant, checkpoint: facts(True, variant, checkpoint),
    evidence=_tf_evidence,
    unsupported=unsupported,
)
