"""Execution order of a head's modules, derived from shapes and positions.

A state dict has neither the execution order nor the activations. The order is unique if only one
order matches the layers' sizes. The activation between two linear layers must be given by the user,
except in fastai's standard head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from edge_effnet.checkpoints.head_words import FUNCTIONS, HeadWords, epsilon_of, scale_of
from edge_effnet.checkpoints.pytorch.modules import Module
from edge_effnet.heads import Function, Head, Layer, Normalization, Pooling, cosine

MOST_MODULES = 16  # largest number of modules for which orders are searched
_MOST_CHOICES = 64


@dataclass(frozen=True)
class Chain:
    """Modules in execution order; ``doubled`` if the first reads two concatenated poolings."""

    modules: tuple[Module, ...]
    doubled: bool = False

    @property
    def linear_layers(self) -> int:
        """Number of linear layers."""
        return sum(module.kind == "linear" for module in self.modules)


def chains(modules: Sequence[Module], features: int) -> list[Chain]:
    """Possible execution orders of all ``modules``, at most two: enough to detect an ambiguity."""
    if not modules or len(modules) > MOST_MODULES:
        return []
    orders: list[Chain] = []
    for doubled in (False, True):
        orders_found = _orders(tuple(modules), features * (1 + doubled))
        orders += [Chain(order, doubled) for order in islice(orders_found, 2)]
    return orders[:2]


def _orders(modules: tuple[Module, ...], size: int) -> Iterator[tuple[Module, ...]]:
    if not modules:
        yield ()
    for index in _next(modules):
        module = modules[index]
        if module.kind != "unknown" and module.inputs == size:
            for following in _orders(modules[:index] + modules[index + 1 :], module.outputs):
                yield (module, *following)


def _next(modules: Sequence[Module]) -> list[int]:
    """Indices of modules that may run next: the first of each Sequential, and all others."""
    numbers = [module.number for module in modules]
    return [
        index
        for index, number in enumerate(numbers)
        if number is None
        or not any(n is not None and n[0] == number[0] and n[1] < number[1] for n in numbers)
    ]


def suggestion(chain: Chain, activation: str = "relu") -> str:
    """Example for the argument ``head``: the layers of ``chain``, with assumed activations.

    ``activation`` is inserted between two linear layers: at a gap between their positions in a
    Sequential, or, without positions, before the second linear layer.
    """
    words = ["maxpool+avgpool"] if chain.doubled else []
    between = ""
    for index, module in enumerate(chain.modules):
        words.append(module.kind)
        following = chain.modules[index + 1] if index + 1 < len(chain.modules) else None
        if module.kind == "linear":
            between = "pending"
        later = any(m.kind == "linear" for m in chain.modules[index + 1 :])
        if between and following is not None and later and _room(module, following):
            words.append(activation)
            between = ""
    return ", ".join(words)


def _room(module: Module, following: Module) -> bool:
    """Whether a layer without parameters may be between the two modules, by their positions.

    If the positions are unknown, whether ``following`` is a linear layer.
    """
    here, there = module.number, following.number
    if here and there and here[0] == there[0]:
        return there[1] - here[1] > 1
    return following.kind == "linear"


def fastai_head(chain: Chain) -> Head | None:
    """The head of fastai's learners, identified by its positions; None for other heads.

    ``create_head``: AdaptiveConcatPool2d (maximum first) 0, Flatten 1, then BatchNorm1d 2, Dropout
    3, Linear 4, ReLU 5, BatchNorm1d 6, Dropout 7, Linear 8.
    """
    positions = [module.number for module in chain.modules]
    kinds = [module.kind for module in chain.modules]
    expected = ["batchnorm", "linear", "batchnorm", "linear"]
    if not chain.doubled or kinds != expected or positions != [("1", n) for n in (2, 4, 6, 8)]:
        return None
    first, hidden, second, last = chain.modules
    layers: tuple[Layer, ...] = (
        first.affine(),
        hidden.linear(),
        Function("relu"),
        second.affine(),
        last.linear(),
    )
    return Head(layers, "max+avg")


@dataclass(frozen=True)
class Assignment:
    """One assignment of modules to the layers of a head, and the resulting head.

    ``text`` lists the head's layers. ``unused`` are modules that are assigned to no layer.
    """

    head: Head
    text: str  # the layers with the names of their modules
    unused: tuple[Module, ...]


def assignments(words: HeadWords, modules: Sequence[Module], features: int) -> Iterator[Assignment]:
    """All assignments of ``modules`` to the layers of ``words``, the most plausible first.

    Plausible assignments follow the order of the file and of the positions in a Sequential.
    """
    pooling: Pooling = words.pooling or "avg"
    size = features * (2 if "+" in pooling else 1)
    for chosen in islice(_choices(words.words, tuple(modules), size), _MOST_CHOICES):
        layers: list[Layer] = []
        texts = []
        for word, module in chosen:
            if module is None:
                layers.append(Function(FUNCTIONS[word]))
            elif word.startswith("cosine"):
                layers += cosine(module.parameters["weight"], scale_of(word))
            else:
                layers.append(layer_of(replace(module, eps=epsilon_of(word, module.eps))))
            texts.append(word if module is None else f"{word} ({module.name})")
        used = [module for _, module in chosen]
        unused = tuple(m for m in modules if not any(m is other for other in used))
        yield Assignment(Head(tuple(layers), pooling), ", ".join(texts), unused)


def _choices(
    words: tuple[str, ...], modules: tuple[Module, ...], size: int
) -> Iterator[tuple[tuple[str, Module | None], ...]]:
    if not words:
        yield ()
        return
    word, others = words[0], words[1:]
    if word in FUNCTIONS:
        for rest in _choices(others, modules, size):
            yield ((word, None), *rest)
        return
    for index in _next(modules):
        module = modules[index]
        if _plays(module, word) and module.inputs == size:
            remaining = modules[:index] + modules[index + 1 :]
            for rest in _choices(others, remaining, module.outputs):
                yield ((word, module), *rest)


def _plays(module: Module, word: str) -> bool:
    """Whether the module's kind is that of the layer that ``word`` of ``head=`` names."""
    if word.startswith("cosine"):
        return module.kind == "linear" and not module.biased
    return module.kind == word.partition(":")[0]


def layer_of(module: Module) -> Layer:
    """The module as a layer of a head."""
    if module.kind == "layernorm":
        return Normalization(module.scale, module.shift, module.eps)
    return module.affine() if module.kind == "batchnorm" else module.linear()
