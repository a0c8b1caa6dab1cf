"""Head layers, padding and BN epsilon from the modules of a network pickled as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edge_effnet.checkpoints.pytorch.modules import Module
from edge_effnet.checkpoints.source import ModuleRecord
from edge_effnet.errors import CheckpointError

Structure = Mapping[str, ModuleRecord]
_SEQUENTIAL = "torch.nn.modules.container.Sequential"
#: Module class -> word of the argument ``head``, with the attributes that it requires.
_WORDS: dict[str, tuple[str, Mapping[str, object]]] = {
    "Linear": ("linear", {}),
    "BatchNorm1d": ("batchnorm", {}),
    "LayerNorm": ("layernorm", {}),
    "ReLU": ("relu", {}),
    "ReLU6": ("relu6", {}),
    "SiLU": ("silu", {}),
    "Sigmoid": ("sigmoid", {}),
    "Tanh": ("tanh", {}),
    "Hardswish": ("hardswish", {}),
    "GELU": ("gelu", {"approximate": "none"}),
    "LeakyReLU": ("leakyrelu", {"negative_slope": 0.01}),
    "Dropout": ("dropout", {}),
    "Dropout1d": ("dropout", {}),
    "AlphaDropout": ("dropout", {}),
    "Flatten": ("flatten", {}),
    "Identity": ("identity", {}),
    "Softmax": ("softmax", {}),
    "LogSoftmax": ("logsoftmax", {}),
}
_SAME = ("Conv2dSame", "Conv2dDynamicSamePadding", "Conv2dStaticSamePadding")


def sequential_words(structure: Structure, modules: Sequence[Module]) -> str | None:
    """The head as text if one Sequential contains all ``modules``; else None.

    Raises:
        CheckpointError: A layer of the Sequential cannot be converted. The caller adds the file.
    """
    numbers = [module.number for module in modules]
    parents = {number[0] for number in numbers if number is not None}
    if None in numbers or len(parents) != 1:
        return None
    (parent,) = parents
    record = structure.get(parent)
    if record is None or record.kind != _SEQUENTIAL:
        return None
    words = []
    for name, child in structure.items():
        if name.rpartition(".")[0] != parent or not name.rpartition(".")[2].isdigit():
            continue
        kind = child.kind.rpartition(".")[2]
        word, expected = _WORDS.get(kind, ("", {}))
        settings = {key: child.attributes.get(key, value) for key, value in expected.items()}
        if not word or not child.kind.startswith("torch.nn.modules.") or settings != expected:
            unusual = ", ".join(f"{key}={settings[key]}" for key in settings)
            raise CheckpointError(f"the head has the layer {name}, {kind}({unusual})")
        words.append(word)
    return ", ".join(words)


def epsilon(structure: Structure, name: str, usual: float) -> float:
    """Epsilon of the normalisation ``name``; ``usual`` if it is unknown."""
    record = structure.get(name)
    value = usual if record is None else record.attributes.get("eps", usual)
    return float(value) if isinstance(value, float) else usual


def same_padding(structure: Structure) -> bool | None:
    """Whether convolutions have TensorFlow's SAME padding; None if unknown."""
    kinds = {record.kind.rpartition(".")[2] for record in structure.values()}
    return bool(kinds & set(_SAME)) if kinds else None


def trunk_epsilon(structure: Structure) -> float | None:
    """The common epsilon of all BatchNorm2d modules; None if they differ."""
    epsilons = {
        record.attributes.get("eps")
        for record in structure.values()
        if record.kind.endswith(("BatchNorm2d", "BatchNormAct2d"))
    }
    (value,) = epsilons if len(epsilons) == 1 else (None,)
    return value if isinstance(value, float) else None
