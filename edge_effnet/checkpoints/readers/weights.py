"""Selection of the network's weights, and of related tensors, in a file's structure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from edge_effnet.checkpoints.accounting import is_training_state
from edge_effnet.checkpoints.readers.containers import shown
from edge_effnet.checkpoints.readers.objects import (
    attributes,
    hides_tensor,
    is_module,
    read_module,
)
from edge_effnet.checkpoints.readers.values import Opaque, Tensor
from edge_effnet.checkpoints.source import ModuleRecord
from edge_effnet.errors import CheckpointError

_Value = TypeVar("_Value")

#: Keys under which training scripts store the weights. Averaged weights come first, because they
#: are usually more accurate.
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
_PACKED = "._packed_params"  # int8 weights of torch.ao.quantization's layers
_COUNTERS = {"n_averaged"}  # stored by torch.optim.swa_utils.AveragedModel beside "module.*"
_PARAMETERS = ("weight", "bias", "running_mean", "running_var", "mean", "std")
_MOST_CONTAINERS = 10_000  # largest number of visited dicts and lists
_COPY = 0.5  # share of equal names above which a dict is a copy of the network


@dataclass(frozen=True)
class Weights:
    """The tensors of a file.

    ``network`` has the tensors of the dict that holds the network. ``beside`` has tensors of the
    file's other dicts that may belong to the network, for example a separate head. ``copies`` are
    the paths in the file of further copies of the network, which are not read. ``structure`` has
    the modules of a network pickled as a whole.
    """

    network: dict[str, Tensor]
    beside: dict[str, Tensor] = field(default_factory=dict)
    copies: tuple[str, ...] = ()
    structure: dict[str, ModuleRecord] = field(default_factory=dict)


def find_weights(tree: object) -> Weights:
    """The weights in the structure ``tree`` of a file.

    Wrappers such as ``{"state_dict": ...}`` are opened, averaged (EMA) weights are preferred, and
    common prefixes such as ``module.`` are removed. Training state and other copies of the network
    are omitted.

    Raises:
        CheckpointError: There are no tensors, or an object of an unknown class hides weights.
    """
    search = _Search()
    home = search.home(tree, _MAX_WRAPPERS, set())
    chosen = {} if home is None else _direct_tensors(home)
    dicts = [(path, node) for path, node in search.dicts(tree) if node is not home]
    if not any(tensor.shape for tensor in chosen.values()):
        parts = {
            f"{path}.{name}" if path else name: tensor
            for path, node in dicts
            for name, tensor in _direct_tensors(node).items()
            if tensor.shape and not is_training_state(f"{path}.{name}")
        }
        chosen = {**chosen, **parts}
        dicts = []
    if not chosen:
        raise CheckpointError(_without(tree))
    _check_hidden(home or {})
    named = without_prefixes(chosen)
    gone = len(next(iter(chosen))) - len(next(iter(named)))
    records = {} if home is None else search.records.get(id(home), {})
    beside: dict[str, Tensor] = {}
    copies: list[str] = []
    for path, node in dicts:
        parameters = {
            name: t for name, t in _direct_tensors(node).items() if _is_parameter(name, t)
        }
        if not parameters:
            continue
        stripped = without_prefixes(parameters)
        if len(stripped.keys() & named.keys()) >= _COPY * len(stripped):
            copies.append(path)
            continue
        full = {f"{path}.{name}" if path else name: tensor for name, tensor in parameters.items()}
        beside |= {name: tensor for name, tensor in full.items() if not is_training_state(name)}
    structure = {name[gone:]: record for name, record in records.items()}
    return Weights(named, beside, tuple(copies), structure)


def _without(tree: object) -> str:
    if isinstance(tree, Opaque):
        holds = f"it holds an object of the class {shown(tree.name)} without named tensors"
    elif not isinstance(tree, dict):
        holds = "it holds no dict of named tensors"
    else:
        names = ", ".join(shown(name) for name in list(tree)[:6])
        holds = f"it holds no tensors under {names}" if names else "it holds an empty dict"
    return f"{holds}; save the weights with torch.save(model.state_dict(), 'weights.pth')"


def _check_hidden(home: dict[str, object]) -> None:
    """Raise `CheckpointError` if a weight is int8, or an object of an unknown class."""
    for name, item in home.items():
        if _PACKED in name:
            raise CheckpointError(
                f"it holds a network quantized by PyTorch (int8 weights in {shown(name)}); give "
                "the float checkpoint that it was made from: int8 files are calibrated anew"
            )
        if isinstance(item, Opaque) and not is_module(item) and hides_tensor(item):
            raise CheckpointError(
                f"{shown(name)} in it is an object of the class {shown(item.name)} that hides "
                "tensors; save plain float tensors, as in {name: t.float() for name, t in "
                "model.state_dict().items()}"
            )


class _Search:
    """Traversal of a file's structure; pickled modules count as dicts."""

    def __init__(self) -> None:
        self.opened: dict[int, dict[str, object]] = {}
        self.records: dict[int, dict[str, ModuleRecord]] = {}  # by identity of the dict

    def as_dict(self, node: object) -> dict[str, object] | None:
        """A dict, a module's state dict, or another object's attributes; None for other values."""
        if isinstance(node, dict):
            return node
        if not isinstance(node, Opaque):
            return None
        if id(node) not in self.opened:
            if is_module(node):
                module = read_module(node)
                self.opened[id(node)] = module.tensors
                self.records[id(module.tensors)] = module.records
            else:
                self.opened[id(node)] = attributes(node)
        return self.opened[id(node)]

    def home(self, item: object, depth: int, visited: set[int]) -> dict[str, object] | None:
        """The dict with the network: ``item``, or a dict nested in it under a key in `WRAPPERS`.

        The keys are tried in their order. None if ``item`` is no dict or was visited before.
        """
        node = self.as_dict(item)
        if node is None or id(node) in visited:
            return None
        visited.add(id(node))
        for wrapper in WRAPPERS if depth else ():
            inner = self.home(node.get(wrapper), depth - 1, visited)
            # more than counters and decay rates
            if inner is not None and any(
                tensor.shape for tensor in _direct_tensors(inner).values()
            ):
                return inner
        return node

    def dicts(self, tree: object) -> Iterator[tuple[str, dict[str, object]]]:
        """Every dict at or below ``tree`` with its path, to a limited depth."""
        pending: deque[tuple[str, object, int]] = deque([("", tree, 0)])
        visited: set[int] = set()
        while pending and len(visited) < _MOST_CONTAINERS:
            path, current, depth = pending.popleft()
            if not isinstance(current, (dict, list, tuple, Opaque)) or id(current) in visited:
                continue
            visited.add(id(current))
            node = self.as_dict(current)
            if node is not None:
                yield path, node
            if depth >= _MAX_WRAPPERS or id(node) in self.records:
                continue
            if node is not None:
                items = [(str(key), item) for key, item in node.items()]
            elif isinstance(current, (list, tuple)):
                items = [(str(n), item) for n, item in enumerate(current)]
            else:
                continue  # an object without a state
            pending.extend((f"{path}.{key}" if path else key, x, depth + 1) for key, x in items)


def _direct_tensors(node: dict[str, object]) -> dict[str, Tensor]:
    """The tensors in the dict, without nested dicts."""
    return {
        name: item
        for name, item in node.items()
        if isinstance(item, Tensor) and name not in _COUNTERS
    }


def _is_parameter(name: str, tensor: Tensor) -> bool:
    """Whether a tensor outside the network's dict may be a parameter, not training state."""
    return bool(tensor.shape) and (len(tensor.shape) > 1 or name.rpartition(".")[2] in _PARAMETERS)


def without_prefixes(tensors: dict[str, _Value]) -> dict[str, _Value]:
    """``tensors`` without the prefixes that all names share (``module.``, ``model.``)."""
    for _ in range(_MAX_WRAPPERS):
        for prefix in _PREFIXES:
            if all(name.startswith(prefix) for name in tensors):
                tensors = {name[len(prefix) :]: tensor for name, tensor in tensors.items()}
    return tensors
