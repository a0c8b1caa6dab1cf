"""This project's safetensors files: canonical tensor names, and metadata.

The metadata holds ``edge_effnet`` (the card as JSON: variant, preprocessing, labels, source),
``padding``, ``bn_eps``, ``fused_stride`` and, unless the head is one linear layer, ``head``: its
nodes as JSON. ``pads`` has the padding of each convolution if it is neither "same" nor "symmetric".
``variant`` describes a variant that no release names: an adapted, scaled or searched one. The card
then has schema 2, which earlier releases refuse. They would take the network for a released one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge_effnet import json_text
from edge_effnet.baselines import BASELINES
from edge_effnet.card import CARD_KEY, SCHEMA, ModelCard
from edge_effnet.checkpoints.source import Checkpoint, Facts, Source
from edge_effnet.errors import CheckpointError, ModelFileError, UsageError
from edge_effnet.files import write_bytes
from edge_effnet.graph import BatchNorm, Conv, Graph, Node
from edge_effnet.graph_json import nodes_from_json, nodes_to_json
from edge_effnet.heads import head_nodes, is_plain
from edge_effnet.model import Model
from edge_effnet.network import Padding, build, fused_stride_of, padding_of
from edge_effnet.preprocess import Preprocess, tensorflow_crop
from edge_effnet.variant_json import variant_from_json, variant_to_json
from edge_effnet.variants import VARIANTS, Variant

#: Files of the folder that a training writes: its record, and the chosen network.
RUN_FILE, RUN_MODEL = "run.json", "model.safetensors"
_SIDES, _WIDEST = 4, 8  # pads of a convolution
_LENGTH = 8  # bytes of the header's length and alignment of the header
_SCHEMA_WITH_VARIANT = 2


def save(model: Model, path: str | os.PathLike[str]) -> Path:
    """Write a network to a .safetensors file that `load` can read.

    Args:
        model: The network, with BatchNorm not folded.
        path: Path of the file, with the suffix .safetensors.

    Returns:
        The path.

    Raises:
        UsageError: BatchNorm is folded, or the suffix is not .safetensors.
        OutputError: The file cannot be written.

    Example:
        >>> save(model, "trained.safetensors")  # doctest: +SKIP
    """
    target = check_target(path)
    norms = [node for node in model.graph if isinstance(node, BatchNorm)]
    if not norms:
        raise UsageError("the model's batch normalisation is folded; save it before folding")
    from safetensors.numpy import save as serialize

    tensors = {
        name: np.ascontiguousarray(model.weights[name]) for name in model.graph.parameter_shapes
    }
    metadata = {
        CARD_KEY: model.info.card().to_json(),
        "padding": padding_of(model.graph),
        "bn_eps": repr(norms[0].eps),
        "fused_stride": fused_stride_of(model.graph),
    }
    pads = _pads(model.graph)
    side, stride = model.graph.input_shape[-1], fused_stride_of(model.graph)
    usual = _pads(
        build(
            model.variant,
            resolution=side,
            padding=padding_of(model.graph),
            fused_stride=stride,
        )
    )
    if any(usual.get(name, pad) != pad for name, pad in pads.items()):
        metadata["pads"] = json.dumps(pads)
    if model.variant not in (VARIANTS.get(model.variant.name), BASELINES.get(model.variant.name)):
        metadata["variant"] = json.dumps(variant_to_json(model.variant), sort_keys=True)
        card = {**json.loads(metadata[CARD_KEY]), "schema": _SCHEMA_WITH_VARIANT}
        metadata[CARD_KEY] = json.dumps(card, sort_keys=True, separators=(",", ":"))
    if not is_plain(model.graph):
        metadata["head"] = json.dumps(nodes_to_json(head_nodes(model.graph)))
    return write_bytes(target, _with_sorted_metadata(serialize(tensors, metadata)))


def _with_sorted_metadata(data: bytes) -> bytes:
    """A safetensors file with sorted metadata, so that equal networks give equal bytes.

    The safetensors library writes metadata in random order. The file starts with the length of its
    JSON header, uint64 little-endian; the header is padded with spaces to a multiple of 8.
    """
    length = int.from_bytes(data[:_LENGTH], "little")
    header = json.loads(data[_LENGTH : _LENGTH + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _LENGTH)
    return len(text).to_bytes(_LENGTH, "little") + text + data[_LENGTH + length :]


def in_run_folder(path: Path) -> Path:
    """``path``; for the folder of a training, the checkpoint in it.

    Raises:
        CheckpointError: The training has not written a checkpoint yet.
    """
    if not (path / RUN_FILE).is_file():
        return path
    if not (path / RUN_MODEL).is_file():
        raise CheckpointError(
            f"the training in {path} has no network yet: continue it with 'edge-effnet train "
            f"--out {path} --resume'"
        )
    return path / RUN_MODEL


def check_target(path: str | os.PathLike[str]) -> Path:
    """``path`` as a `Path`; raises `UsageError` for a suffix other than .safetensors."""
    target = Path(path)
    if target.suffix != ".safetensors":
        raise UsageError(
            f"weights are saved as safetensors: call the file {target.stem}.safetensors, not "
            f"{target.name}"
        )
    return target


def refuse_other_checkpoint(target: Path, model: Model) -> None:
    """Raise `UsageError` if a file ``target`` exists that was not saved from the same checkpoint.

    Without this, a name typed twice would replace another checkpoint, or the original itself.
    """
    if not target.exists():
        return
    from safetensors import SafetensorError, safe_open

    origin = "made by another tool"
    try:
        with safe_open(target, "np") as file:
            theirs = json_text.parse((file.metadata() or {})[CARD_KEY])["source"]
        if model.info.source is not None and theirs["sha256"] == model.info.source.sha256:
            return
        origin = f"made from {theirs['file']}"
    except (SafetensorError, LookupError, TypeError, ValueError, OSError):
        pass
    raise UsageError(
        f"{target} is there already, {origin}",
        hint="choose another name, or replace it with overwrite=True",
    )


def _pads(graph: Graph) -> dict[str, tuple[int, ...]]:
    """The pads of each convolution by its name."""
    return {node.name: node.pads for node in graph if isinstance(node, Conv)}


def _with_pads(graph: Graph, pads: Mapping[str, Sequence[int]]) -> Graph:
    """``graph`` with the padding ``pads``, by name of the convolution."""
    nodes: list[Node] = []
    for node in graph:
        if isinstance(node, Conv) and node.name in pads:
            top, left, bottom, right = map(int, pads[node.name])
            node = replace(node, pads=(top, left, bottom, right))
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def names(graph: Graph) -> dict[str, str]:
    """Identity mapping of all parameter names."""
    return {name: name for name in graph.parameter_shapes}


def recorded_variant(checkpoint: Checkpoint) -> Variant | None:
    """The variant described in the file; None in files of released variants and of other sources.

    Raises:
        CheckpointError: The description is damaged.
    """
    if not {CARD_KEY, "variant"} <= checkpoint.words.keys():
        return None
    try:
        return variant_from_json(json_text.parse(checkpoint.words["variant"]))
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise _unreadable(checkpoint, error) from error


def _card(words: Mapping[str, str]) -> ModelCard:
    """The card in the file's metadata; raises the errors of `ModelCard.from_json`."""
    if "variant" not in words:
        return ModelCard.from_json(words[CARD_KEY])
    content = json_text.parse(words[CARD_KEY])
    if content["schema"] == _SCHEMA_WITH_VARIANT:
        content["schema"] = SCHEMA
    return ModelCard.from_json(json.dumps(content))


def _unreadable(checkpoint: Checkpoint, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"the record in {checkpoint.path} cannot be read ({error}); convert the weights again "
        "with 'edge-effnet convert-weights'"
    )


def facts(variant: Variant, checkpoint: Checkpoint) -> Facts:
    """Facts from the file's metadata; without metadata, the facts of TensorFlow's training."""
    words = checkpoint.words
    if CARD_KEY not in words:
        return Facts("same", variant.bn_eps, lambda size: Preprocess(size, tensorflow_crop(size)))
    try:
        card = _card(words)
        eps = float(words["bn_eps"])
        head = nodes_from_json(json_text.parse(words["head"])) if "head" in words else None
        pads = json_text.parse(words["pads"]) if "pads" in words else None
        if pads is not None:
            pads = {name: tuple(map(int, values)) for name, values in pads.items()}
            if any(len(p) != _SIDES or not 0 <= min(p) <= max(p) <= _WIDEST for p in pads.values()):
                raise ValueError("pads that no convolution has")
    except (ModelFileError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise _unreadable(checkpoint, error) from error
    padding: Padding = "symmetric" if words.get("padding") == "symmetric" else "same"
    preprocess = card.preprocess
    return Facts(
        padding,
        eps,
        lambda size: replace(preprocess, size=size),
        resolution=preprocess.size,
        labels=card.labels,
        output_activation=card.output_activation,
        untrained=card.untrained,
        fused_stride="project" if words.get("fused_stride") == "project" else "expand",
        head=head,
        repad=None if pads is None else lambda graph: _with_pads(graph, pads),
    )


SOURCE = Source(
    kind="edge-effnet",
    summary="edge-effnet's own weights",
    variants=frozenset(VARIANTS),
    names=names,
    facts=facts,
)
