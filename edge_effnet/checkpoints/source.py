"""`Source` describes one kind of checkpoint; `Checkpoint` has the tensors of a file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
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

_IMAGENET_CLASSES = 1000
_RESIZING = {"crop", "crop_mode", "interpolation"}
#: Name -> array. Floats are converted to float32; the layout is the framework's.
Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class ModuleRecord:
    """A module of a framework: the full name of its class, and its scalar attributes."""

    kind: str
    attributes: Mapping[str, bool | int | float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class ClassNames:
    """Class names in index order, and where they are stored: ``classes in net.pth``."""

    place: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Checkpoint:
    """Tensors of a checkpoint, and its metadata.

    Attributes:
        path: Path given by the user; for a live network, a name for messages.
        tensors: The network's tensors.
        words: Text metadata of the file by key.
        files: Files of the checkpoint; its sha256 covers all of them.
        sha256: Digest of a live network's tensors; empty for files.
        config: Content of timm's config.json, or timm's configuration in a pickled module.
        outside: Tensors outside the network's module: a wrapper's head, a loss.
        prefix: Prefix that was removed from the network's names.
        notes: Notes for the user on omitted tensors.
        structure: Modules of a network pickled as a whole, by name, in order of definition.
        head: Layers after the last convolution, if the reader determines them. Their tensors are
            not in ``tensors``.
        padding: Padding of a live network's first convolution; None if unknown.
        head_reader: Function from the user's list of the head's layers (None: guess) to the head
            and notes, if the file has the head's arrays but not their order.
        class_names: Lists of class names in the file; they may contradict each other.
        binary_loss: Name of a loss of independent labels in the file.
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
    padding: Padding | None = None
    head_reader: Callable[[str | None], tuple[Head, tuple[str, ...]]] | None = None
    class_names: tuple[ClassNames, ...] = ()
    binary_loss: str | None = None


@dataclass(frozen=True)
class Reader:
    """Reader of one kind of file; ``read`` raises `CheckpointError` for unusable files.

    ``recognises`` is called with the path and the first 512 bytes of the file. The bytes are empty
    if the path is not a regular file, like the prefix of a TensorFlow checkpoint.
    """

    recognises: Callable[[Path, bytes], bool]
    read: Callable[[Path], Checkpoint]


@dataclass(frozen=True)
class Question:
    """An ambiguity of a checkpoint: `load` fails unless the user gives one of the ``arguments``.

    ``problem`` and ``hint`` are the text of the error.
    """

    arguments: tuple[str, ...]
    problem: str
    hint: str


@dataclass(frozen=True)
class Facts:
    """Properties of the network and its training that the weights alone do not determine.

    Attributes:
        padding: Padding of the convolutions.
        bn_eps: Epsilon of the batch normalisations.
        preprocess: Input preprocessing for a side in pixels.
        resolution: Input side in pixels; None for the variant's default.
        labels: Class names in the file.
        fused_stride: Which convolution carries the stride in strided Fused-MBConvs.
        note: Note for the user on an assumed normalisation, or a function of the input side in
            pixels that returns it.
        output_activation: Activation of the output. If None, softmax is assumed; a network with a
            single output is then refused.
        activation_guessed: Whether a missing output activation deserves a note.
        resizing_assumed: Whether the file does not tell how photos were resized in training.
        head: Nodes after the trunk; None to detect them from the tensors.
        pooling: Pooling of the head, one of `heads.POOLINGS`.
        pooling_assumed: Whether the file does not tell the pooling.
        question: A problem that only the user can resolve.
        repad: Function that replaces a graph's padding, if it is neither "same" nor "symmetric".
        step: The input side must be a multiple of this.
        untrained: Whether the network must be trained before use, as in `ModelInfo`.
    """

    padding: Padding
    bn_eps: float
    preprocess: Callable[[int], Preprocess]
    resolution: int | None = None
    labels: tuple[str, ...] | None = None
    fused_stride: FusedStride = "expand"
    note: str | Callable[[int], str] | None = None
    output_activation: OutputActivation | None = None
    activation_guessed: bool = False
    resizing_assumed: bool = False
    head: tuple[Node, ...] | None = None
    pooling: str = "avg"
    pooling_assumed: bool = False
    question: Question | None = None
    repad: Callable[[Graph], Graph] | None = None
    step: int = 1
    untrained: bool = False


def resizing_note(facts: Facts, name: str, outputs: int, answered: Collection[str]) -> str | None:
    """A note if the resizing of photos is assumed, for the file ``name`` of a network.

    Networks with ImageNet's classes have the resizing of their released weights. ``answered`` are
    the fields of `Preprocess` that the user specifies.
    """
    if not facts.resizing_assumed or outputs == _IMAGENET_CLASSES or {*answered} & _RESIZING:
        return None
    return (
        f"{name} does not tell how photos were resized in training: a centre crop is assumed; for "
        "Keras's image_dataset_from_directory, give crop_mode='squash', crop=1.0 and "
        "interpolation='keras-bilinear'"
    )


def pooling_note(facts: Facts, name: str, head: str | None) -> str | None:
    """A note if average pooling is assumed and the user does not list the layers of the head."""
    if not facts.pooling_assumed or head is not None:
        return None
    return (
        f"{name} is taken for average pooling; for global_pool='max', give head='maxpool, linear'"
    )


SIGN, SURE = 1, 2  # weights of evidence; `SURE` needs no note to the user


@dataclass(frozen=True)
class Evidence:
    """Evidence that a checkpoint is from one of several sources with the same tensor names.

    ``weight`` is its strength in ascending order: `NONE`, 0 (only the default source), `SIGN` or
    `SURE`. A ``question`` means that nothing distinguishes the sources. The checkpoint is then
    refused until the user names its source.
    """

    weight: int
    reason: str
    question: Question | None = None


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

    Attributes:
        names: Name in the checkpoint of every canonical parameter of a graph.
        layout: Function that converts a tensor to the canonical layout (OIHW or [out, in]), given
            its canonical name.
        variants: Names of the variants that this source has.
        facts: Function that determines the `Facts` of a checkpoint.
        evidence: Evidence for this source, compared with sources that have the same names.
        unsupported: Function that describes an unsupported network with similar tensors; None for
            others.
        ignored: Suffixes of tensors that are not parameters.
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
