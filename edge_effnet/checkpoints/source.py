"""Source: what is known of one kind of checkpoint; Checkpoint: what was read from a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edge_effnet.graph import Graph, Node
from edge_effnet.heads import Head
from edge_effnet.names import OutputActivation
from edge_effnet.network import FusedStride, Padding
from edge_effnet.preprocess import Preprocess
from edge_effnet.variants import Variant

#: Name -> array as the file holds it: floats are float32, the layout is the framework's.
Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class ModuleRecord:
    """A module of a framework: its class's full name, and its attributes that are scalars."""

    kind: str
    attributes: Mapping[str, bool | int | float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """What a reader found: ``tensors``, and ``words``, what the file says of itself in text.

    ``path`` is what the user gave, ``files`` the files that it stands for (their sha256 identifies
    the checkpoint). ``outside`` are tensors beside the network (a wrapper's head, a loss).
    ``prefix`` is what the network's own names began with in the file. ``notes`` tell the user what
    was left out. ``structure`` are the modules of a network that was saved whole, by name and
    in the order of their definition. ``head`` is what follows the last convolution, where the
    reader knows it: its tensors are not among ``tensors``. Of a live network, ``path`` is only a
    name for messages, ``sha256`` that of its tensors, and ``config`` what timm keeps in
    config.json.
    """

    path: Path
    tensors: Tensors
    words: Mapping[str, str] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    outside: Tensors = field(default_factory=dict)
    sha256: str = ""
    config: Mapping[str, Any] | None = None
    prefix: str = ""
    notes: tuple[str, ...] = ()
    structure: Mapping[str, ModuleRecord] = field(default_factory=dict)
    head: Head | None = None


@dataclass(frozen=True)
class Reader:
    """Reads one kind of file. ``recognises`` is asked with the path and its first 512 bytes.

    The bytes are empty where the path is no regular file (a TensorFlow checkpoint is a prefix).
    ``read`` raises `CheckpointError`.
    """

    recognises: Callable[[Path, bytes], bool]
    read: Callable[[Path], Checkpoint]


@dataclass(frozen=True)
class Question:
    """A problem that arguments of `load` settle; without all of them the checkpoint is refused."""

    arguments: tuple[str, ...]
    problem: str
    hint: str


@dataclass(frozen=True)
class Facts:
    """What the training framework did, which the weights alone do not say.

    ``preprocess`` gives the input pipeline for a side in pixels; ``resolution`` is the side if it
    is another than the variant's own; ``labels`` are class names that the file carries;
    ``fused_stride`` is where a strided Fused-MBConv has its stride. ``note`` tells the user of a
    normalisation that had to be assumed. ``output_activation`` is None where the file does not
    tell: softmax is assumed, and for one output the user is asked. ``head`` are the nodes after the
    trunk, None where the tensors tell. ``pooling`` is the head's, one of `heads.POOLINGS`.
    ``question`` is what only the user can answer.
    """

    padding: Padding
    bn_eps: float
    preprocess: Callable[[int], Preprocess]
    resolution: int | None = None
    labels: tuple[str, ...] | None = None
    fused_stride: FusedStride = "expand"
    note: str | None = None
    output_activation: OutputActivation | None = None
    head: tuple[Node, ...] | None = None
    pooling: str = "avg"
    question: Question | None = None


SIGN, SURE = 1, 2  # weights of evidence; what is sure needs no word to the user


@dataclass(frozen=True)
class Evidence:
    """Why a checkpoint is of one source and not of another with the same names.

    ``weight`` is `NONE`'s, that of a mere default (0), `SIGN`, or `SURE`.
    """

    weight: int
    reason: str


NONE = Evidence(-1, "it speaks for another")


def _no_evidence(variant: Variant, checkpoint: Checkpoint) -> Evidence:
    return Evidence(0, "it is the usual one")


def _all_supported(tensors: Tensors) -> str | None:
    return None


def _as_it_is(parameter: str, values: NDArray[Any]) -> NDArray[Any]:
    return values


@dataclass(frozen=True)
class Source:
    """One kind of checkpoint.

    ``names`` maps every canonical parameter of a graph to the checkpoint's name for it, ``layout``
    turns a tensor into the canonical layout (given the canonical name; OIHW, [out, in]).
    ``variants`` are the names of the variants it comes in. ``facts`` are its training framework's;
    ``evidence`` ranks it among sources with the same names, ``unsupported`` names what tensors are
    that look alike and are another network. ``ignored`` are suffixes of tensors that carry no
    parameter.
    """

    kind: str
    summary: str
    variants: frozenset[str]
    names: Callable[[Graph], Mapping[str, str]]
    facts: Callable[[Variant, Checkpoint], Facts]
    evidence: Callable[[Variant, Checkpoint], Evidence] = _no_evidence
    layout: Callable[[str, NDArray[Any]], NDArray[Any]] = _as_it_is
    unsupported: Callable[[Tensors], str | None] = _all_supported
    ignored: tuple[str, ...] = (".num_batches_tracked",)
