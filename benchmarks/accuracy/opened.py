"""What an opened file states about itself: a `Record` without measurements, and its key."""

from __future__ import annotations

from edge_effnet.benchmarks.devices import placement_of
from edge_effnet.benchmarks.records import Record, key
from edge_effnet.classifier import Classifier
from edge_effnet.formats import format_name, size_bytes


def facts(model: Classifier) -> Record:
    """A `Record` without measurements: only the file's card, size and runtime are filled in."""
    card, info = model.card, model.runner.info
    return Record(
        file=model.path,
        variant=card.variant,
        format=format_name(model.path),
        precision="unknown" if is_bare(model) else card.precision,
        quantizer=card.quantization.quantizer if card.quantization else None,
        recipe=card.quantization.recipe if card.quantization else None,
        size_bytes=size_bytes(model.path),
        threads=info.threads,
        runtime=info.name,
        runtime_version=info.version,
        kernels=info.kernels,
        device=info.device,
        placement=placement_of(model.runner),
    )


def device_of(model: Classifier) -> str:
    """Name of the device that runs an opened file."""
    return model.runner.info.device


def key_of(model: Classifier) -> str:
    """The key of an opened file's record."""
    return key(model.path, device_of(model))


def is_bare(model: Classifier) -> bool:
    """Whether the file carries no card, so that its variant and precision are unknown."""
    return model.runner.card_text() is None
