"""Detection of a PyTorch network's head: the library's default classifier, or other layers.

Every tensor of the file must belong to the network, its head or training state (`accounting`).
Otherwise an error names the tensor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edge_effnet.checkpoints.accounting import (
    is_training_state,
    listed,
    relevant,
    unread,
)
from edge_effnet.checkpoints.head import BIAS, WEIGHT, Classifier
from edge_effnet.checkpoints.head_words import parse
from edge_effnet.checkpoints.pytorch.head_layers import (
    MOST_MODULES,
    Assignment,
    Chain,
    assignments,
    chains,
    fastai_head,
    layer_of,
    suggestion,
)
from edge_effnet.checkpoints.pytorch.modules import Module, modules
from edge_effnet.checkpoints.pytorch.structure import epsilon, sequential_words
from edge_effnet.checkpoints.source import Checkpoint, Tensors
from edge_effnet.errors import CheckpointError
from edge_effnet.heads import POOLINGS, Head, Pooling

_IMAGENET = 1000
_HEAD_NORM = "head.bn.weight"
_TIMM = "classifier.weight"  # timm's name of the classifier
_WAYS = (
    "If no head= describes it, convert the network by way of .onnx: torch.onnx.export(model.eval(),"
    " torch.zeros(1, 3, SIDE, SIDE), 'model.onnx', dynamo=False), then 'edge-effnet export auto "
    "--weights model.onnx'"
)


def find_head(
    wanted: Mapping[str, str], checkpoint: Checkpoint, head_text: str | None, pooling: str = "avg"
) -> Classifier | None:
    """Head of the network in ``checkpoint``; None if it has none.

    Args:
        wanted: The library's names by canonical parameter.
        checkpoint: The network's tensors, and tensors outside the network.
        head_text: Layers of the head (`head_words`); None to detect them.
        pooling: Pooling of the head, unless ``head_text`` names one.

    Raises:
        CheckpointError: Tensors belong to no known layer, or the order or activations of layers
            are ambiguous.
        UsageError: ``head_text`` has an unknown word.
    """
    known = next((kind for kind in POOLINGS if kind == pooling), None)
    if known is None:
        raise CheckpointError(
            f"{checkpoint.path}: its pooling {pooling!r} cannot be converted. {_WAYS}"
        )
    search = _Search(wanted, checkpoint, known)
    if head_text is not None:
        return search.described(head_text)
    return search.detect()


@dataclass(frozen=True)
class _Search:
    wanted: Mapping[str, str]
    checkpoint: Checkpoint
    pooling: Pooling

    @property
    def default_name(self) -> str:
        """Name of the library's default classifier in the file."""
        return self.checkpoint.prefix + self.wanted[WEIGHT].removesuffix(".weight")

    @property
    def features(self) -> int:
        """Number of channels that the head pools; 0 if unknown."""
        if _HEAD_NORM not in self.wanted:  # a variant without a last convolution
            weight = self.checkpoint.tensors.get(self.wanted[WEIGHT])
            return 0 if weight is None or weight.ndim != 2 else int(weight.shape[1])
        values = self.checkpoint.tensors.get(self.wanted[_HEAD_NORM])
        return 0 if values is None or values.ndim != 1 else len(values)

    def inside(self) -> Tensors:
        """The network's tensors that may belong to the head."""
        trunk = {theirs for ours, theirs in self.wanted.items() if ours not in (WEIGHT, BIAS)}
        roots = {name.split(".")[0] for name in trunk}
        return {
            name: values
            for name, values in self.checkpoint.tensors.items()
            if name not in trunk and name.split(".")[0] not in roots
        }

    def tensors(self) -> Tensors:
        """All tensors that may belong to the head, with the file's names, in the file's order."""
        inside = {self.checkpoint.prefix + name: v for name, v in self.inside().items()}
        return {**inside, **self.checkpoint.outside}

    def modules(self, tensors: Tensors, names: Sequence[str]) -> list[Module]:
        """The modules that hold the tensors ``names``."""
        structure = self.checkpoint.structure
        return [
            replace(module, eps=epsilon(structure, module.name, module.eps))
            for module in modules(tensors, names)
        ]

    def words(self, modules: Sequence[Module]) -> str | None:
        """The head as text, from the Sequential of a pickled network; else None."""
        try:
            return sequential_words(self.checkpoint.structure, modules)
        except CheckpointError as error:
            raise CheckpointError(
                f"{self.checkpoint.path}: {error}, which cannot be converted. {_WAYS}"
            ) from None

    def detect(self) -> Classifier | None:
        own_weight = self.checkpoint.tensors.get(self.wanted[WEIGHT])
        tensors = self.tensors()
        candidates = self.modules(tensors, relevant(tensors))
        if all(m.outputs in (0, m.inputs, _IMAGENET) for m in candidates):
            candidates = self.modules(tensors, relevant(tensors, self.features))
        classifier = next(
            (module for module in candidates if module.name == self.default_name), None
        )
        if own_weight is None:
            classifier = None
        elif own_weight.ndim == 2 and (classifier is None or classifier.kind == "unknown"):
            return self.plain(len(own_weight))  # `match` raises the error
        if classifier is not None and classifier.kind != "linear":
            classifier = None
            if not any(module.kind == "linear" for module in candidates):
                return None
        others = [module for module in candidates if module is not classifier]
        strange = [name for m in others if m.kind == "unknown" for name in m.tensors]
        if strange:
            self.words(candidates)
            if classifier is not None and not set(strange) & set(self.checkpoint.outside):
                return self.plain(classifier.outputs)  # `match` lists these tensors in its error
            raise unread(self.checkpoint.path, tensors, strange)
        alone = classifier is not None and not others and classifier.biased
        if classifier is not None and alone and self.features in (0, classifier.inputs):
            if self.pooling == "avg":
                return self.plain(classifier.outputs)
            return self.with_head(Head((layer_of(classifier),), self.pooling), ())
        if not candidates or not self.features:
            return None
        complete = chains(candidates, self.features)
        if len(complete) == 1:
            return self.ordered(complete[0], ())
        left_in = classifier is not None and classifier.outputs == _IMAGENET and not complete
        without = chains(others, self.features) if left_in else []
        if len(without) == 1 and classifier is not None:
            note = (
                f"ImageNet's classifier {classifier.name} in {self.checkpoint.path.name} is left "
                f"out: {without[0].modules[0].name} reads the features before it"
            )
            return self.ordered(without[0], (note,))
        if not any(module.kind == "linear" for module in candidates):
            return None
        raise self.unclear(candidates, tensors, bool(complete or without))

    def ordered(self, chain: Chain, notes: tuple[str, ...]) -> Classifier:
        """The head for a known layer order; raises `CheckpointError` for unknown activations."""
        head = fastai_head(chain)
        if head is not None:
            return self.with_head(head, notes)
        words = self.words(chain.modules)
        if words is not None:
            described = self.described(words)
            return replace(described, notes=(*notes, *described.notes))
        names = [module.name for module in chain.modules]
        bare = [m.name for m in chain.modules if m.kind == "linear" and not m.biased]
        layers = listed(self.tensors(), (m.first for m in chain.modules))
        path = self.checkpoint.path
        if chain.doubled and self.wanted[WEIGHT] == _TIMM and names == [self.default_name]:
            # timm's global_pool="catavgmax"
            return self.with_head(Head((layer_of(chain.modules[0]),), "avg+max"), notes)
        if chain.doubled:
            raise CheckpointError(
                f"{path}: {names[0]} reads two poolings of {self.features} features, and a state "
                f"dict does not say which ({layers}). {_WAYS}",
                hint=f"give head='{suggestion(chain)}' if the maximum comes first, "
                "'avgpool+maxpool, ...' if the average does",
            )
        if chain.linear_layers > 1:
            raise CheckpointError(
                f"{path}: the head has {chain.linear_layers} linear layers, and a state dict does "
                f"not say which activation stands between them ({layers}). {_WAYS}",
                hint=f"give the layers, as in head='{suggestion(chain)}' (or silu, gelu, tanh, "
                "hardswish, leakyrelu, sigmoid; without one if there is none)",
            )
        if bare:
            raise CheckpointError(
                f"{path}: {bare[0]} has no bias, so it may be a linear layer or a cosine layer, as "
                f"ArcFace has; a state dict does not tell them apart. {_WAYS}",
                hint=f"give head='{suggestion(chain)}', or 'cosine:SCALE' in place of 'linear'",
            )
        if len(names) > 1:
            words = ", ".join(module.kind for module in chain.modules)
            notes = (
                *notes,
                f"the head of {path.name} is taken for {words} ({', '.join(names)}), without an "
                "activation between; if it has one, say head=",
            )
        return self.with_head(Head(tuple(map(layer_of, chain.modules)), self.pooling), notes)

    def described(self, text: str) -> Classifier:
        tensors = self.tensors()
        candidates = self.modules(tensors, relevant(tensors, self.features))
        words = parse(text)
        words = replace(words, pooling=words.pooling or self.pooling)
        best: Assignment | None = None
        for assignment in assignments(words, candidates[:MOST_MODULES], self.features):
            left = [m.name for m in assignment.unused if not is_training_state(m.name)]
            if best is None or left in ([], [self.default_name]):
                best, unused = assignment, left
            if not left:
                break
        if best is None:
            names = [name for module in candidates for name in module.tensors]
            raise CheckpointError(
                f"{self.checkpoint.path}: no layers of the head {text!r} on {self.features} "
                f"features fit the tensors {listed(tensors, names) or '(none)'}"
            )
        file = self.checkpoint.path.name
        notes: tuple[str, ...] = (f"the head of {file} is {best.text}",)
        if unused == [self.default_name]:
            notes = (*notes, f"the classifier {self.default_name} of {file} is left out")
        elif unused:
            names = [name for m in best.unused for name in m.tensors if m.name in unused]
            raise unread(self.checkpoint.path, tensors, names)
        return self.with_head(best.head, notes)

    def plain(self, classes: int) -> Classifier:
        """The library's default classifier; `match` checks the other tensors."""
        names = {WEIGHT: self.wanted[WEIGHT], BIAS: self.wanted[BIAS]}
        return Classifier(self.checkpoint, classes, names)

    def with_head(self, head: Head, notes: tuple[str, ...]) -> Classifier:
        """The head, and the checkpoint without the head's tensors."""
        gone = set(self.inside())
        remaining = {n: values for n, values in self.checkpoint.tensors.items() if n not in gone}
        weights = [layer.weight for layer in head.layers if hasattr(layer, "weight")]
        trunk = replace(self.checkpoint, tensors=remaining, outside={})
        return Classifier(trunk, len(weights[-1]), {}, head, notes)

    def unclear(
        self, candidates: Sequence[Module], tensors: Tensors, several: bool
    ) -> CheckpointError:
        """The error for a head whose layers can be executed in no order by their sizes.

        If ``several``, they can be executed in more than one order.
        """
        names = [name for module in candidates for name in module.tensors]
        readers = [m.name for m in candidates if m.kind == "linear" and m.inputs == self.features]
        reason = f"its layers do not follow from one another on {self.features} features"
        if several:
            reason = "its layers fit in more than one order"
        elif len(readers) > 1:
            reason = f"{', '.join(readers)} all read its {self.features} features"
        return CheckpointError(
            f"{self.checkpoint.path}: the head is ambiguous, {reason}: {listed(tensors, names)}. "
            f"{_WAYS}; or save the state dict without the layers that the predictions do not need",
            hint="give the layers that count in head=, as in head='linear'",
        )
