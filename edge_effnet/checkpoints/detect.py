"""Detection of a checkpoint's variant and source, by names and shapes of its tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from edge_effnet.checkpoints import canonical
from edge_effnet.checkpoints.accounting import onnx_way
from edge_effnet.checkpoints.registry import SOURCES
from edge_effnet.checkpoints.source import SURE, Checkpoint, Source, Tensors
from edge_effnet.errors import CheckpointError
from edge_effnet.graph import Graph
from edge_effnet.network import build
from edge_effnet.variants import VARIANTS, Variant

_LEAST_FIT = 0.5  # share of matching names and shapes from which a guess is reported
_STEM = "stem.conv.weight"


@dataclass(frozen=True)
class Detected:
    """The detected variant and source; ``note`` reports a choice between equal candidates."""

    variant: Variant
    source: Source
    note: str | None = None


def detect(checkpoint: Checkpoint, variant: Variant | None, source: Source | None) -> Detected:
    """Variant and source of a checkpoint.

    Args:
        checkpoint: The tensors.
        variant: The variant, if known.
        source: The source, if known.

    Raises:
        CheckpointError: No known network matches, the network is not supported, or several sources
            match and nothing distinguishes them.
    """
    for known in SOURCES.values():
        unsupported = known.unsupported(checkpoint.tensors)
        if unsupported is not None:
            raise CheckpointError(
                f"{checkpoint.path} holds {unsupported}, which is not supported; 'edge-effnet "
                "list' shows the networks that are"
            )
    recorded = canonical.recorded_variant(checkpoint)
    if recorded is not None:
        if variant is not None and variant != recorded:
            raise CheckpointError(
                f"{checkpoint.path} holds {recorded.name}, not {variant.name}; give 'auto' or "
                "the file alone"
            )
        return Detected(recorded, canonical.SOURCE)
    if variant is None:
        best_variant = _best(checkpoint.tensors, [source] if source else SOURCES.values())
        if best_variant is None:
            raise CheckpointError(
                f"{checkpoint.path} fits no known variant; is it an EfficientNet? If it is, say "
                f"which one instead of 'auto'; {onnx_way(checkpoint.tensors)}"
            )
        variant = best_variant
    if source is not None:
        return Detected(variant, source)
    return _rank(checkpoint, variant)


def guess_variant(tensors: Tensors) -> Variant | None:
    """The variant that matches most tensors by name and shape; None if fewer than half match."""
    return _best(tensors, SOURCES.values())


@lru_cache(maxsize=1)
def stems() -> frozenset[str]:
    """Names of the first convolution's weight in all sources."""
    firsts = ((source, next(_variants(source), None)) for source in SOURCES.values())
    return frozenset(source.names(_graph(first))[_STEM] for source, first in firsts if first)


def _rank(checkpoint: Checkpoint, variant: Variant) -> Detected:
    """The source with the most matching tensor names; evidence decides between equals."""
    candidates = [s for s in SOURCES.values() if variant.name in s.variants] or [*SOURCES.values()]
    covered = {
        source.kind: len(set(source.names(_graph(variant)).values()) & set(checkpoint.tensors))
        for source in candidates
    }
    most = max(covered.values())
    equal = [source for source in candidates if covered[source.kind] == most]
    if len(equal) == 1 or most == 0:
        return Detected(variant, equal[0])
    evidence = {source.kind: source.evidence(variant, checkpoint) for source in equal}
    chosen = max(equal, key=lambda source: evidence[source.kind].weight)
    reason = evidence[chosen.kind]
    if reason.question is not None and not _trunk_fits(checkpoint.tensors, variant, chosen):
        return Detected(variant, chosen)  # `match` says what differs
    if reason.question is not None:
        raise CheckpointError(
            f"{checkpoint.path}: {reason.question.problem}", hint=reason.question.hint
        )
    note = None
    if reason.weight < SURE:
        others = " or ".join(repr(source.kind) for source in equal if source is not chosen)
        note = (
            f"{checkpoint.path.name} is taken for {chosen.summary}, since {reason.reason}; the "
            f"tensors alone cannot tell: if it is not, say source={others}"
        )
    return Detected(variant, chosen, note)


def _best(tensors: Tensors, sources: Iterable[Source]) -> Variant | None:
    best, best_fit = None, _LEAST_FIT
    for source in sources:
        names = sum(not name.endswith(source.ignored) for name in tensors)
        for variant in _variants(source):
            graph = _graph(variant)
            wanted = source.names(graph)
            if wanted[_STEM] not in tensors:
                break
            fitting = sum(
                theirs in tensors
                and source.layout(ours, tensors[theirs]).shape == graph.parameter_shapes[ours]
                for ours, theirs in wanted.items()
            )
            fit = fitting / max(len(wanted), names, 1)
            if fit > best_fit:
                best, best_fit = variant, fit
    return best


def _trunk_fits(tensors: Tensors, variant: Variant, source: Source) -> bool:
    """Whether all tensors before the classifier have the names and shapes of ``variant``."""
    graph = _graph(variant)
    return all(
        theirs in tensors
        and source.layout(ours, tensors[theirs]).shape == graph.parameter_shapes[ours]
        for ours, theirs in source.names(graph).items()
        if not ours.startswith("classifier.")
    )


def _variants(source: Source) -> Iterator[Variant]:
    return (variant for variant in VARIANTS.values() if variant.name in source.variants)


@lru_cache(maxsize=64)
def _graph(variant: Variant) -> Graph:
    return build(variant)
