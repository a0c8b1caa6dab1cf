"""The weights in the tree that a file holds: the network's dict, and what stands beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from edge_effnet.checkpoints.accounting import is_training_state
from edge_effnet.checkpoints.readers.containers import shown
from edge_effnet.checkpoints.readers.pickles import Tensor
from edge_effnet.errors import CheckpointError

_Value = TypeVar("_Value")

#: Where training scripts put the weights. Averaged ones come first: they are the better ones.
WRAPPERS = (
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "ema",
    "shadow",
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "net",
)
_MAX_WRAPPERS = 4
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
_COUNTERS = {"n_averaged"}  # torch.optim.swa_utils.AveragedModel keeps it beside "module.*"
_PARAMETERS = ("weight", "bias", "running_mean", "running_var", "mean", "std")
_MOST_CONTAINERS = 10_000  # visited in search of tensors
_COPY = 0.5  # share of equal names from which a dict is another copy of the network


@dataclass(frozen=True)
class Weights:
    """The tensors of a file.

    ``network`` are the network's own, ``beside`` those in other dicts that may be parts of it,
    ``copies`` the paths of other copies of the network.
    """

    network: dict[str, Tensor]
    beside: dict[str, Tensor] = field(default_factory=dict)
    copies: tuple[str, ...] = ()


def find_weights(tree: object) -> Weights:
    """The weights in the ``tree`` of a file.

    Wrappers such as ``{"state_dict": ...}`` are opened, averaged (EMA) weights preferred, and
    prefixes such as ``module.`` are taken off where all names share them. State of the training and
    other copies of the network are left out. Raises `CheckpointError` without any tensor.
    """
    home = _home(tree, _MAX_WRAPPERS, set())
    chosen = {} if home is None else _own(home)
    dicts = [(path, node) for path, node in _dicts(tree) if node is not home]
    if not any(tensor.shape for tensor in chosen.values()):
        parts = {
            f"{path}.{name}" if path else name: tensor
            for path, node in dicts
            for name, tensor in _own(node).items()
            if tensor.shape and not is_training_state(f"{path}.{name}")
        }
        chosen = {**chosen, **parts}
        dicts = []
    if not chosen:
        raise CheckpointError(_without(tree))
    named = without_prefixes(chosen)
    beside: dict[str, Tensor] = {}
    copies: list[str] = []
    for path, node in dicts:
        found = {name: t for name, t in _own(node).items() if _is_parameter(name, t)}
        stripped = without_prefixes(found)
        if not found:
            continue
        if len(stripped.keys() & named.keys()) >= _COPY * len(stripped):
            copies.append(path)
            continue
        full = {f"{path}.{name}" if path else name: tensor for name, tensor in found.items()}
        beside |= {name: tensor for name, tensor in full.items() if not is_training_state(name)}
    return Weights(named, beside, tuple(copies))


def _without(tree: object) -> str:
    if not isinstance(tree, dict):
        holds = "it holds no dict of named tensors"
    else:
        holds = "it holds no tensors under " + ", ".join(shown(name) for name in list(tree)[:6])
    return f"{holds}; save the weights with torch.save(model.state_dict(), 'weights.pth')"


def _home(node: object, depth: int, seen: set[int]) -> dict[str, object] | None:
    """The preferred dict of tensors at or below ``node``; visits each dict once."""
    if not isinstance(node, dict) or id(node) in seen:
        return None
    seen.add(id(node))
    for wrapper in WRAPPERS if depth else ():
        inner = _home(node.get(wrapper), depth - 1, seen)
        # not just counters and decay rates
        if inner is not None and any(tensor.shape for tensor in _own(inner).values()):
            return inner
    return node


def _own(node: dict[str, object]) -> dict[str, Tensor]:
    """The tensors that the dict itself holds."""
    return {
        name: item
        for name, item in node.items()
        if isinstance(item, Tensor) and name not in _COUNTERS
    }


def _dicts(tree: object) -> Iterator[tuple[str, dict[str, object]]]:
    """Every dict at or below ``tree`` with its path, each once, to a limited depth and number."""
    pending: list[tuple[str, object, int]] = [("", tree, 0)]
    seen: set[int] = set()
    while pending and len(seen) < _MOST_CONTAINERS:
        path, node, depth = pending.pop(0)
        if id(node) in seen or not isinstance(node, (dict, list, tuple)):
            continue
        seen.add(id(node))
        if isinstance(node, dict):
            yield path, node
        if depth < _MAX_WRAPPERS:
            items = node.items() if isinstance(node, dict) else enumerate(node)
            pending += [
                (f"{path}.{key}" if path else str(key), item, depth + 1)
                for key, item in items
                if isinstance(item, (dict, list, tuple))
            ]


def _is_parameter(name: str, tensor: Tensor) -> bool:
    """Whether a tensor beside the network's dict may be a parameter, not a counter or history."""
    return bool(tensor.shape) and (len(tensor.shape) > 1 or name.rpartition(".")[2] in _PARAMETERS)


def without_prefixes(tensors: dict[str, _Value]) -> dict[str, _Value]:
    """``tensors`` without the prefixes that all names share (``module.``, ``model.``)."""
    for _ in range(_MAX_WRAPPERS):
        for prefix in _PREFIXES:
            if all(name.startswith(prefix) for name in tensors):
                tensors = {name[len(prefix) :]: tensor for name, tensor in tensors.items()}
    return tensors
